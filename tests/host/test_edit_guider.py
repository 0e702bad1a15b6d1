"""Guidance by source, target and empty prompt: the published formulas, the host's own where two are enough, rows."""

from __future__ import annotations

import pytest
import torch

SKIP = 1


@pytest.fixture
def guider(pack, conditioning):
    """guider(model, kind, guidance, cfg, ...): the node's, of source 1, target 9 and empty prompt 2."""

    def make(model, kind: str, guidance: str, cfg: float, source_cfg: float = 1.0, source: int = 1, **inputs):
        prompts = zip(("source", "target", "negative"), (source, 9, 2), strict=True)
        common = {name: conditioning(kind, seed) for name, seed in prompts}
        (made,) = pack.run(
            "EditFriendlyEditGuider",
            model=model,
            **(common | inputs),
            guidance=guidance,
            cfg=cfg,
            source_cfg=source_cfg,
        )
        return made

    return make


@pytest.fixture
def predictions(comfy):
    """predictions(guider, latent): what it predicts of one state at sigma 2 and at sigma 1 of a run."""

    class Probe(comfy.samplers.Sampler):
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_):
            rows = noise.new_ones(len(noise))
            return torch.stack([model_wrap(noise, rows * sigma, **extra_args) for sigma in sigmas[:-1]], dim=1)

    def run(guider, latent: dict) -> torch.Tensor:
        seen = []

        class Keeping(Probe):
            def sample(self, *run, **more):
                seen.append(super().sample(*run[:6]))
                return torch.zeros_like(run[4])

        noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(7))
        guider.sample(noise, latent["samples"], Keeping(), torch.tensor([2.0, 1.0, 0.0]), seed=1)
        return seen[0]

    return run


def plain(comfy, model, positive, negative, cfg):
    made = comfy.samplers.CFGGuider(model)
    made.set_conds(positive, negative)
    made.set_cfg(cfg)
    return made


@pytest.mark.parametrize("kind", ["sd15", "sdxl", "flow", "flux", "wan"])
def test_h_edit_is_as_published(comfy, random_model, conditioning, latent, guider, predictions, kind):
    """D_src + w (D_tar - D_0) - w' (D_src - D_0), from three predictions of the host's without guidance."""
    model, image = random_model(kind), latent(kind, batch=2)
    source, target, empty = (
        predictions(plain(comfy, model, conditioning(kind, n), conditioning(kind, 2), 1.0), image) for n in (1, 9, 2)
    )
    expected = source + 7.5 * (target - empty) - 5.0 * (source - empty)
    seen = predictions(guider(model, kind, "h-Edit", 7.5, 5.0), image)
    assert (seen - expected).abs().max() <= 1e-4 * expected.abs().max()  # calls of other rows are rounded otherwise


@pytest.mark.parametrize(("guidance", "source_cfg"), [("classifier-free", 5.0), ("h-Edit", 1.0)])
def test_with_the_source_at_1_it_is_the_hosts_guidance(
    comfy, random_model, conditioning, latent, guider, predictions, guidance, source_cfg
):
    model, image = random_model("sd15"), latent("sd15")
    expected = predictions(plain(comfy, model, conditioning("sd15", 9), conditioning("sd15", 2), 7.5), image)
    assert torch.equal(predictions(guider(model, "sd15", guidance, 7.5, source_cfg), image), expected)


@pytest.mark.parametrize(("guidance", "source_cfg"), [("source as negative", 5.0), ("h-Edit", 1.5)])
def test_away_from_the_source_is_turbo_edits_guidance(
    comfy, random_model, conditioning, latent, guider, predictions, guidance, source_cfg
):
    """D_src + w (D_tar - D_src), by which TurboEdit edits: the host's own with the source for negative prompt."""
    model, image = random_model("sd15"), latent("sd15")
    expected = predictions(plain(comfy, model, conditioning("sd15", 9), conditioning("sd15", 1), 1.5), image)
    assert torch.equal(predictions(guider(model, "sd15", guidance, 1.5, source_cfg), image), expected)


def test_the_scale_follows_its_schedule(random_model, latent, guider, predictions):
    model, image = random_model("sd15"), latent("sd15")
    falling = predictions(guider(model, "sd15", "h-Edit", 7.5, 5.0, cfg_schedule="linear", end_cfg=2.0), image)
    for step, scale in ((0, 7.5), (1, 2.0)):
        constant = predictions(guider(model, "sd15", "h-Edit", scale, 5.0), image)
        torch.testing.assert_close(falling[:, step], constant[:, step], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guidance", ["source as negative", "h-Edit"])
def test_the_source_prompt_gives_the_image_back_at_any_scale(
    random_model, conditioning, latent, invert, guider, run_custom, guidance
):
    model, image = random_model("flow"), latent("flow", batch=2)
    maps = invert(model, "flow", latent_image=image, scheduler="simple", cfg=1.0)
    same = guider(model, "flow", guidance, 7.5, 7.5, target=conditioning("flow", 1))
    assert (run_custom(same, maps, image) - image["samples"]).abs().max() <= 1e-5
    other = guider(model, "flow", guidance, 7.5, 7.5)
    assert (run_custom(other, maps, image) - image["samples"]).abs().max() > 0.01


@pytest.mark.parametrize(("guidance", "rows"), [("source as negative", 2), ("classifier-free", 2), ("h-Edit", 3)])
def test_it_takes_a_row_for_each_prompt_that_counts(random_model, latent, guider, predictions, guidance, rows):
    model, seen = random_model("sd15").clone(), []

    def count(apply, args):
        seen.append(len(args["input"]))
        return apply(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(count)
    predictions(guider(model, "sd15", guidance, 7.5, 5.0), latent("sd15"))
    assert sum(seen) == 2 * rows
