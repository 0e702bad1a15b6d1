"""SaveNoiseMaps and LoadNoiseMaps in the host's folders."""

import json
import os
import threading
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
    assert json.loads(loaded.notes["prompt"]) == {"1": {"class_type": "EditFriendlyInvert"}}
    assert loaded.space.family == "SD15"
    assert loaded.origin == noise_maps.origin and loaded.origin.cfg == 3.5
    assert loaded.seeds == (3,) and loaded.images == 1
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


def test_a_file_that_says_what_its_maps_cannot_be(folders, pack, random_model, invert):
    """By the facts of another batch and another model; the file stays. (All ways to be wrong: tests/core.)"""
    from safetensors.torch import load_file, save_file

    path = folders / "input" / "cat.noisemaps.safetensors"
    pack.core.storage.save(invert(random_model("sd15"), steps=1), path)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["noise_maps"])
    for change, says in (
        ({"seeds": [1, 2]}, "there are 2 seeds for 1 rows"),
        ({"space": header["space"] | {"scale": [1.0, 1.0]}}, "scale of the latent space has shape"),
    ):
        save_file(load_file(path), path, {"noise_maps": json.dumps(header | change)})
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"cat.noisemaps.safetensors contradicts itself: .*{says}"):
            pack.run("EditFriendlyLoadNoiseMaps", file=path.name)
        assert path.read_bytes() == before


def test_links_in_a_circle_do_not_hang_the_list(folders, pack, random_model, invert):
    """Two folders that hold a link to each other's parent: each file is listed once."""
    shared = folders / "output" / "a" / "b"
    shared.mkdir(parents=True)
    pack.core.storage.save(invert(random_model("sd15"), steps=1), shared / "cat.noisemaps.safetensors")
    for k in range(3):
        (shared / f"up {k}").symlink_to(folders / "output", target_is_directory=True)
        (folders / "output" / "a" / f"in {k}").symlink_to(shared, target_is_directory=True)
    options = pack.EditFriendlyLoadNoiseMaps.INPUT_TYPES()["required"]["file"][1]["options"]
    assert len(options) == 1 and options[0].endswith("cat.noisemaps.safetensors [output]")


def test_links_that_lead_to_themselves_hide_nothing(folders, pack):
    """Links of any name: what lies beside them is listed, and so is what lies in folders beside them."""
    output = folders / "output"
    (output / "one.noisemaps.safetensors").touch()
    for first, second in (("a", "b"), ("c.noisemaps.safetensors", "d.noisemaps.safetensors")):
        (output / first).symlink_to(second)
        (output / second).symlink_to(first)
    (output / "e").symlink_to("e")
    (output / "folder.noisemaps.safetensors").mkdir()
    (output / "folder.noisemaps.safetensors" / "two.noisemaps.safetensors").touch()
    options = pack.EditFriendlyLoadNoiseMaps.INPUT_TYPES()["required"]["file"][1]["options"]
    found = {name for name in options if not name.startswith(("c.", "d."))}
    assert found == {
        "one.noisemaps.safetensors [output]",
        "folder.noisemaps.safetensors/two.noisemaps.safetensors [output]",
    }
    said = pack.EditFriendlyLoadNoiseMaps.validate_inputs(file="c.noisemaps.safetensors [output]")
    assert "there is no noise maps file" in said


@pytest.fixture
def reads(pack, monkeypatch):
    """The folders that are read for lists, and a clock for them that stands still until it is set."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, time_ns=lambda: 2**62, now=0.0)
    files, read = pack.host.files, []
    real = files._entries
    monkeypatch.setattr(files, "time", clock)
    monkeypatch.setattr(files, "_entries", lambda folder, changed: read.append(folder) or real(folder, changed))
    return SimpleNamespace(of=read, clock=clock, patch=monkeypatch)


def test_a_large_folder_that_pictures_are_saved_into_is_read_from_time_to_time(folders, pack, reads):
    """200,000 pictures and more to come: a page does not pay for all of them, each time that it is loaded."""
    output, files = folders / "output", pack.host.files
    for k in range(3000):
        (output / f"{k}.png").touch()
    assert files.saved() == [] and reads.of.count(str(output)) == 1
    for k in range(50):
        (output / f"more {k}.png").touch()
        os.utime(output, (k, k))
        assert files.saved() == []
    assert reads.of.count(str(output)) == 1
    (output / "copied.noisemaps.safetensors").touch()
    reads.clock.now = 3.0
    assert files.saved() == ["copied.noisemaps.safetensors [output]"] and reads.of.count(str(output)) == 2


def test_maps_that_are_saved_into_a_large_folder_are_listed_at_once(folders, pack, reads, random_model, invert, save):
    """In the folder, and in a new one below it: both have pictures by others all the time, and are not read again."""
    output, files = folders / "output", pack.host.files
    for k in range(3000):
        (output / f"{k}.png").touch()
    assert files.saved() == []
    maps = invert(random_model("sd15"), steps=1)
    names = {save(maps, "maps")["filename"], f"new/{save(maps, 'new/maps')['filename']}"}
    assert set(files.saved()) == {f"{name} [output]" for name in names}
    (output / "new").rename(output / "old")
    assert not [name for name in files.saved() if name.startswith("new/")]


def test_a_page_does_not_wait_for_the_files_of_a_large_folder(folders, pack, reads, random_model, invert, save):
    """They are read beside it, and listed from then on; what is saved in the meantime is listed at once."""
    output, files = folders / "output", pack.host.files
    for k in range(6000):
        (output / f"{k}.png").touch()
    (output / "cat.noisemaps.safetensors").touch()
    go_on, is_folder = threading.Event(), files._is_folder

    def waiting(entry):
        return (threading.current_thread() is threading.main_thread() or go_on.wait()) and is_folder(entry)

    reads.patch.setattr(files, "_is_folder", waiting)
    ours = f"new/{save(invert(random_model('sd15'), steps=1), 'new/maps')['filename']} [output]"
    try:
        assert [files.saved() for _ in range(3)] == [[ours]] * 3
    finally:
        go_on.set()
    files.listing(str(output)).reader.join()
    assert files.saved() == sorted(["cat.noisemaps.safetensors [output]", ours])
    assert reads.of.count(str(output)) == 1


def test_a_folder_that_has_not_changed_is_not_read_again(folders, pack, monkeypatch):
    """The host asks for the list at every validation, below an output folder of any size."""
    for k in range(5):
        (folders / "output" / f"{k}").mkdir()
        (folders / "output" / f"{k}" / "x.noisemaps.safetensors").touch()
        os.utime(folders / "output" / f"{k}", (1000, 1000))
    files, read = pack.host.files, []
    os.utime(folders / "output", (1000, 1000))
    real = files._entries
    monkeypatch.setattr(files, "_entries", lambda folder, changed: read.append(folder) or real(folder, changed))
    first = files.saved()
    assert len(first) == 5 and len(read) >= 6
    read.clear()
    assert files.saved() == first
    assert not [folder for folder in read if "output" in folder]
    (folders / "output" / "2" / "y.noisemaps.safetensors").touch()
    assert len(files.saved()) == 6 and [folder for folder in read if "output" in folder] == [
        str(folders / "output" / "2")
    ]


@pytest.mark.parametrize("kind", ["sd15", "v", "sdxl", "flow"])
def test_what_an_inversion_says_can_be_loaded(folders, pack, random_model, invert, kind):
    path = folders / "input" / "cat.noisemaps.safetensors"
    noise_maps = invert(random_model(kind), kind, steps=1)
    pack.core.storage.save(noise_maps, path)
    (loaded,) = pack.run("EditFriendlyLoadNoiseMaps", file=path.name)
    for part in ("seeds", "images", "origin", "notes"):
        assert getattr(loaded, part) == getattr(noise_maps, part)
    assert (loaded.space.format, loaded.space.cell) == (noise_maps.space.format, noise_maps.space.cell)
    for part in ("scale", "shift", "colors", "color_bias"):
        assert torch.equal(getattr(loaded.space, part), getattr(noise_maps.space, part)), part


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


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("%date:yyyy-MM-dd%/maps", "%date:yyyy-MM-dd%, which ComfyUI replaces in its own nodes alone: .* %year%"),
        ("maps_%KSampler.seed%", "%KSampler.seed%"),
        ("a?b*c/maps", "'a?b*c' in the filename_prefix is no name on Windows".replace("?", "[?]").replace("*", "[*]")),
        ("maps:1", "is no name on Windows"),
        ("CON/maps", "'CON' in the filename_prefix is no name on Windows"),
        ("nul.maps", "'nul.maps' in the filename_prefix is no name on Windows"),
        ("maps /one", "'maps ' in the filename_prefix is no name on Windows"),
        ("../maps", "leaves the folder"),
    ],
)
def test_a_name_that_cannot_be_is_refused_before_anything_runs(folders, pack, random_model, invert, save, prefix, says):
    import re

    said = pack.EditFriendlySaveNoiseMaps.validate_inputs(filename_prefix=prefix)
    assert isinstance(said, str) and re.search(says, said)
    with pytest.raises(ValueError, match=says):
        save(invert(random_model("sd15"), steps=1), prefix)
    assert list((folders / "output").rglob("*")) == []


def test_the_hosts_own_tokens_are_replaced(folders, pack, random_model, invert, save):
    import time

    assert pack.EditFriendlySaveNoiseMaps.validate_inputs(filename_prefix="%year%/maps") is True
    assert pack.EditFriendlySaveNoiseMaps.validate_inputs() is True  # it comes by a wire
    assert save(invert(random_model("sd15"), steps=1), "%year%/maps")["subfolder"] == str(time.localtime().tm_year)


def test_two_servers_with_one_folder_take_two_names(folders, pack, comfy, random_model, invert, save, monkeypatch):
    """Both have counted the files before either has written one."""
    counted = comfy.folder_paths.get_save_image_path("maps", str(folders / "output"))
    monkeypatch.setattr(comfy.folder_paths, "get_save_image_path", lambda *_: counted)
    maps = [invert(random_model("sd15"), steps=1, seed=seed) for seed in (1, 2)]
    names = [save(part, "maps")["filename"] for part in maps]
    assert len(set(names)) == 2
    for name, part in zip(names, maps, strict=True):
        assert pack.core.storage.load(folders / "output" / name).seeds == part.seeds


def test_a_save_that_fails_leaves_no_name_behind(folders, pack, random_model, invert, save, monkeypatch):
    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(pack.core.storage, "save", full)
    with pytest.raises(OSError, match="No space left"):
        save(invert(random_model("sd15"), steps=1))
    assert [path for path in (folders / "output").rglob("*") if path.is_file()] == []


def test_the_hosts_cache_is_told_the_memory_of_maps(random_model, invert):
    maps = invert(random_model("sd15"), steps=10)
    held = maps.states.nbytes + maps.residuals.nbytes
    assert maps.get_ram_usage() == held == (11 + 10) * 4 * 8 * 8 * 4
