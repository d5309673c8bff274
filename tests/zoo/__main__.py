"""``make zoo``: every specimen converted by every recipe it is meant for, beside its own framework; a table of it.

``python -m tests.zoo [--write] [NAME…]``: a name stands for all that begin so. Exit 1 if one differs in silence, is
refused in words that say nothing, or is not what its page says.
"""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.zoo.breeding import bred
from tests.zoo.collection import ZOO
from tests.zoo.judge import COARSE, COARSER, LIMITS, Verdict, judge
from tests.zoo.page import page
from tests.zoo.specimens import EVALUATION, Specimen

_SIDE_BY_SIDE = 3
_PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"


def main(arguments: list[str]) -> int:
    """Judge what is asked for and print the table."""
    names = [argument for argument in arguments if not argument.startswith("--")]
    chosen = [one for name, one in ZOO.items() if not names or any(name.startswith(asked) for asked in names)]
    with tempfile.TemporaryDirectory(prefix="maas-zoo-") as scratch:
        verdicts = judged(chosen, Path(scratch))
    if "--write" in arguments:
        _PAGE.write_text(page(verdicts, EVALUATION, _limits()))
    for verdict in verdicts:
        mark = " " if verdict.expected else "!"
        print(f"{mark} {verdict.outcome:<10} {verdict.recipe:<8} {verdict.name:<28} {verdict.note[:200]}")
    counted = Counter(verdict.outcome for verdict in verdicts)
    print(
        f"{len(chosen)} models, {len(verdicts)} conversions: {', '.join(f'{n} {what}' for what, n in counted.items())}"
    )
    return 0 if all(verdict.expected for verdict in verdicts) else 1


def _limits() -> str:
    coarse = f"{COARSE:g} (8 bits), {COARSER:g} (4 bits)"
    return ", ".join([*(f"{limit:g} ({recipe})" for recipe, limit in LIMITS.items()), coarse])


def judged(chosen: Iterable[Specimen], folder: Path) -> list[Verdict]:
    """Breed and judge, a few at a time."""
    specimens = list(chosen)
    bred(specimens, folder)
    cases = [(specimen, recipe) for specimen in specimens for recipe in specimen.recipes]

    def one(case: tuple[Specimen, str]) -> Verdict:
        verdict = judge(*case, folder / case[0].name)
        if sys.stderr.isatty():
            print(f"\r{case[0].name:<40}", end="", file=sys.stderr)
        return verdict

    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        return list(pool.map(one, cases))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
