"""What a machine has is found by looking at its files."""

import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.runtime import machine
from maas_agent.runtime.machine import DELEGATES, AcceleratorFinding, library_folders, look


def found(name: str) -> AcceleratorFinding:
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


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a machine without any device; a test adds its own."""
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    return tmp_path


def add(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def add_driver(root: Path, node: str, driver: str) -> None:
    """Say, as the kernel does, which driver a node in ``/dev/accel`` is of."""
    (root / "drivers" / driver).mkdir(parents=True)
    (root / "sys/class/accel" / node / "device").mkdir(parents=True)
    (root / "sys/class/accel" / node / "device/driver").symlink_to(root / "drivers" / driver)


def test_without_a_device_there_is_no_npu_and_every_vendors_is_named(devices: Path) -> None:
    assert found("npu").missing == (
        "there is no NPU device (none of /dev/accel/accel*, /dev/fastrpc-cdsp*, /dev/adsprpc-smd*, /dev/apusys*, "
        "/dev/edgetpu*, /dev/enn*, /dev/vertex*)"
    )


def test_an_npu_of_intel_is_there_with_its_driver_and_openvino(devices: Path, openvino: dict[str, str]) -> None:
    add(devices / "dev/accel/accel0")
    add_driver(devices, "accel0", "intel_vpu")
    assert found("npu").missing is None and found("npu").found.startswith("intel_openvino, openvino 20")


def test_another_vendors_device_of_the_same_name_is_no_npu_of_intel(devices: Path) -> None:
    add(devices / "dev/accel/accel0")
    add_driver(devices, "accel0", "amdxdna")
    assert (found("npu").missing or "").startswith("there is no NPU device")


def test_an_npu_whose_vendor_ships_its_libraries_elsewhere_says_what_to_set(devices: Path) -> None:
    node = add(devices / "dev/fastrpc-cdsp")
    missing = f"there is {node} (qualcomm), but ai-edge-litert brings no dispatch library for it"
    assert found("npu").missing == missing
    assert (found("npu").mend or "").endswith('[pipeline.options] vendor = "qualcomm", dispatch = "…", compiler = "…"')


def test_a_vulkan_driver_makes_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = tmp_path / "acme_icd.json"
    monkeypatch.setenv("VK_DRIVER_FILES", str(driver))
    assert found("gpu").missing is not None
    driver.write_text("{}")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    (tmp_path / "libvulkan.so.1").write_text("")
    assert found("gpu") == AcceleratorFinding("gpu", "Vulkan: acme_icd")


def test_a_delegate_in_the_loaders_folders_is_found_with_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found("libarmnnDelegate.so").missing == "there is no libarmnnDelegate.so (Arm NN)"
    (tmp_path / "libarmnnDelegate.so").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert tmp_path in library_folders()
    assert found("libarmnnDelegate.so") == AcceleratorFinding(f"delegate:{tmp_path}/libarmnnDelegate.so", "Arm NN")


def test_a_delegate_is_there_only_with_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libedgetpu.so.1").write_text("")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    assert found("libedgetpu.so.1").missing == "no Coral Edge TPU is there"
    add(tmp_path / "sys/bus/usb/devices/1-1/idVendor", "18d1\n")
    add(tmp_path / "sys/bus/usb/devices/1-1/idProduct", "9302\n")
    assert found("libedgetpu.so.1") == AcceleratorFinding(f"delegate:{tmp_path}/libedgetpu.so.1", "Coral Edge TPU")


def test_asked_for_the_other_library_gpu_and_npu_say_what_they_need() -> None:
    reasons = [finding.missing for finding in look("tflite-runtime") if finding.accelerator in ("gpu", "npu")]
    assert reasons == ["it needs ai-edge-litert, and runtime = 'tflite-runtime' is asked for"] * 2


def test_looking_loads_nothing_native() -> None:
    script = "import sys; from maas_agent.runtime.machine import look; look(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "ai_edge_litert", "tflite_runtime", "openvino", "ctypes"} & set(loaded)
