"""Usual settings for noise maps of each method, and advice where settings are far from them."""

from __future__ import annotations

from dataclasses import dataclass

from ..ddpm_core import Method, NoiseMaps
from .presets import PRESETS


@dataclass(frozen=True)
class Usual:
    """Usual settings of one method.

    Args:
        skip: T_skip as a fraction of all steps.
        cfg: guidance towards the target prompt.
        most_skip, most_cfg: what is still ordinary.
        source: who says so.
        method: of whose maps.
    """

    skip: float
    cfg: float
    most_skip: float
    most_cfg: float
    source: str
    method: Method

    def skip_steps(self, full_steps: int) -> int:
        """T_skip of so many steps."""
        return round(self.skip * full_steps)


def _of(preset: str, most_cfg: float) -> Usual:
    chosen = PRESETS[preset]
    return Usual(chosen.skip_steps / chosen.steps, chosen.target_cfg, 0.5, most_cfg, chosen.source, chosen.method)


_EDIT_FRIENDLY = _of("edit friendly (paper)", 20.0)
_USUAL = {
    Method.EDIT_FRIENDLY: _EDIT_FRIENDLY,
    Method.CYCLE_DIFFUSION: _of("CycleDiffusion (paper)", 8.0),
    # In the steps of DDIM nothing but the starting state holds the image, and strong guidance leaves it.
    Method.DDIM: _of("DDIM (paper)", 10.0),
    Method.DDIM_WITH_RESIDUALS: _of("DDIM (paper)", 12.0),
    # skip and guidance of TurboEdit, whose guidance is away from the source prompt
    Method.FEW_STEPS: Usual(0.2, 1.5, 0.5, 3.0, "arXiv 2408.00735", Method.FEW_STEPS),
}
MOST_GAIN = 200  # a model of noise without zero terminal SNR has 15, or 80; with it 4,500
MOST_OF_FEW = 12  # steps; models that are made for few take 1 to 8


def usual_of(noise_maps: NoiseMaps) -> Usual:
    """The setting of a paper for maps of this method, or of the nearest that a paper has.

    Null-text maps have one cfg, that they were made for.
    """
    origin, null_text = noise_maps.origin, PRESETS["null-text (paper)"]
    if origin is None:
        return _EDIT_FRIENDLY
    if origin.method is Method.NULL_TEXT:
        cfg = null_text.target_cfg if origin.cfg is None else origin.cfg
        return Usual(0.0, cfg, 0.0, cfg, null_text.source, Method.NULL_TEXT)
    return _USUAL.get(origin.method, _EDIT_FRIENDLY)


def on_settings(noise_maps: NoiseMaps, skip_steps: int, cfg: float | None = None) -> str:
    """Advice on unusual settings for these maps; empty where they are usual.

    Args:
        cfg: None where a guider elsewhere has it.
    """
    method, steps = noise_maps.origin.method if noise_maps.origin else Method.EDIT_FRIENDLY, noise_maps.full_steps
    usual, said = usual_of(noise_maps), []
    if steps > skip_steps > max(usual.most_skip * steps, min(noise_maps.skipped, steps / 2)):
        best, held = usual.skip_steps(steps), noise_maps.skipped
        remedy = f"set it to {best}" if held <= best else f"invert again with skip_steps {best}, and set it to that"
        said.append(
            f"skip_steps {skip_steps} leaves out {skip_steps / steps:.0%} of the {steps} steps, and little is left to "
            f"edit in: {remedy} ({usual.source} skips {usual.skip:.0%} with {usual.method.value} maps)"
        )
    if cfg is not None and method is Method.NULL_TEXT and abs(cfg - usual.cfg) > 0.05:
        said.append(
            f"these null-text maps were made for cfg {usual.cfg:g} and give the image back at no other: set cfg to "
            f"{usual.cfg:g}, not {cfg:g}, or invert again for that"
        )
    elif cfg is not None and cfg > usual.most_cfg:
        said.append(
            f"cfg {cfg:g} is a lot for {method.value} maps and may burn colors or lose the image: set it to about "
            f"{usual.cfg:g} ({usual.source}, with {usual.method.value} maps)"
        )
    return "; ".join(said)


def on_steps_of_few(steps: int) -> str:
    """Advice on an inversion for few-step models that runs many steps; empty where they are few."""
    if steps <= MOST_OF_FEW:
        return ""
    return (
        f"these are {steps} steps, and the settings here are for turbo, lightning and LCM models with 3 or 4: set "
        "steps to 5 and skip_steps to 1, or for other models use Invert Image (Edit-Friendly DDPM)"
    )


def on_first_step(gain: float) -> str:
    """Advice on a run that starts where a network says the noise and nothing of the image is left; else empty.

    Args:
        gain: how many times what the network says counts in the prediction of the image.
    """
    if gain <= MOST_GAIN:
        return ""
    return (
        f"at the first step nothing is left of the image (zero terminal SNR), and this model predicts the noise: its "
        f"errors count {gain:.0f} times there, and an edit is mostly of them. Set skip_steps to 1 or more, or sampling "
        "to v_prediction in ModelSamplingDiscrete if the model was trained for that"
    )
