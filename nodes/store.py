"""Nodes that keep noise maps in files, inside the host's output and input folders."""

from __future__ import annotations

import json
import os
import reprlib

import folder_paths
import torch
from comfy.cli_args import args
from comfy_api.latest import io

from ..ddpm_core import NoiseMaps, storage
from .types import CATEGORY, MAX_SEED, NOISE_MAPS, search_aliases

SUFFIX = ".noisemaps.safetensors"
_LONGEST_NAME = 200  # bytes: file systems take 255, and a number, SUFFIX and storage's own ending are added


class SaveNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySaveNoiseMaps",
            display_name="Save Noise Maps",
            category=f"{CATEGORY}/files",
            **search_aliases("export noise maps"),
            description="Writes noise maps into the output folder, so that an image is inverted once and edited often.",
            is_output_node=True,
            inputs=[
                NOISE_MAPS.Input("noise_maps", tooltip="The noise maps to keep."),
                io.String.Input(
                    "filename_prefix",
                    default="noise_maps/ComfyUI",
                    tooltip="Folder and start of the name below ComfyUI's output folder; a number is added.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, noise_maps: NoiseMaps, filename_prefix: str) -> io.NodeOutput:
        output = folder_paths.get_output_directory()
        _inside(output, filename_prefix)
        if any(len(os.fsencode(part)) > _LONGEST_NAME for part in filename_prefix.split("/")):
            raise ValueError(f"a name in the filename_prefix has more than {_LONGEST_NAME} bytes: use a shorter one")
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(filename_prefix, output)
        filename = f"{name}_{counter:05}_{SUFFIX}"
        storage.save(noise_maps, os.path.join(folder, filename), cls._graph())
        return io.NodeOutput(ui={"noise_maps": [{"filename": filename, "subfolder": subfolder, "type": "output"}]})

    @classmethod
    def _graph(cls) -> dict[str, str]:
        """The graph that made the maps, as the host keeps it with an image."""
        if args.disable_metadata:
            return {}
        parts = {"prompt": cls.hidden.prompt, **(cls.hidden.extra_pnginfo or {})}
        return {name: json.dumps(part) for name, part in parts.items() if part is not None}


class LoadNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadNoiseMaps",
            display_name="Load Noise Maps",
            category=f"{CATEGORY}/files",
            **search_aliases("import noise maps"),
            description="Reads noise maps that Save Noise Maps wrote, from the input or the output folder.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=_saved(folder_paths.get_input_directory(), "")
                    + _saved(folder_paths.get_output_directory(), " [output]"),
                    tooltip=f"A file *{SUFFIX} in ComfyUI's input folder, or in its output folder.",
                )
            ],
            outputs=[NOISE_MAPS.Output(display_name="noise_maps", tooltip="The maps, bit for bit as saved.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        noise_maps = storage.load(_path(file))
        _check_provenance(noise_maps)
        return io.NodeOutput(noise_maps)

    @classmethod
    def validate_inputs(cls, file: str) -> bool | str:
        try:
            path = _path(file)
        except ValueError as error:
            return str(error)
        return True if os.path.isfile(path) else f"there is no noise maps file {file}: save one, or refresh the list"

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        stat = os.stat(_path(file))
        return f"{stat.st_mtime_ns} {stat.st_size}"


def _check_provenance(noise_maps: NoiseMaps) -> None:
    """Refuse maps whose file tells the nodes what they cannot use.

    Raises:
        ValueError: a number or a list of numbers in `info` that is none, or not of these maps.
    """
    channels = noise_maps.image.shape[1]
    per_channel = ((1,), (channels,))
    fits = {
        "seed": lambda value: type(value) is int and 0 <= value <= MAX_SEED,
        "variations": lambda value: type(value) is int and value > 0,
        "pixels_per_cell": lambda value: type(value) is int and 1 <= value <= 1024,
        "latent_scale": lambda value: _shape(value) in per_channel and all(value),
        "latent_shift": lambda value: _shape(value) in per_channel,
        "latent_rgb_factors": lambda value: _shape(value)[:1] + _shape(value)[-1:] == (channels, 3),
        "prompt_signature": lambda value: len(_shape(value)) == 1,
        "latent_rgb_bias": lambda value: _shape(value) == (3,),
    }
    for key, fit in fits.items():
        text = noise_maps.info.get(key)
        try:
            fine = text is None or fit(json.loads(text))
        except (ValueError, TypeError, RuntimeError):  # RecursionError is one of the last
            fine = False
        if not fine:
            raise ValueError(
                f"the file says {key} is {reprlib.repr(text)}, which noise maps of shape "
                f"{tuple(noise_maps.image.shape)} cannot have: save them again, or invert the image again"
            )


def _shape(value: object) -> tuple[int, ...]:
    """The shape of nested lists of finite floats; a ValueError or what PyTorch raises for all else."""
    numbers = torch.tensor(value)
    if not (numbers.is_floating_point() and numbers.isfinite().all()):
        raise ValueError("not finite floats")
    return tuple(numbers.shape)


def _path(file: str) -> str:
    """The path of a name as the host annotates it: "name", "name [input]" or "name [output]"."""
    name, folder = folder_paths.annotated_filepath(file)
    return _inside(folder or folder_paths.get_input_directory(), name)


def _inside(folder: str, name: str) -> str:
    """`name` below `folder`; a ValueError where it would leave it."""
    folder = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(folder, name))
    if not path.startswith(folder + os.sep):
        raise ValueError(f"{name!r} leaves the folder {os.path.basename(folder)!r}: use a name inside it")
    return path


def _saved(folder: str, annotation: str) -> list[str]:
    """The noise map files below `folder`, as names that the host's annotation understands."""
    found = [
        os.path.relpath(os.path.join(root, name), folder).replace(os.sep, "/")
        for root, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.endswith(SUFFIX)
    ]
    return [name + annotation for name in sorted(found)]
