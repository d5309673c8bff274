"""Who may publish, with whose keys, and what a device makes of it: seen through a device's own TUF client."""

import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, TargetFile

from maas_agent.bundle.delivery import decode_delivery
from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import DataError, MaasError, NoInputError, UsageError
from maas_agent.host.files import write_durably
from maas_agent.update.protocol import RepositoryAccess
from maas_agent.update.repository.client import Repository
from maas_converter.cli import main
from maas_converter.publishing import folder as folder_module
from maas_converter.publishing import release as release_module
from maas_converter.publishing import storage
from maas_converter.publishing.keys import passphrase
from maas_converter.publishing.keys.encryption import ROUNDS
from maas_converter.publishing.keys.key_files import create_keys, sign_manifest
from maas_converter.publishing.keys.key_ring import KeyRing
from maas_converter.publishing.pending import discard
from maas_converter.publishing.reading import load
from maas_converter.publishing.release import complete, release
from maas_converter.publishing.repository import init_repository, publish, refresh_repository, revoke
from maas_converter.publishing.state import TOP
from maas_converter.publishing.trust import delegate, rotate, undelegate
from maas_converter.publishing.verify import verify
from tests.bundles import make_bundle
from tests.converter.publisher import ONLINE, bundle, offered, some

# ------------------------------------------------------------- keys at rest


def test_keys_are_encrypted_and_open_with_the_passphrase_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word, keys, repository = tmp_path / "word", tmp_path / "keys", tmp_path / "repository"
    word.write_text("correct horse\nnot this line\n")
    monkeypatch.delenv(passphrase.VARIABLE, raising=False)
    assert main.run(["keys", "create", str(keys), "--passphrase-file", str(word)]) == 0
    assert all(b"ENCRYPTED PRIVATE KEY" in path.read_bytes() for path in keys.glob("*.pem"))
    init_repository(repository, keys)
    passphrase.use(None)
    with pytest.raises(UsageError, match="no terminal to ask at: give --passphrase-file FILE"):
        publish(bundle(tmp_path), repository, keys)
    word.write_text("another\n")
    monkeypatch.setenv(passphrase.VARIABLE, str(word))
    with pytest.raises(DataError, match="does not open: the passphrase is another one"):
        publish(bundle(tmp_path), repository, keys)
    word.write_text("correct horse")
    publish(bundle(tmp_path), repository, keys)
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}


def test_nobody_makes_unencrypted_keys_by_accident(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["keys", "create", str(tmp_path / "keys")]) == 64
    assert "keys are kept encrypted, and there is no terminal to ask at" in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()
    (tmp_path / "empty").write_text("\n")
    assert main.run(["keys", "create", str(tmp_path / "keys"), "--passphrase-file", str(tmp_path / "empty")]) == 64
    assert main.run(["keys", "create", str(tmp_path / "keys"), "--no-passphrase"]) == 0


def test_a_passphrase_is_only_asked_for_when_its_key_signs(tmp_path: Path, keys: Path, repository: Path) -> None:
    offline = tmp_path / "offline"
    create_keys(offline, b"secret", ("root", "targets"))
    passphrase.use(None)
    asked: list[str] = []

    def ask(what: str) -> bytes:
        asked.append(what)
        return b"secret"

    rotate(repository, "targets", KeyRing(keys, ask), KeyRing(offline))
    assert [Path(path).name for path in asked] == ["targets.pem"]


def at_a_terminal(command: list[str], answers: dict[str, list[str]]) -> tuple[int, str]:
    """Run the converter at a terminal of its own, with somebody who types when asked; exit status and screen.

    ``answers`` has for the end of each prompt what is typed, in turn: one more prompt than that would wait for ever,
    and is a failure.
    """
    child, terminal = pty.fork()
    if child == 0:
        os.environ.pop(passphrase.VARIABLE, None)
        os.execv(sys.executable, [sys.executable, "-m", "maas_converter", *command])
    screen, seen = b"", 0
    try:
        while True:
            assert select.select([terminal], [], [], 60)[0], f"the converter waits: {screen[-200:]!r}"
            screen += os.read(terminal, 4096)
            for prompt, left in answers.items():
                if left and screen[seen:].endswith(prompt.encode()):
                    seen = len(screen)
                    os.write(terminal, left.pop(0).encode() + b"\n")
    except OSError:  # the terminal's other end is closed
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode()
    finally:
        os.close(terminal)


def test_a_passphrase_is_typed_twice_when_keys_are_made_and_once_for_all_of_them_later(tmp_path: Path) -> None:
    keys, repository = tmp_path / "keys", tmp_path / "repository"
    word = "correct horse"
    made, screen = at_a_terminal(
        ["keys", "create", str(keys)], {"passphrase for the new keys: ": [word], "again: ": [word]}
    )
    assert made == 0 and word not in screen
    assert at_a_terminal(["repo", "init", str(repository), "--keys", str(keys)], {".pem: ": [word]})[0] == 0
    path = str(bundle(tmp_path))
    publishing = ["publish", path, "--repo", str(repository), "--keys", str(keys)]
    assert at_a_terminal(publishing, {".pem: ": [word]})[0] == 0
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}
    status, screen = at_a_terminal([*publishing, "--channel", "beta"], {".pem: ": ["wrong"]})
    assert status == 65 and "the passphrase is another one" in screen
    status, screen = at_a_terminal(
        ["keys", "create", str(tmp_path / "more")], {"passphrase for the new keys: ": [word], "again: ": ["other"]}
    )
    assert status == 64 and not (tmp_path / "more").exists()


def test_an_encrypted_key_is_a_standard_file_that_costs_a_guesser_time(tmp_path: Path) -> None:
    """OpenSSL opens it, and says by how many rounds it is kept."""
    create_keys(tmp_path / "keys", b"correct horse", ("root",))
    path = str(tmp_path / "keys" / "root.pem")
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    opened = subprocess.run(
        ["openssl", "pkey", "-in", path, "-passin", "pass:correct horse", "-text", "-noout"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "ED25519 Private-Key" in opened.stdout
    dump = subprocess.run(["openssl", "asn1parse", "-in", path], capture_output=True, text=True, check=True).stdout
    assert ":PBKDF2" in dump and f":{ROUNDS:06X}" in dump


# ------------------------------------------------------------- several people


@pytest.fixture
def people(tmp_path: Path) -> tuple[Path, Path]:
    """Alice has every key, Bob another one of targets and of root."""
    alice, bob = tmp_path / "alice", tmp_path / "bob"
    create_keys(alice)
    create_keys(bob, roles=("root", "targets"), name="bob")
    for path in bob.glob("*.pub"):
        shutil.copy(path, alice)
    return alice, bob


def test_what_takes_two_signatures_is_seen_when_both_have_signed(tmp_path: Path, people: tuple[Path, Path]) -> None:
    alice, bob = people
    repository = tmp_path / "repository"
    waits = init_repository(repository, alice, {"targets": 2}).waits
    assert [(lack.role, lack.has, lack.takes) for lack in waits] == [("targets", 1, 2)]
    with pytest.raises(NoInputError, match="is no repository"):
        load(repository)
    assert complete(repository, KeyRing([bob, some(alice, tmp_path / "online", *ONLINE)])).waits == ()
    published = publish(bundle(tmp_path), repository, alice)
    assert [lack.role for lack in published.waits] == ["targets"]
    assert offered(repository, tmp_path / "device") == set()
    with pytest.raises(UsageError, match=r"'publish digits 1\.0\.0' waits for signatures"):
        publish(bundle(tmp_path, "1.1.0"), repository, alice)
    with pytest.raises(NoInputError, match="no key here adds a signature"):
        complete(repository, KeyRing(alice))
    refresh_repository(repository, tmp_path / "online")  # cron goes on meanwhile
    assert complete(repository, KeyRing([bob, tmp_path / "online"])).waits == ()
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}
    assert verify(repository).problems == ()


def test_who_signs_is_asked_first_and_a_script_says_yes(
    tmp_path: Path, people: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    alice, bob = people
    repository, both = tmp_path / "repository", [alice, bob]
    init_repository(repository, both, {"targets": 2, "root": 2})
    publish(bundle(tmp_path), repository, alice)
    waits = {path.name: path.read_bytes() for path in (repository / "pending").iterdir()}
    sign = ["repo", "sign", str(repository), "--keys", str(bob), "--keys", str(alice)]
    assert main.run(sign) == 64
    assert "nothing was signed: there is no terminal to ask at" in capsys.readouterr().err
    status, screen = at_a_terminal(sign, {"[y/N] ": ["no"]})
    assert status == 64 and "holds digits 1.0.0" in screen and "nothing was signed" in screen
    assert {path.name: path.read_bytes() for path in (repository / "pending").iterdir()} == waits
    status, screen = at_a_terminal(sign, {"[y/N] ": ["y"]})
    assert status == 0 and screen.index("holds digits 1.0.0") < screen.index("sign this?")
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}
    publish(bundle(tmp_path, "1.1.0"), repository, alice)
    assert main.run([*sign, "--yes"]) == 0


def test_what_was_shown_is_what_is_signed(tmp_path: Path, people: tuple[Path, Path]) -> None:
    """Whoever may write to the folder puts another change there while a person reads the first."""
    alice, bob = people
    repository, both = tmp_path / "repository", [alice, bob]
    init_repository(repository, both, {"targets": 2, "root": 2})
    publish(bundle(tmp_path), repository, alice)
    pending = repository / "pending" / "targets.json"

    def swap(shown: list[str]) -> None:
        assert any("holds digits 1.0.0" in each for each in shown)
        pending.write_bytes(pending.read_bytes().replace(b"digits", b"other"))

    complete(repository, KeyRing(both), swap)
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}


def test_who_signs_sees_what_it_is(
    tmp_path: Path, people: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Read from what is to be signed, whatever it is called."""
    alice, bob = people
    repository, both = tmp_path / "repository", [alice, bob]
    init_repository(repository, both, {"targets": 2, "root": 2})

    def seen(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert main.run(["repo", "sign", str(repository), *arguments, "--yes", "--json"]) == 0
        return list(json.loads(capsys.readouterr().out)["changes"])

    digest = publish(bundle(tmp_path), repository, alice).digest[:12]
    change = repository / "pending" / "change.json"
    change.write_text(change.read_text().replace("publish digits 1.0.0", "repo refresh"))
    expected = [
        f"targets: holds digits 1.0.0 ({digest}…)",
        "targets: stable of digits leads to 1.0.0, before to nothing",
    ]
    assert seen() == expected
    assert offered(repository, tmp_path / "device") == set()
    assert seen("--keys", str(bob), "--keys", str(alice)) == expected
    publish(bundle(tmp_path, "1.1.0"), repository, both)
    revoke("digits", "1.1.0", repository, alice, "bad")
    assert seen("--keys", str(bob), "--keys", str(alice)) == [
        "targets: no longer holds digits 1.1.0",
        "targets: stable of digits leads to 1.0.0, before to 1.1.0",
        "targets: revokes digits 1.1.0: bad",
    ]
    create_keys(tmp_path / "team", roles=("team", "timestamp"))
    key = KeyRing(tmp_path / "team").public("team")[0].keyid[:12]
    delegate(repository, "team", ["cats"], KeyRing([alice, tmp_path / "team"]))
    assert seen("--keys", str(bob), "--keys", str(alice)) == [f"targets: delegates cats to team, signed by {key}…"]
    undelegate(repository, "team", KeyRing(alice))
    assert seen("--keys", str(bob), "--keys", str(alice)) == ["targets: delegates nothing to team any more"]
    key = KeyRing(tmp_path / "team").public("timestamp")[0].keyid[:12]
    rotate(repository, "timestamp", KeyRing(alice), KeyRing(tmp_path / "team"))
    assert seen() == [f"root: timestamp is signed by {key}…"]


def test_a_change_that_nobody_wants_is_dropped(tmp_path: Path, people: tuple[Path, Path]) -> None:
    alice, bob = people
    repository = tmp_path / "repository"
    init_repository(repository, [alice, bob], {"targets": 2})
    publish(bundle(tmp_path), repository, alice)
    assert discard(repository) and not discard(repository)
    with pytest.raises(UsageError, match="nothing waits for signatures"):
        complete(repository, KeyRing(bob))
    assert publish(bundle(tmp_path, "1.1.0"), repository, [alice, bob]).waits == ()
    assert offered(repository, tmp_path / "device") == {"digits 1.1.0"}


def test_more_signatures_than_there_are_keys_cannot_be_asked_for(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(UsageError, match="--threshold targets=2: there are 1 keys of targets"):
        init_repository(tmp_path / "repository", keys, {"targets": 2})
    with pytest.raises(UsageError, match="--threshold team: the roles are root, targets"):
        init_repository(tmp_path / "repository", keys, {"team": 1})


# ------------------------------------------------------------- delegated roles


def test_a_team_publishes_its_models_with_its_own_key_and_no_others(
    tmp_path: Path, keys: Path, repository: Path
) -> None:
    publish(bundle(tmp_path), repository, keys, "beta")
    team = tmp_path / "team"
    create_keys(team, roles=("team-a",))
    delegate(repository, "team-a", ["digits"], KeyRing([keys, team]))
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}  # what there was moved along
    mine = [team, some(keys, tmp_path / "online", *ONLINE)]
    assert publish(bundle(tmp_path, "1.1.0"), repository, mine).role == "team-a"
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0", "digits 1.1.0"}
    assert load(repository).targets["team-a"].unrecognized_fields["channels"] == {
        "digits": {"beta": "1.0.0", "stable": "1.1.0"}
    }
    with pytest.raises(NoInputError, match="cannot read the targets key"):
        publish(bundle(tmp_path, name="cats"), repository, mine)
    with pytest.raises(DataError, match="digits is delegated to team-a already"):
        delegate(repository, "team-b", ["digits"], KeyRing([keys, team]))
    revoke("digits", "1.0.0", repository, mine)
    assert offered(repository, tmp_path / "device") == {"digits 1.1.0"}
    assert verify(repository).problems == ()
    undelegate(repository, "team-a", KeyRing(keys))
    assert offered(repository, tmp_path / "device") == {"digits 1.1.0"}
    assert load(repository).targets["targets"].unrecognized_fields["revoked"]["digits"].keys() == {"1.0.0"}
    with pytest.raises(NoInputError):
        publish(bundle(tmp_path, "1.2.0"), repository, mine)
    delegate(repository, "team-a", ["digits"], KeyRing([keys, team]))  # of a name that devices know
    assert offered(repository, tmp_path / "device") == {"digits 1.1.0"}


def test_who_delegates_needs_only_the_public_half_of_the_teams_key(
    tmp_path: Path, keys: Path, repository: Path
) -> None:
    """The team completes it, and the same when it gets new keys."""
    publish(bundle(tmp_path), repository, keys)
    online = some(keys, tmp_path / "online", *ONLINE)
    for name in ("team", "new-team"):
        team, public = tmp_path / name, tmp_path / f"{name}-public"
        create_keys(team, roles=("team-a",))
        public.mkdir()
        shutil.copy(team / "team-a.pub", public)
        trusted = (
            delegate(repository, "team-a", ["digits"], KeyRing([keys, public]))
            if name == "team"
            else rotate(repository, "team-a", KeyRing(keys), KeyRing(public))
        )
        assert [(lack.role, lack.has) for lack in trusted.waits] == [("team-a", 0)]
        assert complete(repository, KeyRing([team, online])).waits == ()
        assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}
        assert verify(repository).problems == ()
    assert publish(bundle(tmp_path, "1.1.0"), repository, [tmp_path / "new-team", online]).role == "team-a"


def test_a_refresh_signs_delegated_roles_too(
    tmp_path: Path, keys: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = tmp_path / "team"
    create_keys(team, roles=("team",))
    delegate(repository, "team", ["digits"], KeyRing([keys, team]))
    monkeypatch.setattr("maas_converter.publishing.repository.SOON", 2.0)
    assert refresh_repository(repository, keys).overdue == ("team",)
    assert "team" in refresh_repository(repository, [keys, team]).signed
    assert offered(repository, tmp_path / "device") == set()


@pytest.mark.parametrize("role", ["root", "targets", "Team", "../x", "a/b"])
def test_a_role_that_could_be_another_file_is_refused(keys: Path, repository: Path, role: str) -> None:
    with pytest.raises(UsageError, match="is no name for a role"):
        delegate(repository, role, ["digits"], KeyRing(keys))


# ------------------------------------------------------------- rotation


@pytest.mark.parametrize("role", [*TOP, "team"])
def test_devices_follow_a_rotation_also_those_that_were_away(
    tmp_path: Path, keys: Path, repository: Path, role: str
) -> None:
    team = tmp_path / "team"
    create_keys(team, roles=("team",))
    delegate(repository, "team", ["cats"], KeyRing([keys, team]))
    publish(bundle(tmp_path), repository, keys)
    assert offered(repository, tmp_path / "here") == {"digits 1.0.0"}
    held = [keys, team]
    for number in range(3):
        new = tmp_path / f"new-{number}"
        create_keys(new, roles=(role,))
        rotate(repository, role, KeyRing(held), KeyRing(new))
        held = [new, *held]
        assert offered(repository, tmp_path / "here") == {"digits 1.0.0"}
    publish(bundle(tmp_path, "1.1.0"), repository, held)
    publish(bundle(tmp_path, name="cats"), repository, held)
    everything = {"digits 1.0.0", "digits 1.1.0", "cats 1.0.0"}
    assert offered(repository, tmp_path / "here") == everything
    assert offered(repository, tmp_path / "away") == everything  # it was given the first root, and skips nothing
    assert verify(repository).problems == ()
    if role != "root":
        with pytest.raises((NoInputError, DataError)):
            publish(bundle(tmp_path, "1.2.0", "cats" if role == "team" else "digits"), repository, [keys, team])


def test_a_root_takes_the_old_keys_too(tmp_path: Path, keys: Path, repository: Path) -> None:
    new = tmp_path / "new"
    create_keys(new, roles=("root",))
    without = some(keys, tmp_path / "without", "targets", *ONLINE)
    waits = rotate(repository, "root", KeyRing(without), KeyRing(new)).waits
    assert [(lack.role, lack.has, lack.takes) for lack in waits] == [("root", 0, 1)]
    assert offered(repository, tmp_path / "device") == set()
    assert complete(repository, KeyRing([keys])).waits == ()
    assert load(repository).root.version == 2
    with pytest.raises(UsageError, match="these are the keys of root already"):
        rotate(repository, "root", KeyRing(keys), KeyRing(new))
    with pytest.raises(DataError, match="there is no role nobody"):
        rotate(repository, "nobody", KeyRing(keys), KeyRing(new))


class _Killed(BaseException):
    """Stands for kill -9: nothing handles it."""


@pytest.mark.parametrize("role", TOP)
def test_a_crash_at_any_write_of_a_rotation_leaves_a_repository_that_devices_take(
    tmp_path: Path, keys: Path, repository: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that was there before, and a new one; and the rotation can be done again."""
    publish(bundle(tmp_path), repository, keys)
    offered(repository, tmp_path / "store")
    new = tmp_path / "new"
    create_keys(new, roles=(role,))
    cuts = 0
    for survived in range(20):
        copy, store = tmp_path / f"copy-{survived}", tmp_path / f"store-{survived}"
        shutil.copytree(repository, copy)
        shutil.copytree(tmp_path / "store", store, symlinks=True)
        with monkeypatch.context() as patched:
            _kill_after(survived, patched)
            try:
                rotate(copy, role, KeyRing(keys), KeyRing(new))
            except _Killed:
                cuts += 1
        assert offered(copy, store) == offered(copy, tmp_path / f"new-{survived}") == {"digits 1.0.0"}
        if cuts == survived:
            break  # nothing was left to cut
        try:
            rotate(copy, role, KeyRing(keys), KeyRing(new))
        except UsageError as error:
            assert "these are the keys" in str(error)  # it was the last write that was cut
        assert offered(copy, store) == {"digits 1.0.0"}
    assert cuts >= 4


def _kill_after(survived: int, patched: pytest.MonkeyPatch) -> None:
    left = iter(range(survived))

    def write(path: Path, data: bytes) -> None:
        if next(left, None) is None:
            raise _Killed
        write_durably(path, data)

    for module in (folder_module, release_module):
        patched.setattr(module, "write_durably", write)


# ------------------------------------------------------------- revoking


def test_a_revoked_version_is_offered_no_more_and_its_channels_lead_on(
    tmp_path: Path, keys: Path, repository: Path
) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        publish(bundle(tmp_path, version), repository, keys)
    revoked = revoke("digits", "1.2.0", repository, keys, "it sees cats everywhere")
    assert revoked.channels == {"stable": "1.1.0"}
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0", "digits 1.1.0"}
    access = RepositoryAccess(url=f"file://{repository}", root=str(repository / "metadata" / "1.root.json"))
    assert Repository(access, tmp_path / "device").refresh().revoked == {"digits": {"1.2.0": "it sees cats everywhere"}}
    with pytest.raises(DataError, match=r"digits 1\.2\.0 was revoked \(it sees cats everywhere\)"):
        publish(bundle(tmp_path, "1.2.0"), repository, keys)
    with pytest.raises(DataError, match="is revoked already"):
        revoke("digits", "1.2.0", repository, keys)
    with pytest.raises(DataError, match=r"there is no digits 9\.0\.0 to revoke; there are 1\.0\.0, 1\.1\.0"):
        revoke("digits", "9.0.0", repository, keys)
    with pytest.raises(DataError, match=r"--channel-to 9\.0\.0: there is no such version"):
        revoke("digits", "1.1.0", repository, keys, channel_to="9.0.0")
    revoke("digits", "1.1.0", repository, keys)
    assert revoke("digits", "1.0.0", repository, keys).channels == {"stable": None}
    assert offered(repository, tmp_path / "device") == set()


# ------------------------------------------------------------- what is stored


def test_blobs_are_stored_compressed_where_that_pays_and_their_digests_say_so(
    tmp_path: Path, keys: Path, repository: Path
) -> None:
    path = make_bundle(tmp_path / "flat.maas", golden_samples=200)
    published = publish(path, repository, keys)
    state = load(repository)
    targets = state.targets["targets"].targets
    delivery_path = "digits/1.0.0/delivery.json"
    if delivery_path not in targets:
        pytest.fail("two hundred golden samples shrink by more than a tenth")
    digest = targets[delivery_path].hashes["sha256"]
    delivery = decode_delivery((repository / "targets" / "digits" / "1.0.0" / f"{digest}.delivery.json").read_bytes())
    (plain, stored), *_ = delivery.blobs.items()
    assert stored.form == "zlib" and plain != stored.stored
    assert stored.size <= storage.PAYS * path.stat().st_size
    assert sum(each.stat().st_size for each in (repository / "blobs").iterdir()) == published.new_bytes
    assert verify(repository).problems == ()
    assert storage.compressed(os.urandom(10_000)) is None


# ------------------------------------------------------------- whole or not


def test_what_is_wrong_with_a_repository_is_said(
    tmp_path: Path, keys: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(bundle(tmp_path), repository, keys)
    assert main.run(["repo", "verify", str(repository)]) == 0
    assert "1 bundles, 2 blobs, 0 problems" in capsys.readouterr().err
    blob = max((repository / "blobs").iterdir(), key=lambda path: path.stat().st_size)
    good = blob.read_bytes()
    blob.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert main.run(["repo", "verify", str(repository), "--json"]) == 65
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem.endswith("is damaged: its SHA-256 is not the one that was signed")
    blob.write_bytes(good[:-1])
    assert f"has {len(good) - 1} bytes, signed are {len(good)}" in verify(repository).problems[0]
    blob.unlink()
    assert "cannot be read" in verify(repository).problems[0]
    assert not verify(repository, clean=True).removed  # what is broken is not cleaned
    blob.write_bytes(good)
    manifest = next((repository / "targets").rglob("*.manifest.json"))
    manifest.write_bytes(b"{}")
    assert verify(repository).problems[0].startswith("digits/1.0.0/manifest.json: has 2 bytes")
    publish(bundle(tmp_path), repository, keys)  # the same bundle again mends it
    assert verify(repository).problems == ()
    timestamp = repository / "metadata" / "timestamp.json"
    document = json.loads(timestamp.read_bytes())
    document["signed"]["version"] += 1
    timestamp.write_text(json.dumps(document))
    assert "a device refuses the metadata" in verify(repository).problems[0]
    assert main.run(["repo", "verify", str(tmp_path)]) == 66


def test_what_was_signed_and_makes_no_sense_is_said(tmp_path: Path, keys: Path, repository: Path) -> None:
    """Every digest is right, and no device can use it."""
    publish(make_bundle(tmp_path / "flat.maas", golden_samples=200), repository, keys)
    state = load(repository)
    targets = state.targets["targets"]
    manifest, delivery = (targets.targets[f"digits/1.0.0/{name}.json"] for name in ("manifest", "delivery"))
    file = repository / "targets" / "digits" / "1.0.0" / f"{delivery.hashes['sha256']}.delivery.json"
    (plain, stored), *_ = decode_delivery(file.read_bytes()).blobs.items()
    other = zlib.compress(b"something else")
    digest = digest_of(other)
    (repository / "blobs" / digest).write_bytes(other)
    lie = file.read_bytes().replace(stored.stored.encode(), digest.encode())
    lie = lie.replace(f'"size": {stored.size}'.encode(), f'"size": {len(other)}'.encode())
    file.with_name(f"{digest_of(lie)}.delivery.json").write_bytes(lie)
    targets.targets[delivery.path] = TargetFile.from_data(delivery.path, lie, ["sha256"])
    moved = "digits/1.0.1/manifest.json"
    (repository / "targets" / "digits" / "1.0.1").mkdir()
    content = (file.parent / f"{manifest.hashes['sha256']}.manifest.json").read_bytes()
    (repository / "targets" / "digits" / "1.0.1" / f"{digest_of(content)}.manifest.json").write_bytes(content)
    targets.targets[moved] = TargetFile.from_data(moved, content, ["sha256"])
    targets.unrecognized_fields["channels"]["digits"]["beta"] = "9.0.0"
    release(repository, state, ("targets", *ONLINE), KeyRing(keys), "a lie")
    assert {
        "beta of digits leads to 9.0.0, which is not published",
        f"{moved}: the manifest there is that of digits 1.0.0",
        f"digits 1.0.0: blob {digest[:12]}… does not expand to {plain[:12]}…, which the manifest names",
    } <= set(verify(repository).problems)


def test_what_a_crash_left_is_garbage_and_can_be_removed(
    tmp_path: Path, keys: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bundle(tmp_path), repository, keys)
    with monkeypatch.context() as patched:
        _kill_after(2, patched)
        with pytest.raises(_Killed):
            publish(bundle(tmp_path, "1.1.0"), repository, keys)
    found = verify(repository)
    assert found.problems == () and len(found.garbage) == 2
    assert verify(repository, clean=True).removed
    assert verify(repository).garbage == ()
    assert offered(repository, tmp_path / "device") == {"digits 1.0.0"}


PUBLISH = """
import sys
from pathlib import Path
from maas_converter.publishing.repository import publish
publish(*map(Path, sys.argv[1:]))
"""


def test_two_people_who_publish_and_are_killed_leave_a_repository_that_devices_take(
    tmp_path: Path, keys: Path, repository: Path
) -> None:
    """Both at once, with SIGKILL at random moments; a device polls all the time."""
    chance = random.Random(5)
    bundles = {name: [bundle(tmp_path, f"1.{n}.0", name) for n in range(4)] for name in ("digits", "cats")}
    killed = 0
    for number in range(4):
        running = [
            subprocess.Popen([sys.executable, "-c", PUBLISH, str(paths[number]), str(repository), str(keys)])
            for paths in bundles.values()
        ]
        ends_at = time.monotonic() + chance.uniform(0.3, 0.9)
        while time.monotonic() < ends_at and any(each.poll() is None for each in running):
            offered(repository, tmp_path / "device")
        for each in running:
            if each.poll() is None:
                each.send_signal(signal.SIGKILL)
                killed += 1
            each.wait(30)
        offered(repository, tmp_path / "device")
        assert verify(repository).problems == ()
    for name, paths in bundles.items():
        for path in paths:
            publish(path, repository, keys)
        assert {f"{name} 1.{n}.0" for n in range(4)} <= offered(repository, tmp_path / "device")


def test_the_timestamp_says_when_it_was_signed(repository: Path) -> None:
    signed = Metadata.from_file(str(repository / "metadata" / "timestamp.json")).signed
    assert signed.unrecognized_fields["signed_at"].endswith("Z")


def test_a_bundle_may_be_signed_by_a_delegated_role(tmp_path: Path) -> None:
    create_keys(tmp_path / "team", roles=("team",))
    assert b"sig" in sign_manifest(tmp_path / "team", b"{}", "team")
    with pytest.raises(MaasError):
        sign_manifest(tmp_path / "team", b"{}")
