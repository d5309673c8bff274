"""Schema numbers: the lowest that suffices is written, a range is read, and nobody gets by with too low a number."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec import inspect

from maas_agent.bundle.delivery import Delivery
from maas_agent.bundle.manifest import SINCE as MANIFESTS_SINCE
from maas_agent.bundle.manifest import Manifest
from maas_agent.bundle.schema import NEWEST, OLDEST, Schemas, check_schema, check_used, is_overcome, needed
from maas_agent.errors import BundleError


class Shape(msgspec.Struct, frozen=True, tag=True):
    """A kind that was there from the beginning, and two of its fields that were not."""

    size: int
    angle: float = 0.0
    origin: tuple[int, ...] = ()


class Blob(msgspec.Struct, frozen=True, tag=True):
    """A kind that came later."""

    size: int


class Drawing(msgspec.Struct, frozen=True):
    """What holds them."""

    shapes: tuple[Shape | Blob, ...]
    named: dict[str, Shape] = {}


SINCE = {"Shape.angle": 2, "Blob": 2}
OLD = Drawing((Shape(1), Shape(2, origin=(1, 2))))
NEW = {
    "Shape.angle": Drawing((Shape(1), Shape(2, angle=0.5))),
    "Blob": Drawing((Shape(1), Blob(2))),
}
IN_A_TABLE = Drawing((), {"a": Shape(1, angle=1.0)})


def test_what_uses_nothing_new_states_the_oldest() -> None:
    assert needed(OLD, SINCE) == OLDEST


@pytest.mark.parametrize("drawing", [*NEW.values(), IN_A_TABLE])
def test_one_new_kind_or_field_anywhere_needs_its_schema(drawing: Drawing) -> None:
    assert needed(drawing, SINCE) == 2


@pytest.mark.parametrize(("name", "drawing"), NEW.items())
def test_what_is_newer_than_what_is_stated_is_refused_by_name(name: str, drawing: Drawing) -> None:
    """An older program would have read that manifest without seeing the step."""
    with pytest.raises(BundleError, match=f"states schema 1, but has {name}, which came with 2"):
        check_used(1, drawing, SINCE)
    check_used(2, drawing, SINCE)


def test_every_schema_from_the_oldest_to_the_newest_is_read() -> None:
    for schema in range(OLDEST, NEWEST + 1):
        check_schema(schema)


def test_a_new_value_of_an_old_field_needs_its_schema_too() -> None:
    """``resize = "lanczos"`` would be another picture on a device that does not know it, if it took it at all."""

    class Picture(msgspec.Struct, frozen=True):
        resize: str = "nearest"

    since = {"Picture.resize=lanczos": 2}
    assert [needed(Picture(how), since) for how in ("nearest", "bilinear", "lanczos")] == [1, 1, 2]


def test_whatever_schema_1_does_not_have_says_since_when_it_is_there() -> None:
    """``schema-1.json`` is what the manifest was in its first schema; without this rule it grows without a number."""
    first = json.loads(Path(__file__).with_name("schema-1.json").read_text())
    names = {name for kind, fields in first.items() for name in _named(kind, fields)}
    now = dict(_kinds(inspect.type_info(Manifest), {}))
    for kind, fields in now.items():
        if kind in MANIFESTS_SINCE:  # all of it is new
            continue
        new = _named(kind, fields) - names
        missing = {name for name in new if not {name, name.partition("=")[0]} & MANIFESTS_SINCE.keys()}
        assert not missing, f"{sorted(missing)} came after schema 1: name them in SINCE, in bundle/manifest/model.py"
    known = {name for kind, fields in now.items() for name in _named(kind, fields)}
    assert names <= known, "what an old manifest has is read for ever"
    assert MANIFESTS_SINCE.keys() <= known - names, "it is there, and was not from the beginning"
    assert set(MANIFESTS_SINCE.values()) <= set(range(OLDEST + 1, NEWEST + 1))


def test_a_schema_that_is_not_known_names_the_versions_and_what_is_needed() -> None:
    with pytest.raises(BundleError, match=r"the box has schema 4, this program reads 1 to 3: .*\(\S+ knows schema 3\)"):
        check_schema(4, Schemas("the box", 1, 3))
    with pytest.raises(BundleError, match=r"this program reads 3: .* knows schema 3 and not 'lid' at the top\)"):
        check_schema(1, Schemas("the box", 3, 3), "'lid' at the top")


@pytest.mark.parametrize(
    ("reason", "is_read_now"),
    [
        ("digits 1.2.0: manifest has schema 2, this program reads 1: update maas-edge on this machine", True),
        ("digits 1.2.0: manifest has schema 3, this program reads 1 to 2: update maas-edge on this machine", False),
        ("digits 1.2.0: the delivery has schema 2, this program reads 1: update maas-edge on this machine", False),
        ("digits 1.2.0: the delivery has schema 1, this program reads 0: update maas-edge on this machine", True),
        ("output 'scores' deviates by 5", False),
    ],
)
def test_what_an_earlier_program_could_not_read_is_not_refused_for_ever(reason: str, is_read_now: bool) -> None:
    """The first sentence is that of a maas-agent that reads one schema only."""
    assert is_overcome(reason, manifest=2, delivery=1) == is_read_now


def _named(kind: str, fields: dict[str, list[str]]) -> set[str]:
    values = {f"{kind}.{field}={value}" for field, texts in fields.items() for value in texts}
    return {kind, *(f"{kind}.{field}" for field in fields)} | values


def _kinds(kind: inspect.Type, found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """Every structure that a manifest consists of: its fields, and the texts that they may be."""
    if isinstance(kind, inspect.StructType):
        if kind.cls.__name__ in found:
            return found
        found[kind.cls.__name__] = {field.name: sorted(_texts(field.type)) for field in kind.fields}
        for field in kind.fields:
            _kinds(field.type, found)
    for part in _parts(kind):
        _kinds(part, found)
    return found


def _texts(kind: inspect.Type) -> Iterator[str]:
    if isinstance(kind, inspect.LiteralType):
        yield from map(str, kind.values)
    elif isinstance(kind, inspect.UnionType):
        for part in kind.types:
            yield from _texts(part)


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    for name in ("item_type", "key_type", "value_type"):
        if (part := getattr(kind, name, None)) is not None:
            yield part
    for name in ("types", "item_types"):
        yield from getattr(kind, name, ())


def test_a_delivery_has_one_schema_and_nothing_that_came_later() -> None:
    """With the next one, `Schemas.since` says what it brought, as for the manifest."""
    found = _kinds(inspect.type_info(Delivery), {})
    assert {kind: set(fields) for kind, fields in found.items()} == {
        "Delivery": {"schema", "blobs", "recipients"},
        "DeliveredBlob": {"stored", "size", "form"},
    }
    assert found["DeliveredBlob"]["form"] == ["sealed", "sealed-zlib", "zlib"]
