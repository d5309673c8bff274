"""``maas-agent install`` and ``rollback``: what a person who is beside the device does with its bundles."""

from pathlib import Path
from typing import Any

from maas_agent.base.terminal import write_document, write_line
from maas_agent.bundle.archive import open_bundle
from maas_agent.config import Config, PipelineSettings, load_config
from maas_agent.errors import DataError, UsageError
from maas_agent.hub.api import control_client
from maas_agent.update.store import inbox

_RESULTS = {
    "tested": "passed its tests and takes over",
    "current": "is what runs already",
    "mended": "is what runs already: it was not whole on this device, and is again",
}
_TRY_S = 1800.0
"""An agent that is in the middle of a download on a slow line finishes that first."""
_BACK_S = 180.0


def install(config_path: Path, bundle: Path, pipeline: str | None, *, as_json: bool) -> int:
    """Let the pipelines that run the bundle's model test it, and serve it if it passes; returns 0.

    Without an agent it waits for the next start. Raises `NoInputError` or `BundleError` for what is no bundle,
    `UsageError` if no pipeline takes it, `DataError` if the agent refuses it, `UnavailableError` if it cannot be handed
    over.
    """
    config = load_config(config_path)
    store = Path(config.store.path)
    with open_bundle(bundle) as opened:
        name, version = opened.manifest.name, opened.manifest.version
        chosen = _takers(config, name, pipeline)
        for taker in chosen:
            inbox.put(store, taker, opened.file)
    if not control_client.runs(store):
        _tell({"waiting": chosen, "model": name, "version": version}, as_json=as_json)
        _say(f"{name} {version} waits for {', '.join(chosen)}: it is tested and served when the agent starts", as_json)
        return 0
    answer = control_client.ask(store, {"do": "install", "pipelines": chosen}, _TRY_S)
    _tell(answer, as_json=as_json)
    if "reason" in answer:
        raise DataError(f"{name} {version} is not installed: {answer['reason']}")
    try:
        results = {taker: str(outcome["result"]) for taker, outcome in answer["pipelines"].items()}
    except (AttributeError, KeyError, TypeError):
        raise control_client.no_agent(store) from None
    for taker, result in results.items():
        _say(f"{taker}: {name} {version} {_RESULTS.get(result, result)}", as_json)
    return 0


def roll_back(config_path: Path, pipeline: str, reason: str, *, as_json: bool) -> int:
    """Let ``pipeline`` go back to the bundle before the newest one; returns 0.

    Raises `UnavailableError` if no agent runs, `DataError` if there is no way back.
    """
    store = Path(load_config(config_path).store.path)
    answer = control_client.ask(store, {"do": "rollback", "pipeline": pipeline, "reason": reason}, _BACK_S)
    _tell(answer, as_json=as_json)
    if "reason" in answer:
        raise DataError(f"{pipeline} is not rolled back: {answer['reason']}")
    if "version" not in answer:
        raise control_client.no_agent(store)
    _say(f"{pipeline}: back to {answer['version']}; what ran is set aside until a newer version comes", as_json)
    return 0


def _takers(config: Config, model: str, pipeline: str | None) -> list[str]:
    known = {each.name: each for each in config.pipeline}
    if pipeline is not None and pipeline not in known:
        raise UsageError(f"there is no pipeline {pipeline!r}; the configuration has {', '.join(known) or 'none'}")
    chosen = [known[pipeline]] if pipeline is not None else list(config.pipeline)
    takers = [each.name for each in chosen if each.model == model]
    if not takers:
        raise UsageError(
            f"no pipeline takes {model}: {'; '.join(_why_not(each) for each in chosen) or 'there is none'}"
        )
    return takers


def _why_not(pipeline: PipelineSettings) -> str:
    if pipeline.bundle is not None:
        return f"{pipeline.name} runs the file {pipeline.bundle}: put the new one there"
    return f"{pipeline.name} runs {pipeline.model}"


def _tell(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        write_document(document)


def _say(text: str, as_json: bool) -> None:
    write_line(text, error=as_json)
