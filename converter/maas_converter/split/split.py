"""Cuts a ``.tflite`` into stages and proves, on real data, that the stages answer to the bit as the whole does.

The files are written with a graph file (`maas_converter.convert.graph_file`), which ``convert`` packs. Nothing is
written unless the proof holds.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec

from maas_agent.bundle.manifest import digest_of
from maas_agent.errors import DataError, UnavailableError, UsageError
from maas_converter.base import outlet
from maas_converter.base.console import Progress
from maas_converter.base.user_files import content_of
from maas_converter.split.validation import ComparedSamples, validate
from maas_converter.tflite.cut import Cut, ModelPart, cut, input_edges, output_edges, places_of

GRAPH_FILE = "graph.toml"


class Listing(msgspec.Struct, frozen=True):
    """Every place of a model where it may be cut, or why not there: the ``--list --json`` document."""

    model: str
    bytes: int
    cuts: tuple[Cut, ...]


class SplitRequest(msgspec.Struct, frozen=True):
    """What somebody wants split. ``at`` names ops by number, by the edge they make, or by kind if there is one only."""

    source: Path
    at: tuple[str, ...]
    out: Path
    evaluation: Path | None = None
    preprocess: Path | None = None


class SplitStage(msgspec.Struct, frozen=True):
    """One stage as it was written."""

    name: str
    file: str
    bytes: int
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class Split(msgspec.Struct, frozen=True):
    """What came of it: the ``--json`` document."""

    model: str
    bytes: int
    out: str
    stages: tuple[SplitStage, ...]
    cuts: tuple[Cut, ...]
    evidence: ComparedSamples


def list_cuts(path: Path) -> Listing:
    """Where the model at ``path`` can be cut; raises `NoInputError` or `DataError`. Nothing is run."""
    data = _read(path)
    return Listing(path.name, len(data), places_of(data))


def split(request: SplitRequest, progress: Progress) -> Split:
    """Split, or raise a `MaasError` and write nothing.

    Raises `UsageError` for an op that is not there, `DataError` if the model cannot be cut there or data do not fit,
    `RuntimeFailure` if the stages do not answer exactly what the whole model answers.
    """
    data = _read(request.source)
    _check_empty(request.out)
    chosen = chosen_cuts(places_of(data), request.at)
    parts = cut(data, [place.position for place in chosen])
    stages = _stages(request.source, parts)
    evidence = validate(data, parts, request.evaluation, request.preprocess, progress)
    _write(request.out, {GRAPH_FILE: _graph_file(request.source, data, stages)} | _files(stages, parts))
    return Split(request.source.name, len(data), str(request.out), stages, chosen, evidence)


def chosen_cuts(places: tuple[Cut, ...], at: Sequence[str]) -> tuple[Cut, ...]:
    """The cuts that ``at`` names, in the model's order; raises `UsageError` that says which there are."""
    if not at:
        raise UsageError("name the ops to cut after: --at OP, or --list to see them")
    return tuple(sorted({_chosen(places, name) for name in at}, key=lambda place: place.position))


def _chosen(places: tuple[Cut, ...], name: str) -> Cut:
    found = [place for place in places if name in (str(place.position), place.name, place.label)]
    found = found or [place for place in places if name.upper() == place.op]
    if len(found) == 1:
        return found[0]
    if found:
        numbers = ", ".join(str(place.position) for place in found)
        raise UsageError(f"--at {name}: there are {len(found)} such ops, give one of the numbers {numbers}")
    if re.fullmatch(r"-?\d+", name):
        numbers = ", ".join(str(place.position) for place in places) or "none"
        raise UsageError(f"--at {name}: the ops of the model that it can be cut after are {numbers}")
    near = get_close_matches(name, [place.name for place in places], n=3, cutoff=0.0)
    labels = [repr(place.label) for place in places if place.name in near]
    raise UsageError(
        f"--at {name}: no op of the model that it can be cut after is called so; near are {', '.join(labels) or 'none'}"
    )


def _read(path: Path) -> bytes:
    if path.suffix.lower() != ".tflite":
        raise DataError(f"{path} is no .tflite file: split takes nothing else")
    return content_of(path)


def _check_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already: name a folder that is new or empty")


def _stages(source: Path, parts: tuple[ModelPart, ...]) -> tuple[SplitStage, ...]:
    # The letters that a stage's name may have: see `maas_agent.bundle.manifest.NAME`.
    stem = re.sub(r"[^a-z0-9._-]+", "-", source.stem.lower()).lstrip("._-")[:56] or "stage"
    return tuple(
        SplitStage(
            name=f"{stem}-{number}",
            file=f"{stem}-{number}.tflite",
            bytes=len(part.tflite),
            sha256=digest_of(part.tflite),
            inputs=part.inputs,
            outputs=part.outputs,
        )
        for number, part in enumerate(parts)
    )


def _files(stages: tuple[SplitStage, ...], parts: tuple[ModelPart, ...]) -> dict[str, bytes]:
    return {stage.file: part.tflite for stage, part in zip(stages, parts, strict=True)}


def _graph_file(source: Path, data: bytes, stages: tuple[SplitStage, ...]) -> bytes:
    """See `maas_converter.convert.graph_file`. An output that is an input of the model is no stage's, and left out."""
    lines = [f"# {source.name} in {len(stages)} stages. Pack them: maas-converter convert {GRAPH_FILE} …"]
    for stage in stages:
        lines += ["", "[[stage]]", f"name = {_toml(stage.name)}", f"model = {_toml(stage.file)}"]
        for key, edges in (("inputs", stage.inputs), ("outputs", stage.outputs)):
            lines.append(f"{key} = [{', '.join(map(_toml, edges))}]")
    for edge in dict.fromkeys(output_edges(data)):
        if edge not in input_edges(data):
            lines += ["", "[[output]]", f"edge = {_toml(edge)}"]
    return "\n".join([*lines, ""]).encode()


def _toml(text: str) -> str:
    """A basic string: JSON's, but for one more character to escape (toml.io, v1.0.0, String)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _write(out: Path, contents: dict[str, bytes]) -> None:
    """Put a folder with the files in the place of ``out``; raises `UnavailableError` with nothing left over."""
    out = out.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="maas-stages-") as scratch:
            for name, content in contents.items():
                (Path(scratch) / name).write_bytes(content)
            outlet.deliver(Path(scratch), out)
    except OSError as error:
        raise UnavailableError(f"cannot write {out}: {error.strerror or error}") from None
