"""What suits the bundled model, as tuned on the edits of `scenes.TUNE_SEED`: for its sheet, evaluation and graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from ddpm_core import NoiseSchedule
from ddpm_core.anchor import Anchor
from demo.network import flow_sigmas, sgm_uniform_flow_sigmas, sgm_uniform_sigmas, uniform_sigmas

# bfloat16 doubles the speed of a CPU that has instructions for it and takes ten times as long on one that has not.
# Weights and loss are float32 either way.
FAST_BFLOAT16 = torch.backends.cpu.get_cpu_capability() == "AVX512"
# A scene and its seed, for pictures and graphs.
HOUSE = ("a red house by the sea on a clear day in summer", 1)
BOAT = ("a yellow boat by the mountains on a clear day in summer", 3)
VASE = ("a blue clay vase with two lemons on a wooden table by day", 2)
WOMAN = ("a sad woman with black hair in a red coat by the sea by day", 8)
VARIATIONS = 3  # of an edit on the sheet
SHIFT = 2  # latent cells


@dataclass(frozen=True)
class DifferenceMask:
    """Threshold, number and range of levels of the mask from two prompts, as the node has them by default."""

    threshold: float = 0.15
    levels: int = 7
    start: float = 0.1
    end: float = 0.5


@dataclass(frozen=True)
class PromptToPrompt:
    """How the source's attention is at work under the target's caption (arXiv 2208.01626).

    Args:
        cross_steps, self_steps: for which fraction of the steps words, and pixels, attend as they do in the source; the
            paper of the noise maps has 0.6 and 0.2 (arXiv 2304.06140, Tab. 3).
        self_size: pixels do where the side of a layer is at most this fraction of the latent's: at 8 x 8.
        own_map: whether a changed word finds its own place, in place of that of the word before.
        gain: how much changed words count.
        blend_threshold: of the local blend by the color's word, as a fraction of its map's range; None for none.
    """

    cross_steps: float = 0.6
    self_steps: float = 0.2
    self_size: float = 0.5
    own_map: bool = False
    gain: float = 1.0
    blend_threshold: float | None = None


@dataclass(frozen=True)
class SharedAttention:
    """When, and in which part of the model's depth, the source's attention is shared, as the node Share Self-Attention
    has it; -1 is the method's own."""

    end: float = -1.0
    first_block: float = -1.0
    last_block: float = -1.0


@dataclass(frozen=True)
class SeveralEdits:
    """Several edits at once (arXiv 2311.16711): how strong each is, and the quantile above which it acts, by kind."""

    scale: float = 1.25
    quantile: Mapping[str, float] = field(
        default_factory=lambda: {"color": 0.8, "expression": 0.9, "thing": 0.8, "time": 0.0, "season": 0.0}
    )


@dataclass(frozen=True)
class Keep:
    """How predictions are pulled towards the image, as the node Keep Image has it.

    Args:
        tolerance: how far from the image agrees; infinite for one pull everywhere.
        end: the share of the run until which it acts.
    """

    amount: float = 1.0
    tolerance: float = 0.15
    end: float = 1.0

    def anchor(self) -> Anchor:
        return Anchor(self.amount, self.tolerance if math.isfinite(self.tolerance) else None)


@dataclass(frozen=True)
class LabSettings:
    """How an edit is run. `skip` is the fraction of the steps that is skipped (T_skip / T).

    `noise_shift` and `clip_last` are those of few steps alone (arXiv 2408.00735); the clip is off at 0.
    """

    steps: int = 25
    skip: float = 0.12
    cfg_source: float = 1.0
    cfg_target: float = 2.0
    eta: float = 1.0
    order: int = 1
    mask: DifferenceMask = DifferenceMask()
    p2p: PromptToPrompt = PromptToPrompt()
    shared: SharedAttention = SharedAttention()
    several: SeveralEdits = SeveralEdits()
    keep: Keep | None = None
    guidance_weight: float = 0.3  # of the gradient of zero-shot image-to-image (arXiv 2302.03027)
    noise_shift: int = 1
    clip_last: float = 0.121
    flow: bool = False  # of a model that was trained as a rectified flow
    warm_start: bool = False  # of the steps of DDIM inversion

    @property
    def skip_steps(self) -> int:
        """T_skip."""
        return round(self.skip * self.steps)

    def schedule(self) -> NoiseSchedule:
        """The levels that the host's scheduler gives for this model: ddim_uniform, or simple for the flow."""
        levels = (
            NoiseSchedule.flow(flow_sigmas(self.steps), self.eta)
            if self.flow
            else NoiseSchedule.variance_exploding(uniform_sigmas(self.steps), self.eta)
        )
        return replace(levels, order=self.order)

    def few_levels_to_run(self) -> NoiseSchedule:
        """Those of few steps, after the skip: of the host's sgm_uniform, whose cleanest level still has noise."""
        schedule = (
            NoiseSchedule.flow(sgm_uniform_flow_sigmas(self.steps), self.eta)
            if self.flow
            else NoiseSchedule.variance_exploding(sgm_uniform_sigmas(self.steps), self.eta)
        )
        return replace(schedule, order=self.order).after(self.skip_steps)

    def levels_to_run(self) -> NoiseSchedule:
        """The levels after the skip."""
        return self.schedule().after(self.skip_steps)


@dataclass(frozen=True)
class ColorEdit:
    """Strength s and range of Eq. 7 that suit this model with 25 steps; the paper's are 0.05, 0.3 and 0.8 with 100."""

    strength: float = 0.16
    start: float = 0.30
    end: float = 0.80
