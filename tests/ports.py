"""Ports of the loopback for servers that must be told one: each is nobody else's until this process ends.

Such a port is looked for, given up and only then taken by the server; and a broker that is stopped and started again
wants its own one back. Tests run side by side, so in between another process must not get it: ports come from below
those that the kernel hands out, and are claimed among tests by a UDP socket, which ends with its process.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

_FIRST = 10_000
_KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_claims: list[socket.socket] = []


def free_port() -> int:
    """A TCP port that nobody listens on, and that nobody else here is given."""
    for port in _candidates():
        claim = socket.socket(type=socket.SOCK_DGRAM)
        with suppress(OSError), socket.socket() as probe:
            claim.bind(("127.0.0.1", port))
            probe.bind(("127.0.0.1", port))
            _claims.append(claim)
            return port
        claim.close()
    raise AssertionError("no port of the loopback is free")


def _candidates() -> Iterator[int]:
    end = int(_KERNELS.read_text().split()[0]) if _KERNELS.exists() else 32_768
    yield from Random().sample(range(_FIRST, end), 1000)
