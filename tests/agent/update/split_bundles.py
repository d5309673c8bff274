"""A bundle of two stages that share what is large: a backbone of some 10 MB, and a head that is changed alone."""

from pathlib import Path

import msgspec
import numpy as np

from maas_agent.bundle.archive import open_bundle, write_bundle
from maas_agent.bundle.golden import GoldenSamples, encode_golden
from maas_agent.bundle.manifest import Stage, digest_of, encode_manifest
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_converter.tflite.cut import cut
from tests.bundles import make_bundle, samples
from tests.models import large_classifier_tflite
from tests.runtimes import RUNTIME

_HIDDEN = 39_000


def make_split_bundle(folder: Path, version: str, head_seed: int) -> tuple[Path, int]:
    """A bundle of ``digits``, and the bytes of its head. The backbone is the same for every ``head_seed``."""
    backbone = cut(large_classifier_tflite(_HIDDEN, seed=0), [0])[0].tflite
    head = cut(large_classifier_tflite(_HIDDEN, seed=head_seed), [0])[1].tflite
    with open_bundle(make_bundle(folder / "draft.maas", "digits", version)) as bundle:
        draft = bundle.manifest
    blobs = {digest_of(data): data for data in (backbone, head)}
    stages = (
        Stage("backbone", digest_of(backbone), len(backbone), ("image",), ("between",)),
        Stage("head", digest_of(head), len(head), ("between",), ("scores",)),
    )
    for digest, data in blobs.items():
        (folder / digest).write_bytes(data)
    staged = msgspec.structs.replace(draft, stages=stages)
    graph = Graph(staged, lambda digest: folder / digest, accelerator("cpu", library=RUNTIME))
    inputs = samples(4)
    rows = [graph.run(sample)["scores"] for sample in inputs]
    golden = encode_golden(GoldenSamples(inputs, {"scores": np.concatenate(rows)}))
    stated = msgspec.structs.replace(staged.golden, blob=digest_of(golden), size=len(golden))
    manifest = encode_manifest(msgspec.structs.replace(staged, golden=stated))
    path = folder / f"digits-{version}.maas"
    write_bundle(path, manifest, blobs | {digest_of(golden): golden})
    return path, len(head)
