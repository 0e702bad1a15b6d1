"""Files of random weights that ComfyUI's own loaders take."""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tools.benchmarks.random_weights import FLUX, SD15_UNET, SDXL_UNET, WAN, randomize

from .narrow_t5 import WORDS, narrowed


def save_sd15_files(models: Path) -> None:
    """Files that ComfyUI's loaders take for an SD1.5 UNet, a CLIP-L and a TAESD, below its folder `models`.

    The host recognises SD1.5 by model_channels 320 and context_dim 768, whatever the depth.
    """
    import comfy.ops
    import comfy.sd1_clip
    import comfy.taesd.taesd
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**SD15_UNET, dtype=torch.float32, operations=comfy.ops.disable_weight_init)
    clip = comfy.sd1_clip.SDClipModel(dtype=torch.float16).transformer
    vae = comfy.taesd.taesd.TAESD()
    for name, module in {
        "diffusion_models/random_sd15": unet,
        "text_encoders/random_clip_l": clip,
        "vae_approx/taesd_encoder": vae.taesd_encoder,
        "vae_approx/taesd_decoder": vae.taesd_decoder,
    }.items():
        path = models / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(randomize(module, seed=3).state_dict(), path)


def save_sd15_checkpoint(path: Path) -> None:
    """One file that ComfyUI's checkpoint loader takes for SD1.5: a shallow UNet, a whole CLIP-L, a TAESD for VAE."""
    tensors = _prefixed("model.diffusion_model.", _unet(SD15_UNET))
    tensors |= _prefixed("cond_stage_model.transformer.", _clip_l())
    _save(tensors | _prefixed("first_stage_model.", _taesd()), path)


def save_sdxl_checkpoint(path: Path) -> None:
    """One file that ComfyUI's checkpoint loader takes for SDXL.

    The host knows SDXL by its transformer depths, so the UNet is as deep, and 320 channels wide throughout. CLIP-G has
    but one size; it is all zeros, so that prompts differ by CLIP-L alone.
    """
    import comfy.sdxl_clip

    wide = {"channel_mult": [1, 1, 1], "num_res_blocks": [2, 2, 2], "transformer_depth_middle": 10}
    depths = {"transformer_depth": [0, 0, 2, 2, 10, 10], "transformer_depth_output": [0, 0, 0, 2, 2, 2, 10, 10, 10]}
    tensors = _prefixed("model.diffusion_model.", _unet(SDXL_UNET | wide | depths))
    tensors |= _prefixed("conditioner.embedders.0.transformer.", _clip_l())
    clip_g = comfy.sdxl_clip.SDXLClipG(dtype=torch.float16).transformer.state_dict()
    zeros = {name: torch.zeros_like(tensor) for name, tensor in clip_g.items()}
    tensors |= _prefixed("conditioner.embedders.1.model.transformer.", zeros)
    _save(tensors | _prefixed("first_stage_model.", _taesd()), path)


def save_flux_checkpoint(path: Path) -> None:
    """One file that ComfyUI's checkpoint loader takes for Flux where `narrow_t5` is: all narrow but a whole CLIP-L.

    The host gives each head 128 channels, whatever the width.
    """
    import comfy.ops
    from comfy.ldm.flux.model import Flux

    t5 = _t5("t5_config_xxl")
    heads = {"axes_dim": [16, 56, 56], "num_heads": 1, "txt_ids_dims": []}
    config = FLUX | heads | {"context_in_dim": t5["shared.weight"].shape[1]}
    network = Flux(**config, dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    tensors = _prefixed("model.diffusion_model.", randomize(network, seed=3).state_dict())
    tensors |= _prefixed("text_encoders.t5xxl.transformer.", t5)
    tensors |= _prefixed("text_encoders.clip_l.transformer.", _clip_l())
    _save(tensors | _prefixed("vae.", _taesd(latent_channels=16)), path)


def save_wan_files(network: Path, encoder: Path, vae: Path) -> None:
    """Files that ComfyUI's loaders take for Wan 2.1 and its VAE and, where `narrow_t5` is, its umT5, all narrow."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel
    from comfy.ldm.wan.vae import WanVAE

    heads = {"num_heads": 1}  # of 128 channels, too
    wan = WanModel(**WAN | heads, dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    sizes = {"dim": 8, "z_dim": 16, "temperal_downsample": [False, True, True]}
    known_by = {"encoder.block.23.layer.1.DenseReluDense.wi_1.weight": torch.zeros((10240, 1))}
    tokenizer = {"spiece_model": _tokenizer_of_bytes()}
    _save(randomize(wan, seed=3).state_dict(), network)
    _save(_t5("umt5_config_xxl") | known_by | tokenizer, encoder)
    _save(randomize(WanVAE(**sizes), seed=3).state_dict(), vae)


def _t5(config: str) -> dict[str, torch.Tensor]:
    import comfy.ops
    import comfy.text_encoders.t5 as t5

    told = json.loads((Path(t5.__file__).parent / f"{config}.json").read_text())
    network = t5.T5(narrowed(told), torch.float16, "cpu", comfy.ops.disable_weight_init)
    return randomize(network, seed=3).state_dict()


def _tokenizer_of_bytes() -> torch.Tensor:
    """A model of sentencepiece, as a file of umT5 has it."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["a"]),
        model_writer=model,
        model_type="char",
        byte_fallback=True,
        vocab_size=WORDS,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return torch.frombuffer(bytearray(model.getvalue()), dtype=torch.uint8)


def _unet(config: dict) -> dict[str, torch.Tensor]:
    import comfy.ops
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    unet = UNetModel(**config, dtype=torch.float16, operations=comfy.ops.disable_weight_init)
    return randomize(unet, seed=3).state_dict()


def _clip_l() -> dict[str, torch.Tensor]:
    import comfy.sd1_clip

    return randomize(comfy.sd1_clip.SDClipModel(dtype=torch.float16).transformer, seed=3).state_dict()


def _taesd(latent_channels: int = 4) -> dict[str, torch.Tensor]:
    import comfy.taesd.taesd

    vae = comfy.taesd.taesd.TAESD(latent_channels=latent_channels)
    randomize(vae.taesd_encoder, seed=3)
    randomize(vae.taesd_decoder, seed=3)
    return vae.state_dict()


def _prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
