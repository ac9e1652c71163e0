"""``python -m infnet_runtime.cli`` is ``infnet-infer``."""

from infnet_runtime.cli.main import main

main()
