"""A float model and its quantized twin as drafts of bundles, run on seeded samples: real files, no conversion."""

from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import Manifest, When
from maas_converter.base.console import SilentProgress
from maas_converter.bench import measure
from maas_converter.bench.blobs import Blobs
from maas_converter.evidence.gather import ModelAnswers, Pair
from tests.bundles import make_bundle, samples
from tests.models import tiny_classifier_tflite

LABELS = ("<script>alert(1)</script>", "a & b", "$\\frac{1}{$", 'quo"te', "日本", "x" * 80, "6", "7", "8", "9")
"""Names that somebody may give to classes."""


def pair(folder: Path, count: int = 40) -> tuple[Pair, Blobs]:
    """Both models' answers on ``count`` samples, and the blobs of their stages."""
    blobs = Blobs(folder)
    shown = samples(count, seed=1)
    before, after = (_side(folder, blobs, dtype, shown) for dtype in ("float32", "int8"))
    return Pair(before, after, shown, "seeded samples"), blobs


def gated(folder: Path, below: float) -> tuple[Manifest, Blobs]:
    """Two classifiers on the same image; the second answers only where the first one's best score is below a bound."""
    blobs = Blobs(folder)
    manifest = draft(folder, blobs, "float32")
    first, second = manifest.stages[0], tiny_classifier_tflite(seed=1)
    stages = (
        msgspec.structs.replace(first, name="gate", outputs=("gate",)),
        msgspec.structs.replace(first, blob=blobs.add(second), size=len(second), when=When(edge="gate", below=below)),
    )
    return msgspec.structs.replace(manifest, stages=stages), blobs


def draft(folder: Path, blobs: Blobs, dtype: Literal["float32", "int8"]) -> Manifest:
    """A bundle of the tiny classifier, its stage in ``blobs``."""
    with open_bundle(make_bundle(folder / f"{dtype}.maas", dtype=dtype)) as bundle:
        for stage in bundle.manifest.stages:
            blobs.add(bundle.blob(stage.blob))
        return bundle.manifest


def _side(folder: Path, blobs: Blobs, dtype: Literal["float32", "int8"], shown: NDArray[np.uint8]) -> ModelAnswers:
    manifest = draft(folder, blobs, dtype)
    return ModelAnswers(manifest, measure.answers(measure.load_graph(manifest, blobs), shown, SilentProgress(), dtype))
