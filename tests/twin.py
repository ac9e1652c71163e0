"""The small network with random weights that the tests of the export share."""

from infnet_export.make.card import ModelCard

SIZE = 96
CARD = ModelCard(name="twin", version="1.2.3", licence="CC0", training_data="none, random", threshold=0.4)
