"""Checks what this device runs models with: the interpreter library, loaded in a child, and each accelerator."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from maas_agent.checks.finding import CheckResult
from maas_agent.checks.questions import Loads, ask, line_to_type
from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import offered
from maas_agent.errors import UnavailableError
from maas_agent.runtime import machine
from maas_agent.runtime.setup import CPU, DELEGATE, Library, Setup
from maas_agent.trials.terms import WorkerLimits

LOAD_S = 120.0
"""For loading a library, also from a slow card."""


class PipelineSetup(msgspec.Struct, frozen=True):
    """What one pipeline wants to run on."""

    pipeline: str
    setup: Setup
    """Its accelerator may be ``auto``."""
    limits: WorkerLimits = WorkerLimits()


def confinement() -> CheckResult:
    """What keeps models and the process that fetches them from what they do not need, and what this system lacks."""
    found = offered(Access())
    kinds = [
        name for name, there in ((f"Landlock {found.landlock}", found.landlock), ("seccomp", found.seccomp)) if there
    ]
    if not found.lacking:
        return CheckResult("confinement", True, f"{' and '.join(kinds)}: workers, trials and the puller")
    mend = "use a kernel of 5.13 or newer with Landlock in its lsm= list, and seccomp; in a container, its profile"
    return CheckResult("confinement", None, f"{' and '.join(kinds) or 'none here'}: {found.sentence()}", mend)


def runtimes(asked: Sequence[PipelineSetup], seconds: float = LOAD_S) -> Iterator[CheckResult]:
    """One row for each library that a pipeline wants."""
    libraries = list(dict.fromkeys(one.setup.library for one in asked)) or ["auto"]
    for library in libraries:
        yield _runtime("runtime" if len(libraries) == 1 else f"runtime {library}", library, seconds)


def _runtime(name: str, library: Library, seconds: float) -> CheckResult:
    try:
        return CheckResult(name, True, ask(Loads(Setup(CPU, library=library)), seconds))
    except UnavailableError as error:
        installed = machine.processor(library)
        again = (
            f"pip install --force-reinstall {installed.found.partition(' ')[0]}" if installed.found else installed.mend
        )
        found = f"{installed.found}: {error}" if installed.found else str(error)
        return CheckResult(name, False, found, line_to_type(str(error)) or again)


def accelerators(asked: Sequence[PipelineSetup], seconds: float = LOAD_S) -> Iterator[CheckResult]:
    """One row for each accelerator there could be, and for each that a pipeline names."""
    library = asked[0].setup.library if asked else "auto"
    seen = machine.look(library)
    named = [one for one in asked if one.setup.accelerator != "auto" and one.setup != _plain(one.setup)]
    wanted = {_looked_for(one.setup, seen).accelerator for one in named}
    yield from (_informed(finding) for finding in seen if finding.accelerator not in wanted)
    yield from (_needed(one, _looked_for(one.setup, machine.look(one.setup.library)), seconds) for one in named)


def _plain(setup: Setup) -> Setup:
    """The processor without options: what every device has."""
    return Setup(CPU, library=setup.library)


def _informed(finding: machine.AcceleratorFinding) -> CheckResult:
    """The row of an accelerator that no pipeline names: without one a pipeline runs on the processor."""
    if finding.missing is None:
        return CheckResult(finding.accelerator, True, finding.found)
    passed = False if finding.accelerator == CPU else None
    return CheckResult(finding.accelerator, passed, f"not here: {finding.missing}", finding.mend)


def _needed(one: PipelineSetup, finding: machine.AcceleratorFinding, seconds: float) -> CheckResult:
    if finding.missing is not None:
        found = f"not here: {finding.missing}; pipeline {one.pipeline} asks for it"
        return CheckResult(finding.accelerator, False, found, finding.mend or 'accelerator = "auto"')
    try:
        library = ask(Loads(one.setup, one.limits), seconds)
    except UnavailableError as error:
        found = f"pipeline {one.pipeline}: {error}"
        mend = line_to_type(str(error)) or f"mend accelerator, options or runtime of pipeline {one.pipeline}"
        return CheckResult(finding.accelerator, False, found, mend)
    return CheckResult(finding.accelerator, True, f"{finding.found}, {library}, for pipeline {one.pipeline}")


def _looked_for(setup: Setup, seen: Iterable[machine.AcceleratorFinding]) -> machine.AcceleratorFinding:
    """What was found of the accelerator that is asked for; a delegate may be any file."""
    by_name = {finding.accelerator: finding for finding in seen}
    if setup.accelerator in by_name:
        return by_name[setup.accelerator]
    path = Path(setup.accelerator.removeprefix(DELEGATE))
    known = next(
        (finding for name, finding in by_name.items() if Path(name.removeprefix(DELEGATE)).name == path.name), None
    )
    if known is not None and (known.missing is None or not path.exists()):
        return known
    if path.exists() or any((folder / path).exists() for folder in machine.library_folders()):
        return machine.AcceleratorFinding(setup.accelerator, str(path))
    return machine.AcceleratorFinding(
        setup.accelerator, missing=f"there is no {path}", mend=f"install the delegate's library there: ls -l {path}"
    )
