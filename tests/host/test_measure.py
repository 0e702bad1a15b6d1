"""`MeasureEdit` against `python -m tools.batch evaluate`, to the last digit that is printed, and what it refuses."""

import json
import math

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image, ImageOps

from support import random_networks
from support.picture_files import SOUND
from tools.batch.__main__ import main
from tools.evaluation.decoder import decode, png_of
from tools.evaluation.protocols import BY_NAME

OUTPUTS = ("psnr_pie_bench", "mse_pie_bench", "ssim_pie_bench", "psnr_masked", "mse_masked", "ssim_masked")
OUTPUTS += ("psnr_whole", "mse_whole", "ssim_whole", "clip_pictures")


@pytest.fixture
def measure(pack):
    """measure(source, edited, **inputs): summary, the JSON as values, and the numbers by their outputs."""

    def run(source, edited, **inputs):
        summary, content, *numbers = pack.run("EditFriendlyMeasureEdit", source=source, edited=edited, **inputs)
        return summary, json.loads(content), dict(zip(OUTPUTS, numbers, strict=True))

    return run


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return random_networks.save_clip(tmp_path_factory.mktemp("weights") / "clip-vit-large-patch14")


@pytest.fixture
def clip_vision(comfy, clip_folder, tmp_path):
    """The vision half of the same random CLIP, in the host's own class."""
    import comfy.clip_vision
    from safetensors.torch import load_file

    vision = json.loads((clip_folder / "config.json").read_text())
    config = {"hidden_act": "quick_gelu", "num_channels": 3, "layer_norm_eps": 1e-5, "model_type": "clip_vision_model"}
    config |= vision["vision_config"] | {"projection_dim": vision["projection_dim"]}
    (tmp_path / "vision.json").write_text(json.dumps(config))
    model = comfy.clip_vision.ClipVisionModel(str(tmp_path / "vision.json"))
    weights = load_file(clip_folder / "model.safetensors")
    ours = {name: weights[name] for name in weights if name.startswith(("vision_model.", "visual_projection."))}
    missing, unexpected = model.load_sd(ours)
    assert not missing and set(unexpected) <= {"vision_model.embeddings.position_ids"}
    return model


def test_the_numbers_are_those_of_the_command(measure, clip_vision, clip_folder, tmp_path, capsys):
    """Of pictures as the host saves and loads them: a mask that is painted, sizes that CLIP has to crop."""
    generator = torch.Generator().manual_seed(0)
    source = torch.rand((1, 40, 56, 3), generator=generator)
    edited = (source + 0.3 * torch.rand((1, 40, 56, 3), generator=generator)).clamp(0, 1)
    mask = torch.zeros(1, 40, 56)
    mask[:, 8:24, 8:40] = 1
    for name, image in (("source", source), ("edited", edited), ("mask", mask[..., None].expand(-1, -1, -1, 3))):
        (tmp_path / name).mkdir()
        pixels = np.clip(255.0 * image[0].numpy(), 0, 255).astype(np.uint8)  # as SaveImage does
        Image.fromarray(pixels).save(tmp_path / name / "a.png")
    (tmp_path / "list.csv").write_text("id,picture,source,target,mask\na,source/a.png,a cat,a dog,mask/a.png\n")
    command = ["evaluate", str(tmp_path / "list.csv"), "--edited", f"mine={tmp_path / 'edited'}"]
    command += ["--weights", str(clip_folder.parent), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    capsys.readouterr()

    summary, content, numbers = measure(source, edited, mask=mask, clip_vision=clip_vision)
    table = pyarrow.parquet.read_table(tmp_path / "out" / "per_picture.parquet").to_pydict()
    printed = (tmp_path / "out" / "table.md").read_text()
    for name, value in content["mean"].items():
        metric = BY_NAME[name]
        assert metric.shown(value) == metric.shown(table[name][0]), name
        assert f" {metric.shown(value)} |" in printed and f"{metric.heading} {metric.shown(value)}" in summary
        assert value == pytest.approx(table[name][0], abs=1e-5 if "clip" in name else 1e-12)
    assert list(numbers.values()) == list(content["mean"].values()) == list(content["images"][0].values())


@pytest.mark.parametrize("name", ["photo.jpg", "turned.jpg", "ink.jpg", "animated.gif", "deep grey.png", "palette.png"])
def test_of_a_file_that_hosts_decode_otherwise_too(measure, comfy, host_node, tmp_path, monkeypatch, name, capsys):
    """The node is shown what `edit` sends in place of the file, the command reads the file itself."""
    content = SOUND[name].content
    picture = decode(content)
    monkeypatch.setattr(comfy.folder_paths, "input_directory", str(tmp_path))
    (tmp_path / name).write_bytes(content)
    (tmp_path / "sent.png").write_bytes(content if picture.is_plain else png_of(picture.image))
    (tmp_path / "edited").mkdir()
    ImageOps.posterize(picture.image, 5).save(tmp_path / "edited" / "a.png")
    (tmp_path / "list.csv").write_text(f"id,picture,source,target\na,{name},a cat,a dog\n")
    command = ["evaluate", tmp_path / "list.csv", "--edited", f"mine={tmp_path / 'edited'}", "--out", tmp_path / "out"]
    assert main([*map(str, command)]) == 0
    capsys.readouterr()
    table = pyarrow.parquet.read_table(tmp_path / "out" / "per_picture.parquet").to_pydict()
    source, edited = (host_node("LoadImage", image=file)[0] for file in ("sent.png", "edited/a.png"))
    assert len(source) == 1
    whole = {key: value for key, value in measure(source, edited)[1]["mean"].items() if key.startswith("whole.")}
    for key in ("whole.psnr", "whole.mse", "whole.ssim"):
        assert whole[key] == pytest.approx(table[key][0], abs=1e-12) and whole["whole.psnr"] < 60


def test_without_a_mask_all_of_the_image_was_to_stay(measure):
    source, edited = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 3)
    summary, content, numbers = measure(source, edited)
    for name in ("psnr", "mse", "ssim"):
        values = [numbers[f"{name}_{protocol}"] for protocol in ("pie_bench", "masked", "whole")]
        assert values == pytest.approx([values[0]] * 3)
    assert math.isnan(numbers["clip_pictures"]) and content["mean"]["whole.clip_pictures"] is None
    assert "CLIP" not in summary


def test_nothing_changed(measure):
    source = torch.rand(1, 32, 32, 3)
    summary, content, numbers = measure(source, source)
    assert (numbers["psnr_masked"], numbers["mse_masked"]) == (math.inf, 0)
    assert numbers["ssim_whole"] == pytest.approx(1)
    assert content["mean"]["masked.psnr"] == "inf" and "PSNR dB inf" in summary


def test_a_mask_over_everything_leaves_nothing_outside(measure):
    summary, content, numbers = measure(torch.zeros(1, 32, 32, 3), torch.ones(1, 32, 32, 3), mask=torch.ones(1, 32, 32))
    assert math.isnan(numbers["psnr_masked"]) and content["mean"]["pie-bench.psnr"] is None
    assert numbers["mse_whole"] == 1
    assert "The mask covers everything, so nothing is outside." in summary and "Outside the mask" not in summary


def test_a_batch_is_the_mean_of_its_images(measure):
    source = torch.rand(2, 32, 32, 3)
    edited = torch.rand(4, 32, 32, 3)
    summary, content, numbers = measure(source, edited)
    alone = [measure(source[k % 2][None], edited[k][None])[2]["mse_whole"] for k in range(4)]
    assert [image["whole.mse"] for image in content["images"]] == alone
    assert numbers["mse_whole"] == pytest.approx(sum(alone) / 4) and summary.startswith("Mean of 4 images.")


def test_a_mask_over_all_of_one_image_leaves_the_numbers_of_the_others(measure):
    source, edited = torch.rand(2, 32, 32, 3), torch.rand(2, 32, 32, 3)
    masks = torch.stack([torch.ones(32, 32), torch.zeros(32, 32)])
    summary, content, numbers = measure(source, edited, mask=masks)
    assert numbers["mse_masked"] == content["images"][1]["masked.mse"] > 0
    assert "The mask covers 1 of them whole; outside it is the mean of the others." in summary
    assert "covers everything" not in summary


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"edited": torch.zeros(1, 32, 32, 3)}, "the source is 16 x 16 pixels, the edited image 32 x 32"),
        ({"edited": torch.zeros(3, 16, 16, 3)}, "2 source images for 3 edited images"),
        ({"mask": torch.ones(1, 8, 8)}, "the mask is 8 x 8 pixels, the edited image 16 x 16"),
        ({"mask": torch.ones(3, 16, 16)}, "3 masks for 2 edited images"),
    ],
)
def test_what_cannot_be_compared(measure, inputs, message):
    images = {"source": torch.zeros(2, 16, 16, 3), "edited": torch.zeros(2, 16, 16, 3)}
    with pytest.raises(ValueError, match=message):
        measure(**(images | inputs))
