"""Which accelerator a pipeline gets."""

import pytest

from maas_agent.errors import UsageError
from maas_agent.runtime.selection import ACCELERATORS, accelerator


@pytest.mark.parametrize("name", ACCELERATORS)
def test_an_accelerator_is_found_by_its_name(name: str) -> None:
    assert accelerator(name).name == name


def test_auto_is_one_of_those_there_are() -> None:
    assert accelerator("auto").name in ACCELERATORS


@pytest.mark.parametrize("name", ["", "CPU", "warp"])
def test_another_name_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=r"choose one of auto, cpu"):
        accelerator(name)
