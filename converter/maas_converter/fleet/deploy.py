"""``maas-converter deploy``: what a person asked for, led to its end, and shown."""

import itertools
import sys
from typing import Any, Literal

import msgspec

from maas_agent.base.terminal import cell
from maas_agent.bundle.manifest import NAME
from maas_agent.bundle.version import parse_version
from maas_agent.errors import DataError, UsageError
from maas_converter.base.console import say, terminal, text
from maas_converter.fleet.broker import BrokerAccess, BrokerConnection
from maas_converter.fleet.operator import Aim, Operator, Show
from maas_converter.fleet.rollout import Rollout, RolloutProgress
from maas_converter.fleet.view import FleetView

Action = Literal["begin", "resume", "abort", "rollback", "status"]
_LONGEST_REASON = 500
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Deployed(msgspec.Struct, frozen=True):
    """How a rollout stands: what ``--json`` prints."""

    model: str
    rollout: Rollout
    progress: RolloutProgress


def deploy(access: BrokerAccess, aim: Aim, rollout: Rollout | None, action: Action) -> Deployed:
    """Do ``action`` with the rollout of ``aim``; ``rollout`` is the new one to begin.

    Raises `UnavailableError` for a broker that is not there, `DataError` or `UsageError` for what cannot be done.
    """
    view = FleetView(aim.root)
    with BrokerConnection(access, [*view.filters, aim.topic]) as broker:
        operator = Operator(broker, aim, view)
        before = operator.rollout
        try:
            _act(operator, aim, rollout, action)
        except KeyboardInterrupt:
            if operator.rollout != before or action == "resume":
                say(f"the rollout stays where it is; go on with: {_again(aim, operator, '--resume')}")
            raise
        return Deployed(aim.model, operator.required(), operator.found)


def _act(operator: Operator, aim: Aim, rollout: Rollout | None, action: Action) -> None:
    with Display(aim) as show:
        match action:
            case "begin" if rollout is not None:
                operator.begin(rollout)
                ended = operator.lead(show)
            case "resume":
                operator.resume()
                ended = operator.lead(show)
            case "abort":
                operator.end("aborted", "the operator aborted it")
                return
            case "rollback":
                operator.end("rolled_back", "the operator rolled it back")
                ended = operator.required()
            case _:
                operator.required()
                return
        if ended.state == "rolled_back":
            operator.settle(show)


def parse_target(text: str) -> tuple[str, str]:
    """``NAME==VERSION`` taken apart; raises `UsageError`."""
    name, separator, version = text.partition("==")
    if not separator or not NAME.fullmatch(name):
        raise UsageError(f"{text!r}: write NAME==VERSION, as in digits==1.2.0")
    try:
        parse_version(version)
    except DataError as error:
        raise UsageError(str(error)) from None
    return name, version


def check_level(text: str, option: str) -> None:
    """Raise `UsageError` if ``text`` cannot be a level of a topic that a document goes to (MQTT 5.0 section 4.7)."""
    if not text or not text.isprintable() or set(text) & set("/+#"):
        raise UsageError(f"{option} {text!r}: one level of a topic, printable, without /, + and #")


def parse_stages(text: str) -> tuple[float, ...]:
    """``5%,25%,100%`` as numbers that rise to 100; raises `UsageError`."""
    stages = tuple(parse_percent(part, "--stages") for part in text.split(","))
    rising = all(a < b for a, b in itertools.pairwise(stages))
    if not rising or stages[0] <= 0 or stages[-1] != 100:
        raise UsageError(f"--stages {text}: percentages that rise, to 100% at last, as in 5%,25%,100%")
    return stages


def parse_percent(text: str, option: str) -> float:
    """``5%`` or ``5`` as a number from 0 to 100; raises `UsageError`."""
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageError(f"{option} {text}: a percentage, as in 5%")
    return value


def parse_duration(text: str, option: str) -> float:
    """``90s``, ``10m``, ``2h`` or ``1d`` in seconds; raises `UsageError`."""
    number, unit = text[:-1], text[-1:]
    try:
        seconds = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"{option} {text}: a number and s, m, h or d, as in 10m")
    return seconds


class Display:
    """What a person sees of a rollout: a line that changes on a terminal, and a line for every step anywhere."""

    def __init__(self, aim: Aim) -> None:
        self._aim = aim
        self._said: tuple[object, ...] = ()
        self._failed: set[str] = set()
        self._status: Any = None

    def __enter__(self) -> Show:
        if sys.stderr.isatty():
            self._status = terminal().status("asking the fleet …")
            self._status.start()
        return self._show

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _show(self, rollout: Rollout, found: RolloutProgress) -> None:
        line = describe(rollout, found)
        if self._status is not None:
            self._status.update(text(f"{self._aim.model} {rollout.version}: {line}"))
        news = (rollout.stage, rollout.state, rollout.soaking is not None, tuple(found.failed))
        if news != self._said:
            self._said = news
            say(f"{self._aim.model} {rollout.version} to {self._aim.words}: {line}")
        for device, reason in found.failed.items():
            # At once: a device that is taken back has forgotten it soon.
            if device not in self._failed and rollout.state == "running":
                self._failed.add(device)
                say(f"  {failure(device, reason)}")


def failure(device: str, reason: str) -> str:
    """What a device says of itself, in a line: no longer than a person reads, whatever it says."""
    return f"{cell(device)}: {cell(reason, _LONGEST_REASON)}"


def describe(rollout: Rollout, found: RolloutProgress) -> str:
    """Say in a line where a rollout stands."""
    if rollout.state == "rolled_back":
        return f"rolled back ({_reason(rollout)}); {len(found.pending)} devices still run it"
    where = f"stage {rollout.stage + 1} of {len(rollout.stages)} ({rollout.percent:g} %)"
    counts = f"{len(found.done)} of {found.size} devices run it, {len(found.failed)} failed"
    counts += f", {len(found.offline)} offline" if found.offline else ""
    doing = {"running": "soaking" if rollout.soaking is not None else "under way"}.get(rollout.state, rollout.state)
    return f"{where} {doing}: {counts}" + (f" ({_reason(rollout)})" if rollout.reason else "")


def _reason(rollout: Rollout) -> str:
    # It is kept on the broker: whoever may write there can have changed it.
    return cell(rollout.reason or "no reason was given", _LONGEST_REASON)


def _again(aim: Aim, operator: Operator, option: str) -> str:
    whom = f"--group {aim.group}" if aim.group else f"--device {aim.device}"
    return f"maas-converter deploy {aim.model}=={operator.required().version} {whom} --broker … {option}"
