"""The nodes of the pack; `host` is the only room that imports ComfyUI beside its API of nodes."""

from comfy_api.latest import ComfyExtension, io

from .attention import PromptToPrompt, ShareAttention
from .demo import LoadDemoImage, LoadDemoModel
from .directions import EditDirection, EncodeSentences
from .edit import EditFriendlyEdit
from .grid import EditGrid
from .guiders import CFGScheduleGuider, EditGuider
from .host import ids
from .invert import CycleDiffusionInvert, EditFriendlyInvert, TurboInvert
from .invert_by_steps import DDIMInvert, NullTextInvert
from .keep import KeepImage
from .levels import NoiseLevels, SwitchModels
from .manipulate import LatentShift, MaskColorEdit, NoiseMapsFlip, NoiseMapsInterpolate
from .masks import DifferenceMask, MaskSeconds, WordMask
from .measure import MeasureEdit
from .presets import EditPreset
from .preview import NoiseMapsPreview, NoiseMapsStatistics
from .report import EditReport
from .sample import FixedNoiseSampler, SamplerFixedNoise, SampleWithNoiseMaps
from .several import AddEdit, SampleEdits
from .store import LoadNoiseMaps, SaveNoiseMaps
from .zero_shot import ZeroShotImageToImage


class EditFriendlyDDPM(ComfyExtension):
    """The pack at a glance."""

    async def on_load(self) -> None:
        await ids.settle(await self.get_node_list())

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            EditFriendlyInvert,
            CycleDiffusionInvert,
            TurboInvert,
            DDIMInvert,
            NullTextInvert,
            NoiseLevels,
            SwitchModels,
            EditPreset,
            FixedNoiseSampler,
            EditFriendlyEdit,
            EditGrid,
            SampleWithNoiseMaps,
            SamplerFixedNoise,
            ZeroShotImageToImage,
            EncodeSentences,
            EditDirection,
            CFGScheduleGuider,
            EditGuider,
            AddEdit,
            SampleEdits,
            KeepImage,
            PromptToPrompt,
            ShareAttention,
            LatentShift,
            NoiseMapsFlip,
            MaskColorEdit,
            NoiseMapsInterpolate,
            DifferenceMask,
            WordMask,
            MaskSeconds,
            EditReport,
            MeasureEdit,
            NoiseMapsPreview,
            NoiseMapsStatistics,
            SaveNoiseMaps,
            LoadNoiseMaps,
            LoadDemoModel,
            LoadDemoImage,
        ]
