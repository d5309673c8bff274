"""Makes the least model there is, which negates one number: an interpreter that loads may still run nothing."""

import base64
import os
from pathlib import Path

import numpy as np

from maas_agent.errors import RuntimeFailure
from maas_agent.runtime.interface import Accelerator

_MODEL = base64.b64decode(
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA0AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQAEAAMAAgABAAMAAAA"
    "EAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAAAAAAAAEAAAABAAAAAQAAAAAAAAACAAAA"
    "MAAAAAQAAADk////CAAAAAwAAAABAAAAeQAAAAEAAAABAAAADAAMAAgAAAAAAAQADAAAAAgAAAAMAAAAAQAAAHgAAAABAAAAAQAAAAEAAAAQAAAA"
    "DAAMAAsAAAAAAAQADAAAADsAAAAAAAA7"
)
"""A ``.tflite`` file: NEG of a float32 (1,)."""


def run(accelerator: Accelerator) -> None:
    """Load and run it; raises `RuntimeFailure` if the answer is wrong, and whatever a broken library raises."""
    # In memory: nothing on this device has to be writable for it.
    with os.fdopen(os.memfd_create("least.tflite"), "wb") as file:
        file.write(_MODEL)
        file.flush()
        (answer,) = accelerator.load(Path(f"/proc/self/fd/{file.fileno()}"), 1).run([np.array([2.5], np.float32)])
    if answer.tolist() != [-2.5]:
        raise RuntimeFailure(f"it computes {answer.tolist()} where [-2.5] is right: the library is broken")
