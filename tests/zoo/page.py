"""The page of the zoo: ``docs/zoo.md``, written by ``make zoo ZOO=--write``."""

from collections import Counter
from collections.abc import Sequence

from tests.zoo.judge import Verdict

_OUTCOMES = ("right", "told", "refused", "DIFFERS", "BAD REASON")
_HEAD = """# The zoo

Small models of every layer, framework, recipe and shape, each converted as a person would, and what its bundle
answers compared with its own framework's answers on {samples} samples. `make zoo ZOO=--write` makes this page, `make
zoo ZOO=NAME` judges the models whose names begin so. The rules are in `tests/zoo/judge.py`.

- **right**: the same outputs, in the author's order and by the author's names; values within {limits} of the
  spread that the source's own answers have over the samples, column by column.
- **told**: further off than that, and `convert` says in its first line how much is lost.
- **refused**: not converted, with the reason below.
- **DIFFERS**, **BAD REASON**: in silence, or in words that say nothing. There is none.

"""


def page(verdicts: Sequence[Verdict], samples: int, limits: str) -> str:
    """The whole page, for all verdicts there are."""
    return "".join(
        (
            _HEAD.format(samples=samples, limits=limits),
            _counts(verdicts),
            _reasons("Refused", verdicts, "refused"),
            _reasons("Told", verdicts, "told"),
            _models(verdicts),
        )
    )


def _counts(verdicts: Sequence[Verdict]) -> str:
    counted = Counter((verdict.framework, verdict.outcome) for verdict in verdicts)
    models = {framework: len({v.name for v in verdicts if v.framework == framework}) for framework, _ in counted}
    lines = [f"| framework | models | {' | '.join(_OUTCOMES)} |", f"|---|--:|{'--:|' * len(_OUTCOMES)}"]
    for framework in sorted(models):
        numbers = " | ".join(str(counted[framework, outcome]) for outcome in _OUTCOMES)
        lines.append(f"| {framework} | {models[framework]} | {numbers} |")
    totals = Counter(verdict.outcome for verdict in verdicts)
    lines.append(f"| all | {sum(models.values())} | {' | '.join(str(totals[outcome]) for outcome in _OUTCOMES)} |")
    return "\n".join(lines) + "\n"


def _reasons(title: str, verdicts: Sequence[Verdict], outcome: str) -> str:
    rows = [verdict for verdict in verdicts if verdict.outcome == outcome]
    lines = [f"\n## {title}\n", "| model | recipe | in the converter's words |", "|---|---|---|"]
    lines += [f"| {row.name} | {row.recipe} | {_cell(row.note)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _models(verdicts: Sequence[Verdict]) -> str:
    lines = ["\n## All\n", "| model | framework | by recipe |", "|---|---|---|"]
    for name in dict.fromkeys(verdict.name for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.name == name]
        lines.append(f"| {name} | {own[0].framework} | {', '.join(f'{one.recipe}: {one.outcome}' for one in own)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A sentence in a table, without the folder it was said of."""
    plain = " ".join(text.replace("|", "/").split())
    return " ".join(word.rpartition("/")[2] if word.startswith("/") else word for word in plain.split(" "))
