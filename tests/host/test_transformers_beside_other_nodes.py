"""Attention edits in the host's transformers beside what else changes their attention: kernels, patches, compilers."""

from __future__ import annotations

import pkgutil

import pytest
import torch

from support.attention_edits import ROUNDING, close
from support.written_out import (
    DEEP,
    KEYS_AND_VALUES,
    STEPS,
    VALUES,
    Deep,
    edit_of_words,
    off,
    p2p,
)
from tools.benchmarks.random_weights import randomize


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


@pytest.mark.parametrize("part", ["diffusion_model", "diffusion_model.single_blocks.1"])
def test_a_compiled_network_is_refused(deep, part):
    """As is one with a compiled block."""
    of = deep("Flux")
    model = of.model.clone()
    model.add_object_patch(part, torch.compile(model.get_model_object(part), backend="eager"))
    with pytest.raises(ValueError, match="compiled .torch.compile.*from before the node that compiles it"):
        of.sampled(of.share(VALUES), model=model)


def test_a_block_that_was_compiled_in_place_is_refused(deep, monkeypatch):
    of = deep("QwenImage")
    block = of.model.model.diffusion_model.transformer_blocks[1]
    monkeypatch.setattr(block, "_compiled_call_impl", block._call_impl)  # as Module.compile does
    with pytest.raises(ValueError, match="compiled .torch.compile.*from before the node that compiles it"):
        of.sampled(of.share(VALUES))


@pytest.mark.parametrize("loaded", ["whole", "in part"])
def test_parity_with_a_lora(pack, comfy, random_lora, monkeypatch, loaded):
    """Merged into the weights, or added to them as they are cast in each call of a model that is loaded in part."""
    if loaded == "in part":
        load = comfy.model_patcher.ModelPatcher.load
        in_part = {"lowvram_model_memory": 1, "full_load": False}
        monkeypatch.setattr(
            comfy.model_patcher.ModelPatcher, "load", lambda self, device, **told: load(self, device, **told | in_part)
        )
    merged, plain = (Deep(pack, comfy, "QwenImage") for _ in range(2))
    lora = random_lora(plain.model)
    model, _ = comfy.sd.load_lora_for_models(plain.model, None, lora, 1.0, 0.0)
    of, weights = Deep(pack, comfy, "QwenImage", model=model), merged.model.model.diffusion_model.state_dict()
    for name in weights:
        stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        if f"{stem}.lora_up.weight" in lora:
            weights[name] += lora[f"{stem}.lora_up.weight"] @ lora[f"{stem}.lora_down.weight"]
    merged.maps = of.maps
    out = of.sampled(of.share(KEYS_AND_VALUES))
    assert model.model.model_lowvram == (loaded == "in part")
    assert close(out, merged.explicit(monkeypatch, **merged.taking(KEYS_AND_VALUES, range(3))))
    assert not close(out, plain.sampled(plain.share(KEYS_AND_VALUES)), 1e-2)
    assert close(of.sampled(of.share(KEYS_AND_VALUES), target=of.source), of.image["samples"])


def test_a_control_net_guides_source_and_target(pack, comfy, deep):
    """One on the target's prompt guides the source's rows too, as it did when the image was inverted."""
    from comfy.ldm.flux.controlnet import ControlNetFlux
    from comfy.ops import disable_weight_init

    plain = deep("Flux")
    network = ControlNetFlux(**vars(plain.model.model.diffusion_model.params), operations=disable_weight_init)
    cpu, told = torch.device("cpu"), ["y", "guidance"]
    control = comfy.controlnet.ControlNet(randomize(network, seed=2), load_device=cpu, extra_conds=told)
    hint = torch.rand((1, 64, 64, 3), generator=torch.Generator().manual_seed(0))
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet

    def controlled(prompt):
        return apply(prompt, plain.negative, control, hint, 1.0, 0.0, 1.0)[0]

    of = Deep(pack, comfy, "Flux", model=plain.model, source=controlled(plain.source))
    of.source, target = plain.source, controlled(plain.target)
    edit, nothing = of.share(KEYS_AND_VALUES), of.share(KEYS_AND_VALUES, mask=of.mask() + 1)
    assert close(of.sampled(edit, target=controlled(of.source)), of.image["samples"])
    assert close(of.sampled(nothing, target=target), of.sampled(target=target), ROUNDING)
    assert not close(of.sampled(edit, target=target), of.sampled(target=target), 1e-3)
    assert not close(of.sampled(target=target), of.sampled(), 1e-3)
    with pytest.raises(ValueError, match="needs source and target in one call of the model, and areas, ControlNets"):
        of.in_one_pass(edit, target)


@pytest.mark.parametrize("family", ["QwenImage", "CosmosT2IPredict2"])
def test_weights_in_bfloat16(deep, pack, comfy, family):
    """What is shared is off from single precision by no more than what they make of the run without attention."""
    whole, half = deep(family), Deep(pack, comfy, family, dtype=torch.bfloat16)
    of_words = edit_of_words()
    rounding = 2 * off(half.plain, whole.plain)
    for name in (VALUES, KEYS_AND_VALUES, "words"):
        out, expected = (
            of.sampled(p2p(pack, of, *of_words) if name == "words" else of.share(name)) for of in (half, whole)
        )
        assert off(out, expected) <= rounding < off(expected, whole.plain)
        assert off(half.sampled(half.share(KEYS_AND_VALUES), target=half.source), half.image["samples"]) <= rounding


def rounded(part: torch.Tensor) -> torch.Tensor:
    """To 8 bits, by the largest value of a call, as kernels of integers have it."""
    step = part.abs().max() / 127
    return (part / step).round() * step


@pytest.mark.parametrize("family", ["Flux", "QwenImage", "CosmosT2IPredict2"])
def test_a_kernel_that_rounds_by_what_is_in_a_call(deep, pack, monkeypatch, family):
    """As --use-sage-attention has it: an edit is off by what the kernel makes of the run without attention."""
    from comfy.ldm.modules.attention import wrap_attn

    of, (name, _) = deep(family), DEEP[family]
    edits = [of.share(VALUES), of.share(KEYS_AND_VALUES), p2p(pack, of, *edit_of_words())]
    exact, plain, kernel = [of.sampled(edit) for edit in edits], of.plain, pkgutil.resolve_name(name)

    def quantised(q, k, v, *args, **kwargs):
        return kernel(rounded(q), rounded(k), rounded(v), *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(name, wrap_attn(quantised))
        rounding = 2 * off(of.sampled(), plain)
        for edit, expected in zip(edits, exact, strict=True):
            assert off(of.sampled(edit), expected) <= rounding < off(expected, plain)
        assert off(of.sampled(edits[1], target=of.source), of.image["samples"]) <= rounding


def test_a_nodes_kernel_may_round_as_much_as_the_weights(deep, pack, comfy):
    """In bfloat16; in single precision it is refused, by its name."""
    whole, half = deep("Flux"), Deep(pack, comfy, "QwenImage", dtype=torch.bfloat16)

    def quantised(of):
        model = of.model.clone()
        model.model_options["transformer_options"]["optimized_attention_override"] = override
        return model

    def override(function, q, k, v, *args, **kwargs):
        return function(rounded(q), rounded(k), rounded(v), *args, **kwargs)

    with pytest.raises(ValueError, match="patches of other nodes .optimized_attention_override.*remove those nodes"):
        whole.sampled(whole.share(VALUES), model=quantised(whole))
    edit = p2p(pack, half, *edit_of_words())
    out, expected = half.sampled(edit, model=quantised(half)), half.sampled(edit)
    assert off(out, expected) <= 2 * off(half.sampled(model=quantised(half)), half.plain) < off(expected, half.plain)


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


# whose own code hands its attention no options, or runs one for each frame by a method that no hook sees
BEYOND = ("PixArtAlpha", "HunyuanDiT", "ErnieImage", "WAN_Animate2")
# whose code does, in blocks of a layout that nothing here knows
UNKNOWN = ("Omnigen2", "CosmosT2V", "CogVideoX_T2V")


@pytest.mark.parametrize("family", BEYOND + UNKNOWN)
def test_models_out_of_the_hooks_reach_are_refused_by_name(pack, comfy, family):
    of = Deep(pack, comfy, family)
    name = "|".join({type(module).__name__ for module in of.model.model.diffusion_model.modules()})
    with pytest.raises(ValueError, match=rf"({name})\W.* not within reach of ComfyUI's hooks.*What works here: "):
        of.sampled(of.share(VALUES))
