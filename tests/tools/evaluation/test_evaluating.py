"""Whole evaluations of folders of edits: what is found, what is listed, what the tables say, and resuming."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from support import small_data_sets
from tools.batch.__main__ import main
from tools.evaluation import formats
from tools.evaluation.pictures import decoded
from tools.evaluation.protocols import BY_NAME, METRICS, Pair
from tools.evaluation.weights import Weights

ROOT = Path(__file__).parents[3]


@pytest.fixture
def made():
    return small_data_sets.entries()


@pytest.fixture
def data(tmp_path, made) -> Path:
    return small_data_sets.write("pie-bench", tmp_path / "data", made)


def edited(picture: bytes, amount: float) -> Image.Image:
    """A picture, darker by a fraction."""
    pixels = decoded(picture, "a scene").numpy()
    return Image.fromarray((pixels * (1 - amount)).round().astype(np.uint8))


def mirrored(folder: Path, made, amount: float, ending: str = ".png") -> Path:
    """Edits in the places of their sources."""
    for entry in made:
        path = (folder / entry.path).with_suffix(ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        edited(entry.picture, amount).save(path)
    return folder


def recorded(folder: Path, made, amount: float, seed: int = 1, **settings) -> Path:
    """Edits with records as `python -m tools.batch edit` writes them."""
    import hashlib

    folder.mkdir(exist_ok=True)
    for entry in made:
        stem = f"{Path(entry.path).stem}_{hashlib.sha256(repr((entry.path, amount, seed)).encode()).hexdigest()[:12]}"
        edited(entry.picture, amount).save(folder / f"{stem}.png")
        record = {
            "picture_sha256": hashlib.sha256(entry.picture).hexdigest(),
            "source": entry.source,
            "target": entry.target,
            "seed": seed,
            **settings,
            "set": {},
            "outputs": [f"{stem}.png"],
            "seconds": 3.0,
        }
        (folder / f"{stem}.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def evaluate(data, tmp_path, capsys):
    """evaluate(*arguments, status=0): the summary and what was said."""

    def run(*arguments, status: int = 0, out: str = "out"):
        command = ["evaluate", str(data), "--out", str(tmp_path / out), "--sheet", "2", *map(str, arguments)]
        assert main(command) == status
        return json.loads((tmp_path / out / "summary.json").read_text()), capsys.readouterr().out

    return run


def mean(summary: dict, method: str, metric: str) -> float:
    return float(summary["methods"][method]["metrics"][metric]["mean"])


def test_means_are_those_of_the_single_measurements(evaluate, data, made, tmp_path, weights_folder, networks):
    folder = mirrored(tmp_path / "a", made, 0.25)
    summary, said = evaluate("--edited", f"a={folder}", "--weights", weights_folder)
    pairs = []
    for case, entry in zip(formats.read(data).cases, made, strict=True):
        source = decoded(entry.picture, "it")
        mask = torch.from_numpy(entry.mask.copy())
        mask[[0, -1]] = mask[:, [0, -1]] = True
        darker = torch.from_numpy(np.array(edited(entry.picture, 0.25)))
        pairs.append(Pair(source, darker, mask, case.source, case.target))
    for metric in METRICS:
        values = [metric.value(pair, networks) for pair in pairs]
        if not math.isnan(values[0]):
            assert mean(summary, "a", metric.name) == pytest.approx(sum(values) / len(values), rel=1e-9), metric.name
    table = pyarrow.parquet.read_table(tmp_path / "out" / "per_picture.parquet").to_pydict()
    assert table["case"] == [case.id for case in formats.read(data).cases]
    assert table["whole.mse"] == pytest.approx([BY_NAME["whole.mse"].value(pair, {}) for pair in pairs])
    assert set(summary["methods"]["a"]["by_type"]) == {"change color", "change object"}
    assert set(summary["weights_sha256"]) >= {"dino_vitbase8_pretrain.pth", "clip-vit-large-patch14/model.safetensors"}
    assert "## pie-bench" in said and "## masked" in said
    assert "published, not measured here" not in said and "Calibration" not in said  # of four cases
    for name in ("clip_lpips.png", "index.html", "table.md", "per_picture.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 500


@pytest.mark.parametrize(("score", "says"), [(26.10, "as published"), (27.5, "are not those of the published rows")])
def test_all_700_cases_are_calibrated_and_stand_beside_published_rows(data, tmp_path, capsys, monkeypatch, score, says):
    """Of PIE-Bench's size, with a stand-in for CLIP that gives a known score."""
    mapping = json.loads(data.read_text())
    first = next(iter(mapping.values()))
    data.write_text(json.dumps({f"{number:012}": first for number in range(700)}))
    clip = SimpleNamespace(text=lambda picture, prompt: score / 100, pictures=lambda first, second: 1.0)
    monkeypatch.setattr("tools.evaluation.weights.load", lambda *_: Weights({"clip_l14": clip}, {}, ()))
    assert main(["evaluate", str(data), "--calibrate", "--out", str(tmp_path / "out"), "--sheet", "0"]) == 0
    said = capsys.readouterr().out
    assert f"Calibration: CLIP of the sources is {score:.2f}, published 26.07: " in said and says in said
    assert "*published, not measured here: edit friendly, SD1.4 (h-Edit, arXiv 2503.02187)* | 25.87 |" in said


def test_the_sources_themselves(evaluate):
    summary, said = evaluate("--calibrate")
    assert mean(summary, "source", "pie-bench.psnr") == math.inf
    assert mean(summary, "source", "pie-bench.mse") == 0 and mean(summary, "source", "masked.ssim") == 1
    psnr = {"n": 4, "mean": "inf", "low": None, "high": None, "infinite": 4}
    assert summary["methods"]["source"]["metrics"]["masked.psnr"] == psnr
    assert "Without pie-bench.lpips, masked.lpips, whole.lpips: it takes squeezenet1_1-b8a52dc0.pth" in said
    assert "pie-bench.clip_whole" not in summary["methods"]["source"]["metrics"]


def test_records_are_found_by_picture_and_prompts_and_other_settings_are_other_methods(evaluate, made, tmp_path):
    folder = recorded(tmp_path / "runs", made, 0.1, skip_steps=36, cfg=15.0)
    recorded(folder, made, 0.3, skip_steps=12, cfg=15.0)
    recorded(folder, made, 0.2, seed=2, skip_steps=12, cfg=15.0)
    summary, _ = evaluate("--edited", f"ef={folder}")
    assert set(summary["methods"]) == {"ef, skip_steps 12", "ef, skip_steps 36"}
    assert summary["methods"]["ef, skip_steps 12"]["settings"] == {"skip_steps": 12, "cfg": 15.0}
    assert summary["methods"]["ef, skip_steps 12"]["variations"] == {"2": 4}  # of two seeds
    assert mean(summary, "ef, skip_steps 36", "ef-paper.seconds") == 3.0
    (difference,) = summary["differences"]
    assert (difference["second"], difference["first"]) == ("ef, skip_steps 36", "ef, skip_steps 12")
    psnr = difference["metrics"]["whole.psnr"]
    gained = mean(summary, "ef, skip_steps 36", "whole.psnr") - mean(summary, "ef, skip_steps 12", "whole.psnr")
    assert psnr["n"] == 4 and psnr["mean"] == pytest.approx(gained)
    assert psnr["low"] > 0


def test_records_of_other_graphs_are_other_methods_and_a_seed_counts_once(evaluate, made, tmp_path):
    folder = recorded(tmp_path / "runs", made, 0.1, cfg=15.0, method="a" * 64)
    recorded(folder, made, 0.2, cfg=15.0, method="b" * 64)
    recorded(folder, made, 0.15, cfg=15.0, method="a" * 64, timesteps_per_call=4)  # of the same seed
    summary, _ = evaluate("--edited", f"ef={folder}")
    assert set(summary["methods"]) == {"ef, graph aaaaaaaa", "ef, graph bbbbbbbb"}
    assert all(method["variations"] == {"1": 4} for method in summary["methods"].values())


def test_a_seed_among_the_variations_of_another_counts_once(evaluate, made, tmp_path):
    """Its picture is the same; so is the time of a picture, however many its run had made."""
    folder = recorded(tmp_path / "runs", made, 0.1, seed=0, variations=1)
    for path in folder.glob("*.json"):
        record = json.loads(path.read_text())
        (name,) = record["outputs"]
        for k in (1, 2):
            (folder / f"v{k}_{name}").write_bytes((folder / name).read_bytes())
        several = {"variations": 3, "outputs": [name, f"v1_{name}", f"v2_{name}"], "seconds": 9.0}
        path.write_text(json.dumps(record | several))
    recorded(folder, made, 0.3, seed=1, variations=1)
    recorded(folder, made, 0.4, seed=5, variations=1)
    summary, _ = evaluate("--edited", f"ef={folder}")
    assert summary["methods"]["ef"]["variations"] == {"4": 4}
    assert mean(summary, "ef", "ef-paper.seconds") == 3.0


def test_an_edit_of_what_a_vae_keeps_is_measured_on_the_middle(evaluate, made, tmp_path):
    """As by Measure an Edit; a source of no whole number of cells is cut to one."""
    folder = tmp_path / "runs"
    for entry in made:
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(decoded(entry.picture, "it").numpy())
        width, height = picture.size
        picture.crop((3, 2, width - 4, height - 3)).save(path.with_suffix(".png"))
    summary, _ = evaluate("--edited", f"cut={folder}")
    assert mean(summary, "cut", "whole.mse") == 0


def test_the_best_setting_has_the_highest_clip_under_a_bound_of_lpips(evaluate, made, tmp_path, monkeypatch):
    """D.1 of the paper; the stand-ins give CLIP and LPIPS by how dark an edit is, which is more for less skip."""
    folder = tmp_path / "runs"
    for amount, skip in ((0.1, 36), (0.2, 24), (0.3, 12)):
        recorded(folder, made, amount, skip_steps=skip)

    def off(first, second):
        return float((first.float() - second.float()).abs().mean() / first.float().mean())

    sources = [decoded(entry.picture, "it") for entry in made]
    clip = SimpleNamespace(
        text=lambda picture, prompt: min(off(s, picture) for s in sources if s.shape == picture.shape)
    )
    found = Weights({"clip_b32": clip, "lpips_alex": SimpleNamespace(distance=off)}, {}, ())
    monkeypatch.setattr("tools.evaluation.weights.load", lambda *_: found)
    for bound, setting in ((0.25, "skip_steps 24"), (0.4, "skip_steps 12"), (0.05, "none")):
        _, said = evaluate("--edited", f"ef={folder}", "--lpips-bound", bound)
        assert f"the highest CLIP with an LPIPS of {bound:g} at most" in said
        assert f"| ef | {setting} | " in said


def test_edits_that_are_not_there_are_listed_and_their_methods_not_compared(evaluate, made, tmp_path):
    first, second = mirrored(tmp_path / "a", made, 0.1), mirrored(tmp_path / "b", made, 0.2)
    (second / made[2].path).unlink()
    arguments = ["--edited", f"a={first}", "--edited", f"b={second}"]
    summary, said = evaluate(*arguments, status=1)
    assert summary["methods"]["b"]["missing"] == ["000000000002"]
    assert summary["methods"]["b"]["cases"] == 3
    assert "b lacks 1: 000000000002" in said
    assert "Refused: a has 1 cases that b lacks" in said and "--common" in said
    assert summary["differences"][0]["metrics"] == {}
    summary, said = evaluate(*arguments, "--common", status=1)
    assert summary["methods"]["a"]["cases"] == 3 and summary["differences"][0]["refused"] is None
    assert "Over the cases that all methods have; 1 others are left out" in said


def test_what_cannot_be_measured_is_listed_and_the_rest_is(evaluate, data, made, tmp_path):
    """A source that is not there, an edit of another size, one that is no picture."""
    folder = mirrored(tmp_path / "a", made, 0.1)
    (data.parent / "annotation_images" / made[0].path).unlink()
    edited(made[1].picture, 0.1).resize((40, 40)).save(folder / made[1].path)
    (folder / made[2].path).write_bytes(b"no picture")
    summary, said = evaluate("--edited", f"a={folder}", status=1)
    reasons = summary["methods"]["a"]["failed"]
    assert any(f"there is no picture {made[0].path}" in reason for reason in reasons)
    resize = "the edit is 40 x 40 pixels, its source 128 x 128: --resize crop or --resize stretch makes the source fit"
    assert reasons[resize] == ["000000000001"]
    assert any("000000000002.png cannot be read as a picture" in reason for reason in reasons)
    assert summary["methods"]["a"]["cases"] == 1
    summary, _ = evaluate("--edited", f"a={folder}", "--resize", "stretch", status=1, out="resized")
    assert summary["methods"]["a"]["cases"] == 2


def test_pictures_with_alpha_grey_or_turned_by_exif(evaluate, data, made, tmp_path):
    """A picture counts as ComfyUI loads it: without alpha, upright."""
    folder = tmp_path / "a"
    for number, entry in enumerate(made):
        path = folder / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        image = edited(entry.picture, 0)
        if number % 2:
            image.putalpha(Image.new("L", image.size, 7))
            image.save(path)
        else:
            exif = Image.Exif()
            exif[0x0112] = 6  # to be turned by a quarter
            image.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    summary, _ = evaluate("--edited", f"a={folder}")
    assert mean(summary, "a", "whole.mse") == 0


def test_cases_without_a_background_are_left_out_of_its_columns_and_counted(evaluate, data, made, tmp_path):
    mapping = json.loads(data.read_text())
    mapping["000000000001"]["mask"] = [0, 128 * 128]
    mapping["000000000003"]["mask"] = []
    data.write_text(json.dumps(mapping))
    summary, said = evaluate("--edited", f"a={mirrored(tmp_path / 'a', made, 0.1)}")
    metrics = summary["methods"]["a"]["metrics"]
    assert (metrics["masked.psnr"]["n"], metrics["whole.psnr"]["n"]) == (3, 4)
    assert re.search(r"\| a \| .* \| 3 \|", said)


def test_a_strip_is_cut_to_its_last_picture(evaluate, made, tmp_path):
    folder = tmp_path / "strips"
    for entry in made:
        strip = Image.new("RGB", (512, 128), "red")
        strip.paste(edited(entry.picture, 0.0), (384, 0))
        (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        strip.save(folder / entry.path)
    summary, _ = evaluate("--edited", f"p2p={folder}")
    assert mean(summary, "p2p", "whole.mse") == 0


def test_variations_and_their_diversity(evaluate, made, tmp_path, weights_folder, networks):
    folder = tmp_path / "a"
    for entry in made:
        for variation in range(3):
            path = folder / entry.path.replace(".png", f"_v{variation}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            edited(entry.picture, 0.2 * variation).save(path)
    summary, _ = evaluate("--edited", f"a={folder}", "--weights", weights_folder)
    versions = [torch.from_numpy(np.array(edited(made[0].picture, 0.2 * v))) for v in range(3)]
    lpips = networks["lpips_alex"].distance
    a, b, c = versions
    expected = (lpips(a, b) + lpips(a, c) + lpips(b, c)) / 3
    table = pyarrow.parquet.read_table(tmp_path / "out" / "per_picture.parquet").to_pydict()
    assert table["variation"] == [0, 1, 2] * 4
    assert table["ef-paper.diversity"][0] == pytest.approx(expected, rel=1e-9)
    assert math.isnan(table["ef-paper.diversity"][1])
    assert summary["methods"]["a"]["metrics"]["ef-paper.diversity"]["n"] == 4


def test_jpeg_costs_what_it_costs(evaluate, made, tmp_path):
    folder = mirrored(tmp_path / "a", made, 0.0)
    summary, said = evaluate("--edited", f"a={folder}", "--jpeg", 75)
    assert 20 < mean(summary, "a", "whole.psnr") < 45
    assert "Edits go through JPEG of quality 75 first" in said


def test_killed_in_the_middle_and_resumed_gives_the_same_files(evaluate, data, made, tmp_path):
    """Killed in truth, by the system, with half a line in the table; what was measured is not measured again."""
    folder = mirrored(tmp_path / "a", made, 0.1)
    undisturbed, _ = evaluate("--edited", f"a={folder}", "--calibrate", out="undisturbed")
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(data), "--out", str(out), "--edited", f"a={folder}", "--calibrate"]
    killed = subprocess.run([*command, "--sheet", "2"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert killed.returncode != 0
    left = (out / "per_picture.csv").read_bytes()
    assert left.count(b"\n") == 1 + 5 and not left.endswith(b"\n")
    assert not (out / "summary.json").exists()
    evaluate("--edited", f"a={folder}", "--calibrate")
    for name in ("per_picture.csv", "per_picture.parquet", "summary.json", "table.md", "index.html"):
        assert (out / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes(), name
    assert set(left.splitlines()[:-1]) <= set((out / "per_picture.csv").read_bytes().splitlines())


KILLED = """
import os, sys
from tools.evaluation import rows
from tools.batch.__main__ import main
add = rows.RowTable.add
def add_and_die(table, row):
    if len(table.rows) == 5:
        table._file.write('half a li')
        table._file.flush()
        os._exit(9)
    add(table, row)
rows.RowTable.add = add_and_die
main(['evaluate', *sys.argv[1:]])
"""


def test_what_is_measured_is_not_measured_again_unless_it_changes(evaluate, made, tmp_path, monkeypatch):
    folder = mirrored(tmp_path / "a", made, 0.1)
    evaluate("--edited", f"a={folder}")
    from tools.evaluation.rows import RowTable

    added, add = [], RowTable.add
    monkeypatch.setattr(RowTable, "add", lambda table, row: (added.append(row["case"]), add(table, row)))
    evaluate("--edited", f"a={folder}")
    assert added == []
    edited(made[2].picture, 0.5).save(folder / made[2].path)
    evaluate("--edited", f"a={folder}")
    assert added == ["000000000002"]


def test_a_sheet_shows_the_worst_first_and_escapes_prompts(evaluate, data, made, tmp_path):
    mapping = json.loads(data.read_text())
    for entry in mapping.values():
        entry["editing_prompt"] = "<script>alert(1)</script>"
    data.write_text(json.dumps(mapping))
    folder = mirrored(tmp_path / "a", made, 0.1)
    edited(made[3].picture, 0.9).save(folder / made[3].path)
    evaluate("--edited", f"a={folder}")
    page = (tmp_path / "out" / "index.html").read_text()
    assert page.count("<section>") == 2 and page.index("000000000003") == page.index("0000000000")
    assert "<script>" not in page and "&lt;script&gt;" in page
    shown = re.findall(r'src="([^"]+)"', page)
    assert len(shown) == 4 and all((tmp_path / "out" / path).is_file() for path in shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name edits with --edited NAME=FOLDER, or take --calibrate"),
        (["--edited", "folder"], "--edited folder: write it as NAME=FOLDER"),
        (["--edited", "a=nowhere"], "--edited a: there is no folder nowhere"),
        (["--calibrate", "--weights", "nowhere"], "there is no folder of weights nowhere"),
        (["--calibrate", "--sort", "beauty"], "there is no metric beauty: take one of pie-bench.structure"),
        (["--edited", "source=.", "--calibrate"], "two methods have one name"),
        (["--calibrate", "--format", "yaml"], "cannot be read as yaml"),
    ],
)
def test_wrong_usage(data, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", str(data), "--out", str(tmp_path / "out"), *arguments])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_results_of_another_version_are_not_mixed_in(data, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "per_picture.csv").write_text("key,method,beauty\n")
    with pytest.raises(SystemExit):
        main(["evaluate", str(data), "--out", str(tmp_path / "out"), "--calibrate"])
    assert "has other columns than this version writes: name another folder with --out" in capsys.readouterr().err
