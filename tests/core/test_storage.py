"""Noise maps on disk."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddpm_core import Method, manipulation, sample, storage, trajectories

FILES = Path(__file__).parent / "files"
ROOT = Path(storage.__file__).parents[1]
TENSORS = ("states", "residuals", "denoised")


@pytest.fixture
def saved(tmp_path, noise_maps) -> Path:
    path = tmp_path / "a.safetensors"
    storage.save(noise_maps, path)
    return path


def header_of(path: Path) -> dict:
    length = int.from_bytes(path.read_bytes()[:8], "little")
    return json.loads(json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"]["noise_maps"])


def test_a_loaded_file_is_bit_for_bit_what_was_saved(noise_maps, saved, denoiser):
    loaded = storage.load(saved)
    assert all(torch.equal(getattr(loaded, name), getattr(noise_maps, name)) for name in TENSORS)
    assert all(
        torch.equal(getattr(loaded.schedule, name), getattr(noise_maps.schedule, name))
        for name in ("sigmas", "signal", "noise")
    )
    assert loaded.schedule.eta == noise_maps.schedule.eta
    for name in ("seeds", "images", "origin", "notes"):
        assert getattr(loaded, name) == getattr(noise_maps, name), name
    assert loaded.space.cell == 8 and torch.equal(loaded.space.scale, noise_maps.space.scale)
    assert torch.equal(sample(denoiser, loaded, skip_steps=3), sample(denoiser, noise_maps, skip_steps=3))


def test_a_saved_file_is_as_readable_as_any_other(saved):
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_unconditional_embeddings_are_kept(tmp_path, noise_maps):
    uncond = torch.randn((10, 2, 5, 7), generator=torch.Generator().manual_seed(0))
    storage.save(dataclasses.replace(noise_maps, uncond=uncond), tmp_path / "a.safetensors")
    assert torch.equal(storage.load(tmp_path / "a.safetensors").uncond, uncond)


def test_predictions_that_an_edit_kept_are_kept(tmp_path, noise_maps):
    edited = manipulation.recolor(noise_maps, torch.ones(1), torch.zeros(1), 0.1, 0.0, 1.0)
    storage.save(edited, tmp_path / "a.safetensors")
    assert torch.equal(storage.load(tmp_path / "a.safetensors").denoised, noise_maps.denoised)


@pytest.mark.parametrize("path", sorted(FILES.iterdir()), ids=lambda path: path.name.split(".")[0])
def test_files_of_every_earlier_version_are_read(path, denoiser, tmp_path):
    """Written by the pack as it was: four rows, two images with two variations, of seed 7."""
    loaded = storage.load(path)
    native, few = "native" in path.name, "few-steps" in path.name
    assert loaded.seeds == ((7, 8, 9, 10) if native else (7, 7, 8, 8)) and loaded.images == 2
    method = Method.NATIVE if native else Method.FEW_STEPS if few else Method.EDIT_FRIENDLY
    assert (loaded.origin.method, loaded.origin.cfg) == (method, 3.5)
    assert (loaded.space.family, loaded.space.format) == ("SD15", "SD15")
    assert loaded.space.scale.tolist() == pytest.approx([0.18215])
    assert loaded.notes["scheduler"] == "ddim_uniform" and loaded.notes["prompt"] == '{"1": {}}'
    if path.name.startswith("version-1"):
        assert loaded.kept_denoised is not None and loaded.space.cell is None
    else:
        assert loaded.space.cell == 8 and loaded.origin.prompt == (0.1, -0.2)
        assert loaded.space.colors.shape == (4, 1, 1, 3)
    assert loaded.schedule.order == (2 if path.name.startswith("version-3") else 1)
    assert (sample(denoiser, loaded) - loaded.image).abs().max() < 1e-5
    if few:
        image, drawn = loaded.image, trajectories.standard_normal(loaded.image, loaded.seeds, 4)
        signal, noise = loaded.weights(0)
        assert torch.allclose(loaded.states[0], signal * image + noise * drawn, atol=1e-5)
    else:
        assert loaded.noising is None
    storage.save(loaded, tmp_path / "again.safetensors")
    again = storage.load(tmp_path / "again.safetensors")
    assert header_of(tmp_path / "again.safetensors")["version"] == 4
    assert (again.seeds, again.origin, again.notes) == (loaded.seeds, loaded.origin, loaded.notes)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("seed", "-1"),
        ("seed", "1.0"),
        ("variations", "0"),
        ("pixels_per_cell", "2000"),
        ("latent_scale", '"a"'),
        ("latent_scale", "[NaN]"),
        ("latent_rgb_factors", "[[1.0], [2.0, 3.0]]"),
        ("cfg", "[]"),
        ("noise_shift", "to sigmas one, two"),
        ("prompt_signature", "[" * 10000),
    ],
)
def test_earlier_files_whose_texts_say_nothing_are_refused_and_kept(tmp_path, key, text):
    path = tmp_path / "a.safetensors"
    path.write_bytes((FILES / "version-2-native.noisemaps.safetensors").read_bytes())
    rewritten(path, lambda tensors, header: header["info"].update({key: text}))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"a.safetensors says {key} is .*: save the noise maps again"):
        storage.load(path)
    assert path.read_bytes() == before


def test_a_method_that_is_not_known_is_refused_by_name(saved):
    rewritten(saved, lambda tensors, header: header["origin"].update(method="telepathy"))
    with pytest.raises(ValueError, match="made by 'telepathy', which this pack does not know .*: update the pack"):
        storage.load(saved)


def test_skipped_steps_and_extra_provenance_are_kept(tmp_path, noise_maps):
    tail = dataclasses.replace(
        noise_maps,
        schedule=noise_maps.schedule.after(4),
        states=noise_maps.states[4:],
        residuals=noise_maps.residuals[4:],
        skipped=4,
    )
    storage.save(tail, tmp_path / "a.safetensors", {"prompt": '{"1": "x"}', "count": 3})
    loaded = storage.load(tmp_path / "a.safetensors")
    assert loaded.skipped == 4
    assert loaded.notes == {**noise_maps.notes, "prompt": '{"1": "x"}', "count": "3"}


def test_equal_maps_give_equal_files_in_every_process(saved, tmp_path):
    script = "import sys; from ddpm_core import storage; storage.save(storage.load(sys.argv[1]), sys.argv[2])"
    for k in range(3):
        again = tmp_path / f"again {k}.safetensors"
        subprocess.run([sys.executable, "-c", script, saved, again], check=True, cwd=ROOT)
        assert again.read_bytes() == saved.read_bytes()


KILLED_WHILE_SAVING = """if True:
    import os, pathlib, signal, sys, time
    import torch
    from ddpm_core import Facts, NoiseMaps, NoiseSchedule, storage

    path = pathlib.Path(sys.argv[1])
    schedule = NoiseSchedule.variance_exploding(torch.linspace(5, 0, 11))

    def maps(value):
        whole = torch.full((21, 1, 4, 96, 96), float(value))
        return NoiseMaps(schedule, whole[:11], whole[11:], facts=Facts(notes={"value": str(value)}))

    def held():
        noise_maps = storage.load(path)
        value = noise_maps.notes["value"]
        assert torch.cat([noise_maps.states, noise_maps.residuals]).eq(float(value)).all()
        return int(value)

    storage.save(maps(0), path)
    start = time.perf_counter()
    storage.save(maps(0), path)
    duration = time.perf_counter() - start
    before = 0
    for k in range(1, 51):
        new = maps(k)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(tell, b".")
            storage.save(new, path)
            os._exit(0)
        os.read(told, 1)
        time.sleep(duration * 1.5 * k / 50)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told), os.close(tell)
        now = held()
        assert now in (before, k), (before, now, k)
        before = now
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, which Windows does not have")
def test_a_save_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path):
    """At 50 times, spread over a save. What it leaves beside the file is in folders that say so."""
    path = tmp_path / "a.noisemaps.safetensors"
    subprocess.run([sys.executable, "-c", KILLED_WHILE_SAVING, path], check=True, cwd=ROOT)
    left = [other.name for other in tmp_path.iterdir() if other != path]
    assert left, "no save was killed before its end"
    assert all(name.startswith(f"{path.name}.") and name.endswith(".part") for name in left)
    assert [other for other in tmp_path.rglob("*.safetensors")] == [path]


def test_a_failed_write_leaves_what_was_there(saved, noise_maps, monkeypatch):
    before = saved.read_bytes()

    def full_disk(tensors, path, metadata):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(storage.safetensors.torch, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        storage.save(noise_maps, saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def rewritten(path: Path, change) -> Path:
    """The file at `path` after `change(tensors, header)`."""
    tensors, header = load_file(path), header_of(path)
    change(tensors, header)
    save_file(tensors, path, {"noise_maps": json.dumps(header)})
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, header: header.update(version=5), "format version 5, this pack reads up to 4"),
        (lambda tensors, header: header.pop("eta"), "not one of noise maps"),
        (lambda tensors, header: tensors.pop("residuals"), "lacks the tensors residuals"),
        (
            lambda tensors, header: tensors.update(residuals=tensors["residuals"][:, :, :2].clone()),
            "contradicts.*shape",
        ),
        (
            lambda tensors, header: tensors.update(sigmas=tensors["sigmas"].float()),
            "contradicts.*sigmas is torch.float32",
        ),
        (lambda tensors, header: tensors.update(sigmas=tensors["sigmas"][2:].clone()), "contradicts.*one length"),
        (lambda tensors, header: tensors.update(states=tensors["states"] * float("inf")), "contradicts.*NaN or inf"),
        (lambda tensors, header: tensors.update(states=tensors["states"].half()), "contradicts.*float32"),
        (
            lambda tensors, header: tensors.update({name: tensors[name][:, :0] for name in ("states", "residuals")}),
            r"contradicts.*hold no image.*\(11, 0, 4, 16, 24\)",
        ),
        (lambda tensors, header: tensors.update(uncond=torch.ones(10, 2, 0, 7)), r"contradicts.*\(10, 2, tokens, ch"),
        (lambda tensors, header: header.update(eta=3.0), "contradicts.*eta is 3"),
        (lambda tensors, header: header.update(skipped=-1), "contradicts.*negative"),
    ],
)
def test_refuses_a_file_that_is_wrong(saved, change, message):
    with pytest.raises(ValueError, match=message):
        storage.load(rewritten(saved, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skipped": '"skipped": Infinity'}, "has skipped inf, which has to be a whole number: save"),
        ({"skipped": '"skipped": NaN'}, "has skipped nan"),
        ({"skipped": '"skipped": true'}, "has skipped True"),
        ({"skipped": '"skipped": 1.0'}, "has skipped 1.0"),
        ({"skipped": '"skipped": 1, "skipped": 2'}, "a key is there twice"),
        ({"skipped": '"skipped": ' + "[" * 100_000 + "]" * 100_000}, "not one of noise maps"),
        ({"skipped": '"skipped": ' + "9" * 5000}, "not one of noise maps"),
        ({"eta": '"eta": NaN'}, "eta is nan"),
        ({"eta": '"eta": true'}, "has eta True, which has to be a number"),
        ({"eta": '"eta": "1.0"'}, "has eta '1.0'"),
        ({"eta": '"eta": 1' + "0" * 400}, "contradicts itself.*too large"),
        ({"version": '"version": true'}, "has version True"),
        ({"version": '"version": 0'}, "has version 0, which has to be a whole number from 1"),
        ({"notes": '"notes": []'}, r"has notes \[\], which has to be an object of texts"),
        ({"notes": '"notes": {"seed": 3}'}, "has notes {'seed': 3}"),
        ({"seeds": '"seeds": [1.0, 2]'}, "has seeds .*, which has to be a list of whole numbers"),
        ({"seeds": '"seeds": [1]'}, "contradicts itself: there are 1 seeds for 2 rows"),
        ({"images": '"images": 5'}, "contradicts itself: 2 rows are not 5 images"),
        ({"origin": '"origin": {"method": "DDIM", "cfg": "3", "prompt": []}'}, "origin, has cfg '3', which has to be"),
        ({"origin": '"origin": {"method": "DDIM", "cfg": Infinity, "prompt": []}'}, "contradicts .* not finite"),
        ({"origin": '"origin": {}'}, "not one of noise maps"),
        ({"space": '"space": null'}, "has space None, which has to be an object"),
    ],
)
def test_refuses_a_header_that_is_wrong(saved, change, message):
    header = {field: f'"{field}": {json.dumps(value)}' for field, value in header_of(saved).items()}
    save_file(load_file(saved), saved, {"noise_maps": "{" + ", ".join({**header, **change}.values()) + "}"})
    with pytest.raises(ValueError, match=message):
        storage.load(saved)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_refuses_a_file_that_is_cut_short(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"a\.safetensors is no readable safetensors file"):
        storage.load(saved)


def test_refuses_sizes_that_cannot_be(saved):
    """A petabyte as the length of the header, and in the header; a tensor of nothing with too many places."""
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    table = json.loads(data[8 : 8 + length])
    too_long = [(2**50).to_bytes(8, "little") + data[8:]]
    for entry in ({"shape": [2**48]}, {"data_offsets": [0, 2**50]}, {"shape": [0, 2**62, 2**62]}, {"dtype": "F4"}):
        text = json.dumps({**table, "states": {**table["states"], **entry}}).encode()
        too_long.append(len(text).to_bytes(8, "little") + text + data[8 + length :])
    nothing = {"dtype": "F32", "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}
    text = json.dumps({**table, "more": nothing}).encode()
    for content in (*too_long, len(text).to_bytes(8, "little") + text + data[8 + length :]):
        saved.write_bytes(content)
        with pytest.raises(ValueError, match="no readable safetensors file"):
            storage.load(saved)


def test_refuses_a_tensor_that_is_there_twice(saved):
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    text = data[8 : 8 + length].rstrip()
    twice = text[:-1] + b',"states":' + json.dumps(json.loads(text)["states"]).encode() + b"}"
    saved.write_bytes(len(twice).to_bytes(8, "little") + twice + data[8 + length :])
    with pytest.raises(ValueError, match="no readable safetensors file .a key is there twice"):
        storage.load(saved)


def test_loaded_maps_do_not_need_their_file(saved):
    """Mapped, one that is overwritten in place, as by cp or rsync --inplace, would change them or end the process."""
    script = """if True:
        import sys
        from ddpm_core import storage
        noise_maps = storage.load(sys.argv[1])
        expected = noise_maps.residuals.clone(), noise_maps.schedule.sigmas.clone()
        untouched = storage.load(sys.argv[1])
        open(sys.argv[1], "r+b").truncate(100)
        assert untouched.residuals.equal(expected[0]) and untouched.schedule.sigmas.equal(expected[1])
        assert untouched.denoised.isfinite().all()
    """
    done = subprocess.run([sys.executable, "-c", script, saved], cwd=ROOT)
    assert done.returncode == 0


def test_refuses_foreign_files(tmp_path):
    (tmp_path / "text.safetensors").write_text("not tensors at all, but long enough for a header")
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="no readable safetensors file"):
        storage.load(tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="not one of noise maps"):
        storage.load(tmp_path / "model.safetensors")
    with pytest.raises(FileNotFoundError):
        storage.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("call", ["chmod", "rmdir"])
def test_a_share_that_refuses_rights_or_keeps_a_folder_busy_loses_nothing(tmp_path, noise_maps, monkeypatch, call):
    def refused(*_, **__):
        raise PermissionError("Operation not permitted")

    with monkeypatch.context() as share:
        share.setattr(os, call, refused)
        storage.save(noise_maps, tmp_path / "maps.safetensors")
    assert torch.equal(storage.load(tmp_path / "maps.safetensors").states, noise_maps.states)
