"""Cross-attention guidance: the loop in closed form, the maps and their distance against loops."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from ddpm_core import NoiseSchedule, invert, sample, trajectories
from ddpm_core.attention import attention_maps
from ddpm_core.zero_shot import attend, map_distance, zero_shot


class Pulled:
    """Guidance by a denoiser, whose loss in each half is that half's pull * |x - state|^2 / 2."""

    def __init__(self, denoiser, *pulls: float):
        self.denoiser = denoiser
        self.pulls = pulls
        self.asked = 0

    @property
    def halves(self) -> int:
        return len(self.pulls)

    def gradients(self, x, state, sigma):
        self.asked += 1
        return [pull * (x - state) for pull in self.pulls]

    def predict(self, moved, sigma):
        return torch.stack([self.denoiser(x, sigma) for x in moved]).sum(dim=0) / len(moved)


def maps_of(denoiser, schedule: NoiseSchedule, x_0: torch.Tensor):
    return invert(denoiser, trajectories.edit_friendly(x_0, schedule, [1] * len(x_0)), schedule)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def wobbly(x, sigma):
    return torch.tanh(x.roll(1, -1) + 0.3 * x)


def test_weight_0_is_plain_sampling_and_asks_for_no_gradient(family, image):
    noise_maps = maps_of(wobbly, family(6, 1.0), image)
    for halves in (1, 2):
        guidance = Pulled(torch.cos, *[1.0] * halves)
        guidance.denoiser = lambda x, sigma: torch.cos(x)
        edited = zero_shot(guidance, noise_maps, weight=0.0, skip_steps=2)
        assert torch.allclose(edited, sample(guidance.denoiser, noise_maps, skip_steps=2), rtol=1e-12)
        assert guidance.asked == 0


def test_the_source_under_its_own_prompt_is_the_image(family, image):
    noise_maps = maps_of(wobbly, family(6, 0.7), image)
    found = zero_shot(Pulled(wobbly, 1.0, 1.0), noise_maps, weight=0.5)
    assert (found - image).abs().max() < 1e-12


def test_steps_in_closed_form(family, image):
    """Each half predicts at its own x, moved, and the last half's goes through Eq. 4."""
    schedule = family(4, 1.0)
    noise_maps = maps_of(wobbly, schedule, image)
    edited = zero_shot(Pulled(lambda x, sigma: torch.cos(x), 3.0, 2.0), noise_maps, weight=0.01)
    x = noise_maps.states[0]
    for i in range(4):
        down = 0.01 * schedule.scale(i) ** 2 * (x - noise_maps.states[i])
        moved = [x - pull * down for pull in (3.0, 2.0)]
        x = schedule.step(i).mean(moved[1], sum(map(torch.cos, moved)) / 2) + noise_maps.residuals[i]
    assert torch.allclose(edited, x, rtol=1e-12)


def test_each_half_predicts_at_its_own_x(family, image):
    schedule, seen = family(1, 1.0), []
    noise_maps = maps_of(wobbly, schedule, image)

    class Apart(Pulled):
        def gradients(self, x, state, sigma):
            return [torch.full_like(x, pull) for pull in self.pulls]

        def predict(self, moved, sigma):
            seen.extend(moved)
            return moved[0]

    zero_shot(Apart(wobbly, 1.0, -2.0), noise_maps, weight=0.1)
    step = 0.1 * schedule.scale(0) ** 2
    for x, pull in zip(seen, (1.0, -2.0), strict=True):
        assert torch.allclose(x, noise_maps.states[0] - step * pull, rtol=1e-12)


def test_a_weight_means_the_same_in_every_scaling(image):
    """The scale is the one that the network sees: a process and the same in k-diffusion's scaling give one image."""
    alphas = torch.linspace(0.01, 1, 7, dtype=torch.float64)
    preserving = NoiseSchedule.variance_preserving(alphas)
    exploding = NoiseSchedule.variance_exploding(preserving.sigmas)

    def seen_by_network(sigma):
        return 1 / (1 + sigma.double().view(-1, 1, 1, 1) ** 2).sqrt()

    class Scaled(Pulled):
        def __init__(self, exploding: bool):
            super().__init__(self.predict_one, 1.0)
            self.exploding = exploding

        def gain(self, sigma):
            return seen_by_network(sigma) if self.exploding else 1.0

        def predict_one(self, x, sigma):
            return torch.cos(self.gain(sigma) * x)

        def gradients(self, x, state, sigma):  # of |network's x - network's state|^2 / 2
            return [self.gain(sigma) ** 2 * (x - state)]

    results = []
    for schedule in (preserving, exploding):
        states = trajectories.edit_friendly(image, preserving, [1, 2])
        states = states * (schedule.signal / preserving.signal).view(-1, 1, 1, 1, 1)
        noise_maps = invert(lambda x, sigma: torch.zeros_like(x), states, schedule)
        results.append(zero_shot(Scaled(schedule is exploding), noise_maps, weight=0.3))
    assert torch.allclose(*results, rtol=1e-6)


def test_outside_a_mask_the_image_comes_back(family, image):
    noise_maps = maps_of(wobbly, family(4, 1.0), image)
    mask = torch.zeros((1, 1, 4, 4))
    mask[..., 2:] = 1
    edited = zero_shot(Pulled(lambda x, sigma: torch.cos(x), 1.0), noise_maps, weight=0.1, mask=mask)
    assert torch.equal(edited[..., :2], image[..., :2])
    assert not torch.equal(edited[..., 2:], image[..., 2:])
    with pytest.raises(ValueError, match="the mask has shape"):
        zero_shot(Pulled(wobbly, 1.0), noise_maps, mask=torch.ones((1, 1, 3, 3)))


def test_it_reports_each_step(noise_maps):
    seen = []
    zero_shot(Pulled(wobbly, 1.0), noise_maps, skip_steps=4, callback=lambda step: seen.append(step["i"]))
    assert seen == list(range(6))


@given(
    shape=st.tuples(*[st.integers(1, 4)] * 4),
    heads=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_maps_are_the_hosts_attention(shape, heads, seed):
    rows, pixels, tokens, width = shape
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn((rows, n, heads * width), generator=generator) for n in (pixels, tokens, tokens))
    maps = attention_maps(q, k, heads)
    assert maps.shape == (rows, heads, pixels, tokens)
    assert torch.allclose(maps.sum(dim=-1), torch.ones(()), atol=1e-6)
    split = [part.unflatten(-1, (heads, width)).transpose(1, 2) for part in (q, k, v)]
    expected = F.scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
    assert torch.allclose(attend(maps, v), expected, atol=1e-5)


def test_precision_of_maps():
    for dtype, expected in (
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.double, torch.double),
    ):
        q = torch.ones((1, 2, 4), dtype=dtype)
        assert attention_maps(q, q, 2).dtype == expected
        assert attend(attention_maps(q, q, 2), q).dtype == dtype


def test_distance_of_maps_by_loops():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand((2, 2, 3, 4, 5), generator=generator)
    for row, found in enumerate(map_distance(a, b)):
        total = sum(
            (a[row, head, pixel, token] - b[row, head, pixel, token]).item() ** 2
            for head in range(3)
            for pixel in range(4)
            for token in range(5)
        )
        assert found.item() == pytest.approx(total / 6, rel=1e-6)


def test_the_gradient_at_a_pixel_does_not_depend_on_how_many_there_are():
    generator = torch.Generator().manual_seed(0)
    q, reference, k = (torch.randn((1, n, 8), generator=generator) for n in (6, 6, 5))

    def gradient(times: int) -> torch.Tensor:
        x = q.repeat(1, times, 1).requires_grad_(True)
        target = attention_maps(reference.repeat(1, times, 1), k, 2)
        with torch.enable_grad():
            loss = map_distance(attention_maps(x, k, 2), target).sum()
        return torch.autograd.grad(loss, x)[0]

    assert torch.allclose(gradient(4)[:, :6], gradient(1), atol=1e-7)
