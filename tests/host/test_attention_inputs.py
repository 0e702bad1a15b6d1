"""The inputs of attention edits: prompts and their words, windows, and what cannot be edited together."""

from __future__ import annotations

import pytest
import torch

from support.attention_edits import MASACTRL, PNP, REFINED, REPLACED, ROUNDING, SKIP, SOURCE, close

# --- prompts ----------------------------------------------------------------------------------------------------------

LONG = " ".join(f"word{chr(97 + k)}" for k in range(26)) + " by a red house and a tree on a hill under the sky"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (SOURCE, f"{SOURCE} {LONG} {LONG}"),
        (f"{SOURCE} {LONG} {LONG}", SOURCE),
        (SOURCE, "a (red:1.3) ((cat)) sits on a mat"),
        ("", "a red cat"),
        ("a red cat, on a mat", "a red caterpillar, on a mat"),
    ],
    ids=["77 and 154", "154 and 77", "weights", "empty source", "comma"],
)
def test_prompts_of_all_kinds(random_model, prompts, maps_of, sample, source, target):
    model = random_model("sd15_tall")
    p = prompts(source, target)
    maps = maps_of(model, p)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert edited.isfinite().all()
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)


def test_the_words_of_a_prompt(pack, random_clip, tmp_path):
    """Weights are none of it, an embedding is one word, pieces make one word, SDXL's encoders agree."""
    from safetensors.torch import save_file

    words = pack.host.words
    save_file({"emb_params": torch.ones(3, 768)}, tmp_path / "style.safetensors")
    clip = random_clip("sd15", str(tmp_path))
    text = "a (Red:1.3) hippopotamusses, embedding:style in the sky"
    prompt = words.prompt_of(clip, text)
    assert prompt.texts == ("a", "red", "hippopotamusses", ",", "<embedding>", "in", "the", "sky")
    assert len(prompt.words[4]) == 3 and len(prompt.words[2]) > 1
    assert words.positions(clip, prompt, "embedding:style") == list(prompt.words[4])
    assert words.positions(clip, prompt, "red") == [2]
    assert words.positions(clip, prompt, "in the sky") == [p for k in (5, 6, 7) for p in prompt.words[k]]
    assert words.prompt_of(random_clip("sdxl"), "a cat").words == words.prompt_of(random_clip("sd15"), "a cat").words
    assert words.positions(clip, words.prompt_of(clip, "a caterpillar"), "cat") == []


@pytest.mark.parametrize("family", ["flux", "qwen"])
def test_the_words_of_tokenizers_that_mark_where_one_begins(pack, random_clip, family):
    """T5's, beside CLIP's that the model reads as one vector, and Qwen's within a template, whose head is cut off."""
    words, clip = pack.host.words, random_clip(family)
    prompt, conditioning = words.read(clip, "Red cat, by a red girl with embellishments")
    texts = ("Red", "cat", ",", "by", "a", "red", "girl", "with", "embellishments")
    assert prompt.texts[: len(texts)] == texts
    assert len(prompt.tokens) == conditioning[0][0].shape[1] and len(prompt.words[8]) > 1
    assert words.positions(clip, prompt, "red") == [*prompt.words[0], *prompt.words[5]]
    assert words.positions(clip, prompt, "cat, by") == [p for word in prompt.words[1:4] for p in word]
    assert words.positions(clip, prompt, "embellish") == words.positions(clip, prompt, "") == []


def test_the_words_that_animas_network_reads(pack):
    """Those of T5, whose vectors it makes itself of Qwen's."""
    from types import SimpleNamespace

    from comfy.text_encoders.anima import AnimaTokenizer

    tokenizer = AnimaTokenizer()

    def encode(tokens):
        return [[torch.zeros(1, len(tokens["qwen3_06b"][0]), 8), {"t5xxl_ids": torch.zeros(len(tokens["t5xxl"][0]))}]]

    clip = SimpleNamespace(
        tokenizer=tokenizer, tokenize=tokenizer.tokenize_with_weights, encode_from_tokens_scheduled=encode
    )
    prompt, _ = pack.host.words.read(clip, "a red cat with embellishments")
    assert prompt.encoder == "t5xxl" and prompt.texts == ("a", "red", "cat", "with", "embellishments")
    assert pack.host.words.positions(clip, prompt, "red cat") == [*prompt.words[1], *prompt.words[2]]


def test_brackets_change_how_much_a_word_says_not_where_it_is(prompts):
    plain, weighted = prompts(), prompts(target="a (green:1.4) dog sits on a mat")
    assert torch.equal(plain.edit.edit.cross.matrix, weighted.edit.edit.cross.matrix)
    assert not torch.equal(plain.target[0][0], weighted.target[0][0])


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"reweight": "purple: 2"},
            "'purple' is in neither prompt; these words are: a, red, cat, sits, on, mat, green, d",
        ),
        ({"reweight": "cat: 2"}, "'cat' is in the source prompt alone; these words are in the target: a, green, dog"),
        ({"reweight": "dog"}, "reweight has the part 'dog'"),
        ({"reweight": "dog: much"}, "reweight has 'much' where a number"),
        ({"word_steps": "dog: 0.6-0.2"}, "window of word_steps at 'dog' goes from 0.6 to 0.2"),
        ({"blend_words": "house"}, "'house' is in neither prompt"),
        ({"mode": "replace", "target": REFINED}, r"the source has 7 \(a red cat.*the target 10"),
    ],
)
def test_words_and_windows_that_cannot_be(prompts, inputs, message):
    with pytest.raises(ValueError, match=message):
        prompts(**inputs)


def test_a_window_of_sharing_the_wrong_way_round(prompts, share):
    with pytest.raises(ValueError, match="window of MasaCtrl goes from 0.9 to 0.5"):
        share(prompts().source, MASACTRL, start=0.9, end=0.5)


def test_edits_of_different_sources_or_twice_the_same_kind(prompts, share):
    p, other = prompts(), prompts(source="a house")
    with pytest.raises(ValueError, match="different sources"):
        share(other.source, PNP, attention=p.edit)
    with pytest.raises(ValueError, match="both attention edits come from Prompt-to-Prompt"):
        p.edit.and_also(prompts().edit)


def test_text_encoders_that_cut_a_prompt_in_other_ways(pack, random_clip):
    import comfy.sd1_clip

    class Both(comfy.sd1_clip.SD1Tokenizer):
        def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
            streams = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            return streams | {"other": [streams["l"][0][:1] + streams["l"][0][:-1]]}

    clip = random_clip("sd15")
    clip.tokenizer = Both()
    with pytest.raises(ValueError, match="text encoders l and other cut the prompt in different ways"):
        pack.run(
            "EditFriendlyPromptToPrompt",
            clip=clip,
            source_text="a",
            target_text="b",
            mode="auto",
            cross_steps=1.0,
            self_steps=0.0,
        )


def test_maps_of_another_prompt(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall")
    p, other = prompts(), prompts(source="a red cat sits on a hat")
    maps = maps_of(model, other)
    with pytest.raises(ValueError, match=rf"made with another prompt than the attention edit's source \({SOURCE}\)"):
        sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit)


def test_a_prompt_is_known_again_in_another_precision(pack, prompts):
    """On another device or in half precision the numbers are a little off; another word is farther off than that."""
    signature, same = pack.host.model.signature, pack.host.model.same_signature
    prompt, other = prompts().source, prompts(source="a red cat sits on a hat").source
    halved = [[embedding.half(), options] for embedding, options in prompt]
    assert same(signature(prompt), signature(halved))
    assert not same(signature(prompt), signature(other))
    assert not same(signature(prompt), signature(prompt + prompt))


def test_another_source_than_the_one_pass(random_model, conditioning, prompts, edit, small):
    p = prompts()
    with pytest.raises(ValueError, match="another source"):
        edit(random_model("sd15_tall"), "sd15_tall", target=p.target, attention=p.edit, latent_image=small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda target: target + target, "the target prompt has 2 entries"),
        (lambda target: [[target[0][0], {**target[0][1], "mask": torch.ones(1, 8, 8)}]], "target prompt has mask"),
        (lambda target: [[target[0][0], {**target[0][1], "area": (8, 8, 0, 0)}]], "target prompt has area"),
        (lambda target: [[target[0][0], {**target[0][1], "start_percent": 0.0, "end_percent": 0.9}]], "_percent"),
        (lambda target: [[torch.cat([target[0][0]] * 2, dim=1)[:, :100], target[0][1]]], "different kinds or lengths"),
    ],
    ids=["two entries", "mask", "area", "times", "other length"],
)
def test_conditionings_that_cannot_share(random_model, prompts, maps_of, sample, change, message):
    model = random_model("sd15_tall")
    p = prompts()
    with pytest.raises(ValueError, match=message):
        sample(model, maps_of(model, p), "sd15_tall", positive=change(p.target), attention=p.edit)


def test_tokens_that_another_node_has_added(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall")
    p = prompts()
    longer = [[torch.cat([p.target[0][0]] * 2, dim=1), p.target[0][1]]]
    sample(model, maps_of(model, p), "sd15_tall", positive=longer, attention=p.edit)  # repeated whole: nothing is lost
    three = prompts(target=f"{REPLACED} {LONG} {LONG}")
    with pytest.raises(ValueError, match="reads 77 tokens, the prompts of the attention edit have 77 and 154"):
        sample(model, maps_of(model, p), "sd15_tall", positive=p.target, attention=three.edit)


@pytest.mark.parametrize("before", range(68, 75))
def test_a_word_across_the_border_of_two_chunks_is_one(pack, random_clip, before):
    """After so many short ones, with more tokens than are left of CLIP's 75."""
    clip, long = random_clip("sd15"), "pneumonoultramicroscopicsilicovolcanoconiosis"
    words, text = pack.host.words, " ".join(["a"] * before) + f" {long} hat"
    prompt, alone = words.prompt_of(clip, text), words.prompt_of(clip, long)
    assert prompt.texts[-2:] == (long, "hat") and len(prompt.texts) == before + 2
    places = words.positions(clip, prompt, long)
    assert len(places) == len(alone.words[0]) > 8
    assert places[0] < 76 and places[-1] > 77 and places == list(prompt.words[before])


@pytest.mark.parametrize("vectors", [3, 8, 20, 90])
def test_an_embedding_across_the_border_of_two_chunks_is_one_word(pack, random_clip, tmp_path, vectors):
    """Of eight vectors and more it is cut there, and one of fewer goes to the next chunk; a long one takes three."""
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(vectors, 768)}, tmp_path / "style.safetensors")
    clip, words = random_clip("sd15", str(tmp_path)), pack.host.words
    prompt = words.prompt_of(clip, " ".join(["a"] * 73) + " embedding:style, hat")
    assert prompt.texts[-3:] == ("<embedding>", ",", "hat")
    places = words.positions(clip, prompt, "embedding:style")
    assert places == list(prompt.words[73]) and len(places) == vectors
    assert (places[0] < 77) == (vectors >= 8) and places[-1] > 77


@pytest.mark.parametrize("width", [768, 1024])
def test_words_are_where_the_encoder_has_them(comfy, pack, random_clip, tmp_path, width):
    """Which leaves out the vectors of an embedding that was made for another, and goes on in their place."""
    import comfy.sd1_clip
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(3, width)}, tmp_path / "style.safetensors")
    clip, words, text = random_clip("sd15", str(tmp_path)), pack.host.words, "a embedding:style red hat"
    config = {"hidden_size": 768, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config |= {"vocab_size": 49408, "max_position_embeddings": 77, "hidden_act": "gelu", "eos_token_id": 49407}
    encoder = comfy.sd1_clip.SDClipModel(textmodel_json_config=config, dtype=torch.float16)
    table = encoder.transformer.get_input_embeddings().weight
    table.copy_(torch.randn(len(table), generator=torch.Generator().manual_seed(0))[:, None])
    chunks = [[token for token, _ in chunk] for chunk in clip.tokenize(text)["l"]]
    (seen, *_) = encoder.process_tokens(chunks, "cpu")
    prompt = words.prompt_of(clip, text)
    assert len(prompt.tokens) == seen.shape[1] == 77
    for word in ("red", "hat"):
        (place,) = words.positions(clip, prompt, word)
        assert seen[0, place, 0] == table[prompt.tokens[place], 0]
    assert len(prompt.words) == (4 if width == 768 else 3)


def test_an_embedding_that_fits_one_of_two_encoders_is_named(pack, random_clip, tmp_path):
    from safetensors.torch import save_file

    save_file({"emb_params": torch.randn(3, 768)}, tmp_path / "style.safetensors")
    with pytest.raises(ValueError, match="and for embeddings that were made for all their text encoders"):
        pack.host.words.prompt_of(random_clip("sdxl", str(tmp_path)), "a embedding:style red hat")
    save_file({"clip_l": torch.randn(3, 768), "clip_g": torch.randn(3, 1280)}, tmp_path / "both.safetensors")
    both = pack.host.words.prompt_of(random_clip("sdxl", str(tmp_path)), "a embedding:both red hat")
    assert both.texts == ("a", "<embedding>", "red", "hat") and len(both.words[1]) == 3


# --- layers that other nodes make smaller -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shrinking(host_node, random_model):
    """A MODEL of three sizes whose second block is half as large in the first half of the steps."""
    inputs = {"block_number": 1, "downscale_factor": 2.0, "start_percent": 0.0, "end_percent": 0.5}
    inputs |= {"downscale_after_skip": True, "downscale_method": "bicubic", "upscale_method": "bicubic"}
    return host_node("PatchModelAddDownscale", model=random_model("sd15_tall"), **inputs)[0]


def test_a_blend_over_layers_that_change_their_size(shrinking, prompts, maps_of, sample, small):
    """The edit stays where its words are, and the image comes back where the same text does nothing."""
    p, same = prompts(blend_words="cat, dog"), prompts(target=SOURCE, blend_words="cat")
    maps = maps_of(shrinking, p, latent_image=small())
    back = sample(shrinking, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    edited = sample(shrinking, maps, "sd15_tall", positive=p.target, cfg=7.0, skip_steps=SKIP, attention=p.edit)
    moved = (edited - small()["samples"]).abs().amax(dim=1)
    assert moved.max() > 0.01 and (moved <= 1e-4).any()


def test_words_found_over_layers_that_change_their_size(pack, shrinking, random_clip, prompts, maps_of, small):
    """The maps of all levels together are those of each, brought to the size of the largest."""
    host, p = pack.host, prompts()
    maps = maps_of(shrinking, p, latent_image=small())
    tokens = torch.zeros(77, dtype=torch.bool)
    tokens[3] = True

    def seen(*levels: int) -> torch.Tensor:
        guider = host.guiders.guider_for(shrinking, p.source, p.source, 1.0)
        loop = host.loops.word_maps(maps, levels, tokens)
        return host.run.run_on_maps(guider, loop, maps, host.levels.sigmas_at(maps.schedule, levels))

    coarse, fine = seen(0), seen(3)
    assert coarse.shape[-1] < fine.shape[-1]
    larger = torch.nn.functional.interpolate(coarse[None], size=fine.shape[-2:], mode="bilinear")[0]
    torch.testing.assert_close(seen(0, 3), larger + fine)
    settings = {"threshold": 0.3, "levels": 4, "start": 0.0, "end": 1.0, "grow": 0}
    clip = random_clip("sd15")
    inputs = {"model": shrinking, "clip": clip, "noise_maps": maps, "caption": SOURCE, "words": "cat"} | settings
    mask, preview = pack.run("EditFriendlyWordMask", **inputs)
    assert mask.shape == (1, 128, 128) and 0 < mask.mean() < 1


def test_sharing_over_tiles_of_another_node(host_node, random_model, prompts, maps_of, sample, small, share):
    """HyperTile lays the pixels of the largest layers out as rows of their own, those of source and target alike."""
    tiles = {"tile_size": 1, "swap_size": 1, "max_depth": 0, "scale_depth": False}
    (model,) = host_node("HyperTile", model=random_model("sd15_tall"), **tiles)
    p, same = (prompts(target=target, cross_steps=1.0, self_steps=1.0, self_size=1.0) for target in (REPLACED, SOURCE))
    maps = maps_of(model, p)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    for edit in (p.edit, share(p.source, PNP, start=0.0, end=1.0), share(p.source, MASACTRL, start=0.0, end=1.0)):
        edited = sample(model, maps, "sd15_tall", attention=edit, **run)
        assert edited.isfinite().all() and not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)
