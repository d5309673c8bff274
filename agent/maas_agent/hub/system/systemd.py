"""Speaks with the service manager: sd_notify(3) without a library. Does nothing when systemd is not there."""

import contextlib
import os
import socket

from maas_agent.base.terminal import printable


class ServiceManager:
    """Tells systemd what `Type=notify` and `WatchdogSec=` want to hear."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._last_status = ""

    @property
    def watchdog_s(self) -> float | None:
        """How often `alive` must be said at the least, in seconds; ``None`` if nobody watches."""
        mine = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        return int(microseconds) / 1e6 if self._address and mine and microseconds.isdigit() else None

    def ready(self) -> None:
        """The first pipeline serves."""
        self._send("READY=1")

    def alive(self) -> None:
        """Hub and workers answer."""
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``; sent when it changes."""
        # A line break would begin another assignment, and systemctl writes to a terminal.
        text = printable(" ".join(text.split()))
        if text != self._last_status:
            self._last_status = text
            self._send(f"STATUS={text}")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(message.encode(), socket.MSG_DONTWAIT, address)
