"""An edit model, which is shown the picture: how it is run, held, and run through noise maps without a call."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ddpm_core.sampling import pure_noise
from demo.scenes import instruction
from tools.lab import __main__ as lab
from tools.lab.edits import choose_edits, source_images
from tools.lab.methods import EDIT_MODEL_METHODS, instructed, instructed_maps, kept
from tools.lab.settings import Keep, LabSettings

EULER = LabSettings(steps=8, skip=0.0, eta=0.0)


@pytest.fixture(scope="module")
def edits():
    return choose_edits(1, kinds=("color", "season"))


@pytest.fixture(scope="module")
def latents(edit_model, edits):
    return edit_model.autoencoder.encode(source_images(edits))


def test_it_is_a_run_of_euler_from_noise_that_is_shown_the_picture(edit_model, edits, latents):
    """With the same picture beside the empty instruction, as the host's InstructPix2Pix has it."""
    asked = [instruction(edit.source, edit.kind, getattr(edit.target, edit.kind)) for edit in edits]
    contexts = edit_model.encode(asked)
    empty = edit_model.encode([""]).expand_as(contexts)
    schedule = EULER.schedule()
    sigmas = schedule.sigmas.float()
    x = pure_noise(latents, schedule, [edit.seed for edit in edits])
    for sigma, after in zip(sigmas, sigmas[1:], strict=False):
        both = [edit_model.predict(x, sigma.expand(len(x)), context, latents) for context in (empty, contexts)]
        denoised = both[0] + EULER.cfg_target * (both[1] - both[0])
        x = denoised + after / sigma * (x - denoised)
    ours = instructed(edit_model, edits, latents, EULER)
    assert (ours - x).abs().max() <= 1e-4 * x.abs().max()


@pytest.mark.parametrize("way", [instructed, instructed_maps])
@pytest.mark.parametrize("skip", [0.0, 0.5])
def test_held_everywhere_the_image_comes_out(edit_model, edits, latents, way, skip):
    everywhere = replace(EULER, skip=skip, eta=1.0, keep=Keep(tolerance=float("inf")))
    held = way(edit_model, edits, latents, everywhere)
    assert (held - latents).abs().max() <= 1e-5 * latents.abs().max()
    free = way(edit_model, edits, latents, replace(everywhere, keep=None))
    assert (free - latents).abs().max() > 0.1


def test_it_is_held_until_a_share_of_the_run(latents):
    """At the levels before, and at none after."""
    settings = replace(EULER, keep=Keep(tolerance=float("inf"), end=0.5))
    levels = settings.schedule().sigmas.float()
    predicted = kept(lambda x, sigma: x + 1, latents, settings)
    held = [bool((predicted(latents, sigma[None]) == latents).all()) for sigma in levels[:-1]]
    assert held == [True] * 4 + [False] * 4


def test_the_command_line_measures_what_makes_sense_of_the_weights(edit_model, untrained, monkeypatch, capsys):
    command = ["evaluate", "--per-kind", "1", "--kind", "color", "--steps", "4"]
    monkeypatch.setattr(lab, "load_model", lambda path: edit_model)
    assert lab.main(command) == 0
    rows = {line.split(", steps 4 ")[0] for line in capsys.readouterr().out.splitlines() if " all " in line}
    assert rows == {method.name + more for method in EDIT_MODEL_METHODS for more in method.rows}
    assert lab.main([*command, "--method", "edit model", "--keep", "0.1", "inf", "--keep-end", "0.5"]) == 0
    rows = {line.split("  ")[0] for line in capsys.readouterr().out.splitlines() if " all " in line}
    assert rows == {f"edit model{more}, steps 4, kept {at}" for more in ("", ", denoise 0.6") for at in ("0.1", "inf")}
    monkeypatch.setattr(lab, "load_model", lambda path: untrained)
    assert lab.main([*command, "--method", "DDIM", "--keep", "0.1"]) == 1
    assert "Keep Image is not measured with DDIM" in capsys.readouterr().err
    assert lab.main([*command, "--method", "edit model"]) == 1
    assert "these weights are of none: give others by --weights" in capsys.readouterr().err
