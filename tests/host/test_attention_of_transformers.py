"""Attention edits in the host's own transformers, beside the same written out with explicit maps."""

from __future__ import annotations

import pytest
import torch

from support.attention_edits import REFINED, REPLACED, ROUNDING, SOURCE, close, rows_of_calls
from support.families import FAMILIES
from support.families.family import TOKENS
from support.written_out import (
    CFG,
    DEEP,
    FOUR_BLOCKS,
    KEYS_AND_VALUES,
    MARK,
    STEPS,
    TWICE,
    VALUES,
    Deep,
    edit_of_words,
    p2p,
)

EVERY = pytest.mark.parametrize("family", DEEP)
WITH_WORDS = pytest.mark.parametrize("family", [name for name in DEEP if name not in TWICE])


@pytest.mark.parametrize("cfg", [1.0, CFG])
@pytest.mark.parametrize("method", [VALUES, KEYS_AND_VALUES])
@EVERY
def test_parity_of_sharing_with_maps_written_out(deep, monkeypatch, family, method, cfg):
    of = deep(family, cfg)
    expected = of.explicit(monkeypatch, **of.taking(method, range(4)))
    out = of.sampled(of.share(method))
    assert close(out, expected)
    assert not close(out, of.plain, MARK.get(family, 1e-3))


@EVERY
def test_parity_of_the_background_in_some_blocks(deep, monkeypatch, family):
    """KV-Edit's, in the second half of the depth: of four blocks the last two, as of three."""
    of = deep(family)
    mask = of.mask()
    height, width = mask.shape[-2:]
    mask[:, : height // 2, width // 2 :] = 1  # the edit is to go to the upper right
    half = torch.nn.functional.max_pool2d(mask, 16)[0] == 0
    background = half.flatten().repeat(of.image["samples"].shape[2] if of.image["samples"].ndim == 5 else 1)
    blocks = (2, 3) if family in FOUR_BLOCKS else (1, 2)
    edit = of.share(KEYS_AND_VALUES, mask=mask, first_block=0.5)
    expected = of.explicit(monkeypatch, **of.taking(KEYS_AND_VALUES, blocks, background))
    assert close(of.sampled(edit), expected)
    assert not close(of.sampled(of.share(KEYS_AND_VALUES, first_block=0.5)), expected, MARK.get(family, 1e-3) / 10)


@pytest.mark.parametrize(
    ("family", "latent"),
    [
        ("Flux", (1, 16, 15, 9)),
        ("QwenImage", (1, 16, 1, 8, 15)),
        ("CosmosT2IPredict2", (1, 16, 1, 7, 8)),
        ("WAN21_T2V", (1, 16, 3, 7, 9)),
    ],
)
def test_parity_of_the_background_of_latents_that_no_patch_divides(deep, monkeypatch, family, latent):
    """The network goes on beyond the latent's end, and a pixel is in the token that holds its cell."""
    of = deep(family, latent=latent)
    mask, frames = of.mask(), latent[2] if len(latent) == 5 else 1
    height, width = mask.shape[-2:]
    background = torch.ones(frames, -(-height // 16), -(-width // 16)).bool()
    for y, x in ((0, 0), (height - 9, width - 9), (31, 47), (47, 31)):
        mask[:, y, x], background[:, y // 16, x // 16] = 1, False
    edit = of.share(KEYS_AND_VALUES, mask=mask)
    expected = of.explicit(monkeypatch, **of.taking(KEYS_AND_VALUES, range(4), background.flatten()))
    assert close(of.sampled(edit), expected)
    assert not close(of.sampled(of.share(KEYS_AND_VALUES)), expected, 1e-4)


@pytest.mark.parametrize("latent", [(1, 16, 3, 8, 8), (1, 16, 3, 7, 9)], ids=str)
def test_parity_of_a_background_of_each_frame(deep, monkeypatch, latent):
    """By a mask for each latent frame, and by one for each of the 9 frames of the video."""
    of = deep("WAN21_T2V", latent=latent)
    masks, background = of.mask(3), torch.ones(3, -(-latent[-2] // 2), -(-latent[-1] // 2)).bool()
    for frame in range(3):
        masks[frame, 16 * frame : 16 * frame + 5], background[frame, frame] = 1, False
    expected = of.explicit(monkeypatch, **of.taking(KEYS_AND_VALUES, range(4), background.flatten()))
    of_latent = of.sampled(of.share(KEYS_AND_VALUES, mask=masks))
    assert close(of_latent, expected)
    assert not close(of.sampled(of.share(KEYS_AND_VALUES, mask=masks[:1])), expected, 1e-4)
    of_video = of.mask(9)
    of_video[[0, 4, 7]] = masks  # the frames 1 to 4 are the second of the latent, 5 to 8 the third
    assert torch.equal(of.sampled(of.share(KEYS_AND_VALUES, mask=of_video)), of_latent)


@WITH_WORDS
def test_parity_of_words_with_maps_written_out(deep, pack, monkeypatch, family):
    """Prompt-to-Prompt: the source's map of the picture's places to the text, mixed, shared and weighted."""
    of = deep(family, 1.0 if family == "Flux" else CFG)
    words, length = edit_of_words(), max(of.text, TOKENS)
    # padding keeps its map of the source
    matrix, r, gain = torch.eye(length).double(), torch.ones(length).double(), torch.ones(length).double()
    matrix[of.words, of.words], r[of.words], gain[of.words] = words

    def edit(number: int, maps: torch.Tensor, v: torch.Tensor):
        if of.attentions[number][1] in ("both", "text"):
            picture = of.picture(number)
            *_, source, target = maps[..., picture, :length].double()
            maps[-1, :, picture, :length] = ((source @ matrix * r + target * (1 - r)) * gain).float()
        return maps, v

    expected = of.explicit(monkeypatch, edit)
    out = of.sampled(p2p(pack, of, *words))
    assert close(out, expected)
    assert not close(out, of.plain, MARK.get(family, 1e-3))


@EVERY
def test_the_same_prompt_gives_the_image_back(deep, pack, family):
    of = deep(family, CFG)
    read = of.told_to_the_network([of.source])["c_crossattn"].shape[1]
    same = p2p(pack, of, torch.eye(TOKENS).double(), torch.ones(TOKENS).bool(), torch.ones(TOKENS).double())
    mask = of.mask()
    mask[:, 16:32] = 1
    shared = of.share(VALUES), of.share(KEYS_AND_VALUES), of.share(KEYS_AND_VALUES, mask=mask)
    for edit in shared if family in TWICE else (*shared, same):
        assert close(of.sampled(edit, target=of.source), of.image["samples"])
    assert read >= TOKENS


@WITH_WORDS
def test_words_are_found_by_the_maps_of_all_blocks(deep, pack, monkeypatch, family):
    """The mass of the picture's maps on some tokens, a mean over heads, a sum over blocks and levels."""
    of, host = deep(family) if family != "WAN21_T2V" else deep(family, latent=(1, 16, 1, 8, 8)), pack.host
    tokens = torch.tensor([0, 1, 0, 0, 1, 0, 0]).bool()
    guider = host.guiders.guider_for(of.model, of.source, of.source, 1.0)
    seen = host.run.run_on_maps(
        guider, host.loops.word_maps(of.maps, [0, 2], tokens), of.maps, host.levels.sigmas_at(of.maps.schedule, [0, 2])
    )
    of_step = []

    def edit(number: int, maps: torch.Tensor, v: torch.Tensor):
        if of.attentions[number][1] in ("both", "text"):
            of_step.append(maps[:1, :, of.picture(number)][..., of.words][..., tokens].sum(dim=-1).mean(dim=1))
        return maps, v

    of.explicit(monkeypatch, edit)
    blocks = len(of_step) // STEPS
    expected = sum(of_step[:blocks] + of_step[2 * blocks :]).view(seen.shape)
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["Flux", "QwenImage", "SD3", "ZImage"])
def test_prompts_as_the_nodes_read_them(pack, comfy, prompts, random_clip, family):
    """A swapped and an added word, a local blend, and the words found, by tokens of the model's own text encoder."""
    clip, blend = random_clip(family[:4].lower()), {"blend_words": "cat, dog", "blend_threshold": 0.7}
    p, same, refined, blended = (
        prompts(target=target, clip=clip, cross_steps=1.0, **more)
        for target, more in ((REPLACED, {}), (SOURCE, {}), (REFINED, {}), (REPLACED, blend))
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


def test_words_of_two_encoders_are_found_in_the_tokens_of_both(pack, random_clip):
    """Stable Diffusion 3 reads a text as CLIP cuts it, and behind that as T5 does."""
    clip, words, core = random_clip("sd3"), pack.host.words, pack.core.attention
    (source, told), (target, _), (more, _) = (words.read(clip, text) for text in (SOURCE, REPLACED, REFINED))
    assert len(source.tokens) == told[0][0].shape[1] == 154 and source.text == SOURCE
    found = words.positions(clip, source, "red cat")
    assert [position // 77 for position in found] == [0, 0, 1, 1]
    for other in (target, more):
        matrix, shared, changed = core.align(source, other)
        assert not matrix[:77, 77:].any() and not matrix[77:, :77].any()
        assert {position // 77 for position in changed} == {0, 1} and shared[0] and shared[-1]
    with pytest.raises(ValueError, match=r"the source has 7 and 7 .a red cat sits on a mat., the target 10 and 10"):
        core.align(source, more, "replace")


@pytest.mark.parametrize(
    ("family", "behind"),
    [
        ("Flux", "single_blocks.1.linear2"),
        ("QwenImage", "transformer_blocks.1.attn.to_add_out"),
        ("CosmosT2IPredict2", "blocks.1.self_attn.output_proj"),
    ],
)
def test_nothing_stays(deep, comfy, monkeypatch, family, behind):
    """The next run without it is bit for bit the run before it: after a run, an error in the network, an interrupt."""
    of = deep(family)
    network, edit, before = of.model.model.diffusion_model, of.share(KEYS_AND_VALUES), of.sampled()
    edited = of.sampled(edit)
    assert torch.equal(of.sampled(), before) and torch.equal(of.sampled(edit), edited)
    with monkeypatch.context() as patch:
        patch.setattr(network.get_submodule(behind), "forward", lambda _: 1 / 0)  # in the call of a hooked module
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


EDITS = ("Flux Kontext", "QwenImage edit", "QwenImage edit 2511", "Flux2 edit", "ZImage omni")


@pytest.mark.parametrize("family", EDITS)
def test_reference_pictures_keep_their_own(pack, comfy, family):
    """Their tokens are no picture's that is edited: with all of it under the mask the run is the one without."""
    of = Deep(pack, comfy, family)
    assert close(of.sampled(of.share(KEYS_AND_VALUES, mask=of.mask() + 1)), of.sampled(), ROUNDING)
    assert close(of.sampled(of.share(KEYS_AND_VALUES), target=of.source), of.image["samples"])
    assert not close(of.sampled(of.share(KEYS_AND_VALUES)), of.sampled(), 1e-4)


def test_a_picture_that_stands_beside_the_edited_one_is_refused(pack, comfy):
    """HiDream E1 reads it as further columns, so that the edited picture's tokens do not follow on each other."""
    shown = {"concat_latent_image": FAMILIES["HiDream"].image(FAMILIES["HiDream"].model(comfy), 1)["samples"]}
    source, target = ([[text, more | shown] for text, more in FAMILIES["HiDream"].prompt(seed)] for seed in (1, 2))
    of = Deep(pack, comfy, "HiDream", source=source)
    with pytest.raises(ValueError, match="HiDreamImage.* is not within reach of .* What works here: "):
        of.sampled(of.share(VALUES), target=target)


@pytest.mark.parametrize("family", ["ZImage omni", *TWICE])
def test_words_in_several_places_are_refused(pack, comfy, family):
    """Z-Image's omni model reads pictures before the one that it makes, and parts of the prompt between them."""
    of = Deep(pack, comfy, family)
    with pytest.raises(ValueError, match="reads reference pictures between .* use Share Self-Attention"):
        of.sampled(p2p(pack, of, *edit_of_words()))


def test_prompts_of_two_lengths_share_a_call_under_a_mask(deep):
    """Of Qwen-Image, whose text is as long as its prompt: what is padded is not read."""
    of = deep("QwenImage", CFG)
    longer, nothing = of.told.prompt(4, more=6), of.share(KEYS_AND_VALUES, mask=torch.ones(1, 64, 64))
    assert close(of.sampled(nothing, target=longer), of.sampled(target=longer), ROUNDING)
    assert not close(of.sampled(of.share(VALUES), target=longer), of.sampled(target=longer), 1e-3)
    assert close(of.in_one_pass(target=longer, attention=nothing), of.in_one_pass(target=longer), ROUNDING)


@pytest.mark.parametrize("more", [(0, 6), (6, 0)])
def test_prompts_of_two_lengths_share_a_call_where_both_are_padded_to_one(pack, comfy, more):
    """Of Z-Image, to a multiple of 32 tokens by a vector of its own."""
    source, longer = (FAMILIES["ZImage"].prompt(seed, more) for seed, more in zip((1, 4), more, strict=True))
    of = Deep(pack, comfy, "ZImage", CFG, source=source)
    nothing = of.share(KEYS_AND_VALUES, mask=torch.ones(1, 64, 64))
    assert close(of.sampled(nothing, target=longer), of.sampled(target=longer), ROUNDING)
    assert not close(of.sampled(of.share(VALUES), target=longer), of.sampled(target=longer), 1e-3)
    assert close(of.in_one_pass(target=longer, attention=nothing), of.in_one_pass(target=longer), ROUNDING)
    first = of.share(KEYS_AND_VALUES, end=0.34)
    assert close(of.in_one_pass(target=longer, attention=first), of.sampled(first, target=longer), ROUNDING)
    assert not any(module._forward_hooks for module in of.model.model.diffusion_model.modules())
    of_both = rf"{len(source[0][0][0])} and 33 tokens, and .* multiples of 32.: add words .* same$"
    with pytest.raises(ValueError, match=of_both):
        of.sampled(of.share(VALUES), target=of.told.prompt(4, more=26))


def test_texts_are_read_as_they_stand_where_a_network_reads_no_mask(pack, comfy):
    """Of Lumina 2, whose padding is text to it, and whose places of a picture depend on the length of the text."""
    padded = Deep(pack, comfy, "Lumina2 padded")
    assert close(padded.sampled(padded.share(KEYS_AND_VALUES), target=padded.source), padded.image["samples"])
    with pytest.raises(ValueError, match="different kinds or lengths .7 and 13 tokens, and this model has one length"):
        padded.sampled(padded.share(VALUES), target=padded.told.prompt(4, more=6))


def test_what_is_said_of_two_lengths_helps(pack, comfy, host_node, random_clip):
    """Of Flux, whose T5 pads to 256 tokens what is not longer."""
    clip, texts = random_clip("flux"), ("a red cat " * 90, "a dog " * 150)
    of = Deep(pack, comfy, "Flux", source=host_node("CLIPTextEncode", clip=clip, text=texts[0])[0])
    (longer,) = host_node("CLIPTextEncode", clip=clip, text=texts[1])
    for run in (of.sampled, of.in_one_pass):
        with pytest.raises(ValueError, match="361 and 451 tokens, .* T5 Tokenizer Options with a min_length of 451 or"):
            run(of.share(VALUES), target=longer)
    (clip,) = host_node("T5TokenizerOptions", clip=clip, min_padding=0, min_length=451)
    source, target = (host_node("CLIPTextEncode", clip=clip, text=text)[0] for text in texts)
    of = Deep(pack, comfy, "Flux", source=source)
    assert close(of.sampled(of.share(VALUES), target=source), of.image["samples"])
    assert not close(of.sampled(of.share(VALUES), target=target), of.sampled(target=target), 1e-3)
    assert close(of.in_one_pass(of.share(VALUES), target), of.sampled(of.share(VALUES), target=target), ROUNDING)


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
    with pytest.raises(ValueError, match="there are 3 masks for 1 image: use one"):
        of.sampled(of.share(VALUES, mask=torch.ones(3, 64, 64)))
    with pytest.raises(ValueError, match="the mask is 64 x 48 pixels, the inverted image is 64 x 64"):
        of.sampled(of.share(VALUES, mask=torch.ones(1, 48, 64)))
    video = deep("WAN21_T2V")
    with pytest.raises(ValueError, match="there are 4 masks for a video of 3 latent frames: use one"):
        video.sampled(video.share(VALUES, mask=torch.ones(4, 64, 64)))
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
