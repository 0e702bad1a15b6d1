"""What docs/figures.md says of its numbers, and of those of docs/exact."""

from __future__ import annotations

from .sentence import Sentence, Tables, column, falls, grid, ranges

FIGURES = "docs/figures.md"
WAYS = ("DDIM, from cfg 1", "DDIM, likewise", "one embedding", "null-text")


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
    return all(abs(rows[name] - 5) <= 0.1 and 8 <= seconds[name] <= 9 for name in found)


def null_text(of: Tables) -> bool:
    error, rows = (column(of("nulltext"), name) for name in ("error", "rows"))
    ours, found = "edit friendly", "null-text"
    kept = error[found] < error["DDIM"] and abs(error[found] - error[ours]) < 0.001
    return kept and rows[found] == 5 * rows[ours]


def one_embedding(of: Tables) -> bool:
    success, error = (column(of("nulltext"), name) for name in ("success", "error"))
    one = "null-text, one embedding"
    return max(success, key=lambda name: success[name]) == one and error[one] - error["null-text"] < 0.002


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
]
