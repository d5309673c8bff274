"""Numbers as people read them."""

from maas_converter.base.statistics import Figure

NONE = "—"
"""Where there is nothing to say."""


def percent(share: float) -> str:
    """A fraction as a percentage."""
    return f"{share * 100:.2f} %"


def shares(figure: Figure | None) -> str:
    """A fraction with its interval, in percent."""
    if figure is None or figure.interval is None:
        return percent(figure.value) if figure is not None else NONE
    low, high = figure.interval
    return f"{percent(figure.value)} ({low * 100:.2f} … {high * 100:.2f})"


def plain(figure: Figure | None, signed: bool = False) -> str:
    """A number with its interval, four digits each."""
    if figure is None:
        return NONE
    form = "+.4g" if signed else ".4g"
    low_high = f" ({figure.interval[0]:{form}} … {figure.interval[1]:{form}})" if figure.interval is not None else ""
    return f"{figure.value:{form}}{low_high}"


def points(figure: Figure) -> str:
    """A difference in percentage points with its interval."""
    low_high = f" ({figure.interval[0]:+.2f} … {figure.interval[1]:+.2f})" if figure.interval is not None else ""
    return f"{figure.value:+.2f}{low_high}"


def size(count: int) -> str:
    """Bytes with thousands set apart."""
    return f"{count:,}"


def decibels(value: float | None, noise: float) -> str:
    """A signal-to-noise ratio; ``noise`` is the mean squared difference, which tells why there is no ratio."""
    if value is not None:
        return f"{value:.1f} dB"
    return "no difference" if noise == 0 else "no signal"


def short(name: str, length: int = 28) -> str:
    """A name that fits into a chart; control characters, which may stand in a label, would break it."""
    clean = "".join(letter if letter.isprintable() else " " for letter in name)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"
