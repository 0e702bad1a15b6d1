"""The nodes of the pack, and the only place that imports ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .demo import LoadDemoImage, LoadDemoModel
from .directions import EditDirection, EncodeSentences
from .edit import EditFriendlyEdit
from .grid import EditGrid
from .guide import CFGScheduleGuider
from .inspect import NoiseMapsPreview, NoiseMapsStatistics
from .invert import CycleDiffusionInvert, DDIMInvert, EditFriendlyInvert, NullTextInvert, TurboInvert
from .levels import NoiseLevels
from .manipulate import LatentShift, MaskColorEdit, NoiseMapsFlip, NoiseMapsInterpolate
from .masks import DifferenceMask
from .measure import MeasureEdit
from .presets import EditPreset
from .prompt_to_prompt import PromptToPrompt, ShareAttention
from .report import EditReport
from .sample import FixedNoiseSampler, SamplerFixedNoise, SampleWithNoiseMaps
from .several import AddEdit, SampleEdits
from .source_target import EditGuider
from .store import LoadNoiseMaps, SaveNoiseMaps
from .word_mask import WordMask
from .zero_shot import ZeroShotImageToImage


class EditFriendlyDDPM(ComfyExtension):
    """The pack at a glance."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            EditFriendlyInvert,
            CycleDiffusionInvert,
            TurboInvert,
            DDIMInvert,
            NullTextInvert,
            NoiseLevels,
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
            PromptToPrompt,
            ShareAttention,
            LatentShift,
            NoiseMapsFlip,
            MaskColorEdit,
            NoiseMapsInterpolate,
            DifferenceMask,
            WordMask,
            EditReport,
            MeasureEdit,
            NoiseMapsPreview,
            NoiseMapsStatistics,
            SaveNoiseMaps,
            LoadNoiseMaps,
            LoadDemoModel,
            LoadDemoImage,
        ]
