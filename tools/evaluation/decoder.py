"""Decoding of picture files, for all that edits and all that measures: by Pillow, upright, one frame, 8 bits of RGB.

ComfyUI decodes by Pillow or, in newer versions, by FFmpeg, and the two differ in the colors of a JPEG, in frames and in
depth. So a server is sent what is decoded here, as a PNG that all versions read alike: what is measured is, pixel for
pixel, what was edited.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

from PIL import Image, ImageOps, UnidentifiedImageError
from PIL import __version__ as PILLOW

from . import EvaluationError

FIRST_BYTES = 16  # of a file, which tell its kind
_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"mif1": "HEIC", b"msf1": "HEIC"}  # of ISO/IEC 14496-12, and all of "he.."

_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # modes with more than 8 bits, which a plain conversion cuts off
_WHITE_OF_GREY = 65535
_ORIENTATION, _BITS, _SUBFILE = 0x0112, 258, 254  # tags of EXIF and TIFF
_PLAIN = b"\x08\x02"  # bits a channel and color type of a PNG of 8 bits of RGB


@dataclass(frozen=True)
class Decoded:
    """A picture of 8 bits.

    Args:
        image: of mode RGB.
        is_plain: whether the file is a PNG of these pixels and no others, which all hosts read alike.
        part: what of the file it is, in words; "" for all of it.
    """

    image: Image.Image
    is_plain: bool
    part: str


def decode(content: bytes) -> Decoded:
    """The picture in a file: turned upright, the first of several frames, grey as RGB, without alpha.

    Raises:
        EvaluationError: the content is no sound picture; the message says what it is, and has no name in it.
    """
    kind = kind_of(content)
    try:
        with Image.open(io.BytesIO(content)) as file:
            part, is_plain = _part(file, content), _is_plain(file, content)
            image = _in_8_bits(ImageOps.exif_transpose(file)).convert("RGB")
            image.info.clear()  # a color key and a profile, which would be written with it
            return Decoded(image, is_plain, part)
    except EvaluationError:
        raise
    except UnidentifiedImageError:
        if not content:
            raise EvaluationError("the file is empty") from None
        says = "no picture" if kind is None else f"{kind}, which Pillow {PILLOW} does not read: save it as PNG or JPEG"
        raise EvaluationError(f"its first bytes are those of {says}") from None
    except Image.DecompressionBombError as error:
        raise EvaluationError("it has more pixels than Pillow reads: make it smaller") from error
    except Exception as error:  # whatever a decoder meets in a damaged file
        raise EvaluationError(f"it is a damaged {kind or 'picture'}: {error}") from error


def kind_of(content: bytes) -> str | None:
    """The kind of picture that the first bytes of a file tell, such as "JPEG"; None for no picture."""
    start = content[:FIRST_BYTES]
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "HEIC" if start[8:10] == b"he" else None)
    if start[:4] == b"RIFF":
        return "WEBP" if start[8:12] == b"WEBP" else None
    if start[:2] == b"BM":
        return "BMP" if start[6:10] == bytes(4) else None
    return next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None)


def png_of(image: Image.Image) -> bytes:
    """A PNG, quickly written rather than small."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _in_8_bits(image: Image.Image) -> Image.Image:
    """The upper 8 bits of grey of 16; all other modes have 8 already.

    Raises:
        EvaluationError: numbers whose white the file does not tell.
    """
    if image.mode in _GREY:
        grey = image.convert("I")
        low, high = cast("tuple[int, int]", grey.getextrema())
        if low >= 0 and high <= _WHITE_OF_GREY:
            return grey.point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode != "F":
        return image
    raise EvaluationError("its pixels have 32 bits, and it does not say which number is white: save it as PNG")


def _part(file: Image.Image, content: bytes) -> str:
    tags = getattr(file, "tag_v2", {})
    if file.format == "TIFF" and tags.get(_SUBFILE, 0) & 1:
        raise EvaluationError("its first picture is a small copy of another, as in raw photos: save it as PNG or JPEG")
    said = []
    if getattr(file, "is_animated", False) and file.format != "MPO":  # whose others are previews, of phones
        said.append("the first of several frames")
    bits = content[24] if file.format == "PNG" else max(tags.get(_BITS, (8,))) if file.format == "TIFF" else 8
    if bits > 8 or file.mode in _GREY:
        said.append("the upper 8 bits")
    return " and ".join(said)


def _is_plain(file: Image.Image, content: bytes) -> bool:
    return (
        file.format == "PNG"
        and content[24:26] == _PLAIN
        and not getattr(file, "is_animated", False)
        and "transparency" not in file.info
        and file.getexif().get(_ORIENTATION, 1) == 1
    )
