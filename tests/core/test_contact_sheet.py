"""The contact sheet, on maps whose tiles are constant colors (an oracle)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_core import NoiseMaps, NoiseSchedule, contact_sheet
from ddpm_core.contact_sheet import LABEL_WIDTH, LINE, MARGIN, NOISE_SCALE, columns_of, draw, levels_shown


def flat(value: float, frames: int | None = None) -> torch.Tensor:
    """(2, 3, [F,] 8, 12): row 0 is zero, every channel of row 1 has the value."""
    shape = (3, 8, 12) if frames is None else (3, frames, 8, 12)
    return torch.stack([torch.zeros(shape), torch.full(shape, value)])


def maps(steps: int, frames: int | None = None) -> NoiseMaps:
    """State, prediction and z of level i show as the greys 0.05 i, -0.05 i and 0.3 - 0.03 i of a range of [-1, 1]."""
    schedule = NoiseSchedule.variance_exploding(torch.linspace(14, 0, steps + 1))
    spread = [(1 + (float(b) / NOISE_SCALE) ** 2) ** 0.5 for b in schedule.noise]
    return NoiseMaps(
        schedule,
        torch.stack([flat(0.05 * i * spread[i], frames) for i in range(steps + 1)]),
        torch.stack([flat(schedule.step(i).sigma_t * (0.3 - 0.03 * i) / NOISE_SCALE, frames) for i in range(steps)]),
        kept_denoised=torch.stack([flat(-0.05 * i, frames) for i in range(steps)]),
    )


def same(x):
    return x


def grey(sheet, column: int, row: int) -> float:
    """The middle of a tile, in [-1, 1]; white is 1."""
    pixels = np.asarray(sheet).astype(float) / 127.5 - 1
    width, height = 12 * 10, 8 * 10
    x = LABEL_WIDTH + column * (width + MARGIN) + width // 2
    y = 2 * LINE + 2 * MARGIN + row * (height + MARGIN) + height // 2
    return pixels[y, x].mean()


@pytest.mark.parametrize("frames", [None, 2])
def test_each_column_shows_its_own_level(frames):
    levels = levels_shown(10, 6)
    assert levels == [0, 2, 4, 6, 8, 10]
    sheet = draw(columns_of(maps(10, frames), levels, 1, same, same))
    for column, i in enumerate(levels):
        assert grey(sheet, column, 0) == pytest.approx(0.05 * i, abs=0.005)
        assert grey(sheet, column, 1) == pytest.approx(-0.05 * i if i < 10 else 1, abs=0.005)
        assert grey(sheet, column, 2) == pytest.approx(0.3 - 0.03 * i if i < 9 else 1, abs=0.005)


def test_the_row_is_the_one_asked_for():
    sheet = draw(columns_of(maps(4), [3], 0, same, same))
    assert grey(sheet, 0, 0) == pytest.approx(0, abs=0.005)


def test_headings_name_step_and_sigma_of_the_full_schedule():
    full = maps(10)
    skipped = replace(full, skipped=5)
    columns = columns_of(skipped, [0, 9, 10], 0, same, same)
    assert [column.heading for column in columns] == [("step 5", "sigma 14"), ("step 14", "sigma 1.4"), ("image", "")]


def test_one_step():
    levels = levels_shown(1, 8)
    assert levels == [0, 1]
    state_only = columns_of(maps(1), levels, 1, same, same)
    assert [column.z for column in state_only] == [None, None]  # the last step has no noise
    assert draw(state_only).size == (LABEL_WIDTH + 2 * (120 + MARGIN), 2 * LINE + 2 * MARGIN + 3 * 88 + LINE)


def test_large_noise_is_drawn_in_units_of_its_size():
    sound = maps(4)
    (column,) = columns_of(replace(sound, residuals=10 * sound.residuals), [1], 1, same, same)
    assert column.note == "size 8.10"  # 10 (0.3 - 0.03) / NOISE_SCALE
    assert column.z == pytest.approx(NOISE_SCALE)


def test_large_pictures_are_shrunk():
    columns = columns_of(maps(4), [0, 4], 1, lambda x: torch.ones((3, 512, 1024)), same)
    assert draw(columns).size == (
        LABEL_WIDTH + 2 * (256 + MARGIN),
        2 * LINE + 2 * MARGIN + 3 * (128 + MARGIN) + LINE,
    )


def test_what_cannot_be_shown_is_refused():
    with pytest.raises(ValueError, match="row is 2, the noise maps have 2 rows"):
        columns_of(maps(4), [0], 2, same, same)


def test_sound_is_shown_as_its_channels_over_time():
    waves = NoiseMaps(maps(2).schedule, *(torch.linspace(-3, 3, 36).view(4, 9).expand(n, 1, 4, 9) for n in (3, 2)))
    column = columns_of(waves, [2], 0, waves.space.colored, waves.space.colored_noise)[0]
    torch.testing.assert_close(column.state, torch.linspace(-1, 1, 36).view(1, 4, 9).expand(3, -1, -1))
    (first,) = columns_of(waves, [0], 0, waves.space.colored, waves.space.colored_noise)
    assert first.z.shape == first.denoised.shape == (3, 4, 9)
    assert draw([first, column]).size[0] == LABEL_WIDTH + 2 * (9 * 13 + MARGIN)


def test_a_picture_is_the_tensor_to_a_256th():
    image = torch.rand((3, 4, 5), generator=torch.Generator().manual_seed(0)) * 2 - 1
    pixels = np.asarray(contact_sheet.to_picture(image, 2)).astype(np.float32)
    assert pixels.shape == (8, 10, 3)
    assert np.abs(pixels[::2, ::2] / 127.5 - 1 - image.movedim(0, -1).numpy()).max() <= 1 / 255 + 1e-6


def test_a_grid_has_each_picture_at_its_labels():
    tiles = [[torch.full((3, 8, 12), 0.1 * (2 * r + c)) for c in range(2)] for r in range(2)]
    picture = contact_sheet.grid([*tiles, [torch.full((3, 8, 12), -1.0)]], ["one", "two", "image"], ["a", "b"])
    width, height, top = 12 * 10, 8 * 10, LINE + 2 * MARGIN
    assert picture.size == (LABEL_WIDTH + 2 * (width + MARGIN), top + 3 * (height + MARGIN))
    pixels = np.asarray(picture).astype(float) / 127.5 - 1

    def middle(r, c):
        return pixels[top + r * (height + MARGIN) + height // 2, LABEL_WIDTH + c * (width + MARGIN) + width // 2, 0]

    for r in range(2):
        for c in range(2):
            assert middle(r, c) == pytest.approx(0.1 * (2 * r + c), abs=0.01)
    assert (middle(2, 0), middle(2, 1)) == (-1, 1)  # the last row is shorter
    for r in range(3):  # a label before each row, and one over each column
        assert pixels[top + r * (height + MARGIN) :][:height, :LABEL_WIDTH].min() < 0
    assert pixels[:top, LABEL_WIDTH : LABEL_WIDTH + width].min() < 0


def test_a_grid_without_a_ground_is_of_tiles_and_notes_alone():
    tiles = [contact_sheet.Tile(torch.full((3, 8, 8), value), "note") for value in (-1.0, 0.0, 1.0)]
    sheet = np.asarray(contact_sheet.grid([tiles[:2], tiles[2:]], size=(32, 32), ground=None))
    assert sheet.shape == (2 * (32 + LINE) + MARGIN, 2 * 32 + MARGIN, 4)
    assert (sheet[:32, :32] == [0, 0, 0, 255]).all()
    assert (sheet[:32, 40:72] == [128, 128, 128, 255]).all()
    below = 32 + LINE + MARGIN
    assert (sheet[below : below + 32, :32] == 255).all()
    assert (sheet[below:, 40:] == 0).all()  # no fourth tile
    assert sheet[32 : 32 + LINE, :32, 3].any()  # the note


def test_each_pixel_is_a_square_and_an_empty_place_is_the_ground():
    red, blue = torch.tensor([1.0, -1, -1]).view(3, 1, 1), torch.tensor([-1.0, -1, 1]).view(3, 1, 1)
    tile = torch.cat([red, blue], dim=-1).expand(3, 2, 2)
    sheet = contact_sheet.grid([[tile, None], [tile, tile]], size=(20, 20), margin=2)
    pixels = torch.from_numpy(np.array(sheet)).int()
    for color in ([255, 0, 0], [0, 0, 255]):
        assert (pixels == torch.tensor(color)).all(-1).sum() == 3 * 20 * 10
    assert (pixels[2:22, 24:44] == 255).all()


def test_lines_of_labels_and_long_words_have_their_place():
    tile = torch.full((3, 8, 8), -1.0)
    plain, labelled = (
        contact_sheet.grid([[tile, tile]], [label], ["a", "a"], size=(32, 32)) for label in ("row", "row\nof two")
    )
    assert labelled.size == plain.size
    two = contact_sheet.grid([[tile, tile]], ["row"], ["a\nb", "a"], size=(32, 32), title="title")
    assert two.size == (plain.width, plain.height + 2 * LINE)
    wide = contact_sheet.grid([[tile, tile]], ["a row of a long name"], ["much wider than 32", "a"], size=(32, 32))
    assert wide.width > plain.width + 40 and wide.height == plain.height


def test_a_picture_of_another_shape_is_padded_with_the_ground():
    picture = Image.new("RGB", (64, 16), "red")
    sheet = contact_sheet.grid([[contact_sheet.Tile(picture)]], size=(32, 32), margin=0, ground="#202020")
    assert sheet.size == (32, 32)
    assert sheet.getpixel((16, 16)) == (255, 0, 0) and sheet.getpixel((16, 2)) == (32, 32, 32)
