"""Every row of the desired states in docs/states.md, on a real file and a clock moved by hand."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from maas_agent.bundle import desired_state
from maas_agent.bundle.desired_state import DesiredModel, Document, encode_desired
from maas_agent.config import Config, DeviceSettings
from maas_agent.hub.api import desired_state as obeying
from maas_agent.hub.api.desired_state import DesiredStates
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.system import log_limiter
from tests.agent.hub.doubles import Lines
from tests.agent.hub.pools import hand_moved
from tests.agent.hub.rows import Rows

DESIRED = Rows()
QUIET, TAKEN, ANY, STARTS = "quiet", "has just taken some", "any", "starts"
OWN, GROUP = "maas/d/desired", "maas/groups/line/desired"


def wanted(serial: int, version: str | None = None, **more: Any) -> bytes:
    return encode_desired(Document(serial, {"digits": DesiredModel(version=version, **more)}))


class FakePipeline:
    """A pipeline that runs ``newest_version``, and may not go back for the reason ``stuck``."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(name="p", model="digits")
        self.newest_version: str | None = "1.0.0"
        self.stuck: str | None = None
        self.rolled_back: list[str] = []

    def roll_back(self, reason: str, done: Any) -> None:
        self.rolled_back.append(reason)
        if self.stuck is None:
            self.newest_version = "0.9.0"
        done(self.stuck)


class Setting:
    """What is desired of one pipeline; ``checks`` is when the repository was asked for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch
        self.loop = hand_moved(monkeypatch, obeying, log_limiter)
        monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)
        self.log, self.checks, self.pipeline = Lines(), list[float](), FakePipeline()
        self.topics = Topics(Config(device=DeviceSettings("d", ("line",))))
        self.start()

    def start(self) -> None:
        loop: Any = self.loop
        self.desired = DesiredStates(loop, self.folder, self.topics, "d", self.log)

    def check(self) -> None:
        self.checks.append(self.loop.now)

    def receive(self, *payloads: bytes, topic: str = OWN, cut_bytes: int = 0) -> None:
        anything: Any = self
        pipelines: Any = [self.pipeline]
        for payload in payloads:
            self.desired.received(topic, payload, cut_bytes, pipelines, anything)

    def taken(self, *payloads: bytes) -> "Setting":
        """A document was taken a moment ago."""
        self.receive(*(payloads or (wanted(1, "1.0.0"),)))
        self.loop.advance(0)
        self.checks.clear()
        return self

    @property
    def version(self) -> str | None:
        return self.desired.of("digits").version

    @property
    def saved(self) -> int | None:
        """The serial that the next start would find on the device's own topic."""
        topic = desired_state.load(self.folder, self.topics.desired).get(OWN)
        return topic.serial if topic is not None else None


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    return Setting(tmp_path, monkeypatch)


@DESIRED.row(QUIET, "a document for this device arrives")
def _(setting: Setting) -> None:
    setting.receive(wanted(1, "1.0.0"))
    assert setting.version is None, "in the next turn"
    setting.loop.advance(0)
    assert (setting.version, setting.saved, setting.checks) == ("1.0.0", 1, [1000.0])
    assert setting.log.lines == [("info", "desired state", {"topic": OWN})]


@DESIRED.row(QUIET, "a document for a group arrives")
def _(setting: Setting) -> None:
    setting.receive(wanted(1, "1.0.0"), topic=GROUP)
    setting.loop.advance(1.4)
    assert (setting.version, setting.checks) == ("1.0.0", [])
    setting.loop.advance(1.6)
    assert setting.checks == [1001.5], "not all devices of the group at once"


@DESIRED.row(QUIET, "what is known already arrives")
def _(setting: Setting) -> None:
    """It is retained: every connect brings it again."""
    setting.taken().loop.advance(60)
    setting.receive(wanted(1, "1.0.0"))
    setting.loop.advance(60)
    assert (setting.checks, setting.log.events) == ([], ["desired state"])


@DESIRED.row(QUIET, "a document is taken back")
def _(setting: Setting) -> None:
    setting.taken(wanted(5, "1.0.0")).loop.advance(60)
    setting.receive(b"")
    setting.loop.advance(0)
    assert (setting.version, setting.saved, setting.checks) == (None, 5, [1060.0])
    setting.loop.advance(60)
    setting.receive(wanted(4, "0.9.0"))
    setting.loop.advance(0)
    assert setting.version is None, "an older one that comes up again is none"


@DESIRED.row(QUIET, "what arrives is no document, older, or too large")
def _(setting: Setting) -> None:
    setting.taken(wanted(5, "1.0.0"))
    for payload in (b"garbage", wanted(4, "0.9.0"), wanted(4, "0.9.0")):
        setting.loop.advance(60)
        setting.receive(payload)
        setting.loop.advance(0)
    setting.receive(b"", cut_bytes=70_000)
    setting.receive(b"", cut_bytes=70_001)
    setting.loop.advance(60)
    assert (setting.version, setting.saved, setting.checks) == ("1.0.0", 5, [])
    malformed, older, large = (event for level, event in setting.log.told if level == "error")
    assert malformed.startswith(f"the desired state on {OWN} is ignored: JSON is malformed")
    assert older.startswith(f"the desired state on {OWN} is ignored: ")
    assert large == f"the desired state on {OWN} is ignored: it has 70000 bytes, at most 65536 are read"


@DESIRED.row(TAKEN, "more arrive")
def _(setting: Setting) -> None:
    setting.taken()
    setting.receive(*(wanted(serial, f"1.{serial}.0") for serial in range(2, 50)))
    setting.loop.advance(0.9)
    assert (setting.version, setting.checks) == ("1.0.0", [])
    setting.loop.advance(0.2)
    assert (setting.version, setting.saved, setting.checks) == ("1.49.0", 49, [1001.0])


@DESIRED.row(TAKEN, "more arrive, and the last ones are none")
def _(setting: Setting) -> None:
    setting.taken()
    setting.receive(wanted(2, "2.0.0"), wanted(3, "3.0.0"), b"garbage", b"garbage", b"garbage")
    setting.loop.advance(1)
    assert setting.version == "3.0.0", "four are kept"


@DESIRED.row(TAKEN, "somebody asks for a look")
def _(setting: Setting) -> None:
    anything: Any = setting
    setting.taken().receive(wanted(2, "2.0.0"))
    setting.desired.obey([], anything)
    assert (setting.version, setting.saved) == ("2.0.0", 2)
    setting.desired.obey([], anything)
    setting.loop.advance(2)
    assert setting.checks == [1000.0], "once"


@DESIRED.row(TAKEN, "the agent ends")
def _(setting: Setting) -> None:
    setting.taken().receive(wanted(2, "2.0.0"))
    setting.desired.stop()
    assert setting.saved == 2
    setting.start()
    assert setting.version == "2.0.0"


@DESIRED.row(ANY, "what runs is withdrawn")
def _(setting: Setting) -> None:
    setting.receive(wanted(1, withdrawn=("1.0.0",)))
    setting.loop.advance(0)
    assert setting.pipeline.rolled_back == ["1.0.0 was withdrawn"]
    assert [level for level, _ in setting.log.told] == ["info"]


@DESIRED.row(ANY, "what is withdrawn runs all the same")
def _(setting: Setting) -> None:
    pipelines: Any = [setting.pipeline]
    setting.pipeline.stuck = "there is no bundle to roll back to"
    setting.desired.watch(pipelines)
    setting.receive(wanted(1, withdrawn=("1.0.0",)))
    setting.loop.advance(5)
    assert setting.pipeline.rolled_back == ["1.0.0 was withdrawn"] * 3, "at once, and every two seconds"
    said = "pipeline p still runs 1.0.0, which is withdrawn: there is no bundle to roll back to"
    assert setting.log.events.count(said) == 1
    setting.pipeline.stuck = None
    setting.loop.advance(10)
    assert len(setting.pipeline.rolled_back) == 4 and setting.pipeline.newest_version == "0.9.0"


@DESIRED.row(ANY, "it cannot be saved")
def _(setting: Setting) -> None:
    def save(*_given: Any) -> None:
        raise OSError(28, "No space left on device")

    setting.monkeypatch.setattr(desired_state, "save", save)
    setting.taken(wanted(1, "2.0.0", withdrawn=("1.0.0",)))
    assert (setting.version, setting.pipeline.rolled_back) == ("2.0.0", ["1.0.0 was withdrawn"])
    assert setting.log.lines[-2:] == [
        ("info", "desired state", {"topic": OWN}),
        ("error", "cannot save the desired state", {"reason": "No space left on device", "times": None}),
    ]


@DESIRED.row(STARTS, "its file is damaged")
def _(setting: Setting) -> None:
    setting.taken()
    desired_state.path_of(setting.folder).write_bytes(b"{")
    setting.start()
    assert setting.version is None
    level, event, fields = setting.log.lines[-1]
    assert (level, event) == ("error", "the desired state is forgotten until the broker sends it again")
    assert "JSON is malformed" in str(fields["reason"]) or "truncated" in str(fields["reason"])
    assert setting.taken().version == "1.0.0"


@pytest.mark.parametrize("row", DESIRED, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(setting: Setting, row: tuple[str, str]) -> None:
    DESIRED[row](setting)


def test_nothing_is_desired_of_a_pipeline_without_a_model(setting: Setting) -> None:
    setting.taken()
    assert setting.desired.of(None) == desired_state.Choice()
    setting.pipeline.newest_version = None
    pipelines: Any = [setting.pipeline]
    setting.desired.watch(pipelines)
    assert setting.pipeline.rolled_back == []


def test_of_many_in_a_moment_each_topic_has_its_say_and_the_repository_is_asked_once(setting: Setting) -> None:
    setting.receive(encode_desired(Document(1, {"cats": DesiredModel(version="3.0.0")})), topic=GROUP)
    setting.receive(wanted(1, "1.0.0"))
    assert setting.loop.waits_s == [0.0], "one look at all of them"
    setting.loop.advance(0)
    assert setting.log.lines == [("info", "desired state", {"topic": f"{GROUP}, {OWN}"})]
    assert (setting.version, setting.desired.of("cats").version, setting.checks) == ("1.0.0", "3.0.0", [1000.0])
    for serial in (2, 3):
        setting.loop.advance(1)
        setting.receive(wanted(serial, f"{serial}.0.0"), topic=GROUP)
    setting.loop.advance(1.4)
    assert setting.checks == [1000.0, 1002.5], "the second one came while that was planned already"
    assert setting.version == "1.0.0", "a device's own word is stronger than its group's"
    setting.loop.advance(60)
    setting.receive(wanted(4, "4.0.0"), topic=GROUP)
    setting.loop.advance(60)
    assert len(setting.checks) == 3


def test_of_more_than_four_the_oldest_is_forgotten(setting: Setting) -> None:
    setting.taken()
    setting.receive(wanted(2, "2.0.0"), b"a", b"b", b"c", b"d")
    setting.loop.advance(1)
    assert setting.version == "1.0.0"


def test_a_percentage_is_of_this_device(setting: Setting) -> None:
    at = desired_state.position("r", "d")
    for serial, percent, version in ((1, at - 1e-6, None), (2, at + 1e-6, "1.0.0")):
        setting.taken(wanted(serial, "1.0.0", percent=percent, salt="r")).loop.advance(60)
        assert setting.version == version


def test_each_reason_is_said_for_itself(setting: Setting) -> None:
    setting.pipeline.stuck = "first"
    pipelines: Any = [setting.pipeline]
    setting.taken(wanted(1, withdrawn=("1.0.0",)))
    setting.pipeline.stuck = "second"
    setting.desired.watch(pipelines)
    assert [event.rpartition(": ")[2] for level, event in setting.log.told if level == "error"] == ["first", "second"]
