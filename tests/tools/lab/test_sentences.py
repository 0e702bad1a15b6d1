"""The sentences of the pages of figures and measurements that say that something is so here, held to the numbers."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tools.lab.figures.results import RESULTS, Table, read, tables_of

ROOT = Path(__file__).parents[3]
PAGE = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("figures.md", "measurements.md"))
KEPT = read(ROOT / "docs" / "figures" / RESULTS)
HERE = re.compile(r"\b(?:[Ii]t is so here|[Hh]ere the same|Here it|Here they|does not come out)\b")

Tables = Callable[..., Table]


@dataclass(frozen=True)
class Sentence:
    """What the page says in a section, and the numbers with which it is true.

    Args:
        section: the beginning of its heading.
        says: a part of its text.
        holds: of the tables of a figure, by its name.
    """

    section: str
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
    angle, above, size = (column(of("fig5"), name) for name in ("angle", "fraction", "deviation"))
    uniform = abs(angle["native"] - 90) < 1 and abs(above["native"] - 30 / 180) < 0.01
    return uniform and above["edit friendly"] > 0.3 and size["edit friendly"] > size["native"]


def larger_and_opposed(of: Tables) -> bool:
    size, correlation = (column(of("fig12"), name) for name in ("deviation", "correlation"))
    as_regular = abs(size["CycleDiffusion"] - 1) < 0.1 and abs(correlation["CycleDiffusion"]) < 0.02
    return as_regular and size["edit friendly"] > 3 and correlation["edit friendly"] < -0.4


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


def diversity_of_maps(of: Tables) -> bool:
    diversity, error = (column(of("table1"), name) for name in ("diversity", "error"))
    of_ddim = [value for name, value in diversity.items() if "DDIM" in name]
    return not any(of_ddim) and diversity["edit friendly"] > 0.01 and error["DDIM"] > error["edit friendly"]


def table_1_differs(of: Tables) -> bool:
    error, rows, diversity = (column(of("table1"), name) for name in ("error", "rows", "diversity"))
    plug, ours, p2p = "Plug-and-Play + DDIM", "edit friendly", "P2P + edit friendly"
    return error[plug] - error[ours] < 0.001 and 7 < rows[plug] < 8 and diversity[p2p] >= diversity[ours]


def at_the_papers_settings(of: Tables) -> bool:
    success, error = (column(of("table1", 2), name) for name in ("success", "error"))
    p2p, tuned = "P2P + edit friendly", column(of("table1"), "error")
    least = error[p2p] == min(error.values()) and success[p2p] == max(success.values())
    return least and all(error[name] > 2 * tuned[name] for name in error)


def zero_shot(of: Tables) -> bool:
    error, structure, diversity = (column(of("table2"), name) for name in ("error", "structure", "diversity"))
    ddim, ours = "zero-shot + DDIM", "zero-shot + edit friendly"
    varies = diversity[ours] > 20 * diversity[ddim]
    return error[ours] < error[ddim] and structure[ours] > structure[ddim] and varies


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
    return divergence[two] < divergence[plain] / 2 and noise[two] > noise[plain] and back[two] > back[plain]


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


def exact(of: Tables) -> bool:
    rows = of("exactness").rows
    textbook = rows["DDIM, textbook"]
    others = [row for name, row in rows.items() if name != "DDIM, textbook"]
    held = all(max(row[::2]) < 1e-7 and max(row[1::2]) < 1e-5 for row in others)
    return held and textbook[-2] > textbook[0] > 1e-3


def falling_guidance(of: Tables) -> bool:
    error, falling = column(of("cfg"), "error"), ("linear", "cosine")
    others = ("DDIM, from cfg 1", "DDIM, likewise", "one embedding")
    ways = (*others, "null-text")
    helps = all(error[f"{way}, {fall}"] < error[f"{way}, constant"] for way in ways for fall in falling)
    best = all(error[f"null-text, {how}"] < error[f"{way}, {how}"] for way in others for how in ("constant", *falling))
    return helps and best and column(of("cfg"), "rows")["null-text, constant"] == pytest.approx(5, abs=0.1)


def null_text(of: Tables) -> bool:
    error, rows = (column(of("nulltext"), name) for name in ("error", "rows"))
    ours, found = "edit friendly", "null-text"
    kept = error[found] < error["DDIM"] and abs(error[found] - error[ours]) < 0.001
    return kept and rows[found] == 5 * rows[ours] and error["null-text, one embedding"] - error[found] < 0.002


def kept_by_an_edit_model(of: Tables) -> bool:
    success, error = (column(of("edit_model"), name) for name in ("success", "error"))
    plain, maps, both, alone = (
        (success[row], error[row])
        for row in ("edit model, from noise", "through noise maps", "maps and Keep Image, 0.1", "with Keep Image, 0.15")
    )
    third = [1 - error / plain[1] for _, error in (maps, alone)]
    fifth = (both[1] - 0.017) / (plain[1] - 0.017)
    as_often = maps[0] >= plain[0] and both[0] >= plain[0] - 0.015
    return (
        as_often and all(0.3 <= part <= 0.4 for part in third) and 0.45 <= both[1] / plain[1] <= 0.55 and fifth < 0.25
    )


def taken_back(of: Tables) -> bool:
    table = of("edit_model", 2)
    return (
        0.08
        <= column(table, "edit model, from noise: success")["place"]
        - column(table, "maps and Keep Image, 0.1: success")["place"]
        <= 0.12
    )


SENTENCES = [
    Sentence("Fig. 2", "edit-friendly maps keep it. It is so here", more_kept),
    Sentence("Fig. 5", "whose vectors are larger. It is so here too", angles),
    Sentence("Figs. 6 and 12", "are almost those of regular sampling. It is so here", larger_and_opposed),
    Sentence("Figs. 7 and 11", "moving the edit-friendly code costs little", shifts),
    Sentence("Figs. 7 and 11", "CycleDiffusion loses less than native from the second cell on", first_cell),
    Sentence("Figs. 7 and 11", "`wrap` fills the free columns as well as the paper's `copy`, fresh noise worse", fills),
    Sentence("Fig. 13", "with its own the effects come out. It is so here", mirrored_and_moved),
    Sentence("Fig. 8", "Eq. 7 paints strongly and keeps textures. It is so here for what is kept", painted),
    Sentence("Fig. 8", "little noise leaves as much of the flat paint as Eq. 7", flat_paint),
    Sentence("Fig. 4", "Here it keeps less of it, but far from none", less_kept),
    Sentence("Fig. 15", "a lower error at no lower success than CycleDiffusion and DDIM", all_methods),
    Sentence("Fig. 15", "CycleDiffusion and DDIM succeed more often at the strong setting", stronger_elsewhere),
    Sentence("Fig. 15", "keep more of the structure but succeed less often", layout_is_held),
    Sentence("Fig. 16", "Here they keep the structure and differ little", little_diversity),
    Sentence("Tab. 1", "Here it is so of diversity, which only the maps have", diversity_of_maps),
    Sentence("Tab. 1", "as well as the maps, at seven times the rows", table_1_differs),
    Sentence("Tab. 1", "every method loses most of this model's pictures", at_the_papers_settings),
    Sentence("Tab. 2", "Here they come nearer, and vary twenty times as much", zero_shot),
    Sentence("Noise, latent", "obtuse in almost every model. It is so here", latents),
    Sentence("Noise, latent", "a third of the noises and a quarter of the latents do not", assigned),
    Sentence("The error of each step", "Here it does in plain areas", first_steps),
    Sentence("True predictions", "It is so here of the first three; the picture comes back better", true_predictions),
    Sentence("True predictions", "and the picture comes back less well", noised_steps),
    Sentence("Interpolation", "This does not come out here", half_way),
    Sentence("Edits of latents", "by little, and true predictions do not mend it", edits_of_latents),
    Sentence("Guidance that falls", "one embedding for all steps is worse. It is so here", falling_guidance),
    Sentence("Edits by null-text", "as little as the edit-friendly maps at five times their rows", null_text),
    Sentence("Exactness", "Here they do at every guidance", exact),
    Sentence(
        "An edit model that keeps",
        "nearly half of it: 0.044 becomes 0.023 at a success 0.01 lower",
        kept_by_an_edit_model,
    ),
    Sentence("An edit model that keeps", "it takes back a tenth of the changes of place", taken_back),
    Sentence("Fig. 14", "structure rises with the skip and falls with the strength", skip_and_strength),
]


def sections() -> dict[str, str]:
    """The text of each section by its heading, tables left out, in one line."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.MULTILINE)
    without_tables = [re.sub(r"^\|.*$", "", text, flags=re.MULTILINE) for text in parts[2::2]]
    return {heading: " ".join(text.split()) for heading, text in zip(parts[1::2], without_tables, strict=True)}


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


@pytest.mark.parametrize("sentence", SENTENCES, ids=lambda sentence: sentence.says[:40])
def test_a_sentence_is_true_of_the_numbers_and_would_not_be_of_others(sentence):
    (text,) = [text for heading, text in sections().items() if heading.startswith(sentence.section)]
    assert sentence.says in text
    assert sentence.holds(tables(KEPT))
    assert not all(sentence.holds(tables(other)) for other in turned_round(KEPT))


def test_every_section_that_says_so_has_numbers_to_say_it():
    said = {heading for heading, text in sections().items() if HERE.search(text)}
    held = {heading for heading in said if any(heading.startswith(sentence.section) for sentence in SENTENCES)}
    assert said == held
