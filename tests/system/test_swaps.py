"""Start, warm, switch, drain, stop, under a load that never pauses: nothing lost, nothing doubled, nothing leaked."""

import os

import pytest

from tests.bundles import samples
from tests.system.brokers import Mosquitto
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.swaps import Load, memory_of, wanted_swaps

SAMPLE = samples(1)[0].tobytes()
SWAPS = wanted_swaps(15)
SETTLE_SWAPS = 5
"""Before memory is measured first: what is allocated once is no leak."""
MEMORY_BOUND = 2 << 20


@pytest.mark.alone
def test_swaps_under_load_lose_nothing_double_nothing_and_leave_no_memory_behind(
    serving: Device, broker: Mosquitto, console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    console.close()  # subscribed to everything: it would take its share of the machine
    load = Load(broker.port, SAMPLE)
    load.calm(1.0)
    for _ in range(SETTLE_SWAPS):
        load.swap()
        load.calm()
    wait_until(lambda: len(serving.workers()) == 1, "an old worker lives on")
    before = memory_of(serving.pid)
    for _ in range(SWAPS):
        load.swap()
        load.calm()
    figures = load.figures()
    load.close()
    wait_until(lambda: len(serving.workers()) == 1, "an old worker lives on")
    grown = memory_of(serving.pid) - before
    with capsys.disabled():
        print(f"\n{figures}\nmemory {before / (1 << 20):.1f} MiB before, {grown / (1 << 20):+.2f} MiB after")
    assert figures.swaps == SWAPS + SETTLE_SWAPS
    assert (figures.lost, figures.duplicated, figures.errors) == (0, 0, 0)
    assert grown <= MEMORY_BOUND
    if os.environ.get("MAAS_SWAPS"):  # a few swaps have too few inputs for a 99th percentile
        assert figures.p99_swap_ms <= 3 * figures.p99_calm_ms
