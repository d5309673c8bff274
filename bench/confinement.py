"""``python -m bench.confinement``: what confining a worker costs: until it is ready, in throughput and in memory.

A worker process is spoken to over a socketpair, as by the hub, confined and not in turn; medians over the rounds, with
the quarters below and above, and the median of the ratios within a round, where both saw the same machine.
"""

import argparse
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.model import built
from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.staged import blob_path
from maas_agent.config import MqttSource
from maas_agent.ipc import Answer, Channel, InferenceRequest, Ready, Start, ToHub
from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import WorkerLimits

_REQUESTS = 5000
_OUTSTANDING = 32
_PIXELS = bytes(784)


def staged(bundle: Path, store: Path) -> str:
    """Put a bundle into a store; its manifest's digest."""
    with open_bundle(bundle) as opened:
        files = {digest: opened.blob(digest) for digest in opened.manifest.blobs()}
        for digest, data in (files | {opened.digest: opened.manifest_bytes}).items():
            blob_path(store, digest).parent.mkdir(exist_ok=True)
            blob_path(store, digest).write_bytes(data)
        return opened.digest


def measure(store: Path, digest: str, *, confine: bool) -> tuple[float, float, float]:
    """Milliseconds until a worker is ready, requests a second, and MB of memory at most."""
    ours, theirs = socket.socketpair()
    start = Start(
        device="-",
        pipeline="-",
        store=str(store),
        manifest=digest,
        setup=Setup(),
        limits=WorkerLimits(confine=confine),
        form=None,
        source=MqttSource(),
        max_payload_bytes=10_000,
        heartbeat_s=10.0,
    )
    begun = time.perf_counter()
    command = [sys.executable, "-P", "-m", "maas_agent.worker", str(theirs.fileno())]
    with ours, theirs, subprocess.Popen(command, pass_fds=[theirs.fileno()]) as worker:
        theirs.close()
        channel: Channel[ToHub] = Channel(ours, ToHub)
        channel.put(start)
        channel.flush()
        (ready,) = channel.receive() or [None]
        assert isinstance(ready, Ready), ready
        ready_ms = (time.perf_counter() - begun) * 1000
        rate = _rate(channel)
        peak = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{worker.pid}/status").read_text())
        ours.close()
    return ready_ms, rate, int(peak[0]) / 1000


def _rate(channel: Channel[ToHub]) -> float:
    begun, sent, answered = time.perf_counter(), 0, 0
    while answered < _REQUESTS:
        while sent < _REQUESTS and sent - answered < _OUTSTANDING:
            sent += 1
            channel.put(InferenceRequest(sent, str(sent), _PIXELS, None, time.time(), time.monotonic()))
        channel.flush()
        answered += sum(isinstance(message, Answer) and message.code is None for message in channel.receive() or [])
    return _REQUESTS / (time.perf_counter() - begun)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.confinement")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cache", type=Path, help="a folder that keeps the model from run to run")
    options = parser.parse_args()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with tempfile.TemporaryDirectory(prefix="maas-bench-") as folder:
        store = Path(folder)
        digest = staged(built(options.cache or store).bundle, store)
        found: dict[bool, list[tuple[float, float, float]]] = {True: [], False: []}
        for number in range(options.rounds):
            for confine in (True, False) if number % 2 else (False, True):
                found[confine].append(measure(store, digest, confine=confine))
    for at, what in enumerate(("ready, ms", "requests/s", "peak memory, MB")):
        free, held = ([one[at] for one in found[confine]] for confine in (False, True))
        ratio = statistics.median(b / a for a, b in zip(free, held, strict=True))
        print(f"{what:16} free {_spread(free)}   confined {_spread(held)}   ratio {ratio:.3f}")


def _spread(values: list[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.1f} ({low:.1f}-{high:.1f})"


if __name__ == "__main__":
    main()
