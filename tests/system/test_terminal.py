"""No byte that came from outside reaches a terminal unescaped: every command, each with hostile documents.

`SHOWN` is the table: a command that is not in it is an error, so that a new one is tried too. What its documents hold
is `EVIL`: a title, a clipboard, colours, a cleared screen, text turned round, and a row that nobody has sent.
"""

import json
import os
import pty
import re
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

pytest.importorskip("typer", reason="the converter extra is not installed")

from maas_agent import cli as agent
from maas_agent.base.terminal import Guarded, cell, guard_streams, printable
from maas_agent.bundle.archive import open_bundle, write_bundle
from maas_agent.bundle.manifest import encode_manifest
from maas_converter.cli import main as converter
from maas_converter.publishing.keys.key_files import create_keys
from maas_converter.publishing.repository import init_repository, publish, revoke
from tests.bundles import make_bundle, samples
from tests.docs.test_commands import COMMANDS
from tests.models import tiny_classifier_tflite
from tests.system.brokers import running
from tests.system.console import Console

EVIL = (
    "good\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x07\x1b[2J\x9b31m\u202edoog\u2066\ufeff\x7f\x85\u2028"
    "\r\nforged  online  a row that nobody sent\x0bforged[red]x[/red][link=file:a]l[/link]"
)
FILE = EVIL.partition("[red]")[0]
ESCAPED = "\\x1b]0;owned\\x07"
TENSOR = b"\x1b[2J\r\n"  # as long as "scores" and "logits"

Arguments = list[str]
Shown = Callable[["Scene"], list[Arguments]]
SHOWN: dict[str, Shown] = {}


def shown(name: str) -> Callable[[Shown], Shown]:
    """Enter what a command is tried with: command lines without the program and the command."""

    def enter(tries: Shown) -> Shown:
        SHOWN[name] = tries
        return tries

    return enter


class Scene:
    """A folder with whatever a command may meet, all of it by somebody who means ill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing = str(folder / EVIL)

    @property
    def bundle(self) -> Path:
        """One whose labels, tensors and lineage are evil; a bundle all the same."""
        path = self.folder / "evil.maas"
        if not path.exists():
            model = tiny_classifier_tflite().replace(b"scores", TENSOR)
            with open_bundle(make_bundle(path, model=model)) as made:
                manifest, blobs = made.manifest, {each: made.blob(each) for each in made.manifest.blobs()}
            labels = tuple(f"{EVIL}{number}" for number in range(10))
            changed = msgspec.structs.replace(
                manifest,
                created=EVIL,
                outputs=(msgspec.structs.replace(manifest.outputs[0], labels=labels),),
                lineage=msgspec.structs.replace(manifest.lineage, source=EVIL, recipe=EVIL, forced=(EVIL,)),
            )
            write_bundle(path, encode_manifest(changed), blobs)
        return path

    @property
    def config(self) -> Path:
        """Of an agent whose store has an evil name: no agent runs on it."""
        path = self.folder / "agent.toml"
        pipeline = '[[pipeline]]\nname = "digits"\nmodel = "digits"\n'
        quoted = json.dumps(str(self.folder / EVIL))
        evil = f'[[pipeline]]\nname = "other"\nbundle = {quoted}\nallow_unsigned = true\n'
        repository = '[repository]\nroot = "root.json"\n'
        store = f"[store]\npath = {json.dumps(str(self.folder / EVIL[:40]))}\n"
        path.write_text(
            f'[device]\nid = "dev"\n[broker]\nurl = "mqtt://127.0.0.1:1"\n{repository}{store}{pipeline}{evil}'
        )
        return path

    @property
    def repository(self) -> Path:
        """With a version that was revoked for an evil reason, and an evil change that waits."""
        path, keys = self.folder / "repository", self.folder / "keys"
        if not path.exists():
            create_keys(keys)
            create_keys(self.folder / "bob", None, ("targets",), "bob")
            init_repository(path, [keys, self.folder / "bob"], {"targets": 1})
            publish(make_bundle(self.folder / "digits.maas"), path, keys)
            revoke("digits", "1.0.0", path, keys, EVIL)
            waiting = msgspec.json.decode((path / "metadata" / "3.targets.json").read_bytes())
            waiting["signed"]["channels"] = {"digits": {EVIL: EVIL}}
            waiting["signed"]["version"] = 4
            (path / "pending").mkdir()
            (path / "pending" / "targets.json").write_bytes(msgspec.json.encode(waiting))
            change = {"what": EVIL, "roles": ["targets"], "made_from": {"root": 1, "targets": 3}}
            (path / "pending" / "change.json").write_bytes(msgspec.json.encode(change))
        return path

    @property
    def keys(self) -> list[str]:
        return ["--keys", str(self.folder / "keys")]


@shown("maas-agent run")
def _run(scene: Scene) -> list[Arguments]:
    return [["--config", scene.missing]]


@shown("maas-agent check")
def _check(scene: Scene) -> list[Arguments]:
    return [["--config", str(scene.config)]]


@shown("maas-agent status")
def _status(scene: Scene) -> list[Arguments]:
    return [["--config", str(scene.config)]]


@shown("maas-agent install")
def _install(scene: Scene) -> list[Arguments]:
    return [[scene.missing, "--config", str(scene.config)]]


@shown("maas-agent rollback")
def _rollback(scene: Scene) -> list[Arguments]:
    return [["digits", "--config", str(scene.config)]]


@shown("maas-agent enroll")
def _enroll(scene: Scene) -> list[Arguments]:
    return [["--config", str(scene.config)]]


@shown("maas-agent infer")
def _infer(scene: Scene) -> list[Arguments]:
    sample = scene.folder / f"{FILE}.raw"
    sample.write_bytes(samples(1)[0].tobytes())
    bad = scene.folder / "bad.json"
    bad.write_text(json.dumps({EVIL: EVIL}))
    plain = [str(scene.bundle), str(sample), str(bad), scene.missing]
    return [plain, [*plain, "--json"]]


@shown("maas-agent bench")
def _bench(scene: Scene) -> list[Arguments]:
    return [[scene.missing]]


@shown("maas-converter convert")
def _convert(scene: Scene) -> list[Arguments]:
    model = scene.folder / f"{FILE}.tflite"
    model.write_bytes(b"\x00\x00\x00\x00TFL3" + EVIL.encode())
    return [[str(model), "--name", "digits", "--version", "1.0.0", "-o", str(scene.folder / "o.maas")]]


@shown("maas-converter inspect")
def _inspect(scene: Scene) -> list[Arguments]:
    return [[str(scene.bundle)], [str(scene.bundle), "--json"]]


@shown("maas-converter evaluate")
def _evaluate(scene: Scene) -> list[Arguments]:
    data = scene.folder / "data.npz"
    np.savez(data, x=samples(4), y=np.arange(4))
    return [[str(scene.bundle), "--data", str(data)], [str(scene.bundle), "--data", str(data), "--json"]]


@shown("maas-converter split")
def _split(scene: Scene) -> list[Arguments]:
    model = scene.folder / "model.tflite"
    model.write_bytes(tiny_classifier_tflite().replace(b"logits", TENSOR))
    return [[str(model), "--list"], [str(model), "--list", "--json"], [str(model), "--at", EVIL, "-o", scene.missing]]


@shown("maas-converter keys create")
def _keys_create(scene: Scene) -> list[Arguments]:
    return [[scene.missing, "--role", EVIL, "--no-passphrase"]]


@shown("maas-converter repo init")
def _repo_init(scene: Scene) -> list[Arguments]:
    return [[scene.missing, "--keys", scene.missing]]


@shown("maas-converter repo refresh")
def _repo_refresh(scene: Scene) -> list[Arguments]:
    return [[scene.missing, "--keys", scene.missing]]


@shown("maas-converter repo sign")
def _repo_sign(scene: Scene) -> list[Arguments]:
    return [[str(scene.repository)], [str(scene.repository), *scene.keys]]


@shown("maas-converter repo delegate")
def _repo_delegate(scene: Scene) -> list[Arguments]:
    return [[str(scene.repository), EVIL, EVIL, *scene.keys]]


@shown("maas-converter repo rotate")
def _repo_rotate(scene: Scene) -> list[Arguments]:
    return [[str(scene.repository), EVIL, *scene.keys, "--new-keys", scene.missing]]


@shown("maas-converter repo verify")
def _repo_verify(scene: Scene) -> list[Arguments]:
    return [[str(scene.repository)], [str(scene.repository), "--json"]]


@shown("maas-converter repo recipients")
def _repo_recipients(scene: Scene) -> list[Arguments]:
    return [[str(scene.repository), EVIL, EVIL, *scene.keys]]


@shown("maas-converter publish")
def _publish(scene: Scene) -> list[Arguments]:
    repository = ["--repo", str(scene.repository)]
    return [[str(scene.folder / "digits.maas"), *repository, *scene.keys]]


@shown("maas-converter revoke")
def _revoke(scene: Scene) -> list[Arguments]:
    return [["digits", "1.0.0", "--repo", str(scene.repository), *scene.keys]]


@shown("maas-converter deploy")
def _deploy(scene: Scene) -> list[Arguments]:
    return [["digits==1.0.0", "--group", "all", "--status", "--broker", "{broker}"]]


@shown("maas-converter fleet")
def _fleet(scene: Scene) -> list[Arguments]:
    plain = ["--broker", "{broker}"]
    return [plain, [*plain, "--json"]]


def got_through(out: str) -> str:
    """What of ``out`` a terminal would not simply show, and lines that nobody but the documents has written."""
    forged = "".join(line for line in out.split("\n") if line.lstrip().startswith("forged"))
    return "".join(each for each in out if not each.isprintable() and each != "\n") + forged


def test_every_command_is_in_the_table() -> None:
    assert set(SHOWN) == set(COMMANDS)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real one, on which somebody has said what devices and operators say."""
    with running(tmp_path_factory.mktemp("broker")) as mosquitto:
        console = Console(mosquitto.port)
        pipeline = {"pipeline": EVIL, "model": "digits", "serving": True, "accelerator": EVIL}
        update = {"state": "failed", "version": "1.0.0", "reason": EVIL * 1000}
        console.publish(
            "maas/dev\u202e/status", json.dumps({"status": EVIL, "groups": ["all", EVIL], "time": EVIL}), retain=True
        )
        console.publish(
            "maas/dev\u202e/digits/state",
            json.dumps(pipeline | {"active": {"version": EVIL}, "update": update}),
            retain=True,
        )
        times = {"soak_s": 1.0, "patience_s": 1.0, "max_failures": 1.0, "since": 1.0}
        rollout = {"id": "x", "version": "1.0.0", "stages": [100.0], "state": "stopped", "reason": EVIL, "leader": EVIL}
        wish = {"version": "1.0.0", "percent": 100.0, "salt": "x", "rollout": rollout | times}
        console.publish("maas/groups/all/desired", json.dumps({"serial": 1, "models": {"digits": wish}}), retain=True)
        console.wait("maas/groups/all/desired", lambda document: True)
        yield mosquitto.url
        console.close()


@pytest.mark.parametrize("command", SHOWN)
def test_what_came_from_outside_is_escaped(
    command: str, scene: Scene, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is there: in a table, in a sentence or in a document, as an escape."""
    program, *words = command.split()
    for arguments in SHOWN[command](scene):
        if "{broker}" in arguments:
            arguments = [request.getfixturevalue("broker") if each == "{broker}" else each for each in arguments]
        capsys.readouterr()
        status = agent.main([*words, *arguments]) if program == "maas-agent" else converter.run([*words, *arguments])
        out, err = capsys.readouterr()
        assert got_through(out) == got_through(err) == "", (arguments, status)
        if "--json" in arguments:
            document = json.dumps(json.loads(out), ensure_ascii=False)
            assert "forged" in document or "\\u001b" in document or command.endswith("verify")
        else:
            assert "\\x1b" in out + err, (arguments, status)


def test_there_is_no_other_door() -> None:
    """But the log, which escapes too, and the importers' processes, which speak to the converter alone."""
    doors = {"base/terminal.py", "base/log.py", "importers/refusal.py", "importers/asking.py"}
    writes = re.compile(
        r"(?<![\w.])print\(|(?<!\w)echo\(|std(out|err)\.write\(|os\.write\([12],|Console\((?!file=beneath)"
    )
    root = Path(__file__).parents[2]
    for package in (root / "agent" / "maas_agent", root / "converter" / "maas_converter"):
        for path in package.rglob("*.py"):
            if str(path.relative_to(package)) not in doors:
                found = [line for line in path.read_text().splitlines() if writes.search(line)]
                assert not found, f"{path}: {found}: write by maas_agent.base.terminal"


def test_what_an_agent_says_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over its control socket, where reasons of bundles, brokers and repositories come together."""
    from tests.agent.commands.test_status import Agent, pipeline, status

    tried = {"accelerator": EVIL, "threads": 1, "options": {EVIL: EVIL}, "p50_ms": 1.0, "p99_ms": 1.0}
    tried |= {"peak_bytes": None, "deviation": 0.0, "accelerated": None, "refused": EVIL}
    update = {"state": EVIL, "version": EVIL, "reason": EVIL, "shadow": None, "probation": None}
    rest = {"accelerator": EVIL, "tried_again": EVIL, "reason": EVIL}
    source = {"state": "failed", "reason": EVIL}
    evil = pipeline(
        pipeline=EVIL, trouble=EVIL, serving=False, source=source, update=update, quarantine=[rest], trials=[tried]
    )
    running = Agent(tmp_path)
    try:
        running.says = status(evil, connected=False, trouble=EVIL) | {"alarms": [EVIL], "broker": EVIL, "device": EVIL}
        for arguments in ([], ["--json"]):
            assert agent.main(["status", "--config", str(running.config), *arguments]) == 1
            out, err = capsys.readouterr()
            assert got_through(out) == got_through(err) == ""
            assert ESCAPED in out if not arguments else json.loads(out) == running.says
    finally:
        running.stop()


TYPED = [
    ["maas-agent", EVIL],
    ["maas-agent", "status", f"-{EVIL}"],
    ["maas-agent", "infer", "b.maas", "x", f"--{FILE.replace(' ', '')}"],
    ["maas-agent", "infer", "b.maas", "x", "--runtime", EVIL],
    ["maas-agent", "infer", "b.maas", "x", "--option", EVIL.replace("=", "")],
    ["maas-agent", "bench", "b.maas", "--threads", EVIL],
    ["maas-agent", "bench", "b.maas", "--accelerator", EVIL],
    ["maas-agent", "rollback", "--config", EVIL, f"{EVIL}\udcff"],
    ["maas-converter", EVIL],
    ["maas-converter", "repo", EVIL],
    ["maas-converter", "inspect", f"--{FILE}"],
    ["maas-converter", "inspect", "x", EVIL],
    ["maas-converter", "deploy", EVIL, "--broker", EVIL, "--group", EVIL],
    ["maas-converter", "fleet", "--broker", f"mqtt://{FILE}", "--wait", EVIL],
    ["maas-converter", "repo", "init", "x", "--keys", "y", "--threshold", EVIL],
]
"""What a shell makes of ``*`` in a folder that somebody else has filled: names that are options, and more."""


@pytest.mark.parametrize("words", TYPED, ids=range(len(TYPED)))
def test_what_was_typed_is_escaped(words: Arguments, capsys: pytest.CaptureFixture[str]) -> None:
    """A parser repeats what it does not know."""
    program, *arguments = words
    try:
        status = agent.main(arguments) if program == "maas-agent" else converter.run(arguments)
    except SystemExit as ended:
        status = int(ended.code or 0)
    out, err = capsys.readouterr()
    assert status and got_through(out) == got_through(err) == "" and "\\x1b" in err


def test_a_defect_is_shown_in_lines_of_our_own() -> None:
    """What an error says of a file is one line of its traceback."""
    code = (
        "import sys\n"
        "from maas_agent.base.terminal import guard_streams\n"
        "guard_streams()\n"
        "try:\n    raise ValueError(sys.argv[1])\n"
        "except ValueError as error:\n    raise RuntimeError(sys.argv[1]) from error\n"
    )
    done = subprocess.run([sys.executable, "-c", code, EVIL], capture_output=True, text=True, timeout=60)
    assert got_through(done.stderr) == "" and done.stderr.count(ESCAPED) == 2
    assert [line for line in done.stderr.splitlines() if line.startswith(("ValueError: ", "RuntimeError: "))]


@pytest.mark.parametrize("words", [("say", EVIL), ("step", EVIL), ("track", EVIL), ("status", EVIL)])
def test_what_is_drawn_on_a_terminal_is_escaped_too(words: tuple[str, str]) -> None:
    """Colours and bars are escape sequences of our own: none of them sets a title, links, or begins a new row."""
    code = (
        "import sys, numpy as np\n"
        "from maas_agent.base.terminal import guard_streams\n"
        "from maas_converter.base import console\n"
        "guard_streams()\n"
        "what, words = sys.argv[1:]\n"
        "progress = console.TerminalProgress()\n"
        "if what == 'say': console.say(words); console.show_table(words, (words, words), [(words, words)])\n"
        "if what == 'step': progress.step(words)\n"
        "if what == 'track': list(progress.track(words, np.zeros((3, 1))))\n"
        "if what == 'status':\n"
        "    with console.terminal().status('…') as status: status.update(console.text(words)); console.say(words)\n"
        "raise RuntimeError(words)\n"
    )
    screen = _on_a_terminal([sys.executable, "-c", code, *words])
    # "x" written red would be without its tags; a link would be OSC 8.
    assert "\x1b]" not in screen and "\x07" not in screen and "\x9b" not in screen and "\u202e" not in screen
    assert "[red]x[/red]" in screen.replace("\r\n", "").replace(" ", "") and ESCAPED in screen.replace("\r\n", "")


def test_native_code_that_prints_to_descriptor_2_is_shown_as_lines(tmp_path: Path) -> None:
    """A library's message names ops and tensors as the model calls them."""
    code = (
        "import os, sys\n"
        "from maas_agent.base.terminal import guard_streams\n"
        "from maas_converter.base.isolation import isolated\n"
        "guard_streams()\n"
        "def work():\n"
        "    os.write(2, sys.argv[1].encode()); print('ours', file=sys.stderr); return 3\n"
        "sys.exit(isolated(work))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, EVIL], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "ours\n" in done.stderr and ESCAPED in done.stderr
    assert all(each.isprintable() or each == "\n" for each in done.stderr)


def test_a_cell_is_one_line_of_bounded_width() -> None:
    assert cell("a \n  b") == "a \\n b"
    assert cell(EVIL * 100, 50).isprintable() and len(cell(EVIL * 100, 50)) == 50
    assert printable("Wärme 表 👍 \\n") == "Wärme 表 👍 \\n", "what people write stays as it is"


def test_streams_are_guarded_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    guard_streams()
    guard_streams()
    stdout: Any = sys.stdout
    assert isinstance(stdout, Guarded) and not isinstance(stdout.beneath, Guarded)
    print("a\tb\nc\x1b[2Jd")
    assert capsys.readouterr().out == "a\tb\nc\\x1b[2Jd\n"


def _on_a_terminal(command: list[str]) -> str:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    screen = b""
    try:
        while True:
            assert select.select([terminal], [], [], 60)[0], f"it does not end: {screen[-200:]!r}"
            screen += os.read(terminal, 4096)
    except OSError:  # the terminal's other end is closed
        os.waitpid(child, 0)
        return screen.decode()
    finally:
        os.close(terminal)
