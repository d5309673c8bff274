"""Real models and data that lie beside the project; tests that need them say so and skip where they are not."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    """The path of a file or folder there."""
    if not (FOLDER / name).exists():
        pytest.skip(f"needs {name} of the shared test data")
    return FOLDER / name
