"""What is in a bundle, from wherever it comes: manifest, archive, delivery, sealed blobs, golden samples, signature."""

import io
import os
import zlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.delivery import DeliveredBlob, Delivery, decode_delivery, encode_delivery, expanded
from maas_agent.bundle.golden import decode_golden
from maas_agent.bundle.manifest import (
    Classification,
    LogMel,
    Manifest,
    Normalize,
    Quantization,
    When,
    decode_manifest,
    digest_of,
    encode_manifest,
)
from maas_agent.bundle.sealed import CHUNK, opened, read_key, recipient_id, seal, unwrap, wrap
from maas_agent.bundle.signature import decode_envelope
from maas_agent.bundle.staged import DEVICE_KEY, Staged, blob_path, delivery_path
from maas_agent.bundle.version import VersionRange, parse_version
from maas_agent.errors import BundleError, DataError, NoInputError, UnavailableError
from maas_agent.processing.preprocess import preprocessor
from maas_agent.update.store.deliveries import kept
from tests.bundles import make_bundle
from tests.fuzz.registry import scratch, target


@lru_cache(maxsize=1)
def _bundle() -> Path:
    return make_bundle(scratch() / "digits.maas", sign=lambda _: b'{"signatures": [{"keyid": "a", "sig": "00"}]}')


@lru_cache(maxsize=1)
def _contents() -> tuple[Manifest, dict[str, bytes]]:
    with open_bundle(_bundle()) as bundle:
        return bundle.manifest, {digest: bundle.blob(digest) for digest in bundle.manifest.blobs()}


def manifests() -> list[bytes]:
    """Manifests with everything that there is in one."""
    plain, _ = _contents()
    stage, edge, output = plain.stages[0], plain.inputs[0], plain.outputs[0]
    first = msgspec.structs.replace(stage, name="gate", outputs=("gate",))
    second = msgspec.structs.replace(stage, blob="1" * 64, when=When(edge="gate", index=1, at_least=0.5))
    gate = msgspec.structs.replace(output, tensor=msgspec.structs.replace(output.tensor, name="gate"), labels=())
    graph = msgspec.structs.replace(
        plain, stages=(first, second), outputs=(msgspec.structs.replace(output, otherwise="gate"), gate)
    )
    steps = msgspec.structs.replace(
        edge,
        preprocess=(Normalize((0.5,), (0.5,)),),
        tensor=msgspec.structs.replace(edge.tensor, dtype="int8", quantization=Quantization(0.1, -128)),
    )
    sound = msgspec.structs.replace(
        edge,
        decode=msgspec.structs.replace(edge.decode, shape=(400,), dtype="float32", sample_rate=16000),
        preprocess=(LogMel(16000, 160, 40, 10, coefficients=10),),
        tensor=msgspec.structs.replace(edge.tensor, shape=(1, 7, 10)),
    )
    return [
        encode_manifest(plain),
        encode_manifest(graph),
        *(encode_manifest(msgspec.structs.replace(plain, inputs=(one,))) for one in (steps, sound)),
    ]


@target(
    "bundle.manifest",
    "a manifest, and the preprocessing that it asks for",
    manifests,
    BundleError,
    form="json",
    share=0.6,
)
def manifest(data: bytes) -> None:
    found = decode_manifest(data)
    assert decode_manifest(encode_manifest(found)) == found
    edge = found.inputs[0]
    large = any(isinstance(step, LogMel) and step.frame * step.bands > 1 << 16 for step in edge.preprocess)
    if edge.decode.sample_bytes <= 1 << 16 and not large:
        with np.errstate(all="ignore"):
            made = preprocessor(edge)(np.ones(edge.decode.shape, edge.decode.dtype))
        assert made.shape == edge.tensor.shape and made.dtype == edge.tensor.dtype
    assert all(
        isinstance(each.postprocess, Classification) or not each.postprocess.__struct_fields__ for each in found.outputs
    )


@target(
    "bundle.archive",
    "a .maas file",
    lambda: [_bundle().read_bytes()],
    BundleError,
    NoInputError,
    form="zip",
    words=(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"manifest.json", b"blobs/"),
    share=0.3,
)
def archive(data: bytes) -> None:
    path = scratch() / "given.maas"
    path.write_bytes(data)
    with open_bundle(path) as bundle:
        bundle.signature()
        for digest, size in bundle.manifest.blobs().items():
            assert len(bundle.blob(digest)) == size


@lru_cache(maxsize=1)
def _key() -> tuple[bytes, Any]:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), key


def _recipient() -> str:
    return recipient_id(_key()[1].public_key().public_bytes_raw())


def _wrapped() -> str:
    return wrap(bytes(32), _key()[1].public_key().public_bytes_raw(), "digits", "1.0.0")


@lru_cache(maxsize=1)
def _sealed() -> tuple[Delivery, dict[str, bytes]]:
    """A delivery of the bundle with one blob sealed, and the other compressed and sealed."""
    manifest, blobs = _contents()
    stage, golden = manifest.stages[0].blob, manifest.golden.blob
    stored = {
        stage: seal(zlib.compress(blobs[stage]), bytes(32), stage),
        golden: seal(blobs[golden], bytes(32), golden),
    }
    forms = {stage: "sealed-zlib", golden: "sealed"}
    named = {plain: DeliveredBlob(digest_of(data), len(data), forms[plain]) for plain, data in stored.items()}  # type: ignore[arg-type]
    return Delivery(blobs=named, recipients={_recipient(): _wrapped()}), {
        named[plain].stored: data for plain, data in stored.items()
    }


@target(
    "bundle.delivery",
    "delivery.json, and the content keys in it",
    lambda: [
        encode_delivery(_sealed()[0]),
        encode_delivery(Delivery(blobs={"a" * 64: DeliveredBlob("b" * 64, 9, "zlib")})),
    ],
    BundleError,
    form="json",
)
def delivery(data: bytes) -> None:
    found = decode_delivery(data)
    assert decode_delivery(encode_delivery(found)) == found
    for recipient in found.recipients:
        assert found.content_key(recipient) is not None
    assert len(kept(dict.fromkeys(found.blobs, 1), found)) <= len(found.blobs)


@target(
    "bundle.compressed",
    "a compressed blob, as far as its manifest lets it grow",
    lambda: [b"\0" + zlib.compress(bytes(at)) for at in (0, 100, 200_000)],
    zlib.error,
)
def compressed(data: bytes) -> None:
    from tests.fuzz.registry import pieces

    written = 0
    for chunk in expanded(pieces(data)[1]):
        assert len(chunk) <= CHUNK
        written += len(chunk)
        if written > 1 << 20:
            return


@target(
    "bundle.sealed",
    "a sealed blob",
    lambda: [seal(bytes(10), bytes(32), "a" * 64), seal(bytes(CHUNK + 5), bytes(32), "a" * 64)],
    BundleError,
)
def sealed(data: bytes) -> None:
    found = b"".join(opened(io.BytesIO(data), bytes(32), "a" * 64))
    assert found == bytes(len(found)), "what opens was sealed by the key"


@target(
    "bundle.content_key",
    "a content key, sealed for this device",
    lambda: [__import__("base64").b64decode(_wrapped())],
    BundleError,
)
def content_key(data: bytes) -> None:
    assert unwrap(data, _key()[1], "digits", "1.0.0") == bytes(32)


@target(
    "bundle.device_key",
    "the file of a device's key",
    lambda: [_key()[0]],
    BundleError,
    UnavailableError,
    words=(b"-----BEGIN PRIVATE KEY-----", b"-----END", b"\n", b"=", b"ENCRYPTED ", b"EC "),
)
def device_key(data: bytes) -> None:
    path = scratch() / "device.key"
    path.write_bytes(data)
    assert len(read_key(path).private_bytes_raw()) == 32


@target(
    "bundle.signature",
    "signature.json",
    lambda: [b'{"signatures": [{"keyid": "a", "sig": "00"}, {"keyid": "b", "sig": "ff"}]}'],
    BundleError,
    form="json",
)
def signature(data: bytes) -> None:
    for each in decode_envelope(data).signatures:
        each.keyid.encode()


@target(
    "bundle.golden", "golden samples", lambda: [_contents()[1][_contents()[0].golden.blob]], BundleError, form="msgpack"
)
def golden(data: bytes) -> None:
    with np.errstate(all="ignore"):
        found = decode_golden(data)
    assert found.samples.nbytes <= len(data)
    assert all(len(values) == len(found.samples) for values in found.outputs.values())
    deflated = decode_golden(zlib.compress(data, 1), len(data))
    assert deflated.samples.nbytes <= 4 * len(data)


@target(
    "bundle.version",
    "a version, and a range of versions",
    lambda: [b"1.2.3\0^1.2", b"1.0.0-rc.1+b\0>=1.0, <2", b"0.1.0\0~1.2.3 !=1.2.4", b"1.0.0-1\0==1.0.0-2"],
    DataError,
    words=(b"9" * 5000, b".", b"-", b"+", b"^", b"~", b">=", b", ", b"\xc2\xb2", "\u0661".encode(), b"0"),
)
def version(data: bytes) -> None:
    one, _, other = data.decode("utf-8", "replace").partition("\0")
    known = [parse_version(text) for text in ("1.0.0-rc.1", "1.2.3", "1.0.0-1")]
    try:
        limits = VersionRange(other)
    except DataError:
        limits = VersionRange("^1.2.0-1")
    found = parse_version(one)
    for version in (found, *known):
        assert (version in limits) in (True, False)
        assert (version < found) in (True, False)


@lru_cache(maxsize=1)
def _store() -> Path:
    blobs, stored = _contents()[1], _sealed()[1]
    store = scratch() / "store"
    (store / "blobs").mkdir(parents=True)
    (store / "deliveries").mkdir()
    for digest, data in (blobs | stored).items():
        blob_path(store, digest).write_bytes(data)
    (store / "device.key").write_bytes(_key()[0])
    return store


@target(
    "bundle.staged",
    "a staged bundle whose delivery is another one",
    lambda: [encode_delivery(_sealed()[0])],
    BundleError,
    UnavailableError,
    form="json",
    share=0.2,
)
def staged(data: bytes) -> None:
    store, (manifest, blobs) = _store(), _contents()
    os.environ[DEVICE_KEY] = str(store / "device.key")  # each time: a hub that another target makes names its own
    digest = digest_of(encode_manifest(manifest))
    blob_path(store, digest).write_bytes(encode_manifest(manifest))
    delivery_path(store, digest).write_bytes(data)
    loaded = Staged(store, digest)
    try:
        for plain, content in blobs.items():
            assert loaded.path(plain).read_bytes() == content
    finally:
        for descriptor in loaded._memory.values():
            os.close(descriptor)
