"""A command in a process of its own: a native library that crashes on a model takes that process, not the program.

The parent keeps the folder for scratch files and the exit code, and writes what leaves the child (see
`maas_converter.base.outlet`), which confines itself before it reads a model. It is forked before anything large is
imported, which costs a millisecond.
"""

import mmap
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from maas_agent.base.terminal import part_from_libraries, relaying
from maas_agent.errors import RuntimeFailure
from maas_agent.host.children import die_with_parent
from maas_converter.base import outlet

_BOARD_BYTES = 512
_REST_S = 1.0
"""For what native code has printed last."""

_board: mmap.mmap | None = None


def note_step(what: str) -> None:
    """Remember what begins now, where the parent can read it should this process die of it."""
    if _board is not None:
        _board.seek(0)
        _board.write(what.encode()[: _BOARD_BYTES - 1].ljust(_BOARD_BYTES, b"\0"))


def isolated(work: Callable[[], int], answers: outlet.Answers | None = None) -> int:
    """Run ``work`` in a child and return its exit code; raises `RuntimeFailure` if a signal ended it.

    What it asks is answered by ``answers``. Temporary files that the child makes go with it, however it ends. Ctrl-C
    reaches both: the child answers it.
    """
    global _board
    _board = mmap.mmap(-1, _BOARD_BYTES)
    with tempfile.TemporaryDirectory(prefix="maas-converter-", ignore_cleanup_errors=True) as scratch:
        said, says = os.pipe()
        ours, theirs = socket.socketpair()
        child = os.fork()
        if child == 0:
            os.close(said)
            ours.close()
            outlet.use(theirs)
            _become_child(work, scratch, says)
        os.close(says)
        theirs.close()
        relay = relaying(said)  # a thread, so not before the fork
        status = _wait(child, lambda: outlet.serve(ours, Path(scratch), answers or {}))
        relay.join(_REST_S)
    if os.WIFSIGNALED(status):
        raise _failure(signal.Signals(os.WTERMSIG(status)), _read_step())
    return os.waitstatus_to_exitcode(status)


def _become_child(work: Callable[[], int], scratch: str, says: int) -> None:
    code = 70
    try:
        die_with_parent()
        part_from_libraries(says)
        # Importers are children in turn, and read the variable; this process read it already.
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
        code = work()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Not sys.exit: what the parent has set up is for the parent to end.
        os._exit(code)


def _wait(child: int, serve: Callable[[], None]) -> int:
    """Serve the child until it ends, and return its status.

    Ctrl-C is the child's to answer; to end this process is to end both.
    """
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    try:
        serve()
        return os.waitpid(child, 0)[1]
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def _read_step() -> str:
    text = _board[:].rstrip(b"\0").decode(errors="replace") if _board is not None else ""
    return text or "the command"


def _failure(by: signal.Signals, step: str) -> RuntimeFailure:
    if by is signal.SIGKILL:
        return RuntimeFailure(f"killed while {step}, most likely for want of memory; nothing was written")
    if by is signal.SIGXCPU:
        return RuntimeFailure(f"{step} took more than 8 hours of processor time; nothing was written")
    if by in (signal.SIGTERM, signal.SIGINT):
        return RuntimeFailure(f"ended by {by.name} while {step}; nothing was written")
    return RuntimeFailure(
        f"a native library crashed ({by.name}) while {step}; nothing was written. Another --quantize recipe may avoid "
        "what it crashed on; float32 changes nothing in the model"
    )
