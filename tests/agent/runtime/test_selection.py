"""Which accelerator a setup becomes."""

import pytest

from maas_agent.errors import UnavailableError, UsageError
from maas_agent.runtime.selection import ACCELERATORS, accelerator
from maas_agent.runtime.setup import how_to_get


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


@pytest.mark.parametrize(
    ("python", "advice"),
    [((3, 11), "pip install tflite-runtime 'numpy<2'"), ((3, 12), "Python 3.11"), ((3, 13), "Python 3.11")],
)
def test_pip_is_advised_for_tflite_runtime_only_where_it_has_it(python: tuple[int, int], advice: str) -> None:
    said = how_to_get("tflite-runtime", python)
    assert advice in said and ("pip install" in said) == (python == (3, 11))
    assert how_to_get("auto", python) == how_to_get("ai-edge-litert", python) == "pip install ai-edge-litert"
