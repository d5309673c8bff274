"""``maas-agent check``: is everything there that this device needs? One line each, with what to type if not."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from maas_agent.base.terminal import write_document, write_lines
from maas_agent.bundle.archive import open_bundle
from maas_agent.checks import machine, services
from maas_agent.checks.clock import clock
from maas_agent.checks.finding import CheckResult
from maas_agent.checks.sources import sources
from maas_agent.checks.store import store
from maas_agent.config import Config, load_config, unprotected
from maas_agent.errors import MaasError
from maas_agent.hub.system.store_folder import left_open
from maas_agent.runtime.setup import Setup

_MARKS = {True: "ok  ", False: "FAIL", None: "--  "}


def check(config_path: Path, *, as_json: bool) -> int:
    """Print all findings; returns 0 if none failed, else 69. Raises `ConfigError` if the configuration is not valid."""
    config = load_config(config_path)
    count = len(config.pipeline)
    read = CheckResult("configuration", True, f"{config_path}: {count} pipeline{'' if count == 1 else 's'}")
    findings = [read, *_findings(config)]
    if as_json:
        write_document([msgspec.to_builtins(finding) for finding in findings])
    else:
        write_lines(line for finding in findings for line in _lines(finding))
    return 69 if any(finding.passed is False for finding in findings) else 0


def _lines(finding: CheckResult) -> Iterator[str]:
    yield f"{_MARKS[finding.passed]} {finding.name}: {finding.found}"
    if not finding.passed and finding.mend:
        yield f"       -> {finding.mend}"


def _findings(config: Config) -> Iterator[CheckResult]:
    repository = config.repository
    has_url = repository is not None and repository.url
    reached = services.reach(repository) if repository is not None and has_url else services.Reached()
    asked = _asked(config)
    yield store(Path(config.store.path))
    yield clock(reached.time)
    yield from machine.runtimes(asked)
    yield from machine.accelerators(asked)
    yield machine.confinement()
    yield services.broker(config)
    open_to_others = left_open(Path(config.store.path))
    for what, mend in (*unprotected(config), *([open_to_others] if open_to_others else [])):
        yield CheckResult("not protected", None, what, mend)
    if repository is not None:
        yield services.root(repository)
        if has_url:
            yield services.offers(repository, reached, Path(config.store.path))
    yield from sources(config)
    for pipeline in config.pipeline:
        if pipeline.bundle is not None:
            yield _bundle(pipeline.name, Path(pipeline.bundle))


def _asked(config: Config) -> list[machine.PipelineSetup]:
    terms = [(pipeline.name, pipeline.terms()) for pipeline in config.pipeline]
    return [
        machine.PipelineSetup(name, Setup(one.accelerator, options=one.options, library=one.library), one.limits)
        for name, one in terms
    ]


def _bundle(pipeline: str, path: Path) -> CheckResult:
    name = f"bundle of {pipeline}"
    try:
        with open_bundle(path) as bundle:
            manifest = bundle.manifest
    except MaasError as error:
        return CheckResult(name, False, str(error), "set pipeline.bundle to an existing .maas file")
    size = sum(manifest.blobs().values())
    return CheckResult(name, True, f"{path}: {manifest.name} {manifest.version}, {size:,} bytes")
