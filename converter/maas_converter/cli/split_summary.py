"""Cuts and splits, as tables for people."""

from maas_converter.base.console import say, show_table
from maas_converter.split.split import GRAPH_FILE, Listing, Split
from maas_converter.tflite.cut import Cut


def show_cuts(listing: Listing) -> None:
    """Each op in a row: what crosses a cut after it, and how many bytes a sample that is."""
    rows = [
        (place.label, _crossing(place), "" if place.obstacle else f"{place.wire_bytes:,}") for place in listing.cuts
    ]
    show_table(f"{listing.model}, {listing.bytes:,} bytes", ("cut after", "what crosses", "bytes a sample"), rows)


def show_split(split: Split) -> None:
    """Each stage in a row, then what was proven."""
    rows = [
        (stage.file, ", ".join(stage.inputs), ", ".join(stage.outputs), f"{stage.bytes:,}") for stage in split.stages
    ]
    show_table(f"{split.model}, {split.bytes:,} bytes", ("stage", "takes", "makes", "bytes"), rows)
    say(f"bit-exact on {split.evidence.samples} samples: {split.evidence.origin}")
    say(f"wrote {split.out}: pack it with maas-converter convert {split.out}/{GRAPH_FILE}")


def _crossing(place: Cut) -> str:
    if place.obstacle:
        return f"no cut: {place.obstacle}"
    return ", ".join(f"{list(tensor.shape)} {tensor.dtype}" for tensor in place.crossing)
