"""``python -m maas_agent.trials FD``: tries a staged bundle for the hub: an `Assignment` comes, a `Report` goes.

For what is tried again outside an update: after the runtime or the hardware changed, or when an accelerator's
quarantine is over. It ends with the hub: its socket closes.
"""

import os
import signal
import socket
import sys
import threading
from pathlib import Path

import msgspec

from maas_agent.errors import MaasError
from maas_agent.trials import run
from maas_agent.trials.task import Assignment, Report


def main() -> None:
    """Serve one assignment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the hub's to handle
    hub = socket.socket(fileno=int(sys.argv[1]))
    with hub.makefile("rb") as lines:
        assignment = msgspec.json.decode(lines.readline(), type=Assignment)
    threading.Thread(target=_end_with, args=(hub,), daemon=True).start()
    hub.sendall(msgspec.json.encode(_report(assignment)) + b"\n")


def _report(assignment: Assignment) -> Report:
    store = Path(assignment.store)
    if assignment.setups is not None:
        verdicts = run.try_all(store, assignment.digest, assignment.setups, assignment.terms)
        return Report(rows=[verdict.trial for verdict in verdicts])
    try:
        return Report(trials=run.select(store, assignment.digest, assignment.terms))
    except MaasError as error:
        return Report(refused=str(error))


def _end_with(hub: socket.socket) -> None:
    """A child that is trying a model is in this session, and is ended with it."""
    hub.recv(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
