"""The publisher's keys: made once, never overwritten, told apart from what is none."""

import os
from pathlib import Path

import pytest

from maas_agent.bundle.signature import decode_envelope, signed_bytes
from maas_agent.errors import DataError, NoInputError
from maas_converter.publishing.keys.key_files import ROLES, create_keys, load_signer, sign_manifest


def test_every_role_gets_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    """0600 in a folder of 0700."""
    ids = create_keys(tmp_path / "keys")
    assert set(ids) == set(ROLES) and len(set(ids.values())) == 4
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {
        **{f"{role}.pem": 0o600 for role in ROLES},
        **{f"{role}.pub": 0o644 for role in ROLES},  # for those who are to trust it
    }
    assert all(load_signer(tmp_path / "keys", role).public_key.keyid == ids[role] for role in ROLES)


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """They may be the only ones that devices in the field trust."""
    create_keys(tmp_path)
    (tmp_path / "root.pem").unlink()
    before = (tmp_path / "targets.pem").read_bytes()
    with pytest.raises(DataError, match=r"already holds targets\.pem, snapshot\.pem, timestamp\.pem"):
        create_keys(tmp_path)
    assert (tmp_path / "targets.pem").read_bytes() == before
    assert not (tmp_path / "root.pem").exists()


def test_a_failure_leaves_no_half_set_of_keys(tmp_path: Path) -> None:
    """A file system that does not take the last name."""
    beside = tmp_path / f".timestamp.pem.{os.getpid()}.new"
    beside.mkdir()
    with pytest.raises(DataError, match="cannot write keys to"):
        create_keys(tmp_path)
    assert list(tmp_path.glob("*.pem")) == []


def test_other_peoples_folders_keep_their_permissions(tmp_path: Path) -> None:
    """Somebody names a folder that is used for other things too."""
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    create_keys(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_a_key_that_is_missing_or_none_is_a_sentence(tmp_path: Path) -> None:
    """The wrong folder, the wrong file."""
    with pytest.raises(NoInputError, match="cannot read the targets key"):
        load_signer(tmp_path, "targets")
    (tmp_path / "targets.pem").write_text("hello")
    with pytest.raises(DataError, match="is no key"):
        load_signer(tmp_path, "targets")


def test_a_manifests_signature_is_over_its_exact_bytes_and_a_context(tmp_path: Path) -> None:
    """So none made here can pass for one over TUF metadata."""
    create_keys(tmp_path)
    (made,) = decode_envelope(sign_manifest(tmp_path, b"manifest")).signatures
    signer = load_signer(tmp_path, "targets")
    assert (made.keyid, made.sig) == (signer.public_key.keyid, signer.sign(signed_bytes(b"manifest")).signature)
    assert made.sig != signer.sign(b"manifest").signature
