"""How many steps a run has, what a share of them skips, and settings that go together."""

import dataclasses
import logging
import re
import sys
from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize("steps", [1, 2, 3, 50, 60, 80, 100, 400, 600, 999])
@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_ddim_uniform_has_the_steps_that_it_is_asked_for(comfy, pack, random_model, kind, steps):
    """ComfyUI's own makes 63 of 60; where it does not, ours are the same."""
    model_sampling = random_model(kind).get_model_object("model_sampling")
    sigmas = pack.host.levels(random_model(kind), "ddim_uniform", steps)
    assert len(sigmas) == steps + 1 and (sigmas.diff() < 0).all() and sigmas[-1] == 0
    own = comfy.samplers.calculate_sigmas(model_sampling, "ddim_uniform", steps)
    if len(own) == steps + 1:
        assert torch.equal(sigmas, own)
    else:  # each level is one of the model's, as far from the next as whole levels allow
        index = torch.searchsorted(model_sampling.sigmas, sigmas[:-1].flip(0))
        assert torch.equal(model_sampling.sigmas[index], sigmas[:-1].flip(0))
        assert index.diff().max() - index.diff().min() <= 1
        assert torch.equal(sigmas[-2], own[-2])  # the cleanest level is the host's


def test_a_model_has_no_more_steps_than_levels(pack, random_model):
    assert len(pack.host.levels(random_model("sd15"), "ddim_uniform", 2000)) == 999 + 1


@pytest.mark.parametrize("scheduler", ["ddim_uniform", "beta", "karras"])
def test_a_share_of_the_steps_is_skipped(pack, random_model, invert, scheduler):
    """The node's three outputs, connected, keep the share of the steps, however many there are."""
    model = random_model("sd15")
    for steps, share in ((60, 0.36), (7, 0.36), (3, 1.0), (400, 0.9)):
        sigmas, run, skip_steps, summary = pack.run(
            "EditFriendlyNoiseLevels", model=model, steps=steps, scheduler=scheduler, skip_share=share
        )
        assert run == len(sigmas) - 1 and skip_steps == min(round(share * run), run - 1)
        assert f"{run} steps, {skip_steps} skipped: {run - skip_steps} run" in summary
    sigmas, run, skip_steps, _ = pack.run(
        "EditFriendlyNoiseLevels", model=model, steps=7, scheduler=scheduler, skip_share=0.36
    )
    noise_maps = invert(model, sigmas=sigmas, steps=1, skip_steps=skip_steps)
    assert (noise_maps.full_steps, noise_maps.skipped) == (run, skip_steps)


def test_presets_are_the_papers_and_run(pack, random_model, conditioning, latent, edit):
    for kind, preset, numbers in (
        ("sd15", "edit friendly (paper)", [36, 3.5, 15.0, 1.0]),
        ("flow", "FlowEdit, SD3 (paper)", [17, 3.5, 13.5, 0.0]),
        ("flux", "FlowEdit, Flux (paper)", [4, 1.0, 1.0, 0.0, 1.5, 5.5]),
    ):
        sigmas, *settings = pack.run("EditFriendlyEditPreset", model=random_model(kind), preset=preset)
        summary = settings[6]
        assert settings[: len(numbers)] == numbers and str(len(sigmas) - 1) in summary
        skip_steps, source_cfg, target_cfg, eta, *_ = settings
        given = {"skip_steps": skip_steps, "source_cfg": source_cfg, "target_cfg": target_cfg, "eta": eta}
        image = latent(kind, height=4, width=4)
        assert edit(random_model(kind), kind, sigmas=sigmas, latent_image=image, **given).isfinite().all()


# Steps, skip, cfgs, eta; cross-attention until, self-attention from and until, features until, lambda. Tabs. 3 and 4.
SETTINGS = {
    "edit friendly (paper)": ([100, 36, 3.5, 15, 1], [0, 0, 0, 0, 0]),
    "P2P with these maps (paper)": ([100, 12, 3.5, 9, 1], [0.6, 0, 0.2, 0, 0]),
    "P2P on DDIM (paper)": ([100, 0, 3.5, 9, 0], [0.8, 0, 0.4, 0, 0]),
    "DDIM (paper)": ([100, 0, 3.5, 9, 0], [0, 0, 0, 0, 0]),
    "CycleDiffusion (paper)": ([100, 25, 3.5, 4, 1], [0, 0, 0, 0, 0]),
    "null-text (paper)": ([50, 0, 7.5, 7.5, 0], [0, 0, 0, 0, 0]),
    "zero-shot with these maps (paper)": ([50, 0, 3.5, 7.5, 1], [0, 0, 0, 0, 0.03]),
    "zero-shot (paper)": ([50, 0, 1, 7.5, 0], [0, 0, 0, 0, 0.1]),
    "Plug-and-Play with these maps": ([50, 0, 1, 10, 1], [0, 0, 0.5, 0.8, 0]),
    "MasaCtrl with these maps": ([50, 0, 1, 7.5, 1], [0, 0.08, 1, 0, 0]),
    "TurboEdit, 4 steps (paper)": ([4, 0, 1, 1.5, 1], [0, 0, 0, 0, 0]),
    "TurboEdit, 3 steps (paper)": ([3, 0, 1, 1.5, 1], [0, 0, 0, 0, 0]),
}
DOCS = Path(__file__).parents[2] / "web" / "docs"


@pytest.mark.parametrize("preset", SETTINGS)
def test_presets_of_other_methods_are_the_papers(pack, random_model, preset):
    """As the nodes give them, and as the help page prints them."""
    sigmas, skip_steps, source_cfg, target_cfg, eta, *_, summary, cross, start, until, features, weight, _ = pack.run(
        "EditFriendlyEditPreset", model=random_model("sd15"), preset=preset
    )
    numbers = [len(sigmas) - 1, skip_steps, source_cfg, target_cfg, eta], [cross, start, until, features, weight]
    assert numbers == SETTINGS[preset]
    assert ("lambda" in summary, "cross-attention" in summary) == (weight > 0, cross > 0)
    assert re.search(r"Invert Image.* \(arXiv \d{4}\.\d{5}", summary)
    row = next(
        line
        for line in (DOCS / "EditFriendlyEditPreset.md").read_text().splitlines()
        if line.startswith(f"| {preset} |")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    spaced = "" if preset.startswith("TurboEdit") else ", `ddim_uniform`"
    assert cells[1:5] == [
        f"{len(sigmas) - 1}{spaced}", str(skip_steps), f"{source_cfg:g}, {target_cfg:g}", f"{eta:g}"
    ]  # fmt: skip


def test_presets_of_this_method_suit_its_maps(pack, random_model, invert):
    """The words on the sampler's node have nothing to say about them, nor about the others with their own maps."""
    advice = sys.modules[f"{pack.root}.nodes.advice"]
    methods = {"DDIM": "DDIM", "P2P on DDIM": "DDIM", "CycleDiffusion": "CycleDiffusion", "null-text": "null-text"}
    for preset in SETTINGS:
        sigmas, skip_steps, source_cfg, target_cfg, *_ = pack.run(
            "EditFriendlyEditPreset", model=random_model("sd15"), preset=preset
        )
        noise_maps = invert(random_model("sd15"), sigmas=sigmas[-3:], steps=1)
        method = "few steps" if preset.startswith("TurboEdit") else methods.get(preset.removesuffix(" (paper)"))
        info = {"method": method or "edit friendly", "cfg": str(source_cfg)}
        maps = dataclasses.replace(noise_maps, skipped=len(sigmas) - 3, info=info)
        assert advice.on_settings(maps, skip_steps, target_cfg) == ""


@pytest.mark.parametrize(("kind", "cfg", "said"), [("flux", 3.5, True), ("flux", 1.0, False), ("sd15", 3.5, False)])
def test_guidance_of_distilled_models_is_told_in_the_log(random_model, invert, edit, latent, caplog, kind, cfg, said):
    with caplog.at_level(logging.WARNING):
        invert(random_model(kind), kind, cfg=cfg, steps=1, scheduler="simple")
        edit(random_model(kind), kind, source_cfg=cfg, target_cfg=cfg, steps=2, skip_steps=1)
    assert caplog.text.count("guidance-distilled: set cfg to 1") == 2 * said
