"""Where a bundle comes from, as its manifest states it."""

import hashlib

from maas_agent import __version__
from maas_agent.bundle.manifest import Lineage
from maas_converter.convert.context import Job
from maas_converter.convert.importing import Brought
from maas_converter.convert.quantize_stages import Shipped


def lineage_of(job: Job, brought: tuple[Brought, ...], shipped: Shipped, forced: tuple[str, ...]) -> Lineage:
    """``forced``: what the calibration guard found and was told to pass over."""
    source = job.order.source
    several = not job.given.plan.single
    calibration = job.given.calibration if any(one.recipe.calibrated for one in brought) else None
    return Lineage(
        source=source.resolve().name,
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest() if several else brought[0].imported.source_sha256,
        converter=__version__,
        recipe=", ".join(dict.fromkeys(one.recipe.name for one in brought)),
        calibration_sha256=calibration.sha256 if calibration is not None else None,
        forced=forced,
        allowed_float=shipped.allowed_float,
        precision=shipped.found.precision if shipped.found is not None else {},
        stage_sources={one.plan.name: one.imported.source_sha256 for one in brought} if several else {},
    )
