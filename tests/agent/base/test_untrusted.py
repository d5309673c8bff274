"""What parsers raise for bytes that may be anything, and who must not be surprised by it."""

import socket
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from maas_agent.base import codes
from maas_agent.base.untrusted import MALFORMED, Lines, is_deeper, toml_table
from maas_agent.bundle import desired_state
from maas_agent.bundle.golden import decode_golden
from maas_agent.config import ReportSettings
from maas_agent.errors import BundleError, DataError
from maas_agent.hub.api.mqtt_inputs import SampleTopic
from maas_agent.hub.serving.metrics import PipelineMetrics
from maas_agent.hub.serving.replies import Replies
from maas_agent.hub.takeover import pipeline_state, state_store
from maas_agent.ipc import Answer, Channel, ToHub
from maas_agent.runtime.setup import Setup
from maas_agent.trials.run import judged
from maas_agent.trials.task import TrialTask
from maas_agent.update.protocol import decode_event, decode_job
from maas_agent.update.repository import high_water_marks
from maas_agent.update.store.blob_store import BlobStore

DEEP = b"[" * 5000 + b"]" * 5000
UNKNOWN = b'{"unknown": ' + DEEP + b"}"


@pytest.mark.parametrize("data", [DEEP, b'"\xff"', b"[1"], ids=["deep", "no UTF-8", "cut"])
def test_malformed_is_all_that_msgspec_raises(data: bytes) -> None:
    with pytest.raises(MALFORMED):
        msgspec.json.decode(data)


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 2026-13-01", "a ="])
def test_toml_that_is_none_is_one_error(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        toml_table(text)


def test_depth_is_that_of_lists_and_objects() -> None:
    assert not is_deeper(1, 0)
    assert not is_deeper({"a": [1]}, 2)
    assert is_deeper({"a": [[]]}, 2)


@pytest.mark.parametrize("body", [b"\x92\x0e\xa1\xff", b"\x92\x0e" + b"\x91" * 5000 + b"\xc0"], ids=["text", "deep"])
def test_a_worker_that_says_something_odd_is_given_up_and_not_the_hub(body: bytes) -> None:
    """Text that is no UTF-8, or arrays in arrays, were errors that nobody caught."""
    hub, worker = socket.socketpair()
    with hub, worker:
        worker.sendall(len(body).to_bytes(4, "little") + body)
        with pytest.raises(msgspec.DecodeError):
            Channel[ToHub](hub, ToHub).receive()


def test_a_puller_that_says_something_odd_ends_its_process_and_not_the_hub() -> None:
    for decode in (decode_event, decode_job):
        with pytest.raises(DataError):
            decode(UNKNOWN)


def test_a_trial_that_says_something_odd_is_refused() -> None:
    task = TrialTask("/store", "a" * 64, Setup("cpu", 1))
    verdict = judged(task, 0, b'{"trial": {"refused": "\xff"}}', b"oh\n")
    assert verdict.trial.refused == "ended with status 0 and no verdict: oh"


def test_golden_samples_whose_names_are_no_text_are_refused() -> None:
    with pytest.raises(BundleError, match="not readable"):
        decode_golden(b"\x82\xa7samples\x83\xa5shape\x90\xa5dtype\xa1\xff")


def test_files_that_are_nested_without_end_are_damaged_files(tmp_path: Path) -> None:
    said: list[str] = []
    state_store.path_of(tmp_path, "p").parent.mkdir()
    for path in (state_store.path_of(tmp_path, "p"), tmp_path / "marks.json", tmp_path / "desired.json"):
        path.write_bytes(UNKNOWN)
    (tmp_path / "pulling.json").write_bytes(DEEP)
    assert state_store.load(tmp_path, "p", said.append) == pipeline_state.PipelineState()
    assert high_water_marks.load(tmp_path, "a", said.append) == high_water_marks.HighWaterMarks("a")
    assert len(said) == 2
    with pytest.raises(DataError):
        desired_state.load(tmp_path, ["t"])
    assert BlobStore(tmp_path).pulling() == set()


def test_lines_come_whole_however_they_are_cut() -> None:
    text = b"one\n\ntwo\r\nthree"
    for size in range(1, len(text) + 1):
        lines = Lines()
        found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
        assert (found, bytes(lines.rest)) == ([b"one", b"", b"two\r"], b"three")


def test_a_worker_cannot_make_the_counters_grow_without_end() -> None:
    meter = PipelineMetrics()
    sink: Any = SimpleNamespace(put=lambda *_: None)
    answers = Replies("d", "p", SampleTopic(sink, "out", ReportSettings()), meter)
    for number in range(1000):
        answers.report(Answer(0, "x", b"{}", 1.0, f"code-{number}"))
    assert meter.counters()["errors"] == {codes.INTERNAL: 1000}
