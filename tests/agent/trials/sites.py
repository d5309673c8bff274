"""A store of healthy bundles in which mutants take the place of a model."""

from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.bundle.archive import open_bundle
from maas_agent.bundle.manifest import digest_of, encode_manifest
from maas_agent.bundle.staged import Staged, blob_path
from maas_agent.errors import BundleError
from tests.agent.staging import stage
from tests.bundles import make_bundle, make_picture_bundle, samples
from tests.models import tiny_classifier_tflite

GOLDEN_SAMPLES = 16
"""As many as the converter puts into a bundle."""
FRESH_SAMPLES = 256
"""Inputs that are not among the golden samples: what a model that passed would be asked."""


class Original:
    """A healthy bundle in the store, and ``inputs``: the file of fresh samples (N, …sample) for it."""

    def __init__(self, name: str, bundle: Path, store: Path, fresh: NDArray[np.uint8]) -> None:
        self.name, self.store = name, store
        self.digest = stage(bundle, store)
        with open_bundle(bundle) as opened:
            self.manifest = opened.manifest
        self.model = self._file.read_bytes()
        self.inputs = str(store / f"{name}.npy")
        np.save(self.inputs, fresh)

    def signed(self, mutant: bytes) -> str:
        """Stage a bundle whose model is ``mutant``, as if somebody had signed it; its manifest's digest."""
        part = msgspec.structs.replace(self.manifest.stages[0], blob=digest_of(mutant), size=max(1, len(mutant)))
        data = encode_manifest(msgspec.structs.replace(self.manifest, stages=(part,)))
        blob_path(self.store, digest_of(mutant)).write_bytes(mutant)
        blob_path(self.store, digest_of(data)).write_bytes(data)
        return digest_of(data)

    def found_on_the_card(self, mutant: bytes) -> bool:
        """Whether the check before every load finds that the model's file is ``mutant`` now."""
        self._file.write_bytes(mutant)
        try:
            Staged(self.store, self.digest)
        except BundleError:
            return True
        finally:
            self._file.write_bytes(self.model)
        return False

    @property
    def _file(self) -> Path:
        return blob_path(self.store, self.manifest.stages[0].blob)


def tiny(store: Path) -> list[Original]:
    """A float and an int8 classifier of 8 x 8 pixels, which take noise."""
    fresh = samples(FRESH_SAMPLES, seed=99)
    made = []
    for dtype in ("float32", "int8"):
        model = tiny_classifier_tflite(seed=1, dtype=dtype)
        bundle = make_bundle(store / f"{dtype}.maas", model=model, golden_samples=GOLDEN_SAMPLES)
        made.append(Original(dtype, bundle, store, fresh))
    return made


def resnet8(store: Path, model: Path, pictures: Path) -> list[Original]:
    """MLPerf Tiny's int8 ResNet-8 with real pictures of its ten classes."""
    x = np.load(pictures)["x"]
    bundle = make_picture_bundle(store / "resnet8.maas", model.read_bytes(), x[:GOLDEN_SAMPLES])
    return [Original("resnet8", bundle, store, x[GOLDEN_SAMPLES : GOLDEN_SAMPLES + FRESH_SAMPLES])]
