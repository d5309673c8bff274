"""WAV files made byte by byte, so that every field can be a lie."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """A RIFF chunk, padded to an even length; ``size`` overrides what it says of itself."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def layout(kind: int = PCM, channels: int = 1, rate: int = 8000, bits: int = 16, block: int | None = None) -> bytes:
    """The body of a plain ``fmt `` chunk."""
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", kind, channels, rate, (rate * block) & 0xFFFFFFFF, block, bits)


def extensible(kind: int, channels: int, rate: int, bits: int, tail: bytes = SUBFORMAT) -> bytes:
    """The body of a WAVE_FORMAT_EXTENSIBLE ``fmt `` chunk."""
    more = struct.pack("<HHIH", 22, bits, 0, kind) + tail
    return layout(EXTENSIBLE, channels, rate, bits) + more


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    """A file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def stored(values: NDArray[Any], kind: int, bits: int) -> bytes:
    """Values from -1 to 1 as a recorder stores them."""
    if kind == FLOAT:
        return values.astype(f"<f{bits // 8}").tobytes()
    if bits == 8:
        return np.clip(np.rint(values * 128) + 128, 0, 255).astype(np.uint8).tobytes()
    wide = np.clip(np.rint(values.astype(np.float64) * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if bits == 24:
        return wide.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return wide.astype(f"<i{bits // 8}").tobytes()


def wave(values: NDArray[Any], rate: int = 8000, kind: int = PCM, bits: int = 16) -> bytes:
    """A whole file of ``values``: (frames,) or (frames, channels), from -1 to 1."""
    channels = values.shape[1] if values.ndim == 2 else 1
    return riff(chunk(b"fmt ", layout(kind, channels, rate, bits)), chunk(b"data", stored(values, kind, bits)))


def tone(hertz: float, rate: int, seconds: float = 1.0, level: float = 0.5) -> NDArray[np.float32]:
    """A sine."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def high_bytes_first(values: NDArray[Any], rate: int = 8000, kind: int = PCM, bits: int = 16) -> bytes:
    """The same file as RIFX."""
    data = np.frombuffer(stored(values, kind, bits), np.uint8).reshape(-1, bits // 8)[:, ::-1].tobytes()
    layout = struct.pack(">HHIIHH", kind, 1, rate, rate * bits // 8, bits // 8, bits)
    chunks = b"fmt " + struct.pack(">I", 16) + layout + b"data" + struct.pack(">I", len(data)) + data
    return b"RIFX" + struct.pack(">I", len(chunks) + 4) + b"WAVE" + chunks


def of_64_bits(values: NDArray[Any], rate: int = 8000, name: bytes = b"RF64", after: bytes = b"") -> bytes:
    """A file of 16 bits whose size stands in a chunk of its own, as those above 4 GiB have it."""
    data = stored(values, PCM, 16)
    sizes = struct.pack("<QQQI", 72 + len(data) + len(after), len(data), len(values), 0)
    chunks = chunk(b"ds64", sizes) + chunk(b"fmt ", layout(rate=rate)) + chunk(b"data", data, 0xFFFFFFFF) + after
    return name + b"\xff\xff\xff\xffWAVE" + chunks
