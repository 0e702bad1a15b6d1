"""Graphs as users build them: areas, masks, ControlNets, adapters, boxes, pictures as conditioning, batches, video.

What the host does with each is its own affair; what the pack must not do is change it. So one pass is held to inverting
and sampling, several timesteps a call to one, and a batch with variations to each of its images alone.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from support.rounding import relative, rounding
from tools.benchmarks.random_weights import CHANNELS, randomize

ONE_AT_A_TIME = {"t2i adapter", "t2i adapter on prompt and negative", "gligen", "control of a batch"}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def with_values(conditioning: list, **values) -> list:
    return [[embedding, {**options, **values}] for embedding, options in conditioning]


@pytest.fixture
def graph(comfy, random_model, random_control_net, conditioning, latent):
    """graph(name): the kind of model, the MODEL, the three prompts, and what else the nodes are given."""
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS

    def prompt(kind: str, seed: int) -> list:
        return conditioning(kind, seed)

    def area(positive: list, x: int = 16) -> list:
        """The prompt everywhere, and another one in an area of 32 x 48 pixels."""
        (part,) = nodes["ConditioningSetArea"]().append(prompt("sd15", 7), 48, 32, x, 8, 1.0)
        return positive + part

    def boxed(positive: list) -> list:
        return with_values(positive, gligen=("position", gligen(comfy), [(normal(5, 1, 768), 4, 4, 1, 2)]))

    def controlled(positive: list, control, batch: int = 1) -> list:
        hint = torch.rand((batch, 64, 64, 3), generator=torch.Generator().manual_seed(batch))
        return nodes["ControlNetApply"]().apply_controlnet(positive, control, hint, 1.0)[0]

    def masked(positive: list) -> list:
        mask = torch.zeros(1, 64, 64)
        mask[:, :, :24] = 1
        return nodes["ConditioningSetMask"]().append(prompt("sd15", 7), mask, "default", 1.0)[0] + positive

    def pictured(kind: str, positive: list) -> list:
        """A picture for each of two images, as inpainting models and models of video from an image want it."""
        frames = (3,) if kind == "wan_i2v" else ()
        mask = (normal(4, 2, 1, *frames, 8, 8) > 0).float()
        picture = normal(3, 2, CHANNELS[kind], *frames, 8, 8)
        return with_values(positive, concat_latent_image=picture, concat_mask=mask)

    def batch_of(kind: str, seed: int, count: int) -> list:
        return [[torch.cat([prompt(kind, seed + 20 * k)[0][0] for k in range(count)]), dict(prompt(kind, seed)[0][1])]]

    def make(name: str) -> SimpleNamespace:
        kind = KINDS.get(name, "sd15")
        source, target, negative = (prompt(kind, seed) for seed in (1, 9, 2))
        more = {}
        if name.startswith("area on"):
            source = area(source) if "source" in name or "both" in name else source
            target = area(target, x=0) if "target" in name or "both" in name else target
        elif name.endswith("on prompt and negative"):
            control = random_control_net if name.startswith("control") else adapter(comfy)
            hint = torch.rand((2, 64, 64, 3), generator=torch.Generator().manual_seed(0))
            apply = nodes["ControlNetApplyAdvanced"]().apply_controlnet
            source, _ = apply(source, negative, control, hint, 1.0, 0.0, 1.0)
            target, negative = apply(target, negative, control, hint, 0.7, 0.0, 0.8)
        elif name.startswith("control on"):
            source = controlled(source, random_control_net) if "source" in name or "both" in name else source
            target = controlled(target, random_control_net) if "target" in name or "both" in name else target
        elif name == "control of a batch":
            source, target = (controlled(part, random_control_net, batch=3) for part in (source, target))
        elif name == "mask on target":
            target = masked(target)
        elif name == "t2i adapter":
            source, target = (controlled(part, adapter(comfy), batch=2) for part in (source, target))
        elif name == "gligen":
            target = boxed(target)
        elif name == "longer target":
            target = [[torch.cat([target[0][0], prompt(kind, 10)[0][0]], dim=1), target[0][1]]]
        elif name == "range on target":
            target = with_values(target, start_percent=0.0, end_percent=0.7)
        elif name == "two prompts a batch":
            source, target = batch_of(kind, 1, 2), batch_of(kind, 9, 2)
        elif name == "three prompts a batch":
            source, target, negative = (batch_of(kind, seed, 3) for seed in (1, 9, 2))
        elif name in ("inpaint", "wan_i2v"):
            source, target, negative = (pictured(kind, part) for part in (source, target, negative))
        elif name == "noise mask":
            mask = torch.zeros(1, 1, 64, 64)
            mask[..., 16:48, 8:40] = 1
            more["noise_mask"] = mask
        elif name == "guidance of flux":
            source, target = (with_values(part, guidance=scale) for part, scale in ((source, 1.5), (target, 5.5)))
        return SimpleNamespace(
            kind=kind,
            model=random_model(kind),
            source=source,
            target=target,
            negative=negative,
            image={**latent(kind, batch=2), **more},
        )

    return make


KINDS = {
    "inpaint": "inpaint",
    "flux": "flux",
    "guidance of flux": "flux",
    "wan": "wan",
    "wan_i2v": "wan_i2v",
}
GRAPHS = [
    "plain",
    "longer target",
    "range on target",
    "two prompts a batch",
    "three prompts a batch",
    "area on source",
    "area on target",
    "area on both",
    "mask on target",
    "control on source",
    "control on target",
    "control on both",
    "control on prompt and negative",
    "control of a batch",
    "t2i adapter",
    "t2i adapter on prompt and negative",
    "gligen",
    "noise mask",
    *KINDS,
]


def adapter(comfy):
    """A T2I-Adapter with random weights for the narrow sd15 model."""
    from comfy.t2i_adapter.adapter import Adapter

    class FirstBlock(Adapter):
        """The feature of full size at the one block of the narrow model that has it."""

        def forward(self, x):
            features = super().forward(x)["input"]
            return {"input": [next(part for part in features if part is not None and part.shape[-1] == 8)]}

    network = FirstBlock(channels=[64, 64, 64, 64], nums_rb=1, cin=192, xl=False)
    return comfy.controlnet.T2IAdapter(randomize(network, seed=3), 3, 8, "nearest-exact", torch.device("cpu"))


def gligen(comfy):
    """GLIGEN with random weights for the narrow sd15 model, as a MODEL."""
    import comfy.gligen as host_gligen

    blocks = [host_gligen.GatedSelfAttentionDense(64, 768, 8, 8) for _ in range(8)]
    network = host_gligen.Gligen(blocks, host_gligen.PositionNet(768, 768), 768)
    randomize(network, seed=4)
    for block in blocks:
        block.alpha_attn.data.fill_(0.5)
        block.alpha_dense.data.fill_(0.5)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(network, load_device=device, offload_device=device)


@pytest.mark.parametrize("name", sorted(set(GRAPHS) - {"plain", "noise mask", "flux", "wan"}))
def test_a_graph_is_no_plain_one(graph, conditioning, invert, name):
    """What a graph has beside prompts is seen by the model, so that the tests below are of something."""
    case = graph(name)
    differ = []
    for seed, prompt in ((1, case.source), (9, case.target)):
        settings = {"latent_image": case.image, "scheduler": "simple", "steps": 4}
        own = invert(case.model, case.kind, positive=prompt, negative=case.negative, **settings)
        plain = invert(case.model, case.kind, positive=conditioning(case.kind, seed), **settings)
        differ.append(relative(own.residuals, plain.residuals) > 1e-2)
    assert any(differ)


@pytest.mark.parametrize("name", GRAPHS)
def test_one_pass_gives_what_inverting_and_sampling_give(graph, invert, sample, edit, name):
    case = graph(name)
    inverted = {"latent_image": case.image, "scheduler": "simple", "steps": 4, "variations": 2}
    noise_maps = invert(case.model, case.kind, positive=case.source, negative=case.negative, **inverted)
    expected = sample(
        case.model, noise_maps, case.kind, positive=case.target, negative=case.negative, cfg=7.0, skip_steps=1
    )
    prompts = {"source": case.source, "target": case.target, "negative": case.negative}
    settings = {**prompts, "steps": 4, "variations": 2}

    def in_one_pass(image: dict) -> torch.Tensor:
        return edit(case.model, case.kind, latent_image=image, **settings)

    assert relative(in_one_pass(case.image), expected) <= rounding(in_one_pass, case.image)
    image = noise_maps.image / (noise_maps.image.abs().max())
    assert (expected / expected.abs().max() - image).abs().max() > 0.01, "the edit does nothing, so the test neither"


@pytest.mark.parametrize("name", GRAPHS)
def test_the_mask_from_two_prompts_is_where_two_inversions_differ(pack, graph, invert, name):
    """Inverting with the source and with the target, both without guidance, has the two predictions at each state."""
    case = graph(name)
    prompts = {"source": case.source, "target": case.target}
    settings = {"latent_image": case.image, "scheduler": "simple", "steps": 4, "variations": 2, "cfg": 1.0}
    source, target = (
        invert(case.model, case.kind, positive=prompt, negative=prompt, **settings) for prompt in prompts.values()
    )
    levels = [1, 2, 3]
    difference = (target.denoised - source.denoised)[levels].abs().sum(dim=2, keepdim=True).mean(dim=0)
    images = 1 if source.image.ndim == 5 else 2
    heat = pack.core.masks.heat(difference, images, source.mask)
    found = {}
    for threshold in (0.5, 0.9):
        (found[threshold], _) = pack.run(
            "EditFriendlyDifferenceMask", model=case.model, noise_maps=source, threshold=threshold, levels=3,
            start=0.25, end=0.75, grow=0, **prompts,
        )  # fmt: skip
    for threshold, mask in found.items():
        cells = mask[:, ::8, ::8]
        expected = (heat > threshold).float()
        expected = expected[0, 0] if source.image.ndim == 5 else expected[:, 0]
        near = ((heat - threshold).abs() < 1e-3).reshape(expected.shape)  # rounding may decide there
        assert torch.equal(cells[~near], expected[~near])
    assert 0 < found[0.9].mean() < 1


@pytest.mark.parametrize("name", GRAPHS)
def test_several_timesteps_a_call_give_what_one_gives(graph, invert, count_calls, name):
    case = graph(name)
    settings = {"positive": case.target, "negative": case.negative, "latent_image": case.image, "scheduler": "simple"}
    alone = invert(case.model, case.kind, steps=5, variations=2, **settings)
    count_calls.clear()
    shared = invert(case.model, case.kind, steps=5, variations=2, timesteps_per_call=4, **settings)
    assert relative(shared.residuals, alone.residuals) <= 1e-3
    # the second of the shared ones is the check of the first
    assert count_calls == ([4] * 5 if name in ONE_AT_A_TIME else [16, 4, 4])


@pytest.mark.parametrize("name", ["two prompts a batch", "control on prompt and negative", "inpaint", "wan_i2v"])
def test_each_image_of_a_batch_with_variations_is_as_it_is_alone(graph, invert, sample, name):
    """Conditionings, hints and pictures for each image reach the rows of that image, whatever their order."""
    case = graph(name)
    prompts = {"positive": case.target, "negative": case.negative}
    settings = {"scheduler": "simple", "steps": 3}
    together = invert(case.model, case.kind, latent_image=case.image, variations=2, **settings, **prompts)
    edited = sample(case.model, together, case.kind, cfg=5.0, **prompts)
    for b in range(2):
        image = {"samples": case.image["samples"][b : b + 1]}
        own = {key: [of_image(entry, b) for entry in part] for key, part in prompts.items()}
        alone = invert(case.model, case.kind, latent_image=image, variations=2, **settings, **own)
        assert relative(together.residuals[:, b::2], alone.residuals) <= 1e-4
        assert relative(edited[b::2], sample(case.model, alone, case.kind, cfg=5.0, **own)) <= 1e-3


def of_image(entry: list, b: int) -> list:
    """What an entry of a CONDITIONING holds for image b of two."""
    embedding, options = entry
    options = {name: value[b : b + 1] if name.startswith("concat") else value for name, value in options.items()}
    if "control" in options:
        control = options["control"].copy()
        control.set_cond_hint(control.cond_hint_original[b : b + 1], control.strength, control.timestep_percent_range)
        options["control"] = control
    return [embedding[b : b + 1] if len(embedding) > 1 else embedding, options]


@pytest.mark.parametrize("name", ["plain", "longer target", "guidance of flux"])
def test_source_and_target_share_a_call_in_the_hosts_own_order(graph, sample, invert, edit, monkeypatch, name):
    """Patches of attention tell prompt from negative by `cond_or_uncond`, as the host's own guidance orders them."""
    case = graph(name)
    seen, positive = [], []
    apply_model = case.model.model.apply_model

    def watched(x, timestep, **c):
        order = c["transformer_options"]["cond_or_uncond"]
        seen.append((order, len(x)))
        positive.append(c["c_crossattn"].chunk(2)[order.index(0)])
        return apply_model(x, timestep, **c)

    monkeypatch.setattr(case.model.model, "apply_model", watched)
    prompts = {"source": case.source, "target": case.target, "negative": case.negative}
    edit(case.model, case.kind, **prompts, latent_image=case.image, steps=2)
    own = seen[-1]  # the first is checked with networks that are no UNets
    for row, prompt in zip(positive[-1][[0, -1]], (case.source, case.target), strict=True):
        assert torch.equal(row[: prompt[0][0].shape[1]], prompt[0][0][0])
    noise_maps = invert(case.model, case.kind, latent_image=case.image, scheduler="simple", steps=2, skip_steps=1)
    seen.clear()
    sample(case.model, noise_maps, case.kind, positive=case.source, negative=case.negative)
    ((order, rows),) = seen
    assert own == (order, 2 * rows)


def test_a_noise_mask_limits_edits_and_what_is_generated(graph, pack, run_node, invert, sample, edit):
    """As in the host's own samplers: outside, the latent stays. It goes along with the noise maps."""
    case = graph("noise mask")
    image, outside = case.image["samples"], torch.ones(2, 4, 8, 8, dtype=torch.bool)
    outside[..., 2:6, 1:5] = False
    noise_maps = invert(case.model, latent_image=case.image)
    assert noise_maps.mask.shape == (2, 1, 8, 8)
    half = torch.zeros(1, 64, 64)
    half[..., :32] = 1
    for result, kept in {
        sample(case.model, noise_maps, positive=case.target, cfg=7.0): outside,
        sample(case.model, noise_maps, positive=case.target, cfg=7.0, mask=half): outside.clone().index_fill(
            3, torch.arange(4, 8), True
        ),
        edit(case.model, latent_image=case.image): outside,
        run_node("EditFriendlySampleWithNoiseMaps", case.model, latent_image=case.image)[0]["samples"]: outside,
    }.items():
        assert (result - image)[kept].abs().max() <= 1e-5
        assert (result - image)[~kept].abs().min() > 0
    generated, native = run_node("EditFriendlySampleWithNoiseMaps", case.model, latent_image=case.image)
    assert torch.equal(sample(case.model, native), generated["samples"])


def test_a_noise_mask_reaches_models_that_read_it(graph, invert, run_node):
    """An inpainting model without a mask of its own in the prompt reads that of the latent, in every node."""
    case = graph("inpaint")
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1
    masked = {**case.image, "noise_mask": mask}
    for node in ("EditFriendlyInvert", "EditFriendlyDDIMInvert"):
        with_mask, without = (
            run_node(node, case.model, "inpaint", latent_image=latent_image)[0] for latent_image in (masked, case.image)
        )
        assert (with_mask.residuals - without.residuals).abs().max() > 1e-2


def test_a_sampler_takes_the_images_that_were_inverted_or_all_rows(comfy, graph, pack, invert, sample):
    """SamplerCustomAdvanced with any guider; rows whose pictures the host spreads in another order are refused."""
    case = graph("inpaint")
    noise_maps = invert(case.model, "inpaint", latent_image=case.image, variations=2, positive=case.source)
    expected = sample(case.model, noise_maps, "inpaint", positive=case.target, negative=case.negative)
    guider = comfy.samplers.CFGGuider(case.model)
    guider.set_conds(case.target, case.negative)
    guider.set_cfg(3.5)
    sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=0)
    images = case.image["samples"]
    assert relative(guider.sample(torch.zeros_like(images), images, sampler, sigmas), expected) <= 1e-5
    rows = images.repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="connect the latent of 2 images that was inverted"):
        guider.sample(torch.zeros_like(rows), rows, sampler, sigmas)


@pytest.mark.parametrize("name", ["control on both", "control on prompt and negative", "t2i adapter"])
def test_null_text_searches_through_a_control_net(graph, run_node, sample, name):
    """The host adds a ControlNet in place; the way back through it still finds embeddings that come nearer."""
    case = graph(name)
    prompts = {"positive": case.source, "negative": case.negative}
    errors = []
    for inner_steps in (0, 3):
        (noise_maps,) = run_node(
            "EditFriendlyNullTextInvert",
            case.model,
            latent_image=case.image,
            steps=2,
            inner_steps=inner_steps,
            early_stop=0.0,
            **prompts,
        )
        errors.append((sample(case.model, noise_maps, **prompts) - case.image["samples"]).square().mean().item())
    assert errors[1] < 0.9 * errors[0]


def test_null_text_with_an_area_says_what_the_host_makes_of_it(graph, run_node):
    case = graph("area on source")
    with pytest.raises(ValueError, match="a part for each area of the prompts"):
        run_node("EditFriendlyNullTextInvert", case.model, positive=case.source, negative=case.negative, steps=2)
