"""Confine this process, then run a module in it as a program: ``python -P -m maas_agent.confinement ACCESS MODULE …``.

ACCESS is a `maas_agent.confinement.confine.Launch` as JSON. See `maas_agent.confinement.confine.command`.
"""

import runpy
import sys

import msgspec

from maas_agent.confinement.confine import Launch, confine

_UNAVAILABLE = 69  # sysexits.h


def main() -> None:
    """Run the module, or say what this system lacks and end with 69."""
    given, module, *arguments = sys.argv[1:]
    launch = msgspec.json.decode(given, type=Launch)
    held = confine(launch.access)
    if not set(held.lacking) <= set(launch.lacking):
        from maas_agent.base.terminal import write_line

        write_line(f"{module} was not started: {held.sentence()}", error=True)
        raise SystemExit(_UNAVAILABLE)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
