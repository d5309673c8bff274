"""Defines what the hub and the puller say to each other: one JSON document a line, over a socketpair.

    hub ──▶ puller   PullJob                             once, the first line
    hub ◀── puller   PullProgress                        a pipeline is about to enter a state
    hub ──▶ puller   Go                              the hub has persisted that state: act on it. To "testing": it has
                                                     tried the bundle too, and says what came of it
    hub ◀── puller   Outcome                         one for each wanted pipeline, the last word on it

The puller acts on a state only after `Go`; so every transition is persisted before it is acted on, and the hub is
the only one who writes the state of a pipeline. End of file on either side means that the other one is gone: the
puller exits at once, and the hub takes a pipeline without an `Outcome` as failed.

The hub imports this: it needs neither ``tuf`` nor NumPy.
"""

from typing import Literal

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.bundle.manifest import Sha256
from maas_agent.errors import DataError
from maas_agent.trials.record import Trials
from maas_agent.trials.task import TrialReport
from maas_agent.trials.terms import Terms

State = Literal[
    "init", "pulling", "verifying", "staged", "testing", "shadow", "probation", "active", "failed", "rolled_back"
]
"""Every state of an update, in order; the last two carry a reason."""

Step = Literal["pulling", "verifying", "staged", "testing"]
"""The states that the puller goes through; the others belong to the hub."""

MAX_LINE_BYTES = 1 << 20
MAX_JOB_BYTES = 1 << 24
"""Of the first line: some hundred pipelines, each with what failed on it, and what many groups withdraw."""

SELF_TEST_S = 600.0
"""When the self-test of one bundle, all its trials, has certainly ended, in seconds."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one pipeline should run, and what it runs now.

    ``model`` is a name in the repository; with ``bundle``, the path of a local ``.maas``, it is only compared.
    ``refused`` maps the digests of manifests that failed here before to the reasons. ``exact`` is the version that the
    desired state names. ``device_key`` is the file of the key that sealed bundles are opened with.

    ``withdrawn`` are the versions that the desired state takes back: the job says it once for each model, see
    `decode_job`. ``thorough`` asks for every byte of what is active to be read: else the sizes of its files tell
    whether they are there.
    """

    pipeline: str
    model: str | None = None
    versions: str = "*"
    channel: str = "stable"
    bundle: str | None = None
    allow_unsigned: bool = False
    terms: Terms = Terms()
    active_digest: str | None = None
    active_version: str | None = None
    previous_digest: str | None = None
    exact: str | None = None
    withdrawn: tuple[str, ...] = ()
    device_key: str | None = None
    refused: dict[str, str] = {}
    thorough: bool = False


class RepositoryAccess(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the repository is, and the file whose root metadata is trusted to begin with.

    ``timeout_s`` bounds the refresh, and then the download for each pipeline, from name resolution to last byte. A
    query in ``url`` goes with each request; so do ``username`` and what is in ``password_file``, where there are any.
    ``ca`` is the file of the authority that signed the server's certificate. ``confine`` takes from the puller what it
    does not need.
    """

    url: str
    root: str
    timeout_s: float = 300.0
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    confine: bool = True


class PullJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a puller is to do. ``store`` is a folder; ``repository`` may be missing if every bundle is local.

    ``keep`` are the digests of all manifests that must stay in the store, also of pipelines that want nothing now.
    With ``keep_all`` nothing is removed to make room: it is not known what some pipeline needs.
    ``max_bytes`` bounds what all bundles together may take in the store; 0 says that only the disk does.
    ``withdrawn`` are the versions of each model that the desired state takes back; many pipelines may run one model.
    """

    store: str
    wanted: list[Wanted]
    repository: RepositoryAccess | None = None
    keep: tuple[str, ...] = ()
    keep_all: bool = False
    max_bytes: int = 0
    withdrawn: dict[str, tuple[str, ...]] = {}


class Go(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hub's answer to a `PullProgress`; ``report`` is the one to ``testing``.

    The hub has a bundle tried, not the puller: that one needs neither other programs nor devices then.
    """

    go: Literal[True] = True
    report: TrialReport | None = None


class PullProgress(msgspec.Struct, frozen=True, tag_field="event", tag="progress", forbid_unknown_fields=True):
    """``pipeline`` is about to enter ``state`` with the bundle of this version and manifest digest."""

    pipeline: str
    state: Step
    version: str
    digest: Sha256


class Outcome(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="outcome", forbid_unknown_fields=True):
    """How it ended for ``pipeline``.

    ``tested``: the bundle is in the store and reproduced its golden samples; activate it.
    ``current``: there is nothing newer to run; a ``reason`` says what was passed over.
    ``failed``: ``reason`` is a sentence, ``state`` where it happened; with ``set_aside`` this digest belongs into
    `Wanted.refused`, so that it is not tried again until another one is offered.
    """

    pipeline: str
    result: Literal["tested", "current", "failed"]
    state: State
    version: str | None = None
    digest: Sha256 | None = None
    reason: str | None = None
    set_aside: bool = False
    trials: Trials | None = None
    """What the self-test measured, of a bundle that is ``tested``."""
    revoked: dict[str, str] = {}
    """Versions of this model that its publisher has revoked, with the reasons, as they are signed."""
    reached: bool = False
    """Whether the source has said what it offers of this model."""
    mended: bool = False
    """Whether what is active was not whole on this device, and is now."""


Event = PullProgress | Outcome


def longest_s(job: PullJob) -> float:
    """When the hub should kill the puller, in seconds after its start: never needed, unless the system hangs.

    A minute is added because a call into the C resolver cannot be interrupted and has time-outs of its own.
    """
    network_s = job.repository.timeout_s if job.repository else 0.0
    # Three downloads for each: what is offered, and what is active and previous if they are not whole.
    return network_s + len(job.wanted) * (3 * network_s + SELF_TEST_S) + 60.0


def line_of(message: PullJob | Go | Event) -> bytes:
    """One message as the line that is sent."""
    return msgspec.json.encode(message) + b"\n"


def decode_event(line: bytes) -> Event:
    """Read a line from the puller, which handles untrusted bytes; raise `DataError` if it is no event."""
    try:
        event: Event = msgspec.json.decode(line, type=Event)
        return event
    except MALFORMED as error:
        raise DataError(f"the puller said something that is no event: {error}") from None


def decode_go(line: bytes) -> Go:
    """Read what the hub says to a `PullProgress`; raise `DataError` if it is something else."""
    try:
        return msgspec.json.decode(line, type=Go)
    except MALFORMED as error:
        raise DataError(f"the hub said something that is no go: {error}") from None


def decode_job(line: bytes) -> PullJob:
    """Read the first line from the hub, and give each pipeline what is withdrawn of its model.

    Raises `DataError` if it is no job.
    """
    try:
        job = msgspec.json.decode(line, type=PullJob)
    except MALFORMED as error:
        raise DataError(f"this is no job: {error}") from None
    wanted = [msgspec.structs.replace(one, withdrawn=_withdrawn(job, one)) for one in job.wanted]
    return msgspec.structs.replace(job, wanted=wanted)


def _withdrawn(job: PullJob, wanted: Wanted) -> tuple[str, ...]:
    """What is taken back of the model; a bundle from a file is not the broker's to judge."""
    return job.withdrawn.get(wanted.model, ()) if wanted.model is not None and wanted.bundle is None else ()
