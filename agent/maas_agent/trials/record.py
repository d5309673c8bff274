"""Records what came of trying a bundle on this device: one row for each way to run it, and the chosen one.

The hub keeps and publishes this; it needs neither NumPy nor an interpreter.
"""

from collections.abc import Container, Iterable
from typing import Any

import msgspec

from maas_agent.runtime.setup import Setup
from maas_agent.trials.terms import AUTO, Terms

_WORTH_MORE_THREADS = 0.9


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One setup, tried in a process of its own. Times are of one inference, in milliseconds."""

    setup: Setup
    load_ms: float | None = None
    """How long it took to load and warm up, the libraries not included."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    peak_bytes: int | None = None
    """Most resident memory of the whole process, interpreter and libraries included."""
    needs_bytes: int | None = None
    """Address space that the bundle took beyond that of the interpreter and its libraries."""
    deviation: float | None = None
    """The largest from the golden samples, in the outputs' real units; also of a trial that was refused for it."""
    accelerated: float | None = None
    """Share of the model's ops that the accelerator took, 0 to 1; ``None`` on the processor."""
    refused: str | None = None
    """Why this setup may not serve; a sentence."""


class Trials(msgspec.Struct, frozen=True):
    """All rows for one bundle, and what they are valid for."""

    runtime: str
    """Library and version, such as ``ai-edge-litert 2.3.0``."""
    hardware: str
    """Fingerprint of what this device can run models on."""
    terms: Terms
    rows: tuple[Trial, ...]

    def best(self, refused: Container[str] = ()) -> Trial | None:
        """What to run on: the accelerator that was asked for, else the fastest; none of those in ``refused``."""
        passed = [row for row in ranked(self.rows) if row.setup.accelerator not in refused]
        asked = [row for row in passed if self.terms.accelerator in (AUTO, row.setup.accelerator)]
        return next(iter([*asked, *passed]), None)

    def trial_of(self, setup: Setup) -> Trial | None:
        """The row of a setup."""
        return next((row for row in self.rows if row.setup == setup), None)


def ranked(rows: Iterable[Trial]) -> list[Trial]:
    """The trials that passed, fastest (by p50) first.

    More threads have to be worth it: a row that gains less than a tenth over one of the same accelerator with fewer
    goes behind that. A measurement differs by as much from run to run, and the cores are needed elsewhere.
    """
    passed = [row for row in rows if row.refused is None and row.p50_ms is not None]
    worth = [row for row in passed if not any(_is_as_good(other, row) for other in passed)]
    others = [row for row in passed if row not in worth]
    return [row for group in (worth, others) for row in sorted(group, key=lambda row: row.p50_ms or 0.0)]


def _is_as_good(fewer: Trial, more: Trial) -> bool:
    """Whether ``fewer`` threads on the same accelerator are about as fast as ``more``."""
    same = (fewer.setup.accelerator, fewer.setup.options) == (more.setup.accelerator, more.setup.options)
    gained = (fewer.p50_ms or 0.0) * _WORTH_MORE_THREADS
    return same and fewer.setup.threads < more.setup.threads and gained <= (more.p50_ms or 0.0)


def document_of(trial: Trial) -> dict[str, Any]:
    """One row of the trial table, JSON-ready: as it is on the state topic and in what ``bench --json`` prints."""
    setup = trial.setup
    return {
        "accelerator": setup.accelerator,
        "threads": setup.threads,
        "options": setup.options,
        "p50_ms": trial.p50_ms,
        "p99_ms": trial.p99_ms,
        "peak_bytes": trial.peak_bytes,
        "deviation": trial.deviation,
        "accelerated": trial.accelerated,
        "refused": trial.refused,
    }
