"""Brings every wanted pipeline's bundle up to date, tested and staged, or says why not."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from maas_agent.base.log import Log
from maas_agent.bundle.version import parse_version
from maas_agent.errors import MaasError, PullError, SelfTestError, VerifyError
from maas_agent.network.addresses import shown
from maas_agent.trials.record import Trials
from maas_agent.update.choose import Offer
from maas_agent.update.downloader import read_manifest
from maas_agent.update.folders import REMEMBERED
from maas_agent.update.hub_link import HubLink
from maas_agent.update.protocol import Outcome, PullJob, PullProgress, RepositoryAccess, State, Step, Wanted
from maas_agent.update.sources import FromFile, FromRepository, Source, Unavailable
from maas_agent.update.store.blob_store import BlobStore
from maas_agent.update.store.disk_quota import DiskQuota
from maas_agent.update.transfer.deadline import deadline

_BLAMES_THE_BUNDLE = (VerifyError, SelfTestError)
"""After these the digest is set aside: trying again would end the same."""

_MAX_REVOKED = 200
_MAX_REASON = 300
"""Bounds of what the hub is told of revoked versions: together far below ``MAX_LINE_BYTES``."""


def pull(job: PullJob, hub: HubLink, log: Log) -> None:
    """Do all of ``job``: one refresh for all, then one outcome for each wanted pipeline, whatever happens to others."""
    folder, store = Path(job.store), BlobStore(Path(job.store))
    _sweep(folder)
    room = DiskQuota(_kept(job), job.max_bytes, keep_all=job.keep_all)
    repository = _refreshed(job, log)
    begun, unfinished = store.pulling(), set[str]()
    for left, wanted in zip(reversed(range(len(job.wanted))), job.wanted, strict=True):
        source = FromFile(Path(wanted.bundle), job.repository, folder) if wanted.bundle is not None else repository
        attempt = Attempt(wanted, store, room, hub)
        outcome = attempt.outcome(source, log)
        if outcome.result == "tested" and outcome.digest is not None:
            room.keep.add(outcome.digest)
        unfinished |= _unfinished(outcome, begun) | attempt.unmended
        # Before the outcome is told: after the last one the hub may end this process, and collect garbage.
        store.set_pulling(unfinished | begun if left else unfinished)
        hub.tell(outcome)


class Attempt:
    """Leads one pipeline's update, from what is offered to a tested bundle. It knows how far it has come."""

    def __init__(self, wanted: Wanted, store: BlobStore, room: DiskQuota, hub: HubLink) -> None:
        self._wanted = wanted
        self._store = store
        self._room = room
        self._hub = hub
        self._state: State = "init"
        self._offer: Offer | None = None
        self._mended = self._reached = False
        self.unmended = set[str]()
        """Manifests of what was installed and is not whole: what has arrived for them is no garbage."""

    def outcome(self, source: Source, log: Log) -> Outcome:
        """How `update` ended; never raises, so that the next pipeline gets its turn."""
        try:
            outcome = self.update(source)
        except MaasError as error:
            outcome = self._failed(str(error), isinstance(error, _BLAMES_THE_BUNDLE))
        except Exception as error:  # the edge of this process: the hub gets a reason, the log the rest
            log.error("update failed unexpectedly", pipeline=self._wanted.pipeline, detail=_where(error))
            outcome = self._failed(f"unexpected {type(error).__name__}: {error}", blamed=False)
        revoked = _said(source.revoked(self._wanted))
        reached = self._reached or source.reached(self._wanted)
        return msgspec.structs.replace(outcome, revoked=revoked, mended=self._mended, reached=reached)

    def update(self, source: Source) -> Outcome:
        """Stage and test what ``source`` offers, if it is to replace what is active; first mend what is installed."""
        wanted = self._wanted
        lacks = self._lacks(source, wanted.active_digest, f"{wanted.active_version}, which is active,")
        no_way_back = self._lacks(source, wanted.previous_digest, "what was active before")
        offer = source.offer(wanted)
        self._reached = True
        if not isinstance(offer, Offer):
            if lacks is not None and not self._mended and wanted.thorough:
                return msgspec.structs.replace(self._failed(lacks, blamed=False), version=wanted.active_version)
            not_renewed = None if lacks else self._renewed(source)
            return self._current((lacks if self._mended else offer) or lacks or not_renewed or no_way_back)
        self._enter("pulling", offer)
        self._store.set_pulling(self._store.pulling() | {offer.digest})
        source.deliver(offer, self._wanted, self._store, self._room)
        self._enter("verifying", offer)
        self._verify(offer)
        self._enter("staged", offer)
        return self._tested(offer, self._tried(offer))

    def _lacks(self, source: Source, digest: str | None, what: str) -> str | None:
        """Whether an installed bundle was not whole, as a sentence that says what came of it; ``None``: it was whole.

        It is the bundle that passed its tests here, down to the last bit, so it is not tested again.
        """
        wanted, store = self._wanted, self._store
        lack = store.why_not_whole(digest, thorough=wanted.thorough) if digest is not None else None
        if digest is None or lack is None:
            return None
        is_active = digest == wanted.active_digest
        try:
            store.set_pulling(store.pulling() | {digest})
            source.mend(digest, wanted, store, self._room)
            lack_now = store.why_not_whole(digest, thorough=True)
        except MaasError as error:  # what is offered may be better, and is looked at next
            lack_now = str(error)
        if lack_now is not None:
            self.unmended.add(digest)
            return f"{what} is not whole on this device ({lack}), and cannot be brought again: {lack_now}"
        self._mended = self._mended or is_active
        return f"{what} was not whole on this device ({lack}): it was brought again"

    def _renewed(self, source: Source) -> str | None:
        """Why what belongs to the active bundle could not be brought up to date; it serves on as it is."""
        try:
            source.renew(self._wanted, self._store)
        except MaasError as error:
            return str(error)
        return None

    def _enter(self, state: Step, offer: Offer) -> None:
        # Persisted by the hub before it is acted on here.
        self._offer = offer
        self._hub.enter(PullProgress(self._wanted.pipeline, state, offer.version, offer.digest))
        self._state = state

    def _tried(self, offer: Offer) -> Trials:
        self._state = "testing"
        return self._hub.test(PullProgress(self._wanted.pipeline, "testing", offer.version, offer.digest))

    def _verify(self, offer: Offer) -> None:
        """What will be loaded is what was signed: read back from the disk, not remembered from the network."""
        read_manifest(self._store, offer)
        for digest, size in self._store.needs(offer.digest).items():
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


def _kept(job: PullJob) -> set[str]:
    """The manifests that stay in the store, whatever this job brings."""
    held = {digest for wanted in job.wanted for digest in (wanted.active_digest, wanted.previous_digest)}
    return {digest for digest in held if digest is not None} | set(job.keep)


def _unfinished(outcome: Outcome, begun: set[str]) -> set[str]:
    """The manifests that are tried again at the next poll; ``begun`` are those that an earlier one left."""
    if outcome.result != "failed" or outcome.set_aside:
        return set()
    if outcome.digest is None:
        return begun  # the repository was out of reach: what it offers is unknown
    # Not only while it is fetched: a self-test that lacks memory must not cost the download at every poll.
    return {outcome.digest}


def _sweep(folder: Path) -> None:
    """Remove what pullers that were killed had not finished writing."""
    for left in (folder / REMEMBERED).glob(".*.new"):
        with suppress(OSError):
            left.unlink()


def _said(revoked: Mapping[str, str]) -> dict[str, str]:
    """The newest revoked versions, as many as go into a line to the hub."""
    newest = sorted(revoked, key=parse_version, reverse=True)[:_MAX_REVOKED]
    return {version: revoked[version][:_MAX_REASON] for version in newest}


def _refreshed(job: PullJob, log: Log) -> Source:
    """The repository as a source; if it cannot be refreshed, one that gives every pipeline that reason."""
    models = {wanted.model for wanted in job.wanted if wanted.bundle is None and wanted.model is not None}
    if not models:
        return Unavailable(PullError("no pipeline asked for the repository"))
    if job.repository is None:
        return Unavailable(PullError("there is neither a [repository] nor a bundle to take the model from"))
    try:
        return _from_repository(job.repository, Path(job.store), models, log)
    except Exception as error:  # the edge of this process; a pipeline with a local bundle goes on
        return Unavailable(error)


def _from_repository(access: RepositoryAccess, store: Path, models: set[str], log: Log) -> Source:
    from maas_agent.update.repository.client import Repository  # here, because only this needs TUF

    with deadline(access.timeout_s, f"the refresh from {shown(access.url)}"):
        repository = Repository(access, store, lambda what: log.warning(what))
        return FromRepository(repository, repository.refresh_for(models), access.timeout_s)


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{place}: {error}"
