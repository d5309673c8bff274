"""What a file is by its first bytes: the kinds that are read, and those that are told by name."""

from typing import Literal

import msgspec

from maas_agent.base import codes

PICTURES = "PNG, JPEG, BMP, GIF, WebP or TIFF"
SOUND = "WAV"


class Kind(msgspec.Struct, frozen=True):
    """A file format. ``reader`` is Pillow's name for it, or ``WAV``; without one it is not read."""

    name: str
    form: Literal["image", "audio"] | None = None
    reader: str = ""

    @property
    def code(self) -> str:
        """The code of the error that says it is not read."""
        return {"image": codes.BAD_IMAGE, "audio": codes.BAD_AUDIO, None: codes.UNSUPPORTED}[self.form]


_PNG, _JPEG = Kind("PNG", "image", "PNG"), Kind("JPEG", "image", "JPEG")
_BMP, _GIF = Kind("BMP", "image", "BMP"), Kind("GIF", "image", "GIF")
_WEBP, _TIFF = Kind("WebP", "image", "WEBP"), Kind("TIFF", "image", "TIFF")
_WAV = Kind("WAV", "audio", "WAV")

_BEGINNINGS: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", _PNG),
    (b"\xff\xd8\xff", _JPEG),
    (b"GIF87a", _GIF),
    (b"GIF89a", _GIF),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
    (b"\0\0\0\x0cJXL \r\n\x87\n", Kind("JPEG XL", "image")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Kind("JPEG 2000", "image")),
    (b"\xff\x4f\xff\x51", Kind("JPEG 2000", "image")),
    (b"8BPS", Kind("Photoshop (PSD)", "image")),
    (b"qoif", Kind("QOI", "image")),
    (b"\x76\x2f\x31\x01", Kind("OpenEXR", "image")),
    (b"<svg", Kind("SVG", "image")),
    (b"P5\n", Kind("PGM", "image")),
    (b"P6\n", Kind("PPM", "image")),
    (b"\0\0\1\0", Kind("an icon (ICO)", "image")),
    (b"fLaC", Kind("FLAC", "audio")),
    (b"OggS", Kind("Ogg", "audio")),
    (b"ID3", Kind("MP3", "audio")),
    (b"\xff\xfb", Kind("MP3", "audio")),
    (b"\xff\xf1", Kind("AAC", "audio")),
    (b".snd", Kind("AU", "audio")),
    (b"#!AMR", Kind("AMR", "audio")),
    (b"caff", Kind("CAF", "audio")),
    (b"riff\x2e\x91\xcf\x11", Kind("Wave64", "audio")),
    (b"%PDF-", Kind("PDF")),
    (b"PK\x03\x04", Kind("a zip archive (.npz, .keras, .maas, …)")),
    (b"\x93NUMPY", Kind("a NumPy array (.npy)")),
    (b"\x1f\x8b", Kind("gzip")),
    (b"(\xb5/\xfd", Kind("Zstandard")),
    (b"\x89HDF\r\n\x1a\n", Kind("HDF5")),
    (b"\x1aE\xdf\xa3", Kind("Matroska or WebM")),
)
_BY_FIRST_BYTE = {
    first: tuple((beginning, kind) for beginning, kind in _BEGINNINGS if beginning[0] == first)
    for first in {beginning[0] for beginning, _ in _BEGINNINGS}
}
"""So that what is no file, as most inputs are, is known at once."""
_WAVE_FAMILY = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_BRANDS = {
    b"avif": Kind("AVIF", "image"),
    b"avis": Kind("AVIF", "image"),
    b"crx ": Kind("Canon raw (CR3)", "image"),
    b"M4A ": Kind("M4A", "audio"),
}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the header behind the one of the file; two letters alone would be too little to go by."""


def kind_of(data: bytes) -> Kind | None:
    """The kind of file that ``data`` begins as, read or not; ``None`` if it is not known."""
    if data[:4] in _WAVE_FAMILY:
        return _in_riff(data)
    if data[4:8] == b"ftyp":
        return _in_boxes(data)
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return _BMP
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return Kind("AIFF", "audio")
    likely = _BY_FIRST_BYTE.get(data[0], ()) if data else ()
    return next((kind for beginning, kind in likely if data.startswith(beginning)), None)


def _in_riff(data: bytes) -> Kind | None:
    """Microsoft's container: sound, pictures or films."""
    if data[8:12] == b"WAVE":
        return _WAV
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _WEBP
    return Kind("AVI") if data[:4] == b"RIFF" and data[8:12] == b"AVI " else None


def _in_boxes(data: bytes) -> Kind:
    """ISO 14496-12: the major brand says what is in it; HEIF pictures may name AVIF among the others."""
    brand = data[8:12]
    if brand in _HEIF:
        others = data[16 : min(64, int.from_bytes(data[:4], "big"))]
        return _BRANDS[b"avif"] if b"avif" in others else Kind("HEIC", "image")
    return _BRANDS.get(brand, Kind("MP4"))


def is_certain(kind: Kind, data: bytes) -> bool:
    """Whether ``data`` cannot be anything else: it also has what stands further on in such a file."""
    match kind.reader:
        case "PNG":
            return data[12:16] == b"IHDR"
        case "JPEG":
            return data[6:10] in (b"JFIF", b"Exif") or data[-2:] == b"\xff\xd9"
        case "GIF":
            return data[-1:] == b";"
        case "WEBP":
            return data[12:15] == b"VP8"
        case "BMP":
            return int.from_bytes(data[2:6], "little") == len(data)
        case "TIFF":
            order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
            return 0 < int.from_bytes(data[4:8], order) < len(data) and data[2:4] in (b"*\0", b"\0*")
        case "WAV":
            return b"fmt " in data[12:200]
    return False


def not_read(kind: Kind) -> str:
    """Why a file of this kind is refused, and what to send."""
    read = {"image": PICTURES, "audio": SOUND, None: f"raw bytes, JSON, {PICTURES}, or {SOUND}"}[kind.form]
    return f"this is {kind.name}, which is not read: send {read}"
