"""WAV files: RIFF chunks to frames of sound, from bytes that may say anything of themselves.

Sources: Multimedia Programming Interface and Data Specifications 1.0 (IBM and Microsoft, 1991), "Waveform Audio File
Format"; Multiple Channel Audio Data and WAVE Files (Microsoft) for WAVE_FORMAT_EXTENSIBLE. Python's own reader is not
used: up to 3.11 it knows neither that nor floating point.
"""

import struct
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from maas_agent import codes
from maas_agent.errors import DecodeError

MAX_CHANNELS = 64
MAX_RATE = 384_000
MAX_VALUES = 1 << 25
"""Samples of all channels that are looked at: half an hour at 16 kHz, 128 MiB as float32."""

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")  # after the two bytes that say which
_UNKNOWN_SIZE = 0x7FFF_F000
"""From here on a size means "until the end": recorders that write to a pipe do not know it beforehand."""


class Wave(msgspec.Struct, frozen=True):
    """A recording as it is stored, its values not yet read."""

    rate: int
    """Hz."""
    channels: int
    kind: int
    """1: integers (of 8 bits without a sign, of others with one); 3: floating point."""
    bits: int
    data: memoryview
    """A whole number of frames, one value for each channel."""

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.data) // (self.channels * self.bits // 8)


def parse(payload: bytes) -> Wave:
    """Find format and data of a WAV file; raises `DecodeError` (``bad_audio``)."""
    if payload[:4] != b"RIFF" or payload[8:12] != b"WAVE":
        raise _bad("it does not begin as a WAV file (RIFF, WAVE)")
    layout: tuple[int, int, int, int] | None = None
    for name, size, body in _chunks(payload):
        if name == b"fmt ":
            layout = _layout(body)
        elif name == b"data":
            if layout is None:
                raise _bad("its data come before their format")
            return _wave(layout, size, body)
    raise _bad("it has no data")


def read(wave: Wave, frames: int) -> NDArray[np.float32]:
    """The first ``frames`` of a recording (fewer if it is shorter), (frames, channels) from -1 to 1.

    Raises `DecodeError` if that is too much, or a value is not finite.
    """
    count = min(frames, wave.frames) * wave.channels
    if count > MAX_VALUES:
        raise DecodeError(codes.TOO_LARGE, f"{count} values of sound, at most {MAX_VALUES} are read")
    values = _floats(wave, count) if wave.kind == _FLOAT else _integers(wave, count)
    return values.reshape(-1, wave.channels)


def _chunks(payload: bytes) -> Iterator[tuple[bytes, int, memoryview]]:
    """Name, stated size and body, which is shorter than stated where the file ends before."""
    view, at = memoryview(payload), 12
    while at + 8 <= len(payload):
        name, size = struct.unpack_from("<4sI", payload, at)
        yield name, size, view[at + 8 : at + 8 + size]
        at += 8 + size + size % 2  # chunks begin at even places


def _layout(body: memoryview) -> tuple[int, int, int, int]:
    """Kind, channels, rate and bits."""
    if len(body) < 16:
        raise _bad("its format is cut short")
    kind, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", body)
    if kind == _EXTENSIBLE:
        if len(body) < 40 or bytes(body[26:40]) != _SUBFORMAT:
            raise _bad("its format is extensible, of a kind that is not read")
        kind = int.from_bytes(body[24:26], "little")
    if bits not in _BITS.get(kind, ()):
        raise _bad(f"its format is {kind} with {bits} bits: send PCM of 8, 16, 24 or 32 bits, or float of 32 or 64")
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE:
        raise _bad(f"it has {channels} channels at {rate} Hz: 1 to {MAX_CHANNELS} at 1 to {MAX_RATE} are read")
    if block != channels * bits // 8:
        raise _bad(f"a frame of {channels} channels of {bits} bits has not {block} bytes")
    return kind, channels, rate, bits


def _wave(layout: tuple[int, int, int, int], size: int, body: memoryview) -> Wave:
    kind, channels, rate, bits = layout
    if len(body) < size < _UNKNOWN_SIZE:
        raise _bad(f"it is cut short: {len(body)} of {size} bytes of data are there")
    block = channels * bits // 8
    if len(body) < block:
        raise _bad("it holds no sound")
    return Wave(rate=rate, channels=channels, kind=kind, bits=bits, data=body[: len(body) // block * block])


def _integers(wave: Wave, count: int) -> NDArray[np.float32]:
    stored: NDArray[np.signedinteger]
    if wave.bits == 8:
        stored = np.frombuffer(wave.data, np.uint8, count).astype(np.int16) - 128
    elif wave.bits == 24:
        # Three bytes into the upper three of four: the sign comes along, then the value is shifted into its place.
        wide = np.zeros((count, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(wave.data, np.uint8, count * 3).reshape(-1, 3)
        stored = wide.reshape(-1).view("<i4") >> 8
    else:
        stored = np.frombuffer(wave.data, f"<i{wave.bits // 8}", count)
    return np.asarray(stored.astype(np.float32) / 2 ** (wave.bits - 1), np.float32)


def _floats(wave: Wave, count: int) -> NDArray[np.float32]:
    stored = np.frombuffer(wave.data, f"<f{wave.bits // 8}", count)
    if not np.isfinite(stored).all():
        raise DecodeError(codes.NOT_FINITE, "a value of the recording is NaN or infinite")
    return np.asarray(np.clip(stored, -1, 1), np.float32)


def _bad(why: str) -> DecodeError:
    return DecodeError(codes.BAD_AUDIO, f"no readable recording: {why}")
