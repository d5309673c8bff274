"""What a person configures in agent.toml, as structs whose defaults run.

Secrets are never in here, only the paths of files that hold them.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from maas_agent.processing.content import Form
from maas_agent.runtime.setup import Library
from maas_agent.trials import terms

_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
ID = re.compile(rf"^(?!\.\.?\Z)[^/+#${_UNSEEN}][^/+#{_UNSEEN}]{{0,63}}\Z")
"""A level of a topic, part of a file's name, and a word that people read: no control or bidi character, no folder."""
_DEVICE_KEY = "device.key"
ACCELERATOR = re.compile(r"^(auto|cpu|gpu|npu|delegate:[^\x00-\x1f]+)\Z")


Seconds = Annotated[float, msgspec.Meta(gt=0, le=31_536_000)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all sections."""


class DeviceSettings(_Section, frozen=True):
    """Who this device is. ``id`` is the first part of its topics; the host name unless set."""

    id: str = ""
    groups: tuple[str, ...] = ()
    key: str | None = None
    """The file of the key that sealed bundles are opened with."""


class BrokerSettings(_Section, frozen=True):
    """The MQTT broker. ``mqtt://host[:1883]``, ``mqtts://host[:8883]``, ``ws://host[:80][/mqtt]``, ``wss://host[:443][/mqtt]``."""

    url: Text = "mqtt://127.0.0.1:1883"
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_passphrase_file: str | None = None
    tls_server_name: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None
    """The name that is asked for (SNI) and that the certificate must have, where it is not the host of ``url``."""
    alpn: tuple[Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,255}\Z")], ...] = ()
    """Protocols that TLS offers, where a port serves several."""
    client_id: Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]{1,256}\Z")] | None = None
    """The MQTT client id, where it is not to be made of ``topic_root`` and the device's id."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    topic_root: Text = "maas"
    keepalive_s: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 30
    session_expiry_s: Annotated[int, msgspec.Meta(ge=0, le=4294967295)] = 86_400
    """How long the broker keeps QoS 1 inputs for this device while it is away (MQTT 5)."""
    reconnect_max_s: Seconds = 60.0

    @property
    def digest(self) -> str:
        """Tells these settings from others, without saying them."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


class StoreSettings(_Section, frozen=True):
    """Where bundles and state are kept."""

    path: Text = "/var/lib/maas-agent"
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """What all bundles together may take; 0 says that only the disk bounds them."""


class RepositorySettings(_Section, frozen=True):
    """Where bundles come from: ``url`` of the repository, ``root`` the trusted root metadata file on this device.

    Without a ``url`` they come by ``maas-agent install``.
    """

    root: Text
    url: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    """A query in it (``?token=…``) goes with every request."""
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    confine: bool = True
    """Take from the process that fetches bundles what it does not need: files, programs, other processes."""
    poll_s: Annotated[float, msgspec.Meta(ge=1, le=31_536_000)] = 300.0
    timeout_s: Seconds = 300.0
    """Total time one refresh with all its downloads may take."""


class OutboxSettings(_Section, frozen=True):
    """The queue of results the broker has not acknowledged; beyond its bounds the oldest go first, counted."""

    durability: Literal["power", "process", "none"] = "power"
    """What results on the disk survive: a power cut, the end of the agent, or nothing: they are in memory only."""
    max_bytes: Annotated[int, msgspec.Meta(ge=1 << 16)] = 64 << 20
    max_age_s: Seconds = 7 * 86_400.0
    commit_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.2
    """So long a result may wait for the broker's acknowledgement before it is written."""
    replay_per_s: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = 500.0
    """So many results that were held up are sent in a second, beside those that come now."""


class MqttSource(_Section, frozen=True, tag_field="type", tag="mqtt"):
    """Samples published to the pipeline's ``in`` topics. ``content`` fixes their form; else it is told from each."""

    content: Form | None = None


class CommandSource(_Section, frozen=True, tag_field="type", tag="command"):
    """A program that prints one JSON sample a line. It is restarted with backoff whenever it ends."""

    command: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    restart_s: Seconds = 1.0
    restart_max_s: Seconds = 60.0


Source = MqttSource | CommandSource
SOURCES = get_args(Source)


class ReportSettings(_Section, frozen=True):
    """How results are published. ``qos`` is for samples of local sources; an MQTT input is answered with its own."""

    qos: Literal[0, 1] = 1
    retain: bool = False
    """The broker keeps the last result of ``out``, for who subscribes later. Not those on ``out/<id>``: one each."""


class LimitSettings(_Section, frozen=True):
    """What one worker may take of the device."""

    memory_mb: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)] | None = None
    """MiB for its model, beyond the interpreter and its libraries. A bundle that needs more is refused."""
    cpus: tuple[Annotated[int, msgspec.Meta(ge=0, le=4095)], ...] = ()
    """The processors it may run on, by number."""
    nice: Annotated[int, msgspec.Meta(ge=0, le=19)] = 0
    confine: bool = True
    """Take from workers, and from trials, what a model does not need: files, network, programs, other processes."""
    allow_paths: tuple[Text, ...] = ()
    """Files, folders and devices that they may read and write all the same: for an accelerator that needs more."""


class ShadowSettings(_Section, frozen=True):
    """A candidate sees live inputs beside the active bundle before it may serve; its answers are not published."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 500
    """Inputs that both have answered, before it is judged."""
    min_agreement: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.98
    """Part of them for which the answers have to agree."""
    max_latency_ratio: Annotated[float, msgspec.Meta(gt=0)] = 1.5
    """Median time of its answers over that of the active bundle's."""
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    """How far values without labels may differ and still agree, as a part of the largest of them."""


class UpdateSettings(_Section, frozen=True):
    """How a new bundle takes over from the one that serves."""

    shadow: ShadowSettings | None = None
    probation_s: Annotated[float, msgspec.Meta(ge=0, le=31_536_000)] = 60.0
    """For so long the previous bundle waits to come back if the new one is worse; 0: never by itself."""
    standby: bool = True
    """Keep the previous bundle loaded meanwhile, so that it is back at once."""
    max_crashes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Workers that may die."""
    max_error_rate: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05
    """Part of the answers that may be errors, beyond what it was before."""
    max_latency_ratio: Annotated[float, msgspec.Meta(gt=0)] = 2.0
    """Median time of an answer over what it was before."""
    max_drift: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """How far the distribution of the answers may move: 0 is not at all, 1 is answers that there never were."""


class PipelineSettings(_Section, frozen=True):
    """A model to run: ``model`` from the repository, or ``bundle``, a file on this device."""

    name: str
    model: str | None = None
    version: str = "*"
    channel: Text = "stable"
    bundle: str | None = None
    allow_unsigned: bool = False
    """Accept a ``bundle`` that nobody signed: for trying things out."""
    accelerator: Text = "auto"
    """``auto`` (what is measured fastest), ``cpu``, ``gpu``, ``npu`` or ``delegate:PATH``."""
    options: dict[str, str | int | float | bool] = {}
    """The accelerator's own."""
    runtime: Library = "auto"
    threads: Literal["auto"] | Annotated[int, msgspec.Meta(ge=1, le=64)] = "auto"
    replicas: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1
    """Workers that share the inputs."""
    ordered: bool = False
    """Answer in the order of arrival, also where replicas finish in another one."""
    window: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32
    """Inputs a worker holds at a time; more wait in the hub."""
    queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    """QoS 0 inputs that wait; beyond it the oldest is answered with ``overloaded``, and counted."""
    max_payload_bytes: Annotated[int, msgspec.Meta(ge=1, le=1 << 27)] = 8 << 20
    deadline_s: Literal["auto"] | Seconds = "auto"
    """A worker that takes longer for one inference is taken for hung, and replaced; ``auto`` goes by the self-test."""
    quarantine_s: Seconds = 60.0
    """An accelerator that cost two workers rests for so long before it is tried again; each time twice as long."""
    quarantine_window_s: Seconds = 600.0
    """The two deaths count together if they lie no further apart."""
    limits: LimitSettings = LimitSettings()
    update: UpdateSettings = UpdateSettings()
    source: Source = MqttSource()
    report: ReportSettings = ReportSettings()

    def terms(self) -> terms.Terms:
        """What the trials of its bundles are to find a setup for."""
        memory_mb = self.limits.memory_mb or 0
        return terms.Terms(
            accelerator=self.accelerator,
            threads=0 if self.threads == "auto" else self.threads,
            options={key: _text_of(value) for key, value in self.options.items()},
            library=self.runtime,
            limits=terms.WorkerLimits(
                memory_mb << 20, self.limits.cpus, self.limits.nice, self.limits.confine, self.limits.allow_paths
            ),
        )


class Config(_Section, frozen=True):
    """The whole file."""

    device: DeviceSettings = DeviceSettings()
    broker: BrokerSettings = BrokerSettings()
    store: StoreSettings = StoreSettings()
    repository: RepositorySettings | None = None
    outbox: OutboxSettings = OutboxSettings()
    metrics_s: Seconds = 60.0
    pipeline: tuple[PipelineSettings, ...] = ()

    @property
    def client_id(self) -> str:
        """The MQTT client id of this device."""
        return self.broker.client_id or f"{self.broker.topic_root.replace('/', '-')}-{self.device.id}"

    @property
    def device_key(self) -> str:
        """The file of the device's key: as configured, else what systemd hands over, else in the store."""
        credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", ""), _DEVICE_KEY)
        given = str(credential) if credential.is_absolute() and credential.exists() else None
        return self.device.key or given or str(Path(self.store.path, _DEVICE_KEY))


def _text_of(value: str | int | float | bool) -> str:
    """An option as libraries take it: they know text only."""
    return str(value).lower() if isinstance(value, bool) else str(value)
