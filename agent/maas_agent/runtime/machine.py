"""What this machine can run models on, found by looking: nothing native is loaded, because a driver may crash."""

import msgspec

from maas_agent.runtime.setup import Library


class Finding(msgspec.Struct, frozen=True):
    """An accelerator, and why this machine does not have it (``None`` if it seems to).

    ``found`` names what was found, such as a library and its version; ``mend`` is the line to type that mends it.
    """

    accelerator: str
    found: str = ""
    missing: str | None = None
    mend: str | None = None


def look(library: Library = "auto") -> list[Finding]:
    """Every accelerator there could be, the processor first."""
    return [Finding("cpu")]
