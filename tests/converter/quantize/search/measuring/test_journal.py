"""What survives of a search that was cut."""

import pickle

import numpy as np
import pytest

from maas_agent.bundle.manifest import Decode, Input, Scale, Tensor
from maas_agent.errors import UnavailableError
from maas_converter.base.outlet import journals_folder
from maas_converter.quantize.search.measuring.journal import MeasurementJournal, digest_of


def test_what_was_noted_is_known_to_the_next_search_and_counted_once(tmp_path):
    first = MeasurementJournal(tmp_path, "d")
    first.note("made int8", {"size": 5, "noise": 0.25})
    assert first.found == 0
    second = MeasurementJournal(tmp_path, "d")
    assert second.recall("made int8") == {"size": 5, "noise": 0.25}
    assert second.recall("made int8")["size"] == 5
    assert second.recall("made float32") is None
    assert second.found == 1
    assert MeasurementJournal(tmp_path, "other").recall("made int8") is None


@pytest.mark.parametrize("torn", [b'{"key": "b", "val', b'{"key": "b"}', b"\xff\xfe", b"[]"])
def test_a_line_torn_by_a_cut_costs_that_measurement_only(tmp_path, torn):
    MeasurementJournal(tmp_path, "d").note("a", [1.0, 2.0])
    with (tmp_path / "d.jsonl").open("ab") as file:
        file.write(torn)
    after = MeasurementJournal(tmp_path, "d")
    assert after.recall("b") is None
    after.note("c", 3)
    last = MeasurementJournal(tmp_path, "d")
    assert (last.recall("a"), last.recall("b"), last.recall("c")) == ([1.0, 2.0], None, 3)


def test_any_other_input_is_another_journal():
    x, y = np.arange(6.0).reshape(2, 3), np.array([0, 1])
    spec = Input(Tensor("x", (1, 3), "float32"), Decode((3,), "float32"))
    scaled = Input(spec.tensor, spec.decode, (Scale(2.0),))
    given = [
        (b"model", spec, (x, x, y), 1),
        (b"model", spec, (x, x, None), 1),
        (b"model", spec, (x, x + 1, y), 1),
        (b"model", spec, (x, x.reshape(3, 2), y), 1),
        (b"model", scaled, (x, x, y), 1),
        (b"other", spec, (x, x, y), 1),
        (b"model", spec, (x, x, y), 2),
    ]
    digests = [digest_of(*arguments) for arguments in given]
    assert len(set(digests)) == len(given)
    restored = pickle.loads(pickle.dumps(given[0]))
    assert digest_of(*restored) == digests[0]


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="keeps its journal in"):
        MeasurementJournal(tmp_path / "file", "d")


def test_journals_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert journals_folder() == tmp_path / "maas-edge" / "search"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to ignore it
    assert journals_folder().parts[-3:] == (".cache", "maas-edge", "search")
