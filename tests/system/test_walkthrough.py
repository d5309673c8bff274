"""The walk-through of docs/sources.md, followed to the letter in a copy of the agent, which then serves that source."""

import re
import shutil
import socket
from pathlib import Path

import maas_agent
from tests.bundles import samples
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
SOURCES = "worker/sources"


def blocks() -> list[str]:
    """The Python that the page has you write, in its order."""
    _, _, page = PAGE.read_text().partition("## Adding a source")
    return re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)


def insert(file: Path, before: str, text: str) -> None:
    found = file.read_text()
    assert found.count(before) == 1, f"{file.name} has not one {before!r}"
    file.write_text(found.replace(before, text + before))


def follow(page: list[str], agent: Path) -> None:
    configuration, module, makes, reaches, _test = page
    schema, selection = agent / "config" / "schema.py", agent / SOURCES / "selection.py"
    union = "Source = MqttSource | CommandSource\n"
    assert configuration.rstrip().endswith("Source = MqttSource | CommandSource | UdpSource")
    insert(schema, union, configuration)
    schema.write_text(schema.read_text().replace(union, ""))
    (agent / SOURCES / "udp.py").write_text(module)
    insert(selection, "        case CommandSource() | MqttSource():\n", makes)
    insert(selection, "        case MqttSource() | CommandSource():\n", reaches)
    insert(
        selection,
        "from maas_agent.worker.sources.command",
        "from maas_agent.config.schema import UdpSource\nfrom maas_agent.worker.sources.udp import UdpListener\n",
    )


def test_a_source_that_is_added_as_the_page_says_is_served(
    make_device: MakeDevice, console: Console, bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "edited" / "maas_agent"
    shutil.copytree(Path(maas_agent.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    follow(blocks(), copy)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    device = make_device(
        f'[[pipeline]]\nname = "sensor"\nbundle = "{bundle}"\nallow_unsigned = true\n'
        f'[pipeline.source]\ntype = "udp"\nport = {port}\n'
    )
    device.start({"PYTHONPATH": str(copy.parent)})
    console.wait("maas/dev/sensor/state", lambda state: (state["source"] or {}).get("state") == "running")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sensor:
        for sample in samples(3):
            sensor.sendto(sample.tobytes(), ("127.0.0.1", port))
    answers = console.wait_for_count("maas/dev/sensor/out", 3)
    assert all("result" in answer.document for answer in answers)
    wait_until(lambda: device.workers(), "no worker is left")
