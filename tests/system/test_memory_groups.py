"""Where systemd delegates a memory cgroup, each worker has one of its own: the kernel ends it, and nobody else."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests.bundles import samples
from tests.system.conftest import LOCAL, MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until

SAMPLE = samples(1)[0].tobytes()


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A memory cgroup that is marked as systemd marks a delegated one."""
    paths = dict(re.findall(r"^\d+:([^:]*):(.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE))
    folder = Path("/sys/fs/cgroup/memory") / paths.get("memory", "/none").lstrip("/") / f"maas-test-{os.getpid()}"
    try:
        folder.mkdir()
        os.setxattr(folder, "trusted.delegate", b"1")
    except OSError as error:
        pytest.skip(
            f"no memory cgroup can be made here ({error.strerror}): it needs root and a cgroup v1 memory controller"
        )
    yield folder
    for group in sorted(folder.rglob("*"), reverse=True):
        if group.is_dir():
            group.rmdir()
    folder.rmdir()


def groups(folder: Path) -> list[Path]:
    return sorted(folder.glob("worker-*"))


def start_in(device: Device, group: Path) -> None:
    """Start the agent as systemd does: in its group from the first moment on."""
    enter = f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))"
    script = f"import os, sys; {enter}; os.execv(sys.argv[1], sys.argv[1:])"
    with device.log_path.open("ab") as log:
        device._process = subprocess.Popen(
            [sys.executable, "-c", script, sys.executable, "-m", "maas_agent", "run", "--config", str(device.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def test_a_worker_that_the_kernel_ends_for_its_memory_is_replaced_and_its_input_answered(
    delegated: Path, make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    device = make_device(LOCAL.format(bundle=bundle) + "[pipeline.limits]\nmemory_mb = 32\n")
    start_in(device, delegated)
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    (worker,) = device.workers()
    (group,) = groups(delegated)
    assert group.name == f"worker-{worker}"
    assert (group / "cgroup.procs").read_text().split() == [str(worker)]
    assert int((group / "memory.limit_in_bytes").read_text()) == (32 + 160) << 20

    # What it has now is all that it may have: an image that is decoded is too much.
    (group / "memory.limit_in_bytes").write_text(str(int((group / "memory.usage_in_bytes").read_text()) + (1 << 20)))
    image = BytesIO()
    Image.new("L", (3000, 3000)).save(image, "PNG")
    assert "result" in console.ask("dev", "digits", image.getvalue(), "large", ContentType="image/png")
    wait_until(lambda: worker not in device.workers() and len(device.workers()) == 1, "it was not ended")
    assert "was killed by SIGKILL" in device.log()
    assert console.is_uninterrupted()
    wait_until(
        lambda: [path.name for path in groups(delegated)] == [f"worker-{device.workers()[0]}"], "a group is left"
    )


def test_without_delegation_workers_stay_where_they_are(
    delegated: Path, make_device: MakeDevice, console: Console, bundle: Path
) -> None:
    os.setxattr(delegated, "trusted.delegate", b"0")
    device = make_device(LOCAL.format(bundle=bundle) + "[pipeline.limits]\nmemory_mb = 32\n")
    start_in(device, delegated)
    console.wait("maas/dev/digits/state", lambda state: state["serving"])
    assert groups(delegated) == []
    assert "result" in console.ask("dev", "digits", SAMPLE, "x")
