"""``python -m maas_agent.worker FD``: the worker process, started by the hub with one end of a socketpair."""

import os
import signal
import socket
import sys

# One thread each for what is not inference: pools of idle threads cost memory on a small device.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries
from maas_agent.worker.worker import serve


def main() -> int:
    """Serve until the hub closes the socket."""
    guard_streams()
    keep_quiet_about_libraries()
    for number in (signal.SIGINT, signal.SIGHUP):  # Ctrl-C and the end of a terminal are the hub's to handle
        signal.signal(number, signal.SIG_IGN)
    return serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # nobody waits for a driver to take itself down, and some crash or talk when they do
