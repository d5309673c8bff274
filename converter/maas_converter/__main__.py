"""``python -m maas_converter``, for where the command is not on the path."""

from maas_converter.cli.main import main

main()
