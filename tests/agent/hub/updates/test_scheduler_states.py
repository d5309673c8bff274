"""Every row of the updates in docs/states.md, with pullers, pipelines and a clock moved by hand."""

import random
from pathlib import Path
from typing import Any

import pytest

from maas_agent.bundle.desired_state import Choice
from maas_agent.config import Config, DeviceSettings, PipelineSettings, RepositorySettings, StoreSettings
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot, UpdateState
from maas_agent.hub.updates import scheduler as scheduling
from maas_agent.hub.updates.scheduler import UpdateScheduler
from maas_agent.update.protocol import Outcome, PullJob, PullProgress
from maas_agent.update.store import inbox
from tests.agent.hub.doubles import Lines
from tests.agent.hub.pools import HandLoop
from tests.agent.hub.rows import Rows

UPDATES = Rows()
IDLE, PULLS, STOPPED = "idle", "a puller runs", "stopped"
POLL_S = 600.0
ONE = Slot("1.0.0", "1" * 64)


class FakePuller:
    """A puller: ``job`` is what it is to do; the test says what comes of it."""

    def __init__(self, _loop: Any, job: PullJob, on_event: Any, on_end: Any, _log: Any) -> None:
        self.job, self._on_event, self._on_end = job, on_event, on_end
        self.outcomes: dict[str, Outcome] = {}
        self.killed = False

    @property
    def names(self) -> set[str]:
        return {wanted.pipeline for wanted in self.job.wanted}

    def says(self, event: PullProgress | Outcome) -> None:
        self._on_event(event)
        if isinstance(event, Outcome):
            self.outcomes[event.pipeline] = event

    def ends(self, how: str = "ended with status 0") -> None:
        self._on_end(how)

    def kill(self) -> None:
        self.killed = True


class FakePipeline:
    """A pipeline, as updates see it: what it runs, and what was told to it."""

    def __init__(self, settings: PipelineSettings) -> None:
        self.settings = settings
        self.slots = PipelineState(active=ONE, update=UpdateState("active", "1.0.0", None, 1.0))
        self.updating = self.is_judging = False
        self.serving = True
        self.told: list[PullProgress | Outcome] = []

    def progress(self, event: PullProgress) -> None:
        self.told.append(event)

    def conclude(self, outcome: Outcome) -> None:
        self.told.append(outcome)


class Setting:
    """A scheduler of two pipelines. ``pullers`` are those that it started, ``answers`` what who asked was told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, url: str = "https://models.example") -> None:
        self.folder = folder
        self.loop, self.log = HandLoop(), Lines()
        self.pullers: list[FakePuller] = []
        self.answers: list[dict[str, Outcome]] = []
        monkeypatch.setattr(scheduling, "PullerProcess", self._started)
        monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
        self.pipelines = {name: FakePipeline(PipelineSettings(name, model="m")) for name in ("a", "b")}
        config = Config(
            device=DeviceSettings("dev"),
            store=StoreSettings(path=str(folder)),
            repository=RepositorySettings(url=url, root="root.json", poll_s=POLL_S),
            pipeline=tuple(pipeline.settings for pipeline in self.pipelines.values()),
        )
        loop: Any = self.loop
        pipelines: Any = self.pipelines
        self.choice = Choice()
        self.scheduler = UpdateScheduler(loop, config, pipelines, lambda _model: self.choice, self.log)

    def _started(self, *given: Any) -> FakePuller:
        self.pullers.append(FakePuller(*given))
        return self.pullers[-1]

    def ask(self) -> None:
        self.scheduler.check(self.answers.append)

    def pulling(self) -> FakePuller:
        self.scheduler.check()
        return self.pullers[-1]

    def concluded(self, **fields: Any) -> None:
        """The puller that runs comes to this for both pipelines, and ends."""
        for name in sorted(self.pullers[-1].names):
            self.pullers[-1].says(outcome(name, **fields))
        self.pullers[-1].ends()

    @property
    def wanted(self) -> list[tuple[str, bool]]:
        """For which pipelines the newest puller looks, and whether it reads every byte of what they run."""
        return [(wanted.pipeline, wanted.thorough) for wanted in self.pullers[-1].job.wanted]


def outcome(name: str, result: Any = "current", **fields: Any) -> Outcome:
    return Outcome(pipeline=name, result=result, state="active", **fields)


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


@UPDATES.row(IDLE, "it is time to look")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.concluded()
    setting.loop.advance(POLL_S - 1)
    assert len(setting.pullers) == 1
    setting.loop.advance(2)
    assert len(setting.pullers) == 2
    assert setting.wanted == [("a", False), ("b", False)], "every byte was read at the first look"
    job = setting.pullers[-1].job
    assert (job.keep, job.wanted[0].active_version, job.wanted[0].exact) == ((ONE.digest,), "1.0.0", None)


@UPDATES.row(IDLE, "somebody asks")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.concluded()
    setting.loop.advance(10)
    setting.choice = Choice("2.0.0", frozenset({"0.9.0"}))
    setting.ask()
    assert setting.wanted == [("a", True), ("b", True)]
    assert setting.pullers[-1].job.wanted[0].exact == "2.0.0"
    assert setting.pullers[-1].job.withdrawn == {"m": ("0.9.0",)}
    assert setting.loop.waits_s == [], "the poll that was planned is not made as well"
    setting.concluded()
    assert [sorted(answer) for answer in setting.answers] == [["a", "b"]]


@UPDATES.row(IDLE, "a bundle is taking over")
def _(setting: Setting) -> None:
    setting.pipelines["a"].updating = True
    setting.ask()
    assert (setting.pullers, setting.loop.waits_s) == ([], [0.5])
    setting.pipelines["a"].updating = False
    setting.loop.advance(0.5)
    setting.concluded()
    assert len(setting.answers) == 1


@UPDATES.row(IDLE, "a candidate is being judged")
def _(setting: Setting) -> None:
    setting.pipelines["a"].is_judging = True
    setting.pulling()
    assert setting.wanted == [("b", True)]


@UPDATES.row(IDLE, "there is nothing to look for")
def _(setting: Setting) -> None:
    for pipeline in setting.pipelines.values():
        pipeline.is_judging = True
    setting.ask()
    assert (setting.pullers, setting.answers, setting.loop.waits_s) == ([], [{}], [POLL_S])


@UPDATES.row(IDLE, "a person has brought a bundle")
def _(setting: Setting) -> None:
    path = inbox.path_of(setting.folder, "a")
    path.parent.mkdir()
    path.write_bytes(b"a bundle")
    setting.choice = Choice("2.0.0", frozenset())
    setting.ask()
    wanted, other = setting.pullers[-1].job.wanted
    assert (wanted.bundle, wanted.exact, other.bundle, other.exact) == (str(path), None, None, "2.0.0")
    setting.pullers[-1].says(outcome("b"))
    assert path.exists()
    setting.pullers[-1].says(outcome("a", "failed", reason="it deviates", set_aside=True))
    assert not path.exists(), "it was tried, whatever came of it"


@UPDATES.row(IDLE, "files of what should run are missing")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.concluded()
    setting.pipelines["a"].serving = False
    setting.scheduler.mend("a")
    assert setting.wanted == [("a", True), ("b", False)]
    setting.concluded()
    setting.scheduler.mend("a")
    assert len(setting.pullers) == 2, "a worker says so at each of its attempts"
    setting.loop.advance(POLL_S + 1)
    assert setting.wanted == [("a", True), ("b", False)]
    setting.pullers[-1].says(outcome("a", mended=True))
    setting.pullers[-1].ends()
    setting.scheduler.mend("a")
    assert len(setting.pullers) == 4, "they are missing once more"


@UPDATES.row(PULLS, "it takes a step")
def _(setting: Setting) -> None:
    step = PullProgress("a", "pulling", "2.0.0", "2" * 64)
    setting.pulling().says(step)
    assert (setting.pipelines["a"].told, setting.pipelines["b"].told) == ([step], [])


@UPDATES.row(PULLS, "it comes to an end")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.concluded()
    assert [pipeline.told for pipeline in setting.pipelines.values()] == [[outcome("a")], [outcome("b")]]
    assert setting.loop.waits_s == [POLL_S]


@UPDATES.row(PULLS, "it fails for a reason that may pass")
def _(setting: Setting) -> None:
    waits = []
    setting.pulling()
    for _ in range(9):
        setting.concluded(result="failed", reason="the server is away")
        waits += setting.loop.waits_s
        setting.loop.advance(waits[-1])
    assert waits == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, POLL_S, POLL_S]
    setting.concluded()
    setting.loop.advance(POLL_S)
    setting.concluded(result="failed", reason="the server is away")
    assert setting.loop.waits_s == [5.0], "it begins anew"


@UPDATES.row(PULLS, "it fails, and the bundle is to blame")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.concluded(result="failed", reason="it deviates", set_aside=True)
    assert setting.loop.waits_s == [POLL_S]


@UPDATES.row(PULLS, "it dies")
def _(setting: Setting) -> None:
    puller = setting.pulling()
    puller.says(outcome("a"))
    puller.ends("was killed by signal 9")
    died = outcome("b", "failed", reason="the puller was killed by signal 9")
    assert (setting.pipelines["a"].told, setting.pipelines["b"].told) == ([outcome("a")], [died])
    assert setting.loop.waits_s == [5.0]


@UPDATES.row(PULLS, "somebody asks")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.ask()
    setting.scheduler.check()
    assert len(setting.pullers) == 1
    setting.concluded()
    assert (len(setting.pullers), setting.answers, setting.loop.waits_s) == (2, [], [])
    setting.concluded()
    assert (len(setting.pullers), len(setting.answers)) == (2, 1), "what is new since the question may matter"


@UPDATES.row(PULLS, "files of what should run are missing")
def _(setting: Setting) -> None:
    setting.pulling()
    setting.scheduler.mend("a")
    setting.concluded()
    assert len(setting.pullers) == 1, "it has read every byte of it"


@UPDATES.row(STOPPED, "anything")
def _(setting: Setting) -> None:
    puller = setting.pulling()
    setting.scheduler.stop()
    assert puller.killed
    puller.ends("was killed by signal 9")
    setting.ask()
    setting.loop.advance(10 * POLL_S)
    assert len(setting.pullers) == 1 and [pipeline.told for pipeline in setting.pipelines.values()] == [[], []]


@pytest.mark.parametrize("row", UPDATES, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(setting: Setting, row: tuple[str, str]) -> None:
    UPDATES[row](setting)


def test_without_a_repository_nothing_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = Setting(tmp_path, monkeypatch, url="")
    setting.ask()
    assert (setting.pullers, setting.answers, setting.loop.waits_s) == ([], [{}], [])


def test_what_is_on_trial_is_not_looked_for_again(setting: Setting) -> None:
    two = Slot("2.0.0", "2" * 64)
    setting.pipelines["a"].slots = PipelineState(ONE, two, None, UpdateState("shadow", "2.0.0", None, 1.0))
    setting.pulling()
    wanted, other = setting.pullers[-1].job.wanted
    assert (wanted.active_digest, wanted.active_version, other.active_version) == (two.digest, "2.0.0", "1.0.0")
