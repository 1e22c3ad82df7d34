"""A file of a picture to pixels, grey or RGB: JPEG, PNG and WebP, decoded by Pillow, which is an extra.

Everything is refused that would have to be guessed: pictures of several frames, colours that need a profile
(CMYK), more than 8 bits a channel. What is done to the others is in docs/data.md. Pillow works in integers here.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.data.turns import RowError
from stages.errors import UserError

FORMATS = ("JPEG", "PNG", "WEBP")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "YCbCr")
MOST_PIXELS = 1 << 26  # of one picture as it is in its file; below Pillow's own limit, above which it warns
ALLOWED = "a JPEG, PNG or WebP picture"
EIGHT_BITS = f"8 bits a channel, grey or RGB ({', '.join(MODES)})"
PNG = b"\x89PNG\r\n\x1a\n"  # a file of chunks behind that: length, kind, data, checksum
# What follows the bytes FF in a JPEG: within pixels, 00 and D0 to D7 are no markers.
MARKER, END, TEMPORARY = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])"), b"\xd9", b"\x01"
WHITE = (255, 255, 255, 255)
# What Pillow raises about bytes that are not what they should be: each of its readers has errors of its own.
DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, struct.error,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What pictures are scaled to: sides are multiples of `cell`, and `side` at most; with `rgb` they keep colours."""

    cell: int
    side: int
    rgb: bool = False


def refuse_without_pillow(corpus: str) -> None:
    """Raise UserError where Pillow is not installed."""
    try:
        import_module("PIL.Image")
    except ImportError:
        raise UserError(
            f"{corpus}: Pillow decodes pictures, and is not installed: `pip install 'stages[pictures]'`."
        ) from None


def pixels(data: bytes, size: Size) -> NDArray[np.uint8]:
    """The pixels of a picture, uint8 [H, W] (grey) or [H, W, 3]: upright, over white where it is transparent, scaled.

    Raises RowError.
    """
    image = import_module("PIL.Image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", image.DecompressionBombWarning)  # sizes are compared before pixels are decoded
        warnings.simplefilter("ignore", UserWarning)  # of damaged EXIF: without an orientation nothing is turned
        try:
            with image.open(io.BytesIO(data), formats=FORMATS) as opened:
                _refuse(opened)
                if opened.format == "PNG":
                    _refuse_damaged_png(data)
                if opened.format == "JPEG":
                    _refuse_endless_jpeg(data)
                return _scaled(_upright(opened, size.rgb), size)
        except image.UnidentifiedImageError:
            raise RowError("not a picture that can be read", ALLOWED) from None
        except image.DecompressionBombError:
            raise RowError("a picture of too many pixels", f"{MOST_PIXELS:,} pixels at most") from None
        except DAMAGE as error:
            raise RowError(f"a damaged picture ({str(error)[:200]!r})", f"{ALLOWED}, whole") from None


def _refuse(opened: Any) -> None:
    """What is known before pixels are decoded."""
    width, height = opened.size
    if min(width, height) < 1:
        raise RowError(f"a picture of {height} x {width} pixels", "one pixel a side at least")
    if width * height > MOST_PIXELS:
        raise RowError(f"a picture of {height} x {width} pixels", f"{MOST_PIXELS:,} pixels at most")
    if (frames := getattr(opened, "n_frames", 1)) != 1:
        raise RowError(f"a picture of {frames} frames", "one frame")
    if opened.mode not in MODES:
        raise RowError(f"pixels of mode {opened.mode}", EIGHT_BITS)
    if any(";16" in str(tile[3]) for tile in opened.tile):  # colours of a PNG, of which Pillow drops the lower bytes
        raise RowError(f"pixels of mode {opened.mode}, of 16 bits a channel", EIGHT_BITS)


def _refuse_damaged_png(data: bytes) -> None:
    """Compare the checksum of each chunk (W3C, Portable Network Graphics, 5.3). Pillow leaves those of pixels out, and
    what a file lacks behind a hole, or at its end, would be black.
    """
    at = len(PNG)
    while (kind := data[at + 4 : at + 8]) != b"IEND":
        length = int.from_bytes(data[at : at + 4])
        end = at + 8 + length
        if end + 4 > len(data):
            raise RowError("a damaged picture (it has no end)", f"{ALLOWED}, whole")
        if int.from_bytes(data[end : end + 4]) != zlib.crc32(data[at + 4 : end]):
            raise RowError(f"a damaged picture (the checksum of its chunk {kind!r} is wrong)", f"{ALLOWED}, whole")
        at = end + 4


def _refuse_endless_jpeg(data: bytes) -> None:
    """Walk from marker to marker to the one that ends a picture (ITU-T T.81, B.1.1). Zeros that a power cut leaves in
    place of the last bytes are codes of pixels too, and Pillow takes them.
    """
    at = 2  # behind the marker that begins it
    while (found := MARKER.search(data, at)) is not None:
        at, kind = found.end(), found[1]
        if kind == END:
            return
        if kind != TEMPORARY:
            at += int.from_bytes(data[at : at + 2])  # behind the last one of its kind come pixels, without markers
    raise RowError("a damaged picture (it has no end)", f"{ALLOWED}, whole")


def _upright(opened: Any, rgb: bool) -> Any:
    """Grey or RGB pixels, turned as the file's EXIF orientation says; what is transparent has white behind it."""
    opened.load()
    image, ops = import_module("PIL.Image"), import_module("PIL.ImageOps")
    turned = ops.exif_transpose(opened)
    if turned.mode in ("LA", "PA", "RGBA") or "transparency" in turned.info:
        over = turned.convert("RGBA")
        turned = image.alpha_composite(image.new("RGBA", over.size, WHITE), over).convert("RGB")
    return turned.convert("RGB" if rgb else "L")


def _scaled(upright: Any, size: Size) -> NDArray[np.uint8]:
    """Area-averaged so that the longer side is `size.side` at most and both are multiples of the cell."""
    width, height = upright.size
    longer = max(width, height)
    most = min(longer, size.side)
    wanted = tuple(max(size.cell, one * most // longer // size.cell * size.cell) for one in (width, height))
    if wanted != upright.size:
        upright = upright.resize(wanted, import_module("PIL.Image").Resampling.BOX)
    return np.array(upright, dtype=np.uint8)
