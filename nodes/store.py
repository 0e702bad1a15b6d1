"""Nodes that keep noise maps in files, inside the host's output and input folders."""

from __future__ import annotations

import os

from comfy_api.latest import io

from ..ddpm_core import NoiseMaps, storage
from .host import files
from .sockets import CATEGORY, NOISE_MAPS


class SaveNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlySaveNoiseMaps",
            display_name="Save Noise Maps",
            category=f"{CATEGORY}/files",
            search_aliases=["export noise maps"],
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
        with files.place_to_save(filename_prefix) as place:
            storage.save(noise_maps, place.path, files.graph_of(cls.hidden))
        return io.NodeOutput(ui={"noise_maps": [place.result]})

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        try:
            if filename_prefix is not None:  # what comes by a wire is not known yet
                files.check_prefix(filename_prefix)
        except ValueError as error:
            return str(error)
        return True


class LoadNoiseMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyLoadNoiseMaps",
            display_name="Load Noise Maps",
            category=f"{CATEGORY}/files",
            search_aliases=["import noise maps"],
            description="Reads noise maps that Save Noise Maps wrote, from the input or the output folder.",
            inputs=[
                io.Combo.Input(
                    "file",
                    options=files.saved(),
                    tooltip=f"A file *{files.SUFFIX} in ComfyUI's input folder, or in its output folder.",
                )
            ],
            outputs=[NOISE_MAPS.Output(display_name="noise_maps", tooltip="The maps, bit for bit as saved.")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(storage.load(files.path_of(file)))

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        if file is None:  # from a wire
            return True
        try:
            path = files.path_of(file)
        except ValueError as error:
            return str(error)
        return True if os.path.isfile(path) else f"there is no noise maps file {file}: save one, or refresh the list"

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        stat = os.stat(files.path_of(file))
        return f"{stat.st_mtime_ns} {stat.st_size}"
