"""An importer's death is a sentence, whatever it died of."""

import sys

import pytest

from maas_agent.errors import DataError, RuntimeFailure, UnavailableError
from maas_converter.importers import process, table
from maas_converter.importers.process import import_model

FATES = {
    "refuses": (
        "from maas_converter.importers.refusal import refuse; refuse(65, 'it is\\n odd')",
        DataError,
        "it is odd",
    ),
    "lacks": ("from maas_converter.importers.refusal import refuse; refuse(69, 'no TF')", UnavailableError, "no TF"),
    "raises": ("raise KeyError('weights')", DataError, "KeyError: 'weights'"),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", RuntimeFailure, "SIGSEGV"),
    "says nothing": ("pass", DataError, "it said nothing"),
    "is noisy": (
        "import sys; sys.stderr.write('ValueError: bad op\\nI0000 00:00:1 noise.cc:1] hello\\n'); sys.exit(1)",
        DataError,
        "ValueError: bad op",
    ),
}


@pytest.mark.parametrize("fate", FATES)
def test_how_an_importer_dies_is_told(fate, tmp_path, monkeypatch):
    program, kind, words = FATES[fate]
    (tmp_path / "doomed.py").write_text(program)
    importer = table.Importer("Doomed", (".doomed",), "doomed", (), lambda source: None)
    monkeypatch.setitem(table.IMPORTERS, "doomed", importer)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    source = tmp_path / "model.doomed"
    source.write_text("")
    with pytest.raises(kind) as caught:
        import_model(source, tmp_path)
    assert words in str(caught.value)
    assert "model.doomed" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_framework_that_is_not_installed_is_named_before_anything_is_started(tmp_path, monkeypatch):
    importer = table.Importer("Odd", (".odd",), "odd", ("no_such_framework",), lambda source: None)
    monkeypatch.setitem(table.IMPORTERS, "odd", importer)
    monkeypatch.setattr(process.subprocess, "run", None)
    source = tmp_path / "model.odd"
    source.write_text("")
    with pytest.raises(UnavailableError, match=r"no_such_framework.*maas-edge\[converter\]"):
        import_model(source, tmp_path)
