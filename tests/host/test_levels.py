"""How many steps a run has, what a fraction of them skips, and settings that go together."""

import dataclasses
import logging
import re
from pathlib import Path

import pytest
import torch


@pytest.mark.parametrize("steps", [1, 2, 3, 50, 60, 80, 100, 400, 600, 999])
@pytest.mark.parametrize("kind", ["sd15", "flow"])
def test_ddim_uniform_has_the_steps_that_it_is_asked_for(comfy, pack, random_model, kind, steps):
    """ComfyUI's own makes 63 of 60; where it does not, ours are the same."""
    model_sampling = random_model(kind).get_model_object("model_sampling")
    sigmas = pack.host.levels.levels(random_model(kind), "ddim_uniform", steps)
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
    assert len(pack.host.levels.levels(random_model("sd15"), "ddim_uniform", 2000)) == 999 + 1


@pytest.mark.parametrize("scheduler", ["ddim_uniform", "beta", "karras"])
def test_a_share_of_the_steps_is_skipped(pack, random_model, invert, scheduler):
    """The node's three outputs, connected, keep the fraction of the steps, however many there are."""
    model = random_model("sd15")
    for steps, share in ((60, 0.36), (7, 0.36), (3, 1.0), (400, 0.9)):
        sigmas, run, skip_steps, summary = pack.run(
            "EditFriendlyNoiseLevels", model=model, steps=steps, scheduler=scheduler, skip_fraction=share
        )
        assert run == len(sigmas) - 1 and skip_steps == min(round(share * run), run - 1)
        assert f"{run} steps, {skip_steps} skipped: {run - skip_steps} run" in summary
    sigmas, run, skip_steps, _ = pack.run(
        "EditFriendlyNoiseLevels", model=model, steps=7, scheduler=scheduler, skip_fraction=0.36
    )
    noise_maps = invert(model, sigmas=sigmas, steps=1, skip_steps=skip_steps)
    assert (noise_maps.full_steps, noise_maps.skipped) == (run, skip_steps)


@pytest.fixture
def preset(pack, random_model):
    """preset(name, kind): the settings of a preset, and their summary."""
    return lambda name, kind="sd15": pack.run("EditFriendlyEditPreset", model=random_model(kind), preset=name)


def test_presets_are_the_papers_and_run(preset, random_model, latent, edit):
    """On one wire; the node's own numbers, which would be refused or give another image, play no part."""
    for kind, name, numbers in (
        ("sd15", "edit friendly (paper)", (36, 3.5, 15.0, 1.0, 3.5, 3.5)),
        ("flow", "FlowEdit, SD3 (paper)", (17, 3.5, 13.5, 0.0, 3.5, 3.5)),
        ("flux", "FlowEdit, Flux (paper)", (4, 1.0, 1.0, 0.0, 1.5, 5.5)),
    ):
        settings, summary = preset(name, kind)
        chosen, sigmas = settings.preset, settings.sigmas
        told = chosen.skip_steps, chosen.source_cfg, chosen.target_cfg, chosen.eta
        assert (*told, chosen.source_guidance, chosen.target_guidance) == numbers and str(len(sigmas) - 1) in summary
        image = latent(kind, height=4, width=4)
        written = {"skip_steps": numbers[0], "source_cfg": numbers[1], "target_cfg": numbers[2], "eta": numbers[3]}
        left = {"skip_steps": 9999, "cfg_schedule": "cosine", "end_cfg": 50.0}
        by_wire = edit(random_model(kind), kind, settings=settings, latent_image=image, **left)
        assert by_wire.isfinite().all()
        if kind != "flux":
            assert torch.equal(by_wire, edit(random_model(kind), kind, sigmas=sigmas, latent_image=image, **written))


def test_a_distilled_model_is_told_its_guidance_with_each_prompt(
    preset, random_model, latent, edit, conditioning, host_node
):
    """As FluxGuidance tells it; what a prompt brings stays."""
    model, (settings, _) = random_model("flux"), preset("FlowEdit, Flux (paper)", "flux")
    image = latent("flux", height=4, width=4)
    wired = edit(model, "flux", settings=settings, latent_image=image)
    prompts = {
        name: host_node("FluxGuidance", conditioning=conditioning("flux", seed), guidance=guidance)[0]
        for name, seed, guidance in (("source", 1, 1.5), ("target", 9, 5.5))
    }
    assert torch.equal(wired, edit(model, "flux", settings=settings, latent_image=image, **prompts))
    prompts["target"] = host_node("FluxGuidance", conditioning=conditioning("flux", 9), guidance=30.0)[0]
    assert not torch.equal(wired, edit(model, "flux", settings=settings, latent_image=image, **prompts))


def test_each_node_takes_its_part_of_the_settings(preset, pack, random_model, run_node, invert, sample, conditioning):
    model, (settings, _) = random_model("sd15"), preset("CycleDiffusion (paper)")
    (maps,) = run_node("EditFriendlyCycleDiffusionInvert", model, settings=settings, steps=3, cfg=99.0)
    assert (maps.steps, maps.origin.cfg, maps.schedule.eta) == (100, 3.5, 1.0)
    few = pack.core.NoiseMaps(
        maps.schedule.after(90), maps.states[90:], maps.residuals[90:], skipped=90, facts=maps.facts
    )
    shorter = dataclasses.replace(settings, preset=dataclasses.replace(settings.preset, skip_steps=95))
    wired = sample(model, few, settings=shorter, cfg=99.0, skip_steps=0)
    assert torch.equal(wired, sample(model, few, cfg=4.0, skip_steps=95))
    _, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=few, skip_steps=0, settings=shorter)
    assert len(sigmas) == 5 + 1
    (ddim,) = run_node("EditFriendlyDDIMInvert", model, settings=short(preset("DDIM (paper)")[0]))
    assert ddim.origin.method.value == "DDIM" and not ddim.residuals.any()
    left = {"settings": short(preset("DDIM (paper)")[0]), "cfg_schedule": "cosine", "end_cfg": 50.0}
    assert torch.equal(run_node("EditFriendlyDDIMInvert", model, **left)[0].states, ddim.states)


def short(settings):
    """The same in its last two steps, for time."""
    return dataclasses.replace(settings, sigmas=settings.sigmas[-3:])


@pytest.mark.parametrize(
    ("node", "name", "said"),
    [
        (
            "EditFriendlyInvert",
            "DDIM (paper)",
            r"is for Invert Image \(DDIM\), without residuals, and this node inverts",
        ),
        ("EditFriendlyInvert", "FlowEdit, SD3 (paper)", "is for Edit Image, and this node inverts by edit friendly"),
        ("EditFriendlyDDIMInvert", "edit friendly (paper)", "is for Invert Image or Edit Image, and this node inverts"),
        (
            "EditFriendlyTurboInvert",
            "null-text (paper)",
            r"is for Invert Image \(Null-Text\), and this node inverts by few",
        ),
    ],
)
def test_a_preset_of_another_inversion_is_refused_by_name(preset, random_model, run_node, node, name, said):
    with pytest.raises(ValueError, match=said):
        run_node(node, random_model("sd15"), settings=preset(name)[0])


def test_attention_takes_its_windows_from_the_settings(preset, prompts, share, conditioning):
    (p2p, _), (pnp, _) = preset("P2P on DDIM (paper)"), preset("Plug-and-Play with these maps")
    made = prompts(settings=p2p, cross_steps=0.1, self_steps=0.9).edit.edit
    assert set(made.cross.windows) == {(0.0, 0.8)} and made.shares[0].window == (0.0, 0.4)
    shared = share(conditioning("sd15", 1), "Plug-and-Play", settings=pnp, start=0.3).edit
    assert shared.shares[0].window == (0.0, 0.5) and shared.features[0].window == (0.0, 0.8)


def test_attention_refuses_settings_that_are_without_it(pack, preset, prompts, share, conditioning):
    """The node would do nothing without a word."""
    (maps, _), (p2p, _) = preset("edit friendly (paper)"), preset("P2P on DDIM (paper)")
    with pytest.raises(ValueError, match="'edit friendly .paper.' is without Prompt-to-Prompt, so this node would do"):
        prompts(settings=maps)
    with pytest.raises(ValueError, match="'edit friendly .paper.' is without values only"):
        share(conditioning("sd15", 1), "values only", settings=maps)
    guided = {name: conditioning("sd15", k) for k, name in enumerate(("source", "target", "negative"))}
    numbers = {"noise_maps": None, "cfg": 3.0, "guidance_weight": 0.1, "skip_steps": 0, "settings": p2p}
    with pytest.raises(ValueError, match="'P2P on DDIM .paper.' is without zero-shot guidance"):
        pack.run("EditFriendlyZeroShotImageToImage", model=None, **guided, **numbers)


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
    "Plug-and-Play (paper)": ([50, 0, 1, 10, 0], [0, 0, 0.5, 0.8, 0]),
    "Plug-and-Play with these maps": ([50, 0, 1, 10, 1], [0, 0, 0.5, 0.8, 0]),
    "MasaCtrl with these maps": ([50, 0, 1, 7.5, 1], [0, 0.08, 1, 0, 0]),
    "TurboEdit, 4 steps (paper)": ([4, 0, 1, 1.5, 1], [0, 0, 0, 0, 0]),
    "TurboEdit, 3 steps (paper)": ([3, 0, 1, 1.5, 1], [0, 0, 0, 0, 0]),
}
DOCS = Path(__file__).parents[2] / "web" / "docs"


@pytest.mark.parametrize("name", SETTINGS)
def test_presets_of_other_methods_are_the_papers(preset, name):
    """As the nodes give them, and as the help page prints them."""
    settings, summary = preset(name)
    chosen, sigmas = settings.preset, settings.sigmas
    skip_steps, source_cfg, target_cfg, eta = chosen.skip_steps, chosen.source_cfg, chosen.target_cfg, chosen.eta
    cross, weight = chosen.cross_steps, chosen.guidance_weight
    attention = [cross, chosen.self_start, chosen.self_steps, chosen.feature_steps, weight]
    assert ([len(sigmas) - 1, skip_steps, source_cfg, target_cfg, eta], attention) == SETTINGS[name]
    assert ("lambda" in summary, "cross-attention" in summary) == (weight > 0, cross > 0)
    assert re.search(r"Invert Image.* \(arXiv \d{4}\.\d{5}", summary)
    row = next(
        line for line in (DOCS / "EditFriendlyEditPreset.md").read_text().splitlines() if line.startswith(f"| {name} |")
    )
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    spaced = "" if name.startswith("TurboEdit") else ", `ddim_uniform`"
    assert cells[1:5] == [
        f"{len(sigmas) - 1}{spaced}", str(skip_steps), f"{source_cfg:g}, {target_cfg:g}", f"{eta:g}"
    ]  # fmt: skip


def test_presets_of_this_method_suit_its_maps(pack, preset, random_model, invert):
    """The words on the sampler's node have nothing to say about them, nor about the others with their own maps."""
    for name in SETTINGS:
        settings, _ = preset(name)
        noise_maps = invert(random_model("sd15"), sigmas=settings.sigmas[-3:], steps=1)
        origin = pack.core.Origin(settings.preset.method, settings.preset.source_cfg)
        facts = dataclasses.replace(noise_maps.facts, origin=origin)
        maps = dataclasses.replace(noise_maps, skipped=len(settings.sigmas) - 3, facts=facts)
        chosen = settings.preset
        assert pack.modules("advice").on_settings(maps, chosen.skip_steps, chosen.target_cfg) == ""


@pytest.mark.parametrize(("kind", "cfg", "said"), [("flux", 3.5, True), ("flux", 1.0, False), ("sd15", 3.5, False)])
def test_guidance_of_distilled_models_is_told_in_the_log(random_model, invert, edit, latent, caplog, kind, cfg, said):
    with caplog.at_level(logging.WARNING):
        invert(random_model(kind), kind, cfg=cfg, steps=1, scheduler="simple")
        edit(random_model(kind), kind, source_cfg=cfg, target_cfg=cfg, steps=2, skip_steps=1)
    assert caplog.text.count("guidance-distilled: set cfg to 1") == 2 * said


# --- zero terminal SNR ------------------------------------------------------------------------------------------------

OF_ERRORS = "at the first step nothing is left of the image (zero terminal SNR), and this model predicts the noise"


@pytest.mark.parametrize(
    ("sampling", "zsnr", "skip_steps", "said"),
    [("eps", True, 0, True), ("eps", True, 1, False), ("eps", False, 0, False), ("v_prediction", True, 0, False)],
)
def test_noise_that_is_predicted_where_there_is_nothing_else_is_remarked_on(
    random_model, host_node, conditioning, run_node, sample, edit, caplog, sampling, zsnr, skip_steps, said
):
    (model,) = host_node("ModelSamplingDiscrete", model=random_model("sd15"), sampling=sampling, zsnr=zsnr)
    inputs = {"scheduler": "simple", "skip_steps": skip_steps}
    (maps,) = run_node("EditFriendlyInvert", model, scheduler="simple")
    for way in (
        lambda: run_node("EditFriendlyInvert", model, **inputs),
        lambda: run_node("EditFriendlyCycleDiffusionInvert", model, **inputs),
        lambda: edit(model, skip_steps=skip_steps),
        lambda: sample(model, maps, skip_steps=skip_steps),
    ):
        caplog.clear()
        way()
        assert (OF_ERRORS in caplog.text) == said
        assert ("count 4519 times there" in caplog.text and "Set skip_steps to 1 or more" in caplog.text) == said


@pytest.mark.parametrize("kind", ["sd15", "v", "flow"])
def test_what_a_network_says_counts_as_its_prediction_has_it(pack, random_model, kind):
    for level in (0.1, 0.5, 0.9):
        sigma = torch.tensor(level)
        expected = {"sd15": level, "flow": level, "v": level / (1 + level**2) ** 0.5}[kind]
        assert pack.host.levels.gain_of_network(random_model(kind), sigma) == pytest.approx(expected)
