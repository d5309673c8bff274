"""``python -m tests.agent.hub.system.jobs FD``: a job process that does what its first line says."""

import os
import socket
import sys
import time


def main() -> None:
    hub = socket.socket(fileno=int(sys.argv[1]))
    what = hub.recv(16, socket.MSG_PEEK).partition(b" ")[0]
    if what == b"count":
        with hub.makefile("rb") as lines:
            hub.sendall(str(len(lines.readline())).encode())
    elif what == b"announce":
        hub.sendall(b"announced\n")
        os.kill(os.getpid(), 9)
    elif what == b"deaf":
        hub.sendall(b"deaf\n")
        time.sleep(600)


main()
