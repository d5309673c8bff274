"""``python -m bench``: the agent and its peers, in one run, on one machine, against one broker."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec
from rich.console import Console

from bench import model, report, serving, table
from bench.processes import StartError, output_of
from bench.wire import WireError

_PACKAGES = ("ai-edge-litert", "numpy", "paho-mqtt", "aiomqtt", "flask", "keras", "tensorflow")
_NOTE = Console(stderr=True, highlight=False)


class Measurement(NamedTuple):
    """One entry of the schedule."""

    round: int
    contender: str
    qos: int | None  # None over HTTP


def schedule(contenders: list[str], qualities: list[int], rounds: int) -> Iterator[Measurement]:
    """Yield what to measure, interleaved: each round everybody, in an order rotated by one each time.

    What is compared runs within the same minute, and nobody always runs first.
    """
    for round_ in range(rounds if contenders else 0):
        shift = round_ % len(contenders)
        order = contenders[shift:] + contenders[:shift]
        for qos in qualities:
            for name in order:
                if not serving.CONTENDERS[name].http:
                    yield Measurement(round_, name, qos)
                elif qos == qualities[0]:  # HTTP knows no QoS: once a round
                    yield Measurement(round_, name, None)


def _sample(entry: Measurement, site: serving.Site, seconds: float) -> serving.Sample:
    sample = serving.measure(entry.contender, site, entry.qos, entry.round, seconds)
    protocol = "HTTP " if entry.qos is None else f"QoS {entry.qos}"
    _NOTE.print(
        f"round {entry.round + 1}  {protocol}  {entry.contender:8}"
        f" {sample.saturated.requests_per_s:9,.0f} requests/s  p50 {sample.single.p50_us:9,.0f} us"
        f"  {'' if not report.inexact(sample) else 'NOT EXACT'}"
    )
    return sample


class _BarePrint(msgspec.Struct, frozen=True):
    """What ``bench.peers.bare`` prints."""

    peak_kib: int
    invoke_us: float


def _bare(site: serving.Site, rounds: int) -> report.Bare:
    """Measure the bare interpreter, in as many fresh processes as there are rounds."""
    command = [sys.executable, "-m", "bench.peers.bare", str(site.model.tflite)]
    prints = [msgspec.json.decode(output_of(command, 60), type=_BarePrint) for _ in range(rounds)]
    peak_mb = report.spread(printed.peak_kib * 1024 / 1e6 for printed in prints)
    return report.Bare(peak_mb, report.spread(printed.invoke_us for printed in prints))


def _machine() -> dict[str, str]:
    """Return what the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")
    facts = {"CPU": f"{os.cpu_count()} x {cpu}", "Python": platform.python_version()}
    for package in _PACKAGES:
        facts[package] = version(package)
    facts["load average"] = f"{os.getloadavg()[0]:.2f} at the start"
    return facts


def run(options: argparse.Namespace, folder: Path, port: int) -> report.Report:
    """Measure everything that was asked for, and sum it up."""
    machine = _machine()
    _NOTE.print("building the model")
    site = serving.Site(folder, port, model.built((options.cache or folder).resolve()))
    samples: list[serving.Sample] = []
    failures: list[str] = []
    qualities = [0, 1] if options.qos is None else [options.qos]
    for entry in schedule(options.only, qualities, options.rounds):
        try:
            samples.append(_sample(entry, site, options.seconds))
        except (StartError, WireError, subprocess.TimeoutExpired) as error:
            failures.append(f"{entry.contender}, QoS {entry.qos}, round {entry.round + 1}: {error}")
    bare = _bare(site, options.rounds)
    machine["load average"] += f", {os.getloadavg()[0]:.2f} at the end"
    return _summed_up(machine, options.seconds, samples, bare, failures)


def _summed_up(
    machine: dict[str, str],
    seconds: float,
    samples: list[serving.Sample],
    bare: report.Bare,
    failures: list[str],
) -> report.Report:
    for sample in samples:
        if wrong := report.inexact(sample):
            failures.append(f"{sample.contender}, QoS {sample.qos}, round {sample.round + 1}: {wrong} inexact")
    # A sample with wrong answers is kept and named, but nothing is quoted from it.
    exact = [sample for sample in samples if not report.inexact(sample)]
    measured, paired = report.rows(exact), report.ratios(exact)
    bars = report.bars(measured, paired, bare)
    return report.Report(machine, seconds, measured, paired, bare, bars, failures, samples)


def _names(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in serving.CONTENDERS:
            raise argparse.ArgumentTypeError(f"{name!r}: choose from {', '.join(serving.CONTENDERS)}")
    return names


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The agent and its peers.")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of each run (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    parser.add_argument(
        "--only",
        type=_names,
        default=list(serving.CONTENDERS),
        metavar="NAME,…",
        help=f"some of {', '.join(serving.CONTENDERS)} (default all)",
    )
    parser.add_argument("--qos", type=int, choices=(0, 1), help="measure one QoS only (default both)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report as JSON")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the built model here between runs")
    return parser.parse_args()


def _terminate(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    """Measure, print; 0 when every answer came exactly once, 1 when not, 130 when interrupted."""
    options = _arguments()
    signal.signal(signal.SIGTERM, _terminate)  # ends like Ctrl-C: with every process and file of the run
    try:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="maas-bench-")))
            summary = run(options, folder, stack.enter_context(serving.broker(folder)))
    except KeyboardInterrupt:
        return 130
    table.show(summary, Console(width=None if sys.stdout.isatty() else 160))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
    return 1 if summary.failures else 0


if __name__ == "__main__":
    sys.exit(main())
