"""What docs/measurements.md says of its numbers."""

from __future__ import annotations

import numpy as np

from .figures import noised_steps
from .sentence import Sentence, Tables, column, falls

MEASUREMENTS = "docs/measurements.md"
OF_EDITS = ("success", "error", "structure")


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
    """Against the line between the values of eta, at the success of each window that edits as often as FlowEdit."""
    of_eta = ("eta 0, FlowEdit", "eta 0.5", "eta 1")
    success, error = ([column(of("flow"), name)[eta] for eta in of_eta] for name in ("success", "error"))
    shared = [*zip(*(column(of("flow_attention"), name).values() for name in ("success", "error")), strict=True)]
    gains = [1 - value / np.interp(often, success, error) for often, value in shared if often > success[0] - 0.02]
    others = [often for often, _ in shared if often <= success[0] - 0.02]
    return len(gains) == 3 and max(gains) < 0.02 and max(others) < 0.65


def beside_flow_attention(of: Tables) -> bool:
    success, error = (column(of("flow"), name) for name in ("success", "error"))
    said = {
        "eta 1": ("0.031", "0.81"),
        "eta 0.5": ("0.028", "0.75"),
        "eta 1, the mask from two prompts": ("0.024", "0.81"),
    }
    return all((f"{error[row]:.3f}", f"{success[row]:.2f}") == numbers for row, numbers in said.items())


def halves_of_the_blocks(of: Tables) -> bool:
    success, error, structure = (column(of("flow_blocks"), name) for name in OF_EDITS)
    eta_0 = [column(of("flow"), name)["eta 0, FlowEdit"] for name in OF_EDITS]
    first, second = ([of_row[row] for of_row in (success, error, structure)] for row in success)
    said = [f"{success:.2f}" for success in (first[0], eta_0[0])] == ["0.69", "0.72"]
    as_eta = abs(first[1] - eta_0[1]) < 0.0005 and abs(first[2] - eta_0[2]) < 0.02
    return said and as_eta and second[0] < first[0] and second[1] < first[1] and second[2] > first[2]


def none_is_a_node(of: Tables) -> bool:
    """What hardly edits, what loses structure, and what a mask and Keep Image do as well."""
    success, error, structure = (column(of("flow_edits"), name) for name in OF_EDITS)
    weak = [row for row in success if success[row] < 0.25]
    pulled = error["FlowAlign"] < error["FlowEdit"] - 0.003 and success["FlowAlign"] == success["FlowEdit"]
    held = [column(of("flow"), name) for name in ("error", "success")]
    said = {"eta 1, Keep Image, 0.1": [0.027, 0.80], "eta 1, the mask from two prompts": [0.024, 0.81]}
    as_said = all([round(held[0][row], 3), round(held[1][row], 2)] == numbers for row, numbers in said.items())
    loses = structure["Uni-Edit"] == min(structure.values())
    return weak == ["rising strength", "soft field", "ChordEdit"] and pulled and loses and as_said


def nothing_beside_a_mask(of: Tables) -> bool:
    success, error, structure = ([*column(of("flow_background"), name).values()] for name in OF_EDITS)
    return min(success) > 0.75 and all(abs(a - b) < 0.001 for a, b in (success, error, structure))


def mask_and_keep_on_flow(of: Tables) -> bool:
    success, error = (column(of("flow"), name) for name in ("success", "error"))
    plain, mask, keep = "eta 1", "eta 1, the mask from two prompts", "eta 1, Keep Image, 0.1"
    alike = abs(success[plain] - success[mask]) < 0.01 and f"{success[plain] - success[keep]:.2f}" == "0.01"
    return alike and 0.75 < error[mask] / error[plain] < 0.80 and abs(error[keep] / error[plain] - 6 / 7) < 0.01


def by_eta_on_flow(of: Tables) -> bool:
    of_eta = ("eta 1", "eta 0.5", "eta 0, FlowEdit")
    success, error, structure = ([column(of("flow"), name)[eta] for eta in of_eta] for name in OF_EDITS)
    return falls(success) and falls(error) and falls(structure[::-1])


def weak_kinds_on_flow(of: Tables) -> bool:
    success = column(of("flow", 2), "eta 1: success")
    weak = [success.pop(kind) for kind in ("expression", "number")]
    others = [value for kind, value in success.items() if kind not in ("held-out captions", "all")]
    return [f"{value:.2f}" for value in (*weak, sum(others) / len(others))] == ["0.06", "0.58", "0.88"]


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
    Sentence(
        MEASUREMENTS, "On the same edits [the maps alone](#edits-on-flow-models) have an error", beside_flow_attention
    ),
    Sentence(MEASUREMENTS, "change nothing that these measures see", nothing_beside_a_mask),
    Sentence(MEASUREMENTS, "In the first half it does what eta 0 does", halves_of_the_blocks),
    Sentence(MEASUREMENTS, "So none of them is a node", none_is_a_node),
    Sentence(MEASUREMENTS, "takes away more than a fifth of the error at the same success", mask_and_keep_on_flow),
    Sentence(MEASUREMENTS, "a seventh at a success 0.01 lower", mask_and_keep_on_flow),
    Sentence(MEASUREMENTS, "A lower eta keeps more and edits less often", by_eta_on_flow),
    Sentence(MEASUREMENTS, "without these two kinds the mean is 0.88", weak_kinds_on_flow),
    Sentence(MEASUREMENTS, "Expressions are not found by either model", words_not_found),
    Sentence(MEASUREMENTS, "So where the model predicts another image from them", found_by_two_prompts),
    Sentence(MEASUREMENTS, "Two edits of the same thing are better asked for in one prompt", of_one_thing),
    Sentence(MEASUREMENTS, "Expressions, which this model seldom changes, spoil the first pair", expressions_spoil),
]
