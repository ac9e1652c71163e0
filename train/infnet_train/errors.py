"""Errors of a training; the tree they belong to is in ``infnet_runtime.errors``."""

from infnet_runtime.errors import InputError


class ConfigError(InputError):
    """The configuration is refused."""
