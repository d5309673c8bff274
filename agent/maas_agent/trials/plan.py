"""Plans which setups to try for a bundle on this device, and in what order. Pure: what is there is given."""

from collections.abc import Iterable

from maas_agent.runtime.machine import AcceleratorFinding
from maas_agent.runtime.setup import CPU, GPU, Setup
from maas_agent.trials.terms import AUTO, Terms

_MOST_THREADS = 4
"""More threads than that rarely help one small model; a larger number can be asked for."""

MOST_SETUPS = 16


def setups(terms: Terms, findings: Iterable[AcceleratorFinding], cores: int) -> list[Setup]:
    """What to try, the processor first: it is what everything else falls back to.

    ``auto`` tries every accelerator that was found. A named one is tried with its options, and the processor beside
    it, for the day on which the accelerator fails.
    """
    plain = [Setup(CPU, count, {}, terms.library) for count in _thread_counts(terms, cores)]
    if terms.accelerator == CPU:
        return [Setup(CPU, setup.threads, terms.options, terms.library) for setup in plain]
    if terms.accelerator != AUTO:
        return [*plain, Setup(terms.accelerator, terms.threads or 1, terms.options, terms.library)]
    there = [finding.accelerator for finding in findings if finding.missing is None and finding.accelerator != CPU]
    found = [Setup(name, terms.threads or 1, {}, terms.library) for name in there]
    return [*plain, *found][:MOST_SETUPS]


def more_precise(setup: Setup) -> Setup | None:
    """What to try after ``setup`` strayed from the golden samples: GPUs compute in 16 bits unless told not to."""
    if setup.accelerator == GPU and "precision" not in setup.options:
        return Setup(setup.accelerator, setup.threads, setup.options | {"precision": "f32"}, setup.library)
    return None


def _thread_counts(terms: Terms, cores: int) -> list[int]:
    if terms.threads:
        return [terms.threads]
    return [count for count in (1, 2, _MOST_THREADS) if count <= max(cores, 1)]
