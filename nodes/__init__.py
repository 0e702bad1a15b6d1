"""The nodes of the pack, and the only place that imports ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .demo import LoadDemoImage, LoadDemoModel
from .edit import EditFriendlyEdit
from .invert import EditFriendlyInvert
from .manipulate import LatentShift, MaskColorEdit, NoiseMapsFlip
from .sample import FixedNoiseSampler, SamplerFixedNoise
from .store import LoadNoiseMaps, SaveNoiseMaps


class EditFriendlyDDPM(ComfyExtension):
    """The pack at a glance."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            EditFriendlyInvert,
            FixedNoiseSampler,
            EditFriendlyEdit,
            SamplerFixedNoise,
            LatentShift,
            NoiseMapsFlip,
            MaskColorEdit,
            SaveNoiseMaps,
            LoadNoiseMaps,
            LoadDemoModel,
            LoadDemoImage,
        ]
