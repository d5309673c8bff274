"""``python -m tests.faults``: every fault at full length, or random faults for some minutes; prints the table.

Ends with 1 if an input was lost, or if more answers came twice than is promised.
"""

import argparse
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.faults.account import MOST_DUPLICATES, Account, table
from tests.faults.play import Stage
from tests.faults.scenarios import SCENARIOS, SEED, Scenario, whole
from tests.faults.scene import Scene
from tests.faults.storm import storm
from tests.system.brokers import MOSQUITTO


def main() -> int:
    """Play what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("scenario", nargs="*", choices=[[], *SCENARIOS], help="by default all")
    parser.add_argument("--minutes", type=float, help="random faults for so long, instead of scenarios")
    parser.add_argument("--seed", type=int, default=SEED, help="what the random faults are drawn from")
    parser.add_argument("--short", action="store_true", help="as make test plays them")
    parser.add_argument("--page", type=Path, help="a file whose table gets these rows: docs/reliability.md")
    asked = parser.parse_args()
    if MOSQUITTO is None:
        sys.exit("Mosquitto is not installed: sudo apt install mosquitto")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that nothing is left running
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            if asked.minutes:
                rows = [_soak(stage, asked.minutes, asked.seed)]
            else:
                names = asked.scenario or list(SCENARIOS)
                rows = [row for name in names if (row := _played(stage, SCENARIOS[name], asked.short))]
        finally:
            stage.close()
    print(table(rows))
    if asked.page:
        asked.page.write_text(_with_rows(asked.page.read_text(encoding="utf-8"), dict(rows)), encoding="utf-8")
    broken = [title for title, account in rows if account.lost or account.duplicates >= MOST_DUPLICATES]
    if broken:
        print(f"the promise is broken: {'; '.join(broken)}", file=sys.stderr)
    return bool(broken)


def _played(stage: Stage, scenario: Scenario, short: bool) -> tuple[str, Account] | None:
    lack = scenario.lack()
    if lack is not None:
        print(f"left out: {scenario.title}: {lack.reason}", file=sys.stderr)
        return None
    began = time.monotonic()
    account = stage.play(scenario, scenario.rounds[0 if short else 1])
    print(f"{scenario.title}: {account}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return scenario.title, account


def _with_rows(page: str, rows: dict[str, Account]) -> str:
    """The page with these rows in its table, in the place of what they said before."""
    printed = {line.split(" | ")[0]: line for line in table(list(rows.items())).splitlines()[2:]}
    return "\n".join(printed.get(line.split(" | ")[0], line) for line in page.split("\n"))


def _soak(stage: Stage, minutes: float, seed: int) -> tuple[str, Account]:
    """Random faults until the time is up."""
    print(f"seed {seed}: to play the same faults again, --seed {seed}", file=sys.stderr, flush=True)
    end = time.monotonic() + minutes * 60
    played = Counter[str]()

    def storms(scene: Scene, _rounds: int) -> int:
        played.update(storm(scene, Random(seed), lambda number: _goes_on(scene, number, end)))
        return played.total()

    account = stage.play(Scenario(f"random faults for {minutes:g} minutes, seed {seed}", storms, (0, 0), whole), 0)
    print(", ".join(f"{name} {count}" for name, count in played.most_common()), file=sys.stderr)
    return f"random faults for {minutes:g} minutes, seed {seed}", account


def _goes_on(scene: Scene, number: int, end: float) -> bool:
    if number and number % 50 == 0:
        print(f"{number} faults, {len(scene.sender.sent)} inputs", file=sys.stderr, flush=True)
    return time.monotonic() < end


if __name__ == "__main__":
    sys.exit(main())
