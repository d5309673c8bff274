"""Describes what runs where, as the state topic and ``maas-agent status`` tell it: JSON-ready documents."""

import time
from typing import Any

from maas_agent.base.documents import rfc3339
from maas_agent.hub.placement.quarantine import Rest
from maas_agent.hub.serving.worker_pool import WorkerPool
from maas_agent.hub.takeover.pipeline_state import PipelineState, Slot, UpdateState
from maas_agent.ipc import SourceIs
from maas_agent.trials.record import Trials, document_of


def bundles(pipeline: str, model: str | None, slots: PipelineState, *, serving: bool) -> dict[str, Any]:
    """A pipeline and its bundles: how every state document begins."""
    return {
        "pipeline": pipeline,
        "model": model,
        "serving": serving,
        "active": slot(slots.active),
        "candidate": slot(slots.candidate),
        "previous": slot(slots.previous),
    }


def update(state: UpdateState) -> dict[str, Any]:
    """How far the newest update has come."""
    return {"state": state.state, "version": state.version, "reason": state.reason, "since": rfc3339(state.since)}


def source(source: SourceIs | None) -> dict[str, Any] | None:
    """A local source."""
    return {"state": source.state, "reason": source.reason} if source else None


def slot(slot: Slot | None) -> dict[str, str] | None:
    """A staged bundle."""
    return {"version": slot.version, "digest": slot.digest} if slot else None


def running(pool: WorkerPool | None) -> dict[str, Any]:
    """What the workers run on."""
    if pool is None:
        nothing: dict[str, Any] = {"accelerator": None, "threads": None, "options": {}, "runtime": None}
        return nothing | {"deadline_s": None, "not_confined": None}
    return {
        "accelerator": pool.setup.accelerator,
        "threads": pool.setup.threads,
        "options": pool.setup.options,
        "runtime": pool.runtime,
        "deadline_s": round(pool.deadlines.inference_s, 3),
        "not_confined": pool.freedom,
    }


def rest(rest: Rest) -> dict[str, Any]:
    """An accelerator in quarantine."""
    again = time.time() + max(0.0, rest.until - time.monotonic())
    return {"accelerator": rest.accelerator, "tried_again": rfc3339(again), "reason": rest.reason}


def trials(trials: Trials | None) -> list[dict[str, Any]]:
    """The trial table: one row for each setup that was tried on this device."""
    return [document_of(row) for row in trials.rows] if trials else []
