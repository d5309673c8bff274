"""The walk-throughs of docs/sources.md and docs/extending.md, followed to the letter in a copy of the agent."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import maas_agent
from tests.bundles import samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import wait_until

DOCS = Path(__file__).parents[2] / "docs"
SELECTION, PREPROCESS, HUB = "worker/sources/selection.py", "processing/preprocess.py", "hub/hub.py"


def blocks(page: str, heading: str) -> list[str]:
    """The Python that a section of a page has you write, in its order."""
    _, _, rest = (DOCS / page).read_text().partition(f"\n{heading}\n")
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


class Copy:
    """The agent's package, to be edited."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "maas_agent"
        original = Path(maas_agent.__file__).parent
        shutil.copytree(original, self.path, ignore=shutil.ignore_patterns("__pycache__"))

    def insert(self, file: str, before: str, text: str) -> None:
        """Put a text before the first place that reads so."""
        found = (self.path / file).read_text()
        assert before in found, f"{file} has no {before!r}"
        (self.path / file).write_text(found.replace(before, text + before, 1))

    def replace(self, file: str, pattern: str, text: str) -> None:
        """Write a text in place of the one line that matches."""
        found = (self.path / file).read_text()
        changed, count = re.subn(pattern, lambda _: text, found, flags=re.MULTILINE)
        assert count == 1, f"{file} has not one {pattern!r}"
        (self.path / file).write_text(changed)

    def add_case(self, file: str, function: str, case: str) -> None:
        """Put a case first into the match of a function."""
        found = (self.path / file).read_text()
        at = found.index("\n        case ", found.index(f"def {function}(")) + 1
        (self.path / file).write_text(found[:at] + case + found[at:])

    @property
    def environment(self) -> dict[str, str]:
        """What makes Python find it before the one that is installed."""
        return {"PYTHONPATH": str(self.path.parent)}

    def run(self, code: str) -> str:
        """What a program prints that uses it."""
        program, environment = [sys.executable, "-c", code], os.environ | self.environment
        return subprocess.run(program, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path / "edited")


def add_source(copy: Copy) -> None:
    configuration, module, makes, reaches, _test = blocks("sources.md", "## Adding a source")
    copy.replace("config/schema.py", r"^Source = MqttSource \| CommandSource\n", configuration)
    (copy.path / "worker/sources/udp.py").write_text(module)
    copy.add_case(SELECTION, "local_source", makes)
    copy.add_case(SELECTION, "access_of", reaches)
    names = "from maas_agent.config.schema import UdpSource\nfrom maas_agent.worker.sources.udp import UdpListener\n"
    copy.insert(SELECTION, "from maas_agent.worker.sources.command", names)


def add_command(copy: Copy) -> None:
    name, case, handler = blocks("extending.md", "## A command")
    copy.replace("hub/api/commands.py", r"^CommandName = .*\n", name)
    copy.insert(HUB, '            case "update":', case)
    copy.insert(HUB, "    def _update_command(", handler + "\n")


def add_extension(copy: Copy) -> None:
    (module,) = blocks("extending.md", "## An extension")
    (copy.path / "hub/extensions/answer_log.py").write_text(module)
    copy.insert("hub/extensions/table.py", "    StatusTopic,", "    AnswerLog,\n")
    found = "from maas_agent.hub.extensions.answer_log import AnswerLog\n"
    copy.insert("hub/extensions/table.py", "from maas_agent.hub.extensions.extension", found)


def test_a_source_a_command_and_an_extension_that_are_added_as_the_pages_say_work(
    make_device: MakeDevice, console: Console, bundle: Path, copy: Copy
) -> None:
    add_source(copy)
    add_command(copy)
    add_extension(copy)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    device = make_device(
        f'[[pipeline]]\nname = "sensor"\nbundle = "{bundle}"\nallow_unsigned = true\n'
        f'[pipeline.source]\ntype = "udp"\nport = {port}\n'
    )
    device.start(copy.environment)
    console.wait("maas/dev/sensor/state", lambda state: (state["source"] or {}).get("state") == "running")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sensor:
        for sample in samples(3):
            sensor.sendto(sample.tobytes(), ("127.0.0.1", port))
    answers = console.wait_for_count("maas/dev/sensor/out", 3)
    assert all("result" in answer.document for answer in answers)
    labels = [f"said={answer.document['result']['label']}" for answer in answers]
    wait_until(lambda: all(label in device.log() for label in labels), "the extension has not heard the answers")
    console.publish("maas/dev/cmd/ping/1", b'{"status": "init"}', qos=1)
    answer = console.wait("maas/dev/cmd/ping/1", lambda document: document.get("status") == "successful")
    assert answer.document["time"].startswith("20")


def test_a_preprocessing_step_that_is_added_as_the_page_says_is_computed_and_numbered(copy: Copy) -> None:
    description, newest, since, step, elementwise, undone = blocks("extending.md", "## A preprocessing step")
    copy.replace("bundle/manifest/steps.py", r"^Preprocess = .*\n", description)
    copy.replace("bundle/schema.py", r"^OLDEST, NEWEST = .*\n", newest)
    copy.insert("bundle/manifest/model.py", '    "Multilabel": 2,', since)
    name = "from maas_agent.bundle.manifest.steps import Clip\n"
    copy.insert(PREPROCESS, "from maas_agent.processing.features", name)
    for function, case in (("_step", step), ("_elementwise", elementwise), ("_undone", undone)):
        copy.add_case(PREPROCESS, function, case)
    code = """
import msgspec, numpy as np
from maas_agent.bundle import schema
from maas_agent.bundle.manifest import Decode, Input, Quantization, Tensor, check_input
from maas_agent.bundle.manifest.model import SINCE
from maas_agent.processing.preprocess import preprocessor, outside_of
spec = msgspec.convert({
    "tensor": {"name": "x", "shape": [1, 4], "dtype": "float32"},
    "decode": {"shape": [4], "dtype": "float32"},
    "preprocess": [{"op": "scale", "scale": 2.0}, {"op": "clip", "low": -1.0, "high": 1.5}],
}, Input)
check_input(spec)
print(preprocessor(spec)(np.array([-3, 0.25, 0.75, 9], np.float32)).tolist(), schema.needed(spec, SINCE))
"""
    assert copy.run(code).split("\n")[0] == "[[-1.0, 0.5, 1.5, 1.5]] 3"
