"""What every part of a pipeline is given: the loop it lives in, and where and for whom it works."""

from pathlib import Path

import msgspec

from maas_agent.base.log import Log
from maas_agent.hub.system.cgroups import MemoryGroups
from maas_agent.hub.system.loop import Loop


class Services(msgspec.Struct, frozen=True):
    """One value for the whole hub; made once, and handed down."""

    loop: Loop
    store: Path
    device: str
    """The device's id."""
    log: Log
    groups: MemoryGroups | None = None
    """Bounds the memory of workers, where the service manager lets the hub."""
