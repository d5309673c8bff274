"""Defines what the processes that try bundles are told, and what they say: one JSON document each way."""

import msgspec

from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trial, Trials
from maas_agent.trials.terms import Terms, WorkerLimits


class TrialTask(msgspec.Struct, frozen=True):
    """Try the bundle of manifest ``digest`` in the store with one setup."""

    store: str
    digest: str
    setup: Setup
    limits: WorkerLimits = WorkerLimits()
    seconds: float = 120.0
    """How long it may take, loading included."""


class TrialVerdict(msgspec.Struct, frozen=True):
    """The trial; ``device_fault`` if it was refused for what the device lacks, not for what the bundle is."""

    trial: Trial
    device_fault: bool = False
    strayed: bool = False
    """It ran, and its answers were not those of the golden samples."""


class Assignment(msgspec.Struct, frozen=True):
    """From the hub: try all that ``terms`` suggest, or just these ``setups``."""

    store: str
    digest: str
    terms: Terms
    setups: tuple[Setup, ...] | None = None
    seconds: float = 120.0
    """How long each trial may take."""
    gentle: bool = False
    """Give way to what is served: it is an update that has time."""


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """To the hub: all ``trials``, or the reason why none may serve; ``rows`` where setups were named."""

    trials: Trials | None = None
    rows: list[Trial] = []
    refused: str | None = None
    blamed: bool = False
    """Whether it was refused for what the bundle is, not for what the device lacks."""
