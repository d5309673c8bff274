"""``maas-agent check``: is everything there that this device needs? One line each, with what to type if not."""

import contextlib
import http.client
import importlib.metadata
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec

from maas_agent.config import Config, load_config
from maas_agent.errors import MaasError

_WAIT_S = 10.0
_LOW_DISK_BYTES = 64 << 20
_OLDEST_CLOCK = 1_767_225_600  # 2026-01-01: before this project existed, so no clock that is set says so


class Finding(msgspec.Struct, frozen=True):
    """The result of one check. ``mend`` is what to type or change if it failed."""

    name: str
    passed: bool
    found: str
    mend: str | None = None


def check(config_path: Path, *, as_json: bool) -> int:
    """Print all findings; returns 0 if all passed, else 69. Raises `ConfigError` if the configuration is not valid."""
    config = load_config(config_path)
    findings = [Finding("configuration", True, f"{config_path}: {len(config.pipeline)} pipelines"), *_findings(config)]
    if as_json:
        print(json.dumps([msgspec.to_builtins(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.passed else 'FAIL'} {finding.name}: {finding.found}")
            if not finding.passed and finding.mend:
                print(f"       -> {finding.mend}")
    return 0 if all(finding.passed for finding in findings) else 69


def _findings(config: Config) -> Iterator[Finding]:
    yield _store(config)
    yield _clock()
    yield _runtime()
    yield _broker(config)
    if config.repository is not None:
        yield _root(config.repository.root)
        yield _repository(config.repository.url)
    for pipeline in config.pipeline:
        if pipeline.bundle is not None:
            yield _bundle(pipeline.name, Path(pipeline.bundle))


def _store(config: Config) -> Finding:
    path = Path(config.store.path)
    mend = f"sudo install -d -o maas-agent -g maas-agent {path}   (or set store.path)"
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        return Finding("store", False, f"{path} cannot be written by this user", mend)
    free = shutil.disk_usage(existing).free
    return Finding(
        "store", free > _LOW_DISK_BYTES, f"{path}, {free >> 20} MiB free", "free some space: bundles are staged there"
    )


def _clock() -> Finding:
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    return Finding("clock", now > _OLDEST_CLOCK, shown, "timedatectl set-ntp true   (signatures expire by date)")


def _runtime() -> Finding:
    # Looked up, not imported: what a defective native library does belongs into a worker.
    for distribution in ("ai-edge-litert", "tflite-runtime"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return Finding("runtime", True, f"{distribution} {importlib.metadata.version(distribution)}, cpu")
    return Finding("runtime", False, "no interpreter is installed", "pip install ai-edge-litert")


def _broker(config: Config) -> Finding:
    from maas_agent.hub.probe import probe_broker

    url = config.broker.url
    mend = f"is the broker running, and [broker] right? Try: mosquitto_sub -L {url}/'$SYS/broker/version' -C 1"
    try:
        return Finding("broker", True, f"{url}, MQTT {probe_broker(config, _WAIT_S)}")
    except MaasError as error:
        return Finding("broker", False, f"{url}: {error}", mend)


def _root(path: str) -> Finding:
    return _readable(
        "repository root", Path(path), "copy metadata/root.json of the repository there; it is what this device trusts"
    )


def _bundle(pipeline: str, path: Path) -> Finding:
    return _readable(f"bundle of {pipeline}", path, "set pipeline.bundle to an existing .maas file")


def _readable(name: str, path: Path, mend: str) -> Finding:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return Finding(name, False, f"{path}: {error.strerror}", mend)
    return Finding(name, True, str(path))


def _repository(url: str) -> Finding:
    address = url.rstrip("/") + "/metadata/timestamp.json"
    mend = f"is the server running, and [repository] url right? Try: curl -fsS {address}"
    try:
        with urllib.request.urlopen(address, timeout=_WAIT_S) as response:  # noqa: S310 - the user's own URL
            response.read(1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Finding("repository", False, f"{address}: {reason}", mend)
    return Finding("repository", True, url)
