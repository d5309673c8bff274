"""Remembers which pipelines were announced: what the broker retains of one that is gone must be cleared.

Nobody else would: a pipeline that was renamed stays "serving" for ever on its old state topic. An empty file
``pipelines/NAME.json.announced`` is there from before the first announcement until nothing is retained any more.
"""

from collections.abc import Iterable
from pathlib import Path

from maas_agent.base.log import Log
from maas_agent.config import ID
from maas_agent.host.files import make_folder, sync_folder
from maas_agent.hub.api.topics import is_level

_STATE, _MARK = ".json", ".json.announced"


class Announcements:
    """Knows the names. A store from before there were such files tells them by its states."""

    def __init__(self, store: Path, pipelines: Iterable[str], log: Log) -> None:
        self._folder, self._pipelines, self._log = store / "pipelines", frozenset(pipelines), log
        self._names = self._marked() or self._named(_STATE)
        self._mark(self._names | self._pipelines)

    @property
    def gone(self) -> list[str]:
        """Pipelines that were announced, and are not configured any more."""
        return sorted(self._names - self._pipelines)

    def cleared(self, name: str) -> None:
        """Nothing is retained of this one any more, or the outbox will see to it."""
        try:
            self._path(name).unlink(missing_ok=True)
            sync_folder(self._folder)
        except OSError as error:
            self._complain(error)

    def _marked(self) -> set[str]:
        return self._named(_MARK)

    def _named(self, end: str) -> set[str]:
        # What no pipeline can be called was announced by nobody: on such a topic nothing can be said.
        names = (path.name.removesuffix(end) for path in self._folder.glob(f"*{end}"))
        return {name for name in names if is_level(name) and ID.match(name)}

    def _mark(self, names: set[str]) -> None:
        new = [self._path(name) for name in sorted(names - self._marked())]
        if not new:
            return
        try:
            make_folder(self._folder)
            for path in new:
                path.touch()
            sync_folder(self._folder)
        except OSError as error:
            self._complain(error)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}{_MARK}"

    def _complain(self, error: OSError) -> None:
        self._log.error("cannot note which pipelines are announced", folder=self._folder, reason=error.strerror)
