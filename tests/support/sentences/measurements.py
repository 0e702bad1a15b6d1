"""What docs/measurements.md says of its numbers."""

from __future__ import annotations

from .figures import noised_steps
from .sentence import Sentence, Tables, column, falls

MEASUREMENTS = "docs/measurements.md"


def first_tenth(of: Tables) -> bool:
    first, every = (column(of("steps"), name)["plain areas"] for name in ("first", "all"))
    deviation, noise = (column(of("replaced"), name) for name in ("deviation, plain", "error of the noise"))
    plain, itself = "textbook", "the noise itself"
    return first > every / 2 and deviation[plain] < 0.6 * deviation[itself] and noise["2 true predictions"] < 0.1


def third_of_an_edit_model(of: Tables) -> bool:
    success, error = (column(of("edit_model"), name) for name in ("success", "error"))
    plain, maps, alone = "edit model, from noise", "through noise maps", "with Keep Image, 0.15"
    return success[maps] >= success[plain] and all(
        0.3 <= 1 - error[way] / error[plain] <= 0.36 for way in (maps, alone)
    )


def half_of_an_edit_model(of: Tables) -> bool:
    success, low, high, error = (column(of("edit_model"), name) for name in ("success", "from", "to", "error"))
    plain, both = "edit model, from noise", "maps and Keep Image, 0.1"
    least = column(of("edits"), "error")["ground truth"]
    shown = [f"{error[plain]:.3f}", f"{error[both]:.3f}", f"{success[plain] - success[both]:.2f}", f"{least:.3f}"]
    within = low[plain] < success[both] and success[plain] < high[both]
    fifth = 0.18 < (error[both] - least) / (error[plain] - least) < 0.22
    return shown == ["0.044", "0.023", "0.01", "0.017"] and within and fifth and error[both] / error[plain] < 0.55


def places_taken_back(of: Tables) -> bool:
    maps, both = (
        column(of("edit_model", 2), f"{name}: success") for name in ("through noise maps", "maps and Keep Image, 0.1")
    )
    back = {
        kind: round(48 * maps[kind]) - round(48 * both[kind])
        for kind in maps
        if kind not in ("all", "held-out captions")
    }
    return round(48 * maps["place"]) == 41 and back["place"] == 4 and max(back, key=lambda kind: back[kind]) == "place"


def keep_and_mask(of: Tables) -> bool:
    """How much of what an edit adds to the autoencoder's error each takes away."""
    error = column(of("edits"), "error")
    least, all_of_it = error["ground truth"], error["edit friendly"] - error["ground truth"]
    names = (", Keep Image 0.1", ", Keep Image 0.15", " + mask", " + mask, Keep Image 0.1", " + mask, Keep Image 0.15")
    low, high, mask, *both = (1 - (error[f"edit friendly{name}"] - least) / all_of_it for name in names)
    alone = 0.3 < low < 0.36 and 0.44 < high < 0.5 and 0.48 < mask < 0.55
    return alone and all(0 < value - mask < 0.1 for value in both) and f"{least:.3f}" == "0.017"


def p2p_beside_maps(of: Tables) -> bool:
    alone, beside = (
        [column(of("p2p", 2), f"{way}: {what}") for what in ("success", "error")]
        for way in ("maps alone", "with Prompt-to-Prompt")
    )
    return all(alone[0][kind] == beside[0][kind] and alone[1][kind] > beside[1][kind] for kind in ("color", "place"))


def seldom_a_further_thing(of: Tables) -> bool:
    alone, beside = (column(of("p2p", 2), f"{way}: success") for way in ("maps alone", "with Prompt-to-Prompt"))
    return beside["number"] < 0.5 * alone["number"] and beside["number"] == min(beside.values())


def unchanged(of: Tables) -> bool:
    error, within = column(of("strength"), "error"), column(of("strength"), "+-")
    least = column(of("edits"), "error")["ground truth"]
    none = column(of("strength"), "success")["strength 0"] == 0
    return none and abs(error["strength 0"] - least) < within["strength 0"]


def by_strength(of: Tables) -> bool:
    success, error, structure = ([*column(of("strength"), name).values()] for name in ("success", "error", "structure"))
    rises = falls(success[3::-1]) and success[4] < success[3]
    return rises and falls(error[::-1]) and falls(structure)


def by_eta(of: Tables) -> bool:
    success, error, structure = ([*column(of("eta"), name).values()] for name in ("success", "error", "structure"))
    rises = falls(structure[::-1]) and structure[0] < structure[-1]
    return rises and falls(success) and success[0] > success[-1] and falls(error)


def way_by_eta(of: Tables) -> bool:
    reached = of("exact skips").rows
    return [f"{reached[f'N(m, 1^2), eta {eta}, skip 36: reached'][0]:.3f}" for eta in (0, 1)] == ["0.641", "0.867"]


def by_steps(of: Tables) -> bool:
    success, error = ([*column(of("order"), name).values()] for name in ("success", "error"))
    steps = [4, 8, 10, 20, 25, 50, 100]
    at = {count: slice(2 * k, 2 * k + 2) for k, count in enumerate(steps)}  # of both orders
    nearly = all(b - a <= 0.07 for a, b in zip(success[at[8]], success[at[100]], strict=True))
    alike = all(abs(a - b) < 0.002 for a, b in zip(error[at[8]], error[at[100]], strict=True))
    return success[at[20]] == success[at[100]] and nearly and alike


def by_order(of: Tables) -> bool:
    success, structure = ([*column(of("order"), name).values()] for name in ("success", "structure"))
    return success[::2] == success[1::2] and all(
        second - first < 0.005 for first, second in zip(structure[::2], structure[1::2], strict=True)
    )


def found_by_two_prompts(of: Tables) -> bool:
    *of_kinds, mean = column(of("masks"), "area").values()
    return abs(mean - sum(of_kinds) / len(of_kinds)) < 0.001 and mean > 0.9 and min(of_kinds) > 0.85


def sharing_gains_nothing(of: Tables) -> bool:
    success, error = (column(of("flow_attention_curves"), name) for name in ("success", "error"))
    alone = "the maps alone"
    shared = [row for row in success if row != alone]
    near = [row for row in shared if success[alone] - success[row] < 0.05]
    lower = [row for row in shared if error[alone] - error[row] > 0.0025]
    alike = all(abs(error[alone] - error[row]) < 0.0025 for row in near)
    return len(near) == 2 and alike and all(success[alone] - success[row] > 0.1 for row in lower)


def words_not_found(of: Tables) -> bool:
    by_cross, by_joint = (column(of("words"), f"{model} model") for model in ("bundled", "flow"))
    neither = max(by_cross["expression"], by_joint["expression"]) < 0.5
    return neither and by_joint["vessel"] < 0.5 and min(by_joint[kind] for kind in ("color", "material", "fruit")) > 0.7


def of_one_thing(of: Tables) -> bool:
    both = column(of("two"), "both as asked")
    return both["color and thing, one prompt"] > 2 * both["color and thing, a chain of two"]


def expressions_spoil(of: Tables) -> bool:
    both = column(of("two"), "both as asked")
    return max(both[f"color and expression, {how}"] for how in ("a chain of two", "one prompt")) < 0.2


SENTENCES = [
    Sentence(MEASUREMENTS, "most of that error comes from the first tenth of the steps", first_tenth),
    Sentence(MEASUREMENTS, "it is nearly as Gaussian, but another noise", noised_steps),
    Sentence(MEASUREMENTS, "So noise maps (*source_prediction*: image) take away a third", third_of_an_edit_model),
    Sentence(MEASUREMENTS, "Keep Image alone takes away a third", third_of_an_edit_model),
    Sentence(MEASUREMENTS, "0.044 becomes 0.023 at a success 0.01 lower, within both intervals", half_of_an_edit_model),
    Sentence(MEASUREMENTS, "of what a method adds, maps and Keep Image leave a fifth", half_of_an_edit_model),
    Sentence(MEASUREMENTS, "takes back four of 41 changes of place, the most of any kind", places_taken_back),
    Sentence(MEASUREMENTS, "both together hardly more than the mask", keep_and_mask),
    Sentence(MEASUREMENTS, "Prompt-to-Prompt keeps more at the same success where the layout stays", p2p_beside_maps),
    Sentence(MEASUREMENTS, "a further thing seldom appears", seldom_a_further_thing),
    Sentence(MEASUREMENTS, "At 0 the image comes back, with the autoencoder's error", unchanged),
    Sentence(MEASUREMENTS, "error rises and structure falls with every value of w; success rises up to 2", by_strength),
    Sentence(MEASUREMENTS, "A lower eta keeps more of the image because it edits later, and less", by_eta),
    Sentence(MEASUREMENTS, "0.641 of the way against 0.867", way_by_eta),
    Sentence(MEASUREMENTS, "So 20 steps do here what 100 do, at either order, and 8 nearly do", by_steps),
    Sentence(MEASUREMENTS, "Second order gains nothing", by_order),
    Sentence(MEASUREMENTS, "So sharing attention gains nothing here", sharing_gains_nothing),
    Sentence(MEASUREMENTS, "Expressions are not found by either model", words_not_found),
    Sentence(MEASUREMENTS, "So where the model predicts another image from them", found_by_two_prompts),
    Sentence(MEASUREMENTS, "Two edits of the same thing are better asked for in one prompt", of_one_thing),
    Sentence(MEASUREMENTS, "Expressions, which this model seldom changes, spoil the first pair", expressions_spoil),
]
