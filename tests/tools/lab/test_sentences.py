"""The sentences of the pages that draw a conclusion from numbers, held to the numbers."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from scipy.stats import binomtest

from tools.lab.figures.results import RESULTS, Table, read, tables_of

ROOT = Path(__file__).parents[3]
FIGURES, MEASUREMENTS, DEMO = "docs/figures.md", "docs/measurements.md", "docs/demo-model.md"
CLAIMS, README = "docs/claims.md", "README.md"
KEPT = read(ROOT / "docs" / "figures" / RESULTS)
EXACT = read(ROOT / "docs" / "exact" / RESULTS)
KEPT["figures"] |= {f"exact {name}": figure for name, figure in EXACT["figures"].items()}
CONCLUDES = re.compile(r"\b(?:[Hh]ere|So|is so|and so|comes? out|does not show)\b")

Tables = Callable[..., Table]


@dataclass(frozen=True)
class Sentence:
    """What a page says, and the numbers with which it is true.

    Args:
        page: the path of the file.
        says: a piece of its text that stands there once.
        holds: of the tables of a figure, by its name; "exact" before those of docs/exact.
    """

    page: str
    says: str
    holds: Callable[[Tables], bool]


def column(table: Table, name: str) -> dict[str, float]:
    """The numbers of a column by the name of the row; the column's name may be cut."""
    (k,) = [k for k, title in enumerate(table.columns) if title.startswith(name)]
    return {row: values[k] for row, values in table.rows.items()}


def falls(values: list[float]) -> bool:
    return all(b <= a for a, b in zip(values, values[1:], strict=False))


def grid(table: Table, name: str) -> list[list[float]]:
    """A column of Fig. 14: a row for each skip, a number for each strength."""
    values = [*column(table, name).values()]
    return [values[i : i + 4] for i in range(0, len(values), 4)]


def more_kept(of: Tables) -> bool:
    structure, mirrored, moved = (
        column(of("fig2"), name) for name in ("structure", "MSE x 1000, mir", "MSE x 1000, mov")
    )
    ours, native = "edit friendly", "native"
    return structure[ours] > structure[native] and mirrored[ours] < mirrored[native] and moved[ours] < moved[native]


def angles(of: Tables) -> bool:
    names = ("deviation", "correlation", "angle", "fraction")
    size, correlation, angle, above = (column(of("fig5"), name) for name in names)
    uniform = abs(angle["native"] - 90) < 1 and abs(above["native"] - 30 / 180) < 0.01
    turned = abs(correlation["edit friendly"] + 0.5) < 0.02 and abs(correlation["native"]) < 0.02
    return uniform and turned and above["edit friendly"] > 0.3 and size["edit friendly"] > 3 * size["native"]


def larger_and_opposed(of: Tables) -> bool:
    size, correlation = (column(of("fig12"), name) for name in ("deviation", "correlation"))
    as_regular = abs(size["CycleDiffusion"] - 1) < 0.1 and abs(correlation["CycleDiffusion"]) < 0.02
    return as_regular and size["edit friendly"] > 3 and correlation["edit friendly"] < -0.4


def mostly_the_schedule(of: Tables) -> bool:
    """Within 3% of the numbers of a predictor without error, on the same schedule."""
    drawn = of("exact sizes").rows
    of_schedule = [
        drawn[f"Stable Diffusion, 50 steps, edit friendly: {what}"][0] for what in ("mean deviation", "correlation")
    ]
    return all(abs(a / b - 1) < 0.03 for a, b in zip(of("fig6").rows["edit friendly"], of_schedule, strict=False))


def shifts(of: Tables) -> bool:
    native, cycle, ours = (column(of("fig11"), name) for name in ("native", "CycleDiffusion", "edit friendly"))
    return all(2 * ours[row] < min(native[row], cycle[row]) for row in ours)


def first_cell(of: Tables) -> bool:
    native, cycle = (column(of("fig11"), name) for name in ("native", "CycleDiffusion"))
    first, *others = native
    return cycle[first] > native[first] and all(cycle[row] < native[row] for row in others)


def fills(of: Tables) -> bool:
    mean, error = (column(of("fig11", 2), name) for name in ("MSE", "+-"))
    return abs(mean["copy"] - mean["wrap"]) < error["copy"] and mean["gaussian"] > mean["copy"] + error["gaussian"]


def mirrored_and_moved(of: Tables) -> bool:
    effects = [column(of("fig13"), name) for name in ("mirrored", "moved")]
    return all(2 * effect["edit friendly"] < effect["CycleDiffusion"] for effect in effects)


def painted(of: Tables) -> bool:
    error, structure = (column(of("fig8"), name) for name in ("error", "structure"))
    little, much = "SDEdit, little noise", "SDEdit, much noise"
    return error["Eq. 7"] < error[little] < error[much] and structure["Eq. 7"] > structure[little] > structure[much]


def flat_paint(of: Tables) -> bool:
    way = column(of("fig8"), "way")
    return abs(way["SDEdit, little noise"] - way["Eq. 7"]) < 0.05 and way["SDEdit, much noise"] < 0.5 * way["Eq. 7"]


def less_kept(of: Tables) -> bool:
    error, structure = (column(of("fig4"), name) for name in ("error", "structure"))
    cycle, ours = "CycleDiffusion", "edit friendly"
    return error[cycle] > error[ours] and 0.3 < structure[cycle] < structure[ours]


def skip_and_strength(of: Tables) -> bool:
    structure, error = (grid(of("fig14"), name) for name in ("structure", "error"))
    by_skip = all(falls([*reversed(row)]) for row in map(list, zip(*structure, strict=True)))
    error_by_skip = all(falls(row) for row in map(list, zip(*error, strict=True)))
    return by_skip and error_by_skip and all(falls(row) for row in structure) and all(falls(row[::-1]) for row in error)


def best_at_small_skips(of: Tables) -> bool:
    success = grid(of("fig14"), "success")
    best = max(map(max, success))
    return {(i, k) for i in range(4) for k in range(4) if success[i][k] == best} == {(0, 1), (1, 1)}


def range_of_30(of: Tables) -> bool:
    success = column(of("fig15"), "success")["edit friendly, tuned"]
    return f"{success:.2f}" == "0.87" and ranges(success, 30) == ("0.70", "0.95")


def ranges(success: float, of_all: int) -> tuple[str, str]:
    """The 95% interval of a fraction, as the pages show it."""
    found = binomtest(round(success * of_all), of_all).proportion_ci(method="wilson")
    return f"{found.low:.2f}", f"{found.high:.2f}"


def all_methods(of: Tables) -> bool:
    success, error = (column(of("fig15"), name) for name in ("success", "error"))
    ours, masked = "edit friendly, tuned", "edit friendly + mask, tuned"
    others = ("CycleDiffusion, tuned", "DDIM, tuned")
    nearer = all(error[ours] < error[other] and success[ours] >= success[other] for other in others)
    return nearer and 2.9 * error[ours] < error["SDEdit, tuned"] and error[masked] < error[ours]


def stronger_elsewhere(of: Tables) -> bool:
    success, error = (column(of("fig15"), name) for name in ("success", "error"))
    ours = "edit friendly, strong"
    return all(
        success[other] > success[ours] and error[other] > error[ours]
        for other in ("CycleDiffusion, strong", "DDIM, strong")
    )


def layout_is_held(of: Tables) -> bool:
    success, structure = (column(of("fig15"), name) for name in ("success", "structure"))
    ours = "edit friendly, tuned"
    held = ("P2P + edit friendly, tuned", "Plug-and-Play + edit friendly, tuned")
    return all(structure[name] > structure[ours] and success[name] < success[ours] for name in held)


def little_diversity(of: Tables) -> bool:
    (first, *others) = column(of("fig16"), "diversity").items()
    return first[0].startswith("thing") and first[1] > max(value for _, value in others) and first[1] < 0.05


def as_in_table_1(of: Tables) -> bool:
    diversity, error, rows = (column(of("table1"), name) for name in ("diversity", "error", "rows"))
    plug, ours = "Plug-and-Play + DDIM", "edit friendly"
    of_ddim = [value for name, value in diversity.items() if "DDIM" in name]
    kept = error["DDIM"] > error[ours] and error[plug] - error[ours] < 0.001 and 7.4 < rows[plug] < 7.6
    return kept and not any(of_ddim) and diversity[ours] > 0.01


def lost_by_ddim(of: Tables) -> bool:
    """Whether DDIM and what is built on it keep less of the image than the maps."""
    error, structure = (column(of("table1"), name) for name in ("error", "structure"))
    ours = "edit friendly"
    return all(error[name] > error[ours] and structure[name] < structure[ours] for name in ("DDIM", "P2P + DDIM"))


def kept_by_ddim(of: Tables) -> bool:
    error, structure = (column(of("table1"), name) for name in ("error", "structure"))
    ours, both = "edit friendly", ("DDIM", "P2P + DDIM")
    return all(error[name] < 1.5 * error[ours] and structure[name] > structure[ours] - 0.05 for name in both)


def p2p_on_maps(of: Tables) -> bool:
    diversity, success = (column(of("table1"), name) for name in ("diversity", "success"))
    p2p, ours = "P2P + edit friendly", "edit friendly"
    return diversity[p2p] >= diversity[ours] and success[p2p] < success[ours]


def at_the_papers_settings(of: Tables) -> bool:
    success, error = (column(of("table1", 2), name) for name in ("success", "error"))
    p2p, tuned = "P2P + edit friendly", column(of("table1"), "error")
    least = error[p2p] == min(error.values()) and success[p2p] == max(success.values())
    return least and all(error[name] > 2 * tuned[name] for name in error)


def zero_shot(of: Tables) -> bool:
    error, structure, diversity = (column(of("table2"), name) for name in ("error", "structure", "diversity"))
    ddim, ours = "zero-shot + DDIM", "zero-shot + edit friendly"
    varies = diversity[ours] > 20 * diversity[ddim] and diversity[ddim] < 0.001
    return error[ours] < error[ddim] and structure[ours] > structure[ddim] and varies


def two_fewer_zero_shot(of: Tables) -> bool:
    success = column(of("table2"), "success")
    return round(30 * success["zero-shot + DDIM"]) - round(30 * success["zero-shot + edit friendly"]) == 2


def latents(of: Tables) -> bool:
    numbers, angles = of("latents").rows, of("latents", 2)
    correlation, variance, _, plain, other, error_plain, error_other = numbers["latent"]
    as_said = correlation > numbers["noise"][0] and variance < numbers["noise"][1]
    in_plain_areas = plain < other and plain < numbers["noise"][3] and error_plain > error_other
    triangle = [column(angles, f"at the {what}")["mean"] for what in ("noise", "picture", "latent")]
    return as_said and in_plain_areas and triangle[0] < 90 and triangle[1] < 90 < triangle[2]


def assigned(of: Tables) -> bool:
    pictures, others = (column(of("latents", 3), name) for name in ("of pictures", "of noises"))
    own = pictures["noise"] == pictures["latent"] == 1
    return own and round(3 * (1 - others["noise"]), 1) == 1 == round(4 * (1 - others["latent"]), 1)


def first_steps(of: Tables) -> bool:
    first, rest = (column(of("steps"), name) for name in ("first", "other"))
    return first["plain areas"] > rest["plain areas"] and first["other areas"] < rest["other areas"]


def true_predictions(of: Tables) -> bool:
    names = ("top patch", "error of the noise", "KL", "error of the latent back")
    correlation, noise, divergence, back = (column(of("replaced"), name) for name in names)
    two, plain = "2 true predictions", "textbook"
    return all(each[two] < each[plain] for each in (correlation, noise, divergence, back))


def noised_steps(of: Tables) -> bool:
    names = ("KL", "error of the noise", "error of the latent")
    divergence, noise, back = (column(of("replaced"), name) for name in names)
    two, plain = "2 noised steps", "textbook"
    as_gaussian = divergence[two] < divergence[plain] / 4 and divergence[two] < 1.5 * divergence["2 true predictions"]
    return as_gaussian and noise[two] > 2 * noise[plain] and back[two] > back[plain]


def first_tenth(of: Tables) -> bool:
    first, every = (column(of("steps"), name)["plain areas"] for name in ("first", "all"))
    deviation, noise = (column(of("replaced"), name) for name in ("deviation, plain", "error of the noise"))
    plain, itself = "textbook", "the noise itself"
    return first > every / 2 and deviation[plain] < 0.6 * deviation[itself] and noise["2 true predictions"] < 0.1


def half_way(of: Tables) -> bool:
    diversity, plain = (column(of("interpolation"), name) for name in ("diversity", "fraction"))
    noise, latent, mended = "half way, noise", "half way, latent", "half way, latent, 2 true predictions"
    plainer = 0 < plain[latent] - plain[noise] < 0.01 and plain[mended] >= plain[latent]
    return plainer and diversity[latent] > diversity[noise]


def edits_of_latents(of: Tables) -> bool:
    similar, plain, asked = (column(of("edited"), name) for name in ("SSIM", "of plain", "reads as asked"))
    nearer = 0 < similar["latent"] - similar["noise"] < 0.05 and plain["latent"] < plain["noise"]
    nearer &= abs(similar["latent, 2 true predictions"] - similar["latent"]) < 0.005
    return nearer and min(asked.values()) > 0.9 and max(asked.values()) - min(asked.values()) < 0.05


def hardly_more_in_plain(of: Tables) -> bool:
    lost = [
        values["noise"] - values["latent"]
        for values in (column(of("edited"), f"of {what}") for what in ("plain", "others"))
    ]
    return 0 < lost[0] - lost[1] < 0.02


def exact(of: Tables) -> bool:
    rows = of("exactness").rows
    textbook = rows["DDIM, textbook"]
    others = [row for name, row in rows.items() if name != "DDIM, textbook"]
    held = all(max(row[::2]) < 1e-7 and max(row[1::2]) < 1e-5 for row in others)
    return held and textbook[-2] > textbook[0] > 1e-3


WAYS = ("DDIM, from cfg 1", "DDIM, likewise", "one embedding", "null-text")


def falling_guidance(of: Tables) -> bool:
    error, falling = column(of("cfg"), "error"), ("linear", "cosine")
    *others, best = WAYS
    helps = all(error[f"{way}, {fall}"] < error[f"{way}, constant"] for way in WAYS for fall in falling)
    found = all(error[f"{best}, {how}"] < error[f"{way}, {how}"] for way in others for how in ("constant", *falling))
    worse = all(error[f"one embedding, {how}"] > 2 * error[f"{best}, {how}"] for how in ("constant", *falling))
    return helps and found and worse


def linear_and_cosine(of: Tables) -> bool:
    error = column(of("cfg"), "error")
    gain = {way: [error[f"{way}, constant"] - error[f"{way}, {fall}"] for fall in ("linear", "cosine")] for way in WAYS}
    linear, cosine = gain.pop("null-text")
    return 1.8 < linear / cosine < 2.3 and all(abs(a - b) < 0.15 * a for a, b in gain.values())


def times_of_null_text(of: Tables) -> bool:
    rows, seconds = (column(of("cfg"), name) for name in ("rows", "processor time"))
    found = [f"null-text, {how}" for how in ("constant", "linear", "cosine")]
    return all(rows[name] == pytest.approx(5, abs=0.1) and 8 <= seconds[name] <= 9 for name in found)


def null_text(of: Tables) -> bool:
    error, rows = (column(of("nulltext"), name) for name in ("error", "rows"))
    ours, found = "edit friendly", "null-text"
    kept = error[found] < error["DDIM"] and abs(error[found] - error[ours]) < 0.001
    return kept and rows[found] == 5 * rows[ours]


def one_embedding(of: Tables) -> bool:
    success, error = (column(of("nulltext"), name) for name in ("success", "error"))
    one = "null-text, one embedding"
    return max(success, key=lambda name: success[name]) == one and error[one] - error["null-text"] < 0.002


def time_of_ddim(of: Tables) -> bool:
    return f"{column(of('table1'), 'processor time')['DDIM']:.2f}" == "0.96"


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


def by_skip(of: Tables) -> bool:
    """A larger skip keeps more, and more guidance less; success falls with the skip at little guidance."""
    return skip_and_strength(of) and falls([row[0] for row in grid(of("fig14"), "success")])


def of_the_demo_model(of: Tables) -> bool:
    success, error, structure = (column(of("edits"), name) for name in ("success", "error", "structure"))
    ours, others = "edit friendly", ("CycleDiffusion", "SDEdit")
    kept = all(error[ours] < error[name] and structure[ours] > structure[name] for name in others)
    return kept and all(abs(success[ours] - success[name]) < 0.01 for name in others)


def ddim_on_the_demo_model(of: Tables) -> bool:
    success, error, structure = (column(of("edits"), name) for name in ("success", "error", "structure"))
    ours, ddim = "edit friendly", "DDIM"
    as_much = abs(error[ours] - error[ddim]) < 0.005 and abs(structure[ours] - structure[ddim]) < 0.01
    return as_much and 0 < success[ours] - success[ddim] < 0.03


def mask_on_the_demo_model(of: Tables) -> bool:
    error = column(of("edits"), "error")
    shown = [f"{error[name]:.3f}" for name in ("edit friendly", "edit friendly + mask", "ground truth")]
    return shown == ["0.030", "0.023", "0.017"]


def weak_expressions(of: Tables) -> bool:
    true, ours = (column(of("edits", 2), f"{name}: success") for name in ("ground truth", "edit friendly"))
    others = [value for kind, value in ours.items() if kind not in ("expression", "held-out captions", "all")]
    said = [true["expression"], ours["expression"], ours["all"], sum(others) / len(others)]
    return [f"{value:.2f}" for value in said] == ["0.83", "0.25", "0.90", "0.95"] and min(others) > 2 * said[1]


def no_edit_below_the_autoencoder(of: Tables) -> bool:
    error = column(of("edits"), "error")
    true, *others = (column(of("edits", 2), f"{name}: error") for name in ("ground truth", "edit friendly", "SDEdit"))
    of_a_kind = all(true[kind] < other[kind] for other in others for kind in true if kind not in ("weather", "time"))
    return of_a_kind and error.pop("ground truth") < min(error.values())


def range_of_12(of: Tables) -> bool:
    success = column(of("edits", 2), "edit friendly: success")["number"]
    return f"{success:.2f}" == "0.75" and ranges(success, 12) == ("0.47", "0.91")


def nearly_as_it_was(of: Tables) -> bool:
    error = column(of("edits"), "error")
    return 0 < error["edit friendly"] - error["ground truth"] < 0.02


SENTENCES = [
    Sentence(FIGURES, "edit-friendly maps keep it. It is so here", more_kept),
    Sentence(FIGURES, "whose vectors are larger. It is so here too", angles),
    Sentence(FIGURES, "In closed form the correlation is -0.50", angles),
    Sentence(FIGURES, "are almost those of regular sampling. It is so here", larger_and_opposed),
    Sentence(FIGURES, "what the figure shows is mostly the schedule", mostly_the_schedule),
    Sentence(FIGURES, "shifts of 1, 2, 4, 8, 12 and 16 pixels of 256. It is so here too", shifts),
    Sentence(FIGURES, "CycleDiffusion loses less than native from the second cell on", first_cell),
    Sentence(FIGURES, "`wrap` fills the free columns as well as the paper's `copy`, fresh noise worse", fills),
    Sentence(FIGURES, "with its own the effects come out. It is so here", mirrored_and_moved),
    Sentence(FIGURES, "Eq. 7 paints strongly and keeps textures. It is so here for what is kept", painted),
    Sentence(FIGURES, "little noise leaves as much of the flat paint as Eq. 7", flat_paint),
    Sentence(FIGURES, "Here it keeps less of it, but far from none", less_kept),
    Sentence(FIGURES, "It is so here: at each strength structure rises with the skip and falls", skip_and_strength),
    Sentence(FIGURES, "success is highest at strength 2 and small skips", best_at_small_skips),
    Sentence(FIGURES, "0.87 of 30 stands for 0.70 to 0.95", range_of_30),
    Sentence(FIGURES, "Here it has, by itself, a lower error at no lower success than CycleDiffusion", all_methods),
    Sentence(FIGURES, "CycleDiffusion and DDIM succeed more often at the strong setting", stronger_elsewhere),
    Sentence(FIGURES, "keep more of the structure but succeed less often", layout_is_held),
    Sentence(FIGURES, "Here they keep the structure and differ little", little_diversity),
    Sentence(FIGURES, "Here it is so of diversity, which only the maps have", as_in_table_1),
    Sentence(FIGURES, "DDIM and Prompt-to-Prompt on it keep the image, too", kept_by_ddim),
    Sentence(FIGURES, "no less diversity than they have alone, and succeeds less often", p2p_on_maps),
    Sentence(FIGURES, "every method loses most of this model's pictures", at_the_papers_settings),
    Sentence(FIGURES, "Here they come nearer, and vary twenty times as much", zero_shot),
    Sentence(FIGURES, "they succeed a little less often, by two of 30 edits", two_fewer_zero_shot),
    Sentence(FIGURES, "obtuse in almost every model. It is so here", latents),
    Sentence(
        FIGURES,
        "Here all pictures find theirs, but a third of the noises and a quarter of the latents do not",
        assigned,
    ),
    Sentence(FIGURES, "Here it does in plain areas. What differs: in other areas the rest adds more", first_steps),
    Sentence(FIGURES, "It is so here of the first three; the picture comes back better", true_predictions),
    Sentence(FIGURES, "and the picture comes back less well", noised_steps),
    Sentence(FIGURES, "This does not come out here", half_way),
    Sentence(FIGURES, "Here they stay nearer, by little, and true predictions do not mend it", edits_of_latents),
    Sentence(FIGURES, "That they read less as asked does not come out", edits_of_latents),
    Sentence(FIGURES, "one embedding for all steps is worse. It is so here", falling_guidance),
    Sentence(FIGURES, "by null-text a linear fall helps twice as much as a cosine", linear_and_cosine),
    Sentence(FIGURES, "null-text takes 5 times the rows and 8 to 9 times as long", times_of_null_text),
    Sentence(FIGURES, "Here null-text errs less than DDIM, and as little as the edit-friendly maps", null_text),
    Sentence(FIGURES, "that one embedding is worse does not show on these 30 edits", one_embedding),
    Sentence(FIGURES, "Here they do at every guidance", exact),
    Sentence(FIGURES, "and so do those of CycleDiffusion and of DDIM with its residuals", exact),
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
    Sentence(DEMO, "Its error is the autoencoder's, and no edit's is lower", no_edit_below_the_autoencoder),
    Sentence(DEMO, ".75 stands for .47 to .91", range_of_12),
    Sentence(DEMO, "So edits keep more of the picture by the edit-friendly maps than by", of_the_demo_model),
    Sentence(DEMO, "DDIM keeps about as much here and succeeds a little less", ddim_on_the_demo_model),
    Sentence(DEMO, "from 0.030 to 0.023, of which 0.017 is the autoencoder's", mask_on_the_demo_model),
    Sentence(DEMO, "reads 0.90 in the mean; without expressions it is 0.95", weak_expressions),
    Sentence(CLAIMS, "`python -m tools.lab figures --only interpolation`: not so there", half_way),
    Sentence(CLAIMS, "--only edited`: hardly more than others there", hardly_more_in_plain),
    Sentence(CLAIMS, "by other measures: distances little, alignment not", edits_of_latents),
    Sentence(
        CLAIMS,
        "replaced, then edited | demo | `python -m tools.lab figures --only edited`: not so there",
        edits_of_latents,
    ),
    Sentence(CLAIMS, "`python -m tools.lab figures --only cfg`: so;", falling_guidance),
    Sentence(CLAIMS, "`python -m tools.lab figures --only nulltext`: not so", one_embedding),
    Sentence(CLAIMS, "`python -m tools.lab figures --only cfg`: 8 to 9 times there", times_of_null_text),
    Sentence(CLAIMS, "its time is 0.96 of ours", time_of_ddim),
    Sentence(README, "What the words leave alone stays nearly as it was", nearly_as_it_was),
    Sentence(README, "more keeps more of the picture", by_skip),
    Sentence(README, "lower edits less and keeps more", by_eta),
]


def one_line(text: str) -> str:
    """Without the tables of the results."""
    return " ".join(re.sub(r"<!-- figure .*?<!-- end -->", "", text, flags=re.DOTALL).split())


def text_of(page: str) -> str:
    return one_line((ROOT / page).read_text(encoding="utf-8"))


def not_held(page: str) -> list[str]:
    """What the sections of a page that show results conclude from them and no sentence holds."""
    found = []
    for part in re.split(r"^#{2,3} ", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
        if "<!-- figure" in part:
            text = one_line(re.sub(r"^\|.*$", "", part, flags=re.MULTILINE))
            starts = [(text.find(held.says), len(held.says)) for held in SENTENCES if held.page == page]
            found += [
                text[max(0, word.start() - 40) : word.end() + 40]
                for word in CONCLUDES.finditer(text)
                if not any(0 <= start <= word.start() < start + length for start, length in starts)
            ]
    return found


def tables(kept: Mapping) -> Tables:
    return lambda name, number=1: tables_of(kept, name)[number - 1]


def turned_round(kept: Mapping) -> list[dict]:
    """The results with the rows of each table in turned order under their names, and with its columns."""
    rows, columns = copy.deepcopy(dict(kept)), copy.deepcopy(dict(kept))
    for figure in rows["figures"].values():
        for table in figure["tables"]:
            table["rows"] = dict(zip(table["rows"], reversed(table["rows"].values()), strict=True))
    for figure in columns["figures"].values():
        for table in figure["tables"]:
            table["rows"] = {name: row[::-1] for name, row in table["rows"].items()}
    return [rows, columns]


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: f"{sentence.page} {sentence.says[:40]}")
def test_a_sentence_is_true_of_the_numbers_and_would_not_be_of_others(sentence):
    assert text_of(sentence.page).count(sentence.says) == 1
    assert sentence.holds(tables(KEPT))
    assert not all(sentence.holds(tables(other)) for other in turned_round(KEPT))


@pytest.mark.parametrize("page", [FIGURES, MEASUREMENTS, DEMO])
def test_every_conclusion_has_numbers_to_say_it(page):
    assert not not_held(page)


def test_every_remark_on_what_the_demo_shows_has_numbers_to_say_it():
    remarks = re.findall(r"tools\.lab figures --only [\w ]+`: [^|;]*", text_of(CLAIMS))
    held = " ".join(sentence.says for sentence in SENTENCES if sentence.page == CLAIMS)
    assert remarks and not [remark for remark in remarks if remark.partition("figures ")[2].strip() not in held]


def results_of(name: str, columns: tuple[str, ...], rows: Mapping[str, tuple[float, ...]]) -> dict:
    return {"figures": {name: {"tables": [Table("", columns, rows).to_dict()]}}}


# What an earlier model and an earlier page had, where a review found three sentences that the numbers did not carry.
EARLIER = {
    "Fig. 5: the vectors turn back, beside a correlation of -0.33 that their angle contradicts": (
        angles,
        results_of(
            "fig5",
            (
                "deviation of z",
                "correlation of consecutive z",
                "angle between them, degrees",
                "fraction of angles above 150",
            ),
            {"native": (1.00, -0.01, 90, 0.17), "edit friendly": (3.77, -0.33, 120, 0.34)},
        ),
    ),
    "Fig. 14: structure rises with the skip": (
        skip_and_strength,
        results_of(
            "fig14",
            ("success", "error", "structure"),
            {
                "skip 0, strength 1": (1.00, 0.019, 0.68),
                "skip 0, strength 2": (1.00, 0.021, 0.67),
                "skip 0, strength 4": (1.00, 0.030, 0.61),
                "skip 0, strength 7": (1.00, 0.053, 0.52),
                "skip 0.1, strength 1": (1.00, 0.023, 0.68),
                "skip 0.1, strength 2": (1.00, 0.021, 0.65),
                "skip 0.1, strength 4": (1.00, 0.033, 0.60),
                "skip 0.1, strength 7": (1.00, 0.058, 0.52),
                "skip 0.25, strength 1": (0.71, 0.014, 0.78),
                "skip 0.25, strength 2": (0.86, 0.022, 0.62),
                "skip 0.25, strength 4": (0.86, 0.045, 0.49),
                "skip 0.25, strength 7": (1.00, 0.069, 0.43),
                "skip 0.5, strength 1": (0.29, 0.011, 0.89),
                "skip 0.5, strength 2": (0.57, 0.017, 0.83),
                "skip 0.5, strength 4": (0.57, 0.036, 0.68),
                "skip 0.5, strength 7": (0.71, 0.053, 0.56),
            },
        ),
    ),
    "Tab. 1: DDIM and what is built on it lose the image": (
        lost_by_ddim,
        results_of(
            "table1",
            ("success", "error", "structure", "diversity"),
            {
                "DDIM": (0.81, 0.033, 0.57, 0.000),
                "P2P + DDIM": (0.57, 0.035, 0.73, 0.000),
                "P2P + edit friendly": (0.71, 0.015, 0.78, 0.010),
                "edit friendly": (1.00, 0.024, 0.61, 0.019),
            },
        ),
    ),
}


@pytest.mark.parametrize("claim", EARLIER)
def test_what_a_review_found_false_is_rejected(claim):
    holds, results = EARLIER[claim]
    assert not holds(tables(results))


def test_the_image_is_lost_where_both_keep_less_of_it():
    table = copy.deepcopy(EARLIER["Tab. 1: DDIM and what is built on it lose the image"][1])
    table["figures"]["table1"]["tables"][0]["rows"]["P2P + DDIM"][2] = 0.60
    assert lost_by_ddim(tables(table))
