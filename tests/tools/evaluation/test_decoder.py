"""Files of all kinds are decoded into the pixels that they hold, or refused as what they are."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.picture_files import BROKEN, SOUND
from tools.evaluation import EvaluationError
from tools.evaluation.decoder import decode, kind_of, png_of
from tools.evaluation.pictures import decoded


@pytest.mark.parametrize("name", SOUND)
def test_a_file_of_any_kind_is_8_bits_of_rgb_upright(name):
    file = SOUND[name]
    picture = decode(file.content)
    assert np.array_equal(np.asarray(picture.image), file.pixels)
    assert (picture.part, picture.is_plain) == (file.part, file.is_plain)
    assert np.array_equal(decoded(file.content, name).numpy(), file.pixels)


@pytest.mark.parametrize("name", SOUND)
def test_as_a_png_it_is_the_same_and_plain(name):
    picture = decode(png_of(decode(SOUND[name].content).image))
    assert np.array_equal(np.asarray(picture.image), SOUND[name].pixels)
    assert (picture.part, picture.is_plain) == ("", True)


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_named_by_what_it_is(name):
    content, says = BROKEN[name]
    with pytest.raises(EvaluationError, match=says):
        decode(content)
    with pytest.raises(EvaluationError, match=f"^{name} cannot be read as a picture: .*{says}"):
        decoded(content, name)


def test_grey_of_16_bits_and_of_8_are_the_same_picture():
    """Each 8-bit level comes back from its level of 16, as it does in a PNG of 16 bits of RGB."""
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for scale in (256, 257):
        file = io.BytesIO()
        Image.fromarray(levels * np.uint16(scale)).save(file, "PNG")
        assert np.array_equal(np.asarray(decode(file.getvalue()).image)[..., 0], levels)


def test_a_kind_is_told_by_the_first_bytes():
    kinds = {name: kind_of(file.content[:16]) for name, file in SOUND.items()}
    endings = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "tiff": "TIFF"}
    assert kinds == {name: endings.get(name.split(".")[1], name.split(".")[1].upper()) for name in SOUND}
    assert kind_of(b"") is kind_of(b"RIFF\0\0\0\0AVI ") is kind_of(b"BMW is a car company") is None


@given(st.sampled_from(sorted(SOUND)), st.data())
def test_fuzz_a_damaged_file_is_a_picture_or_refused(name, data):
    content = bytearray(SOUND[name].content)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Pillow, about what it met
        try:
            picture = decode(content)
        except EvaluationError:
            return
    assert (
        picture.image.mode == "RGB" and len(picture.image.tobytes()) == 3 * picture.image.width * picture.image.height
    )
