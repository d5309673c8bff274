"""``python -m maas_agent``: the same as the ``maas-agent`` command."""

import sys

from maas_agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
