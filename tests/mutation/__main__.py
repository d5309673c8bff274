"""``make mutation``: break a module in every small way, one at a time, and see whether its own tests notice.

``python -m tests.mutation [MODULE…]``: modules of `tests.mutation.modules.MODULES`, by name, or all of them. mutmut
makes the mutants and runs the tests on each. Exit 1 where fewer than 90 % were noticed, not counting those that behave
as the original does; exit 2 for a name that there is not.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.modules import MODULES, PACKAGES, Module

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "mutation"
ENOUGH = 0.9
_NOTICED = {"killed", "timeout", "segfault", "suspicious"}
"""What mutmut calls a mutant that its tests do not pass with: a mutant may also hang them, or crash."""


class Survivor(NamedTuple):
    """A mutant that the tests pass with: the lines it takes away and those it puts there, and where."""

    name: str
    before: str
    after: str


class Outcome(NamedTuple):
    """What came of one module. ``mutants`` counts all of them, ``equivalent`` the survivors that are listed as such."""

    module: str
    mutants: int
    killed: int
    equivalent: int
    survivors: list[Survivor]
    stale: list[str]
    """Lines of `EQUIVALENT` that no survivor has: the code, or its tests, became others."""

    @property
    def share(self) -> float:
        """How many were noticed of those that could be."""
        return self.killed / max(1, self.mutants - self.equivalent)


def main(arguments: list[str]) -> int:
    """Judge what is asked for, and print the survivors and the table."""
    unknown = sorted(set(arguments) - set(MODULES))
    if unknown:
        print(f"no module {', '.join(unknown)} is tried; choose of: {', '.join(MODULES)}", file=sys.stderr)
        return 2
    outcomes = []
    for name in arguments or MODULES:
        outcomes.append(judged(name, MODULES[name]))
        show(outcomes[-1])
    print("\n".join(table(outcomes)))
    return 0 if all(outcome.share >= ENOUGH and not outcome.stale for outcome in outcomes) else 1


def judged(name: str, module: Module) -> Outcome:
    """Make the mutants of one module and run its tests on each."""
    folder = FOLDER / name.replace("/", "-")
    prepare(folder, module)
    ran = mutmut(folder, "run", "--max-children", str(os.cpu_count() or 1))
    statuses = dict(re.findall(r"^ +(\S+): (.+)$", mutmut(folder, "results", "--all", "true").stdout, re.MULTILINE))
    if not statuses or "not checked" in statuses.values():
        raise SystemExit(f"mutmut could not try {name}:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    alive = [survivor(folder, mutant) for mutant, status in statuses.items() if status not in _NOTICED]
    listed = EQUIVALENT.get(name, {})
    return Outcome(
        name,
        mutants=len(statuses),
        killed=len(statuses) - len(alive),
        equivalent=sum(one.after in listed for one in alive),
        survivors=[one for one in alive if one.after not in listed],
        stale=sorted(set(listed) - {one.after for one in alive}),
    )


def prepare(folder: Path, module: Module) -> None:
    """A copy of the project as mutmut wants it: packages in ``src``, so that paths are the names of modules."""
    shutil.rmtree(folder, ignore_errors=True)
    nothing_compiled = shutil.ignore_patterns("__pycache__")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / "src" / package.name, ignore=nothing_compiled)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=nothing_compiled)
    pytest = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    (folder / "setup.cfg").write_text(
        sections(
            {
                "mutmut": {
                    "source_paths": ["src/"],
                    "only_mutate": [f"src/{module.source}"],
                    "pytest_add_cli_args_test_selection": [str(module.tests)],
                    "pytest_add_cli_args": ["-k", f"not ({module.leaving_out})"] if module.leaving_out else [],
                    "use_git_change_detection": "false",
                    "track_dependencies": "false",
                },
                "tool:pytest": {"addopts": pytest["addopts"], "markers": pytest["markers"], "pythonpath": [".", "src"]},
            }
        )
    )


def sections(values: Mapping[str, Mapping[str, str | list[str]]]) -> str:
    """The text of an INI file; a list takes a line for each of its items, and an empty one is left out."""
    lines = []
    for name, settings in values.items():
        lines.append(f"[{name}]")
        for key, value in settings.items():
            if not value:
                continue
            lines += [f"{key} ="] + [f"    {item}" for item in ([value] if isinstance(value, str) else value)]
    return "\n".join(lines) + "\n"


def mutmut(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run mutmut in ``folder``."""
    return subprocess.run([sys.executable, "-m", "mutmut", *arguments], cwd=folder, capture_output=True, text=True)


def survivor(folder: Path, mutant: str) -> Survivor:
    """What ``mutant`` changed."""
    lines = mutmut(folder, "show", mutant).stdout.splitlines()[3:]
    changed = {sign: " ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"}
    return Survivor(re.sub(r"^.*\.x_?|__mutmut_\d+$", "", mutant).replace("ǁ", "."), changed["-"], changed["+"])


def show(outcome: Outcome) -> None:
    """Print which mutants nobody noticed."""
    for one in outcome.survivors:
        print(f"{outcome.module}: {one.name}\n    - {one.before}\n    + {one.after}")
    for line in outcome.stale:
        print(f"{outcome.module}: listed as equivalent, and no survivor is that\n    {line}")


def table(outcomes: list[Outcome]) -> list[str]:
    """The rows of the table in tests/README.md."""
    return [
        "| module | mutants | killed | equivalent | of those that could be |",
        "|---|---|---|---|---|",
        *(
            f"| `{one.module}` | {one.mutants} | {one.killed} | {one.equivalent} | {one.share:.0%} |"
            for one in outcomes
        ),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
