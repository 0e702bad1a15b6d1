"""Each formula that no exact score reaches with a sign, a root, an index or a level changed: its own test notices.

The others are in tests/tools/exact/test_mutants.py.
"""

from pathlib import Path

import pytest

from ddpm_core import anchor, guidance, manipulation, masks, statistics, trajectories, whitening
from ddpm_core.null_text import _optimise, null_text
from ddpm_core.schedule import NoiseSchedule, Step
from ddpm_core.zero_shot import map_distance, zero_shot
from support.mutants import Mutant, mutate

SECOND = "test_second_order.py::test_inversion_and_edit_are_those_of_ledits"
FEW = "test_few_steps.py::test_an_edit_is_that_of_turbo_edit"
SLERP = "test_manipulation.py::test_a_spherical_mixture_keeps_the_size_of_noise"
MIXED = "test_manipulation.py::test_interpolation_runs_from_one_to_the_other"
RATE = "test_null_text.py::test_the_learning_rate_falls_to_half_of_it"
ENOUGH = "test_null_text.py::test_a_step_is_good_enough_at_the_papers_threshold"
GOES_ON = "test_null_text.py::test_a_search_goes_on_from_where_the_one_before_it_led"
FOUND = "test_null_text.py::test_each_step_finds_the_embedding_that_leads_to_the_next_pivot"
LOSSES = "test_whitening.py::test_gradients_are_those_of_the_losses_of_the_paper"
DOWN = "test_whitening.py::test_a_latent_of_the_papers_size_goes_down_by_the_papers_weight"
ONE_STEP = "test_zero_shot.py::test_steps_in_closed_form"
SCALINGS = "test_zero_shot.py::test_a_weight_means_the_same_in_every_scaling"
LOOPS = "test_zero_shot.py::test_distance_of_maps_by_loops"
FROM_SOURCE = "test_guidance.py::test_guidance_from_a_source_is_what_the_papers_print"
PUBLISHED = "test_guidance.py::test_it_is_the_published_sum_of_predictions_of_the_noise"
OF_TWO = "test_guidance.py::test_guidance_of_two_predictions_is_the_same_sum"
TRIANGLE = "test_statistics.py::test_triangle"
CORNERS = "test_statistics.py::test_the_most_probable_triangle_is_by_the_product_of_its_corners"
DIVERGENCE = "test_statistics.py::test_kl_is_the_closed_form"
PLAIN = "test_statistics.py::test_plain_is_by_the_next_row_and_the_next_column"
STEPS = "test_statistics.py::test_errors_of_steps_are_in_units_of_the_size_of_their_prediction"
PULL = "test_anchor.py::test_a_distance_that_is_the_same_everywhere_pulls_by_the_formula"
OUTSIDE = "test_anchor.py::test_outside_a_mask_the_pull_is_the_amount"
DIFFERENCE = "test_difference_masks.py::test_the_difference_is_the_mean_over_levels_of_the_sum_over_channels"
HEAT = "test_difference_masks.py::test_each_image_has_its_own_maximum"
FRESH = "test_few_steps.py::test_what_a_shift_fills_in_has_the_noise_of_the_states"

MUTANTS = {
    # steps of second order, and few steps
    "away from the prediction before": Mutant(Step.extrapolated, "1 + self.history", "1 - self.history", SECOND),
    "extrapolated by the whole step": Mutant(
        NoiseSchedule._history, "(2 * (here - before))", "(here - before)", SECOND
    ),
    "steps of sigma, not of its logarithm": Mutant(
        NoiseSchedule._history, ".log() - self.noise[i - 1 : i + 2].log()", " - self.noise[i - 1 : i + 2]", SECOND
    ),
    "states of the size of their noise": Mutant(
        trajectories.few_steps, "schedule.scale(i) / there.scale(j)", "there.scale(j) / schedule.scale(i)", FEW
    ),
    "noise of the level shifted to": Mutant(
        trajectories.few_steps, "standard_normal(x_0, seeds, steps - i)", "standard_normal(x_0, seeds, steps - j)", FEW
    ),
    "levels shifted to the noisier": Mutant(trajectories._levels_of_few_steps, "i + shift", "max(i - shift, 0)", FEW),
    "the last residual by its square": Mutant(manipulation.clip_last, ".mean(dim=1).sqrt()", ".mean(dim=1)", FEW),
    "fresh noise of the level's own variance": Mutant(
        manipulation._renoise, "next_noise**2 - (step.x_weight * noise) ** 2", "next_noise**2", FRESH
    ),
    # mixtures
    "the sine of one angle": Mutant(
        manipulation.slerp, "((1 - weight) * angle).sin()", "(1 - weight * angle).sin()", SLERP
    ),
    "the other's weight": Mutant(manipulation.slerp, "weight_b[:, None] * flat_b", "weight_a[:, None] * flat_b", SLERP),
    "noise over the other's image": Mutant(
        manipulation.interpolate, "b.states[i] - signal * b.image", "b.states[i] - signal * a.image", MIXED
    ),
    # null-text inversion
    "a rate that falls to 0": Mutant(null_text, "1 - 0.5 * i", "1 - i", RATE),
    "a threshold that grows to its double": Mutant(null_text, "1 + 100 * i", "1 + i", ENOUGH),
    "a threshold of deviations": Mutant(_optimise, ".square().flatten(1)", ".abs().flatten(1)", ENOUGH),
    "on from the pivot": Mutant(null_text, "x = step.mean(x, denoised)", "x = pivots[i + 1].to(device)", GOES_ON),
    "towards the pivot left": Mutant(null_text, "pivots[i + 1].to(device)", "pivots[i].to(device)", FOUND),
    # pix2pix-zero
    "correlation one way": Mutant(
        whitening.correlation_gradient, "(moved + noise.roll(-shift, axis))", "(2 * moved)", LOSSES
    ),
    "correlation, not its square": Mutant(whitening.correlation_gradient, "2 * correlation *", "2 *", LOSSES),
    "halves as large as the whole": Mutant(
        whitening.correlation_gradient, "repeat_interleave(2, -1) / 4", "repeat_interleave(2, -1)", LOSSES
    ),
    "divergence the other way": Mutant(whitening.divergence_gradient, "(1 - 1 / (", "(1 + 1 / (", LOSSES),
    "mean without its part": Mutant(whitening.divergence_gradient, "+ 2 * mean", "+ 0 * mean", LOSSES),
    "up the correlation": Mutant(whitening.whitened, "row - towards_none", "row + towards_none", DOWN),
    "up the divergence": Mutant(whitening.whitened, "row - towards_unit", "row + towards_unit", DOWN),
    "up the gradient": Mutant(zero_shot, "x - down", "x + down", ONE_STEP),
    "scale without its square": Mutant(zero_shot, "schedule.scale(i) ** 2", "schedule.scale(i)", SCALINGS),
    "maps of the state before": Mutant(zero_shot, "noise_maps.states[i].to", "noise_maps.states[i - 1].to", ONE_STEP),
    "mean over pixels": Mutant(map_distance, ".sum(dim=1)", ".mean(dim=1)", LOOPS),
    "heads of one half": Mutant(map_distance, "(2 * maps.shape[1])", "maps.shape[1]", LOOPS),
    # guidance
    "h-Edit with the other sign": Mutant(
        guidance.from_source, "Term(1 - source_scale", "Term(source_scale - 1", FROM_SOURCE
    ),
    "h-Edit without its one": Mutant(guidance.from_source, "Term(1 - source_scale", "Term(-source_scale", FROM_SOURCE),
    "terms from the positive": Mutant(
        guidance.Guidance.with_terms, "self.negative or self.positive", "self.positive", FROM_SOURCE
    ),
    "terms against their scale": Mutant(guidance.Guidance.with_terms, "+ term.scale *", "- term.scale *", PUBLISHED),
    "below its quantile": Mutant(guidance.Term.support, "size >= least", "size <= least", PUBLISHED),
    "quantile by sign": Mutant(
        guidance.Term.support, "(difference * mask).abs().sum", "(difference * mask).sum", PUBLISHED
    ),
    "terms of two by w": Mutant(guidance.Guidance.of_two, "1 - self.scale) for", "self.scale) for", OF_TWO),
    # statistics
    "angles at the other corner": Mutant(
        statistics.triangle_angles, "corners[k - 2] - corners[k]", "corners[k] - corners[k - 2]", TRIANGLE
    ),
    "the sum of the shares": Mutant(
        statistics.most_probable_triangle, "shares[1][second] * shares", "shares[1][second] + shares", CORNERS
    ),
    "divergence without its one": Mutant(statistics.kl_to_standard_normal, "var - 1 -", "var -", DIVERGENCE),
    "divergence of the deviation": Mutant(statistics.kl_to_standard_normal, "var.log()", "0.5 * var.log()", DIVERGENCE),
    "plain in one channel": Mutant(statistics.plain_mask, ".all(dim=1)", ".any(dim=1)", PLAIN),
    "plain by the sum": Mutant(statistics.plain_mask, "(down + across) / 2", "(down + across)", PLAIN),
    "errors of steps in units of what was taken": Mutant(
        statistics.step_errors, "sizes = true", "sizes = taken", STEPS
    ),
    # masks and the anchor
    "a pull that falls evenly": Mutant(anchor.Anchor.pull, " / self.tolerance) ** 2", " / self.tolerance)", PULL),
    "a pull that rises": Mutant(anchor.Anchor.pull, "torch.exp(-(", "1 - torch.exp(-(", PULL),
    "the pull inside the mask": Mutant(
        anchor.Anchor.pull, "1 - self.mask.to(pull) * (1 - pull)", "self.mask.to(pull) * pull", OUTSIDE
    ),
    "the mean over channels": Mutant(
        masks.prediction_difference, ".sum(dim=1, keepdim=True)", ".mean(dim=1, keepdim=True)", DIFFERENCE
    ),
    "the signed difference": Mutant(
        masks.prediction_difference, "(target - source).abs()", "(target - source)", DIFFERENCE
    ),
    "the largest of all images": Mutant(
        masks.heat, "smooth.flatten(1).amax(dim=1)", "smooth.amax().expand(len(smooth))", HEAT
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_its_own_test_notices(monkeypatch, name):
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    # in this process, for there the function is changed
    without = [part for plugin in ("cacheprovider", "xdist", "timeout") for part in ("-p", f"no:{plugin}")]
    assert pytest.main([str(Path(__file__).parent / mutant.seen_by), "-q", *without]) == pytest.ExitCode.TESTS_FAILED
