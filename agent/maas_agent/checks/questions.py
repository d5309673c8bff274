"""Asks a child process what takes native libraries to answer: they may crash or hang this device."""

import re
import signal
import subprocess
import sys

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.checks.clock import ServerTime
from maas_agent.errors import UnavailableError
from maas_agent.host.children import signal_name
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits
from maas_agent.update.protocol import RepositoryAccess


class Loads(msgspec.Struct, frozen=True, tag="loads"):
    """Can the library for ``setup`` be loaded, with what a worker of these ``limits`` may reach? Name and version."""

    setup: Setup
    limits: WorkerLimits = WorkerLimits()


class Reaches(msgspec.Struct, frozen=True, tag="reaches"):
    """Does the repository's server have the file at ``url``, within ``seconds``? The time that it says."""

    access: RepositoryAccess
    url: str
    seconds: float


class Offers(msgspec.Struct, frozen=True, tag="offers"):
    """Can the repository be trusted by the root metadata that ``access`` names? What it offers.

    ``scratch`` is an empty folder.
    """

    access: RepositoryAccess
    scratch: str


Question = Loads | Reaches | Offers


class Reply(msgspec.Struct, frozen=True):
    """``found`` what was asked for, or the ``reason`` why not; ``time`` is what a server said."""

    found: str = ""
    reason: str | None = None
    time: ServerTime | None = None


_NOT_FOR_THIS_PROCESSOR = ": it was built for another processor than this one"
_ENDS = re.compile(r"pip install [^;(]*[^;(\s]")


def ask(question: Question, seconds: float) -> str:
    """What was found; raises as `answer`."""
    return answer(question, seconds).found


def answer(question: Question, seconds: float) -> Reply:
    """The answer; raises `UnavailableError` with the reason if there is none, or none within ``seconds``."""
    command = [sys.executable, "-m", "maas_agent.checks.child"]
    try:
        child = subprocess.run(command, input=msgspec.json.encode(question), capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"no answer within {seconds:g} s: it hangs") from None
    if child.returncode < 0:
        illegal = _NOT_FOR_THIS_PROCESSOR if child.returncode == -signal.SIGILL else ""
        raise UnavailableError(f"its library crashes ({signal_name(-child.returncode)}){illegal}")
    try:
        reply = msgspec.json.decode(child.stdout, type=Reply)
    except MALFORMED:
        last = child.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise UnavailableError(last or f"ended with status {child.returncode}") from None
    if reply.reason is not None:
        raise UnavailableError(reply.reason)
    return reply


def line_to_type(reason: str) -> str | None:
    """The command that a reason ends with, if it does."""
    found = _ENDS.search(reason)
    return found.group() if found else None
