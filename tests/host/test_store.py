"""SaveNoiseMaps and LoadNoiseMaps in the host's folders."""

import json
import os
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def folders(comfy, tmp_path, monkeypatch):
    """Input and output folders of the host, empty, for one test."""
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(comfy.folder_paths, f"{name}_directory", str(tmp_path / name))
    return tmp_path


@pytest.fixture
def save(pack):
    """save(noise_maps, prefix): run SaveNoiseMaps as the host would; the file it reports."""

    def run(noise_maps, prefix="noise_maps/ComfyUI", prompt=None):
        node = pack.EditFriendlySaveNoiseMaps.PREPARE_CLASS_CLONE(None)
        node.hidden = SimpleNamespace(prompt=prompt, extra_pnginfo={"workflow": {"nodes": []}} if prompt else None)
        return node.execute(noise_maps=noise_maps, filename_prefix=prefix).ui["noise_maps"][0]

    return run


def test_save_then_load(folders, pack, random_model, invert, sample, save):
    noise_maps = invert(random_model("sd15"))
    first = save(noise_maps, prompt={"1": {"class_type": "EditFriendlyInvert"}})
    second = save(noise_maps)
    assert first["filename"] != second["filename"]
    name = f"{first['subfolder']}/{first['filename']} [output]"
    options = pack.EditFriendlyLoadNoiseMaps.INPUT_TYPES()["required"]["file"][1]["options"]
    assert name in options
    assert pack.EditFriendlyLoadNoiseMaps.validate_inputs(file=name) is True
    (loaded,) = pack.run("EditFriendlyLoadNoiseMaps", file=name)
    for part in ("states", "residuals", "denoised"):
        assert torch.equal(getattr(loaded, part), getattr(noise_maps, part))
    assert json.loads(loaded.info["prompt"]) == {"1": {"class_type": "EditFriendlyInvert"}}
    assert loaded.info["model_family"] == "SD15"
    assert loaded.info["cfg"] == "3.5"
    model = random_model("sd15")
    assert torch.equal(sample(model, loaded, cfg=7.0), sample(model, noise_maps, cfg=7.0))


def test_a_file_in_the_input_folder_is_listed_and_noticed_when_it_changes(folders, pack, random_model, invert):
    noise_maps = invert(random_model("sd15"))
    path = folders / "input" / "shared" / "cat.noisemaps.safetensors"
    path.parent.mkdir()
    pack.core.storage.save(noise_maps, path)
    name = "shared/cat.noisemaps.safetensors"
    assert pack.EditFriendlyLoadNoiseMaps.INPUT_TYPES()["required"]["file"][1]["options"] == [name]
    before = pack.EditFriendlyLoadNoiseMaps.fingerprint_inputs(file=name)
    assert pack.EditFriendlyLoadNoiseMaps.fingerprint_inputs(file=name) == before
    os.utime(path, ns=(0, 0))
    assert pack.EditFriendlyLoadNoiseMaps.fingerprint_inputs(file=name) != before


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seed", "-1"),
        ("seed", "18446744073709551616"),
        ("seed", "true"),
        ("seed", "three"),
        ("pixels_per_cell", "0"),
        ("pixels_per_cell", "8.0"),
        ("latent_scale", "[1.0, 1.0]"),
        ("latent_scale", "[0.0]"),
        ("latent_shift", "[NaN]"),
        ("latent_shift", '{"a": 1}'),
        ("latent_rgb_factors", "[[1.0, 1.0, 1.0]]"),
        ("latent_rgb_factors", "[" * 100_000),
        ("latent_rgb_bias", "null"),
        ("prompt_signature", "[[0.5]]"),
    ],
)
def test_a_file_that_says_what_the_nodes_cannot_use(folders, pack, random_model, invert, key, text):
    path = folders / "input" / "cat.noisemaps.safetensors"
    pack.core.storage.save(invert(random_model("sd15"), steps=1), path, {key: text})
    with pytest.raises(ValueError, match=rf"the file says {key} is .*noise maps of shape \(1, 4, 8, 8\) cannot have"):
        pack.run("EditFriendlyLoadNoiseMaps", file=path.name)


@pytest.mark.parametrize("kind", ["sd15", "v", "sdxl", "flow"])
def test_what_an_inversion_says_can_be_loaded(folders, pack, random_model, invert, kind):
    path = folders / "input" / "cat.noisemaps.safetensors"
    noise_maps = invert(random_model(kind), kind, steps=1)
    pack.core.storage.save(noise_maps, path)
    (loaded,) = pack.run("EditFriendlyLoadNoiseMaps", file=path.name)
    assert loaded.info == noise_maps.info


@pytest.mark.parametrize("name", ["../secret", "a/../../secret", "/etc/passwd"])
def test_names_stay_inside_the_hosts_folders(folders, pack, random_model, invert, save, name):
    with pytest.raises(ValueError, match="leaves the folder 'output'"):
        save(invert(random_model("sd15")), prefix=name)
    for annotation, folder in (("", "input"), (" [output]", "output")):
        assert f"leaves the folder '{folder}'" in pack.EditFriendlyLoadNoiseMaps.validate_inputs(file=name + annotation)
        with pytest.raises(ValueError, match=f"leaves the folder '{folder}'"):
            pack.run("EditFriendlyLoadNoiseMaps", file=name + annotation)
    assert sorted(path.name for path in folders.rglob("*")) == ["input", "output"]


def test_a_prefix_that_is_too_long_for_a_file(folders, random_model, invert, save):
    noise_maps = invert(random_model("sd15"), steps=1)
    assert save(noise_maps, prefix="a" * 200)["filename"].startswith("a" * 200)
    with pytest.raises(ValueError, match="more than 200 bytes"):
        save(noise_maps, prefix="b/" + "a" * 201)


def test_a_file_that_is_gone(folders, pack):
    assert "there is no noise maps file x" in pack.EditFriendlyLoadNoiseMaps.validate_inputs(file="x")
