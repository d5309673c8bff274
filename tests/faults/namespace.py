"""A network of the agent's own: a namespace that one virtual cable leads to, which can be pulled. Needs root."""

import itertools
import os
import shutil
import subprocess

PROGRAM = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
_numbers = itertools.count()


def refused() -> str:
    """What is said when one is made here; empty if it can be."""
    assert PROGRAM
    name = f"maas-probe-{os.getpid()}"
    made = subprocess.run([PROGRAM, "netns", "add", name], capture_output=True, text=True)
    if made.returncode == 0:
        subprocess.run([PROGRAM, "netns", "del", name], check=True)
        return ""
    return made.stderr.strip()


class Namespace:
    """``address`` is this side of the cable, for the agent to connect to; ``within`` is the command that enters."""

    def __init__(self) -> None:
        # Unique among processes that run these tests beside each other; an interface has at most 15 characters.
        number = (os.getpid() * 8 + next(_numbers)) % (1 << 14)
        self._name, self._cable, inside = f"maas-{number}", f"maas{number}a", f"maas{number}b"
        network = f"10.{200 + (number >> 12)}.{number >> 4 & 0xFF}."
        host, agent = (number & 0xF) * 4 + 1, (number & 0xF) * 4 + 2
        self.address = f"{network}{host}"
        self.within = (PROGRAM or "ip", "netns", "exec", self._name)
        _ip("netns", "add", self._name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", inside, "netns", self._name)
        _ip("address", "add", f"{self.address}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        _ip("-n", self._name, "address", "add", f"{network}{agent}/30", "dev", inside)
        for name in ("lo", inside):
            _ip("-n", self._name, "link", "set", name, "up")

    def pull(self) -> None:
        """Nothing passes, and neither end is told."""
        _ip("link", "set", self._cable, "down")

    def plug(self) -> None:
        """The cable is back."""
        _ip("link", "set", self._cable, "up")

    def close(self) -> None:
        """Remove the namespace; the cable goes with it."""
        _ip("netns", "del", self._name)


def _ip(*words: str) -> None:
    subprocess.run([PROGRAM or "ip", *words], check=True, capture_output=True, text=True)
