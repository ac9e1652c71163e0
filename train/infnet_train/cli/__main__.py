"""``python -m infnet_train.cli`` is ``infnet-train``, for ``torchrun``."""

from infnet_train.cli.main import main

main()
