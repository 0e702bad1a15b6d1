"""Each formula that no exact score reaches with a sign, a root, an index or a level changed: its own test notices.

The others are in tests/tools/exact/test_mutants.py.
"""

from pathlib import Path

import pytest

from ddpm_core import (
    anchor,
    directions,
    guidance,
    manipulation,
    masks,
    measures,
    sampling,
    statistics,
    trajectories,
    whitening,
)
from ddpm_core.attention import alignment, cross, edit, sharing, windows, words
from ddpm_core.noise_maps import NoiseMaps
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
TAKEN = "test_attention.py::test_the_target_takes_over_what_the_source_has"
BACKGROUND = "test_attention.py::test_of_text_and_picture_the_pictures_background_is_taken"
VARIATIONS = "test_attention_control.py::test_each_variation_of_an_image_has_its_background"
GRID = "test_attention.py::test_tokens_lie_in_the_latents_grid"
CELLS = "test_attention.py::test_a_token_is_background_where_no_cell_of_it_is_edited"
DEPTH = "test_attention.py::test_blocks_are_chosen_by_their_share_of_the_depth"
LAYERS = "test_attention.py::test_rules_choose_the_published_layers"
QUARTER = "test_attention.py::test_words_are_looked_for_at_a_quarter_of_the_side"
WRITTEN_OUT = "test_attention.py::test_changed_values_are_changed_maps"
REPEATED = "test_attention.py::test_prompts_repeated_to_a_common_length_are_the_same"
JOINT = "test_attention.py::test_an_attention_of_text_and_picture_has_its_map_to_the_text_edited"
PADDED = "test_attention.py::test_padding_is_put_onto_padding"
OPEN = "test_attention.py::test_a_window_is_open_for_its_share_of_the_steps"
WRONG_WAY = "test_attention.py::test_a_window_the_wrong_way_round_is_refused"
WORDS = "test_attention.py::test_maps_of_words_are_the_mass_on_their_tokens"
SIZES = "test_attention.py::test_maps_of_other_sizes_are_added_at_the_largest"
TOKENS = "test_attention_control.py::test_maps_of_words_in_repeated_and_in_padded_contexts"
BLEND = "test_attention.py::test_a_blend_is_where_either_prompts_words_are"
WIDENED = "test_attention.py::test_heat_goes_from_0_to_1_and_widens_with_the_map"
ACTS = "test_attention_control.py::test_each_part_acts_in_its_window"
BOTH = "test_attention_control.py::test_both_have_the_parts_of_each"
METHOD = "test_attention_control.py::test_a_method_shares_where_and_when_it_was_published_or_is_told"
ACTS_AT = "test_attention_control.py::test_a_model_without_the_places_is_told_from_one_with_them"
REFINED = "test_alignment.py::test_a_refined_prompt_keeps_the_maps_of_its_old_words"
SPELLED = "test_alignment.py::test_words_replace_words_whatever_they_are_spelled_with"
OWN_MAP = "test_alignment.py::test_a_replaced_word_may_keep_its_own_map"
ITSELF = "test_alignment.py::test_the_same_prompt_is_its_own_alignment"
PADDING = "test_alignment.py::test_padding_is_put_onto_the_padding_at_its_place"
IN_ORDER = "test_alignment.py::test_as_many_tokens_as_can_be_are_paired_in_order"
AMONG_EQUALS = "test_alignment.py::test_among_equals_a_target_token_is_skipped_first"
PHRASE = "test_alignment.py::test_a_phrase_is_found_wherever_it_stands"
AFTER = "test_alignment.py::test_what_stands_after_a_position_is_one_chunk"
SHIFT = "test_manipulation.py::test_shift_moves_all_parts_together"
COPY = "test_manipulation.py::test_copy_fills_as_appendix_a_says"
WRAP = "test_manipulation.py::test_shifted_maps_sample_to_the_shifted_image"
FLIP = "test_manipulation.py::test_flip"
SOUND = "test_manipulation.py::test_sound_moves_in_time"
NORMAL_Z = "test_manipulation.py::test_gaussian_fills_with_standard_normal_z"
NOISED = "test_manipulation.py::test_gaussian_fill_noises_the_image_to_the_level_of_each_state"
SKIPPED = "test_manipulation.py::test_percents_count_the_skipped_steps_too"
MASK_MOVES = "test_masks.py::test_it_moves_with_the_maps"
KEPT_MOVE = "test_noise_maps.py::test_they_move_along"
ROWS = "test_noise_maps.py::test_rows_are_what_they_are_alone"
PREDICTIONS = "test_noise_maps.py::test_predictions_follow_from_states_and_residuals"
FINER = "test_trajectories.py::test_a_finer_schedule_inverts_in_more_steps_and_keeps_the_states_of_the_coarser"
TEXTBOOK = "test_trajectories.py::test_the_plain_ddim_step_is_the_textbooks"
REPLAYED = "test_trajectories.py::test_a_replayed_source_has_drifted_as_sampling_has"
TAIL = "test_inversion.py::test_an_inversion_that_skips_holds_the_tail_of_one_that_does_not"
DIRECTION = "test_directions.py::test_the_direction_leads_from_one_to_the_other"
MEAN_OF_ALL = "test_directions.py::test_the_mean_is_that_of_all_rows"
SCIKIT = "test_measures.py::test_as_scikit_image_has_them"
ONE_WINDOW = "test_measures.py::test_ssim_of_one_window_by_hand"
BY_HAND = "test_measures.py::test_a_background_by_hand"
CENTRED = "test_measures.py::test_ssim_of_a_background_is_over_the_windows_centred_in_it"
PERCENT = "test_measures.py::test_a_change_in_percent_inside_a_soft_mask_and_outside"
VISIBLE = "test_measures.py::test_a_pixel_is_seen_to_change_by_its_channel_that_changes_most"
SAVED = "test_measures.py::test_pixels_are_rounded_as_saveimage_rounds_them"
SQUARE = "test_measures.py::test_clip_reads_the_middle_square"
KEPT_BY_VAE = "test_measures.py::test_a_vae_keeps_the_middle"
SIZE_OF_Z = "test_statistics.py::test_size_correlation_and_angle_of_z"
POOLED = "test_statistics.py::test_rows_are_pooled_around_a_mean_each"
PERFECT = "test_statistics.py::test_size_and_correlation_of_a_perfect_predictor_are_the_schedules_alone"
MOVED = "test_statistics.py::test_only_what_a_shift_brought_from_within_the_image_counts"
SEM = "test_statistics.py::test_mean_and_its_standard_error"
PAIRS = "test_statistics.py::test_diversity_is_over_all_pairs"
PATCHES = "test_statistics.py::test_patch_correlation_sees_elements_that_go_together_over_the_images"
PLAIN_AREAS = "test_statistics.py::test_plain_areas"
OF_LATENT = "test_statistics.py::test_plain_areas_of_a_latent_do_not_depend_on_its_scale"
AREAS = "test_statistics.py::test_errors_in_plain_and_in_other_areas"
ASSIGNED = "test_statistics.py::test_rows_are_assigned_to_the_nearest"
TO_NOISE = "test_statistics.py::test_angles_to_the_noise_that_made_the_images"

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
    # attention: what is shared, where and when
    "the target's own in the source's place": Mutant(
        sharing.take_source, "part[source][..., tokens, :]", "part[target][..., tokens, :]", TAKEN
    ),
    "the source takes over": Mutant(
        sharing.take_source, "taken[target][..., tokens, :]", "taken[source][..., tokens, :]", TAKEN
    ),
    "what is given is written to": Mutant(sharing.take_source, "part.clone()", "part", TAKEN),
    "the edited part is taken": Mutant(
        sharing.take_source, "of_source.where(each, own)", "own.where(each, of_source)", BACKGROUND
    ),
    "backgrounds by image, not by variation": Mutant(
        sharing.take_source,
        "background.repeat(len(own) // len(background), 1)",
        "background.repeat_interleave(len(own) // len(background), 0)",
        VARIATIONS,
    ),
    "no token of a part of a patch": Mutant(sharing.grid_of, "math.ceil(width / patch)", "width // patch", GRID),
    "background where it is edited": Mutant(sharing.background_of, "touched <= 0", "touched > 0", CELLS),
    "a block later": Mutant(sharing.between, "places[start:stop]", "places[start + 1 : stop]", DEPTH),
    "fine in place of coarse": Mutant(sharing.coarse, "<= size", ">= size", LAYERS),
    "finer than its size alone": Mutant(sharing.fine_output, ">= size * (1 - 1e-6)", "> size", LAYERS),
    "after the second block": Mutant(sharing.output_from_second, "p.block >= second", "p.block > second", LAYERS),
    "from the first block": Mutant(sharing._second_output, "min(1, len(blocks) - 1)", "0", LAYERS),
    "from the second block of the finest": Mutant(sharing._second_output, "max((place", "min((place", LAYERS),
    "open a step later": Mutant(windows.is_open, "first <= step", "first < step", OPEN),
    "open a step longer": Mutant(windows.is_open, "step < last", "step <= last", OPEN),
    "a share cut off by rounding": Mutant(windows.is_open, " + 1e-6", "", OPEN),
    "no window of no steps": Mutant(windows.check_window, "start <= stop", "start < stop", WRONG_WAY),
    "a blend that starts a step later": Mutant(edit.AttentionControl.blends, "step >=", "step >", ACTS),
    "a blend from a share of what is left": Mutant(edit.AttentionControl.blends, "start * steps", "start * step", ACTS),
    "cross-attention edited always": Mutant(
        edit.AttentionControl.cross_at, "and self.cross.is_open(step, steps)", "", ACTS
    ),
    "open when all words are": Mutant(cross.CrossEdit.is_open, "any(", "all(", ACTS),
    "shared when its window is closed": Mutant(edit.AttentionControl.shares_at, "if is_open", "if not is_open", ACTS),
    "features when their window is closed": Mutant(
        edit.AttentionControl.features_at, "if is_open", "if not is_open", ACTS
    ),
    "a blend alone needs no source": Mutant(
        edit.AttentionControl.is_open,
        "self.features_at(step, steps), self.blend)",
        "self.features_at(step, steps))",
        ACTS,
    ),
    "features of the positive prompt alone": Mutant(
        edit.AttentionControl.of_all_prompts, " or bool(self.features_at(step, steps))", "", ACTS
    ),
    "the first one's sharing alone": Mutant(
        edit.AttentionControl.and_also, "self.shares + other.shares", "self.shares", BOTH
    ),
    "the first one's blend alone": Mutant(
        edit.AttentionControl.and_also, "self.blend or other.blend", "self.blend", BOTH
    ),
    "the method's layers whatever is told": Mutant(edit.shared_by, "where or method.where", "method.where", METHOD),
    "features of a method without": Mutant(
        edit.shared_by, "None if method.features_end is None else features_end", "features_end", METHOD
    ),
    "features in the window of the attention": Mutant(edit.shared_by, "(0.0, until)", "window", METHOD),
    "at all places or none": Mutant(edit.AttentionControl.acts_at, "any(rule(places)", "all(rule(places)", ACTS_AT),
    # attention: the source's maps at the target's values
    "maps without their gain": Mutant(cross.CrossEdit.at, "w * self.gain * r", "w * r", WRITTEN_OUT),
    "own maps without their gain": Mutant(cross.CrossEdit.at, "w * self.gain * (1 - r)", "w * (1 - r)", WRITTEN_OUT),
    "no map outside its window": Mutant(cross.CrossEdit.at, "(1 - r) + 1 - w", "(1 - r)", WRITTEN_OUT),
    "maps of what keeps its own": Mutant(cross.CrossEdit.at, "self.gain * r)", "self.gain * (1 - r))", WRITTEN_OUT),
    "each copy as much as all": Mutant(cross.CrossEdit.at, ") / copies,", "),", REPEATED),
    "source's maps taken off": Mutant(cross.cross_attention, "out[target] +=", "out[target] -=", WRITTEN_OUT),
    "own values as they are": Mutant(cross.cross_attention, "weights.own[:, None]", "1", WRITTEN_OUT),
    "the picture's values by the source's map": Mutant(
        cross.joint_attention, "torch.zeros_like(v[target])", "v[target].clone()", JOINT
    ),
    "the text's places edited too": Mutant(
        cross.joint_attention, "edited[target, picture]", "edited[target, :]", JOINT
    ),
    "padding onto the place before": Mutant(
        cross.CrossEdit.padded, "places.clamp(min=l_s)", "places.clamp(min=l_s) - 1", PADDED
    ),
    "padding of no weight": Mutant(cross.CrossEdit.padded, "value=1.0", "value=0.0", PADDED),
    "padding keeps its own map": Mutant(cross.CrossEdit.padded, "shared[l_t:] = True", "shared[l_t:] = False", PADDED),
    # attention: words
    "scores over the width, not its root": Mutant(words.attention_maps, "** -0.5", "** -1", WORDS),
    "maps over the pixels": Mutant(
        words.attention_maps, "+ bias.to(scores), dim=-1", "+ bias.to(scores), dim=-2", WORDS
    ),
    "the mean of a word's tokens": Mutant(words.word_maps, ".sum(dim=-1)", ".mean(dim=-1)", WORDS),
    "the sum over heads": Mutant(words.word_maps, ".mean(dim=0)", ".sum(dim=0)", WORDS),
    "layers against each other": Mutant(
        words.WordMaps.see, "_resized(self._sum, size) +", "_resized(self._sum, size) -", SIZES
    ),
    "the last layer's size": Mutant(words.WordMaps.see, "max(sizes) for", "sizes[-1] for", SIZES),
    "words in the first copy alone": Mutant(words.WordMaps.see, "text // len(tokens)", "1", TOKENS),
    "padded contexts as repeated": Mutant(words.WordMaps.see, "1 if padded else text", "text", TOKENS),
    "keys beside the text counted": Mutant(words.WordMaps.see, "k.shape[1] - beside", "k.shape[1]", TOKENS),
    "the first rows for all sets of words": Mutant(
        words.WordMaps.see, "q[part], k[part]", "q[rows[0]], k[rows[0]]", TOKENS
    ),
    "where both prompts' words are": Mutant(words.LocalBlend.mask, ".amax(dim=0)", ".amin(dim=0)", BLEND),
    "where no word is": Mutant(words.LocalBlend.mask, "heat > self", "heat < self", BLEND),
    "rows for prompts": Mutant(words.LocalBlend.mask, "(2, -1)).amax(dim=0)", "(-1, 2)).amax(dim=1)", BLEND),
    "half of the side": Mutant(words.near_quarter, "level - 2", "level - 1", QUARTER),
    "the middle too": Mutant(words.near_quarter, 'place.part != "middle"', "True", QUARTER),
    "heat above 0, not above its least": Mutant(words.word_heat, "(maps - low) / (high - low)", "maps / high", BLEND),
    "widened by an eighth": Mutant(words.word_heat, "1 + 2 * int(", "1 + 4 * int(", WIDENED),
    # attention: alignment
    "shares of a word by its old pieces": Mutant(alignment._replace, "1 / len(tos)", "1 / len(froms)", SPELLED),
    "pieces of a word in turned order": Mutant(
        alignment._replace, "matrix[list(froms), list(tos)]", "matrix[list(froms)[::-1], list(tos)]", SPELLED
    ),
    "changed words share whatever is told": Mutant(alignment._replace, "same or changed_words_share", "True", OWN_MAP),
    "changed by the source's places": Mutant(alignment._replace, "changed += tos", "changed += froms", SPELLED),
    "new words share": Mutant(alignment._refine, "changed.append(to)", "shared[to] = True", REFINED),
    "old words keep their own": Mutant(alignment._refine, "shared[to] = True", "shared[to] = False", REFINED),
    "words onto the next": Mutant(
        alignment._refine, "source.content[pairs[j]]", "source.content[pairs[j] - 1]", REFINED
    ),
    "a mismatch as good as a match": Mutant(alignment.common_subsequence, "else -1", "else 1", IN_ORDER),
    "a source token skipped first": Mutant(
        alignment.common_subsequence,
        "if score[i][j] == score[i][j - 1]:",
        "if score[i][j] == score[i][j - 1] != score[i - 1][j]:",
        AMONG_EQUALS,
    ),
    "all padding onto the first": Mutant(
        alignment._put_specials, "min(max(place, padding[0]), padding[-1])", "padding[0]", ITSELF
    ),
    "padding of a chunk at the other's place": Mutant(
        alignment._put_specials, "d * source.chunk - c * target.chunk", "0", PADDING
    ),
    "the end onto padding": Mutant(alignment._put_specials, "n == 0 or not padding", "not padding", ITSELF),
    "every chunk onto the first": Mutant(alignment._put_specials, "min(c, source.chunks - 1)", "0", ITSELF),
    "the last word as the end": Mutant(alignment.Prompt.chunk_of_specials, "content[-1] + 1", "content[-1]", REFINED),
    "no phrase at the end": Mutant(alignment.Prompt.find, "- len(wanted) + 1", "- len(wanted)", PHRASE),
    "the first word of a phrase alone": Mutant(
        alignment.Prompt.find, "self.words[i : i + len(wanted)]", "self.words[i : i + 1]", PHRASE
    ),
    "places of the whole prompt": Mutant(alignment.Prompt.after, "p - position for", "p for", AFTER),
    "a word that is cut in two": Mutant(alignment.Prompt.after, "word[0] >= position", "word[-1] >= position", AFTER),
    # flips, shifts and fills
    "flipped along the other axis": Mutant(
        manipulation.flip, "(-1, horizontal), (-2, vertical)", "(-2, horizontal), (-1, vertical)", FLIP
    ),
    "up for down": Mutant(
        manipulation.shift, "_source_indices(height, y, fill)", "_source_indices(height, -y, fill)", SHIFT
    ),
    "down for right": Mutant(
        manipulation.shift, "_source_indices(width, x, fill)", "_source_indices(width, y, fill)", SHIFT
    ),
    "fill from the first column": Mutant(manipulation._source_indices, "round(size * COPY_FROM) + ", "", COPY),
    "fill with one column": Mutant(manipulation._source_indices, "+ torch.arange(int(new.sum()))", "", COPY),
    "what left on one side is gone": Mutant(
        manipulation._source_indices, "source % size", "source.clamp(0, size - 1)", WRAP
    ),
    "a column short": Mutant(manipulation._is_new, "source >= size", "source > size", COPY),
    "a column too many": Mutant(manipulation._is_new, "source < 0", "source <= 0", SHIFT),
    "rows of sound as channels": Mutant(manipulation._one_cell_high, "part.unsqueeze(-2)", "part.unsqueeze(-1)", SOUND),
    "a mask that stays": Mutant(manipulation._map_tensors, "change(noise_maps.mask)", "noise_maps.mask", MASK_MOVES),
    "kept predictions that stay": Mutant(
        manipulation._map_tensors, "change(noise_maps.kept_denoised)", "noise_maps.kept_denoised", KEPT_MOVE
    ),
    "fresh z without its root": Mutant(manipulation._renoise, "step.sigma_t * z", "step.sigma_t**2 * z", NORMAL_Z),
    "fresh states of the whole image": Mutant(manipulation._renoise, "= signal * x_0 +", "= x_0 +", NOISED),
    "fresh noise of one level": Mutant(
        manipulation._renoise, "schedule.steps - i, purpose", "schedule.steps, purpose", NORMAL_Z
    ),
    "states and z of one noise": Mutant(
        manipulation._renoise, "Purpose.FILL_OF_NOISE)", "Purpose.FILL_OF_STATES)", NORMAL_Z
    ),
    "the mean between states away from it": Mutant(
        manipulation._renoise, "next_signal - step", "next_signal + step", FRESH
    ),
    "percents of what was not skipped": Mutant(manipulation.recolor, "(i + noise_maps.skipped)", "i", SKIPPED),
    # maps, finer schedules and replayed states
    "images in the order of variations": Mutant(
        NoiseMaps.rows, "row % self.images", "row // (len(self.image) // self.images)", ROWS
    ),
    "predictions with noise added": Mutant(
        NoiseMaps._read_denoised, "- self.residuals[i]", "+ self.residuals[i]", PREDICTIONS
    ),
    "skips counted twice": Mutant(NoiseMaps.first_step, "return skip_steps - self.skipped", "return skip_steps", TAIL),
    "undone by as much again": Mutant(
        Step.interpolated,
        "1 / (1 + self.history)",
        "1 - self.history",
        "test_second_order.py::test_predictions_are_those_of_the_model",
    ),
    "the coarser schedule inverted along": Mutant(
        trajectories.ddim, "(schedule if finer is None else finer)", "schedule", FINER
    ),
    "states before their step": Mutant(trajectories.ddim, "states[kept[i]] = x_t", "states[kept[i]] = x_s", TEXTBOOK),
    "a schedule that begins elsewhere": Mutant(NoiseSchedule.positions_of, "places[0] != 0 or ", "", FINER),
    "predictions for states": Mutant(sampling.with_replayed_states, 'step["x"]', 'step["denoised"]', REPLAYED),
    "an image that has drifted": Mutant(
        sampling.with_replayed_states, "[*states, noise_maps.image]", "[*states, states[-1]]", REPLAYED
    ),
    "states a step late": Mutant(
        sampling.with_replayed_states,
        "[*states, noise_maps.image]",
        "[states[0], *states[:-1], noise_maps.image]",
        REPLAYED,
    ),
    # directions
    "the other way": Mutant(directions.moved, "total + strength", "total - strength", DIRECTION),
    "the mean of sums": Mutant(directions.mean, "rows += len(embedding)", "rows += 1", MEAN_OF_ALL),
    # measures
    "decibels of amplitudes": Mutant(measures.psnr_of, "-10 * math", "-20 * math", SCIKIT),
    "decibels that rise with the error": Mutant(measures.psnr_of, "-10 * math", "10 * math", SCIKIT),
    "error of a range of 255": Mutant(measures._squared_error, "/ 255", "/ 1", SCIKIT),
    "error without its square": Mutant(
        measures._squared_error,
        "(source.double() / 255 - edited.double() / 255) ** 2",
        "(source.double() / 255 - edited.double() / 255).abs()",
        SCIKIT,
    ),
    "half the covariance": Mutant(measures._similarity, "2 * covariance + c2", "covariance + c2", SCIKIT),
    "second moments for variances": Mutant(measures._similarity, "aa - mean_a**2", "aa", SCIKIT),
    "means without their squares": Mutant(
        measures._similarity, "mean_a**2 + mean_b**2 + c1", "mean_a + mean_b + c1", SCIKIT
    ),
    "constants without their squares": Mutant(measures._similarity, "_K1**2, _K2**2", "_K1, _K2", SCIKIT),
    "a window that falls as an exponential": Mutant(
        measures._window_means, "(offsets / _SIGMA) ** 2", "(offsets / _SIGMA).abs()", SCIKIT
    ),
    "one window of unbiased moments": Mutant(
        measures.ssim_of_gray, ".mean(dim=(1, 2))", ".sum(dim=(1, 2)) / (a.numel() - 1)", ONE_WINDOW
    ),
    "one window of colors": Mutant(measures.ssim_of_gray, "_LUMA", "(1.0, 0.0, 0.0)", ONE_WINDOW),
    "the background black": Mutant(measures.black_outside, "background.unsqueeze", "(~background).unsqueeze", BY_HAND),
    "error of what was edited": Mutant(measures.mse_within, "[background]", "[~background]", BY_HAND),
    "windows everywhere": Mutant(measures.ssim_within, "similarities[centres]", "similarities", CENTRED),
    "windows by their corners": Mutant(
        measures.ssim_within,
        "background[r : background.shape[0] - r, r : background.shape[1] - r]",
        "background[: background.shape[0] - 2 * r, : background.shape[1] - 2 * r]",
        CENTRED,
    ),
    "windows that see the edit": Mutant(
        measures.ssim_within,
        "ssim_map(black_outside(source, background), black_outside(edited, background))",
        "ssim_map(source, edited)",
        CENTRED,
    ),
    "the inside for the outside": Mutant(measures.change, "1 - inside", "inside", PERCENT),
    "fractions of 1": Mutant(measures._change_within, "100 * mean", "mean", PERCENT),
    "the mean of the channel that changes most": Mutant(
        measures._change_within, "difference.mean(dim=-1)", "difference.amax(dim=-1)", VISIBLE
    ),
    "seen by the mean of the channels": Mutant(
        measures._change_within, "difference.amax(dim=-1)", "difference.mean(dim=-1)", VISIBLE
    ),
    "bytes of 256": Mutant(measures.as_saved, "255.0 *", "256.0 *", SAVED),
    "the left square": Mutant(measures.cropped_for_clip, "(image.width - size) // 2", "0", SQUARE),
    "the longer side as it was": Mutant(
        measures.cropped_for_clip,
        "int(size * max(height, width) / min(height, width))",
        "max(height, width, size)",
        SQUARE,
    ),
    "the first cells": Mutant(measures.middle, "slice(rest // 2, rest // 2 + size)", "slice(0, size)", KEPT_BY_VAE),
    # statistics
    "variance for deviation": Mutant(statistics.z_std, ".sqrt()", "", SIZE_OF_Z),
    "the mean of deviations": Mutant(
        statistics.z_std, ".var(dim=-1).mean(dim=-1).sqrt()", ".std(dim=-1).mean(dim=-1)", POOLED
    ),
    "correlation around 0": Mutant(statistics.z_correlation, "z - z.mean(dim=-1, keepdim=True)", "z", POOLED),
    "a perfect predictor's z of both noises": Mutant(
        statistics.z_of_perfect_predictor, "(2 - v) / v", "2 / v", PERFECT
    ),
    "a perfect predictor's variance": Mutant(
        statistics.z_of_perfect_predictor, "((2 - v) / v).sqrt()", "((2 - v) / v)", PERFECT
    ),
    "neighbours that agree": Mutant(statistics.z_of_perfect_predictor, ", -((1 - v[1:])", ", ((1 - v[1:])", PERFECT),
    "neighbours without their root": Mutant(
        statistics.z_of_perfect_predictor, "(2 - v[1:]))).sqrt()", "(2 - v[1:])))", PERFECT
    ),
    "noise of the level left": Mutant(
        statistics.z_of_perfect_predictor, "schedule.noise[1:-1]", "schedule.noise[:-2]", PERFECT
    ),
    "noise without its square": Mutant(statistics.z_of_perfect_predictor, "[1:-1]) ** 2", "[1:-1])", PERFECT),
    "errors of a range of 2": Mutant(statistics.shift_errors, "- valid) / 2", "- valid)", MOVED),
    "the deviation for its error": Mutant(statistics.mean_and_sem, "len(values) ** 0.5 if", "1 if", SEM),
    "error over the count": Mutant(statistics.mean_and_sem, "len(values) ** 0.5 if", "len(values) if", SEM),
    "each image with itself": Mutant(statistics.diversity, "offset=1", "offset=0", PAIRS),
    "differences of a range of 2": Mutant(statistics.diversity, ".abs() / 2", ".abs()", PAIRS),
    "a latent of its level's size": Mutant(statistics.latent, "/ noise_maps.schedule.scale(0)", "/ 1", AREAS),
    "correlations by their sign": Mutant(statistics.top_patch_correlation, ".abs().topk", ".topk", PATCHES),
    "all correlations": Mutant(statistics.top_patch_correlation, ".topk(top).values.mean()", ".mean()", PATCHES),
    "elements with themselves": Mutant(statistics.top_patch_correlation, "offset=1", "offset=0", PATCHES),
    "the patch with the most": Mutant(
        statistics.top_patch_correlation, "torch.stack(tops).mean()", "torch.stack(tops).amax()", PATCHES
    ),
    "pixels from -1": Mutant(statistics.unit_range, "(image + 1) / 2", "image", PLAIN_AREAS),
    "the range of all rows": Mutant(
        statistics.unit_range, "image.flatten(1).amax(dim=1)", "image.amax().expand(len(image))", OF_LATENT
    ),
    "plain and other": Mutant(
        statistics._parts, "values[plain], values[~plain]", "values[~plain], values[plain]", AREAS
    ),
    "signed errors of the latent": Mutant(
        statistics.plain_and_other_error,
        "(latent(noise_maps) - latent(native)).abs()",
        "(latent(noise_maps) - latent(native))",
        AREAS,
    ),
    "the farthest": Mutant(statistics.fraction_assigned, "argmin(dim=1)", "argmax(dim=1)", ASSIGNED),
    "the other way round": Mutant(statistics.fraction_assigned, "argmin(dim=1)", "argmin(dim=0)", ASSIGNED),
    "latent and noise changed over": Mutant(
        statistics.angles_to_noise,
        "triangle_angles(noise, native.image, inverted)",
        "triangle_angles(inverted, native.image, noise)",
        TO_NOISE,
    ),
    "angles to another noise": Mutant(
        statistics.angles_to_noise, "if native.schedule.eta != 0:", "if False:", TO_NOISE
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_its_own_test_notices(monkeypatch, name):
    mutant = MUTANTS[name]
    mutate(monkeypatch, mutant)
    # in this process, for there the function is changed
    without = [part for plugin in ("cacheprovider", "xdist", "timeout") for part in ("-p", f"no:{plugin}")]
    assert pytest.main([str(Path(__file__).parent / mutant.seen_by), "-qx", *without]) == pytest.ExitCode.TESTS_FAILED
