"""Nodes that show and measure what noise maps hold."""

from __future__ import annotations

import math

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..ddpm_core import Method, NoiseMaps, contact_sheet, sound, statistics
from . import inputs
from .host import Vae, decode, latents
from .sockets import CATEGORY, NOISE_MAPS

_MOST_COMPARED = 4


class NoiseMapsPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNoiseMapsPreview",
            display_name="Preview Noise Maps",
            category=f"{CATEGORY}/inspect",
            description="Shows noise maps as a contact sheet, from the noisiest step to the image: the noised states, "
            "what the model predicts from each, and the noise of each step.",
            is_output_node=True,
            search_aliases=["contact sheet", "show trajectory", "inspect"],
            inputs=[
                inputs.noise_maps(),
                io.Int.Input(
                    "columns",
                    default=8,
                    min=2,
                    max=64,
                    tooltip="How many steps to show, evenly spread, the noisiest and the image among them.",
                ),
                # One row, not a sheet for each: several sheets on one node are too small to read.
                inputs.row(),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="Decodes states and predictions, sound as waveform and spectrogram. Without it they are "
                    "small, in the model's preview colors; of sound, latent cells over time.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The contact sheet.")],
        )

    @classmethod
    def execute(cls, noise_maps: NoiseMaps, columns: int, row: int, vae: Vae | None = None) -> io.NodeOutput:
        shown = contact_sheet.columns_of(
            noise_maps,
            contact_sheet.levels_shown(noise_maps.steps, columns),
            row,
            lambda x: _cells(noise_maps, noise_maps.space.colored(x)) if vae is None else _decoded(noise_maps, x, vae),
            lambda z: _cells(noise_maps, noise_maps.space.colored_noise(z)),
        )
        image = torch.from_numpy(np.asarray(contact_sheet.draw(shown), dtype=np.float32) / 255)[None]
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


class NoiseMapsStatistics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyNoiseMapsStatistics",
            display_name="Measure Noise Maps",
            category=f"{CATEGORY}/inspect",
            search_aliases=["statistics", "plot noise", "compare inversions"],
            description="Plots how large the noise of each step is, how it goes with its neighbours, and how Gaussian "
            "the noisiest state is. Connect the maps of several inversions to see what tells them apart.",
            inputs=[
                NOISE_MAPS.Input("noise_maps", tooltip="The noise maps to measure."),
                *(
                    NOISE_MAPS.Input(f"noise_maps_{k}", optional=True, tooltip="Further maps, for comparison.")
                    for k in range(2, _MOST_COMPARED + 1)
                ),
                io.String.Input(
                    "names",
                    default="",
                    multiline=True,
                    optional=True,
                    tooltip="One name a line, for the legend. Where there is none, the method of the inversion.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plots", tooltip="Four plots, for Preview Image or Save Image."),
                io.String.Output(display_name="numbers", tooltip="A table, for Preview Any."),
            ],
        )

    @classmethod
    def execute(cls, noise_maps: NoiseMaps, names: str = "", **further: NoiseMaps | None) -> io.NodeOutput:
        try:
            from ..ddpm_core import plots  # matplotlib takes a second to import
        except ImportError as error:
            raise ValueError(
                f"the plots of Measure Noise Maps need matplotlib, which cannot be imported ({error}): install it with "
                "the Python that runs ComfyUI, pip install matplotlib"
            ) from error

        maps = _named([noise_maps, *(part for _, part in sorted(further.items()) if part is not None)], names)
        image = torch.from_numpy(plots.to_array(plots.compare(maps)))[None]
        return io.NodeOutput(image, table(maps))


def table(maps: dict[str, NoiseMaps]) -> str:
    """One line for each statistic, one column for each of the maps; a dash where maps do not allow it.

    The angles are to the noise of the first native maps; a last line says why there are none where these had noise.
    """
    native = next((part for part in maps.values() if part.origin and part.origin.method is Method.NATIVE), None)
    reports = {name: statistics.report(noise_maps, native) for name, noise_maps in maps.items()}
    width = max(12, *(len(name) + 2 for name in maps))
    lines = ["".join([f"{'':24}", *(f"{name:>{width}}" for name in maps)])]
    for what in next(iter(reports.values())):
        values = (report[what] for report in reports.values())
        lines.append(
            "".join([f"{what:24}", *(f"{'-' if math.isnan(value) else f'{value:.3f}':>{width}}" for value in values)])
        )
    if native is not None and native.schedule.eta != 0:
        lines.append(
            f"No angles: the image was generated with eta {native.schedule.eta:g}. Only eta 0 makes it of the starting "
            "noise alone, which an inversion can find again."
        )
    return "\n".join(lines)


def _named(maps: list[NoiseMaps], names: str) -> dict[str, NoiseMaps]:
    """The maps by the names that were given, else by their method; equal ones are numbered."""
    given = [line.strip() for line in names.splitlines()]
    named: dict[str, NoiseMaps] = {}
    for k, noise_maps in enumerate(maps):
        name = (given[k] if k < len(given) else "") or (
            noise_maps.origin.method.value if noise_maps.origin else "noise maps"
        )
        while name in named:
            name = f"{name} ({k + 1})"
        named[name] = noise_maps
    return named


def _cells(noise_maps: NoiseMaps, picture: Tensor) -> Tensor:
    """(3, H', W') a picture (3, H, W) of latent cells as it is shown."""
    return sound.seen(picture[None])[0] if latents.is_sound(noise_maps) else picture


def _decoded(noise_maps: NoiseMaps, x: Tensor, vae: Vae) -> Tensor:
    """(3, H, W) of x (C, H, W), or (C, L) of sound, by a VAE; it may be smaller or larger than the maps."""
    rows = noise_maps.space.of_latent(x[None])
    if noise_maps.image.ndim == 5:
        rows = rows.unsqueeze(2)  # a video of one frame
    return decode(vae, rows)[0].movedim(-1, 0) * 2 - 1
