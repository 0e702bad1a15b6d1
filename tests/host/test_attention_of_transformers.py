"""Attention edits in the host's own transformers, beside the same written out with explicit maps."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, cached_property, partial

import pytest
import torch

from support.attention_edits import REFINED, REPLACED, ROUNDING, SOURCE, close, rows_of_calls
from support.families import FAMILIES
from support.families.family import TOKENS

STEPS, CFG = 3, 3.5
VALUES, KEYS_AND_VALUES = "values only", "keys and values"
# where each of the host's files calls its attention, and more blocks and heads than the families have
DEEP = {
    "Flux": ("comfy.ldm.flux.math.optimized_attention", {"depth": 2, "depth_single_blocks": 2, "hidden_size": 128}),
    "Flux2 Klein": (
        "comfy.ldm.flux.math.optimized_attention",
        {"depth": 2, "depth_single_blocks": 2, "hidden_size": 128},
    ),
    "QwenImage": ("comfy.ldm.qwen_image.model.optimized_attention_masked", {"num_layers": 3}),
    "CosmosT2IPredict2": ("comfy.ldm.cosmos.predict2.optimized_attention", {"num_blocks": 3}),
    "WAN21_T2V": ("comfy.ldm.wan.model.optimized_attention", {"num_layers": 3}),
}
HEADS = {"Flux": {"num_heads": 2}, "Flux2 Klein": {"num_heads": 2}, "QwenImage": {"num_attention_heads": 2}}
JOINT = ("Flux", "Flux2 Klein", "QwenImage")


class Deep:
    """A family with some blocks and heads, its prompts, and noise maps under the first."""

    def __init__(self, pack, comfy, name: str, cfg: float = 1.0, *, latent=None, images=1, variations=1, **inputs):
        self.told = FAMILIES[name] if latent is None else replace(FAMILIES[name], latent=latent)
        if name in DEEP:
            self.told = replace(self.told, network=self.told.network | DEEP[name][1] | HEADS.get(name, {}))
        if not self.told.is_in(comfy):
            pytest.skip(f"this ComfyUI has no {name}")
        self.name, self.cfg, self.run = name, cfg, pack.run
        self.model = self.told.model(comfy)
        self.source, self.target, self.negative = (self.told.prompt(seed) for seed in (1, 2, 3))
        self.source, self.image = inputs.pop("source", self.source), self.told.image(self.model, images)
        self.settings = {"steps": STEPS, "scheduler": self.told.scheduler, "seed": 1, "skip_steps": 0, "eta": 1.0}
        self.settings |= {"model": self.model, "latent_image": self.image, "negative": self.negative} | inputs
        inverted = {"positive": self.source, "cfg": cfg, "variations": variations}
        self.maps = pack.run("EditFriendlyInvert", **self.settings | inverted)[0]

    def share(self, method: str, **inputs):
        whole = {"start": 0.0, "end": 1.0}
        return self.run("EditFriendlyShareAttention", source=self.source, method=method, **whole | inputs)[0]

    def sampled(self, attention=None, target=None, **inputs) -> torch.Tensor:
        told = {"positive": self.target if target is None else target, "negative": self.negative, "cfg": self.cfg}
        told |= {"model": self.model, "noise_maps": self.maps, "skip_steps": 0, "attention": attention}
        return self.run("FixedNoiseSampler", **told | inputs)[0]["samples"]

    @cached_property
    def plain(self) -> torch.Tensor:
        """The run without attention."""
        return self.sampled()

    def in_one_pass(self, attention=None, target=None) -> torch.Tensor:
        pair = {"source": self.source, "target": self.target if target is None else target, "attention": attention}
        pair |= {"source_cfg": self.cfg, "target_cfg": self.cfg, "variations": 1}
        return self.run("EditFriendlyEdit", **self.settings | pair)[0]["samples"]

    def explicit(self, monkeypatch, edit, shared=()) -> torch.Tensor:
        """The target sampled beside the source, every map of every head written out.

        Args:
            edit: (number of the attention in the network, maps (R, H, N, M), values (R, H, M, D)) -> maps, values; the
                rows are source and target, under a negative prompt first those of its own.
            shared: (number, q, k) -> q, k, before the scores.
        """
        network, count = self.model.model, [0]
        prompts = [self.source, self.target] if self.cfg == 1 else [self.negative] * 2 + [self.source, self.target]

        def attention(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, **_):
            if not skip_reshape:
                q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
            if shared:
                q, k = shared(count[0], q, k)
            scores = q @ k.mT * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores + mask.view(len(mask), 1, *mask.shape[-2:])
            maps, v = edit(count[0], scores.softmax(dim=-1), v)
            count[0] += 1
            return (maps @ v).transpose(1, 2).flatten(-2)

        states, x = self.maps.states, self.maps.states[0].repeat(2, *[1] * (self.maps.image.ndim - 1))
        with monkeypatch.context() as patch:
            patch.setattr(DEEP[self.name][0], attention)
            for step in range(STEPS):
                at = self.maps.schedule.step(step)
                assert close(x[:1], states[step], 1e-4)  # the source's row comes along
                rows = x.repeat(len(prompts) // 2, *[1] * (x.ndim - 1))
                sigma = torch.full((len(rows),), at.sigma, dtype=torch.float32)
                count[0] = 0
                denoised = network.apply_model(rows, sigma, **self.told_to_the_network(prompts))
                if len(prompts) > 2:
                    without, under = denoised.chunk(2)
                    denoised = without + self.cfg * (under - without)
                x = at.mean(x, denoised) + self.maps.residuals[step]
        return network.process_latent_out(x[1:])

    def told_to_the_network(self, prompts) -> dict:
        """What the host makes of some prompts, each a row."""
        rows, like = [], self.maps.states[0]
        for ((text, more),) in prompts:
            conds = self.model.model.extra_conds(noise=like, device=like.device, cross_attn=text, **more)
            rows.append({name: cond.cond for name, cond in conds.items() if isinstance(cond.cond, torch.Tensor)})
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}

    @property
    def text(self) -> int:
        """Tokens of text before those of the picture in an attention."""
        return self.told_to_the_network([self.source])["c_crossattn"].shape[1] if self.name in JOINT else 0

    def of_the_picture(self, numbers) -> set[int]:
        """Of attentions in the order of the blocks, their numbers in the network: others read the text alone."""
        return set(numbers) if self.name in JOINT else {2 * number for number in numbers}

    def taking(self, takes: str, blocks, background=slice(None)) -> dict:
        """`explicit`'s edits that put the source's values, or keys and values, into the target's rows.

        Args:
            background: of the picture's tokens, bool (n,) or a slice.
        """
        at, text = self.of_the_picture(blocks), self.text

        def taken(part):
            part = part.clone()
            for target in range(1, len(part), 2):
                part[target, :, text:][:, background] = part[target - 1, :, text:][:, background]
            return part

        return {
            "edit": lambda number, maps, v: (maps, taken(v) if number in at else v),
            "shared": lambda number, q, k: (q, taken(k) if number in at and takes == KEYS_AND_VALUES else k),
        }


@pytest.fixture(scope="module")
def deep(pack, comfy):
    """deep(family, cfg, images): the same one for the same of these."""
    return cache(partial(Deep, pack, comfy))


EVERY = pytest.mark.parametrize("family", DEEP)


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("method", [VALUES, KEYS_AND_VALUES])
@EVERY
def test_parity_of_sharing_with_maps_written_out(deep, monkeypatch, family, method, cfg):
    of = deep(family, cfg)
    expected = of.explicit(monkeypatch, **of.taking(method, range(4)))
    out = of.sampled(of.share(method))
    assert close(out, expected)
    assert not close(out, of.plain, 1e-3)


@EVERY
def test_parity_of_the_background_in_some_blocks(deep, monkeypatch, family):
    """KV-Edit's, in the second half of the depth: of Flux the single blocks, of three blocks the last two."""
    of = deep(family)
    height, width = of.image["samples"].shape[-2:]
    mask = torch.zeros(1, 8 * height, 8 * width)
    mask[:, : 4 * height, 4 * width :] = 1  # the edit is to go to the upper right
    half = torch.nn.functional.max_pool2d(mask, 8 if family == "Flux2 Klein" else 16)[0] == 0
    background = half.flatten().repeat(of.image["samples"].shape[2] if of.image["samples"].ndim == 5 else 1)
    blocks = (2, 3) if family.startswith("Flux") else (1, 2)
    edit = of.share(KEYS_AND_VALUES, mask=mask, first_block=0.5)
    expected = of.explicit(monkeypatch, **of.taking(KEYS_AND_VALUES, blocks, background))
    assert close(of.sampled(edit), expected)
    assert not close(of.sampled(of.share(KEYS_AND_VALUES, first_block=0.5)), expected, 1e-4)


def edit_of_words(seed: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A random edit of 7 words: (7, 7) the mixture of the source's maps, which words take one, how much each counts."""
    draw = torch.Generator().manual_seed(seed)
    matrix, gain = (torch.rand(shape, generator=draw, dtype=torch.float64) for shape in ((TOKENS, TOKENS), (TOKENS,)))
    return matrix, torch.arange(TOKENS) != 2, gain + 0.5


def p2p(pack, of: Deep, matrix, shared, gain, **more):
    core = pack.core.attention
    cross = core.CrossEdit(matrix, shared, gain, ((0.0, 1.0),) * len(gain))
    return pack.host.attention_runs.AttentionEdit(of.source, "the source", core.AttentionControl(cross, **more))


@pytest.mark.parametrize("family", ["Flux", "QwenImage", "CosmosT2IPredict2", "WAN21_T2V"])
def test_parity_of_words_with_maps_written_out(deep, pack, monkeypatch, family):
    """Prompt-to-Prompt: the source's map of the picture's places to the text, mixed, shared and weighted."""
    of = deep(family, 1.0 if family == "Flux" else CFG)
    matrix, shared, gain = words = edit_of_words()
    text = of.text

    def edit(number: int, maps: torch.Tensor, v: torch.Tensor):
        if family in JOINT or number % 2:
            *_, source, target = maps[..., text:, :TOKENS].double()
            r = shared.double()
            maps[-1, :, text:, :TOKENS] = ((source @ matrix * r + target * (1 - r)) * gain).float()
        return maps, v

    expected = of.explicit(monkeypatch, edit)
    out = of.sampled(p2p(pack, of, *words))
    assert close(out, expected)
    assert not close(out, of.plain, 1e-3)


@EVERY
def test_the_same_prompt_gives_the_image_back(deep, pack, family):
    of = deep(family, CFG)
    read = of.told_to_the_network([of.source])["c_crossattn"].shape[1]
    same = p2p(pack, of, torch.eye(TOKENS).double(), torch.ones(TOKENS).bool(), torch.ones(TOKENS).double())
    mask = torch.zeros(1, 32, 32)
    mask[:, 8:16] = 1
    for edit in (of.share(VALUES), of.share(KEYS_AND_VALUES), of.share(KEYS_AND_VALUES, mask=mask), same):
        assert close(of.sampled(edit, target=of.source), of.image["samples"])
    assert read >= TOKENS


@pytest.mark.parametrize("family", ["Flux", "QwenImage", "CosmosT2IPredict2", "WAN21_T2V"])
def test_words_are_found_by_the_maps_of_all_blocks(deep, pack, monkeypatch, family):
    """The mass of the picture's maps on some tokens, a mean over heads, a sum over blocks and levels."""
    of, host = deep(family) if family != "WAN21_T2V" else deep(family, latent=(1, 16, 1, 8, 8)), pack.host
    tokens = torch.tensor([0, 1, 0, 0, 1, 0, 0]).bool()
    guider = host.guiders.guider_for(of.model, of.source, of.source, 1.0)
    seen = host.run.run_on_maps(
        guider, host.loops.word_maps(of.maps, [0, 2], tokens), of.maps, host.levels.sigmas_at(of.maps.schedule, [0, 2])
    )
    text, of_step = of.text, []

    def edit(number: int, maps: torch.Tensor, v: torch.Tensor):
        if family in JOINT or number % 2:
            of_step.append(maps[:1, :, text:, :TOKENS][..., tokens].sum(dim=-1).mean(dim=1))
        return maps, v

    of.explicit(monkeypatch, edit)
    blocks = len(of_step) // STEPS
    expected = sum(of_step[:blocks] + of_step[2 * blocks :]).view(seen.shape)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["Flux", "QwenImage"])
def test_prompts_as_the_nodes_read_them(pack, comfy, prompts, random_clip, family):
    """A swapped and an added word, a local blend, and the words found, by tokens of the model's own text encoder."""
    clip = random_clip(family[:4].lower())
    p, same, refined, blended = (
        prompts(target=target, clip=clip, cross_steps=1.0, **more)
        for target, more in ((REPLACED, {}), (SOURCE, {}), (REFINED, {}), (REPLACED, {"blend_words": "cat, dog"}))
    )
    of = Deep(pack, comfy, family, source=p.source)
    plain = of.sampled(target=p.target)
    assert close(of.sampled(same.edit, target=same.target), of.image["samples"])
    assert not close(of.sampled(p.edit, target=p.target), plain, 1e-4)
    assert not close(of.sampled(refined.edit, target=refined.target), of.sampled(target=refined.target), 1e-4)
    moved = (of.sampled(blended.edit, target=p.target) - of.image["samples"]).abs()
    assert moved.max() > 1e-3 and (moved <= 1e-4 * moved.max()).any()
    settings = {"threshold": 0.5, "levels": 2, "start": 0.0, "end": 1.0, "grow": 0}
    found = {"model": of.model, "clip": clip, "noise_maps": of.maps, "caption": SOURCE, "words": "cat"} | settings
    assert 0 < pack.run("EditFriendlyWordMask", **found)[0].mean() < 1


def test_nothing_stays(deep, comfy, monkeypatch):
    """The next run without it is bit for bit the run before it: after a run, an error in the network, an interrupt."""
    of = deep("Flux", 1.0)
    network, edit, before = of.model.model.diffusion_model, of.share(KEYS_AND_VALUES), of.sampled()
    edited = of.sampled(edit)
    assert torch.equal(of.sampled(), before) and torch.equal(of.sampled(edit), edited)
    with monkeypatch.context() as patch:
        patch.setattr(network.single_blocks[1].linear2, "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            of.sampled(edit)

    def stop(value, total, preview, **_):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    comfy.utils.set_progress_bar_global_hook(stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            of.sampled(edit)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert torch.equal(of.sampled(), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert of.model.model_options == {"transformer_options": {}}


def test_cost_in_rows(deep, monkeypatch):
    """Twice the rows while something is shared, none more in one pass, whose first call is tried as without it."""
    of = deep("QwenImage", CFG)
    calls = rows_of_calls(of.model, monkeypatch)

    def rows(run, **inputs) -> list[int]:
        calls.clear()
        run(**inputs)
        return calls.copy()

    assert rows(of.sampled) == [2, 2, 2]
    assert rows(of.sampled, attention=of.share(VALUES)) == [4, 4, 4]
    assert rows(of.sampled, attention=of.share(VALUES, end=0.34)) == [4, 2, 2]
    assert rows(of.sampled, attention=of.share(VALUES, end=0.34), cfg=1.0) == [2, 1, 1]
    assert rows(of.in_one_pass) == [2, 2, 4, 4, 4]
    assert rows(of.in_one_pass, attention=of.share(VALUES)) == [2, 2, 4, 4, 4, 4]


@pytest.mark.parametrize("family", ["Flux", "QwenImage", "CosmosT2IPredict2"])
def test_one_pass_is_inversion_and_sampling(deep, family):
    of = deep(family, CFG)
    edit = of.share(KEYS_AND_VALUES)
    assert close(of.in_one_pass(attention=edit), of.sampled(edit), ROUNDING)
    assert not close(of.in_one_pass(), of.sampled(edit), 1e-3)


def test_images_and_variations_are_each_what_they_are_alone(pack, comfy):
    """Each under its own mask."""
    both, masks = Deep(pack, comfy, "Flux", images=2, variations=2), torch.zeros(2, 64, 64)
    masks[0, :32] = masks[1, 32:] = 1
    edited = both.sampled(both.share(KEYS_AND_VALUES, mask=masks))
    for row in range(4):
        image = {"samples": both.image["samples"][row % 2 :][:1]}
        alone = Deep(pack, comfy, "Flux", latent_image=image, seed=1 + row // 2)
        edit = alone.share(KEYS_AND_VALUES, mask=masks[row % 2 :][:1])
        assert close(edited[row : row + 1], alone.sampled(edit), ROUNDING)


@pytest.mark.parametrize("family", ["Flux Kontext", "QwenImage edit", "QwenImage edit 2511", "Flux2 edit"])
def test_reference_pictures_keep_their_own(pack, comfy, family):
    """Their tokens are no picture's that is edited: with all of it under the mask the run is the one without."""
    of = Deep(pack, comfy, family)
    all_of_it = torch.ones(1, 64, 64)
    assert close(of.sampled(of.share(KEYS_AND_VALUES, mask=all_of_it)), of.sampled(), ROUNDING)
    assert close(of.sampled(of.share(KEYS_AND_VALUES), target=of.source), of.image["samples"])
    assert not close(of.sampled(of.share(KEYS_AND_VALUES)), of.sampled(), 1e-4)


def test_prompts_of_two_lengths_share_a_call_under_a_mask(deep):
    """Of Qwen-Image, whose text is as long as its prompt: what is padded is not read."""
    of = deep("QwenImage", CFG)
    longer, nothing = of.told.prompt(4, more=6), of.share(KEYS_AND_VALUES, mask=torch.ones(1, 64, 64))
    assert close(of.sampled(nothing, target=longer), of.sampled(target=longer), ROUNDING)
    assert not close(of.sampled(of.share(VALUES), target=longer), of.sampled(target=longer), 1e-3)
    assert close(of.in_one_pass(target=longer, attention=nothing), of.in_one_pass(target=longer), ROUNDING)
    flux = deep("Flux")
    with pytest.raises(ValueError, match="cannot share a call .* of different kinds or lengths"):
        flux.sampled(flux.share(VALUES), target=flux.told.prompt(4, more=6))


# --- what else runs attention -----------------------------------------------------------------------------------------


def test_the_kernel_that_a_node_has_chosen_computes_it(deep):
    """An override of another node goes on around the edited attention, and is asked once for each."""
    of = deep("Flux")
    model, calls = of.model.clone(), []

    def override(function, *args, **kwargs):
        calls.append(args[0].shape)
        return function(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = override
    edit, expected = of.share(VALUES), of.sampled(of.share(VALUES))
    assert torch.equal(of.sampled(edit, model=model), expected)
    assert len(calls) >= 4 * STEPS and model.model_options["transformer_options"].keys() == {
        "optimized_attention_override"
    }


def test_a_compiled_network_is_refused(deep):
    of = deep("Flux")
    model = of.model.clone()
    model.add_object_patch("diffusion_model", torch.compile(of.model.model.diffusion_model))
    with pytest.raises(ValueError, match="compiled .torch.compile.*from before the node that compiles it"):
        of.sampled(of.share(VALUES), model=model)


def test_an_attention_that_goes_past_the_hooks_is_refused(deep, monkeypatch):
    """As a pack's own blocks, or a newer host's, may have it: no block is left out in silence."""
    of = deep("QwenImage")
    block = of.model.model.diffusion_model.transformer_blocks[1].attn
    forward = block.forward
    monkeypatch.setattr(block, "forward", lambda **kwargs: forward(**kwargs | {"transformer_options": {}}))
    with pytest.raises(ValueError, match="in QwenImageTransformerBlock is not within reach of .* .0 in place"):
        of.sampled(of.share(VALUES))
    of.sampled(of.share(VALUES, last_block=0.34))  # which the edit leaves out


def test_blocks_that_another_node_leaves_out_are_no_matter(deep, pack, comfy):
    """As Skip Layer Guidance leaves one out."""
    model = deep("Flux").model.clone()
    model.set_model_patch_replace(lambda args, extra: {"img": args["img"]}, "dit", "single_block", 1)
    of = Deep(pack, comfy, "Flux", model=model)
    edit = of.share(VALUES)
    assert close(of.sampled(edit, model=model, target=of.source), of.image["samples"])
    assert not close(of.sampled(edit, model=model), of.sampled(model=model), 1e-3)


@pytest.mark.parametrize(
    "family", ["PixArtAlpha", "HunyuanDiT", "SD3", "ZImage", "CosmosT2V", "CogVideoX_T2V", "WAN_Animate2"]
)
def test_models_out_of_the_hooks_reach_are_refused_by_name(pack, comfy, family):
    of = Deep(pack, comfy, family)
    name = "|".join({type(module).__name__ for module in of.model.model.diffusion_model.modules()})
    with pytest.raises(ValueError, match=rf"({name})\W.* not within reach of ComfyUI's hooks.*What works here: "):
        of.sampled(of.share(VALUES))


# --- bad input --------------------------------------------------------------------------------------------------------


def test_blocks_and_masks_that_cannot_be(deep):
    of = deep("Flux")
    with pytest.raises(ValueError, match="window of values only's blocks goes from 0.8 to 0.5"):
        of.share(VALUES, first_block=0.8, last_block=0.5)
    with pytest.raises(ValueError, match="none of whose 4 blocks"):
        of.sampled(of.share(VALUES, first_block=0.6, last_block=0.7))
    with pytest.raises(ValueError, match="none of whose 4 blocks.*use another method, as values only"):
        of.sampled(of.share("MasaCtrl"))
    with pytest.raises(ValueError, match="Plug-and-Play keeps features of a UNet.*transformer .Flux.*values only"):
        of.sampled(of.share("Plug-and-Play"))
    with pytest.raises(ValueError, match="the mask has 3 pictures, and there are 1"):
        of.sampled(of.share(VALUES, mask=torch.ones(3, 64, 64)))
    with pytest.raises(ValueError, match="made with another prompt than the attention edit's source"):
        other = of.run("EditFriendlyShareAttention", source=of.target, method=VALUES)[0]
        of.sampled(other)


def test_words_of_a_video_have_no_place_in_a_picture(deep, pack):
    of, host = deep("WAN21_T2V"), pack.host
    loop = host.loops.word_maps(of.maps, [0], torch.ones(TOKENS).bool())
    guider = host.guiders.guider_for(of.model, of.source, of.source, 1.0)
    with pytest.raises(ValueError, match="latent has 3 frames"):
        host.run.run_on_maps(guider, loop, of.maps, host.levels.sigmas_at(of.maps.schedule, [0]))


def test_word_maps_of_a_batch_in_variations_are_those_of_each_picture(pack, comfy):
    told = FAMILIES["Flux"]
    model = told.model(comfy)
    image = told.image(model, 2)
    words = torch.zeros(told.prompt(1)[0][0].shape[1], dtype=torch.bool)
    words[2] = True
    loops, run = pack.host.loops, pack.host.run

    def heat(image: dict) -> torch.Tensor:
        prompts = {"positive": told.prompt(1), "negative": told.prompt(3)}
        settings = {"steps": 3, "scheduler": told.scheduler, "seed": 1, "skip_steps": 0, "eta": 1.0, "cfg": 1.0}
        (maps,) = pack.run("EditFriendlyInvert", model=model, latent_image=image, variations=2, **prompts, **settings)
        guider = pack.host.guiders.guider_for(model, told.prompt(1), told.prompt(1), 1.0)
        sigmas = pack.host.levels.sigmas_at(maps.schedule, [0, 1])
        seen = run.run_on_maps(guider, loops.word_maps(maps, [0, 1], words), maps, sigmas)
        return seen.unflatten(0, (-1, maps.images)).mean(dim=0)

    both, first = heat(image), heat({"samples": image["samples"][:1]})
    assert (both[0] - first[0]).abs().max() <= 1e-4 * first.abs().max()
    assert (both[0] - both[1]).abs().max() > 1e-3 * first.abs().max()
