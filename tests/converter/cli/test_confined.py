"""The command that runs models is confined, and what leaves it is what it promised: real commands, taken over."""

import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import decode_manifest
from maas_converter.publishing.keys.key_files import create_keys
from tests.confining import ATTACKING, ATTACKS, needs_confinement, open_folder, users
from tests.confining import run_as as as_user
from tests.converter.tflite.graphs import Body, Op, tflite
from tests.ports import free_port

MODEL = tflite(Body((Op("TANH", ("x",), ("t",)),), ("x",), ("t",)))
_TAKEN_OVER = """
import json, os, sys, tempfile
from pathlib import Path
from maas_converter.base import outlet, sandbox
attacks, secret, model_folder, port = json.loads(sys.argv.pop(1))
def taken_over(*arguments, then=sandbox.start_no_more):
    then()
    scratch = tempfile.gettempdir()
    arguments = [json.dumps([attacks, secret, model_folder, scratch, port])]
    attacking = {"__name__": "attacking"}
    import sys as real
    kept, real.argv = real.argv, ["attacking", *arguments]
    exec(ATTACKING, attacking)
    real.argv = kept
    told = attacking["told"]
    made = Path(scratch) / "made"
    link = Path(scratch) / "link"
    inside = Path(model_folder) / "model"
    for name, ask in {
        "has another file written": lambda: outlet.deliver(made, Path(secret)),
        "has a file written beside": lambda: outlet.deliver(made, Path("other.maas")),
        "has a file read for it": lambda: outlet.deliver(Path(secret), Path("out.maas")),
        "has one read by dots": lambda: outlet.deliver(Path(scratch) / ".." / "x", Path("out.maas")),
        "has a file made elsewhere": lambda: outlet.deliver_into(made, Path(secret).parent),
        "has a report made elsewhere": lambda: outlet.deliver(made, Path("report/../stolen")),
        "promises again": lambda: outlet.promise(outlet.Promise(files=(secret,))),
        "writes another journal": lambda: outlet.append(Path(secret).parent / "x.jsonl", b"{}"),
        "has another bundle signed": lambda: outlet.asked("sign", OTHER),
        "asks for what there is not": lambda: outlet.asked("shell", b"true"),
    }.items():
        try:
            ask()
            told[name] = "done"
        except Exception as error:
            told[name] = type(error).__name__
    from maas_agent.errors import DataError
    raise DataError(json.dumps(told))
sandbox.start_no_more = taken_over
from maas_converter.cli.main import main
main()
"""


def _taken_over(other: bytes) -> str:
    return f"ATTACKING = {ATTACKING!r}\nOTHER = {other!r}\n{_TAKEN_OVER}"


@pytest.fixture
def place():
    """A folder with a model and its data, a home with a secret, and keys; also for somebody who is nobody."""
    with open_folder() as folder:
        for name in ("given", "home", "work"):
            (folder / name).mkdir()
        (folder / "home" / "secret").write_text("the key")
        (folder / "given" / "model").write_bytes(MODEL)
        (folder / "given" / "model.tflite").write_bytes(MODEL)
        np.savez(folder / "given" / "data.npz", x=np.random.default_rng(1).random((32, 4)).astype(np.float32))
        (folder / "given" / "out").symlink_to(folder / "home" / "secret")
        create_keys(folder / "work" / "keys")
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)
        yield folder


@needs_confinement
@pytest.mark.parametrize("user", users())
def test_a_model_that_takes_over_the_converter_gets_nowhere(place, user):
    """Attacks of a process that has loaded the model; also on the parent that writes and signs for it."""
    work, secret = place / "work", place / "home" / "secret"
    plain = ["convert", "../given/model", "--name", "taken", "--version", "1.0.0", "--quantize", "float32"]
    honest = as_user(user, ["-m", "maas_converter", *plain, "-o", "honest.maas", "--keys", "keys"], work)
    assert honest.returncode == 0, honest.stderr
    with open_bundle(work / "honest.maas") as bundle:
        assert bundle.signature is not None
        other = msgspec.json.encode(msgspec.structs.replace(bundle.manifest, name="of-others"))
    assert decode_manifest(other).name == "of-others"
    told = json.dumps([ATTACKS, str(secret), str(place / "given"), free_port()])
    done = as_user(
        user,
        ["-c", _taken_over(other), told, *plain, "-o", "out.maas", "--keys", "keys", "--report", "report"],
        work,
    )
    assert done.returncode == 65, done.stderr
    outcomes = json.loads(done.stderr.partition("error: ")[2])
    assert [name for name, outcome in outcomes.items() if outcome == "done"] == []
    assert outcomes.keys() > ATTACKS.keys()
    assert len(outcomes) == len(ATTACKS) + 10
    assert secret.read_text() == "the key"
    assert sorted(path.name for path in (place / "home").iterdir()) == ["secret"]
    assert sorted(path.name for path in work.iterdir()) == ["honest.maas", "keys"]


@needs_confinement
@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", "b.maas", "--data", "../given/data.npz"],
        ["inspect", "b.maas"],
        ["split", "../given/model.tflite", "--list"],
    ],
)
def test_every_command_that_reads_a_model_is_confined_before_numpy_has_threads(place, arguments):
    """No thread is older than what holds it, and none is left out."""
    program = (
        "import os, sys\n"
        "from maas_converter.base import sandbox\n"
        "held = sandbox.confine\n"
        "def watched(access):\n"
        "    found = held(access)\n"
        "    print(found.lacking, len(os.listdir('/proc/self/task')), 'numpy' in sys.modules, access.programs)\n"
        "    sys.stdout.flush()\n"
        "    os._exit(0)\n"
        "sandbox.confine = watched\n"
        "from maas_converter.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=place / "work", timeout=60
    )
    assert done.stdout.strip() == "() 1 False False", done.stderr


class TestOddPlaces:
    def test_what_is_named_relatively_and_through_links_is_read_and_written(self, place, maas_converter, monkeypatch):
        deep = place / "work" / "a folder, with blanks" / ("long " * 20)
        deep.mkdir(parents=True)
        (place / "linked").symlink_to(place / "given")
        (deep / "data.npz").symlink_to(place / "given" / "data.npz")
        monkeypatch.chdir(deep)
        plain = ["--name", "odd", "--version", "1.0.0", "--calibration", "data.npz"]
        done = maas_converter("convert", place / "linked" / "model.tflite", *plain, "-o", "../odd one.maas")
        assert done.returncode == 0, done.stderr
        (place / "given" / "graph.toml").write_text(
            '[[stage]]\nname = "only"\nmodel = "model.tflite"\ninputs = ["x"]\noutputs = ["t"]\n'
        )
        done = maas_converter(
            "convert", "../../../linked/graph.toml", *plain, "-o", "graph.maas", "--quantize", "float32"
        )
        assert done.returncode == 0, done.stderr
        assert sorted(path.name for path in deep.iterdir()) == ["data.npz", "graph.maas"]

    def test_a_folder_of_pictures_that_are_links(self, place, maas_converter, monkeypatch):
        from PIL import Image

        (place / "store").mkdir()
        for number in range(24):
            (place / "pictures" / f"class {number % 4}").mkdir(parents=True, exist_ok=True)
            kept = place / "store" / f"{number}.png"
            Image.fromarray(np.full((1, 4), 10 * number, np.uint8)).save(kept)
            (place / "pictures" / f"class {number % 4}" / f"{number}.png").symlink_to(kept)
        (place / "pictures" / "class 1").rename(place / "elsewhere")
        (place / "pictures" / "class 1").symlink_to(place / "elsewhere")
        (place / "given" / "p.toml").write_text('[decode]\nshape = [1, 4]\ndtype = "uint8"\ncolor = "gray"\n')
        done = maas_converter(
            *("convert", place / "given" / "model.tflite", "--name", "odd", "--version", "1.0.0", "--force"),
            *("--calibration", place / "pictures", "--preprocess", place / "given" / "p.toml"),
            *("-o", place / "work" / "pictures.maas"),
        )
        assert done.returncode == 0, done.stderr


def test_where_the_kernel_cannot_it_is_said_and_gone_on(place):
    program = (
        "import sys\n"
        "from maas_converter.base import sandbox\n"
        "sandbox.lacking = lambda **needs: 'it can reach the network (seccomp is missing)'\n"
        "from maas_converter.cli.main import main\n"
        "main()\n"
    )
    work = place / "work"
    made = ["convert", "../given/model.tflite", "--name", "plain", "--version", "1.0.0", "--quantize", "float32"]
    for arguments in ([*made, "-o", "b.maas"], ["split", "../given/model.tflite", "--at", "0", "-o", "stages"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, cwd=work, timeout=60
        )
        assert done.stderr.count("the model is read and run with what you may do yourself") == 1, done.stderr


def test_a_report_that_cannot_be_written_is_told_by_who_writes_it(place, maas_converter):
    work = place / "work"
    (work / "b.maas.d").write_text("")
    done = maas_converter(
        *("convert", place / "given" / "model.tflite", "--name", "a", "--version", "1.0.0", "--quantize", "float32"),
        *("-o", work / "b.maas", "--report", work / "b.maas.d" / "report"),
    )
    assert done.returncode == 69, done.stderr
    assert f"cannot write the report to {work / 'b.maas.d' / 'report'}" in done.stderr
    assert os.listdir(work / "keys")  # noqa: PTH208
