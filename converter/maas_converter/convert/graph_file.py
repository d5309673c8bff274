"""Reads a graph file: which models a bundle is made of, and which edge feeds which.

    [[stage]]
    name = "gate"
    model = "gate.keras"            # beside this file; whatever else convert reads
    inputs = ["image"]              # the one edge that no stage makes is the bundle's input
    outputs = ["person"]            # in the model's own order
    quantize = "int8"               # instead of --quantize

    [[stage]]
    name = "faces"
    model = "faces.tflite"
    inputs = ["image"]
    outputs = ["face"]
    when = { edge = "person", index = 1, at_least = 0.5 }

    [[output]]                      # without any: every edge that no stage takes
    edge = "face"
    otherwise = "person"            # where the stage did not run
    labels = "labels.txt"

Stages may stand in any order; they are put into one in which each comes after what it needs.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from maas_agent.bundle.edges import check_answers, check_stages
from maas_agent.bundle.manifest import Name, When
from maas_agent.errors import BundleError, DataError, NoInputError
from maas_converter.base.user_files import check_keys, meant, read_toml
from maas_converter.data.folder import is_there

_Edge = Annotated[str, msgspec.Meta(min_length=1)]
_Edges = Annotated[tuple[_Edge, ...], msgspec.Meta(min_length=1)]
_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class StageFile(msgspec.Struct, frozen=True):
    """One stage to be. ``quantize`` names a recipe, and is empty where the command line's holds."""

    name: Name
    model: Path
    inputs: _Edges
    outputs: _Edges
    quantize: str = ""
    when: When | None = None


class OutputPlan(msgspec.Struct, frozen=True):
    """One answer to be: the edge it is read from, and the edge that stands in where that was not made."""

    edge: _Edge
    otherwise: str = ""
    labels: Path | None = None


class GraphFile(msgspec.Struct, frozen=True):
    """A whole graph, checked in itself; each stage comes after what it needs. Paths can be opened from here."""

    stages: tuple[StageFile, ...]
    outputs: tuple[OutputPlan, ...]
    input: str
    """The edge that the bundle is given."""


def read_graph(path: Path) -> GraphFile:
    """Read a graph file.

    Raises `NoInputError` if it, or a file that it names, is not there, and `DataError` that says which table, key or
    edge is at fault.
    """
    document = read_toml(path)
    check_keys(path, "the file", document, ("stage", "output"))
    stages = tuple(_stage(path, number, table) for number, table in enumerate(_tables(path, document, "stage"), 1))
    if not stages:
        raise DataError(f"{path} has no stage: write [[stage]], one table a model")
    given = _given(path, stages)
    ordered = _ordered(path, stages, given)
    tables = _tables(path, document, "output")
    outputs = tuple(_output(path, number, table) for number, table in enumerate(tables, 1)) or _ends(ordered)
    _check(path, ordered, outputs, given)
    return GraphFile(ordered, outputs, given)


def _tables(path: Path, document: dict[str, Any], key: str) -> list[Any]:
    tables = document.get(key, [])
    if not isinstance(tables, list):
        raise DataError(f"{path}: write [[{key}]], in double brackets, one table for each")
    return tables


def _stage(path: Path, number: int, table: Any) -> StageFile:
    where = f"[[stage]] {number}"
    if isinstance(table, dict) and "when" in table:
        check_keys(path, f"{where} when", table["when"], When.__struct_fields__)
    stage = _struct(path, where, table, StageFile)
    return msgspec.structs.replace(stage, model=_existing(path, f"{where} model", stage.model))


def _output(path: Path, number: int, table: Any) -> OutputPlan:
    where = f"[[output]] {number}"
    output = _struct(path, where, table, OutputPlan)
    if output.labels is None:
        return output
    return msgspec.structs.replace(output, labels=_existing(path, f"{where} labels", output.labels))


def _struct(path: Path, where: str, table: Any, kind: type[_Struct]) -> _Struct:
    check_keys(path, where, table, kind.__struct_fields__)
    try:
        return msgspec.convert(table, kind, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {where}: {error}") from None


def _path(_wanted: type, value: Any) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("Expected the path of a file")
    return Path(value)


def _existing(path: Path, where: str, named: Path) -> Path:
    found = path.parent / named
    if not is_there(found):
        raise NoInputError(f"{path}: {where} = {str(named)!r}: there is no {found}")
    return found


def _given(path: Path, stages: tuple[StageFile, ...]) -> str:
    """The one edge that stages need and none makes."""
    made = {edge for stage in stages for edge in stage.outputs}
    unmade = list(dict.fromkeys(edge for stage in stages for edge in stage.inputs if edge not in made))
    if not unmade:
        raise DataError(f"{path}: every edge is made by a stage: one that none makes is the bundle's input")
    if len(unmade) > 1:
        edges = ", ".join(f"{edge!r}{meant(edge, made)}" for edge in unmade)
        raise DataError(f"{path}: a bundle has one input, but no stage makes any of the edges {edges}")
    return unmade[0]


def _ordered(path: Path, stages: tuple[StageFile, ...], given: str) -> tuple[StageFile, ...]:
    """The stages in the order in which they can run; otherwise as they are written."""
    made = {edge for stage in stages for edge in stage.outputs} | {given}
    known, waiting, ordered = {given}, list(stages), list[StageFile]()
    for stage in stages:
        if stage.when is not None and stage.when.edge not in made:
            guess = meant(stage.when.edge, made)
            raise DataError(
                f"{path}: stage {stage.name!r} has a condition on {stage.when.edge!r}, which no stage makes{guess}"
            )
    while waiting:
        ready = next((stage for stage in waiting if known.issuperset(_needs(stage))), None)
        if ready is None:
            names = ", ".join(repr(stage.name) for stage in waiting)
            raise DataError(f"{path}: stages {names} need what only they or those after them make: there is a circle")
        waiting.remove(ready)
        ordered.append(ready)
        known.update(ready.outputs)
    return tuple(ordered)


def _needs(stage: StageFile) -> set[str]:
    return {*stage.inputs, *([stage.when.edge] if stage.when is not None else [])}


def _ends(stages: tuple[StageFile, ...]) -> tuple[OutputPlan, ...]:
    taken = {edge for stage in stages for edge in stage.inputs}
    return tuple(OutputPlan(edge) for stage in stages for edge in stage.outputs if edge not in taken)


def _check(path: Path, stages: tuple[StageFile, ...], outputs: tuple[OutputPlan, ...], given: str) -> None:
    """Check the graph by the rules of the manifest that it becomes; raises `DataError`."""
    made = [edge for stage in stages for edge in stage.outputs]
    for number, output in enumerate(outputs, 1):
        for key, edge in (("edge", output.edge), ("otherwise", output.otherwise)):
            if edge and edge not in made:
                raise DataError(f"{path}: [[output]] {number} {key} = {edge!r}: no stage makes it{meant(edge, made)}")
    names = [output.edge for output in outputs]
    try:
        check_stages(stages, [given])
        if len(set(names)) < len(names):
            raise BundleError(f"there is an output twice: {', '.join(names)}")
        check_answers(stages, [given], {output.edge: output.otherwise for output in outputs})
    except BundleError as error:
        raise DataError(f"{path}: {error}") from None
