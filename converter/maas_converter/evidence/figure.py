"""One measured number."""

import msgspec

from maas_converter.base.statistics import Interval


class Figure(msgspec.Struct, frozen=True):
    """A value and its 95 % confidence interval, in the same unit; no interval where the data cannot give one."""

    value: float
    interval: Interval | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference of this size is more than chance: zero lies outside of the interval."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]
