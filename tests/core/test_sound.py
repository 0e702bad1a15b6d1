"""Pictures of sound."""

import math

import pytest
import torch

from ddpm_core import sound
from ddpm_core.masks import in_colors

RATE, OCTAVES = 44100, 9
WAVE, HEIGHT, WIDTH = sound.WAVE, sound.HEIGHT, sound.WIDTH


def tone(hertz: float, seconds: float = 2.0) -> torch.Tensor:
    """(2, N) stereo."""
    return (0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * RATE)) / RATE)).expand(2, -1)


def brightness(picture: torch.Tensor) -> torch.Tensor:
    """(HEIGHT, WIDTH) of the spectrogram."""
    return picture[WAVE:].sum(dim=-1)


@pytest.mark.parametrize("hertz", [220.0, 440.0, 1760.0, 7040.0])
def test_an_octave_is_a_ninth_of_the_height(hertz):
    picture = sound.picture(tone(hertz))
    assert picture.shape == (WAVE + HEIGHT, WIDTH, 3) and 0 <= picture.min() and picture.max() <= 1
    rows = brightness(picture).mean(dim=1)
    brightest = rows.eq(rows.max()).nonzero().float().mean().item()  # a low bin is several rows
    assert brightest == pytest.approx(math.log2(RATE / 2 / hertz) / OCTAVES * (HEIGHT - 1), abs=4)


def test_time_is_along_the_width():
    silence = torch.zeros(2, RATE)
    picture = sound.picture(torch.cat([silence, tone(440, 1.0), silence, silence], dim=1))
    columns = brightness(picture).amax(dim=0)
    black = in_colors(torch.zeros(())).sum()
    heard = (columns > black + 1).nonzero().flatten()
    assert (heard.min().item(), heard.max().item()) == pytest.approx((WIDTH / 4, WIDTH / 2), abs=WIDTH / 40)
    thick = (picture[:WAVE, :, 2] < 0.9).sum(dim=0)
    assert thick[int(0.3 * WIDTH)] == pytest.approx(WAVE / 2, abs=2)  # from -.5 to .5 of -1 to 1
    assert thick[int(0.1 * WIDTH)] <= 2
    louder = sound.picture(torch.cat([10 * tone(440, 1.0), 4 * tone(440, 1.0)], dim=1))  # to 5 and to 2
    thick = (louder[:WAVE, :, 2] < 0.9).sum(dim=0)
    assert thick[WIDTH // 4] == WAVE and thick[3 * WIDTH // 4] == pytest.approx(0.4 * WAVE, abs=2)


@pytest.mark.parametrize(
    "waveform", [torch.zeros(1, 9000), torch.ones(2, 1), torch.rand(2, 100), torch.full((2, 9000), torch.nan)]
)
def test_silence_the_shortest_sounds_and_what_overflowed_have_a_picture(waveform):
    picture = sound.picture(waveform)
    assert picture.shape == (WAVE + HEIGHT, WIDTH, 3) and picture.isfinite().all()


def test_cells_of_a_long_sound_are_seen_as_they_are():
    cells = torch.arange(1000.0).view(1, 1, 1, 1000)
    seen = sound.seen(cells)
    assert seen.shape == (1, 1, 64, 256)
    assert seen[0, 0, 0].diff().min() >= 3 and set(seen.flatten().tolist()) <= set(range(1000))
    assert torch.equal(sound.seen(torch.ones(2, 3, 100, 20)), torch.ones(2, 3, 100, 20))
