"""An importer's death is a sentence, whatever it died of."""

import base64
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from maas_agent.errors import DataError, RuntimeFailure, UnavailableError
from maas_converter.importers import process, table
from maas_converter.importers.process import import_model
from maas_converter.importers.task import Importing

FATES = {
    "refuses": (
        "from maas_converter.importers.refusal import refuse; refuse(65, 'it is\\n odd')",
        DataError,
        "it is odd",
    ),
    "lacks": ("from maas_converter.importers.refusal import refuse; refuse(69, 'no TF')", UnavailableError, "no TF"),
    "raises": ("raise KeyError('weights')", DataError, "KeyError: 'weights'"),
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        RuntimeFailure,
        r"crashed (SIGSEGV) in a native library; save the model in another format",
    ),
    "is killed": ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", RuntimeFailure, "want of memory"),
    "says nothing": ("pass", DataError, "it said nothing"),
    "is noisy": (
        "import sys; sys.stderr.write('ValueError: bad op\\nI0000 00:00:1 noise.cc:1] hello\\n'); sys.exit(1)",
        DataError,
        "ValueError: bad op",
    ),
}


@pytest.fixture
def doomed(tmp_path, monkeypatch):
    """A source whose importers are these programs, rung by rung."""

    def make(*programs: str, needs: tuple[str, ...] = ()) -> Path:
        rungs = []
        for number, program in enumerate(programs):
            (tmp_path / f"doomed{number}.py").write_text(program)
            rungs.append(table.Rung(f"rung {number}", f"doomed{number}", needs))
        source = tmp_path / "model.doomed"
        source.write_text("doomed")
        importer = table.Importer("Doomed", (), tuple(rungs), lambda path, head: head == b"doomed", lambda path: None)
        monkeypatch.setitem(table.IMPORTERS, "doomed", importer)
        monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
        return source

    return make


@pytest.mark.parametrize("fate", FATES)
def test_how_an_importer_dies_is_told(fate, doomed, tmp_path):
    program, kind, words = FATES[fate]
    with pytest.raises(kind) as caught:
        import_model(doomed(program), tmp_path)
    assert words in str(caught.value)
    assert "model.doomed" in str(caught.value)
    assert "\n" not in str(caught.value)


CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGABRT)"
PASS = "from maas_converter.importers.refusal import refuse; refuse(75, 'not mine')"
REFUSE = "from maas_converter.importers.refusal import refuse; refuse(65, 'never')"
MAKE = (
    "import base64, sys; from pathlib import Path; "
    "from maas_converter.importers.refusal import note; note('as asked'); "
    "Path(sys.argv[2]).write_bytes(base64.b64decode({tflite!r}))"
)


def _making(tflite: Path) -> str:
    return MAKE.format(tflite=base64.b64encode(tflite.read_bytes()).decode())


class TestTheLadder:
    def test_a_rung_that_crashes_or_passes_leaves_the_next(self, doomed, tmp_path, digits_tflite):
        source = doomed(CRASH, PASS, _making(digits_tflite), REFUSE)
        imported = import_model(source, tmp_path)
        assert imported.tflite == digits_tflite.read_bytes()
        assert imported.notes[1] == "as asked"
        assert imported.notes[0].startswith("model.doomed was read by rung 2 (rung 0: ")
        assert "SIGABRT" in imported.notes[0]
        assert imported.notes[0].endswith("; rung 1: not mine)")

    def test_a_refusal_ends_it(self, doomed, tmp_path, digits_tflite):
        with pytest.raises(DataError, match="never"):
            import_model(doomed(PASS, REFUSE, _making(digits_tflite)), tmp_path)

    def test_if_all_fail_it_is_told_what_each_said(self, doomed, tmp_path):
        with pytest.raises(
            DataError, match=r"model\.doomed: nothing here reads it\. rung 0: .*SIGABRT.*; rung 1: not mine"
        ):
            import_model(doomed(CRASH, PASS), tmp_path)

    def test_if_all_crash_it_is_no_fault_of_the_data(self, doomed, tmp_path):
        with pytest.raises(RuntimeFailure, match=r"rung 0: .*SIGABRT.*rung 1: .*SIGABRT"):
            import_model(doomed(CRASH, CRASH), tmp_path)

    def test_options_reach_an_importer(self, doomed, tmp_path):
        program = (
            "import sys; from maas_converter.importers.refusal import refuse; "
            "from maas_converter.importers.task import task_of; refuse(65, str(task_of(sys.argv[1:]).options))"
        )
        options = Importing(input_shape=(4, 5), signature='it\'s "quoted"', unroll=True)
        with pytest.raises(DataError) as caught:
            import_model(doomed(program), tmp_path, options)
        assert str(options) in str(caught.value)


def test_ctrl_c_ends_the_importer_too(doomed, tmp_path):
    """The importer reports its process id and sleeps; an interrupt of the parent leaves no such process."""
    source = doomed(
        "import os, sys, time; folder = os.path.dirname(sys.argv[2]); "
        "open(folder + '/told', 'w').write(str(os.getpid())); os.rename(folder + '/told', folder + '/pid'); "
        "time.sleep(60)"
    )
    seen = []

    def interrupt():
        while not (told := list(tmp_path.glob("import-*/rung-0/pid"))):
            time.sleep(0.01)
        seen.append(int(told[0].read_text()))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    reader = threading.Thread(target=interrupt)
    reader.start()
    with pytest.raises(KeyboardInterrupt):
        import_model(source, tmp_path)
    reader.join()
    with contextlib.suppress(ChildProcessError):  # waited for already; if not, it may still be dying
        assert os.waitstatus_to_exitcode(os.waitpid(seen[0], 0)[1]) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)


def test_a_framework_that_is_not_installed_is_named_before_anything_is_started(doomed, tmp_path, monkeypatch):
    source = doomed("", needs=("no_such_framework",))
    monkeypatch.setattr(process.sandbox, "start", None)
    with pytest.raises(UnavailableError, match=r"no_such_framework.*maas-edge\[converter\]"):
        import_model(source, tmp_path)
