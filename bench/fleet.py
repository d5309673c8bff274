"""``python -m bench.fleet``: a staged rollout over many simulated devices, on one machine, against one Mosquitto.

The devices are real control planes (`bench.control_planes`) without workers; 3 % of them are bad: the new version
fails its self-test there. With a bound of 2 % the rollout has to stop, with 5 % it has to get through. The exit status
is 0 when both did.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from bench.control_planes import GROUP, MODEL, names
from bench.processes import await_ready, running
from bench.serving import broker
from maas_converter.fleet.broker import BrokerAccess, BrokerConnection
from maas_converter.fleet.operator import Aim, Operator
from maas_converter.fleet.rollout import Rollout, RolloutProgress
from maas_converter.fleet.view import FleetView

_READY_S = 300.0
_IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""A device syncs what it is told to its own disk; a thousand of them on one disk would measure that disk."""
_TICKS = os.sysconf("SC_CLK_TCK")


class Stage(msgspec.Struct, frozen=True):
    """How a stage went: ``seconds`` from its first message to its last device, without the soak.

    ``None`` if it was stopped before that.
    """

    percent: float
    devices: int
    failed: int
    seconds: float | None


class Run(msgspec.Struct, frozen=True):
    """How a rollout went."""

    version: str
    max_failures: float
    state: str
    stages: list[Stage]
    running: int
    """Devices that run the version at the end."""


class Figures(msgspec.Struct, frozen=True):
    """What a run of the benchmark found. Memory in MB of 10^6 bytes, processor time in seconds."""

    devices: int
    bad: int
    connected_s: float
    first_look_s: float
    rollouts: list[Run]
    simulator_mb: float
    operator_mb: float
    broker_mb: float
    broker_cpu_s: float
    seconds: float
    messages: int = 0
    """What the devices have published."""


def measure(count: int, bad_share: float, soak_s: float, stages: tuple[float, ...], seed: int = 1) -> Figures:
    """Connect ``count`` devices, roll out twice, and say how it went."""
    bad = random.Random(seed).sample(names(count), round(count * bad_share))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="maas-fleet-", dir=_IN_MEMORY) as scratch, broker(Path(scratch)) as port:
        url = f"mqtt://127.0.0.1:{port}"
        log = Path(scratch) / "devices.log"
        command = [sys.executable, "-m", "bench.control_planes", url, f"{scratch}/devices", str(count), ",".join(bad)]
        with running(command, log) as simulator:
            await_ready(simulator, log, lambda: "ready" in log.read_text(), _READY_S)
            connected_s = time.monotonic() - began
            first_look_s, rollouts = _rollouts(url, soak_s, stages)
            pid = _mosquitto()
            figures = Figures(
                devices=count,
                bad=len(bad),
                connected_s=round(connected_s, 1),
                first_look_s=round(first_look_s, 2),
                rollouts=rollouts,
                simulator_mb=_peak_mb(simulator.pid),
                operator_mb=_peak_mb(os.getpid()),
                broker_mb=_peak_mb(pid),
                broker_cpu_s=_cpu_s(pid),
                seconds=round(time.monotonic() - began, 1),
            )
        return msgspec.structs.replace(figures, messages=_published(log.read_text()))


def _rollouts(url: str, soak_s: float, stages: tuple[float, ...]) -> tuple[float, list[Run]]:
    """First with a bound that the bad devices exceed, then with one that they do not."""
    aim, runs, first_look_s = Aim("maas", MODEL, GROUP), list[Run](), 0.0
    for version, max_failures in (("1.1.0", 2.0), ("1.2.0", 5.0)):
        picture = FleetView("maas")
        with BrokerConnection(BrokerAccess(url=url), [*picture.filters, aim.topic]) as connection:
            began = time.monotonic()
            operator = Operator(connection, aim, picture)
            first_look_s = first_look_s or time.monotonic() - began
            rollout = Rollout(
                id=f"bench-{version}",
                version=version,
                stages=stages,
                soak_s=soak_s,
                patience_s=300.0,
                max_failures=max_failures,
            )
            operator.begin(rollout)
            runs.append(_led(operator, rollout))
    return first_look_s, runs


def _led(operator: Operator, rollout: Rollout) -> Run:
    found_stages = dict[int, Stage]()

    def note(now: Rollout, found: RolloutProgress) -> None:
        if now.state == "stopped":
            found_stages[now.stage] = Stage(now.percent, found.size, len(found.failed), None)
        elif now.soaking is not None and now.stage not in found_stages:
            took = round(now.soaking - now.since, 2)
            found_stages[now.stage] = Stage(now.percent, found.size, len(found.failed), took)

    ended = operator.lead(note)
    there = sum(any(each.active == rollout.version for each in device.of_model(MODEL)) for device in operator.devices)
    stages = [found_stages[number] for number in sorted(found_stages)]
    return Run(rollout.version, rollout.max_failures, ended.state, stages, there)


def _published(said: str) -> int:
    return next((int(line.split()[0]) for line in said.splitlines() if line.endswith(" messages")), 0)


def _mosquitto() -> int:
    """The process id of the broker: the only child that is none of this module's own."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")
            if "mosquitto" in fields[0] and int(fields[2].split()[1]) == os.getpid():
                return int(path.parent.name)
        except (OSError, ValueError, IndexError):
            continue
    return 0


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    kilobytes = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    return round(kilobytes * 1024 / 1e6, 1)


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return round((int(fields[11]) + int(fields[12])) / _TICKS, 1)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--bad", type=float, default=0.03, help="share of the devices on which a new version fails")
    parser.add_argument("--soak", type=float, default=2.0, help="seconds that a stage is watched")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    figures = measure(options.devices, options.bad, options.soak, (5.0, 25.0, 100.0))
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(figures), indent=2).decode())
    else:
        _show(figures)
    return 0 if [run.state for run in figures.rollouts] == ["stopped", "done"] else 1


def _show(figures: Figures) -> None:
    print(f"{figures.devices} devices, {figures.bad} of them bad; all connected after {figures.connected_s} s")
    print(f"the operator knows them all after {figures.first_look_s} s")
    for run in figures.rollouts:
        print(f"{run.version}, at most {run.max_failures:g} % failures: {run.state}, {run.running} devices run it")
        for stage in run.stages:
            print(f"  {stage.percent:5g} %: {stage.devices} devices, {stage.failed} failed, {_took(stage)}")
    print(f"peak MB: simulator {figures.simulator_mb}, operator {figures.operator_mb}, broker {figures.broker_mb}")
    print(f"broker {figures.broker_cpu_s} s of processor time in {figures.seconds} s")
    print(f"the devices published {figures.messages} messages, {figures.messages / figures.seconds:.0f}/s on average")


def _took(stage: Stage) -> str:
    return "stopped" if stage.seconds is None else f"{stage.seconds} s"


if __name__ == "__main__":
    sys.exit(main())
