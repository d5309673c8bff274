"""What a machine has is found by looking at its files."""

import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.runtime.machine import DELEGATES, Finding, library_folders, look


def found(name: str) -> Finding:
    (finding,) = (finding for finding in look() if finding.accelerator.rpartition("/")[2].endswith(name))
    return finding


def test_the_processor_comes_first_with_the_library_that_is_used() -> None:
    first = look()[0]
    assert first.accelerator == "cpu" and first.missing is None and first.found.split()[0] == "ai-edge-litert"


def test_everything_that_could_be_is_listed_and_what_is_missing_says_what_to_type() -> None:
    findings = look()
    assert [finding.accelerator for finding in findings[:3]] == ["cpu", "gpu", "npu"]
    assert len(findings) == 3 + len(DELEGATES)
    assert all(finding.found for finding in findings if finding.missing is None)
    assert all(finding.mend for finding in findings if finding.missing is not None)


def test_a_vulkan_driver_makes_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "acme_icd.json"
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
    assert found("gpu").missing is not None
    driver.write_text("{}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (tmp_path / "libvulkan.so.1").write_text("")
    assert found("gpu") == Finding("gpu", "Vulkan: acme_icd")


def test_a_delegate_in_the_loaders_folders_is_found_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found("libarmnnDelegate.so").missing == "there is no libarmnnDelegate.so (Arm NN)"
    (tmp_path / "libarmnnDelegate.so").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert tmp_path in library_folders()
    assert found("libarmnnDelegate.so") == Finding(f"delegate:{tmp_path}/libarmnnDelegate.so", "Arm NN")


def test_a_delegate_without_its_device_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libedgetpu.so.1").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert found("libedgetpu.so.1").missing == "no Coral Edge TPU is there"


def test_asked_for_the_other_library_gpu_and_npu_say_what_they_need() -> None:
    reasons = [finding.missing for finding in look("tflite-runtime") if finding.accelerator in ("gpu", "npu")]
    assert reasons == ["it needs ai-edge-litert, and runtime = 'tflite-runtime' is asked for"] * 2


def test_looking_loads_nothing_native() -> None:
    script = "import sys; from maas_agent.runtime.machine import look; look(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "ai_edge_litert", "tflite_runtime", "openvino", "ctypes"} & set(loaded)
