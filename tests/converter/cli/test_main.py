"""The command line: every command, what it prints where, and how it ends."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from maas_agent import __version__
from maas_agent.bundle.archive import open_bundle
from maas_converter.cli import main
from maas_converter.cli.command_list import COMMANDS


def _json(capsys, *arguments):
    assert main.run([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_help_names_every_command(maas_converter):
    done = maas_converter("--help")
    assert done.returncode == 0
    for command in {name.split()[0] for name in COMMANDS}:
        assert command in done.stdout


def test_help_imports_nothing_heavy():
    program = (
        "import sys; from maas_converter.cli import main; main.run(['convert', '--help']);"
        "print([m for m in ('numpy', 'tensorflow', 'litert_quantizer', 'tuf') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_listed_exists(command, capsys):
    assert main.run([*command.split(), "--help"]) == 0
    assert COMMANDS[command] in " ".join(capsys.readouterr().out.split())


class TestWithoutTheExtra:
    """After ``pip install maas-edge`` alone."""

    @pytest.fixture
    def bare(self, tmp_path):
        hidden = "import sys\nfor name in ('typer', 'rich', 'tensorflow'):\n    sys.modules[name] = None\n"
        program = hidden + "from importlib import util\nfind = util.find_spec\n"
        program += "util.find_spec = lambda name: None if sys.modules.get(name, 0) is None else find(name)\n"
        program += "from maas_converter.cli.main import main\nmain()\n"

        def run(*arguments):
            return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)

        return run

    def test_help_still_works(self, bare):
        done = bare("--help")
        assert done.returncode == 0
        assert all(command in done.stdout for command in COMMANDS)

    def test_a_command_says_what_to_install(self, bare):
        done = bare("convert", "model.keras")
        assert done.returncode == 69
        assert "pip install 'maas-edge[converter]'" in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["convert"], ["no-such-command"], ["inspect", "a", "b"], ["inspect", "--what", "a"], ["keys"]]
)
def test_a_wrong_command_line_is_a_usage_error_in_one_sentence(arguments, capsys):
    assert main.run(arguments) == 64
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"maas-converter: error: .*\n", printed.err)


def test_a_defect_is_told_without_a_traceback(monkeypatch, capsys):
    monkeypatch.setattr(main, "_dispatch", lambda arguments: 1 / 0)
    assert main.run(["inspect"]) == 70
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_ends_with_130(digits_bundle, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("maas_converter.cli.description.describe_bundle", interrupted)
    assert main.run(["inspect", str(digits_bundle)]) == 130
    assert capsys.readouterr().err == "maas-converter: error: interrupted\n"


def test_a_reader_that_has_gone_is_no_error_to_tell(digits_bundle):
    command = f"{sys.executable} -m maas_converter inspect {digits_bundle} --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert done.stderr == ""


class TestInspect:
    def test_json_holds_all_of_it(self, digits_bundle, capsys):
        document = _json(capsys, "inspect", digits_bundle)
        with open_bundle(digits_bundle) as bundle:
            assert document["digest"] == bundle.digest
        assert (document["name"], document["version"], document["signed"]) == ("digits", "1.0.0", False)
        for part in ("stages", "inputs", "outputs", "golden", "metrics", "lineage", "requires", "bytes", "created"):
            assert document[part], part

    def test_a_person_reads_the_same_on_standard_error(self, digits_bundle, capsys):
        assert main.run(["inspect", str(digits_bundle)]) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        for words in (
            "digits",
            "1.0.0",
            "unsigned",
            "[8, 8, 1] uint8",
            "scale=0.0625",
            "digit 9",
            "int8",
            "16 samples",
        ):
            assert words in printed.err

    def test_a_damaged_bundle_is_refused(self, digits_bundle, tmp_path, capsys):
        damaged = tmp_path / "damaged.maas"
        data = bytearray(digits_bundle.read_bytes())
        data[len(data) // 2] ^= 255
        damaged.write_bytes(data)
        assert main.run(["inspect", str(damaged)]) == 65
        assert main.run(["inspect", str(tmp_path / "none.maas")]) == 66
        assert main.run(["inspect", str(tmp_path)]) == 66
        assert capsys.readouterr().err.count("\n") == 3


class TestEvaluate:
    def test_json_gives_accuracy_with_its_interval_and_every_class(self, digits_bundle, digits, capsys):
        document = _json(capsys, "evaluate", digits_bundle, "--data", digits.evaluation)
        score = document["score"]
        with open_bundle(digits_bundle) as bundle:
            assert score["accuracy"] == bundle.manifest.metrics.accuracy["evaluation"].bundle
        low, high = score["interval"]
        assert low < score["accuracy"] < high
        assert sum(entry["samples"] for entry in score["classes"]) == score["samples"] == 597
        assert sum(entry["correct"] for entry in score["classes"]) == score["correct"]
        assert [entry["label"] for entry in score["classes"]] == [f"digit {number}" for number in range(10)]
        assert document["time"]["p50_ms"] > 0

    def test_a_person_reads_a_table(self, digits_bundle, digits, capsys):
        assert main.run(["evaluate", str(digits_bundle), "--data", str(digits.evaluation)]) == 0
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "accuracy 9" in printed.err

    def test_data_that_does_not_fit_is_refused(self, digits_bundle, tmp_path, capsys):
        path = tmp_path / "data.npz"
        np.savez(path, x=np.zeros((2, 3)), y=np.zeros(2, int))
        assert main.run(["evaluate", str(digits_bundle), "--data", str(path)]) == 65
        np.savez(path, x=np.zeros((2, 8, 8, 1), np.uint8))
        assert main.run(["evaluate", str(digits_bundle), "--data", str(path)]) == 65
        assert "no classes 'y'" in capsys.readouterr().err


def test_keys_repository_and_publishing_answer_in_json(digits_bundle, tmp_path, capsys):
    keys, repo = tmp_path / "keys", tmp_path / "repo"
    made = _json(capsys, "keys", "create", keys, "--no-passphrase")
    assert set(made["keys"]) == {"root", "targets", "snapshot", "timestamp"}
    assert _json(capsys, "repo", "init", repo, "--keys", keys)["repository"] == str(repo)
    published = _json(capsys, "publish", digits_bundle, "--repo", repo, "--keys", keys, "--channel", "beta")
    assert (published["name"], published["version"], published["new_blobs"]) == ("digits", "1.0.0", 2)
    assert "timestamp" in _json(capsys, "repo", "refresh", repo, "--keys", keys)["signed"]


def test_publishing_without_a_repository_or_keys_is_one_sentence(digits_bundle, tmp_path, capsys):
    arguments = ["publish", str(digits_bundle), "--repo", str(tmp_path / "none"), "--keys", str(tmp_path)]
    assert main.run(arguments) in (65, 66)
    assert main.run(["repo", "init", str(tmp_path / "repo"), "--keys", str(tmp_path / "none")]) == 66
    assert capsys.readouterr().err.count("\n") == 2


def test_version_is_that_of_the_package(maas_converter):
    result = maas_converter("--version")
    assert (result.returncode, result.stdout.split()) == (0, ["maas-converter", __version__])
