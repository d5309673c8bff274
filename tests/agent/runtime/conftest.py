"""What runs GPUs and NPUs here: SwiftShader and OpenVINO's CPU backend; a test without them skips, in CI it fails."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.agent.runtime.child import Done, Task, run
from tests.runtimes import RUNTIME

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")
Loaded = Callable[..., Done]


def needs(there: bool, what: str, mend: str) -> None:
    """Skip where ``what`` is missing; on a machine that tests everything that is an error."""
    if there:
        return
    assert os.environ.get("CI") != "true", f"CI needs {what}: {mend}"
    pytest.skip(f"{what} is not installed: {mend}")


@pytest.fixture
def swiftshader() -> dict[str, str]:
    """The environment in which Vulkan finds a GPU that is software."""
    if RUNTIME == "tflite-runtime":
        pytest.skip("GPUs need LiteRT")
    needs(SWIFTSHADER.exists(), "SwiftShader", "sudo apt install chromium libvulkan1")
    return {"VK_ICD_FILENAMES": str(SWIFTSHADER)}


@pytest.fixture
def openvino() -> dict[str, str]:
    """The options with which an NPU is OpenVINO's code for processors."""
    if RUNTIME == "tflite-runtime":
        pytest.skip("NPUs need LiteRT")
    needs(importlib.util.find_spec("openvino") is not None, "OpenVINO", "pip install 'maas-edge[npu-intel]'")
    return {"vendor": "intel_openvino", "backend": "cpu"}


@pytest.fixture
def loaded(tmp_path: Path) -> Loaded:
    """``loaded(model, "gpu", inputs)``: what an accelerator makes of a model, in a process of its own."""

    def load(
        model: bytes,
        name: str,
        inputs: list[list[float]],
        environment: dict[str, str] | None = None,
        seconds: float | None = None,
        **options: str,
    ) -> Done:
        path = tmp_path / "model.tflite"
        path.write_bytes(model)
        return run(Task(str(path), name, options, RUNTIME, inputs), environment, seconds)

    return load
