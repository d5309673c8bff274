"""Every row of the placement in docs/states.md, with trials and a clock moved by hand."""

from pathlib import Path
from typing import Any

import pytest

from maas_agent.config import PipelineSettings
from maas_agent.hub.placement import placement as placing
from maas_agent.hub.placement.placement import Placement, PlacementEvent, Settled, Tried
from maas_agent.hub.system.services import Services
from maas_agent.hub.takeover.pipeline_state import Slot
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.record import Trial, Trials
from maas_agent.trials.task import TrialReport
from tests.agent.hub.doubles import Lines
from tests.agent.hub.pipeline.supervised import HARDWARE, RUNTIME, FakeTrial
from tests.agent.hub.pools import HandLoop, hand_moved
from tests.agent.hub.rows import Rows

PLACEMENT = Rows()
RUNS, TRIES, RESTS, STOPPED = "runs", "is tried again", "an accelerator rests", "stopped"
GPU, PROCESSOR = Setup("gpu"), Setup(CPU, 2)
SETTINGS = PipelineSettings("p", model="m")
ROWS = (
    Trial(setup=GPU, p50_ms=10.0, p99_ms=400.0, load_ms=2000.0),
    Trial(setup=PROCESSOR, p50_ms=20.0, p99_ms=40.0, load_ms=3.0),
)


def trials(*rows: Trial, hardware: str = HARDWARE, runtime: str = RUNTIME) -> Trials:
    return Trials(runtime=runtime, hardware=hardware, terms=SETTINGS.terms(), rows=rows or ROWS)


def slot(found: Trials | None) -> Slot:
    return Slot("1.0.0", "1" * 64, found)


class Setting:
    """A placement, the trials that it asked for, and the events that it told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop: HandLoop = hand_moved(monkeypatch, placing)
        self.said: list[PlacementEvent] = []
        self.testers: list[FakeTrial] = []
        self.hardware = HARDWARE
        monkeypatch.setattr(placing, "TrialProcess", self._tried)
        monkeypatch.setattr(placing, "fingerprint", lambda _library: self.hardware)
        monkeypatch.setattr(placing, "runtime_version", lambda _library: RUNTIME)
        self.log = Lines()
        loop: Any = self.loop
        self.placement = Placement(Services(loop, Path("/store"), "dev", self.log), SETTINGS, self.said.append)

    def _tried(self, *given: Any) -> FakeTrial:
        self.testers.append(FakeTrial(*given))
        return self.testers[-1]

    def running(self, *rows: Trial) -> Slot:
        """The bundle that runs, tried on this very device."""
        found = slot(trials(*rows))
        self.placement.runs(found)
        assert self.testers == []
        return found

    def resting(self) -> Slot:
        """The accelerator has cost two workers; its rest of a minute has begun."""
        found = self.running()
        assert not self.placement.died(found, GPU, "crashed")
        assert self.placement.died(found, GPU, "crashed")
        return found

    @property
    def rests(self) -> list[tuple[str, float, str]]:
        return [(rest.accelerator, rest.until - self.loop.now, rest.reason) for rest in self.placement.rests]


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(monkeypatch)


@PLACEMENT.row(RUNS, "its trials are of this device")
def _(setting: Setting) -> None:
    found = setting.running()
    setting.loop.advance(600)
    assert (setting.placement.setup_for(found), setting.testers, setting.said) == (GPU, [], [])


@PLACEMENT.row(RUNS, "it was never tried, or on another device, runtime or terms")
def _(setting: Setting) -> None:
    for found in (None, trials(hardware="another"), trials(runtime="another")):
        setting.placement.runs(slot(found))
        tester = setting.testers.pop()
        assert (tester.assignment.setups, tester.assignment.seconds, tester.assignment.digest) == (
            None,
            120.0,
            "1" * 64,
        )
        tester.report(TrialReport(refused="not now"))
    assert setting.placement.setup_for(slot(None)) == Setup(CPU, SETTINGS.terms().threads or 1, {}, "auto")


@PLACEMENT.row(RUNS, "the device has other hardware than before")
def _(setting: Setting) -> None:
    setting.running()
    setting.hardware = "a stick was plugged in"
    setting.loop.advance(59)
    assert setting.testers == []
    setting.loop.advance(2)
    assert [tester.assignment.setups for tester in setting.testers] == [None]


@PLACEMENT.row(RUNS, "a worker dies")
def _(setting: Setting) -> None:
    found = setting.running()
    assert not setting.placement.died(found, GPU, "crashed")
    setting.loop.advance(601)
    assert not setting.placement.died(found, GPU, "crashed"), "ten minutes later that is another story"
    assert setting.rests == []


@PLACEMENT.row(RUNS, "a second worker dies within ten minutes")
def _(setting: Setting) -> None:
    found = setting.resting()
    assert setting.rests == [("gpu", 60.0, "its workers died twice, the last one crashed")]
    assert setting.placement.setup_for(found) == PROCESSOR


@PLACEMENT.row(RUNS, "a second worker dies, and there is no other way")
def _(setting: Setting) -> None:
    found = setting.running(ROWS[0])
    assert not setting.placement.died(found, GPU, "crashed") and not setting.placement.died(found, GPU, "crashed")
    assert (setting.rests, setting.placement.setup_for(found)) == ([], GPU)


@PLACEMENT.row(RUNS, "a second worker dies on the processor")
def _(setting: Setting) -> None:
    found = setting.running()
    assert not any(setting.placement.died(found, PROCESSOR, "crashed") for _ in range(3))
    assert setting.rests == []


@PLACEMENT.row(RUNS, "workers on another setup could not take over")
def _(setting: Setting) -> None:
    setting.running()
    setting.placement.refused(PROCESSOR, "its worker crashed")
    assert setting.rests == [], "the processor never rests"
    setting.placement.refused(GPU, "its worker crashed")
    assert setting.rests == [("gpu", 60.0, "its worker crashed")]


@PLACEMENT.row(TRIES, "it passes")
def _(setting: Setting) -> None:
    setting.placement.runs(slot(None))
    setting.placement.runs(slot(None))
    (tester,) = setting.testers
    tester.report(TrialReport(trials=trials()))
    assert setting.said == [Tried("1" * 64, trials())]


@PLACEMENT.row(TRIES, "it does not")
def _(setting: Setting) -> None:
    """It served here before, and does so now."""
    setting.placement.runs(slot(None))
    setting.testers[0].report(TrialReport(refused="it deviates"))
    assert setting.said == []
    assert setting.log.lines[-1] == (
        "error",
        "the bundle failed its trials",
        {"pipeline": "p", "reason": "it deviates"},
    )


@PLACEMENT.row(RESTS, "its time is over")
def _(setting: Setting) -> None:
    setting.resting()
    setting.loop.advance(59.4)
    assert setting.testers == []
    setting.loop.advance(1)
    (tester,) = setting.testers
    # Twenty times its load, two hundred times its median.
    assert (tester.assignment.setups, tester.assignment.seconds) == ((GPU,), 40.0 + 2.0)
    setting.loop.advance(60)
    assert len(setting.testers) == 1, "one trial at a time"


@PLACEMENT.row(RESTS, "it was tried, and is well")
def _(setting: Setting) -> None:
    found = setting.resting()
    setting.loop.advance(61)
    setting.testers[0].report(TrialReport(rows=[Trial(setup=GPU, p50_ms=9.0)]))
    assert (setting.rests, setting.said, setting.placement.setup_for(found)) == ([], [Settled()], GPU)


@PLACEMENT.row(RESTS, "it was tried, and is not")
def _(setting: Setting) -> None:
    found = setting.resting()
    for number, interval_s in enumerate((120.0, 240.0)):
        setting.loop.advance(60.5 * 2**number)
        setting.testers[number].report(TrialReport(rows=[Trial(setup=GPU, refused="it hangs")]))
        assert setting.rests == [("gpu", interval_s, "it hangs")]
    assert setting.said == [Settled(), Settled()] and setting.placement.setup_for(found) == PROCESSOR


@PLACEMENT.row(RESTS, "what tried it has died")
def _(setting: Setting) -> None:
    setting.resting()
    setting.loop.advance(61)
    setting.testers[0].report(TrialReport(refused="the process that tries it was killed by signal 11"))
    assert setting.rests == [("gpu", 120.0, "the process that tries it was killed by signal 11")]


@PLACEMENT.row(RESTS, "its time is over, and the bundle that runs now has nothing to do with it")
def _(setting: Setting) -> None:
    setting.resting()
    setting.placement.runs(slot(trials(ROWS[1])))
    setting.loop.advance(61)
    assert (setting.rests, setting.testers) == ([], [])


@PLACEMENT.row(STOPPED, "anything")
def _(setting: Setting) -> None:
    setting.placement.runs(slot(None))
    setting.placement.stop()
    (tester,) = setting.testers
    assert tester.killed
    tester.report(TrialReport(trials=trials()))
    setting.placement.runs(slot(None))
    setting.loop.advance(600)
    assert (setting.said, len(setting.testers)) == ([], 1)


@pytest.mark.parametrize("row", PLACEMENT, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(setting: Setting, row: tuple[str, str]) -> None:
    PLACEMENT[row](setting)


def test_deadlines_are_many_times_what_was_measured_and_never_short(setting: Setting) -> None:
    placement, tried, untried = setting.placement, slot(trials()), slot(None)
    assert [placement.deadline_s(tried, setup) for setup in (GPU, PROCESSOR, Setup("npu"))] == [12.0, 5.0, 10.0]
    assert [placement.start_deadline_s(tried, setup) for setup in (GPU, PROCESSOR, Setup("npu"))] == [40.0, 15.0, 120.0]
    assert (placement.deadline_s(untried, GPU), placement.start_deadline_s(untried, GPU)) == (10.0, 120.0)
