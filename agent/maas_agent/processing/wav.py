"""WAV files: RIFF chunks to frames of sound, from bytes that may say anything of themselves.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), "Waveform Audio File
Format"; Multiple Channel Audio Data and WAVE Files (Microsoft) for WAVE_FORMAT_EXTENSIBLE; EBU Tech 3306 for RF64 and
ITU-R BS.2088 for BW64 (both for more than 4 GiB); RIFX is RIFF with the high bytes first. Python's own reader is not
used: up to 3.11 it knows neither these nor floating point. soundfile is not either: it is a parser in C of bytes from
anywhere, has no wheel with its library for 32-bit ARM, and costs a worker 3.4 MiB and 43 ms (0.14, x86-64). scipy's
reader comes with all of scipy.
"""

import struct
from collections.abc import Iterator
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.errors import DecodeError
from maas_agent.processing.magic import kind_of, not_read

MAX_CHANNELS = 64
MAX_RATE = 384_000
MAX_VALUES = 1 << 25
"""Samples of all channels that are looked at: half an hour at 16 kHz, 128 MiB as float32."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_SUBFORMATS = {  # after the bytes that say which: two, or with the high bytes first four
    "<": bytes.fromhex("000000001000800000aa00389b71"),
    ">": bytes.fromhex("00000010800000aa00389b71"),
}
_FILES: dict[bytes, Literal["<", ">"]] = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}
"""Beginnings of a file, with the order of its bytes."""
_NAMES: tuple[bytes, ...] = (
    b"fmt ",
    b"data",
    b"fact",
    b"LIST",
    b"cue ",
    b"plst",
    b"smpl",
    b"inst",
    b"bext",
    b"iXML",
    b"id3 ",
    b"ID3 ",
    b"JUNK",
)
_NAMES += (b"junk", b"PEAK", b"FLLR", b"PAD ", b"note", b"labl", b"DISP", b"acid", b"chna", b"axml", b"cart", b"ds64")
"""Names of chunks: where one stands, no sound does."""
_IN_DS64 = 0xFFFF_FFFF
_UNKNOWN_SIZE = 0x7FFF_F000
"""From here on a size means "until the end": recorders that write to a pipe do not know it beforehand."""


_Layout = tuple[int, int, int, int]


class Wave(msgspec.Struct, frozen=True):
    """A recording as it is stored, its values not yet read."""

    rate: int
    """Hz."""
    channels: int
    kind: int
    """1: integers (of 8 bits without a sign, of others with one); 3: floating point."""
    bits: int
    order: Literal["<", ">"]
    """Of the bytes of a value, the low ones come first, or the high ones."""
    data: memoryview
    """A whole number of frames, one value for each channel."""

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.data) // (self.channels * self.bits // 8)


def parse(payload: bytes) -> Wave:
    """Find format and data of a WAV file; raises `DecodeError` (``bad_audio``)."""
    order = _FILES.get(payload[:4])
    if order is None or payload[8:12] != b"WAVE":
        kind = kind_of(payload)
        if kind is not None:
            raise DecodeError(
                codes.BAD_AUDIO, not_read(kind) if not kind.reader else f"{kind.name} is no sound: send WAV"
            )
        raise _bad("it does not begin as a WAV file (RIFF, RIFX or RF64, and WAVE)")
    layout: _Layout | None = None
    size_64: int | None = None
    for name, size, body in _chunks(payload, order):
        if name == b"fmt ":
            layout = _layout(body, order)
        elif name == b"ds64" and len(body) >= 16:
            size_64 = int.from_bytes(body[8:16], "little")  # of RIFF, of the data, …
        elif name == b"data":
            if layout is None:
                raise _bad("its data come before their format")
            if size or not _is_followed_by_chunks(body, order):
                return _wave(layout, order, _stated(size, size_64), body)
    raise _bad("it has no data, or no sound in them" if layout else "it has no data")


def read(wave: Wave, frames: int) -> NDArray[np.float32]:
    """The first ``frames`` of a recording (fewer if it is shorter), (frames, channels) from -1 to 1.

    Raises `DecodeError` if that is too much, or a value is not finite.
    """
    count = min(frames, wave.frames) * wave.channels
    if count > MAX_VALUES:
        raise DecodeError(codes.TOO_LARGE, f"{count} values of sound, at most {MAX_VALUES} are read")
    values = _floats(wave, count) if wave.kind == _FLOAT else _integers(wave, count)
    return values.reshape(-1, wave.channels)


def _chunks(payload: bytes, order: str) -> Iterator[tuple[bytes, int, memoryview]]:
    """Name, stated size and body: shorter than stated where the file ends before, all that follows for data of size 0.

    Chunks begin at even places. Some programs leave out the byte between: it is missed where a name follows at once.
    """
    view, at = memoryview(payload), 12
    while at + 8 <= len(payload):
        name = payload[at : at + 4]
        (size,) = struct.unpack_from(order + "I", payload, at + 4)
        end = at + 8 + size
        yield name, size, view[at + 8 : end if size or name != b"data" else len(payload)]
        unpadded = size % 2 and payload[end + 1 : end + 5] not in _NAMES and payload[end : end + 4] in _NAMES
        at = end if unpadded else end + size % 2


def _is_followed_by_chunks(body: memoryview, order: str) -> bool:
    """Whether what follows data without a size is other chunks, and not the sound of one who did not know its size."""
    if len(body) < 8:
        return not len(body)
    (size,) = struct.unpack_from(order + "I", body, 4)
    return bytes(body[:4]) in _NAMES and 8 + size <= len(body)


def _layout(body: memoryview, order: str) -> _Layout:
    """Kind, channels, rate and bits."""
    if len(body) < 16:
        raise _bad("its format is cut short")
    kind, channels, rate, _, block, bits = struct.unpack_from(order + "HHIIHH", body)
    if kind == _EXTENSIBLE:
        kind = _subformat(bytes(body[24:40]), order)
    if bits not in _BITS.get(kind, ()):
        raise _bad(f"its format is {kind} with {bits} bits: send PCM of 8, 16, 24 or 32 bits, or float of 32 or 64")
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE:
        raise _bad(f"it has {channels} channels at {rate} Hz: 1 to {MAX_CHANNELS} at 1 to {MAX_RATE} are read")
    if block != channels * bits // 8:
        raise _bad(f"a frame of {channels} channels of {bits} bits has not {block} bytes")
    return kind, channels, rate, bits


def _subformat(identifier: bytes, order: str) -> int:
    """The kind that the 16 bytes of a GUID say; some programs write them with the low bytes first in RIFX too."""
    if len(identifier) == 16 and identifier[2:] == _SUBFORMATS["<"]:
        return int.from_bytes(identifier[:2], "little")
    if len(identifier) == 16 and order == ">" and identifier[4:] == _SUBFORMATS[">"]:
        return int.from_bytes(identifier[:4], "big")
    raise _bad("its format is extensible, of a kind that is not read")


def _stated(size: int, size_64: int | None) -> int | None:
    """How many bytes of data there are to be; ``None`` if the recorder did not know."""
    if size == _IN_DS64 and size_64:
        return size_64
    return size if 0 < size < _UNKNOWN_SIZE else None


def _wave(layout: _Layout, order: Literal["<", ">"], size: int | None, body: memoryview) -> Wave:
    kind, channels, rate, bits = layout
    body = body if size is None else body[:size]
    if size is not None and len(body) < size:
        raise _bad(f"it is cut short: {len(body)} of {size} bytes of data are there")
    block = channels * bits // 8
    if len(body) < block:
        raise _bad("it holds no sound")
    return Wave(
        rate=rate, channels=channels, kind=kind, bits=bits, order=order, data=body[: len(body) // block * block]
    )


def _integers(wave: Wave, count: int) -> NDArray[np.float32]:
    stored: NDArray[np.signedinteger]
    if wave.bits == 8:
        stored = np.frombuffer(wave.data, np.uint8, count).astype(np.int16) - 128
    elif wave.bits == 24:
        # Three bytes into the upper three of four: the sign comes along, then the value is shifted into its place.
        wide = np.zeros((count, 4), np.uint8)
        three = np.frombuffer(wave.data, np.uint8, count * 3).reshape(-1, 3)
        wide[:, 1:] = three if wave.order == "<" else three[:, ::-1]
        stored = wide.reshape(-1).view("<i4") >> 8
    else:
        stored = np.frombuffer(wave.data, f"{wave.order}i{wave.bits // 8}", count)
    return np.asarray(stored.astype(np.float32) / 2 ** (wave.bits - 1), np.float32)


def _floats(wave: Wave, count: int) -> NDArray[np.float32]:
    stored = np.frombuffer(wave.data, f"{wave.order}f{wave.bits // 8}", count)
    if not np.isfinite(stored).all():
        raise DecodeError(codes.NOT_FINITE, "a value of the recording is NaN or infinite")
    return np.asarray(np.clip(stored, -1, 1), np.float32)


def _bad(why: str) -> DecodeError:
    return DecodeError(codes.BAD_AUDIO, f"no readable recording: {why}")
