"""Rules about the values of a configuration that their types cannot say."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import msgspec

from maas_agent.bundle.version import VersionRange
from maas_agent.config.schema import (
    ACCELERATOR,
    ID,
    BrokerSettings,
    CommandSource,
    Config,
    MqttSource,
    PipelineSettings,
    RepositorySettings,
)
from maas_agent.errors import ConfigError, DataError
from maas_agent.network.addresses import has_userinfo, shown
from maas_agent.trials import terms

Refuse = Callable[[str, str], ConfigError]
"""Makes an error of the key it is about and the reason."""

_NO_DEVICE_ID = {"groups"}
_NO_PIPELINE_NAME = {"status", "metrics", "desired", "cmd"}
_MAX_NAME_BYTES = 200
"""Of a pipeline's name: it becomes that of a file, and Linux takes 255 with what is added to it."""
_BROKER_URL = re.compile(r"^(mqtts?://[^/?#@\s]+/?|wss?://[^/?#@\s]+(/[!-\"$-~]*)?)\Z")
"""A WebSocket has a path, in printable ASCII (RFC 3986); queries are part of it, fragments are not sent."""
_LOGIN = "write {0}.username, and into a file that {0}.password_file names the password"


def checked(config: Config, refuse: Refuse) -> Config:
    """Check what a type cannot say, and fill in the device id. Raises what ``refuse`` makes of a key and a reason."""
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
        if not pipeline.limits.confine:
            yield (
                f"a model of {pipeline.name} that takes its worker over reaches all that the agent's user does",
                "remove limits.confine, and name what it needs in limits.allow_paths",
            )
    if config.repository is not None and not config.repository.confine:
        yield (
            "whatever takes over the process that fetches bundles reaches all that the agent's user does",
            "remove repository.confine",
        )


def _check_broker(broker: BrokerSettings, refuse: Refuse) -> None:
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


def _check_repository(repository: RepositorySettings, refuse: Refuse) -> None:
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
        for number, allowed in enumerate(pipeline.limits.allow_paths):
            named[f"pipeline[{index}].limits.allow_paths[{number}]"] = allowed
        if isinstance(pipeline.source, CommandSource):
            named[f"pipeline[{index}].source.command"] = pipeline.source.command[0]
    return ((where, path) for where, path in named.items() if path)


def _is_broker_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(_BROKER_URL.match(url) and parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        return False


def _check_pipelines(config: Config, refuse: Refuse) -> None:
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


def _check_running(pipeline: PipelineSettings, where: str, refuse: Refuse) -> None:
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
