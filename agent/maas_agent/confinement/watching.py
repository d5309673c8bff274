"""Which files a process asks for: told to the one that started it, which lets each call go on.

seccomp(2) has the kernel stop a call until another process has said what becomes of it (SECCOMP_RET_USER_NOTIF, Linux
5.5); here that one notes the path and says: go on. What becomes of the call is up to Landlock, which tells nobody what
it has refused.
"""

import fcntl
import os
import select
import socket
import struct
import threading
from contextlib import suppress

from maas_agent.confinement import calls, kernel
from maas_agent.confinement.filters import listening, notified

_RECEIVE, _ANSWER = 0xC0502100, 0xC0182101  # linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, …_SEND
_NOTICE_BYTES = 80
_GO_ON = 1
_PATH_BYTES = 4096
_LOOK_MS = 200
_MOST = 10_000
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(teller: socket.socket) -> None:
    """From now on have the process at the other end of ``teller`` told of every file that is opened here.

    Before it is confined, and before there is another thread. Where the kernel does not do so, nobody is told.
    """
    import array  # noqa: F401 - by what sends a descriptor; from here on nothing can be opened until somebody listens

    machine = calls.machine()
    with suppress(kernel.Refused):
        if machine is not None:
            kernel.prctl("PR_SET_NO_NEW_PRIVS", kernel.NO_NEW_PRIVS, 1)
            descriptor = listening(notified(("open", "openat"), machine), machine)
            socket.send_fds(teller, [b"x"], [descriptor])
            os.close(descriptor)
    teller.close()


class Watcher:
    """Listens in a thread to the process that has ``teller``."""

    def __init__(self) -> None:
        self._ours, self.teller = socket.socketpair()
        self._asked: dict[str, bool] = {}
        self._heard = self._blind = self._over = False
        self._thread = threading.Thread(target=self._listen, name="watcher", daemon=True)
        self._thread.start()

    def close(self) -> dict[str, bool] | None:
        """The files that were asked for, and whether to write to them, once the process has ended.

        ``None`` if nobody was told, or could see which they were.
        """
        self._over = True
        self.teller.close()
        self._thread.join()
        self._ours.close()
        return self._asked if self._heard and not self._blind else None

    def _listen(self) -> None:
        with suppress(OSError):
            _, descriptors, _, _ = socket.recv_fds(self._ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
            for descriptor in descriptors:
                self._heard = True
                try:
                    while self._hear(descriptor):
                        pass
                finally:
                    os.close(descriptor)  # whoever waits still is told that there is no such call

    def _hear(self, descriptor: int) -> bool:
        """Note one file; ``False`` when nobody is left to ask."""
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        events = waiting.poll(_LOOK_MS)
        if not events:
            return not self._over
        if not events[0][1] & select.POLLIN:
            return False  # POLLHUP: all that it was for have ended (Linux 5.9)
        notice = bytearray(_NOTICE_BYTES)
        with suppress(FileNotFoundError):  # who asked was ended meanwhile
            fcntl.ioctl(descriptor, _RECEIVE, notice)
            number, task, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notice)
            self._note(task, call, arguments)
            fcntl.ioctl(descriptor, _ANSWER, struct.pack("=QqiI", number, 0, 0, _GO_ON))
        return True

    def _note(self, task: int, call: int, arguments: list[int]) -> None:
        machine = calls.machine()
        is_open = machine is not None and call == calls.number("open", machine)
        address, flags = arguments[:2] if is_open else arguments[1:3]
        try:
            name = _text(task, address)
        except PermissionError:
            self._blind = True  # Yama: not even a child's memory is anybody's to see
        except OSError:
            pass  # it was ended meanwhile
        else:
            if len(self._asked) < _MOST:
                self._asked[name] = self._asked.get(name, False) or bool(flags & _WRITES)


def _text(task: int, address: int) -> str:
    """A path in the memory of another process, as it is there now."""
    memory = os.open(f"/proc/{task}/mem", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fsdecode(os.pread(memory, _PATH_BYTES, address).split(b"\0", 1)[0])
    finally:
        os.close(memory)
