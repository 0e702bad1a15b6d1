"""Names of ComfyUI that this room uses, and differences between the supported versions.

ComfyUI promises none of them, so a new version of it is read by this list; a test looks for each on every host.
"""

from __future__ import annotations

import inspect

import comfy.sample
from torch import Tensor

from .values import Guider, Latent, ModelPatcher


def started(model: ModelPatcher, latent: Latent) -> Tensor:
    """The samples of a LATENT as the host's own samplers start from them, (B, *S) or, for some models, nested.

    One that is empty (all zeros) gets the model's channels, and the model's size where the LATENT says at which ratio
    to the picture it was made. One that holds a picture keeps its size.
    """
    known = inspect.signature(comfy.sample.fix_empty_latent_channels).parameters  # 0.17.0 has the first ratio alone
    ratios = [name for name in ("downscale_ratio_spacial", "downscale_ratio_temporal") if name in known]
    return comfy.sample.fix_empty_latent_channels(
        model, latent["samples"], **{name: latent.get(name) for name in ratios}
    )


def parts_of(samples: Tensor) -> list[Tensor]:
    """The tensors of a LATENT's samples: one, or several where the host nests them, as a video and its sound."""
    return list(samples.unbind()) if samples.is_nested else [samples]


def shapes_of_run(guider: Guider) -> list[tuple[int, ...]]:
    """The shapes of the latents that a running guider samples as one; empty where the host does not tell.

    Newer hosts tell every model; before (0.29.0), conditionings were told, and those of a model of several parts keep
    it.
    """
    told = getattr(guider.inner_model, "latent_shapes", None)
    if told is None:
        entries = (entry for prompt in getattr(guider, "conds", {}).values() for entry in prompt)
        parts = (entry.get("model_conds", {}).get("latent_shapes") for entry in entries)
        told = next((part.cond for part in parts if part is not None), [])
    return [tuple(shape) for shape in told]


NAMES: dict[str, tuple[str, ...]] = {
    "comfy.cli_args.args": (),
    "comfy.clip_vision.ClipVisionModel": (),
    "comfy.conds.CONDConstant": (),
    "comfy.conds.CONDNoiseShape": (),
    "comfy.conds.CONDRegular": ("cond",),
    "comfy.controlnet.ControlBase": (),
    "comfy.controlnet.ControlNet.get_control": (),
    "comfy.latent_formats.LatentFormat": (),
    "comfy.ldm.flux.model.Flux": (),
    "comfy.ldm.modules.attention.optimized_attention": ("heads", "attn_precision"),
    "comfy.model_base.BaseModel": (),
    "comfy.model_base.ModelType.FLOW": (),
    "comfy.model_base.ModelType.V_PREDICTION": (),
    "comfy.model_base.SD15_instructpix2pix": (),
    "comfy.model_management.get_torch_device": (),
    "comfy.model_management.intermediate_device": (),
    "comfy.model_management.is_oom": ("e",),
    "comfy.model_management.soft_empty_cache": (),
    "comfy.model_management.throw_exception_if_processing_interrupted": (),
    "comfy.model_management.unet_offload_device": (),
    "comfy.model_patcher.ModelPatcher": ("model", "load_device", "offload_device"),
    "comfy.model_patcher.create_model_options_clone": (),
    "comfy.ops.disable_weight_init": (),
    "comfy.patcher_extension.WrappersMP.APPLY_MODEL": (),
    "comfy.patcher_extension.WrappersMP.CALC_COND_BATCH": (),
    "comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL": (),
    "comfy.patcher_extension.WrappersMP.OUTER_SAMPLE": (),
    "comfy.patcher_extension.WrappersMP.PREDICT_NOISE": (),
    "comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING": (),
    "comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE": (),
    "comfy.patcher_extension.add_wrapper": ("wrapper_type", "wrapper", "transformer_options", "is_model_options"),
    "comfy.patcher_extension.get_all_wrappers": ("wrapper_type", "transformer_options", "is_model_options"),
    "comfy.patcher_extension.merge_nested_dicts": ("dict1", "dict2"),
    "comfy.sample.fix_empty_latent_channels": ("model", "latent_image", "downscale_ratio_spacial"),
    "comfy.sampler_helpers.convert_cond": (),
    "comfy.sampler_helpers.prepare_mask": ("noise_mask", "shape", "device"),
    "comfy.sampler_helpers.prepare_model_patcher": ("model", "conds", "model_options"),
    "comfy.sampler_helpers.prepare_sampling": ("model", "noise_shape", "conds", "model_options"),
    "comfy.samplers.CFGGuider": ("model_patcher",),
    "comfy.samplers.SCHEDULER_NAMES": (),
    "comfy.samplers.Sampler": (),
    "comfy.samplers.calc_cond_batch": ("model", "conds", "x_in", "timestep", "model_options"),
    "comfy.samplers.calculate_sigmas": ("model_sampling", "scheduler_name", "steps"),
    "comfy.samplers.process_conds": (
        *("model", "noise", "conds", "device", "latent_image", "denoise_mask", "seed", "latent_shapes"),
    ),
    "comfy.samplers.sampling_function": (
        *("model", "x", "timestep", "uncond", "cond", "cond_scale", "model_options", "seed"),
    ),
    "comfy.sd.CLIP": (),
    "comfy.sd.VAE": ("sd", "dtype"),
    "comfy.supported_models_base.BASE": (),
    "comfy.supported_models_base.ClipTarget": (),
    "comfy.utils.PROGRESS_BAR_ENABLED": (),
    "comfy.utils.ProgressBar": (),
    "comfy.utils.common_upscale": ("samples", "width", "height", "upscale_method", "crop"),
    "comfy.utils.repeat_to_batch_size": ("tensor", "batch_size"),
    "folder_paths.annotated_filepath": (),
    "folder_paths.get_input_directory": (),
    "folder_paths.get_output_directory": (),
    "folder_paths.get_save_image_path": (),
    "latent_preview.prepare_callback": ("model", "steps"),
}
"""Each with the parameters that are given to it, in their order."""
MEMBERS: dict[str, tuple[str, ...]] = {
    "comfy.conds.CONDNoiseShape": ("process_cond", "can_concat", "concat"),
    "comfy.controlnet.ControlBase": ("get_models",),
    "comfy.latent_formats.LatentFormat": (
        *("latent_channels", "latent_dimensions", "spacial_downscale_ratio", "process_in"),
        *("latent_rgb_factors", "latent_rgb_factors_bias", "latent_rgb_factors_reshape"),
    ),
    "comfy.model_base.BaseModel": (
        *("process_latent_in", "process_latent_out", "scale_latent_inpaint", "memory_required", "get_dtype"),
    ),
    "comfy.model_patcher.ModelPatcher": (
        *("get_model_object", "get_free_memory", "is_dynamic", "clone", "add_wrapper_with_key"),
        *("pre_run", "cleanup", "restore_hook_patches"),
    ),
    "comfy.ops.disable_weight_init": ("Embedding", "LayerNorm", "Linear"),
    "comfy.samplers.CFGGuider": ("sample", "inner_sample", "predict_noise", "inner_set_conds", "set_cfg"),
    "comfy.samplers.Sampler": ("sample",),
    "comfy.sd.CLIP": ("tokenize", "encode_from_tokens_scheduled"),
    "comfy.sd.VAE": ("decode",),
    "comfy.supported_models_base.BASE": ("unet_config",),
}
"""What is asked of its classes, beside what a run of the tests meets: attributes that only an instance has."""
