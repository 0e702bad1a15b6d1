"""Each formula of the core with a sign, a root, an index or a level changed: an oracle notices."""

from functools import partial

import pytest

import ddpm_core.attention.cross as cross
import ddpm_core.attention.windows as windows
from ddpm_core import editing, guidance, inversion, manipulation, sampling, statistics, trajectories
from ddpm_core.noise_maps import NoiseMaps
from ddpm_core.schedule import NoiseSchedule, Step
from support.mutants import Mutant, mutate
from tools.exact import attention, edits, manipulations, noise_space

SIZES = partial(noise_space.of_a_perfect_predictor, names=["Stable Diffusion, 20 steps"])
PLANE = partial(noise_space.in_the_plane, rows=200)
PLAIN = noise_space.latents_of_plain_pixels
REACHED = partial(edits.reached, skips=(36,))
PAINTED = manipulations.painted
SHIFTED = partial(manipulations.shifted, count=20, by=(2,))
WORDS = partial(attention.with_known_maps, count=20, steps=20)
FALLING = partial(edits.way_back_of_ddim, cfgs=(7.5,))
WARM = partial(edits.way_back_of_ddim, cfgs=(1.0,))
EDITS = partial(edits.at_the_papers_settings, draws=1, count=40)
BETWEEN = partial(edits.between_constructions, count=40, parts=(0.0, 1.0))
MIRRORED = partial(manipulations.mirrored, count=10)
TRIANGLES = partial(noise_space.triangles, rows=20, cells=100)


MUTANTS = {
    # schedule
    "the mean without its sign": Mutant(Step.mean, "alpha=self", "alpha=-self", REACHED),
    "sigma without its root": Mutant(NoiseSchedule._step, "b_s * math.sqrt(variance)", "b_s * variance", SIZES),
    "eta without its square": Mutant(NoiseSchedule._step, "self.eta**2", "self.eta", REACHED),
    "SNR without its square": Mutant(NoiseSchedule._step, "(b_s / b_t)) ** 2", "(b_s / b_t))", SIZES),
    "direction without its root": Mutant(NoiseSchedule._step, "math.sqrt(1 - variance)", "(1 - variance)", REACHED),
    "direction with the other sign": Mutant(NoiseSchedule._step, "a_s - x_weight", "a_s + x_weight", PLANE),
    "direction of the other level": Mutant(NoiseSchedule._step, "x_weight * a_t,", "x_weight * a_s,", PLANE),
    # trajectories
    "one noise for all levels": Mutant(
        trajectories.edit_friendly_state, "seeds, schedule.steps - i", "seeds, schedule.steps", SIZES
    ),
    "noise of the next level": Mutant(trajectories._noised, "noise[i]", "noise[i + 1]", SIZES),
    "variance in place of deviation": Mutant(trajectories._noised, "noise[i].item()", "noise[i].item() ** 2", SIZES),
    "signal without its root": Mutant(trajectories._noised, "signal[i].item()", "signal[i].item() ** 2", PLANE),
    "one noise for all levels, edited": Mutant(
        trajectories.edit_friendly_state, "seeds, schedule.steps - i", "seeds, schedule.steps", EDITS
    ),
    "one stream for all levels": Mutant(trajectories.standard_normal, "(seed, steps_left)", "(seed, 0)", BETWEEN),
    "posterior around the image": Mutant(
        trajectories.cycle_diffusion, "step.mean(states[-1], x_0)", "step.mean(x_0, x_0)", SIZES
    ),
    "posterior without its root": Mutant(trajectories.cycle_diffusion, "step.sigma_t", "step.sigma_t ** 2", SIZES),
    "inversion by the other sign": Mutant(trajectories._ddim_step_back, "x_t - a_t", "x_t + a_t", PLAIN),
    "inversion along the other direction": Mutant(trajectories._ddim_step_back, "(b_t - a_t", "(b_t + a_t", PLAIN),
    "inversion at the level left": Mutant(trajectories._ddim_step_back, "step(i).sigma", "step(i - 1).sigma", PLAIN),
    "warm start against the step before": Mutant(trajectories._ddim_step_back, "(b_t - b_s)", "(b_s - b_t)", WARM),
    "warm start along no noise": Mutant(
        trajectories.ddim, "along = (denoised, eps)", "along = (denoised, 0 * eps)", WARM
    ),
    "true states of the next level": Mutant(trajectories._known_states, "[-1 - true : -1]", "[-2 - true : -2]", PLAIN),
    "true noise of the next step": Mutant(trajectories.ddim_noises, "denoised_at(i)", "denoised_at(i - 1)", PLAIN),
    # extraction and sampling
    "residual with the other sign": Mutant(inversion.invert, "further[k] - mean", "mean - further[k]", PAINTED),
    "residual of the state before": Mutant(inversion.invert, "further[k] - mean", "x_t[k] - mean", SIZES),
    "replay with the other sign": Mutant(sampling.replay, "+ residuals[i]", "- residuals[i]", PAINTED),
    "replay of the next noise": Mutant(sampling.replay, "residuals[i]", "residuals[max(i - 1, 0)]", SHIFTED),
    "start of the next level": Mutant(sampling.replay, "states[first]", "states[first + 1]", SHIFTED),
    "skip off by one": Mutant(NoiseSchedule.after, "slice(skip_steps, None)", "slice(skip_steps + 1, None)", REACHED),
    "sampling with no root": Mutant(sampling.generate, "step.sigma_t * z", "step.sigma_t ** 2 * z", SHIFTED),
    "edit away from the target": Mutant(editing.edit, "mean_edit - mean)", "mean - mean_edit)", REACHED),
    "z of another step": Mutant(NoiseMaps.z.fget, "step(i).sigma_t", "step(i + 1).sigma_t", SIZES),
    # what is asked of the maps
    "guidance away": Mutant(guidance.guided, "uncond + (cond - uncond)", "uncond - (cond - uncond)", REACHED),
    "guidance from the prompt": Mutant(guidance.guided, "uncond + (cond", "cond + (cond", REACHED),
    "cosine over twice its range": Mutant(guidance.cfg_scales, "0.5 * (1 - math.cos", "(1 - math.cos", FALLING),
    "guidance that rises": Mutant(guidance.cfg_scales, "i / max(1, steps - 1)", "1 - i / max(1, steps - 1)", FALLING),
    "paint from the other side": Mutant(manipulation.recolor, "color - denoised", "color + denoised", PAINTED),
    "paint without sigma": Mutant(manipulation.recolor, "sigma_t * strength", "strength", PAINTED),
    "paint short of its end": Mutant(manipulation.recolor, "<= end + 1e-9", "< end - 1e-9", PAINTED),
    "shift to the left": Mutant(
        manipulation._source_indices, "torch.arange(size) - by", "torch.arange(size) + by", SHIFTED
    ),
    "shift of the states alone": Mutant(
        manipulation._map_tensors, "residuals=change(noise_maps.residuals)", "residuals=noise_maps.residuals", SHIFTED
    ),
    "maps mirrored top to bottom": Mutant(manipulation.flip, "axes = [axis", "axes = [-3 - axis", MIRRORED),
    "values of the source": Mutant(cross.cross_attention, "v[target])", "v[source])", WORDS),
    "maps of the target": Mutant(cross.cross_attention, "plain(source,", "plain(target,", WORDS),
    "a window of half the steps": Mutant(windows.is_open, "share * steps", "share * steps / 2", WORDS),
    # statistics
    "the triangle's corners in another order": Mutant(
        statistics.triangle_angles, "(noise, image, inverted)", "(image, noise, inverted)", TRIANGLES
    ),
    "correlation of single rows": Mutant(statistics.z_correlation, ".flatten(1)", "", PLANE),
    "angles of steps two apart": Mutant(statistics.z_angles, "z[:-1], z[1:]", "z[:-2], z[2:]", PLANE),
    "errors of what was not there": Mutant(statistics.shift_errors, "moved[..., by:]", "moved[..., :-by]", SHIFTED),
}


@pytest.mark.parametrize(
    "oracle",
    [SIZES, PLANE, PLAIN, REACHED, PAINTED, SHIFTED, WORDS, FALLING, WARM, EDITS, BETWEEN, MIRRORED, TRIANGLES],
)
def test_nothing_is_noticed_of_the_core_as_it_is(oracle):
    checks = oracle()
    assert checks and not [check for check in checks if not check.holds]


@pytest.mark.parametrize("name", MUTANTS)
def test_an_oracle_notices(monkeypatch, name):
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    try:
        checks = mutant.seen_by()
    except (ValueError, ArithmeticError, IndexError):
        return
    assert [check for check in checks if not check.holds]
