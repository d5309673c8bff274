"""What a guard rule says, and what it is said about."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_converter.quantize.guard.input_statistics import InputStatistics


class CalibrationFinding(msgspec.Struct, frozen=True):
    """What is wrong with the calibration data, and what to try."""

    code: str
    what: str
    advice: str
    refuses: bool = True
    """Whether a bundle must not be made of it; else it is worth a note."""

    @property
    def sentence(self) -> str:
        """What is wrong and what to try, in one sentence."""
        return f"{self.what}; {self.advice}"


class Scaling(msgspec.Struct, frozen=True):
    """What a model does to its input before anything else: ``x * scale + offset``."""

    scale: float
    offset: float


class CheckedData(msgspec.Struct, frozen=True):
    """One data set: its statistics, its classes (N,) and the float model's scores (N, classes), where there are any."""

    statistics: InputStatistics
    y: NDArray[np.int64] | None = None
    scores: NDArray[np.float32] | None = None


def percent(share: float) -> str:
    """A share, for a sentence."""
    return f"{100 * share:.0f} %"
