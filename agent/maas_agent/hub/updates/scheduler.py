"""Decides when to look for bundles, and starts the puller that does it."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

from maas_agent.base.log import Log
from maas_agent.bundle.desired_state import Choice
from maas_agent.config import Config
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.hub.system.loop import Loop, Timer
from maas_agent.hub.takeover import state_store
from maas_agent.hub.updates.puller_process import PullerProcess
from maas_agent.update.access import access_to
from maas_agent.update.protocol import (
    Outcome,
    PullJob,
    PullProgress,
    RepositoryAccess,
    Wanted,
)
from maas_agent.update.store import inbox
from maas_agent.update.store.blob_store import BlobStore

OnChecked = Callable[[dict[str, Outcome]], None]
_FIRST_RETRY_S = 5.0
_SETTLE_S = 0.5


class UpdateScheduler:
    """Polls with jitter, and at once when asked. One puller at a time serves all pipelines.

    ``choice_of`` knows what the desired state says of a model.
    """

    def __init__(
        self,
        loop: Loop,
        config: Config,
        pipelines: dict[str, Pipeline],
        choice_of: Callable[[str | None], Choice],
        log: Log,
    ) -> None:
        self._loop, self._config, self._pipelines, self._log = loop, config, pipelines, log
        self._choice_of = choice_of
        self._puller: PullerProcess | None = None
        self._waiting: list[OnChecked] = []
        self._next: Timer | None = None
        self._retry_s = _FIRST_RETRY_S
        self._stopped = False
        self._store = Path(config.store.path)
        self._installing: set[str] = set()
        """Pipelines whose bundle was brought by a person, while it is tried."""
        self._reached = set[str]()
        """Pipelines whose source has said since the start what it offers."""
        self._looked, self._suspects, self._thorough = set[str](), set[str](), set[str]()
        """Pipelines of which every byte was read since the start and is there, should be read, and is being read."""

    def mend(self, name: str) -> None:
        """Files of what this pipeline should run are damaged or missing: look for them now, and then at every check.

        A worker that cannot load says so at each of its attempts: one check answers them all.
        """
        self._suspects -= {known for known in self._suspects if self._pipelines[known].serving}
        if name in self._suspects:
            return
        self._suspects.add(name)
        if self._puller is None or name not in self._thorough:
            self.check()

    def check(self, on_checked: OnChecked | None = None) -> None:
        """Look for bundles now; ``on_checked`` gets each pipeline's outcome. One check at a time, others wait."""
        if on_checked is not None:
            self._waiting.append(on_checked)
        elif self._puller is not None:
            self._waiting.append(_nobody)  # what is wanted now may not be what it was started for
        if self._puller is not None or self._stopped:
            return
        if self._next is not None:
            self._next.cancel()
        if any(pipeline.updating for pipeline in self._pipelines.values()):
            self._next = self._loop.after(_SETTLE_S, self.check)  # what was found last is only just taking over
            return
        self._installing = set()
        may_update = [pipeline for pipeline in self._pipelines.values() if self._may_update(pipeline)]
        # Reading all bytes of a large model costs more than all else of a poll without news.
        self._thorough = {
            name
            for name in (pipeline.settings.name for pipeline in may_update)
            if self._waiting or name in self._suspects or name not in self._looked
        }
        wanted = [self._wanted(pipeline) for pipeline in may_update]
        if not wanted:
            self._answer({})
            self._schedule(())
            return
        answer_to, self._waiting = self._waiting, []
        store = self._config.store
        keep = tuple(sorted(self._kept()))
        keep_all = not self._knows_what_is_needed()
        job = PullJob(
            store=store.path,
            wanted=wanted,
            repository=self._access(),
            keep=keep,
            keep_all=keep_all,
            max_bytes=store.max_bytes,
            withdrawn=self._withdrawn(wanted),
        )
        self._puller = PullerProcess(
            self._loop, job, self._on_event, lambda how: self._on_end(answer_to, how), self._log
        )

    def stop(self) -> None:
        """End the puller; what it had not finished starts over next time."""
        self._stopped = True
        if self._puller is not None:
            self._puller.kill()

    @property
    def _has_url(self) -> bool:
        return self._config.repository is not None and bool(self._config.repository.url)

    def _may_update(self, pipeline: Pipeline) -> bool:
        """A bundle on probation is judged first. Where there is no repository, something must have been brought."""
        has_source = self._has_source(pipeline) or inbox.waiting(self._store, pipeline.settings.name)
        return bool(has_source) and not pipeline.is_judging

    def _has_source(self, pipeline: Pipeline) -> bool:
        return pipeline.settings.bundle is not None or self._has_url

    def _wanted(self, pipeline: Pipeline) -> Wanted:
        settings, state = pipeline.settings, pipeline.slots
        # What is on trial is not looked for again, only what is newer.
        newest = state.candidate if state.update.state in ("shadow", "probation") else state.active
        brought = inbox.waiting(self._store, settings.name)
        if brought is not None:
            self._installing.add(settings.name)
        choice = Choice() if brought else self._choice_of(settings.model)
        bundle = brought or (Path(settings.bundle).absolute() if settings.bundle else None)
        return Wanted(
            pipeline=settings.name,
            model=settings.model,
            versions=settings.version,
            channel=settings.channel,
            bundle=str(bundle) if bundle else None,
            allow_unsigned=settings.allow_unsigned,
            terms=settings.terms(),
            active_digest=newest.digest if newest else None,
            active_version=newest.version if newest else None,
            previous_digest=state.previous.digest if state.previous else None,
            exact=choice.version,
            device_key=self._config.device_key,
            refused=state.refused,
            thorough=settings.name in self._thorough,
        )

    def _withdrawn(self, wanted: list[Wanted]) -> dict[str, tuple[str, ...]]:
        """By model, what the desired state takes back."""
        models = {one.model for one in wanted if one.model is not None and one.bundle is None}
        found = {model: tuple(sorted(self._choice_of(model).withdrawn)) for model in models}
        return {model: versions for model, versions in found.items() if versions}

    def _access(self) -> RepositoryAccess | None:
        repository = self._config.repository
        if repository is None:
            return None
        return access_to(repository)

    def _on_event(self, event: PullProgress | Outcome) -> None:
        pipeline = self._pipelines[event.pipeline]
        if isinstance(event, PullProgress):
            pipeline.progress(event)
            return
        # First: a power cut in between tries it once more, the other way round it would be forgotten.
        pipeline.conclude(event)
        if event.reached:
            self._reached.add(event.pipeline)
        if event.result != "failed":
            self._looked.add(event.pipeline)
        if event.mended:
            self._suspects.discard(event.pipeline)
        if event.pipeline in self._installing:
            inbox.remove(self._store, event.pipeline)

    def _on_end(self, answer_to: list[OnChecked], how: str) -> None:
        puller, self._puller = self._puller, None
        outcomes = puller.outcomes if puller else {}
        for name in (puller.names if puller else set()) - outcomes.keys():
            outcomes[name] = Outcome(
                pipeline=name,
                result="failed",
                state=self._pipelines[name].slots.update.state,
                reason=f"the puller {how}",
            )
            if not self._stopped:
                self._pipelines[name].conclude(outcomes[name])
        self._answer(outcomes, answer_to)
        if self._stopped:
            return
        self._collect_garbage()
        if self._waiting:
            self.check()  # somebody asked while this one ran: what is new since then may matter to them
        else:
            self._schedule(outcomes.values())

    def _kept(self) -> set[str]:
        """The manifests that some pipeline runs, tries or may go back to: also of those that want nothing now.

        Until every pipeline has got something, or its source has spoken, what pipelines had that are not configured any
        more stays too: a new name may be all that has changed.
        """
        kept = {digest for pipeline in self._pipelines.values() for digest in pipeline.slots.digests()}
        return kept if self._is_settled else kept | (state_store.left_behind(self._store, self._pipelines) or set())

    @property
    def _is_settled(self) -> bool:
        """Whether what is not needed now was not what some pipeline has lost sight of."""
        has_begun = all(p.slots.active or name in self._reached for name, p in self._pipelines.items())
        return has_begun and (not self._has_url or self._repository_was_reached)

    @property
    def _repository_was_reached(self) -> bool:
        from_there = {name for name, p in self._pipelines.items() if p.settings.bundle is None}
        return not from_there or bool(from_there & self._reached)

    def _knows_what_is_needed(self) -> bool:
        """Whether all else may be removed: no state is unreadable, and no pipeline waits for its source's word."""
        pipelines = self._pipelines.items()
        if any(state_store.is_lost(self._store, name, pipeline.slots) for name, pipeline in pipelines):
            return False
        if any(self._has_source(p) and not p.slots.active and name not in self._reached for name, p in pipelines):
            return False
        return self._is_settled or state_store.left_behind(self._store, self._pipelines) is not None

    def _collect_garbage(self) -> None:
        """Remove blobs that no pipeline needs any more; only here, where no puller is adding to them.

        Not before the repository was reached: what nobody seems to need now could not be had again.
        """
        if not self._knows_what_is_needed() or (self._has_url and not self._repository_was_reached):
            return
        try:
            freed = BlobStore(Path(self._config.store.path)).collect_garbage(self._kept())
        except OSError as error:
            self._log.warning("cannot remove bundles that are not needed any more", reason=error.strerror)
            return
        if freed:
            self._log.info("removed bundles that are not needed any more", bytes=freed)

    def _answer(self, outcomes: dict[str, Outcome], answer_to: list[OnChecked] | None = None) -> None:
        if answer_to is None:
            answer_to, self._waiting = self._waiting, []
        for on_checked in answer_to:
            on_checked(outcomes)

    def _schedule(self, outcomes: Iterable[Outcome]) -> None:
        """The next poll: after ``poll_s``, sooner if something failed that may pass; never all devices at once."""
        repository = self._config.repository if self._has_url else None
        may_pass = any(outcome.result == "failed" and not outcome.set_aside for outcome in outcomes)
        if repository is None and not may_pass:
            return
        poll_s = repository.poll_s if repository else 300.0
        wait_s = min(poll_s, self._retry_s) if may_pass else poll_s
        self._retry_s = self._retry_s * 2 if may_pass else _FIRST_RETRY_S
        self._next = self._loop.after(random.uniform(0.5, 1.5) * wait_s, self.check)


def _nobody(_outcomes: dict[str, Outcome]) -> None:
    """Nobody waits for the answer."""
