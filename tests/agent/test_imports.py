"""What a process does not import costs it neither memory nor start-up, and cannot crash it."""

import subprocess
import sys

import pytest

HEAVY = [
    *("numpy", "ai_edge_litert", "tflite_runtime", "tuf", "securesystemslib", "cryptography", "PIL", "asyncio"),
    "tensorflow",
]


def loaded_by(statement: str) -> set[str]:
    """The top-level packages that a fresh interpreter has loaded after ``statement``."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("maas_agent.hub.hub", HEAVY),
        ("maas_agent.worker.worker", ["paho", "tuf", "cryptography", "PIL", "asyncio", "tensorflow"]),
        ("maas_agent.update.hub_link", ["numpy", "ai_edge_litert", "paho", "PIL"]),
        ("maas_agent.cli", [*HEAVY, "paho", "msgspec"]),
        ("maas_agent.commands.status", [*HEAVY, "paho"]),
        ("maas_agent.config", [*HEAVY, "paho"]),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, absent: list[str]) -> None:
    loaded = loaded_by(f"import {module}")
    assert "maas_agent" in loaded
    assert loaded & set(absent) == set()


def test_a_serving_worker_loads_no_image_library_until_an_image_comes() -> None:
    """A pipeline that never sees an image does not pay for one."""
    spec = "from maas_agent.bundle.manifest import Decode; from maas_agent.processing.decode import decode\n"
    assert "PIL" not in loaded_by(spec + "decode(bytes(4), Decode((4,), 'uint8'))")
    assert "PIL" in loaded_by(spec + "try: decode(b'x', Decode((4, 4), 'uint8'), 'image/png')\nexcept Exception: pass")
