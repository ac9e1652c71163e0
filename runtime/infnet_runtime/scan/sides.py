"""The patient's sides, as lung masks number them."""

RIGHT, LEFT = 1, 2
EITHER = 3  # a lung of which the picture does not tell the side
