"""The demo models in the host's own classes.

The weights of `demo` go, unchanged, into the host's own UNetModel: attention patches, guidance, previews and
LoRA act on it as on Stable Diffusion. Those of the flow model go into its Flux, those of the edit model into its
InstructPix2Pix.
"""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.ldm.flux.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models_base
import torch

from ...demo.text import VOCABULARY, TextEncoder, tokenize
from ...demo.weights import Weights
from .values import Clip, ModelPatcher, Vae


class DemoLatents(comfy.latent_formats.LatentFormat):
    """Latents of about zero mean and unit variance, an eighth of the picture's side."""

    spacial_downscale_ratio = 8


class DemoScenes(comfy.supported_models_base.BASE):
    """The demo model as a family of the host: v-prediction on Stable Diffusion's noise schedule."""

    unet_extra_config: dict[str, Any] = {}
    latent_format = DemoLatents
    supported_inference_dtypes = [torch.float32]

    def model_type(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.V_PREDICTION


class DemoEdits(DemoScenes):
    """The edit model, shown the picture in further channels, as InstructPix2Pix (arXiv 2211.09800)."""

    def get_model(
        self, state_dict: dict[str, torch.Tensor], prefix: str = "", device: torch.device | None = None
    ) -> comfy.model_base.BaseModel:
        return comfy.model_base.SD15_instructpix2pix(self, self.model_type(state_dict), device=device)


class DemoFlow(DemoScenes):
    """The flow model: a rectified flow whose levels are its timesteps."""

    sampling_settings: dict[str, Any] = {"multiplier": 1.0, "shift": 1.0}  # Flux takes them from 0 to 1

    def model_type(self, state_dict: dict[str, torch.Tensor], prefix: str = "") -> comfy.model_base.ModelType:
        return comfy.model_base.ModelType.FLOW

    def get_model(
        self, state_dict: dict[str, torch.Tensor], prefix: str = "", device: torch.device | None = None
    ) -> comfy.model_base.BaseModel:
        return comfy.model_base.BaseModel(
            self, self.model_type(state_dict), device=device, unet_model=comfy.ldm.flux.model.Flux
        )


class DemoTokenizer:
    """A prompt as word ids; stands where the host expects a CLIP tokenizer."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None):
        pass

    def tokenize_with_weights(self, text: str, return_word_ids: bool = False, **_: Any) -> Any:
        """Ids; or, for those who want to know the words, what the host's tokenizers give them."""
        ids = tokenize(text)
        if not return_word_ids:
            return ids
        return {"words": [[(token, 1.0, i + 1 if VOCABULARY[token] else 0) for i, token in enumerate(ids)]]}

    def untokenize(self, pairs: list[tuple[int, float]]) -> list[tuple[tuple[int, float], str]]:
        return [(pair, f"{VOCABULARY[pair[0]]}</w>") for pair in pairs]

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {}


class DemoTextModel(torch.nn.Module):
    """The demo text encoder; stands where the host expects a CLIP text model."""

    def __init__(
        self,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        model_options: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.dtypes = {torch.float32}
        self.encoder: TextEncoder | None = None

    def set_clip_options(self, options: dict[str, Any]) -> None:
        pass  # no layers to stop at, no pooled output to project

    def reset_clip_options(self) -> None:
        pass

    def encode_token_weights(self, ids: list[int]) -> tuple[torch.Tensor, None]:
        if self.encoder is None:
            raise RuntimeError("the demo text encoder was asked before its weights were loaded")
        device = self.encoder.position_embedding.device
        return self.encoder(torch.tensor([ids], device=device)).cpu(), None

    def load_sd(self, state_dict: dict[str, torch.Tensor]) -> Any:
        width = state_dict["position_embedding"].shape[1]
        self.encoder = TextEncoder(width, operations=comfy.ops.disable_weight_init).eval()
        return self.encoder.load_state_dict(state_dict)


def diffusion_model(demo: Weights) -> ModelPatcher:
    """The network in the host's own class, as a MODEL."""
    network = demo.config
    family = DemoFlow if demo.is_flow else DemoEdits if network.in_channels > network.out_channels else DemoScenes
    config = family(network.host_config())
    config.set_inference_dtype(torch.float32, None)
    config.latent_format.latent_channels = network.out_channels
    if demo.latent_rgb:
        *factors, bias = demo.latent_rgb
        config.latent_format.latent_rgb_factors, config.latent_format.latent_rgb_factors_bias = factors, bias
    model = config.get_model({}, "")
    known = model.diffusion_model.state_dict()
    model.diffusion_model.load_state_dict(
        {name if name in known else _older(name): value for name, value in demo.network.items()}
    )
    return comfy.model_patcher.ModelPatcher(
        model.eval(),
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def _older(name: str) -> str:
    """A weight's name before ComfyUI's Flux took PyTorch's own norm."""
    return name.replace("_norm.weight", "_norm.scale")


def text_model(demo: Weights) -> Clip:
    """The text encoder as a CLIP that CLIPTextEncode accepts."""
    clip = comfy.sd.CLIP(comfy.supported_models_base.ClipTarget(DemoTokenizer, DemoTextModel))
    clip.load_sd(demo.text_encoder)
    return clip


def autoencoder(demo: Weights) -> Vae:
    """The autoencoder in the host's own class."""
    return comfy.sd.VAE(sd=demo.autoencoder, dtype=torch.float32)
