"""``maas-agent status``: what the running agent says of itself over its control socket."""

from pathlib import Path
from typing import Any

from maas_agent.base.alarms import Alarm, alarms_of
from maas_agent.base.terminal import write_document, write_lines
from maas_agent.config import load_config
from maas_agent.hub.api import control_client
from maas_agent.trials import table

_WAIT_S = 5.0
_ODD = (AttributeError, KeyError, TypeError, ValueError, OverflowError)
"""What a document comes to that is not as an agent's."""


def show_status(config_path: Path, *, as_json: bool) -> int:
    """Print the status; returns 0 if every pipeline serves, the broker is connected and no alarm is an error, else 1.

    Raises `UnavailableError` if no agent runs with this configuration.
    """
    store = Path(load_config(config_path).store.path)
    status = control_client.ask(store, {"do": "status"}, _WAIT_S)
    try:
        lines, is_well = _readable(status), _is_well(status)
    except _ODD:
        raise control_client.no_agent(store) from None
    if as_json:
        write_document(status)
    else:
        write_lines(lines)
    return 0 if is_well else 1


def _is_well(status: dict[str, Any]) -> bool:
    is_alarmed = any(alarm.severity == "error" for alarm in _alarms(status))
    return bool(status["connected"] and not is_alarmed and all(p["serving"] for p in status["pipelines"]))


def _alarms(status: dict[str, Any]) -> list[Alarm]:
    """Its alarms, also of an agent that was started before it was upgraded, and says them in the former way."""
    if not isinstance(status["alarms"], list):
        raise TypeError("the alarms are no list")
    return alarms_of(status["alarms"], status.get("trouble"))


def _readable(status: dict[str, Any]) -> list[str]:
    connected = "connected to" if status["connected"] else "NOT connected to"
    outbox = status["outbox"]
    lines = [
        f"{status['device']}: {connected} {status['broker']}; "
        f"{outbox['results']} results waiting ({outbox['bytes']} bytes), {outbox['dropped']} dropped"
    ]
    heads = {"error": "ALARM", "warning": "WARNING"}
    # What does not serve is told with its pipeline.
    lines += [f"  {heads[alarm.severity]}: {alarm.text}" for alarm in _alarms(status) if alarm.code != "not_serving"]
    for pipeline in status["pipelines"]:
        update, counters = pipeline["update"], pipeline["counters"]
        on_probation = update["probation"] is not None
        slot = pipeline["candidate"] if on_probation else pipeline["active"]
        state = "serving" if pipeline["serving"] else f"NOT serving ({pipeline['trouble']})"
        version = f"{slot['version']} ({slot['digest'][:12]})" if slot else "no bundle"
        lines.append(f"  {pipeline['pipeline']}: {state}, {version}, {_setup(pipeline)}")
        errors = sum(counters["errors"].values())
        lines.append(f"    {counters['answered']} answered, {errors} errors, {counters['worker_restarts']} restarts")
        if pipeline.get("not_confined"):
            lines.append(f"    NOT confined: {pipeline['not_confined']}")
        if source := pipeline.get("source"):
            state = "FAILED" if source["state"] == "failed" else source["state"]
            lines.append(f"    source: {state}" + (f": {source['reason']}" if source["reason"] else ""))
        reason = f": {update['reason']}" if update["reason"] else ""
        lines.append(f"    update: {update['state']} {update['version'] or ''}{reason}")
        lines += [f"    {line}" for line in _takeover(update)]
        for rest in pipeline["quarantine"]:
            lines.append(f"    quarantine: {rest['accelerator']} until {rest['tried_again']}: {rest['reason']}")
        if pipeline["trials"]:
            chosen = (pipeline["accelerator"], pipeline["threads"], pipeline["options"])
            lines += [f"    {line}" for line in table.lines(pipeline["trials"], chosen)]
    return lines


def _takeover(update: dict[str, Any]) -> list[str]:
    """The figures of a shadow and of a probation."""
    lines = []
    if shadow := update["shadow"]:
        lines.append(
            f"shadow: {shadow['samples']} of {shadow['wanted']} inputs compared, {shadow['agreement']:.1%} agree, "
            f"{shadow['latency_ratio']:.2f} times the latency"
        )
    if probation := update["probation"]:
        lines.append(
            f"probation until {probation['until']}: {probation['answers']} answers, {probation['errors']} errors, "
            f"{probation['crashes']} crashes"
            + ("; it goes on until the source gives a sample" if probation.get("waits_for_samples") else "")
        )
    return lines


def _setup(pipeline: dict[str, Any]) -> str:
    if pipeline["accelerator"] is None:
        return "-"
    ready, wanted = pipeline["replicas"]["ready"], pipeline["replicas"]["wanted"]
    threads = f", {pipeline['threads']} threads" if pipeline["threads"] > 1 else ""
    return f"{pipeline['accelerator']}{threads}" + (f", {ready} of {wanted} replicas" if wanted > 1 else "")
