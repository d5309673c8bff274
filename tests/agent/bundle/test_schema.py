"""Schema numbers: the lowest that suffices is written, a range is read, and nobody gets by with too low a number."""

import msgspec
import pytest

from maas_agent.bundle.schema import NEWEST, OLDEST, check_schema, check_used, needed
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
