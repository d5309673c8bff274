"""The puller: brings every wanted pipeline's bundle up to date, tested and staged, or says why not."""

from pathlib import Path

from maas_agent.errors import MaasError, PullError, SelfTestError, VerifyError
from maas_agent.log import Log
from maas_agent.trials import run as trying
from maas_agent.trials.record import Trials
from maas_agent.update.choose import Offer
from maas_agent.update.deadline import deadline
from maas_agent.update.hub_link import HubLink
from maas_agent.update.protocol import Job, Outcome, Progress, RepositoryAccess, State, Step, Wanted
from maas_agent.update.sources import FromFile, FromRepository, Source, Unavailable, read_manifest
from maas_agent.update.store import Store

_BLAMES_THE_BUNDLE = (VerifyError, SelfTestError)
"""After these the digest is set aside: trying again would end the same."""


def pull(job: Job, hub: HubLink, log: Log) -> None:
    """Do all of ``job``: one refresh for all, then one outcome for each wanted pipeline, whatever happens to others."""
    repository = _refreshed(job)
    for wanted in job.wanted:
        source = FromFile(Path(wanted.bundle), job.repository) if wanted.bundle is not None else repository
        hub.tell(Attempt(wanted, Path(job.store), hub).outcome(source, log))


class Attempt:
    """One pipeline's update, from what is offered to a tested bundle. It knows how far it has come."""

    def __init__(self, wanted: Wanted, folder: Path, hub: HubLink) -> None:
        self._wanted = wanted
        self._folder = folder
        self._store = Store(folder)
        self._hub = hub
        self._state: State = "init"
        self._offer: Offer | None = None

    def outcome(self, source: Source, log: Log) -> Outcome:
        """How `update` ended; never raises, so that the next pipeline gets its turn."""
        try:
            return self.update(source)
        except MaasError as error:
            return self._failed(str(error), isinstance(error, _BLAMES_THE_BUNDLE))
        except Exception as error:  # the edge of this process: the hub gets a reason, the log the rest
            log.error("update failed unexpectedly", pipeline=self._wanted.pipeline, detail=_where(error))
            return self._failed(f"unexpected {type(error).__name__}: {error}", blamed=False)

    def update(self, source: Source) -> Outcome:
        """Stage and test what ``source`` offers, if it is to replace what is active."""
        offer = source.offer(self._wanted)
        if not isinstance(offer, Offer):
            return self._current(offer)
        self._enter("pulling", offer)
        source.deliver(offer, self._store)
        self._enter("verifying", offer)
        self._verify(offer)
        self._enter("staged", offer)
        self._enter("testing", offer)
        return self._tested(offer, trying.select(self._folder, offer.digest, self._wanted.terms))

    def _enter(self, state: Step, offer: Offer) -> None:
        # Persisted by the hub before it is acted on here.
        self._offer = offer
        self._hub.enter(Progress(self._wanted.pipeline, state, offer.version, offer.digest))
        self._state = state

    def _verify(self, offer: Offer) -> None:
        """What will be loaded is what was signed: read back from the disk, not remembered from the network."""
        for digest, size in read_manifest(self._store, offer).blobs().items():
            if not self._store.has(digest, size):
                raise PullError(f"blob {digest[:12]}… is damaged in the store")

    def _tested(self, offer: Offer, trials: Trials) -> Outcome:
        return Outcome(
            pipeline=self._wanted.pipeline,
            result="tested",
            state=self._state,
            version=offer.version,
            digest=offer.digest,
            trials=trials,
        )

    def _current(self, reason: str | None) -> Outcome:
        return Outcome(
            pipeline=self._wanted.pipeline,
            result="current",
            state=self._state,
            version=self._wanted.active_version,
            digest=self._wanted.active_digest,
            reason=reason,
        )

    def _failed(self, reason: str, blamed: bool) -> Outcome:
        return Outcome(
            pipeline=self._wanted.pipeline,
            result="failed",
            state=self._state,
            version=self._offer.version if self._offer else None,
            digest=self._offer.digest if self._offer else None,
            reason=reason,
            # Before anything was chosen there is nothing to set aside.
            set_aside=blamed and self._offer is not None,
        )


def _refreshed(job: Job) -> Source:
    """The repository as a source; if it cannot be refreshed, one that gives every pipeline that reason."""
    if all(wanted.bundle is not None for wanted in job.wanted):
        return Unavailable(PullError("no pipeline asked for the repository"))
    if job.repository is None:
        return Unavailable(PullError("there is neither a [repository] nor a bundle to take the model from"))
    try:
        return _from_repository(job.repository, Path(job.store))
    except Exception as error:  # the edge of this process; a pipeline with a local bundle goes on
        return Unavailable(error)


def _from_repository(access: RepositoryAccess, store: Path) -> Source:
    from maas_agent.update.client import Repository  # here, because only this needs TUF

    with deadline(access.timeout_s, f"the refresh from {access.url}"):
        repository = Repository(access, store)
        return FromRepository(repository, repository.refresh(), access.timeout_s)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}: {error}"
