"""Networks that others have changed: compiled, or of classes that stand in the place of the host's."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch

from support.attention_edits import MASACTRL, PNP, SKIP, SOURCE, every_edit, rows_of_calls
from support.families import FAMILIES

# --- compiled ---------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["network", "one part", "TorchCompileModel"])
def compiled(request, random_model, host_node):
    """A MODEL of which something is compiled when it is first called."""
    model = random_model("sd15_tall")
    if request.param == "TorchCompileModel":
        return host_node("TorchCompileModel", model=model, backend="inductor")[0]
    part = "diffusion_model" + (".out" if request.param == "one part" else "")
    model = model.clone()
    model.add_object_patch(part, torch.compile(model.get_model_object(part), backend="eager"))
    return model


REFUSED = "network is compiled .torch.compile.*connect the MODEL from before the node that compiles it"


@pytest.mark.parametrize("name", ["P2P", PNP, MASACTRL])
def test_attention_edits_of_what_is_compiled_are_refused(
    pack, compiled, random_model, conditioning, prompts, share, maps_of, sample, small, edit, name
):
    """The host lets compiled code go on with the attention of an earlier step, so an edit would do nothing."""
    p = prompts()
    attention = every_edit(p, share)[name]
    maps = maps_of(random_model("sd15_tall"), p)
    with pytest.raises(ValueError, match=REFUSED):
        sample(compiled, maps, positive=p.target, attention=attention, skip_steps=SKIP)
    prompts_of_edit = {"source": p.source, "target": p.target, "latent_image": small()}
    with pytest.raises(ValueError, match=REFUSED):
        edit(compiled, "sd15_tall", **prompts_of_edit, attention=attention)


def test_so_is_all_that_reads_its_attention(pack, compiled, random_model, conditioning, prompts, maps_of):
    p = prompts()
    maps = maps_of(random_model("sd15_tall"), p)
    words = {"clip": p.clip, "caption": SOURCE, "words": "cat", "threshold": 0.3, "levels": 2, "grow": 0}
    with pytest.raises(ValueError, match=REFUSED):
        pack.run("EditFriendlyWordMask", model=compiled, noise_maps=maps, **words, start=0.1, end=0.8)
    guided = {"source": p.source, "target": p.target, "negative": conditioning("sd15", 2), "noise_maps": maps}
    settings = {"cfg": 3.0, "guidance_weight": 0.1, "skip_steps": 0}
    with pytest.raises(ValueError, match=REFUSED):
        pack.run("EditFriendlyZeroShotImageToImage", model=compiled, **guided, **settings)


def test_a_model_that_the_host_compiles_shares_its_calls_as_before(pack, random_model, host_node):
    """Nothing of other nodes is in it."""
    (model,) = host_node("TorchCompileModel", model=random_model("sd15"), backend="inductor")
    loading = {"wrappers": model.wrappers, "callbacks": {}}  # as a run has them, which loads it
    options = {**model.model_options, "transformer_options": {"wrappers": model.wrappers}, "to_load_options": loading}
    assert pack.host.calls.code_of_others(model, options) == []


# --- classes in the place of the host's -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_another(comfy):
    """of_another(model): a MODEL of the same weights, whose network's classes are no classes of the host's."""
    import comfy.ldm.modules.attention
    import comfy.ldm.modules.diffusionmodules.openaimodel as openaimodel
    import comfy.ops

    def copied(module):
        spec = importlib.util.spec_from_file_location(f"{module.__name__}_of_another", module.__file__)
        copy = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(copy)
        return copy

    unets, attention = copied(openaimodel), copied(comfy.ldm.modules.attention)
    unets.SpatialTransformer = attention.SpatialTransformer
    unets.SpatialVideoTransformer = attention.SpatialVideoTransformer

    def make(model):
        base = model.model.model_config.get_model({}, "", torch.device("cpu")).eval()
        operations = comfy.ops.disable_weight_init
        base.diffusion_model = unets.UNetModel(**base.model_config.unet_config, operations=operations)
        base.diffusion_model.load_state_dict(model.model.diffusion_model.state_dict())
        base.requires_grad_(False)
        assert not isinstance(base.diffusion_model, openaimodel.UNetModel)
        return comfy.model_patcher.ModelPatcher(
            base, load_device=model.load_device, offload_device=model.offload_device
        )

    return make


def test_their_blocks_are_those_of_the_hosts(pack, random_model, of_another):
    for kind in ("sd15_tall", "sdxl_tall"):
        found = pack.host.blocks.Blocks.of(of_another(random_model(kind)).model.diffusion_model, {})
        assert found.places == pack.host.blocks.Blocks.of(random_model(kind).model.diffusion_model, {}).places
        assert {place.level for place in found.places} == {0, 1, 2}


@pytest.mark.parametrize("name", ["P2P", PNP])
def test_attention_edits_act_on_them(random_model, of_another, prompts, share, maps_of, sample, name):
    p = prompts()
    maps = maps_of(random_model("sd15_tall"), p)
    target = {"positive": p.target, "skip_steps": SKIP, "cfg": 7.0}
    expected, plain = (
        sample(random_model("sd15_tall"), maps, **target, attention=attention)
        for attention in (every_edit(p, share)[name], None)
    )
    edited = sample(of_another(random_model("sd15_tall")), maps, **target, attention=every_edit(p, share)[name])
    assert torch.equal(edited, expected) and not torch.equal(edited, plain)


def test_prompts_of_two_lengths_share_their_calls(random_model, of_another, conditioning, edit, monkeypatch):
    longer = [[torch.cat([conditioning("sd15", k)[0][0] for k in (9, 10)], dim=1), {"pooled_output": None}]]
    model = of_another(random_model("sd15"))
    rows = rows_of_calls(model, monkeypatch)
    edit(model, target=longer)
    assert rows == [8] * 4  # two images, two prompts, each with a negative


def test_frames_are_known_by_what_the_layers_have(pack, comfy, random_model, of_another):
    assert pack.host.model.rows_are_frames(of_another(FAMILIES["SVD_img2vid"].model(comfy)))
    assert not pack.host.model.rows_are_frames(of_another(random_model("sd15")))


@pytest.mark.parametrize("own", [False, True], ids=["the host's code", "code of its own"])
def test_a_control_net_is_known_by_its_code(
    random_model, random_control_net, conditioning, invert, count_calls, caplog, own
):
    """As a class that another pack has put in the place of the host's; what has its own may keep the last call's."""
    name = "get_control"
    code = {name: lambda self, *args: super(stranger, self).get_control(*args)} if own else {}
    stranger = type("Stranger", (type(random_control_net),), code)
    random_control_net.__class__ = stranger
    control = random_control_net.set_cond_hint(torch.rand(1, 3, 64, 64), 1.0)
    positive = [[conditioning("sd15", 1)[0][0], {"control": control, "control_apply_to_uncond": True}]]
    model = random_model("sd15")
    exact = invert(model, positive=positive)
    count_calls.clear()
    with caplog.at_level(logging.INFO):
        together = invert(model, positive=positive, timesteps_per_call=5)
    assert count_calls == ([1] * 5 if own else [5, 1])
    assert ("because of a Stranger, which is not known to take several" in caplog.text) == own
    assert (together.residuals - exact.residuals).abs().max() <= 1e-4 * exact.residuals.abs().max()
