"""``python -m tests.agent.hub.updates.lying FD``: a puller that somebody has taken over, and says what he likes."""

import socket
import sys

from maas_agent.update.protocol import Outcome, PullProgress, line_of


def main() -> None:
    """Say of the first pipeline that a bundle has passed its tests: another one than was tried, or none at all."""
    hub = socket.socket(fileno=int(sys.argv[1]))
    with hub.makefile("rb") as lines:
        job = lines.readline()
        if b'"model":"tries"' in job:
            hub.sendall(line_of(PullProgress("p", "testing", "1.0.0", "b" * 64)))
            lines.readline()
        hub.sendall(line_of(Outcome(pipeline="p", result="tested", state="testing", version="1.0.0", digest="a" * 64)))
        lines.readline()


main()
