"""What a network that tells classes apart needs of a run, looked at before its first step."""

from infnet_train.assess.predict import tells_classes
from infnet_train.config.schema import TrainConfig
from infnet_train.data.batches import Sources
from infnet_train.data.datasets import LabelledSlices
from infnet_train.errors import ConfigError
from infnet_train.networks import Network


def refuse_without_classes(
    model: Network, config: TrainConfig, sources: Sources, validation: LabelledSlices | None, device: str
) -> None:
    """Refuse to train classes without a label, or to choose the best weights by classes that are not there.

    Raises
    ------
    ConfigError
        If the network tells classes apart and no source, or the validation, has classes.
    """
    if not tells_classes(model, config.architecture.in_channels, device):
        return
    if all(slices.classes is None for _, slices in sources):
        raise ConfigError(
            f"the network '{config.architecture.network}' tells classes apart, and no source has classes; "
            'name the folder of class masks in one of them, for example classes = "Classes"',
            code=3177,
        )
    if validation is not None and validation.classes is None:
        raise ConfigError(
            f"the network '{config.architecture.network}' is chosen by its classes, and the validation has "
            'none; name their folder in [validation], for example classes = "Classes", or leave it out',
            code=3177,
        )
