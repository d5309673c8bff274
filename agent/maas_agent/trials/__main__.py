"""``python -m maas_agent.trials FD``: tries a staged bundle for the hub: an `Assignment` comes, a `TrialReport` goes.

In an update, after the puller has staged it; and again after the runtime or the hardware changed, or when an
accelerator's quarantine is over. It ends with the hub.
"""

import os
import socket
import sys
from pathlib import Path

import msgspec

from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries
from maas_agent.errors import MaasError, SelfTestError
from maas_agent.host.children import die_with_parent
from maas_agent.trials import run
from maas_agent.trials.task import Assignment, TrialReport

_NICE = 10


def main() -> None:
    """Serve one assignment."""
    guard_streams()
    die_with_parent()
    keep_quiet_about_libraries()
    hub = socket.socket(fileno=int(sys.argv[1]))
    with hub.makefile("rb") as lines:
        assignment = msgspec.json.decode(lines.readline(), type=Assignment)
    if assignment.gentle:
        os.nice(_NICE)
    hub.sendall(msgspec.json.encode(tried(assignment)) + b"\n")


def tried(assignment: Assignment) -> TrialReport:
    """What came of it."""
    store, digest, terms, seconds = Path(assignment.store), assignment.digest, assignment.terms, assignment.seconds
    if assignment.setups is not None:
        verdicts = run.try_all(store, digest, assignment.setups, terms, seconds)
        return TrialReport(rows=[verdict.trial for verdict in verdicts])
    try:
        return TrialReport(trials=run.select(store, digest, terms, seconds))
    except MaasError as error:
        return TrialReport(refused=str(error), blamed=isinstance(error, SelfTestError))


if __name__ == "__main__":
    main()
