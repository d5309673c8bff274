"""``maas-agent infer``: files of every kind, and bundles that do not behave, by the command itself."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from maas_agent.offline import show
from maas_agent.offline.messages import FileAnswered
from tests.bundles import make_bundle, samples
from tests.delegates import build_delegate
from tests.models import crashing_tflite, endless_tflite
from tests.system.device import wait_until

SAMPLES = samples(3)
SAMPLE = SAMPLES[0]
COMMAND = [sys.executable, "-m", "maas_agent", "infer"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle") / "a.maas", "digits", "1.0.0")


def command(bundle: Path, *words: Path | str, fed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, bundle, *words], input=fed, capture_output=True, timeout=60)


def answers(bundle: Path, *words: Path | str, fed: bytes = b"", status: int = 0) -> list[dict[str, Any]]:
    done = command(bundle, *words, "--json", fed=fed)
    assert done.returncode == status, done.stderr.decode()
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def lines(bundle: Path, *words: Path | str, status: int = 0) -> list[str]:
    done = command(bundle, *words)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode().splitlines()


def picture(form: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(SAMPLE.reshape(8, 8)).save(file, form)
    return file.getvalue()


def archive(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def table(answer: str = "", answers: tuple[object, ...] = ()) -> bytes:
    rows = [[f"pixel-{i}" for i in range(64)] + [answer] * bool(answer)] if answer else []
    rows += [[*map(str, sample.ravel().tolist()), *map(str, answers[at : at + 1])] for at, sample in enumerate(SAMPLES)]
    return "\n".join(map(",".join, rows)).encode()


ONE_SAMPLE: dict[str, Callable[[], bytes]] = {
    "sample.raw": SAMPLE.tobytes,
    "sample.json": lambda: json.dumps(SAMPLE.tolist()).encode(),
    "sample.png": lambda: picture("PNG"),
    "sample.npz": lambda: archive(x=SAMPLE),
    "sample.csv": lambda: table().partition(b"\n")[0],
}


def test_every_form_of_one_sample_has_one_answer(bundle: Path, tmp_path: Path) -> None:
    for name, content in ONE_SAMPLE.items():
        (tmp_path / name).write_bytes(content())
    found = answers(bundle, *(tmp_path / name for name in ONE_SAMPLE))
    assert [answer["file"] for answer in found] == [str(tmp_path / name) for name in ONE_SAMPLE]
    assert all(answer["result"] == found[0]["result"] for answer in found)
    assert {(answer["model"], answer["version"]) for answer in found} == {("digits", "1.0.0")}


@pytest.mark.parametrize("name", ONE_SAMPLE)
def test_standard_input_is_told_by_its_content(bundle: Path, name: str) -> None:
    (raw,) = answers(bundle, "-", fed=SAMPLE.tobytes())
    (told,) = answers(bundle, "-", fed=ONE_SAMPLE[name]())
    assert told["file"] == "-" and told["result"] == raw["result"]


def test_a_jpeg_is_read(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(picture("JPEG"))
    (answer,) = answers(bundle, tmp_path / "picture")
    assert answer["result"]["label"].startswith("class-")


@pytest.mark.parametrize("flat", [False, True])
def test_an_npz_has_an_answer_a_sample_and_what_it_is_given_beside(bundle: Path, tmp_path: Path, flat: bool) -> None:
    x = SAMPLES.reshape(3, 64) if flat else SAMPLES
    (tmp_path / "data.npz").write_bytes(archive(x=x, y=[1, 2, 0], classes=["crane", "heron", "stork"]))
    found = answers(bundle, tmp_path / "data.npz")
    assert [(answer["row"], answer["given"]) for answer in found] == [(0, "heron"), (1, "stork"), (2, "crane")]
    raw = answers(bundle, "-", fed=SAMPLES.tobytes())[0]["result"]
    assert [answer["result"] for answer in found] == raw


def test_class_numbers_without_names_have_those_of_the_bundle(bundle: Path) -> None:
    found = answers(bundle, "-", fed=archive(x=SAMPLES, y=[7, 3, 12]))
    assert [answer["given"] for answer in found] == ["class-7", "class-3", 12]


@pytest.mark.parametrize(
    ("column", "given"), [("label", ["heron", "stork", "crane"]), ("y", ["class-1", "class-0", 0.5])]
)
def test_a_table_has_an_answer_a_row_and_its_label_beside(
    bundle: Path, tmp_path: Path, column: str, given: list[object]
) -> None:
    written = ("heron", "stork", "crane") if column == "label" else (1, 0, 0.5)
    (tmp_path / "data.csv").write_bytes(table(column, written))
    found = answers(bundle, tmp_path / "data.csv")
    assert [answer["given"] for answer in found] == given
    assert [answer["result"] for answer in found] == answers(bundle, "-", fed=SAMPLES.tobytes())[0]["result"]


def test_for_people_every_sample_is_a_line_and_columns_stand_below_each_other(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(archive(x=SAMPLES, y=[1, 2, 0], classes=["crane", "heron", "stork"]))
    (tmp_path / "one").write_bytes(SAMPLE.tobytes())
    found = lines(bundle, tmp_path / "data.npz", tmp_path / "one")
    assert [line.split()[0] for line in found] == [
        *(f"{tmp_path}/data.npz[{row}]" for row in range(3)),
        f"{tmp_path}/one",
    ]
    assert len({line.index("class-") for line in found}) == 1
    assert len({line.index(" ms") for line in found}) == 1
    assert found[0].endswith("given heron") and found[3].endswith(" ms")


def test_for_people_a_batch_is_a_line_a_sample(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "batch").write_bytes(SAMPLES.tobytes())
    found = lines(bundle, tmp_path / "batch")
    assert [line.split()[0] for line in found] == [f"{tmp_path}/batch[{row}]" for row in range(3)]
    assert [" ms" in line for line in found] == [True, False, False]


def test_an_open_inference_request_is_answered_in_its_protocol(bundle: Path, tmp_path: Path) -> None:
    tensor = {"name": "x", "shape": [1, 8, 8, 1], "datatype": "UINT8", "data": SAMPLE.reshape(-1).tolist()}
    (tmp_path / "request.json").write_text(json.dumps({"id": "7", "inputs": [tensor]}))
    (answer,) = answers(bundle, tmp_path / "request.json")
    assert answer["response"]["id"] == "7"
    (line,) = lines(bundle, tmp_path / "request.json")
    assert "class-" in line


def test_a_wrong_file_is_told_and_the_others_are_answered(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"x")
    (tmp_path / "good").write_bytes(SAMPLE.tobytes())
    bad, good = lines(bundle, tmp_path / "bad", tmp_path / "good", status=65)
    assert "(wrong_shape)" in bad and "class-" in good
    gone, good = lines(bundle, tmp_path / "none", tmp_path / "good", status=66)
    assert "No such file" in gone and "class-" in good
    folder, good = lines(bundle, tmp_path, tmp_path / "good", status=66)
    assert "is a folder" in folder and "class-" in good


class Trap:
    """Makes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self._path), "w")


def too_large() -> bytes:
    """A megabyte that unpacks to more than 1 GiB."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped, zipped.open("x.npy", "w") as member:
        block = bytes(1 << 24)
        for _ in range(65):
            member.write(block)
    return file.getvalue()


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut.npz": (lambda: archive(x=SAMPLES)[:-30], "no readable .npz file"),
    "other.npz": (lambda: archive(a=SAMPLES, b=SAMPLES), "no array 'x'"),
    "nan.npz": (lambda: archive(x=np.array([[0.0] * 64, [np.nan] * 64])), "NaN or infinity, first in sample 1"),
    "fraction.npz": (lambda: archive(x=np.array([[1.0] * 64, [0.5] * 64])), "does not fit uint8, first in sample 1"),
    "narrow.npz": (lambda: archive(x=np.zeros((2, 63))), "shape [63], the model takes [8, 8, 1]"),
    "bomb.npz": (too_large, "holds 1.0 GiB of arrays"),
    "word.csv": (lambda: table().replace(b"\n", b"\nx", 1), "line 2, column '1': 'x"),
    "ragged.csv": (lambda: table() + b",1", "line 3: 65 cells"),
    "narrow.csv": (lambda: b"1,2,3\n4,5,6\n", "shape [3], the model takes [8, 8, 1]"),
    "narrow": (lambda: b"1,2,3\n4,5,6\n", "shape [3], the model takes [8, 8, 1]"),
    "cut.png": (lambda: picture("PNG")[:-40], "damaged or truncated image"),
    "empty": (bytes, "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_in_a_file_is_said_of_that_file(bundle: Path, tmp_path: Path, name: str) -> None:
    content, words = BAD[name]
    (tmp_path / name).write_bytes(content())
    (answer,) = answers(bundle, tmp_path / name, status=65)
    assert answer["file"] == str(tmp_path / name) and words in answer["error"]["message"]


def test_a_pickle_is_never_loaded(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "trap.npz", x=np.array([Trap(tmp_path / "ran")], dtype=object))
    with pytest.raises(FileNotFoundError):  # the trap works: only not here
        pickle.loads(pickle.dumps(Trap(tmp_path / "none" / "ran")))
    answers(bundle, tmp_path / "trap.npz", status=65)
    assert not (tmp_path / "ran").exists()


def test_an_unknown_accelerator_or_option_is_wrong_usage(bundle: Path) -> None:
    assert b"choose one of" in (refused := command(bundle, "-", "--accelerator", "warp")).stderr
    assert refused.returncode == 64
    assert b"KEY=VALUE" in (refused := command(bundle, "-", "--option", "fast")).stderr
    assert refused.returncode == 64
    assert command(bundle, "-", "--runtime", "warp").returncode == 64


def test_a_bundle_that_crashes_the_interpreter_is_a_sentence(tmp_path: Path) -> None:
    crashing = make_bundle(tmp_path / "crash.maas", swap=crashing_tflite())
    (tmp_path / "good").write_bytes(SAMPLE.tobytes())
    done = command(crashing, tmp_path / "good")
    assert done.returncode == 70 and done.stdout == b""
    assert b"killed by SIGSEGV" in done.stderr and b"Traceback" not in done.stderr


class Endless:
    """The command on a model that never answers; the files it makes lie in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._scratch = folder / "scratch"
        self._scratch.mkdir()
        bundle = make_bundle(folder / "endless.maas", swap=endless_tflite())
        self.process = subprocess.Popen(
            [*COMMAND, bundle, "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"TMPDIR": str(self._scratch)},
            start_new_session=True,
            # Started in the background of a shell, the tests ignore it, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        wait_until(self._busy, "the model runs")

    @property
    def child(self) -> int | None:
        """The process that runs the model."""
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(listed[0]) if listed else None

    def _busy(self) -> bool:
        """Whether the model was unpacked, and the child has computed for longer than loading takes."""
        if self.child is None or not any(self._scratch.glob("*/*")):
            return False
        fields = Path(f"/proc/{self.child}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) > 2 * os.sysconf("SC_CLK_TCK")

    def left(self) -> list[Path]:
        return list(self._scratch.iterdir())


@pytest.mark.parametrize(
    ("send", "number", "status"),
    [(os.kill, signal.SIGINT, 130), (os.killpg, signal.SIGINT, 130), (os.kill, signal.SIGTERM, 143)],
    ids=["SIGINT", "Ctrl-C in a terminal", "SIGTERM"],
)
def test_a_bundle_that_hangs_is_ended_and_nothing_is_left(
    tmp_path: Path, send: Callable[[int, int], None], number: int, status: int
) -> None:
    endless = Endless(tmp_path)
    child = endless.child
    send(endless.process.pid, number)
    out, err = endless.process.communicate(timeout=30)
    assert endless.process.returncode == status
    assert (out, err) == (b"", b"")
    assert not Path(f"/proc/{child}").exists()
    assert endless.left() == []


def test_the_model_ends_with_a_command_that_is_killed(tmp_path: Path) -> None:
    endless = Endless(tmp_path)
    child = endless.child
    endless.process.kill()
    endless.process.communicate(timeout=30)
    wait_until(lambda: not _runs(child), "the child ends too")


def _runs(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def on_delegate(folder: Path, behaviour: str, *more: str) -> list[str]:
    library = build_delegate(folder)
    options = [word for option in (f"behaviour={behaviour}", *more) for word in ("--option", option)]
    return ["--accelerator", f"delegate:{library}", *options]


def test_an_accelerator_that_strays_from_the_golden_samples_is_warned_of(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(SAMPLE.tobytes())
    (right,) = answers(bundle, tmp_path / "good")
    done = command(bundle, tmp_path / "good", *on_delegate(tmp_path, "works"))
    assert done.returncode == 0 and right["result"]["label"].encode() in done.stdout and done.stderr == b""
    done = command(bundle, tmp_path / "good", *on_delegate(tmp_path, "wrong"))
    assert done.returncode == 0 and b"not to be trusted" in done.stderr


def test_a_crash_takes_no_answer_that_was_there_before(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(SAMPLE.tobytes())
    os.mkfifo(tmp_path / "next")
    words = on_delegate(tmp_path, "crashes", f"while={tmp_path / 'ill'}")
    running = subprocess.Popen(
        [*COMMAND, bundle, tmp_path / "good", tmp_path / "next", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with (tmp_path / "next").open("wb") as second:  # opens when the first was answered
        (tmp_path / "ill").touch()
        second.write(SAMPLE.tobytes())
    out, err = running.communicate(timeout=60)
    assert running.returncode == 70
    assert out.startswith(f"{tmp_path}/good  class-".encode()) and out.count(b"\n") == 1
    assert b"killed by SIG" in err and f"while it answered {tmp_path}/next".encode() in err


def test_a_label_that_the_terminal_cannot_show_is_an_escape_and_no_traceback(bundle: Path, tmp_path: Path) -> None:
    """A serial console may know 128 characters."""
    file = tmp_path / "W\N{LATIN SMALL LETTER A WITH DIAERESIS}rme.raw"
    file.write_bytes(SAMPLE.tobytes())
    narrow = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([*COMMAND, bundle, file], capture_output=True, env=narrow, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"W\\xe4rme.raw" in done.stdout
    assert b"class-" in done.stdout


def test_for_people_all_labels_that_are_named_stand_in_one_line() -> None:
    scores = {"cat": 0.9, "dog": 0.7, "tree": 0.1}
    several = FileAnswered("a", result={"labels": [["cat", 0.9], ["dog", 0.7]], "scores": scores})
    none = FileAnswered("b", result={"labels": [], "scores": {"cat": 0.2, "dog": 0.4, "tree": 0.1}})
    assert list(show.lines([several, none])) == [
        "a  cat, dog          0.900, 0.700",
        "b  none of 3 labels         0.400",
    ]
