"""One conversion as it goes through its steps: what was asked for, and where the work is done."""

from pathlib import Path

import msgspec

from maas_converter.base.console import Progress
from maas_converter.bench.blobs import Blobs
from maas_converter.convert.request import Given, Order


class Job(msgspec.Struct, frozen=True):
    """What every step of a conversion is given."""

    order: Order
    given: Given
    folder: Path
    """Scratch; removed with everything in it when the conversion ends."""
    blobs: Blobs
    """In that folder."""
    progress: Progress
