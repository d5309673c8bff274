"""agent.toml: what a person configures, as structs whose defaults run.

Secrets are never in here, only the paths of files that hold them.
"""

import difflib
import hashlib
import os
import re
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from maas_agent.base.untrusted import toml_table
from maas_agent.bundle.version import VersionRange
from maas_agent.environment import UnknownVariable, expanded
from maas_agent.errors import ConfigError, DataError
from maas_agent.network.addresses import HIDDEN, has_userinfo, shown
from maas_agent.processing.content import Form
from maas_agent.runtime.setup import Library
from maas_agent.toml_lines import line_of
from maas_agent.trials import terms

_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
ID = re.compile(rf"^(?!\.\.?\Z)[^/+#${_UNSEEN}][^/+#{_UNSEEN}]{{0,63}}\Z")
"""A level of a topic, part of a file's name, and a word that people read: no control or bidi character, no folder."""
_DEVICE_KEY = "device.key"
_NO_DEVICE_ID = {"groups"}
_NO_PIPELINE_NAME = {"status", "metrics", "desired", "cmd"}
_MAX_NAME_BYTES = 200
"""Of a pipeline's name: it becomes that of a file, and Linux takes 255 with what is added to it."""
_VERBATIM = ("command",)
"""Keys in whose texts ``${NAME}`` stays: a program has the environment itself, a shell its own variables."""
ACCELERATOR = re.compile(r"^(auto|cpu|gpu|npu|delegate:[^\x00-\x1f]+)\Z")

_BROKER_URL = re.compile(r"^(mqtts?://[^/?#@\s]+/?|wss?://[^/?#@\s]+(/[!-\"$-~]*)?)\Z")
"""A WebSocket has a path, in printable ASCII (RFC 3986); queries are part of it, fragments are not sent."""

_LOGIN = "write {0}.username, and into a file that {0}.password_file names the password"
_SECRET_KEY = re.compile(r"^\s*[\w.\"-]*(password|passphrase|passwd|secret|token)\s*=", re.IGNORECASE)
"""A key that people expect to hold a secret; there is none, so nothing is known of its value."""

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
_SOURCES = get_args(Source)


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
            limits=terms.WorkerLimits(memory_mb << 20, self.limits.cpus, self.limits.nice),
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


def load_config(path: Path) -> Config:
    """Read and check ``path``; raises `ConfigError` that names the file, the line and the key."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a byte order mark
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text: save it as UTF-8 (iconv -f UTF-16 -t UTF-8)") from None
    try:
        table = expanded(toml_table(text), os.environ, _VERBATIM)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except RecursionError:  # no section has a table ten levels down
        raise ConfigError(f"{path} is not valid TOML: it is nested too deep") from None
    except UnknownVariable as error:
        raise ConfigError(_located(path, text, error.where, f"{_without_indexes(error.where)}: {error}")) from None
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explained(path, text, str(error))) from None
    return _checked(path, text, config)


def _checked(path: Path, text: str, config: Config) -> Config:
    """Fill in the device id and check what a type cannot say."""

    def refuse(where: str, why: str) -> ConfigError:
        return ConfigError(_located(path, text, where, why))

    device_id = config.device.id or socket.gethostname()
    if not ID.match(device_id) or device_id in _NO_DEVICE_ID:
        raise refuse("device.id", f"{device_id!r} is no device id: use letters, digits, '-', '_' or '.'")
    for group in config.device.groups:
        if not ID.match(group):
            raise refuse("device.groups", f"{group!r} is no group name: use letters, digits, '-', '_' or '.'")
    if not all(ID.match(level) for level in config.broker.topic_root.split("/")):
        raise refuse("broker.topic_root", f"{config.broker.topic_root!r} is no topic")
    _check_broker(config.broker, refuse)
    if config.repository is not None:
        _check_repository(config.repository, refuse)
    for where, given in _paths(config):
        if given.startswith("~"):
            whole = os.path.expanduser(given)  # noqa: PTH111 - of a user that is not there it is what was given
            raise refuse(where, f"{given!r}: ~ is another folder for each user; write {whole!r} or the like")
    _check_pipelines(config, refuse)
    return msgspec.structs.replace(config, device=msgspec.structs.replace(config.device, id=device_id))


def unprotected(config: Config) -> Iterator[tuple[str, str]]:
    """What this configuration leaves open, a sentence each, and what closes it: it is allowed, and has to be known."""
    broker = config.broker
    if broker.password_file and broker.url.startswith(("mqtt:", "ws:")):
        yield (
            f"the password goes to {shown(broker.url)} unencrypted: whoever is on the way reads it",
            "set broker.url to mqtts:// or wss://",
        )
    for pipeline in config.pipeline:
        if pipeline.allow_unsigned:
            yield (
                f"pipeline {pipeline.name} runs bundles that nobody has signed",
                "sign them (convert --keys), and remove allow_unsigned",
            )


def _check_broker(broker: BrokerSettings, refuse: Any) -> None:
    if has_userinfo(broker.url):
        raise refuse("broker.url", f"no name and no password in {shown(broker.url)}: {_LOGIN.format('broker')}")
    if not _is_broker_url(broker.url):
        raise refuse(
            "broker.url",
            f"{shown(broker.url)!r}: write mqtt://HOST:PORT or mqtts://HOST:PORT, ws://HOST:PORT/PATH or wss:// alike",
        )
    if bool(broker.certificate) != bool(broker.key):
        raise refuse("broker", "certificate and key belong together: set both or none")
    if broker.key_passphrase_file and not broker.key:
        raise refuse("broker.key_passphrase_file", "it opens a key: set broker.key too")
    if broker.password_file and not broker.username:
        raise refuse("broker.password_file", "a password needs a username: set broker.username too")


def _check_repository(repository: RepositorySettings, refuse: Any) -> None:
    if has_userinfo(repository.url):
        raise refuse(
            "repository.url", f"no name and no password in {shown(repository.url)}: {_LOGIN.format('repository')}"
        )
    if repository.password_file and not repository.username:
        raise refuse("repository.password_file", "a password needs a username: set repository.username too")
    if ":" in (repository.username or ""):  # RFC 7617 2
        raise refuse("repository.username", "a username in HTTP has no colon")


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    """Every file and folder that the configuration names, by key."""
    named: dict[str, str | None] = {
        "store.path": config.store.path,
        "device.key": config.device.key,
        "broker.password_file": config.broker.password_file,
        "broker.ca": config.broker.ca,
        "broker.certificate": config.broker.certificate,
        "broker.key": config.broker.key,
        "broker.key_passphrase_file": config.broker.key_passphrase_file,
    }
    if config.repository is not None:
        named |= {
            "repository.root": config.repository.root,
            "repository.password_file": config.repository.password_file,
            "repository.ca": config.repository.ca,
        }
    for index, pipeline in enumerate(config.pipeline):
        named[f"pipeline[{index}].bundle"] = pipeline.bundle
        named[f"pipeline[{index}].accelerator"] = pipeline.accelerator.removeprefix("delegate:")
        if isinstance(pipeline.source, CommandSource):
            named[f"pipeline[{index}].source.command"] = pipeline.source.command[0]
    return ((where, path) for where, path in named.items() if path)


def _is_broker_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(_BROKER_URL.match(url) and parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        return False


def _text_of(value: str | int | float | bool) -> str:
    """An option as libraries take it: they know text only."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_pipelines(config: Config, refuse: Any) -> None:
    seen: set[str] = set()
    for index, pipeline in enumerate(config.pipeline):
        where = f"pipeline[{index}]"
        _check_running(pipeline, where, refuse)
        if not ID.match(pipeline.name) or pipeline.name in _NO_PIPELINE_NAME:
            raise refuse(
                f"{where}.name",
                f"{pipeline.name!r} is no pipeline name ({', '.join(sorted(_NO_PIPELINE_NAME))} are taken)",
            )
        if len(pipeline.name.encode()) > _MAX_NAME_BYTES:
            raise refuse(
                f"{where}.name",
                f"{pipeline.name!r} has {len(pipeline.name.encode())} bytes in UTF-8, a name has at most "
                f"{_MAX_NAME_BYTES}: it becomes that of a file",
            )
        if pipeline.name in seen:
            raise refuse(f"{where}.name", f"two pipelines are called {pipeline.name!r}")
        seen.add(pipeline.name)
        if (pipeline.model is None) == (pipeline.bundle is None):
            raise refuse(
                where, f"pipeline {pipeline.name!r} needs either model (from the repository) or bundle (a file)"
            )
        if pipeline.model is not None and config.repository is None:
            raise refuse(
                f"{where}.model",
                f"pipeline {pipeline.name!r} takes a model from the repository, and there is no [repository]",
            )
        try:
            VersionRange(pipeline.version)
        except DataError as error:
            raise refuse(f"{where}.version", str(error)) from None


def _check_running(pipeline: PipelineSettings, where: str, refuse: Any) -> None:
    """What the pipeline says of how it runs."""
    if not ACCELERATOR.match(pipeline.accelerator):
        raise refuse(
            f"{where}.accelerator",
            f"{pipeline.accelerator!r} is no accelerator: choose one of auto, cpu, gpu, npu, delegate:PATH",
        )
    if pipeline.options and pipeline.accelerator == terms.AUTO:
        raise refuse(
            f"{where}.options",
            "options belong to one accelerator: set accelerator to it (auto tries each with its own defaults)",
        )
    if pipeline.replicas > 1 and not isinstance(pipeline.source, MqttSource):
        raise refuse(
            f"{where}.replicas", "a local source lives in its worker: replicas are for pipelines with an mqtt source"
        )


def _explained(path: Path, text: str, message: str) -> str:
    """Turn msgspec's message (``... - at `$.broker.url` ``) into one with the line, the neighbours and a guess."""
    problem, _, where = message.partition(" - at `")
    where = where.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.search(r"unknown field `([^`]*)`", problem)
    if unknown is None:
        return _located(path, text, where, f"{_without_indexes(where)}: {problem}{_choices(where)}")
    key = unknown.group(1)
    keys = _keys_at(where, text)
    guess = difflib.get_close_matches(key, keys, n=1)
    section = f"[{_without_indexes(where)}]" if where else "the top level"
    hint = f"; did you mean {guess[0]!r}?" if guess else "."
    return _located(path, text, f"{where}.{key}", f"{section} has no key {key!r}{hint} Its keys: {', '.join(keys)}")


def _located(path: Path, text: str, where: str, why: str) -> str:
    number = line_of(text, where.strip("."))
    if number is None:
        return f"{path}: {_without_indexes(where)}: {why}"
    return f"{path}, line {number}: {why}\n    {number} | {_shown_line(text.splitlines()[number - 1].strip())}"


def _shown_line(line: str) -> str:
    """A line of the file, without a secret that somebody has written there."""
    return f"{line.partition('=')[0]}= {HIDDEN}" if _SECRET_KEY.match(line) else shown(line)


_INSIDE: dict[Any, Any] = {RepositorySettings | None: RepositorySettings, ShadowSettings | None: ShadowSettings}
"""The section in what may be missing."""


def _keys_at(where: str, text: str) -> list[str]:
    """The keys that the section at ``where`` may have."""
    kind: Any = Config
    value: Any = toml_table(text)
    for name, index in re.findall(r"([^.\[\]]+)(?:\[(\d+)\])?", where):
        kind = {field.name: field.type for field in msgspec.structs.fields(kind)}[name]
        value = value[name]
        if index:
            kind, value = PipelineSettings, value[int(index)]
        if kind == Source:
            kind = next(option for option in _SOURCES if option.__struct_config__.tag == value["type"])
        kind = _INSIDE.get(kind, kind)
    names = [field.name for field in msgspec.structs.fields(kind)]
    return sorted([*names, "type"] if kind in _SOURCES else names)


def _choices(where: str) -> str:
    if where.endswith("source.type"):
        return "; choose one of " + ", ".join(str(kind.__struct_config__.tag) for kind in _SOURCES)
    if where.endswith("source.command"):
        return (
            '; write the program and its arguments as a list: command = ["/usr/local/bin/read-sensor", "--every", "1"]'
        )
    if where.endswith("runtime"):
        return "; choose one of " + ", ".join(get_args(Library))
    if re.search(r"pipeline\[\d+\]\.(threads|deadline_s)$", where):
        return '; a number, or "auto"'
    return ""


def _without_indexes(where: str) -> str:
    return re.sub(r"\[\d+\]", "", where)
