"""Complete, valid ``.maas`` files for tests: a tiny real model with golden samples that LiteRT really computed."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.archive import write_bundle
from maas_agent.bundle.golden import GoldenSamples, decode_golden, encode_golden
from maas_agent.bundle.manifest import (
    Classification,
    Decode,
    DType,
    Golden,
    Input,
    Lineage,
    Manifest,
    Metrics,
    Output,
    Requires,
    Scale,
    Stage,
    Tensor,
    digest_of,
    encode_manifest,
)
from maas_agent.bundle.schema import OLDEST
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from tests.models import echo_tflite, tiny_classifier_tflite
from tests.runtimes import RUNTIME

SAMPLE_SHAPE = (8, 8, 1)
SAMPLE_BYTES = 64
"""One sample as raw bytes: 8 x 8 gray pixels of 8 bits, row-major."""


def make_bundle(
    path: Path,
    name: str = "digits",
    version: str = "1.0.0",
    seed: int = 0,
    *,
    classes: int = 10,
    dtype: Literal["float32", "int8"] = "float32",
    off_by: float = 0.0,
    golden_samples: int = 4,
    model: bytes | None = None,
    swap: bytes | None = None,
    sample_dtype: Literal["uint8", "float32"] = "uint8",
    sign: Callable[[bytes], bytes] | None = None,
) -> Path:
    """Write a bundle to ``path`` (a file that ends in ``.maas``) and return ``path``.

    ``seed`` chooses the weights: two bundles of the same seed share their model blob. ``off_by`` is added to the golden
    outputs, so that no device reproduces them. ``model`` are the bytes of another model of the same
    inputs and outputs, which is measured instead. ``swap`` are those of one (see `tests.models`) that takes
    the place of the measured one. A bundle of float32 samples has no use for those of uint8. ``sign`` makes
    ``signature.json`` of the manifest's bytes.
    """
    model = model or tiny_classifier_tflite(seed, classes, dtype)
    draft = _draft(name, version, model, classes, golden_samples, sample_dtype)
    manifest, golden = _measured(draft, model, samples(golden_samples).astype(sample_dtype), off_by)
    if swap is not None:
        manifest, model = _swapped(manifest, swap), swap
    manifest_bytes = encode_manifest(manifest)
    signature = sign(manifest_bytes) if sign else None
    write_bundle(path, manifest_bytes, {digest_of(model): model, digest_of(golden): golden}, signature)
    return path


def make_picture_bundle(path: Path, model: bytes, pictures: NDArray[np.uint8]) -> Path:
    """A bundle of a quantized classifier; its golden samples are ``pictures`` (N, …sample).

    Its tolerance is the one that the converter gives to a model that comes quantized.
    """
    from maas_converter.bench.golden import tolerance

    taken, made = _tensors(model)
    draft = msgspec.structs.replace(
        _draft(path.stem, "1.0.0", model, made.shape[-1], len(pictures)),
        inputs=(Input(taken, Decode(pictures.shape[1:], "uint8")),),
    )
    _, golden = _measured(draft, model, pictures, 0.0)
    wide = tolerance(draft.outputs, decode_golden(golden).outputs, None, quantized=True)
    stated = msgspec.structs.replace(draft.golden, blob=digest_of(golden), size=len(golden), tolerance=wide)
    manifest = msgspec.structs.replace(draft, golden=stated)
    write_bundle(path, encode_manifest(manifest), {digest_of(model): model, digest_of(golden): golden})
    return path


def make_echo_bundle(path: Path) -> Path:
    """A bundle that takes one float32, shape (1,), and answers ``{"values": [[it]]}``."""
    model = echo_tflite()
    taken, made = _tensors(model)
    draft = msgspec.structs.replace(
        _draft(path.stem, "1.0.0", model, 1, 3),
        inputs=(Input(taken, Decode((1,), "float32")),),
        outputs=(Output(made),),
    )
    manifest, golden = _measured(draft, model, np.array([[0.0], [21.5], [-3.0]], np.float32), 0.0)
    write_bundle(path, encode_manifest(manifest), {digest_of(model): model, digest_of(golden): golden})
    return path


def make_sound_bundle(path: Path) -> Path:
    """The tiny classifier, of 64 samples of sound at 8 kHz in the place of pixels."""
    model = tiny_classifier_tflite()
    taken, _ = _tensors(model)
    draft = _draft(path.stem, "1.0.0", model, 10, 2)
    draft = msgspec.structs.replace(draft, inputs=(Input(taken, Decode((64,), "float32", sample_rate=8000)),))
    sound = np.random.default_rng(4).uniform(-1, 1, (2, 64)).astype(np.float32)
    manifest, golden = _measured(draft, model, sound, 0.0)
    write_bundle(path, encode_manifest(manifest), {digest_of(model): model, digest_of(golden): golden})
    return path


def samples(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """``count`` samples (count, 8, 8, 1) uint8; ``samples(1)[0].tobytes()`` is a valid raw input."""
    return np.random.default_rng(seed).integers(0, 256, (count, *SAMPLE_SHAPE), dtype=np.uint8)


def _draft(
    name: str, version: str, model: bytes, classes: int, golden_samples: int, sample_dtype: DType = "uint8"
) -> Manifest:
    tensors = _tensors(model)
    return Manifest(
        schema=OLDEST,
        name=name,
        version=version,
        created="2026-01-01T00:00:00Z",
        stages=(Stage("classify", digest_of(model), len(model), (tensors[0].name,), (tensors[1].name,)),),
        inputs=(Input(tensors[0], Decode(SAMPLE_SHAPE, sample_dtype, color="gray"), (Scale(1 / 255),)),),
        outputs=(Output(tensors[1], Classification(), tuple(f"class-{i}" for i in range(classes))),),
        golden=Golden("0" * 64, 1, golden_samples, 0.02),
        metrics=Metrics(float32_bytes=len(model), bundle_bytes=len(model)),
        requires=Requires(),
        lineage=Lineage("tests/models.py", "0" * 64, "tests", "none"),
    )


def _measured(draft: Manifest, model: bytes, inputs: NDArray[np.generic], off_by: float) -> tuple[Manifest, bytes]:
    with TemporaryDirectory() as folder:
        graph = Graph(draft, _written(Path(folder), model), accelerator("cpu", library=RUNTIME))
        rows = [graph.run(sample) for sample in inputs]
    outputs = {name: np.concatenate([row[name] for row in rows]) + np.float32(off_by) for name in rows[0]}
    golden = encode_golden(GoldenSamples(inputs, outputs))
    stated = msgspec.structs.replace(draft.golden, blob=digest_of(golden), size=len(golden))
    return msgspec.structs.replace(draft, golden=stated), golden


def _swapped(manifest: Manifest, model: bytes) -> Manifest:
    stage = msgspec.structs.replace(manifest.stages[0], blob=digest_of(model), size=len(model))
    return msgspec.structs.replace(manifest, stages=(stage,))


def _tensors(model: bytes) -> tuple[Tensor, Tensor]:
    with TemporaryDirectory() as folder:
        loaded = accelerator("cpu", library=RUNTIME).load(_written(Path(folder), model)(""), 1)
        return loaded.inputs[0], loaded.outputs[0]


def _written(folder: Path, model: bytes) -> Callable[[str], Path]:
    path = folder / "model.tflite"
    path.write_bytes(model)
    return lambda _digest: path
