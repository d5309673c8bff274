"""``keys``, ``repo``, ``publish`` and ``revoke`` on the command line: arguments in, what came of it out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maas_agent.errors import UsageError
from maas_converter.base.json_output import answer
from maas_converter.cli.options import Json, PassphraseFile
from maas_converter.publishing.keys import passphrase

_BAD_DATA = 65

RepositoryPath = Annotated[Path, typer.Argument(metavar="DIR", help="The repository's folder.")]
Repo = Annotated[Path, typer.Option("--repo", metavar="DIR", help="The repository's folder.")]
Keys = Annotated[
    list[Path], typer.Option("--keys", metavar="DIR", help="A folder that 'keys create' made; may be given again.")
]


def keys_create(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for them.")],
    role: Annotated[
        list[str] | None, typer.Option(metavar="ROLE", help="Only for this role; may be given again.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Whose keys: for roles with several.")] = None,
    passphrase_file: PassphraseFile = None,
    no_passphrase: Annotated[
        bool, typer.Option("--no-passphrase", help="Keep them unencrypted: for keys on a server, and for trying out.")
    ] = False,
    json: Json = False,
) -> None:
    """One key for each role."""
    from maas_converter.base.console import say
    from maas_converter.publishing.keys.key_files import ROLES, create_keys

    if no_passphrase and passphrase_file is not None:
        raise UsageError("--passphrase-file and --no-passphrase: one of the two")
    word = None if no_passphrase else passphrase.ask_new()
    keyids = create_keys(folder, word, role or ROLES, name)
    answer(json, {"folder": str(folder), "keys": keyids, "encrypted": word is not None})
    if not json:
        kind = "encrypted keys" if word is not None else "keys, not encrypted,"
        advice = "keep root off-line, and a copy of all of them" if "root" in keyids else "keep a copy"
        say(f"made {kind} for {', '.join(keyids)} in {folder}: {advice}")


def repo_init(
    folder: RepositoryPath,
    keys: Keys,
    threshold: Annotated[
        list[str] | None, typer.Option(metavar="ROLE=N", help="How many keys of a role have to sign (1).")
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Static files for any web server."""
    from maas_converter.base.console import say
    from maas_converter.publishing.repository import init_repository

    released = init_repository(folder, keys, dict(_role_and_number(each) for each in threshold or []))
    answer(json, {"repository": str(folder), "waits": released.waits})
    if not json and not _say_waits(folder, released.waits):
        say(f"made the repository {folder}: devices trust it by a copy of {folder / 'metadata' / 'root.json'}")


def repo_refresh(
    folder: RepositoryPath, keys: Keys, passphrase_file: PassphraseFile = None, json: Json = False
) -> None:
    """To be run regularly."""
    from maas_converter.base.console import say
    from maas_converter.publishing.repository import refresh_repository

    refreshed = refresh_repository(folder, keys)
    answer(json, refreshed)
    if not json:
        say(f"signed anew: {', '.join(refreshed.signed)}")
        for role in refreshed.overdue:
            where = ", ".join(str(each) for each in keys)
            say(f"{role} expires on {refreshed.expires[role]:%Y-%m-%d} and its key is not in {where}")


def repo_sign(
    folder: RepositoryPath,
    keys: Annotated[
        list[Path] | None, typer.Option("--keys", metavar="DIR", help="A folder of keys; may be given again.")
    ] = None,
    discard: Annotated[bool, typer.Option("--discard", help="Drop the change instead.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without being asked: for scripts.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Shows, asks, signs. Without --keys or --discard it only says what waits."""
    from maas_converter.publishing.folder import locked

    if discard and keys:
        raise UsageError("--keys signs, --discard drops: one of the two")
    with locked(folder):
        if discard:
            _discard(folder, json=json)
        elif keys:
            _sign(folder, keys, yes=yes, json=json)
        else:
            _say_changes(folder, json=json)


def repo_delegate(
    folder: RepositoryPath,
    role: Annotated[str, typer.Argument(metavar="ROLE", help="A name for the role, as in team-vision.")],
    keys: Keys,
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL", help="The models it may publish.")] = None,
    threshold: Annotated[int | None, typer.Option(metavar="N", help="How many of its keys have to sign (1).")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the delegation back.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """A team's models, signed by the team's key."""
    from maas_converter.base.console import say
    from maas_converter.publishing.keys.key_ring import KeyRing
    from maas_converter.publishing.trust import delegate, undelegate

    if remove == bool(models):
        raise UsageError("name the models, or --remove")
    ring = KeyRing(keys)
    trusted = undelegate(folder, role, ring) if remove else delegate(folder, role, models or [], ring, threshold)
    answer(json, trusted)
    if not json and not _say_waits(folder, trusted.waits):
        what = "is no role any more" if remove else f"may publish {', '.join(models or [])}"
        say(f"{role} {what}")


def repo_rotate(
    folder: RepositoryPath,
    role: Annotated[
        str, typer.Argument(metavar="ROLE", help="root, targets, snapshot, timestamp, or a delegated role.")
    ],
    keys: Keys,
    new_keys: Annotated[list[Path], typer.Option("--new-keys", metavar="DIR", help="A folder with its new keys.")],
    threshold: Annotated[int | None, typer.Option(metavar="N", help="How many of them have to sign.")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Devices follow by themselves, however long they were away."""
    from maas_converter.base.console import say
    from maas_converter.publishing.keys.key_ring import KeyRing
    from maas_converter.publishing.trust import rotate

    trusted = rotate(folder, role, KeyRing(keys), KeyRing(new_keys), threshold)
    answer(json, trusted)
    if not json and not _say_waits(folder, trusted.waits):
        say(f"{role} is signed by {', '.join(f'{keyid[:12]}…' for keyid in trusted.keyids)} from now on")


def repo_verify(
    folder: RepositoryPath,
    clean: Annotated[bool, typer.Option("--clean", help="Remove files that nothing leads to.")] = False,
    json: Json = False,
) -> int:
    """Judged as a device judges it, and every file read."""
    from maas_converter.base.console import say
    from maas_converter.publishing.verify import verify

    found = verify(folder, clean=clean)
    answer(json, found)
    if not json:
        for problem in found.problems:
            say(problem)
        say(f"{found.bundles} bundles, {found.blobs} blobs, {len(found.problems)} problems")
        if found.garbage:
            done = "removed" if found.removed else "--clean removes them"
            say(f"{len(found.garbage)} files that nothing leads to ({done})")
        if found.pending:
            say(f"'{found.pending}' waits for signatures")
    return _BAD_DATA if found.problems else 0


def repo_recipients(
    folder: RepositoryPath,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version that is sealed.")],
    keys: Keys,
    add: Annotated[list[Path] | None, typer.Option(metavar="FILE", help="Let these devices open it too.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="ID", help="No more copies for this recipient.")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """The blobs stay as they are."""
    from maas_converter.base.console import say
    from maas_converter.publishing.keys.key_ring import KeyRing
    from maas_converter.publishing.sealing import read_recipients, recipients_of

    added = read_recipients(add) if add else []
    found = recipients_of(folder, name, version, KeyRing(keys), added, remove or [])
    answer(json, found)
    if not json and not _say_waits(folder, found.waits):
        for each in found.recipients:
            say(each)


def publish(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .maas file.")],
    repo: Repo,
    keys: Keys,
    channel: Annotated[str, typer.Option(help="The channel that points at this version from now on.")] = "stable",
    encrypt_to: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Seal it for these devices: lines of 'maas-agent enroll'; may be given again."
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Devices on the channel get it at their next poll."""
    from maas_converter.base.console import say
    from maas_converter.publishing.keys.key_ring import KeyRing
    from maas_converter.publishing.repository import publish as run
    from maas_converter.publishing.sealing import Sealing, read_recipients
    from maas_converter.publishing.storage import PlainStorage

    ring = KeyRing(keys)
    storing = Sealing(read_recipients(encrypt_to), ring) if encrypt_to else PlainStorage()
    published = run(bundle, repo, ring, channel, storing)
    answer(json, published)
    if not json and not _say_waits(repo, published.waits):
        new = f"{published.new_blobs} new blobs, {published.new_bytes} bytes"
        say(f"published {published.name} {published.version} ({published.digest[:12]}…) on {channel}: {new}")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The model.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The version to take back.")],
    repo: Repo,
    keys: Keys,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Told by the devices.")] = "",
    channel_to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Where its channels lead then (the newest below it).")
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """No device installs it any more, and none goes back to it."""
    from maas_converter.base.console import say
    from maas_converter.publishing.repository import revoke as run

    revoked = run(name, version, repo, keys, reason, channel_to)
    answer(json, revoked)
    if not json and not _say_waits(repo, revoked.waits):
        moved = [f"{channel} leads to {goal or 'nothing'} now" for channel, goal in revoked.channels.items()]
        say(f"revoked {name} {version}" + (f": {', '.join(moved)}" if moved else ""))


def _discard(folder: Path, *, json: bool) -> None:
    from maas_converter.base.console import say
    from maas_converter.publishing.pending import discard

    dropped = discard(folder)
    answer(json, {"discarded": dropped})
    say("dropped the change that waited" if dropped else "nothing waited for signatures")


def _say_changes(folder: Path, *, json: bool) -> None:
    from maas_converter.base.console import say
    from maas_converter.publishing.release import waiting_changes

    changes = waiting_changes(folder)
    answer(json, {"changes": changes})
    for each in () if json else changes:
        say(each)


def _sign(folder: Path, keys: list[Path], *, yes: bool, json: bool) -> None:
    """Show what a change does, ask unless ``yes``, and sign what was shown."""
    from maas_converter.base.console import confirm, say
    from maas_converter.publishing.keys.key_ring import KeyRing
    from maas_converter.publishing.release import complete

    changes = list[str]()

    def approve(found: list[str]) -> None:
        changes.extend(found)
        for each in () if json and yes else found:
            say(each)
        if not yes:
            confirm("sign this?", "nothing was signed")

    released = complete(folder, KeyRing(keys), approve)
    answer(json, {"changes": changes, "signed": released.signed, "waits": released.waits})
    if not json and not _say_waits(folder, released.waits):
        say(f"signed and released: {', '.join(released.signed)}")


def _say_waits(folder: Path, waits: Sequence[Any]) -> bool:
    """Say which signatures are missing; whether there are any."""
    from maas_converter.base.console import say

    if waits:
        lacks = ", ".join(f"{lack.role} has {lack.has} of {lack.takes}" for lack in waits)
        say(f"waits for signatures ({lacks}): no device sees it until 'maas-converter repo sign {folder}' has them")
    return bool(waits)


def _role_and_number(text: str) -> tuple[str, int]:
    role, equals, number = text.partition("=")
    if not equals or not number.isdecimal():
        raise UsageError(f"--threshold {text}: write ROLE=N, as in root=2")
    return role, int(number)
