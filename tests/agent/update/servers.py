"""Servers that people really use for static files, as processes of their own on a free port of the loopback."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.ports import free_port

_NGINX = """
daemon off; master_process off; pid {state}/pid; error_log stderr;
events {{ }}
http {{
  access_log off; client_body_temp_path {state}; proxy_temp_path {state}; fastcgi_temp_path {state};
  uwsgi_temp_path {state}; scgi_temp_path {state};
  server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


@contextmanager
def http_server(folder: Path) -> Iterator[int]:
    """``python -m http.server``: HTTP/1.0, a connection for each file, no ranges. Yields its port."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    with _running(command, port):
        yield port


@contextmanager
def nginx(folder: Path, state: Path) -> Iterator[int]:
    """nginx with what is built in; skips the test where there is none. Yields its port."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if program is None:
        pytest.skip("there is no nginx: sudo apt install nginx-light")
    port = free_port()
    state.mkdir()
    (state / "nginx.conf").write_text(_NGINX.format(state=state, port=port, folder=folder))
    # Its worker is not root, if this is: it must be able to come to the files.
    for parent in (state, folder, *folder.parents):
        if parent.stat().st_uid != 0 or parent == Path("/"):
            break
        parent.chmod(parent.stat().st_mode | 0o055)
    with _running([program, "-p", str(state), "-c", str(state / "nginx.conf")], port):
        yield port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not _answers(port):
            assert process.poll() is None, f"{command[0]} ended"
            assert time.monotonic() < deadline, f"{command[0]} does not listen"
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
