"""The bundled weights: the file itself, and small samples of what `python -m tools.lab evaluate` measures.

Meaning, not goldens: the thresholds are the acceptance thresholds, with room for the small sample.
"""

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddpm_core import invert, sample, trajectories
from demo import model as bundled
from demo.scenes import CLASSIFIER_SEED, TEST_SEED, ShapeScene, render, sample_scene
from tools.lab import classifier as judge
from tools.lab import settings
from tools.lab.__main__ import main
from tools.lab.edits import area_under_curve, choose_edits, read_color, source_images
from tools.lab.evaluate import evaluate, mask_found
from tools.lab.methods import EDIT_FRIENDLY, GROUND_TRUTH, METHODS
from tools.lab.settings import ColorEdit, LabSettings
from tools.lab.sheet import COLUMNS, EXAMPLES, by_core, draw, recolored
from tools.lab.train import FINER, FLOW, TrainConfig, train, with_finer_attention

SHA256 = {
    bundled.WEIGHTS: "88318ebab3ccacf85be7ae78c942dd2e1663b857d8c2bf4c7b5b333e8e857e30",
    settings.FINER: "ede4da29d7de12e0b5ebfa1ea3442f20700a992403c04896b31e54f6a84f482e",
    settings.FLOW: "22282e63cdf9168b61a8a68c762c1a28c6e94c001b06299b55b908fd423fb844",
    judge.WEIGHTS: "8f03cf2f40244e5e2ec68c375e60e7ed7188c40c0477a8545e007a41ab15ed52",
}


ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model():
    return bundled.load_model()


@pytest.fixture(scope="module")
def classifier():
    return judge.load_classifier()


@pytest.mark.parametrize("path", SHA256, ids=lambda path: path.name)
def test_the_file_is_the_one_that_was_measured(path):
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256[path]


def test_the_files_that_users_get_are_small():
    assert bundled.WEIGHTS.stat().st_size <= 8_000_000


def test_the_judge_reads_scenes_it_has_not_seen(classifier):
    assert min(judge.accuracy(classifier, CLASSIFIER_SEED + 100_000, 300).values()) > 0.97


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_replay_of_held_out_scenes_is_exact(model, cfg):
    scenes = [sample_scene(TEST_SEED + i) for i in range(12)]
    images = torch.stack([torch.from_numpy(render(scene).image) for scene in scenes])
    denoiser = model.denoiser([scene.caption for scene in scenes], cfg)
    schedule = LabSettings(steps=20).schedule()
    states = trajectories.edit_friendly(images, schedule, list(range(12)))
    replay = sample(denoiser, invert(denoiser, states, schedule))
    torch.testing.assert_close(replay, images, atol=1e-5, rtol=0)


def test_edits_do_what_was_asked_and_keep_the_rest(model, classifier):
    edits = choose_edits(4)
    table = evaluate(model, classifier, edits, {m.name: (m, LabSettings()) for m in (GROUND_TRUTH, EDIT_FRIENDLY)})
    truth, ours = (table.scores[name] for name in ("ground truth", "edit friendly"))
    assert all(score.success for score in truth)
    assert sum(score.success for score in ours) >= 0.9 * len(edits)
    outside = [score.error for score in ours if score.error == score.error]
    assert sum(outside) / len(outside) < 0.05


def test_a_lower_eta_keeps_more_of_the_image(capsys):
    """By the command that measures it, in the mean over all kinds of edit."""
    assert main(["evaluate", "--per-kind", "1", "--method", "edit friendly", "--eta", "1", "0"]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if " all " in line]
    assert [row.split(" all ")[0].strip() for row in rows] == ["edit friendly, eta 1", "edit friendly, eta 0"]
    (error_1, structure_1), (error_0, structure_0) = (map(float, row.split()[-2:]) for row in rows)
    assert error_0 < error_1
    assert structure_0 > structure_1


def test_variations_differ_and_all_satisfy_the_prompt(model, classifier):
    edit = next(edit for edit in choose_edits(8, kinds=("time",)) if edit.target.time == "night")
    images = source_images([edit]).expand(4, -1, -1, -1)
    settings = LabSettings()
    schedule = settings.schedule().after(settings.skip_steps)
    states = trajectories.edit_friendly(images, schedule, trajectories.seeds_of_rows(0, [0], 4))
    maps = invert(model.denoiser(edit.source.caption), states, schedule, skipped=settings.skip_steps)
    results = sample(model.denoiser(edit.target.caption, settings.cfg_target), maps)
    assert classifier.read(results, "time") == ["night"] * 4
    distances = torch.pdist(results.flatten(1), p=1) / results[0].numel()
    assert distances.min() > 0.01


def test_colour_edit_without_a_prompt_recolours_the_object_alone(model):
    scene = ShapeScene(TEST_SEED + 1, "circle", "red", "blue", "left")
    drawn = render(scene)
    image, mask = torch.from_numpy(drawn.image)[None], torch.from_numpy(drawn.masks["object"])
    schedule, unconditional = LabSettings().schedule(), model.denoiser("")
    maps = invert(unconditional, trajectories.edit_friendly(image, schedule, [0]), schedule)
    result = sample(unconditional, recolored(maps, mask, "yellow", ColorEdit()))
    assert read_color(result[0], mask) == "yellow"
    assert ((result - image)[0, :, mask == 0].abs() / 2).mean() < 0.03


def test_the_sheet_has_every_column_and_replays_exactly(model):
    said = []
    rows = by_core(model, EXAMPLES[:1], lambda *done: said.append(done))
    assert said == [(1, 1)]
    assert len(rows[0].tiles) == len(COLUMNS)
    assert rows[0].reconstruction_error < 1e-5
    assert min(draw(rows).size) > 128


def test_the_mask_from_two_prompts_finds_the_edit(model):
    """Mean area under the curve over the kinds that leave something as it was, of a few edits each."""
    found = mask_found(model, choose_edits(3, kinds=("color", "ground", "object", "season", "time")))
    assert set(found) == {"color", "ground", "object", "season", "mean"}
    assert found["mean"] > 0.9 and found["color"] > 0.95


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order():
    torch.manual_seed(0)
    score, truth = torch.randint(5, (40,)).float(), torch.rand(40) < 0.4
    pairs = [0.5 * float(a == b) + float(a > b) for a in score[truth] for b in score[~truth]]
    assert area_under_curve(score, truth) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(area_under_curve(score, truth | True))


def test_the_command_line_measures_masks(capsys):
    assert main(["masks", "--per-kind", "1"]) == 0
    assert "mean" in capsys.readouterr().out


def test_every_method_of_the_core_returns_images(model):
    edits = choose_edits(1, kinds=("color", "time"))
    images = source_images(edits)
    for method in (method for method in METHODS if method.by_core):
        result = method.run(model, edits, images, LabSettings(steps=10))
        assert result.shape == images.shape, method.name
        assert result.isfinite().all(), method.name


def test_the_command_line_edits_a_picture(tmp_path, capsys):
    out = tmp_path / "new" / "edit.png"
    command = ["edit", "--prompt", "a red circle on a blue ground", "--target", "a green circle on a blue ground"]
    assert main([*command, "--steps", "10", "--out", str(out)]) == 0
    assert out.is_file()
    assert str(out) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "a dragon", "--target", "a boat"], "dragon"),
        (["--prompt", "a ground", "--target", "a boat"], "a scene shows one of"),
        (["--prompt", "a boat", "--target", "a dragon"], "dragon"),
        (["--prompt", "a boat", "--target", "a house", "--steps", "7"], "divisor"),
        (["--prompt", "a boat", "--target", "a house", "--skip", "1"], "skip_steps"),
        (["--prompt", "a boat", "--target", "a house", "--image", "missing.png"], "missing.png"),
    ],
)
def test_the_command_line_says_what_is_wrong(arguments, message, tmp_path, capsys):
    assert main(["edit", *arguments, "--out", str(tmp_path / "edit.png")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_picture_of_an_odd_size_is_refused_with_the_sizes_it_takes(tmp_path, capsys):
    picture = tmp_path / "odd.png"
    Image.new("RGB", (33, 40)).save(picture)
    assert main(["edit", "--prompt", "a boat", "--target", "a house", "--image", str(picture)]) == 1
    assert "33 x 40" in (error := capsys.readouterr().err)
    assert "multiples of 8" in error


def test_training_is_not_resumed_with_other_settings(tmp_path):
    log = json.loads(bundled.WEIGHTS.with_suffix(".json").read_text())
    log["config"]["batch"] = 64
    (tmp_path / "weights.json").write_text(json.dumps(log))
    with pytest.raises(ValueError, match="'batch': 64.*'batch': 32.*start anew"):
        train(tmp_path / "weights.safetensors", resume=True)


@pytest.mark.parametrize(
    ("path", "config"), [(bundled.WEIGHTS, TrainConfig()), (settings.FINER, FINER), (settings.FLOW, FLOW)]
)
def test_the_log_is_of_a_whole_training(path, config):
    log = json.loads(path.with_suffix(".json").read_text())
    assert log["config"] == json.loads(json.dumps(asdict(config)))
    assert log["cycles"] == len(config.learning_rates)
    assert log["loss"][-1]["step"] == config.steps * len(config.learning_rates)


def test_finer_attention_changes_nothing_until_it_is_trained(model):
    x, sigma = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 3.0])
    caption = "a red circle left on a blue ground"
    finer = with_finer_attention(model).eval()
    assert torch.equal(finer.denoiser(caption)(x, sigma), model.denoiser(caption)(x, sigma))
