"""Desired states as they come: many in a moment cost the disk as much as one, and the newest counts."""

import time
from pathlib import Path
from typing import Any

import pytest

from maas_agent.base.log import Log
from maas_agent.bundle import desired_state
from maas_agent.bundle.desired_state import DesiredModel, Document, encode_desired
from maas_agent.config import load_config
from maas_agent.hub.api.desired_state import DesiredStates
from maas_agent.hub.api.topics import Topics
from maas_agent.hub.system.loop import Loop

OWN, GROUP = "maas/d/desired", "maas/groups/line/desired"


class Updates:
    """Counts how often somebody wants a look at the repository."""

    def __init__(self) -> None:
        self.checks = 0

    def check(self) -> None:
        self.checks += 1


class Hub:
    """A loop with what is desired; ``saves`` counts what was written to the disk, by the real thing."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = folder / "agent.toml"
        config.write_text('[device]\nid = "d"\ngroups = ["line"]\n')
        self.store, self.loop, self.updates, self.saves = folder, Loop(), Updates(), 0
        self.topics = Topics(load_config(config))
        self.desired_states = DesiredStates(self.loop, folder, self.topics, "d", Log("hub"))
        save = desired_state.save

        def counted(*given: Any) -> None:
            self.saves += 1
            save(*given)

        monkeypatch.setattr(desired_state, "save", counted)

    def receive(self, payload: bytes, topic: str = OWN, cut_bytes: int = 0) -> None:
        updates: Any = self.updates
        self.desired_states.received(topic, payload, cut_bytes, [], updates)

    def run_until(self, version: str | None, model: str = "digits") -> None:
        """Turn until this is what is wanted of ``model``, and the repository was asked for it."""
        deadline, checks = time.monotonic() + 60.0, self.updates.checks

        def look() -> None:
            done = self.desired_states.of(model).version == version and self.updates.checks > checks
            if done or time.monotonic() > deadline:
                self.loop.stop()
            else:
                self.loop.after(0.01, look)

        look()
        self.loop.run()
        assert self.desired_states.of(model).version == version

    @property
    def kept(self) -> desired_state.Desired:
        """What the next start would find."""
        return desired_state.load(self.store, self.topics.desired)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    return Hub(tmp_path, monkeypatch)


def wanted(serial: int, version: str, **more: Any) -> bytes:
    return encode_desired(Document(serial, {"digits": DesiredModel(version=version, **more)}))


def test_a_storm_of_documents_is_written_and_obeyed_once_a_second_and_the_newest_counts(hub: Hub) -> None:
    withdrawn = tuple(f"0.{n}.0" for n in range(4500))
    storm = [wanted(n, f"1.{n}.0", withdrawn=withdrawn) for n in range(600)]
    assert 40_000 < len(storm[-1]) < desired_state.MAX_BYTES
    began = time.monotonic()
    hub.receive(storm[0])
    hub.run_until("1.0.0")
    for document in storm[1:]:
        hub.loop.call(lambda document=document: hub.receive(document))  # type: ignore[misc]
    hub.run_until("1.599.0")
    most = 2 + (time.monotonic() - began)
    assert 2 <= hub.saves <= most and 2 <= hub.updates.checks <= most
    known = hub.kept[OWN]
    assert known.serial == 599 and known.document is not None and known.document.models["digits"].version == "1.599.0"


@pytest.mark.parametrize(
    "after", [wanted(4, "0.9.0"), b"garbage", b"{}", b'{"serial": 9, "models": {"digits": {"version": "x"}}}']
)
def test_what_is_none_or_older_does_not_hide_the_one_before_it(hub: Hub, after: bytes) -> None:
    for payload in (wanted(1, "1.0.0"), wanted(5, "2.0.0"), after):
        hub.receive(payload)
    hub.run_until("2.0.0")
    assert hub.kept[OWN].serial == 5 and hub.saves == 1


def test_what_is_taken_back_in_the_same_moment_is_not_wanted_and_its_serial_stays(hub: Hub) -> None:
    for payload in (wanted(5, "2.0.0"), b"", wanted(4, "1.0.0")):
        hub.receive(payload)
    hub.run_until(None)
    assert hub.kept[OWN] == desired_state.Topic(5)


def test_each_topic_keeps_its_own(hub: Hub) -> None:
    hub.receive(encode_desired(Document(3, {"other": DesiredModel(version="3.0.0")})), GROUP)
    for n in range(20):
        hub.receive(wanted(n, f"1.{n}.0"))
    hub.receive(b"", GROUP, cut_bytes=desired_state.MAX_BYTES + 1)
    hub.run_until("1.19.0")
    assert hub.desired_states.of("other").version == "3.0.0" and hub.saves == 1


def test_who_asks_for_a_look_is_answered_by_what_came_before_the_question(hub: Hub) -> None:
    """By the command ``update``, which comes on the same connection."""
    hub.receive(wanted(1, "1.0.0"))
    hub.run_until("1.0.0")
    hub.receive(wanted(2, "2.0.0"))
    updates: Any = hub.updates
    hub.desired_states.obey([], updates)
    assert hub.desired_states.of("digits").version == "2.0.0" and hub.kept[OWN].serial == 2


def test_what_has_just_arrived_is_kept_at_a_clean_stop(hub: Hub) -> None:
    hub.receive(wanted(1, "1.0.0"))
    hub.run_until("1.0.0")
    hub.receive(wanted(2, "2.0.0"))
    hub.desired_states.stop()
    assert hub.kept[OWN].serial == 2
    saves = hub.saves
    hub.receive(wanted(2, "2.0.0"))  # it is retained: every connect brings it again
    hub.desired_states.stop()
    assert hub.saves == saves
