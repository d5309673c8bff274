"""Which interpreter the tests run models with: ``MAAS_TEST_RUNTIME=tflite-runtime`` runs them all on the other one."""

import os
from typing import get_args

from maas_agent.runtime.setup import Library

_wanted = os.environ.get("MAAS_TEST_RUNTIME", "auto")
assert _wanted in get_args(Library), f"MAAS_TEST_RUNTIME={_wanted}: choose one of {get_args(Library)}"
RUNTIME: Library = _wanted  # type: ignore[assignment]
