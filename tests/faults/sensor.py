"""A source on the device that never pauses: every sample that it got rid of must be answered."""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from tests.bundles import samples
from tests.faults.account import Account

PER_S = 500
_AT_ONCE = 20
_SCRIPT = """import os, sys, time
lines = {lines!r}
count, began = 0, time.monotonic()
while not os.path.exists({stop!r}):
    sys.stdout.write(lines)
    sys.stdout.flush()
    count += {at_once}
    time.sleep(max(0.0, began + count / {per_s} - time.monotonic()))
with open({count!r} + ".new", "w") as file:
    file.write(str(count))
os.replace({count!r} + ".new", {count!r})
while True:
    time.sleep(3600)
"""
_PIPELINE = (
    '[[pipeline]]\nname = "sensor"\nbundle = "{bundle}"\nallow_unsigned = true\nthreads = 1\n'
    '[pipeline.source]\ntype = "command"\ncommand = ["{python}", "{script}"]\nrestart_s = 0.1\n'
)


class Sensor:
    """``pipeline`` is its TOML. It prints `PER_S` samples a second until it is told to `stop`, then says how many."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        self._stop, self._count = folder / "sensor.stop", folder / "sensor.count"
        script = folder / "sensor.py"
        lines = "".join(f"{json.dumps(sample.tolist())}\n" for sample in samples(_AT_ONCE))
        script.write_text(
            _SCRIPT.format(lines=lines, stop=str(self._stop), count=str(self._count), at_once=_AT_ONCE, per_s=PER_S),
            encoding="utf-8",
        )
        self.pipeline = _PIPELINE.format(bundle=bundle, python=sys.executable, script=script)

    def stop(self) -> None:
        """Let it print nothing new."""
        self._stop.touch()

    @property
    def printed(self) -> int | None:
        """Lines that it has printed since it was started last; nothing until it has stopped."""
        return int(self._count.read_text()) if self._count.exists() else None


def local_account(answers: Mapping[str, int], owed: Mapping[str, int], never_written: int) -> Account:
    """The account of samples, whose ids are those of their run and their number in it.

    ``owed`` are the runs, and how many answers there must be of each at the least: a hole is a loss too.
    ``never_written`` are results that should have been on the disk when the hub was killed, and were not.
    """
    seen: dict[str, set[int]] = defaultdict(set)
    for answer in answers:
        run, _, number = answer.rpartition("-")
        if run:
            seen[run].add(int(number))
    most = {run: max(owed.get(run, 0), max(seen.get(run, {0}))) for run in {*seen, *owed}}
    return Account(
        faults=0,
        inputs=sum(most.values()) + never_written,
        lost=sum(count - len(seen[run]) for run, count in most.items()) + never_written,
        lost_by_broker=0,
        duplicated=sum(count - 1 for answer, count in answers.items() if "-" in answer),
        errors=0,
    )
