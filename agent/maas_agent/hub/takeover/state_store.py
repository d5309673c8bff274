"""Remembers the state of one pipeline's bundles: it is in a state only once that is on the disk."""

from collections.abc import Callable
from pathlib import Path

from maas_agent.base.log import Log
from maas_agent.hub.takeover import pipeline_state
from maas_agent.hub.takeover.pipeline_state import PipelineState


class StateStore:
    """Keeps the pipeline's `PipelineState` and its file. ``on_change`` is called after every change."""

    def __init__(self, store: Path, pipeline: str, on_change: Callable[[], None], log: Log) -> None:
        self._store, self._pipeline, self._on_change, self._log = store, pipeline, on_change, log
        self.state: PipelineState = pipeline_state.load(store, pipeline, lambda text: log.error(text))

    def become(self, state: PipelineState, *, even_unsaved: bool = False) -> None:
        """Persist a state, then be in it. Raises ``OSError`` (disk full) and stays, unless ``even_unsaved``."""
        if state == self.state:
            return
        try:
            pipeline_state.save(self._store, self._pipeline, state)
        except OSError as error:
            self._log.error("cannot save the state", pipeline=self._pipeline, reason=error.strerror)
            if not even_unsaved:
                raise
        self.state = state
        self._on_change()
