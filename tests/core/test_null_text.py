"""Null-text inversion on a small guided model: nearer replay, one image's search apart from another's, limits."""

import weakref

import pytest
import torch

from ddpm_core import NoiseMaps, null_text, sample, trajectories

CFG = 7.5


@pytest.fixture
def guided(denoiser):
    """guided(x, sigma)(uncond): guidance between a conditional prediction and one that the embedding bends."""

    def make(x, sigma):
        cond = denoiser(x, sigma) + 0.05

        def predict(uncond):
            bend = uncond.mean(dim=1)[:, :, None, None]  # (B, D, 1, 1), D channels
            return cond.lerp(denoiser(x, sigma) * (1 + bend), 1 - CFG)

        return predict

    return make


def pivots_of(denoiser, x_0, schedule):
    return trajectories.ddim(lambda x, sigma: denoiser(x, sigma) + 0.05, x_0, schedule, [0] * len(x_0))


def replay(guided, noise_maps: NoiseMaps) -> torch.Tensor:
    embeddings = iter(noise_maps.uncond)
    return sample(lambda x, sigma: guided(x, sigma)(next(embeddings)), noise_maps)


def error(guided, noise_maps: NoiseMaps) -> float:
    return (replay(guided, noise_maps) - noise_maps.image).abs().mean().item()


def image(batch: int) -> torch.Tensor:
    return 0.5 * torch.randn((batch, 4, 8, 8), generator=torch.Generator().manual_seed(0))


def test_replay_comes_nearer_than_with_the_empty_prompt(family, denoiser, guided):
    schedule, uncond = family(10, 1.0), torch.zeros((1, 3, 4))
    pivots = pivots_of(denoiser, image(1), schedule)
    options = {"early_stop": 0.0, "learning_rate": 0.03}
    found = null_text(guided, pivots, schedule, uncond, inner_steps=40, **options)
    untouched = null_text(guided, pivots, schedule, uncond, inner_steps=40, **(options | {"learning_rate": 0.0}))
    assert torch.equal(untouched.uncond, torch.zeros(10, 1, 3, 4))
    assert error(guided, found) < 0.5 * error(guided, untouched)
    assert found.schedule.eta == 0
    assert not found.residuals.any()
    assert torch.equal(found.states, pivots)


def test_each_image_of_a_batch_is_searched_alone(family, denoiser, guided):
    """Also where one stops early and the other goes on."""
    schedule, x_0 = family(6, 1.0), image(2)
    x_0[0] *= 0.01
    pivots = pivots_of(denoiser, x_0, schedule)
    batch = null_text(guided, pivots, schedule, torch.zeros((2, 3, 4)), early_stop=1e-3)
    for k in range(2):
        alone = null_text(guided, pivots[:, k : k + 1], schedule, torch.zeros((1, 3, 4)), early_stop=1e-3)
        assert torch.allclose(batch.uncond[:, k], alone.uncond[:, 0], atol=1e-6)


def test_it_stops_early_and_reports_all_of_its_work(family, denoiser, guided):
    schedule = family(6, 1.0)
    pivots, uncond = pivots_of(denoiser, image(1), schedule), torch.zeros((1, 3, 4))
    seen = []
    null_text(guided, pivots, schedule, uncond, early_stop=0.0, callback=seen.append)
    assert sorted({step["i"] for step in seen}) == list(range(60))
    seen.clear()
    stopped = null_text(guided, pivots, schedule, uncond, early_stop=1e9, callback=seen.append)
    assert not stopped.uncond.any()  # good enough at once: nothing was moved
    assert len(seen) == 2 * 6
    assert seen[-1]["i"] == 59


def the_embedding_itself(x, sigma):
    """A prediction that is the mean of the embedding everywhere."""
    return lambda uncond: uncond.mean(dim=(1, 2)).view(-1, 1, 1, 1).expand_as(x)


def test_each_step_finds_the_embedding_that_leads_to_the_next_pivot(family):
    schedule, wanted = family(6, 0.0), torch.linspace(0.3, 0.6, 6).double()
    pivots = [torch.ones((1, 4, 8, 8)).double()]
    for i in range(6):
        pivots.append(schedule.step(i).mean(pivots[-1], wanted[i].expand_as(pivots[-1])))
    options = {"inner_steps": 300, "learning_rate": 0.03, "early_stop": 1e-12}
    found = null_text(the_embedding_itself, torch.stack(pivots), schedule, torch.zeros((1, 1, 1)).double(), **options)
    assert torch.allclose(found.uncond.flatten(), wanted, atol=1e-3)


def test_a_search_goes_on_from_where_the_one_before_it_led(family):
    schedule, far, seen = family(6, 0.0), torch.full((7, 1, 4, 8, 8), 1e3).double(), []

    def denoiser(x, sigma):
        seen.append(x)
        return the_embedding_itself(x, sigma)

    found = null_text(denoiser, far, schedule, torch.zeros((1, 1, 1)).double(), inner_steps=1).uncond
    for i in range(5):
        expected = schedule.step(i).mean(seen[i], found[i].expand_as(seen[i]))
        assert torch.allclose(seen[i + 1], expected, rtol=1e-9)


def test_the_learning_rate_falls_to_half_of_it(family):
    """arXiv 2211.09794 has 1e-2 (1 - i / 100) for 50 steps; Adam's first step moves each number by just that."""
    far, uncond = torch.full((51, 1, 4, 8, 8), 1e3).double(), torch.zeros((1, 1, 1)).double()
    options = {"inner_steps": 1, "early_stop": 0.0}
    found = null_text(the_embedding_itself, far, family(50, 1.0), uncond, **options).uncond.flatten()
    expected = torch.tensor([1e-2 * (1 - i / 100) for i in range(50)]).double()
    assert torch.allclose(found.diff(prepend=torch.zeros(1)).abs(), expected, rtol=1e-6)


@pytest.mark.parametrize("moved", [None, 0, 1, 7, 24, 49])
def test_a_step_is_good_enough_at_the_papers_threshold(family, moved):
    """1e-5 + 2e-5 i of 50 steps in the scale of unit variance: none is searched that misses by a hundredth less."""
    schedule, uncond = family(50, 1.0).with_eta(0.0), torch.zeros((1, 1, 1)).double()
    x = torch.ones((1, 4, 8, 8)).double()
    pivots = [x]
    for i in range(50):
        x = schedule.step(i).mean(x, torch.zeros_like(x))
        miss = (1e-5 + 2e-5 * i) * (1.01 if i == moved else 0.99)  # mean squared
        pivots.append(x + miss**0.5 * schedule.scale(i + 1))
    found = null_text(the_embedding_itself, torch.stack(pivots), schedule, uncond, inner_steps=1).uncond.flatten()
    untouched = 50 if moved is None else moved
    assert not found[:untouched].any()
    assert found[untouched:].all()


def test_gradients_are_off_again_and_inputs_as_they_were(family, denoiser, guided):
    pivots, uncond = pivots_of(denoiser, image(1), family(4, 1.0)), torch.zeros((1, 3, 4))
    kept = pivots.clone()
    grad_mode = torch.is_grad_enabled()
    found = null_text(guided, pivots, family(4, 1.0), uncond)
    assert torch.is_grad_enabled() == grad_mode
    assert torch.equal(pivots, kept)
    assert not uncond.any()
    assert not found.uncond.requires_grad


@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4), (2, 0, 4)])
def test_an_embedding_of_another_batch_is_refused(family, denoiser, guided, shape):
    pivots = pivots_of(denoiser, image(2), family(4, 1.0))
    with pytest.raises(ValueError, match=r"2 images need \(2, tokens, channels\)"):
        null_text(guided, pivots, family(4, 1.0), torch.zeros(shape))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2, 5, 7), r"have shape \(3, 2, 5, 7\), 10 steps of 2 rows need \(10, 2, tokens, channels\)"),
        ((10, 1, 5, 7), r"10 steps of 2 rows need"),
    ],
)
def test_embeddings_of_other_steps_are_refused(noise_maps, shape, message):
    with pytest.raises(ValueError, match=message):
        NoiseMaps(noise_maps.schedule, noise_maps.states, noise_maps.residuals, uncond=torch.zeros(shape))


def test_the_graph_of_a_call_is_gone_before_the_next_step(family, denoiser, guided):
    """What gradients keep does not pile up: however many steps there are, the predictions of two calls are alive."""
    predictions = []
    most_alive = []

    def watched(x, sigma):
        most_alive.append(sum(ref() is not None for ref in predictions))
        predict = guided(x, sigma)

        def remember(uncond):
            result = predict(uncond)
            predictions.append(weakref.ref(result))
            return result

        return remember

    null_text(watched, pivots_of(denoiser, image(1), family(8, 1.0)), family(8, 1.0), torch.zeros((1, 3, 4)))
    assert len(predictions) > 8
    assert max(most_alive) <= 2
