"""Picture files to samples: upright, in the sample's colours, of the sample's size.

Sources: EXIF 2.32, "Orientation" (tag 0x0112); for what each value turns, Pillow's own ``ImageOps.exif_transpose``.
"""

import io
import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maas_agent.base import codes
from maas_agent.bundle.manifest import Decode
from maas_agent.errors import DecodeError
from maas_agent.processing.magic import PICTURES, Kind, kind_of, not_read

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 26
_MAX_BMP_SIDE = 1 << 16
"""A run-length encoded BMP may skip 255 rows by four bytes: rows have to be bounded, not only pixels."""

_ORIENTATION = 0x0112
_BITS_PER_SAMPLE, _ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 258, 278, 322, 323
_DEEP_TIFF = ("I;16", "I;16L", "I;16B", "I;16N")


def pixels_of(data: bytes, spec: Decode, most: int = MAX_PIXELS) -> tuple[NDArray[np.uint8], int]:
    """One picture (height, width) or (height, width, channels), and how many pixels were read for it.

    At most ``most`` are. Raises `DecodeError`.
    """
    # Imported late: a pipeline that never sees an image does not pay for Pillow.
    from PIL import Image, UnidentifiedImageError

    mode, kind = _mode(spec), _readable(data)
    _check_canvas(kind, data, most)
    try:
        # Pillow warns of many pixels (here they are counted) and of odd metadata (here they are not used).
        with warnings.catch_warnings(action="ignore"), _opened(data, kind) as image:
            _check_size(kind, image, most)
            picture = _decoded(image, kind, spec, mode)
            read = image.width * image.height
        return np.asarray(_fitted(picture, spec)).reshape(spec.shape), read
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError(codes.TOO_LARGE, f"more than {MAX_PIXELS} pixels: {error}") from None
    except MemoryError:
        raise DecodeError(codes.TOO_LARGE, "there is not enough memory for the pixels of this image") from None
    except Exception as error:  # Pillow raises what its parsers stumble over: OSError, SyntaxError, AssertionError, …
        reason = f"cannot read it as {kind.name}" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DecodeError(codes.BAD_IMAGE, f"damaged or truncated image: {reason[:200]}") from None


def _fitted(picture: "Image.Image", spec: Decode) -> "Image.Image":
    """The picture in the size of the sample."""
    from PIL.Image import Resampling

    height, width = spec.shape[:2]
    if picture.size == (width, height):
        return picture
    known = {"nearest": Resampling.NEAREST, "bilinear": Resampling.BILINEAR}
    return picture.resize((width, height), known.get(spec.resize, Resampling.BICUBIC))


def _mode(spec: Decode) -> str:
    """Pillow's word for the sample's colours."""
    if len(spec.shape) not in (2, 3):
        raise DecodeError(codes.UNSUPPORTED, f"a sample {list(spec.shape)} is no image: send raw bytes or JSON")
    channels = spec.shape[2] if len(spec.shape) == 3 else 1
    if channels not in (1, 3):
        raise DecodeError(codes.UNSUPPORTED, f"an image has 1 or 3 channels, the sample has {channels}")
    return "L" if channels == 1 else "RGB"


def _readable(data: bytes) -> Kind:
    kind = kind_of(data)
    if kind is None:
        raise DecodeError(codes.BAD_IMAGE, f"damaged or truncated image: cannot identify {PICTURES}")
    if kind.form != "image" or not kind.reader:
        raise DecodeError(codes.BAD_IMAGE, not_read(kind))
    return kind


def _opened(data: bytes, kind: Kind) -> "Image.Image":
    """The file as Pillow sees it; its reader is registered first, so that Pillow does not load those of all kinds."""
    from PIL import Image

    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # what is wrong with a file is in the error
    if kind.reader == "TIFF":
        from PIL import TiffImagePlugin  # noqa: F401
    if kind.reader == "WEBP":
        from PIL import WebPImagePlugin  # noqa: F401
    return Image.open(io.BytesIO(data), formats=(kind.reader,))


def _check_canvas(kind: Kind, data: bytes, most: int) -> None:
    """WebP takes memory for its canvas when it is opened: its size is read before (RFC 9649)."""
    if kind.reader != "WEBP":
        return
    width = height = 0
    if data[12:16] == b"VP8X":
        width, height = 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    elif data[12:16] == b"VP8L":
        both = int.from_bytes(data[21:25], "little")
        width, height = 1 + (both & 0x3FFF), 1 + (both >> 14 & 0x3FFF)
    elif data[12:16] == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    if width * height > most:
        raise _too_many(width, height, most)


def _check_size(kind: Kind, image: "Image.Image", most: int) -> None:
    """Refuse what would take more memory than its pixels may, before it is taken."""
    if image.width * image.height > most:
        raise _too_many(image.width, image.height, most)
    if kind.reader == "BMP" and image.width > _MAX_BMP_SIDE:
        raise DecodeError(codes.TOO_LARGE, f"a BMP of {image.width} pixels a row, at most {_MAX_BMP_SIDE} are read")
    if kind.reader == "TIFF":
        _check_tiff(image, most)


def _check_tiff(image: "Image.Image", most: int) -> None:
    tags = image.tag_v2  # type: ignore[attr-defined]  # of TiffImageFile
    width, length = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_LENGTH, 1)
    if not isinstance(width, int) or not isinstance(length, int) or width * length > max(4 * most, 1 << 20):
        raise DecodeError(codes.TOO_LARGE, f"tiles of {width} x {length} pixels, at most {most} are read")
    if image.mode == "F" or (image.mode.startswith("I") and image.mode not in _DEEP_TIFF):
        raise DecodeError(
            codes.BAD_IMAGE,
            "a TIFF of 32 bits or with a sign has no white: send it with 8 or 16 bits, or as raw values",
        )


def _too_many(width: int, height: int, most: int) -> DecodeError:
    return DecodeError(codes.TOO_LARGE, f"{width} x {height} pixels, at most {most} are read")


def _decoded(image: "Image.Image", kind: Kind, spec: Decode, mode: str) -> "Image.Image":
    """The whole picture in ``mode``, turned; a JPEG already smaller, as far as its blocks allow."""
    height, width = spec.shape[:2]
    if kind.reader == "JPEG":
        orientation = _orientation(image)
        lies = orientation >= 5 and spec.orientation == "upright"
        image.draft(mode, (height, width) if lies else (width, height))
        image.load()
    elif kind.reader == "TIFF":
        orientation = _orientation(image)  # reading it turns it
        image.load()
    else:
        image.load()
        orientation = _orientation(image)  # a PNG may say it behind its pixels
    picture = _over(image, spec, mode) if spec.background else _eight_bits(image).convert(mode)
    return _turned(picture, orientation, stored=spec.orientation == "stored", is_upright=kind.reader == "TIFF")


def _orientation(image: "Image.Image") -> int:
    """1 (upright) to 8, as EXIF or XMP says; 1 where they say nothing that can be read."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever a damaged EXIF block makes its parser stumble over: the pixels are there
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _turned(picture: "Image.Image", orientation: int, *, stored: bool, is_upright: bool) -> "Image.Image":
    """Make it upright if it is not yet, or bring it back if it is and the stored pixels are wanted."""
    from PIL.Image import Transpose

    to_upright = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    method = to_upright.get(orientation)
    if method is None or is_upright != stored:
        return picture
    if stored and orientation in (6, 8):  # the others undo themselves
        method = to_upright[14 - orientation]
    return picture.transpose(method)


def _eight_bits(image: "Image.Image") -> "Image.Image":
    """The high byte of 16-bit gray, as Pillow does with 16-bit color; it would clip gray at 255, to white."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    depth = bits[0] if isinstance(bits, tuple) and bits and bits[0] in (12, 16) else 16
    return Image.fromarray((np.asarray(image) >> depth - 8).astype(np.uint8))


def _over(image: "Image.Image", spec: Decode, mode: str) -> "Image.Image":
    """The picture over the colour of the background, as far as it is transparent."""
    from PIL import Image

    alpha, colors = _alpha(image, mode)
    if alpha is None:
        return colors
    red, green, blue = spec.background if len(spec.background) == 3 else spec.background * 3
    ground = Image.new("RGB", (1, 1), (red, green, blue)).convert(mode).resize(colors.size)
    ground.paste(colors, (0, 0), alpha)
    return ground


def _alpha(image: "Image.Image", mode: str) -> tuple["Image.Image | None", "Image.Image"]:
    """How opaque each pixel is (0 to 255), and the colours without that."""
    from PIL import Image

    transparent = image.info.get("transparency")
    if image.mode.startswith("I"):
        colors = _eight_bits(image).convert(mode)
        if not isinstance(transparent, int):
            return None, colors
        opaque = np.asarray(image) != transparent
        return Image.fromarray(opaque.astype(np.uint8) * 255), colors
    if transparent is None and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return None, image.convert(mode)
    if isinstance(transparent, tuple) and any(value > 255 for value in transparent):
        image.info["transparency"] = tuple(value >> 8 for value in transparent)  # of 16-bit color Pillow keeps 8 bits
    whole = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    return whole.getchannel("A"), whole.convert(mode)
