"""The patient's sides, as lung masks number them."""

RIGHT, LEFT = 1, 2
