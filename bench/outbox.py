"""``python -m bench.outbox``: what a result on the disk costs: time, and bytes below the file system.

Batches of results of 448 bytes are written and removed again by the outbox's own journal, in a folder that is given or
a temporary one. Bytes are what the kernel counts for this process (``write_bytes`` of ``/proc/self/io``, proc(5)):
whole pages, once for the log and once for the table, as a flash card has to take them; on a ``tmpfs`` they are 0.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from maas_agent.hub.mqtt.message import Outbound
from maas_agent.hub.outbox.journal import Journal, JournalRow, key_of

_RESULT = Outbound("maas/gate-1/digits/out/12345", b"x" * 420, 1, content_type="application/json")
_SIZE = len(_RESULT.payload) + len(_RESULT.topic)
_ROWS = 5120
WAYS = [(durability, batch) for durability in ("power", "process") for batch in (1, 10, 50, 256)]
"""Setting of durability, and results in a transaction."""


class Cost:
    """One way of writing, measured again and again: per result, in µs and bytes."""

    def __init__(self) -> None:
        self.us: list[float] = []
        self.bytes: list[float] = []


def written_bytes() -> int:
    """What this process has had written to disks."""
    os.sync()  # a page that is written twice before it leaves the cache counts once: as it is on the device
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def measure(folder: Path, batch: int, *, survives_power_cuts: bool, rows: int) -> tuple[float, float]:
    """Write ``rows`` results in batches and remove them in batches; µs and bytes for each."""
    journal = Journal(folder / "outbox.db", survives_power_cuts=survives_power_cuts)
    journal.open()
    keys = [key_of(1, sequence) for sequence in range(1, rows + 1)]
    groups = [keys[at : at + batch] for at in range(0, rows, batch)]
    before, begun = written_bytes(), time.perf_counter()
    for group in groups:
        journal.write([JournalRow(key, 1.0, _SIZE + 256, _RESULT) for key in group], [])
    for group in groups:
        journal.write([], group)
    took = time.perf_counter() - begun
    journal.close()
    wrote = written_bytes() - before
    for path in folder.iterdir():
        path.unlink()
    return took / rows * 1e6, wrote / rows


def main() -> None:
    """Measure every way in every round, interleaved, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m bench.outbox", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="a folder on the card to be measured; a temporary one unless given")
    arguments = parser.parse_args()
    costs = {way: Cost() for way in WAYS}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for _ in range(arguments.rounds):
            for durability, batch in WAYS:
                rows = min(_ROWS, batch * 200)
                us, size = measure(Path(folder), batch, survives_power_cuts=durability == "power", rows=rows)
                costs[durability, batch].us.append(us)
                costs[durability, batch].bytes.append(size)
    print(f"A result has {_SIZE} bytes; medians of {arguments.rounds} rounds, interleaved; written and removed.")
    print("| durability | batch | µs a result | bytes a result | times its size |")
    print("|---|---|---|---|---|")
    for (durability, batch), cost in costs.items():
        size = statistics.median(cost.bytes)
        print(f"| {durability} | {batch} | {statistics.median(cost.us):.0f} | {size:,.0f} | {size / _SIZE:.1f} |")


if __name__ == "__main__":
    main()
