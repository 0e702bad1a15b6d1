"""What the papers say of the inversions, on pictures that the demo model generated. The full numbers: `figures`."""

import pytest
from PIL import Image

from ddpm_core import sample, statistics, trajectories, without_residuals
from demo import figures
from demo.model import load_model


@pytest.fixture(scope="module")
def pictures():
    return figures.generate_pictures(load_model(), count=8, steps=20)


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
    errors = {
        name: figures.shift_error(pictures.images, figures.shifted(pictures, name, 2, "copy"), 2)[0]
        for name in figures.EXACT
    }
    assert errors["edit friendly"] < min(errors["native"], errors["CycleDiffusion"])


def test_the_replay_of_ddim_drifts_with_guidance(pictures):
    def error(cfg: float) -> float:
        denoiser = pictures.denoiser(cfg)
        states = trajectories.ddim(denoiser, pictures.images, pictures.schedule, pictures.seeds)
        replayed = sample(denoiser, without_residuals(pictures.schedule, states))
        return (replayed - pictures.images).abs().mean().item()

    assert error(1.0) < error(7.5) / 2


def test_what_makes_plain_areas_of_ddim_latents_gaussian(pictures):
    """arXiv 2410.23530: they vary too little there; with the first predictions the true ones they do not, and the
    latent is nearly the noise that made the picture. Noising those steps makes them vary, without finding that noise.
    """
    found = figures.ddim_latents(pictures, first=(2,))
    plain, other, _, to_noise, *_ = found["DDIM"]
    assert plain < other
    for way in ("2 true predictions", "2 noised steps"):
        assert abs(1 - found[f"DDIM, {way}"][0]) < abs(1 - plain)
    assert found["DDIM, 2 true predictions"][3] > max(to_noise, 0.95)
    assert found["DDIM, 2 noised steps"][3] < 0.5


def test_a_picture_of_the_figures(pictures, tmp_path):
    figures.figure_7(pictures, count=2).savefig(tmp_path / "fig7.png")
    assert Image.open(tmp_path / "fig7.png").size == (900, 440)
