"""The pack as the host's own loader loads it, and small random models, conditionings and latents."""

from __future__ import annotations

import asyncio
import sys
from functools import cache, partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from support.attention_edits import REPLACED, SOURCE, STEPS
from support.offline import no_network
from support.random_encoder import RandomEncoder
from support.written_out import Deep
from tools.benchmarks.random_weights import (
    ACE_STEP,
    ACE_STEP15,
    CHANNELS,
    CONTEXT,
    FLUX,
    POOLED,
    SD3_MMDIT,
    SD15_UNET,
    SDXL_UNET,
    STABLE_AUDIO,
    WAN,
    randomize,
)
from tools.host import open_host

PACK = Path(__file__).parents[2]
HOST_MODULES = sorted(path.stem for path in (PACK / "nodes" / "host").glob("[!_]*.py"))

# Three sizes of picture with attention at each, as real UNets have it.
TALL = {
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 1, 2],
    "transformer_depth": [1, 1, 1],
    "transformer_depth_output": [1] * 6,
}
SOUND = {"stable_audio": (), "ace": (16,), "ace15": ()}  # axes of a latent before time
NARROW_LYRICS = {"output_size": 64, "attention_heads": 2, "linear_units": 64, "num_blocks": 1}  # of ACE-Step
NARROW = {"model_channels": 64}  # a class of the host is named here, not detected, so the width may shrink too


@pytest.fixture(autouse=True)
def reached():
    """What a test tried of other machines; each attempt is an error, and the test fails also where that is caught."""
    with no_network() as attempts:
        yield attempts
        assert attempts == []


@pytest.fixture(scope="session")
def pack(comfy) -> SimpleNamespace:
    """The nodes by id, and the modules of the pack as the host loaded them."""
    host = open_host()
    root, classes = host.root, host.nodes
    assert not hasattr(sys.modules[root], "NODE_CLASS_MAPPINGS"), "it would hide comfy_entrypoint"
    return SimpleNamespace(
        root=root,
        modules=lambda name: host.module(f"nodes.{name}"),
        core=host.module("ddpm_core"),
        host=SimpleNamespace(**{name: host.module(f"nodes.host.{name}") for name in HOST_MODULES}),
        run=lambda node_id, **inputs: classes[node_id].execute(**inputs).args,
        **classes,
    )


@pytest.fixture(scope="session")
def host_node(comfy):
    """host_node(node_id, **inputs): what a node of the host returns, of either kind that there is."""
    asyncio.run(comfy.nodes.init_builtin_extra_nodes())

    def run(node_id: str, **inputs) -> tuple:
        cls = comfy.nodes.NODE_CLASS_MAPPINGS[node_id]
        result = cls.execute(**inputs) if hasattr(cls, "execute") else getattr(cls(), cls.FUNCTION)(**inputs)
        return getattr(result, "args", result)

    return run


@pytest.fixture(scope="session")
def random_model(comfy, host_node):
    """random_model(kind, dtype, seed): a MODEL with random weights.

    Kinds: sd15 (eps), v, inpaint (with a picture and a mask as conditioning), sdxl, flow (SD3), flux, wan (video),
    wan_i2v (video from a picture), wan22 (video from kept frames), stable_audio, ace and ace15 (sound); sd15_tall and
    sdxl_tall have attention at three sizes.
    """

    import comfy.ldm.ace.model as ace

    @cache
    def make(kind: str, dtype: torch.dtype = torch.float32, seed: int = 1):
        if kind == "v":
            v = {"sampling": "v_prediction", "zsnr": False}
            return host_node("ModelSamplingDiscrete", model=make("sd15", dtype, seed), **v)[0]
        family, unet_config = {
            "sd15": (comfy.supported_models.SD15, SD15_UNET | NARROW),
            "sdxl": (comfy.supported_models.SDXL, SDXL_UNET | NARROW),
            "sd15_tall": (comfy.supported_models.SD15, SD15_UNET | NARROW | TALL),
            "sdxl_tall": (comfy.supported_models.SDXL, SDXL_UNET | NARROW | TALL),
            "inpaint": (comfy.supported_models.SD15, SD15_UNET | NARROW | {"in_channels": 9}),
            "flow": (comfy.supported_models.SD3, SD3_MMDIT),
            "flux": (comfy.supported_models.Flux, FLUX | _newer_fields_of_flux()),
            "wan": (comfy.supported_models.WAN21_T2V, WAN),
            "wan_i2v": (comfy.supported_models.WAN21_I2V, WAN | {"in_dim": 36}),
            "wan22": (comfy.supported_models.WAN22_T2V, WAN | {"in_dim": 48, "out_dim": 48}),
            "stable_audio": (comfy.supported_models.StableAudio, STABLE_AUDIO),
            "ace": (comfy.supported_models.ACEStep, ACE_STEP),
            "ace15": (comfy.supported_models.ACEStep15, ACE_STEP15 | _newer_fields_of_ace15()),
        }[kind]
        config = family(unet_config)
        device = comfy.model_management.get_torch_device()
        config.set_inference_dtype(
            dtype, comfy.model_management.unet_manual_cast(dtype, device, config.supported_inference_dtypes)
        )
        beside = _embedders_of_seconds() if kind == "stable_audio" else {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ace, "LyricEncoder", partial(ace.LyricEncoder, **NARROW_LYRICS))
            model = config.get_model(beside, "", torch.device("cpu")).eval()
        randomize(model.diffusion_model, seed=seed)
        model.requires_grad_(False)
        return comfy.model_patcher.ModelPatcher(
            model, load_device=device, offload_device=comfy.model_management.unet_offload_device()
        )

    yield make
    make.cache_clear()  # while ComfyUI's modules are there, which its models ask as they go


def _newer_fields_of_flux() -> dict:
    from comfy.ldm.flux.model import FluxParams

    return {"txt_ids_dims": []} if "txt_ids_dims" in FluxParams.__dataclass_fields__ else {}


def _newer_fields_of_ace15() -> dict:
    from comfy.ldm.ace.ace_step15 import AceStepConditionGenerationModel

    fields = {"encoder_hidden_size": 64, "encoder_intermediate_size": 64, "encoder_num_heads": 2}
    return fields if fields.keys() <= signature(AceStepConditionGenerationModel).parameters.keys() else {}


def _embedders_of_seconds() -> dict[str, torch.Tensor]:
    """What a checkpoint of Stable Audio has beside the network: a sound's start and length as embeddings."""
    from comfy.ldm.audio.embedders import NumberConditioner

    weights = randomize(NumberConditioner(768), seed=2).state_dict()
    names = ("seconds_start", "seconds_total")
    return {f"conditioner.conditioners.{name}.{key}": value for name in names for key, value in weights.items()}


@pytest.fixture(scope="session")
def conditioning():
    """conditioning(kind, seed): a random CONDITIONING as the text encoder of that kind would give it."""

    def make(kind: str, seed: int):
        generator = torch.Generator().manual_seed(seed)
        pooled = torch.randn((1, POOLED[kind]), generator=generator) if kind in POOLED else None
        text, told = torch.randn((1, *CONTEXT[kind]), generator=generator), {"pooled_output": pooled}
        if kind == "ace":
            told["conditioning_lyrics"] = torch.randint(1, 99, (1, 9), generator=generator)
        if kind == "ace15":
            told["conditioning_lyrics"] = torch.randn((1, 9, 32), generator=generator)
        return [[text, told]]

    return make


@pytest.fixture(scope="session")
def random_clip(comfy):
    """random_clip(family): a CLIP with the host's tokenizers of sd15, sdxl, or with 32 numbers for each token flux,
    qwen, zima (Z-Image) or sd3, and a random vector for each token."""
    import comfy.sd1_clip
    import comfy.sdxl_clip
    import comfy.supported_models_base
    from comfy.text_encoders import flux, qwen_image, sd3_clip, z_image

    def make(family: str, embedding_directory: str | None = None):
        tokenizer, *told = {
            "sd15": (comfy.sd1_clip.SD1Tokenizer, 768, None),
            "sdxl": (comfy.sdxl_clip.SDXLTokenizer, 2048, 1280),
            "flux": (flux.FluxTokenizer, 32, 32, "t5xxl"),
            "sd3": (sd3_clip.SD3Tokenizer, 32, 32, "l+t5xxl"),
            "zima": (z_image.ZImageTokenizer, 32, None, "qwen3_4b"),
            "qwen": (qwen_image.QwenImageTokenizer, 32, None, "qwen25_7b", 34),  # tokens of the template's head
        }[family]
        target = comfy.supported_models_base.ClipTarget(tokenizer, lambda **_: RandomEncoder(*told))
        return comfy.sd.CLIP(target, embedding_directory=embedding_directory)

    return make


@pytest.fixture(scope="session")
def latent():
    """latent(kind, batch, height, width, seed): a LATENT of the size that a VAE of that kind gives; sound has no
    height, or that of ACE-Step."""

    def make(kind: str, batch: int = 1, height: int = 8, width: int = 8, seed: int = 0):
        generator = torch.Generator().manual_seed(seed)
        if kind in SOUND:
            axes = (*SOUND[kind], 4 * width)
        else:
            axes = (3, height, width) if kind.startswith("wan") else (height, width)
        return {"samples": 4 * torch.randn((batch, CHANNELS[kind], *axes), generator=generator)}

    return make


@pytest.fixture(scope="session")
def sound_vae(comfy):
    """sound_vae(kind): a VAE of the host with the networks of Stable Audio or ACE-Step, narrow and random."""
    import comfy.ldm.ace.vae.music_dcae_pipeline as ace

    widths = {f"{part}_block_out_channels": (8, 16, 16, 32) for part in ("encoder", "decoder")}
    layers = {f"{part}_layers_per_block": (1, 1, 1, 1) for part in ("encoder", "decoder")}
    vocoder = {"depths": [1, 1, 1, 1], "dims": [8, 8, 8, 16], "num_mels": 16, "upsample_initial_channel": 128}
    narrow = {
        "stable_audio": [(comfy.sd, "AudioOobleckVAE", {"channels": 2})],
        "ace": [
            (ace, "AutoencoderDC", {"attention_head_dim": 8, **widths, **layers}),
            (ace, "ADaMoSHiFiGANV1", vocoder),
        ],
    }

    @cache
    def make(kind: str):
        with pytest.MonkeyPatch.context() as patch:
            for module, name, sizes in narrow[kind]:
                patch.setattr(module, name, partial(getattr(module, name), **sizes))
            network = comfy.sd.AudioOobleckVAE() if kind == "stable_audio" else ace.MusicDCAE()
            return comfy.sd.VAE(sd=randomize(network, seed=3).state_dict())

    yield make
    make.cache_clear()


@pytest.fixture(scope="session")
def run_node(pack, conditioning, latent):
    """run_node(node_id, model, kind="sd15", **inputs): what a node from an image to noise maps returns, or the one
    that generates, for a random latent under conditioning 1 and 2."""

    def run(node_id: str, model, kind: str = "sd15", **inputs):
        common = {
            "positive": conditioning(kind, 1),
            "negative": conditioning(kind, 2),
            "latent_image": latent(kind),
            "steps": 5,
            "cfg": 3.5,
            "scheduler": "ddim_uniform",
        }
        seeded = {"seed": 3}
        inverted = {"skip_steps": 0, "variations": 1}
        of_node = {
            "EditFriendlyInvert": {"eta": 1.0, "timesteps_per_call": 1} | seeded | inverted,
            "EditFriendlyCycleDiffusionInvert": {"eta": 1.0, "timesteps_per_call": 1} | seeded | inverted,
            "EditFriendlyTurboInvert": {
                "eta": 1.0,
                "cfg": 1.0,
                "scheduler": "sgm_uniform",
                "noise_shift": 1,
                "clip_last": 0.121,
            }
            | seeded
            | inverted
            | {"skip_steps": 1},
            "EditFriendlyDDIMInvert": {"keep_residuals": True, "fixed_point_iterations": 0, "forward_noise_steps": 0}
            | seeded
            | inverted,
            "EditFriendlyNullTextInvert": {
                "skip_steps": 0,
                "inner_steps": 10,
                "learning_rate": 0.01,
                "early_stop": 1e-5,
            },
            "EditFriendlySampleWithNoiseMaps": {"eta": 1.0} | seeded,
        }
        return pack.run(node_id, model=model, **(common | of_node[node_id] | inputs))

    return run


@pytest.fixture(scope="session")
def invert(run_node):
    """invert(model, kind="sd15", **inputs): edit-friendly NOISE_MAPS, by `run_node`."""
    return lambda model, kind="sd15", **inputs: run_node("EditFriendlyInvert", model, kind, **inputs)[0]


@pytest.fixture(scope="session")
def sample(pack, conditioning):
    """sample(model, noise_maps, kind="sd15", **inputs): the latent under the prompt and cfg of `invert`."""

    def run(model, noise_maps, kind: str = "sd15", **inputs) -> torch.Tensor:
        defaults = {
            "positive": conditioning(kind, 1),
            "negative": conditioning(kind, 2),
            "cfg": 3.5,
            "skip_steps": noise_maps.skipped,
        }
        return pack.run("FixedNoiseSampler", model=model, noise_maps=noise_maps, **(defaults | inputs))[0]["samples"]

    return run


@pytest.fixture(scope="session")
def run_custom(pack, host_node):
    """run_custom(guider, noise_maps, latent, **inputs): the latent of SamplerCustomAdvanced with the maps' SAMPLER."""

    def run(guider, noise_maps, latent: dict, **inputs) -> torch.Tensor:
        defaults = {"skip_steps": noise_maps.skipped}
        sampler, sigmas = pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, **(defaults | inputs))
        (noise,) = host_node("DisableNoise")
        common = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
        return host_node("SamplerCustomAdvanced", **common)[0]["samples"]

    return run


@pytest.fixture(scope="session")
def edit(pack, conditioning, latent):
    """edit(model, kind="sd15", **inputs): EditFriendlyEdit from conditioning 1 to 9 with the settings of `invert`."""

    def run(model, kind: str = "sd15", **inputs) -> torch.Tensor:
        defaults = {
            "source": conditioning(kind, 1),
            "target": conditioning(kind, 9),
            "negative": conditioning(kind, 2),
            "latent_image": latent(kind, batch=2),
            "steps": 5,
            "source_cfg": 3.5,
            "target_cfg": 7.0,
            "eta": 1.0,
            "scheduler": "simple",
            "seed": 3,
            "skip_steps": 1,
            "variations": 1,
        }
        return pack.run("EditFriendlyEdit", model=model, **(defaults | inputs))[0]["samples"]

    return run


@pytest.fixture
def unthrottled(comfy, monkeypatch):
    """Each step reaches the host's progress hook; newer hosts leave some out that follow within a tenth of a second."""
    monkeypatch.setattr(comfy.utils, "PROGRESS_THROTTLE_MIN_INTERVAL", 0.0, raising=False)


@pytest.fixture
def count_calls(comfy, pack, monkeypatch):
    """The rows of each call of a guider, in a list that grows as runs go on."""
    rows = []
    predict = comfy.samplers.CFGGuider.outer_predict_noise

    def counted(self, x, *args, **kwargs):
        rows.append(len(x))
        return predict(self, x, *args, **kwargs)

    monkeypatch.setattr(comfy.samplers.CFGGuider, "outer_predict_noise", counted)
    return rows


@pytest.fixture(scope="session")
def random_lora():
    """random_lora(model): the state dict of a LoRA of rank 4 on the attention of a MODEL."""

    def make(model) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        weights = model.model.diffusion_model.state_dict()
        lora = {}
        for name in [name for name in weights if name.endswith("to_q.weight") or name.endswith("to_v.weight")]:
            rows, columns = weights[name].shape
            stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            lora[f"{stem}.lora_up.weight"] = torch.randn((rows, 4), generator=generator)
            lora[f"{stem}.lora_down.weight"] = torch.randn((4, columns), generator=generator) / columns**0.5
        return lora

    return make


@pytest.fixture
def random_control_net(comfy):
    """A ControlNet with random weights in the layout of the sd15 model."""
    import comfy.cldm.cldm

    config = SD15_UNET | NARROW
    config = {key: value for key, value in config.items() if key not in ("out_channels", "transformer_depth_output")}
    network = comfy.cldm.cldm.ControlNet(**config, hint_channels=3, operations=comfy.ops.disable_weight_init)
    return comfy.controlnet.ControlNet(randomize(network, seed=2), load_device=torch.device("cpu"))


@pytest.fixture(scope="session")
def demo_model(pack, host_node) -> SimpleNamespace:
    """The bundled model, its clip and vae, and prompt(text), a CONDITIONING."""
    model, clip, vae = pack.run("EditFriendlyLoadDemoModel")
    return SimpleNamespace(
        model=model, clip=clip, vae=vae, prompt=lambda text: host_node("CLIPTextEncode", clip=clip, text=text)[0]
    )


@pytest.fixture(scope="session")
def demo_scene(pack, demo_model):
    """demo_scene(words, seed): IMAGE, mask of its object, caption, CONDITIONING of the caption, and LATENT."""

    def make(words: str = "", seed: int = 0) -> SimpleNamespace:
        image, mask, caption = pack.run("EditFriendlyLoadDemoImage", scene=words, seed=seed)
        return SimpleNamespace(
            image=image,
            mask=mask,
            caption=caption,
            prompt=demo_model.prompt(caption),
            latent={"samples": demo_model.vae.encode(image)},
        )

    return make


# --- attention edits --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prompts(pack, random_clip):
    """prompts(source, target, kind, clip, **inputs): Prompt-to-Prompt's edit, both conditionings, and the CLIP."""

    def make(
        source: str = SOURCE, target: str = REPLACED, kind: str = "sd15_tall", clip=None, **inputs
    ) -> SimpleNamespace:
        defaults = {"mode": "auto", "cross_steps": 0.5, "self_steps": 0.25, "self_size": 0.25}
        clip = random_clip(kind.split("_")[0]) if clip is None else clip
        edit, *encoded = pack.run(
            "EditFriendlyPromptToPrompt", clip=clip, source_text=source, target_text=target, **(defaults | inputs)
        )
        return SimpleNamespace(edit=edit, source=encoded[0], target=encoded[1], clip=clip)

    return make


@pytest.fixture(scope="session")
def share(pack):
    """share(source, method, **inputs): an edit of the self-attention."""
    return lambda source, method, **inputs: pack.run(
        "EditFriendlyShareAttention", source=source, method=method, **inputs
    )[0]


@pytest.fixture(scope="session")
def small(latent):
    """small(kind, batch): a LATENT of 16 x 16 cells, so that sd15_tall has attention at 16, 8 and 4."""
    return lambda kind="sd15_tall", batch=1: latent(kind, batch, 16, 16)


@pytest.fixture(scope="session")
def maps_of(invert, small):
    """maps_of(model, prompts, kind, **inputs): noise maps of a random latent under the source prompt."""

    def make(model, p: SimpleNamespace, kind: str = "sd15_tall", **inputs):
        settings = {"positive": p.source, "steps": STEPS, "latent_image": small(kind)} | inputs
        return invert(model, kind, **settings)

    return make


@pytest.fixture(scope="module")
def deep(pack, comfy):
    """deep(family, cfg, images): the same one for the same of these."""
    return cache(partial(Deep, pack, comfy))
