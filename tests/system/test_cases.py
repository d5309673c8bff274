"""The cases in tests/cases: inputs as files, answers as JSON, one pipeline each on one device.

How to add one is said in tests/cases/README.md.
"""

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bundles import make_bundle, make_echo_bundle, make_sound_bundle
from tests.system.brokers import Mosquitto
from tests.system.console import Console
from tests.system.device import Device

CASES = Path(__file__).parent.parent / "cases"
MODELS: dict[str, Callable[[Path], Path]] = {
    "tiny": lambda path: make_bundle(path, "tiny", "1.0.0"),
    "tiny-int8": lambda path: make_bundle(path, "tiny", "1.0.0", dtype="int8"),
    "one-number": make_echo_bundle,
    "tiny-sound": make_sound_bundle,
}
TOLERANCE = 0.01
"""How far a number may be off: another processor rounds differently, another libjpeg decodes differently."""


class Case:
    """One folder of tests/cases."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self._settings = tomllib.loads((folder / "case.toml").read_text())
        assert self._settings["description"].endswith("."), "the description is a sentence"
        assert self._settings.keys() <= {"description", "model", "pipeline", "content_type"}
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text())
        files = [path for path in sorted(folder.iterdir()) if path.name not in ("case.toml", "expected.json")]
        self.inputs = {path.name: path.read_bytes() for path in files}

    def pipeline(self, bundles: Path) -> str:
        """Its [[pipeline]] table; the bundle is made if no case before has made it."""
        model = self._settings["model"]
        assert model in MODELS, f"model = {model!r}: choose one of {', '.join(MODELS)}"
        bundle = bundles / f"{model}.maas"
        if not bundle.exists():
            MODELS[model](bundle)
        table = {"name": self.name, "bundle": str(bundle), "allow_unsigned": True} | self._settings.get("pipeline", {})
        return "[[pipeline]]\n" + "\n".join(f"{key} = {toml(value)}" for key, value in table.items()) + "\n"

    def ask(self, console: Console, name: str) -> dict[str, Any]:
        """Publish one input; the document on its out topic."""
        content_type = self._settings.get("content_type", {}).get(name)
        properties = {"ContentType": content_type} if content_type else {}
        return console.ask("dev", self.name, self.inputs[name], name, **properties)


FOLDERS = sorted(path.parent for path in CASES.glob("*/case.toml"))


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """Next to a device that serves every case."""
    folder = tmp_path_factory.mktemp("cases")
    mosquitto = Mosquitto(folder)
    mosquitto.start()
    client = Console(mosquitto.port)
    device = Device(folder / "dev", mosquitto.url, "".join(Case(path).pipeline(folder) for path in FOLDERS))
    device.start()
    for path in FOLDERS:
        client.wait(f"maas/dev/{path.name}/state", lambda state: state["serving"])
    yield client
    device.close()
    client.close()
    mosquitto.stop()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_input_of_a_case_gets_the_answer_that_is_expected(console: Console, folder: Path) -> None:
    case = Case(folder)
    answers = {name: case.ask(console, name) for name in case.inputs}
    wrong = [
        f"{name}: expected.json has an entry, but there is no such input" for name in case.expected.keys() - answers
    ]
    for name, answer in answers.items():
        wrong += (
            differences(answer, case.expected[name], name) if name in case.expected else [f"{name}: not expected yet"]
        )
    assert not wrong, "\n".join([*wrong, "the whole answers:", json.dumps(answers, indent=2)])


def differences(answer: Any, expected: Any, where: str) -> Iterator[str]:
    """Where ``answer`` is not what is expected: objects may hold more, arrays may not, numbers may be a little off."""
    if isinstance(expected, dict) and isinstance(answer, dict):
        for key, value in expected.items():
            if key in answer:
                yield from differences(answer[key], value, f"{where} / {key}")
            else:
                yield f"{where}: there is no {key!r}"
    elif isinstance(expected, list) and isinstance(answer, list) and len(answer) == len(expected):
        for index, value in enumerate(expected):
            yield from differences(answer[index], value, f"{where} / {index}")
    elif isinstance(expected, float) and isinstance(answer, int | float):
        if not abs(answer - expected) <= TOLERANCE:
            yield f"{where}: {answer} is not {expected}"
    elif answer != expected:
        yield f"{where}: {json.dumps(answer)} is not {json.dumps(expected)}"


def toml(value: Any) -> str:
    """A value as it stands in TOML: as in JSON, but for tables."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(inner)}" for key, inner in value.items()) + " }"
    return json.dumps(value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 0.5}, {"a": 0.52}),
        ({"a": None}, {"a": 0.5}),
        ([1, 2], [1]),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}),
        ("x", {"a": 1}),
    ],
)
def test_a_difference_is_seen(answer: Any, expected: Any) -> None:
    assert [*differences(answer, expected, "here")]
    assert not [*differences(expected, expected, "here")]
