"""Checks that the programs of local sources can be started, by looking: a sensor may be in use now."""

import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from maas_agent.checks.finding import CheckResult
from maas_agent.config import CommandSource, Config
from maas_agent.host.programs import Obstacle, obstacle

SERVICE_USER = "maas-agent"
_SERVICE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What systemd sets."""
_HIDDEN = ("/home", "/root", "/run/user")
_NOT_EXECUTED = ("/var/lib/maas-agent", "/run/maas-agent", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - of the unit
"""``ProtectHome=`` and ``NoExecPaths=`` of the unit, which are not seen from outside the service."""


def sources(config: Config) -> Iterator[CheckResult]:
    """One row for each pipeline whose samples come from a program."""
    user = service_user(Path(config.store.path))
    for pipeline in config.pipeline:
        if isinstance(pipeline.source, CommandSource):
            yield _program(f"source of {pipeline.name}", pipeline.source.command, user)


def service_user(store: Path) -> pwd.struct_passwd | None:
    """Whom to look as: asked by root, the owner of the store, or the service's own user. ``None``: whoever asks."""
    if os.geteuid() != 0:
        return None
    try:
        owner = pwd.getpwuid(store.stat().st_uid) if store.exists() else pwd.getpwnam(SERVICE_USER)
    except (KeyError, OSError):
        return None
    return owner if owner.pw_uid else None


def _program(name: str, command: tuple[str, ...], user: pwd.struct_passwd | None) -> CheckResult:
    found = obstacle(command) if user is None else _as_user(user, lambda: _seen_by_the_service(command, user))
    if found is not None:
        return CheckResult(name, False, found.found, found.mend)
    return CheckResult(name, True, command[0] + (f", for {user.pw_name}" if user else ""))


def _seen_by_the_service(command: tuple[str, ...], user: pwd.struct_passwd) -> Obstacle | None:
    os.environ["PATH"] = _SERVICE_PATH
    if user.pw_name == SERVICE_USER:
        os.chdir("/")  # as systemd does
    if user.pw_name == SERVICE_USER and Path(command[0]).is_absolute():
        for folders, why in ((_HIDDEN, "does not see"), (_NOT_EXECUTED, "runs nothing in")):
            for folder in folders:
                if Path(command[0]).is_relative_to(folder):
                    return Obstacle(f"{command[0]}: the service {why} {folder}", "move it to /usr/local/bin")
    return obstacle(command)


def _as_user(user: pwd.struct_passwd, look: Callable[[], Obstacle | None]) -> Obstacle | None:
    """What ``look`` comes to for another user: in a child, because there is no way back from that."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.initgroups(user.pw_name, user.pw_gid)
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            os.write(writer, msgspec.json.encode(look()))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        found = said.read()
    os.waitpid(child, 0)
    if not found:
        return Obstacle(
            f"it cannot be looked at as {user.pw_name} from here", f"sudo -u {user.pw_name} maas-agent check"
        )
    return msgspec.json.decode(found, type=Obstacle | None)
