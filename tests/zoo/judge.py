"""What became of a specimen: its bundle's answers beside those of its own framework."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from maas_agent.bundle.archive import open_bundle
from maas_agent.runtime.graph import Graph
from maas_agent.runtime.selection import accelerator
from maas_converter.bench.blobs import unpack
from tests.zoo.specimens import Array, Specimen

Outcome = Literal["right", "told", "refused", "DIFFERS", "BAD REASON"]

LIMITS = {"float32": 1e-4, "float16": 5e-3, "as-is": 2e-2, "int16x8": 0.1}
"""By recipe, how far off answers may be: the root mean square over the samples, as a part of the source's own spread.
What quantizes to 8 bits or fewer may be off by `COARSE` of it. Weights of 4 bits are coarser still."""
COARSE, COARSER = 0.3, 0.8

_RAW = re.compile(
    r"Traceback|a defect of|in user code|NoneType|loc\(|tf\.Op|tfl\.|MLIR|RET_CHECK|object has no attribute|\bstd::"
)
"""Words of a compiler or an interpreter: no reason that a person could act on."""


@dataclass(frozen=True)
class Verdict:
    """One specimen, converted by one recipe."""

    name: str
    framework: str
    recipe: str
    outcome: Outcome
    note: str
    """How far off it is, the reason for which it is refused, or what is wrong."""
    expected: bool
    """Whether that is what the specimen's page says."""


def judge(specimen: Specimen, recipe: str, folder: Path) -> Verdict:
    """Convert the specimen that was bred in ``folder``, and compare what its bundle answers with its framework."""
    out = folder / f"{recipe}.maas"
    done = _converted(specimen, recipe, folder, out)
    if done.returncode:
        return _refused(specimen, recipe, done)
    document = json.loads(done.stdout)
    wrong = _difference(specimen, recipe, folder, out)
    if not wrong:
        return _verdict(specimen, recipe, "right", "")
    said = warnings_of(document)
    return _verdict(specimen, recipe, "told" if said else "DIFFERS", f"{wrong}{'; told: ' if said else ''}{said}")


def warnings_of(document: dict[str, object]) -> str:
    """What ``convert`` warned of: what its first line says."""
    said = document.get("warning") or ()
    return "; ".join(map(str, said)) if isinstance(said, list | tuple) else str(said)


def _converted(specimen: Specimen, recipe: str, folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    model = next(
        path
        for path in (folder / f"model{specimen.form or ''}", folder / "model", *folder.glob("model.*"))
        if path.exists()
    )
    command = [
        sys.executable,
        "-m",
        "maas_converter",
        "convert",
        str(model),
        "--name",
        "specimen",
        "--version",
        "1.0.0",
    ]
    command += ["-o", str(out), "--json", "--evaluation", str(folder / "evaluation.npz"), *specimen.options]
    command += ["--quantize", recipe] if recipe != "as-is" else []
    command += ["--calibration", str(folder / "calibration.npz")] if recipe in ("int8", "int16x8", "int4") else []
    command += ["--labels", str(folder / "labels.txt")] if specimen.labels else []
    return subprocess.run(
        command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, timeout=300
    )


def _refused(specimen: Specimen, recipe: str, done: subprocess.CompletedProcess[str]) -> Verdict:
    sentence = done.stderr.strip().rpartition("error: ")[2] or done.stderr.strip()
    if done.returncode not in (64, 65, 69) or _RAW.search(sentence):
        return _verdict(specimen, recipe, "BAD REASON", f"exit {done.returncode}: {sentence}")
    return _verdict(specimen, recipe, "refused", sentence)


def _verdict(specimen: Specimen, recipe: str, outcome: Outcome, note: str) -> Verdict:
    wanted = specimen.reason(recipe)
    if outcome == "refused":
        expected = wanted is not None and re.search(wanted, note) is not None
    elif outcome == "told":
        expected = recipe in specimen.differs
    else:
        expected = outcome == "right" and wanted is None
    return Verdict(specimen.name, specimen.framework, recipe, outcome, note, expected)


def _difference(specimen: Specimen, recipe: str, folder: Path, out: Path) -> str:
    """What is wrong with the bundle's outputs: their number, order, names or values; empty if nothing is."""
    names = (folder / "outputs.txt").read_text().splitlines()
    with np.load(folder / "source.npz") as file:
        source = {name: file[name] for name in names}
    with np.load(folder / "evaluation.npz") as file:
        samples = file["x"]
    with open_bundle(out) as bundle:
        manifest = bundle.manifest
        (blobs := folder / f"blobs-{recipe}").mkdir(exist_ok=True)
        graph = Graph(manifest, unpack(bundle, blobs).path, accelerator("cpu"))
    rows = [graph.run(sample.astype(manifest.inputs[0].decode.dtype)) for sample in samples]
    found = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    if len(found) != len(source):
        return f"{len(found)} outputs, the source has {len(source)}"
    if specimen.ordered:
        pairs = list(zip(source.items(), found.values(), strict=True))
    else:
        if set(found) != set(source):
            return f"outputs {', '.join(found)}, the source's are {', '.join(source)}"
        pairs = [((name, values), found[name]) for name, values in source.items()]
    return "; ".join(
        filter(None, (_off(name, values, answers, recipe, specimen.rounded) for (name, values), answers in pairs))
    )


def _off(name: str, source: Array, found: Array, recipe: str, rounded: float) -> str:
    """How far off an output is, column by column; empty if it is near enough."""
    before = source.reshape(len(source), -1).astype(np.float64)
    after = found.reshape(len(found), -1).astype(np.float64)
    if before.shape != after.shape:
        return f"{name}: {list(found.shape)}, the source's is {list(source.shape)}"
    error = np.sqrt(np.mean((after - before) ** 2, axis=0))
    size = np.abs(before).max(axis=0)
    # A column that hardly varies has no spread to measure by: a part of its size stands in.
    spread = np.maximum(before.std(axis=0), 0.02 * size) if recipe != "float32" else np.maximum(size, 1e-3)
    limit = max(rounded, LIMITS.get(recipe, COARSER if recipe in ("int4", "dynamic4") else COARSE))
    part = error / np.maximum(spread, 1e-9)
    worst = int(np.argmax(part))
    if part[worst] <= limit:
        return ""
    return f"{name}: column {worst} is off by {part[worst]:.2g} of its spread ({error[worst]:.3g})"
