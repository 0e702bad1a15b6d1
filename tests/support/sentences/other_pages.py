"""What the page of the demo model, that of the claims and the README say of numbers."""

from __future__ import annotations

from .figures import edits_of_latents, falling_guidance, half_way, one_embedding, skip_and_strength, times_of_null_text
from .measurements import by_eta
from .sentence import Sentence, Tables, column, falls, grid, ranges

DEMO = "docs/demo-model.md"
CLAIMS = "docs/claims.md"
README = "README.md"


def hardly_more_in_plain(of: Tables) -> bool:
    lost = [
        values["noise"] - values["latent"]
        for values in (column(of("edited"), f"of {what}") for what in ("plain", "others"))
    ]
    return 0 < lost[0] - lost[1] < 0.02


def time_of_ddim(of: Tables) -> bool:
    return f"{column(of('table1'), 'processor time')['DDIM']:.2f}" == "0.96"


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
