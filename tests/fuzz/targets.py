"""All targets: importing this registers them."""

from tests.fuzz import (
    on_broker,
    on_bundles,
    on_files,
    on_inputs,
    on_models,
    on_store,
    on_terminals,
    on_updates,
    on_workers,
)
from tests.fuzz.registry import TARGETS

MODULES = (on_broker, on_workers, on_inputs, on_bundles, on_updates, on_files, on_store, on_models, on_terminals)

__all__ = ["MODULES", "TARGETS"]
