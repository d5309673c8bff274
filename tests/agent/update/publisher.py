"""A publisher who can sign anything: another root, other roles, any date. It writes what `maas_converter` would not."""

import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # these packages have no __all__
from tuf.api.metadata import (  # type: ignore[attr-defined]
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, Delivery, encode_delivery
from maas_agent.bundle.manifest import digest_of
from tests.bundles import make_bundle

TOP = ("root", "targets", "snapshot", "timestamp")


class Publisher:
    """A repository in ``folder``. `release` writes the next version of what was changed since the last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "metadata").mkdir(parents=True)
        self.keys = {role: CryptoSigner.generate_ed25519() for role in TOP}
        self.root, self.targets, self.snapshot, self.timestamp = Root(), Targets(), Snapshot(), Timestamp()
        self.roles: dict[str, Targets] = {"targets": self.targets}
        self.parents: dict[str, str] = {}
        for role in TOP:
            self.root.add_key(self.keys[role].public_key, role)
        self.lifetime = timedelta(days=7)
        self.signed_at: str | None = None
        self._write("1.root.json", self.root, "root")
        self._write("root.json", self.root, "root")
        self.release()

    def publish(
        self, version: str = "1.0.0", name: str = "digits", role: str = "targets", channel: str = "stable", **made: Any
    ) -> str:
        """Add a bundle of a tiny model to ``role``; return its manifest's digest. Not released yet."""
        path = make_bundle(self.folder.parent / f"{name}-{version}.maas", name, version, **made)
        return self.publish_file(path, role, channel)

    def publish_file(self, path: Path, role: str = "targets", channel: str = "stable") -> str:
        """The same with a bundle that is there."""
        with open_bundle(path) as bundle:
            manifest = bundle.manifest
            self.add(f"{manifest.name}/{manifest.version}/manifest.json", bundle.manifest_bytes, role)
            for digest in manifest.blobs():
                self.add_blob(bundle.blob(digest))
            fields = self.roles[role].unrecognized_fields
            fields.setdefault("channels", {}).setdefault(manifest.name, {})[channel] = manifest.version
            return bundle.digest

    def add(self, path: str, data: bytes, role: str = "targets") -> None:
        """Sign these bytes under a target path."""
        name, version, file = path.split("/")
        folder = self.folder / "targets" / name / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{digest_of(data)}.{file}").write_bytes(data)
        self.roles[role].targets[path] = TargetFile.from_data(path, data, ["sha256"])

    def add_blob(self, data: bytes) -> str:
        """Put a blob there; return its digest."""
        (self.folder / "blobs").mkdir(exist_ok=True)
        (self.folder / "blobs" / digest_of(data)).write_bytes(data)
        return digest_of(data)

    def compress(self, version: str = "1.0.0", name: str = "digits", **changed: Any) -> dict[str, DeliveredBlob]:
        """Store the blobs of a published bundle compressed, and only so; ``changed`` as in `deliver`."""
        blobs = {}
        with open_bundle(self.folder.parent / f"{name}-{version}.maas") as bundle:
            for digest in bundle.manifest.blobs():
                packed = zlib.compress(bundle.blob(digest), 9)
                blobs[digest] = DeliveredBlob(self.add_blob(packed), len(packed), "zlib")
                (self.folder / "blobs" / digest).unlink()
        self.deliver(Delivery(blobs=blobs), version, name)
        return blobs

    def deliver(self, delivery: Delivery, version: str = "1.0.0", name: str = "digits", role: str = "targets") -> None:
        """Sign a delivery document."""
        self.add(f"{name}/{version}/delivery.json", encode_delivery(delivery), role)

    def delegate(self, role: str, *paths: str, to: str = "targets", terminating: bool = True) -> None:
        """Let a role with a key of its own hold these paths; ``to`` is the role that says so."""
        self.keys.setdefault(role, CryptoSigner.generate_ed25519())
        self.roles.setdefault(role, Targets())
        self.parents[role] = to
        parent = self.roles[to]
        parent.delegations = parent.delegations or Delegations({}, {})
        assert parent.delegations.roles is not None
        parent.delegations.roles[role] = DelegatedRole(role, [], 1, terminating, list(paths))
        parent.add_key(self.keys[role].public_key, role)

    def revoke(self, version: str, reason: str, name: str = "digits", role: str = "targets") -> None:
        """Take a version away, and say so."""
        self.roles[role].targets.pop(f"{name}/{version}/manifest.json", None)
        self.roles[role].unrecognized_fields.setdefault("revoked", {}).setdefault(name, {})[version] = reason

    def point(self, version: str, channel: str = "stable", name: str = "digits", role: str = "targets") -> None:
        """Move a channel."""
        fields = self.roles[role].unrecognized_fields
        fields.setdefault("channels", {}).setdefault(name, {})[channel] = version

    def rotate(self, *roles: str) -> None:
        """New keys for these top-level roles, in a new root that old and new root keys sign."""
        signers = [self.keys["root"]]
        for role in roles:
            for keyid in list(self.root.roles[role].keyids):
                self.root.revoke_key(keyid, role)
            self.keys[role] = CryptoSigner.generate_ed25519()
            self.root.add_key(self.keys[role].public_key, role)
        self.root.version += 1
        metadata = Metadata[Any](self.root)
        for signer in (*signers, self.keys["root"]):
            metadata.sign(signer, append=True)
        for name in (f"{self.root.version}.root.json", "root.json"):
            (self.folder / "metadata" / name).write_bytes(metadata.to_bytes())

    def release(self, *only: str, expired: tuple[str, ...] = ()) -> None:
        """Sign the next version of everything, or ``only`` of these roles; ``expired`` ones ended a day ago."""
        for role, signed in self.roles.items():
            if not only or role in only:
                data = self._next(signed, role, role in expired)
                self.snapshot.meta[f"{role}.json"] = MetaFile.from_data(signed.version, data, ["sha256"])
        if not only or "snapshot" in only:
            data = self._next(self.snapshot, "snapshot", "snapshot" in expired)
            self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, data, ["sha256"])
        self.timestamp.unrecognized_fields.pop("signed_at", None)
        if self.signed_at is not None:
            self.timestamp.unrecognized_fields["signed_at"] = self.signed_at
        self._next(self.timestamp, "timestamp", "timestamp" in expired)

    def _next(self, signed: Any, role: str, expired: bool) -> bytes:
        signed.version += 1
        now = datetime.now(UTC).replace(microsecond=0)
        signed.expires = now - timedelta(days=1) if expired else now + self.lifetime
        return self._write("timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json", signed, role)

    def _write(self, file: str, signed: Any, role: str) -> bytes:
        if role == "root":
            signed.expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=365)
        metadata = Metadata[Any](signed)
        metadata.sign(self.keys[role])
        data = metadata.to_bytes()
        (self.folder / "metadata" / file).write_bytes(data)
        return data
