"""Edit-friendly DDPM inversion (arXiv 2304.06140) for any denoiser: the algorithms, without ComfyUI.

    states = trajectories.edit_friendly(x_0, schedule, seeds)     # Eq. 6
    noise_maps = invert(denoiser, states, schedule)               # Eq. 5, Alg. 1
    edited = sample(other_denoiser, noise_maps, skip_steps=36)    # Eq. 3
    edited = edit(pair_denoiser, x_0, schedule.after(36), seeds)  # all of it in one pass

A reader who knows the paper finds the noising process and one step in `schedule`, the sequences in `trajectories`,
the extraction in `inversion`, Eq. 7 and the shifts in `manipulation`, Figs. 5, 6 and 12 in `statistics`.
"""

from . import contact_sheet, directions, manipulation, masks, measures, statistics, storage, trajectories
from .denoiser import Denoiser
from .editing import PairDenoiser, edit
from .facts import Facts, LatentSpace, Method, Network, Origin, network_at
from .guidance import Guidance, cfg_scales
from .inversion import chunks_of, invert, without_residuals
from .noise_maps import NoiseMaps
from .null_text import GuidedDenoiser, null_text
from .sampling import generate, intersection, pure_noise, sample, with_replayed_states
from .schedule import NoiseSchedule, Step
from .zero_shot import AttentionGuidance, zero_shot

__version__ = "0.2.0"

__all__ = [
    "AttentionGuidance",
    "Denoiser",
    "Facts",
    "Guidance",
    "GuidedDenoiser",
    "LatentSpace",
    "Method",
    "Network",
    "NoiseMaps",
    "NoiseSchedule",
    "Origin",
    "PairDenoiser",
    "Step",
    "cfg_scales",
    "chunks_of",
    "contact_sheet",
    "directions",
    "edit",
    "generate",
    "invert",
    "manipulation",
    "masks",
    "measures",
    "intersection",
    "network_at",
    "null_text",
    "pure_noise",
    "sample",
    "statistics",
    "storage",
    "trajectories",
    "with_replayed_states",
    "without_residuals",
    "zero_shot",
]
