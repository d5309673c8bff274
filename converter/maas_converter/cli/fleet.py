"""``deploy`` and ``fleet`` on the command line: arguments in, what came of it out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maas_agent.base.terminal import cell
from maas_agent.errors import UsageError
from maas_converter.base.json_output import answer
from maas_converter.cli.options import Json

if TYPE_CHECKING:
    from maas_converter.fleet.broker import BrokerAccess

_LONGEST_LIST = 4000

STOPPED = 1
"""Exit status of a rollout that did not get through."""

Url = Annotated[str, typer.Option("--broker", metavar="URL", help="mqtt://HOST[:1883] or mqtts://HOST[:8883].")]
Root = Annotated[str, typer.Option("--topic-root", metavar="TOPIC", help="The devices' broker.topic_root.")]
Username = Annotated[str | None, typer.Option(metavar="NAME", help="Who you are to the broker.")]
PasswordFile = Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the password.")]
Ca = Annotated[Path | None, typer.Option(metavar="FILE", help="Whom to trust with mqtts://, if not the system's.")]
Certificate = Annotated[Path | None, typer.Option(metavar="FILE", help="Your own certificate.")]
Key = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")]
KeyPassphraseFile = Annotated[Path | None, typer.Option(metavar="FILE", help="A file with the key's passphrase.")]
Group = Annotated[str | None, typer.Option(metavar="GROUP", help="The devices of a group.")]


def deploy(
    target: Annotated[str, typer.Argument(metavar="NAME==VERSION", help="As in digits==1.2.0.")],
    broker: Url,
    group: Group = None,
    device: Annotated[str | None, typer.Option(metavar="ID", help="One device.")] = None,
    stages: Annotated[str, typer.Option(metavar="LIST", help="Percentages of the devices, one after the other.")] = (
        "100%"
    ),
    soak: Annotated[str, typer.Option(metavar="TIME", help="How long a stage is watched: 90s, 10m, 2h.")] = "10m",
    max_failures: Annotated[
        str, typer.Option(metavar="PERCENT", help="Of a stage's devices; where more fail it stops.")
    ] = "2%",
    patience: Annotated[
        str, typer.Option(metavar="TIME", help="A device that is online and takes longer has failed.")
    ] = "1h",
    on_failure: Annotated[str, typer.Option(metavar="WHAT", help="stop, or rollback: take it back from all.")] = "stop",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with one that was left or stopped.")] = False,
    abort: Annotated[bool, typer.Option("--abort", help="Leave it: no more devices get it.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Take it back from all devices.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Say where it stands.")] = False,
    topic_root: Root = "maas",
    username: Username = None,
    password_file: PasswordFile = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    key_passphrase_file: KeyPassphraseFile = None,
    json: Json = False,
) -> int:
    """Stage by stage; it stops by itself when too many devices fail."""
    from maas_converter.fleet import deploy as run
    from maas_converter.fleet.operator import Aim
    from maas_converter.fleet.rollout import Rollout

    if (group is None) == (device is None):
        raise UsageError("name either --group or --device")
    run.check_level(group or device or "", "--group" if device is None else "--device")
    _check_root(topic_root)
    if on_failure not in ("stop", "rollback"):
        raise UsageError(f"--on-failure {on_failure}: stop or rollback")
    actions = [name for name, asked in _actions(resume, abort, rollback, status) if asked]
    if len(actions) > 1:
        raise UsageError(f"--{' and --'.join(actions)}: one at a time")
    model, version = run.parse_target(target)
    rollout = Rollout(
        id="",
        version=version,
        stages=run.parse_stages(stages),
        soak_s=run.parse_duration(soak, "--soak"),
        patience_s=run.parse_duration(patience, "--patience"),
        max_failures=run.parse_percent(max_failures, "--max-failures"),
        on_failure="rollback" if on_failure == "rollback" else "stop",
    )
    access = _access(broker, username, password_file, ca, certificate, key, key_passphrase_file)
    action: Any = actions[0] if actions else "begin"
    deployed = run.deploy(access, Aim(topic_root, model, group, device), rollout, action)
    _show(deployed, json=json)
    if action in ("abort", "rollback", "status"):
        return 0
    return 0 if deployed.rollout.state == "done" else STOPPED


def fleet(
    broker: Url,
    group: Group = None,
    wait: Annotated[str, typer.Option(metavar="TIME", help="How long to listen for metrics, which have latencies.")] = (
        "0s"
    ),
    topic_root: Root = "maas",
    username: Username = None,
    password_file: PasswordFile = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    key_passphrase_file: KeyPassphraseFile = None,
    json: Json = False,
) -> None:
    """Devices, versions, states, accelerators, latencies, and when each was last heard of."""
    from maas_converter.base.console import say
    from maas_converter.fleet import table
    from maas_converter.fleet.deploy import parse_duration
    from maas_converter.fleet.view import MORE

    _check_root(topic_root)
    access = _access(broker, username, password_file, ca, certificate, key, key_passphrase_file)
    devices, are_all = table.devices_on(access, topic_root, group, parse_duration(wait, "--wait"))
    answer(json, devices)
    if not are_all:
        say(f"{MORE}: the others are not listed")
    if json:
        return
    if devices:
        for line in table.lines(devices):
            say(line)
    else:
        say(f"no device{f' of group {group}' if group else ''} is known to {broker}")


def _access(
    broker: str,
    username: str | None,
    password_file: Path | None,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    key_passphrase_file: Path | None,
) -> "BrokerAccess":
    from maas_converter.fleet.broker import BrokerAccess

    return BrokerAccess(
        url=broker,
        username=username,
        password_file=password_file,
        ca=ca,
        certificate=certificate,
        key=key,
        key_passphrase_file=key_passphrase_file,
    )


def _check_root(topic_root: str) -> None:
    from maas_converter.fleet.deploy import check_level

    for level in topic_root.split("/"):
        check_level(level, "--topic-root")


def _actions(resume: bool, abort: bool, rollback: bool, status: bool) -> list[tuple[str, bool]]:
    return [("resume", resume), ("abort", abort), ("rollback", rollback), ("status", status)]


def _show(deployed: Any, *, json: bool) -> None:
    from maas_converter.base.console import say
    from maas_converter.fleet.deploy import describe, failure

    answer(json, deployed)
    if json:
        return
    say(f"{deployed.model} {deployed.rollout.version}: {describe(deployed.rollout, deployed.progress)}")
    if deployed.rollout.state != "rolled_back":  # there every one of them was taken back
        for device, reason in deployed.progress.failed.items():
            say(f"  {failure(device, reason)}")
    if deployed.progress.offline:
        say(f"  offline, get it when they are back: {cell(', '.join(deployed.progress.offline), _LONGEST_LIST)}")
