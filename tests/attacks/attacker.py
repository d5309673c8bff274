"""What an attacker has: the publisher's repository to change as he likes, and some of the publisher's keys."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.metadata import Metadata  # type: ignore[attr-defined]

from maas_agent.bundle.manifest import digest_of
from maas_agent.bundle.signature import Envelope, KeySignature, signed_bytes
from tests.agent.update.publisher import Publisher


class Attacker(Publisher):
    """The publisher, and what only others would do. ``signed``: the digests of metadata that was signed rightly."""

    def __init__(self, folder: Path) -> None:
        self.signed: set[str] = set()
        super().__init__(folder)

    def path(self, role: str, version: int | None = None) -> Path:
        """The newest metadata file of a role, or the one of this version."""
        if role == "timestamp":
            return self.folder / "metadata" / "timestamp.json"
        signed = {"snapshot": self.snapshot, "root": self.root}.get(role) or self.roles[role]
        return self.folder / "metadata" / f"{version or signed.version}.{role}.json"

    def sign_with(self, role: str, *signers: CryptoSigner) -> None:
        """Sign the newest metadata of a role with these keys instead of its own; nothing else changes."""
        metadata = Metadata[Any].from_file(str(self.path(role)))
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        self.path(role).write_bytes(metadata.to_bytes())

    def sign_twice(self, role: str) -> None:
        """Two signatures by the one key of a role."""
        document = json.loads(self.path(role).read_bytes())
        document["signatures"] *= 2
        self.path(role).write_bytes(json.dumps(document).encode())

    def need_two(self, role: str) -> CryptoSigner:
        """From the next root on a role takes two signatures; returns the second key."""
        second = CryptoSigner.generate_ed25519()
        self.root.add_key(second.public_key, role)
        self.root.roles[role].threshold = 2
        self.rotate()
        return second

    def add_signature(self, role: str, signer: CryptoSigner) -> None:
        """One more on the newest metadata of a role."""
        metadata = Metadata[Any].from_file(str(self.path(role)))
        metadata.sign(signer, append=True)
        self._keep(self.path(role), metadata.to_bytes())

    def next_root(self, *signers: CryptoSigner, version: int | None = None, file: int | None = None) -> None:
        """A root of this ``version``, signed by these keys, in the ``file`` of perhaps another version."""
        root = copy.copy(self.root)
        root.version = version or self.root.version + 1
        metadata = Metadata[Any](root)
        for signer in signers:
            metadata.sign(signer, append=True)
        (self.folder / "metadata" / f"{file or root.version}.root.json").write_bytes(metadata.to_bytes())

    def change(self, role: str, old: bytes, new: bytes) -> None:
        """Change the newest metadata of a role, and sign nothing."""
        data = self.path(role).read_bytes()
        assert old in data
        self.path(role).write_bytes(data.replace(old, new))

    def largest(self) -> Path:
        """The largest blob that lies there."""
        return max((self.folder / "blobs").iterdir(), key=lambda path: path.stat().st_size)

    def sign_bundle(self, manifest: bytes, *signers: CryptoSigner) -> bytes:
        """``signature.json`` for these bytes, by the targets key if no other is named."""
        made = [signer.sign(signed_bytes(manifest)) for signer in signers or [self.keys["targets"]]]
        return msgspec.json.encode(Envelope(tuple(KeySignature(each.keyid, each.signature) for each in made)))

    def newest_blob(self) -> Path:
        """The blob that was added last."""
        return max((self.folder / "blobs").iterdir(), key=lambda path: path.stat().st_mtime_ns)

    def replace_by(self, folder: Path) -> None:
        """Serve another folder's files in the place of the repository's."""
        shutil.rmtree(self.folder)
        shutil.copytree(folder, self.folder, symlinks=True)

    def rotate(self, *roles: str) -> None:
        super().rotate(*roles)
        self.signed.add(digest_of(self.path("root").read_bytes()))

    def _write(self, file: str, signed: Any, role: str) -> bytes:
        data = super()._write(file, signed, role)
        self.signed.add(digest_of(data))
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self.signed.add(digest_of(data))
