"""``make fuzz``: a million inputs, guided by coverage (atheris, libFuzzer), and a table of what came of them.

Each target runs in a child process with a bound on its memory and on the time of one input. What it finds is kept under
``.cache/fuzz``: inputs that raise what is not documented, hang or swell. ``RUNS`` is how many inputs are tried in all.
"""

import argparse
import contextlib
import io
import mmap
import os
import resource
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.fuzz.registry import sweep

RUNS = 1_050_000
FOLDER = Path(".cache/fuzz")
LONGEST_S = 20
"""Of one input, on a busy machine: a hang."""
MOST_BYTES = 2 << 30
"""Of address space that a child may take beyond what it begins with."""
LONGEST_INPUT = 20_000
_STARTS = 5
"""So often a target goes on after an input that ended its process."""
_SHARED = struct.Struct("<QQQ")
"""Inputs tried, findings, resident bytes at the beginning."""


class Outcome(NamedTuple):
    """What came of one target."""

    name: str
    inputs: int
    seconds: float
    grown_bytes: int
    findings: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("RUNS") or RUNS), help="inputs in all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at a time")
    parser.add_argument("targets", nargs="*", help="parts of names; all of them unless given")
    asked = parser.parse_args()
    atheris = _atheris()
    warnings.simplefilter("ignore")  # zipfile's, of an entry that is there twice, and NumPy's, of what overflows
    # It says the name of every module.
    with (
        contextlib.redirect_stderr(io.StringIO()),
        atheris.instrument_imports(include=["maas_agent", "maas_converter"]),
    ):
        from tests.fuzz.targets import TARGETS
    chosen = [name for name in TARGETS if not asked.targets or any(part in name for part in asked.targets)]
    whole = sum(TARGETS[name].share for name in chosen)
    runs = {name: max(1, round(asked.runs * TARGETS[name].share / whole)) for name in chosen}
    began, outcomes = time.monotonic(), list[Outcome]()
    print("| target | what it parses | inputs | a second | grown, MiB | findings |\n|---|---|--:|--:|--:|--:|")
    for outcome in _all(runs, asked.jobs):
        outcomes.append(outcome)
        rate, grown = outcome.inputs / max(outcome.seconds, 1e-3), outcome.grown_bytes / (1 << 20)
        parses = TARGETS[outcome.name].parses
        print(
            f"| {outcome.name} | {parses} | {outcome.inputs:,} | {rate:,.0f} | {grown:.0f} | {outcome.findings} |",
            flush=True,
        )
    tried, found = sum(each.inputs for each in outcomes), sum(each.findings for each in outcomes)
    print(
        f"\n{tried:,} inputs for {len(outcomes)} targets in {time.monotonic() - began:.0f} s: {found} findings",
        flush=True,
    )
    if found:
        print(f"what was found is in {FOLDER}: mend it, and keep the input, made small, in tests/fuzz/regressions")
    return 1 if found else 0


def _atheris() -> Any:
    try:
        import atheris
    except ImportError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"make fuzz needs atheris: pip install 'maas-edge[fuzz]' (there may be no wheel for Python {version})")
    return atheris


def _all(runs: dict[str, int], jobs: int) -> Iterator[Outcome]:
    """Each target in a child, so many at a time."""
    waiting, running = list(runs), dict[int, tuple[str, mmap.mmap, float, int, int]]()
    kept: dict[str, Outcome] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            name = waiting.pop(0)
            pid, shared = _forked(name, runs[name], 0)
            running[pid] = (name, shared, time.monotonic(), runs[name], 1)
        pid, status, usage = os.wait3(0)
        sweep(pid)
        name, shared, began, wanted, starts = running.pop(pid)
        inputs, findings, at_first = _SHARED.unpack_from(shared)
        grown = max(0, usage.ru_maxrss * 1024 - at_first)
        before = kept.get(name, Outcome(name, 0, 0.0, 0, 0))
        ended = int(os.waitstatus_to_exitcode(status) != 0)  # libFuzzer ends what hangs
        kept[name] = after = Outcome(
            name,
            before.inputs + inputs,
            before.seconds + time.monotonic() - began,
            max(before.grown_bytes, grown),
            before.findings + findings + ended,
        )
        if ended and inputs < wanted and starts < _STARTS:
            again, shared = _forked(name, wanted - inputs, starts)
            running[again] = (name, shared, time.monotonic(), wanted - inputs, starts + 1)
        else:
            yield after


def _forked(name: str, runs: int, seed: int) -> tuple[int, mmap.mmap]:
    sys.stdout.flush()
    shared = mmap.mmap(-1, mmap.PAGESIZE)
    pid = os.fork()
    if not pid:
        try:
            _fuzz(name, runs, seed, shared)
        except BaseException:
            traceback.print_exc()
            os._exit(3)
    return pid, shared


def _fuzz(name: str, runs: int, seed: int, shared: mmap.mmap) -> None:
    """The child: does not return."""
    import atheris

    from tests.fuzz import registry
    from tests.fuzz.edits import edited, random_edits
    from tests.fuzz.targets import TARGETS

    target, folder = TARGETS[name], FOLDER / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1), os.dup2(log, 2)
    seeds = list(target.seeds())
    for data in seeds:
        (corpus / sha256(data).hexdigest()[:16]).write_bytes(data)
    seen, counted = set[object](), [0, 0, 0]

    def attempt(data: bytes) -> None:
        counted[0] += 1
        try:
            registry.attempt(target, data)
        except Exception as error:  # that is what is looked for
            where = traceback.extract_tb(error.__traceback__)
            ours = [(frame.filename, frame.lineno) for frame in where if "maas_" in frame.filename] or [str(error)[:40]]
            if (type(error), ours[-1]) not in seen:
                seen.add((type(error), ours[-1]))
                counted[1] += 1
                _keep(folder, data)
        _SHARED.pack_into(shared, 0, *counted)

    def mutated(data: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        if random.random() < 0.4:
            return bytes(atheris.Mutate(data, most))
        base = data if random.random() < 0.7 else random.choice(seeds)
        return edited(base, target.form, random_edits(random), target.words)[:most]

    for data in seeds:
        attempt(data)
    counted[:] = [0, counted[1], _resident()]
    _bound()
    arguments = [str(corpus), f"-runs={runs}", f"-timeout={LONGEST_S}", "-rss_limit_mb=0", f"-max_len={LONGEST_INPUT}"]
    arguments += ["-len_control=0", f"-artifact_prefix={folder}/", "-verbosity=0", f"-seed={seed + 1}"]
    atheris.Setup([name, *arguments], attempt, custom_mutator=mutated)
    atheris.Fuzz()


def _keep(folder: Path, data: bytes) -> None:
    path = folder / f"found-{sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    traceback.print_exc()
    print(f"kept in {path}", file=sys.stderr, flush=True)


def _bound() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE + MOST_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


if __name__ == "__main__":
    sys.exit(main())
