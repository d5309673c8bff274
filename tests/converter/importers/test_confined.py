"""Who made a model file gets nothing by it but what his model computes, whatever he finds in what reads it."""

import json
import os
import shutil
from pathlib import Path

import pytest

from maas_agent.confinement.access import Confinement
from maas_agent.errors import DataError
from maas_converter.base import sandbox
from maas_converter.importers import table
from maas_converter.importers.process import import_model
from maas_converter.importers.task import Importing
from tests.confining import ATTACKING, ATTACKS, needs_confinement
from tests.ports import free_port

_TAKEN_OVER = """
import json, os, sys
from maas_converter.importers.refusal import refuse
secret, port = {secret!r}, {port}
folder = os.path.dirname(sys.argv[2])
sys.argv[1:] = [json.dumps([{attacks!r}, secret, os.path.dirname(sys.argv[1]), folder, port])]
exec({attacking!r})
refuse(65, json.dumps([told, sorted(os.environ)]))
"""


@pytest.fixture
def rungs(tmp_path, monkeypatch):
    """Import files called ``model`` by these programs, rung by rung."""

    def make(*programs: str) -> Path:
        (tmp_path / "programs").mkdir()
        (tmp_path / "given").mkdir()
        for number, program in enumerate(programs):
            (tmp_path / "programs" / f"rung{number}.py").write_text(program)
        ladder = tuple(table.Rung(f"rung {number}", f"rung{number}", ()) for number in range(len(programs)))
        importer = table.Importer("Odd", (), ladder, lambda path, head: head == b"odd", lambda path: None)
        monkeypatch.setitem(table.IMPORTERS, "odd", importer)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "programs"), prepend=os.pathsep)
        source = tmp_path / "given" / "model"
        source.write_text("odd")
        return source

    return make


@needs_confinement
def test_an_importer_that_is_taken_over_gets_nowhere(rungs, tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    secret = tmp_path / "home" / "secret"
    secret.write_text("the key")
    monkeypatch.setenv("MAAS_PASSPHRASE_FILE", str(secret))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open sesame")
    program = _TAKEN_OVER.format(secret=str(secret), port=free_port(), attacks=ATTACKS, attacking=ATTACKING)
    source = rungs(program)
    (source.parent / "out").symlink_to(secret)
    with pytest.raises(DataError) as refused:
        import_model(source, tmp_path)
    told, variables = json.loads(str(refused.value).partition(": ")[2])
    assert [name for name, outcome in told.items() if outcome == "done"] == []
    assert told.keys() == ATTACKS.keys()
    assert not {"MAAS_PASSPHRASE_FILE", "AWS_SECRET_ACCESS_KEY"} & set(variables)
    assert (secret.read_text(), source.read_text()) == ("the key", "odd")


@needs_confinement
def test_a_rung_does_not_reach_what_another_one_made(rungs, tmp_path):
    """Rung 0 does not end: it would wait for the folder of the next one."""
    passes = "from maas_converter.importers.refusal import refuse; refuse(75, 'not mine')"
    looks = (
        "import os, sys; from maas_converter.importers.refusal import refuse\n"
        "above = os.path.dirname(os.path.dirname(sys.argv[2]))\n"
        "try: refuse(65, str(os.listdir(above)))\n"
        "except OSError: pass\n"
        "try: open(above + '/rung-0/made.tflite', 'w')\n"
        "except OSError: refuse(65, 'nowhere')\n"
    )
    with pytest.raises(DataError, match="nowhere"):
        import_model(rungs(passes, looks), tmp_path)


@needs_confinement
def test_code_in_a_model_writes_nothing_even_if_nobody_refused_it(models, mark, tmp_path, monkeypatch):
    """Were there a hole in the list of what a Keras file may hold, its code would run, and not get out."""
    found = table.IMPORTERS["keras"]
    unchecked = table.Rung("Keras 3", "tests.converter.importers.unchecked", ("tensorflow", "keras"))
    opened = table.Importer(found.title, found.suffixes, (unchecked,), found.recognise, found.check)
    monkeypatch.setitem(table.IMPORTERS, "keras", opened)
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", root, prepend=os.pathsep)
    with pytest.raises(DataError, match="new-lambda"):
        import_model(models / "new-lambda.keras", tmp_path)
    assert not mark.exists()
    assert import_model(models / "new-lambda.keras", tmp_path, Importing(trust=True)).tflite
    assert mark.exists()


@pytest.fixture
def old_kernel(monkeypatch):
    """One that cannot confine: nobody runs there what can run code, unless he says so."""
    monkeypatch.delenv("MAAS_UNCONFINED", raising=False)
    sentence = "it can read and write every file that its user can"
    monkeypatch.setattr(sandbox, "lacking", lambda **needs: sentence)


def test_it_takes_trust(old_kernel, rungs, tmp_path):
    source = rungs(
        "import os; from maas_converter.importers.refusal import refuse; refuse(65, f'ran as {os.getuid()}')"
    )
    with pytest.raises(DataError, match=r"can read and write every file .*--trust"):
        import_model(source, tmp_path)
    with pytest.raises(DataError, match="ran as"):
        import_model(source, tmp_path, Importing(trust=True))


def test_somebody_may_say_that_it_is_read_all_the_same(old_kernel, rungs, tmp_path, monkeypatch):
    """As in a container; it is not what ``--trust`` says."""
    monkeypatch.setenv("MAAS_UNCONFINED", "1")
    told = (
        "import sys; from maas_converter.importers.task import task_of; "
        "from maas_converter.importers.refusal import refuse; "
        "refuse(65, f'trusted: {task_of(sys.argv[1:]).options.trust}')"
    )
    with pytest.raises(DataError, match="trusted: False"):
        import_model(rungs(told), tmp_path)


def test_a_tflite_file_is_read_and_it_is_told_once(old_kernel, tmp_path, digits_tflite):
    notes = import_model(digits_tflite, tmp_path).notes
    assert [note for note in notes if "what you may do yourself" in note] == [
        "the model is read and run with what you may do yourself: it can read and write every file that its user can"
    ]


@needs_confinement
def test_a_kernel_that_holds_too_much_takes_trust_too(rungs, tmp_path, monkeypatch, digits_tflite):
    """TensorFlow cannot save there what it converts; LiteRT is held as everywhere."""
    monkeypatch.delenv("MAAS_UNCONFINED", raising=False)
    source = rungs("")
    sandbox.lacking.cache_clear()
    monkeypatch.setattr(sandbox, "offered", lambda access: Confinement(landlock=1, seccomp=True))
    try:
        with pytest.raises(DataError, match=r"Landlock 1, that of Linux before 5\.19, .*--trust"):
            import_model(source, tmp_path)
        assert not [note for note in import_model(digits_tflite, tmp_path).notes if "yourself" in note]
    finally:
        sandbox.lacking.cache_clear()


class TestOddPlaces:
    @pytest.mark.parametrize("kind", ["a path with blanks", "a link to a file", "a linked folder", "a relative path"])
    def test_a_model_is_read_wherever_it_lies(self, kind, digits_tflite, tmp_path, monkeypatch):
        place = tmp_path / "a place, with blanks & 'quotes'" / ("long " * 30) / "ünï"
        place.mkdir(parents=True)
        model = Path(shutil.copy(digits_tflite, place / "my model.tflite"))
        match kind:
            case "a link to a file":
                (tmp_path / "link.tflite").symlink_to(model)
                model = tmp_path / "link.tflite"
            case "a linked folder":
                (tmp_path / "models").symlink_to(place)
                model = tmp_path / "models" / "my model.tflite"
            case "a relative path":
                monkeypatch.chdir(place)
                model = Path("my model.tflite")
        assert import_model(model, tmp_path).tflite

    def test_a_folder_whose_files_are_links(self, models, tmp_path):
        """As caches of downloads keep a SavedModel: names here, contents elsewhere."""
        (tmp_path / "blobs").mkdir()
        for number, path in enumerate(path for path in (models / "two").rglob("*") if path.is_file()):
            name = tmp_path / "two" / path.relative_to(models / "two")
            name.parent.mkdir(parents=True, exist_ok=True)
            name.symlink_to(shutil.copy(path, tmp_path / "blobs" / str(number)))
        assert import_model(tmp_path / "two", tmp_path, Importing(signature="plain")).tflite


def test_it_gets_no_variable_that_may_be_a_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("MAAS_PASSPHRASE_FILE", "/root/passphrase")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "open sesame")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:open sesame@proxy")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    given = sandbox.environment(tmp_path)
    assert not {"MAAS_PASSPHRASE_FILE", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY"} & given.keys()
    assert given["LC_ALL"] == "C.UTF-8"
    assert given["HOME"] == given["TMPDIR"] == str(tmp_path)
