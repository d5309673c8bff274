"""Text where raw samples could be: ``21.5``, ``ON`` and ``null`` have the size of a float32, and are none.

That all bytes are printable is not enough: those of one in twenty float32 between 8 and 32 are (10.27 is ``ER$A``). So
text is told by what it says, and by what the values would be. `instead_of_raw` has the rules, docs/mqtt.md says them
for people.
"""

import re
from math import prod

import numpy as np

from maas_agent.bundle.manifest import Decode
from maas_agent.processing.embedded import is_embedded
from maas_agent.processing.marks import PRINTABLE

_INTEGERS = ("int16", "int32", "int64")
_HEAD = 64
_LONGEST_SAID, _LONGEST_UTF16 = 4096, 512
"""Characters that are looked at for words; bytes of UTF-16 that is looked for where no byte order mark says so."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE | re.ASCII)

_WORDS = frozenset(
    """on off open opened close closed true false yes no ok null nil none nan inf infinity na n/a undefined empty online
    offline unknown unavailable available connected disconnected error err fail failed failure fault alarm alert warning
    warn normal good bad high low hot cold warm cool heat auto manual idle busy ready stop stopped start started run
    running pause paused toggle enable enabled disable disabled active inactive occupied clear wet dry motion detected
    home away not_home locked unlocked lock unlock opening closing standby sleep awake play playing up down left right
    left_click single double hold long short press pressed release released test ping pong hello init set unset reset
    day night dead alive lost found full timeout invalid valid missing present absent done fire leak rain wind safe free
    live gone mute mode load save dark blue green red file node zone""".split()  # noqa: SIM905
)
"""Whole payloads that say something of a sensor, and are none of its values."""
_DECIMAL = re.compile(r"[+-]?\d+\.\d+(?:[eE][+-]?\d+)?", re.ASCII)
_UNITS = (
    "°?[CFK]|%|m?V|mA|k?Wh?|ms|s|min|h|k?g|mm|cm|k?m|m/s|km/h|h?Pa|kPa|m?bar|psi|lx|lux|ppm|ppb|dBm?|rpm|k?Hz|l|L|µg/m³"
)
_QUANTITY = re.compile(rf"[+-]?\d+,\d+|0[xX][0-9a-fA-F]+|[+-]?\d+(?:[.,]\d+ ?| )(?:{_UNITS})|\d\d+%", re.ASCII)
"""With a decimal comma, in hexadecimal, or with a unit."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d\S{0,20})?|\d\d:\d\d(?::\d\d(?:\.\d+)?)?", re.ASCII)
_CUT_JSON = re.compile(r"\[+\s*-?\d[\[\]\d,. \r\n-]*|\{\s*\"\w[\w ]*\"\s*:.*", re.DOTALL)

_FIGURES = re.compile(r"[\d.,;:/ +-]+", re.ASCII)
_SHORT = re.compile(r"[A-Za-z]{1,3}[=: -]\d+|[vV#]\d[\d.]*|[\[{][\"'\d-].*")
_PIECE = r"(?:[A-Z]?[a-z]+|[A-Z]+|[0-9]+|(?:(?![A-Za-z0-9_])\w)+)"
_BETWEEN = r"(?: |[.,:;/_=-] ?|(?<=\d)(?=[A-Za-z])|(?<=[A-Za-z])(?=\d))"
_SAID = re.compile(rf"[<\[({{\"'#]{{0,2}}{_PIECE}(?:{_BETWEEN}{_PIECE})*[\])}}>\"'.!?:;,]{{0,2}}")
_PIECES = re.compile(_PIECE)
_SENTENCE = re.compile(r"[A-Z]?[a-z]{2,15}(?:[,:]? (?:[A-Z]?[a-z]{1,15}|\d{1,6})){2,}[.!?]?")

_HUGE, _SMALL, _TINY = 1e10, 1e-6, 1e-15
"""Sizes of float32. Beyond the first and below the last no measurement is, between the others few are."""


def instead_of_raw(payload: bytes, spec: Decode) -> str | None:
    """The text that ``payload`` is instead of raw samples, without blanks around it; ``None`` if it is raw.

    Nobody has said what it is. It is text if all of it is printable (NULs may follow), and one of these holds:

    1. samples of one value: it is a number, or no whole number of samples
    2. it is a picture as text, or says what no values happen to say: a word of `_WORDS`, a quantity, a time
    3. the values that it would be are none of a measurement, or too many of them are printable
    """
    text = printed(payload, spec)
    if text is None or len(text) < len(payload) == spec.sample_bytes <= 2:
        return None
    single = prod(spec.shape) == 1
    if len(payload) % spec.sample_bytes:
        return text if single or is_embedded(text) else None
    if (single and is_number(text)) or is_embedded(text) or _says(text, spec):
        return text
    return text if _unlike_values(text, payload, spec, single) else None


def is_number(text: str) -> bool:
    """Whether all of it is a number, finite or not."""
    return bool(NUMBER.fullmatch(text) or NOT_FINITE.fullmatch(text))


def printed(payload: bytes, spec: Decode) -> str | None:
    """``payload`` as text without blanks around it, if it is that from its beginning to its end."""
    body = payload.rstrip(b"\0")
    if body[:_HEAD].translate(None, PRINTABLE) or not body:  # the quick way out for raw values
        return _wide(payload, spec)
    padded = len(body) < len(payload)
    if padded and spec.dtype in _INTEGERS:
        return None  # small numbers: their high bytes are zero
    try:
        return _shown(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _wide(payload, spec)


def _wide(payload: bytes, spec: Decode) -> str | None:
    """Text in UTF-16: with a byte order mark, or with zeros in every other byte (as small integers have them too)."""
    if len(payload) % 2 or len(payload) < 4:
        return None
    try:
        if payload[:2] in (b"\xff\xfe", b"\xfe\xff") and spec.dtype not in _INTEGERS:
            return _shown(payload.decode("utf-16").rstrip("\0"))
        if spec.dtype != "float32" or len(payload) > _LONGEST_UTF16:
            return None
        for encoding, zeros in (("utf-16-le", payload[1::2]), ("utf-16-be", payload[::2])):
            if not any(zeros):
                return _shown(payload.decode(encoding).rstrip("\0"))
    except UnicodeDecodeError:
        return None
    return None


def _shown(text: str) -> str | None:
    plain = text.translate({9: " ", 10: " ", 13: " "})
    return text.strip() if plain.isprintable() and text else None


def _says(text: str, spec: Decode) -> bool:
    """Whether the text says what values of this type do not happen to say.

    Pixels and other small integers may be printable one and all, and digits too: of them it takes more.
    """
    if text.lower() in _WORDS and text in (text.lower(), text.upper(), text.capitalize()):
        return True
    if _DECIMAL.fullmatch(text) or _TIME.fullmatch(text):
        return True
    if spec.dtype in ("int8", "uint8"):
        return bool(_CUT_JSON.fullmatch(text) or _is_sentence(text))
    return is_number(text) or bool(_QUANTITY.fullmatch(text))


def _is_sentence(text: str) -> bool:
    return len(text) <= _LONGEST_SAID and len(set(text.lower())) > 6 and bool(_SENTENCE.fullmatch(text))


def _unlike_values(text: str, payload: bytes, spec: Decode, single: bool) -> bool:
    """Whether the values that the bytes would be speak against it."""
    match spec.dtype:
        case "bool" | "int64":
            return True  # they are 0 and 1; and those would be beyond 2e18, one and all
        case "int8" | "uint8":
            return single and len(payload) > 1 and _is_said(text)
        case "int16" | "float16":
            return (_is_said(text) and len(text) >= (4 if single else 16)) or _too_many(payload, 2, 24)
        case "int32":
            return _is_said(text) or _too_many(payload, 4, 8)
    sizes = np.abs(np.frombuffer(payload, "<f4").astype(np.float64))
    sizes = sizes[sizes > 0]
    if ((sizes > _HUGE) | (sizes < _TINY)).any():
        return True
    if len(text) < 8 or not _too_many(payload, 4, 2):
        return bool((sizes < _SMALL).all() and (_SHORT.fullmatch(text) or _FIGURES.fullmatch(text)))
    return _is_said(text) or bool(_CUT_JSON.fullmatch(text) or _FIGURES.fullmatch(text)) or _too_many(payload, 4, 8)


def _is_said(text: str) -> bool:
    """Whether it is words, names and numbers with one sign between two, most of them longer than two characters."""
    if len(text) > _LONGEST_SAID or not _SAID.fullmatch(text):
        return False
    return len(text) >= 3 * len(_PIECES.findall(text)) or bool(_FIGURES.fullmatch(text))


def _too_many(payload: bytes, width: int, most: int) -> bool:
    """Whether there are ``most`` different values: that all of them are printable does not happen."""
    return len({payload[at : at + width] for at in range(0, len(payload), width)}) >= most
