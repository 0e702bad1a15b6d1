"""One picture of 16 colors in each way that files keep pictures, and the pixels that it has there."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 36, 52
_RNG = np.random.default_rng(0)
PALETTE = _RNG.integers(1, 256, (16, 3), dtype=np.uint8)
_CELLS = _RNG.integers(0, 16, (HEIGHT // 4, WIDTH // 4)).repeat(4, 0).repeat(4, 1)
PIXELS = PALETTE[_CELLS]
_IMAGE = Image.fromarray(PIXELS)
_GREY = _CELLS.astype(np.uint16) * 4000 + 77


class File(NamedTuple):
    """A file, and its picture as 8 bits of RGB, upright; None for one that cannot be read."""

    content: bytes
    pixels: np.ndarray | None
    part: str = ""  # what of the file that is
    is_plain: bool = False


def saved(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def by_pillow(content: bytes) -> np.ndarray:
    """What a lossy file holds is what Pillow decodes."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def _palette() -> Image.Image:
    image = Image.fromarray(_CELLS.astype(np.uint8), "L").convert("P")
    image.putdata(_CELLS.ravel().tolist())
    image.putpalette(PALETTE.tobytes())
    return image


def _rgba() -> Image.Image:
    image = _IMAGE.copy()
    image.putalpha(Image.fromarray((_CELLS * 17).astype(np.uint8)))
    return image


def _png_of_16_bits() -> bytes:
    """Which Pillow does not write: lower bytes that are not zero."""
    numbers = (PIXELS.astype(np.uint16) * 256 + 200).astype(">u2")
    return _png(WIDTH, HEIGHT, 16, b"".join(b"\0" + row.tobytes() for row in numbers))


def _png(width: int, height: int, bits: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = [b"IHDR" + header, b"IDAT" + zlib.compress(rows), b"IEND"]
    written = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


def _animated(image: Image.Image, format: str, **options) -> bytes:
    """With two more frames, made anew, for a save may leave options of its own on an image."""
    return saved(image, format, save_all=True, append_images=[_IMAGE.rotate(180), _IMAGE.rotate(3)], **options)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=-1)


def _lossy(content: bytes) -> File:
    return File(content, by_pillow(content))


def _made() -> dict[str, File]:
    turned = Image.Exif()
    turned[0x0112] = 6  # a quarter turn to the right
    upright = np.rot90(PIXELS, -1)
    first, upper = "the first of several frames", "the upper 8 bits"
    jpeg = saved(_IMAGE, "JPEG", exif=turned)
    return {
        "plain.png": File(saved(_IMAGE, "PNG"), PIXELS, is_plain=True),
        "turned.png": File(saved(_IMAGE, "PNG", exif=turned), upright),
        "alpha.png": File(saved(_rgba(), "PNG"), PIXELS),
        "palette.png": File(saved(_palette(), "PNG", transparency=3), PIXELS),
        "color key.png": File(saved(_IMAGE, "PNG", transparency=tuple(PALETTE[3].tolist())), PIXELS),
        "bits.png": File(saved(Image.fromarray(_CELLS > 7), "PNG"), _grey((_CELLS > 7) * 255)),
        "grey.png": File(saved(Image.fromarray((_CELLS * 9).astype(np.uint8)), "PNG"), _grey(_CELLS * 9)),
        "deep grey.png": File(saved(Image.fromarray(_GREY), "PNG"), _grey(_GREY >> 8), upper),
        "deep.png": File(_png_of_16_bits(), PIXELS, upper),
        "animated.png": File(_animated(_IMAGE, "PNG"), PIXELS, first),
        "photo.jpg": _lossy(saved(_IMAGE, "JPEG", subsampling="4:2:0")),
        "fine.jpeg": _lossy(saved(_IMAGE, "JPEG", subsampling="4:4:4", quality=95)),
        "turned.jpg": File(jpeg, np.rot90(by_pillow(jpeg), -1)),
        "grey.jpg": _lossy(saved(_IMAGE.convert("L"), "JPEG")),
        "ink.jpg": _lossy(saved(_IMAGE.convert("CMYK"), "JPEG")),
        "phone.jpg": _lossy(_animated(_IMAGE, "MPO")),
        "animated.gif": File(_animated(_palette(), "GIF"), PIXELS, first),
        "animated.webp": File(_animated(_IMAGE, "WEBP", lossless=True), PIXELS, first),
        "photo.webp": _lossy(saved(_IMAGE, "WEBP")),
        "photo.avif": _lossy(saved(_IMAGE, "AVIF")),
        "plain.bmp": File(saved(_IMAGE, "BMP"), PIXELS),
        "pages.tif": File(_animated(_IMAGE, "TIFF"), PIXELS, first),
        "deep grey.tiff": File(saved(Image.fromarray(_GREY), "TIFF"), _grey(_GREY >> 8), upper),
    }


SOUND = _made()
BROKEN = {
    "empty.png": (b"", "the file is empty"),
    "text.png": (b"this is no picture", "its first bytes are those of no picture"),
    "cut.png": (SOUND["plain.png"].content[:-60], "it is a damaged PNG"),
    "cut.jpg": (SOUND["photo.jpg"].content[:-300], "it is a damaged JPEG"),
    "heic.jpg": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(999), "those of HEIC, which Pillow .* does not read"),
    "jxl.png": (b"\xff\x0a" + bytes(999), "those of JPEG XL, which Pillow .* does not read"),
    "video.jpg": (b"\0\0\0\x18ftypisom" + bytes(999), "its first bytes are those of no picture"),
    "number.tif": (saved(Image.fromarray(_GREY.astype(np.float32)), "TIFF"), "its pixels have 32 bits"),
    "huge.png": (_png(20_000, 20_000, 8, b""), "it has more pixels than Pillow reads"),
    "raw.tif": (saved(_IMAGE, "TIFF", tiffinfo={254: 1}), "a small copy of another, as in raw photos"),
}
