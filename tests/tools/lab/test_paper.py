"""What the papers say of the inversions, on pictures that the demo model generated. The full numbers: `figures`."""

import pytest

from ddpm_core import sample, statistics, trajectories
from demo.model import load_model
from tools.lab.figures.reconstruction import Scenes
from tools.lab.figures.subjects import Sizes, Subjects, generate_pictures


@pytest.fixture(scope="module")
def subjects():
    return Subjects(load_model(), Sizes(latents=8))


@pytest.fixture(scope="module")
def pictures():
    return generate_pictures(load_model(), count=8, steps=20)


def test_size_and_correlation_of_z(pictures):
    """Figs. 6 and 12: edit friendly > CycleDiffusion ~ native ~ 1, and only edit-friendly neighbours are correlated."""
    size = {name: statistics.z_std(maps).mean().item() for name, maps in pictures.maps.items()}
    assert size["native"] == pytest.approx(1, abs=0.02)
    assert size["CycleDiffusion"] == pytest.approx(1, abs=0.15)
    assert size["edit friendly"] > 1.5
    correlation = {name: statistics.z_correlation(maps).mean().item() for name, maps in pictures.maps.items()}
    assert abs(correlation["native"]) < 0.02
    assert abs(correlation["CycleDiffusion"]) < 0.05
    assert correlation["edit friendly"] < -0.3


def test_every_exact_method_returns_the_pictures(pictures):
    for maps in pictures.maps.values():
        assert (sample(pictures.denoiser(), maps) - maps.image).abs().max() <= 1e-5


def test_a_small_shift_of_edit_friendly_maps_moves_the_picture_best(pictures):
    """Fig. 11."""
    error = {
        name: statistics.shift_errors(pictures.images, pictures.shifted(name, 2), 2).mean().item()
        for name in pictures.maps
    }
    assert error["edit friendly"] < min(error["native"], error["CycleDiffusion"]) / 2


def test_the_replay_of_ddim_drifts_with_guidance():
    scenes = Scenes.of(Subjects(load_model(), Sizes(edit_steps=20)), 4)

    def error(cfg: float) -> float:
        denoiser = scenes.model.denoiser(scenes.captions, cfg)
        return scenes.error(scenes.replay(denoiser, scenes.ddim(denoiser)))

    assert error(1.0) < error(7.5) / 2


def test_what_makes_plain_areas_of_ddim_latents_gaussian(subjects):
    """arXiv 2410.23530: they vary too little there; with the first predictions the true ones they do not, and the
    latent is nearly the noise that made the picture. Noising those steps makes them vary, without finding that noise.
    """
    native, textbook = subjects.latents, subjects.inverted()
    plain, other = statistics.plain_and_other_std(textbook)
    assert plain < other
    for ours in (subjects.inverted(true=2), subjects.inverted(noised=2)):
        assert abs(1 - statistics.plain_and_other_std(ours)[0]) < abs(1 - plain)

    def away(maps) -> float:
        return (statistics.latent(maps) - statistics.latent(native)).abs().mean().item()

    assert away(subjects.inverted(true=2)) < away(textbook) / 3
    assert away(subjects.inverted(noised=2)) > away(textbook)


def test_the_first_steps_of_the_inversion_err_most_where_the_picture_is_plain(subjects):
    """arXiv 2410.23530v2, Fig. 4 and Tab. 6."""
    native = subjects.latents
    noises = trajectories.ddim_noises(subjects.model.denoiser(""), native)
    plain, other = statistics.step_errors(*noises, native.image)
    assert plain[-1] > other[-1]
    assert plain[-2:].sum() > plain[:-2].sum()
