"""What is remembered of one pipeline's bundles: in a state only once that is on the disk."""

from collections.abc import Callable
from pathlib import Path

from maas_agent.log import Log
from maas_agent.update import slots
from maas_agent.update.slots import PipelineState


class Ledger:
    """The pipeline's `PipelineState` and its file. ``on_change`` is called after every change."""

    def __init__(self, store: Path, pipeline: str, on_change: Callable[[], None], log: Log) -> None:
        self._store, self._pipeline, self._on_change, self._log = store, pipeline, on_change, log
        self.state: PipelineState = slots.load(store, pipeline, lambda text: log.error(text))

    def become(self, state: PipelineState, *, even_unsaved: bool = False) -> None:
        """Persist a state, then be in it. Raises ``OSError`` (disk full) and stays, unless ``even_unsaved``."""
        if state == self.state:
            return
        try:
            slots.save(self._store, self._pipeline, state)
        except OSError as error:
            self._log.error("cannot save the state", pipeline=self._pipeline, reason=error.strerror)
            if not even_unsaved:
                raise
        self.state = state
        self._on_change()
