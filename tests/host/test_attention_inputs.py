"""The inputs of attention edits: prompts and their words, windows, and what cannot be edited together."""

from __future__ import annotations

import pytest
import torch

from support.attention_edits import MASACTRL, PNP, REFINED, REPLACED, SKIP, SOURCE, close

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


@pytest.mark.parametrize("kind", ["flow", "flux", "wan"])
def test_models_without_cross_attention_of_their_own(random_model, conditioning, invert, sample, share, kind):
    model = random_model(kind)
    maps = invert(model, kind, scheduler="simple")
    edit = share(conditioning(kind, 1), MASACTRL)
    with pytest.raises(ValueError, match=r"no cross-attention.*What works here: .*Mask from two Prompts"):
        sample(model, maps, kind, attention=edit)


def test_text_encoders_that_cut_a_prompt_in_other_ways(pack, random_clip):
    import comfy.sd1_clip

    class Both(comfy.sd1_clip.SD1Tokenizer):
        def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
            streams = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            return streams | {"t5xxl": [streams["l"][0][:10]]}

    clip = random_clip("sd15")
    clip.tokenizer = Both()
    with pytest.raises(ValueError, match="text encoders l and t5xxl cut the prompt in different ways"):
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
