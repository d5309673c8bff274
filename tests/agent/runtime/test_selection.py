"""Which accelerator a setup becomes."""

import pytest

from maas_agent.errors import UnavailableError, UsageError
from maas_agent.runtime.selection import ACCELERATORS, accelerator


@pytest.mark.parametrize("name", [*ACCELERATORS, "delegate:/usr/lib/libedgetpu.so.1", "delegate:libvx_delegate.so"])
def test_an_accelerator_is_found_by_its_name(name: str) -> None:
    assert accelerator(name).name == name


@pytest.mark.parametrize("name", ["", "auto", "CPU", "warp", "delegate:"])
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"choose one of cpu, gpu, npu, delegate:PATH"):
        accelerator(name)


def test_the_processor_has_no_options() -> None:
    with pytest.raises(UsageError, match="cpu has no option 'turbo'"):
        accelerator("cpu", {"turbo": "true"})


@pytest.mark.parametrize("name", ["gpu", "npu"])
def test_what_only_litert_has_cannot_be_had_from_the_other_library(name: str) -> None:
    with pytest.raises(UnavailableError, match=f"{name} needs ai-edge-litert"):
        accelerator(name, {}, "tflite-runtime").runtime()
