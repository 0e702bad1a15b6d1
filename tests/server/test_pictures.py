"""Pictures of all kinds, from a folder through a real server to the table: what is edited is what is measured."""

import copy
import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import small_data_sets
from support.picture_files import BROKEN, SOUND
from tools.batch.__main__ import main
from tools.evaluation import formats
from tools.evaluation.cases import digest_of
from tools.evaluation.pictures import decoded, mask_of_case

UNCHANGED = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "same"}},
}
# White is laid over the picture where the mask is; the prompts have to lead somewhere.
PAINTED = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "Image"}},
    "3": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0xFFFFFF}},
    "4": {
        "class_type": "ImageCompositeMasked",
        "inputs": {
            "destination": ["1", 0],
            "source": ["3", 0],
            "mask": ["2", 0],
            "x": 0,
            "y": 0,
            "resize_source": True,
        },
    },
    "5": {"class_type": "PrimitiveString", "inputs": {"value": ""}, "_meta": {"title": "Target prompt"}},
    "6": {"class_type": "PrimitiveString", "inputs": {"value": ""}, "_meta": {"title": "Source prompt"}},
    "7": {
        "class_type": "StringConcatenate",
        "inputs": {"string_a": ["6", 0], "string_b": ["5", 0], "delimiter": ""},
    },
    "8": {"class_type": "SaveImage", "inputs": {"images": ["4", 0], "filename_prefix": ["7", 0]}},
}


@pytest.fixture
def edit(server, tmp_path):
    """edit(graph, out, *arguments): the command; its exit code."""

    def run(graph: dict, out: Path, *arguments) -> int:
        (tmp_path / "graph.json").write_text(json.dumps(graph))
        where = ["--server", server.url, "--graph", tmp_path / "graph.json", "--out", out]
        return main(["edit", *map(str, [*arguments, *where])])

    return run


@pytest.fixture
def folder(tmp_path) -> Path:
    made = tmp_path / "pictures"
    made.mkdir()
    for name, file in SOUND.items():
        (made / name).write_bytes(file.content)
    return made


def results(out: Path) -> dict[str, list[np.ndarray]]:
    """The pixels of the results, by the name of the picture."""
    records = [json.loads(path.read_text()) for path in out.glob("*.json")]
    return {record["picture"]: [np.asarray(Image.open(out / name)) for name in record["outputs"]] for record in records}


def files_of(base: Path, name: str) -> set[Path]:
    return set((base / name).rglob("*"))


def test_what_is_edited_is_what_is_measured_pixel_for_pixel(edit, folder, tmp_path, capsys):
    """A JPEG of coarse colors, several frames, 16 bits: on every host one result, of the same pixels."""
    out = tmp_path / "same"
    assert edit(UNCHANGED, out, folder) == 0
    edited = results(out)
    assert edited.keys() == SOUND.keys()
    for name, pixels in edited.items():
        assert len(pixels) == 1 and np.array_equal(pixels[0], SOUND[name].pixels), name
    said = capsys.readouterr().out
    animated = sorted(name for name, file in SOUND.items() if "frames" in file.part)
    assert f"  {', '.join(animated)}: edited is the first of several frames" in said
    assert "deep grey.png" in said.partition(": edited is the upper 8 bits")[0]

    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [[name, f"pictures/{name}", "", ""] for name in SOUND]
        csv.writer(file).writerows([["id", "picture", "source", "target"], *rows])
    command = ["evaluate", tmp_path / "list.csv", "--edited", f"same={out}", "--out", tmp_path / "table"]
    assert main([*map(str, command)]) == 0
    metrics = json.loads((tmp_path / "table" / "summary.json").read_text())["methods"]["same"]["metrics"]
    assert metrics["whole.mse"]["n"] == len(SOUND) and metrics["whole.mse"]["mean"] == 0


def test_what_cannot_be_read_fails_as_what_it_is_and_what_is_no_picture_is_named_once(server, edit, tmp_path, capsys):
    """HEIC, whole or called otherwise; a picture without an ending is one. None of the others gets to the server."""
    folder, out = tmp_path / "phone", tmp_path / "same"
    folder.mkdir()
    for name, (content, _) in BROKEN.items():
        (folder / name).write_bytes(content)
    heic = BROKEN["heic.jpg"][0]
    for name in ("IMG_1.HEIC", "IMG_2.heic", "IMG_3"):
        (folder / name).write_bytes(heic)
    for name in ("photo.jfif", "without an ending", "photo.avif"):
        (folder / name).write_bytes(SOUND["photo.avif" if name == "photo.avif" else "photo.jpg"].content)
    for name in ("notes.txt", "IMG_1.MOV", "settings.aae", ".DS_Store", "._photo.jpg"):
        (folder / name).write_bytes(b"no picture")
    (folder / "folder.jpg").mkdir()
    before = len(server.get("/history"))
    assert edit(UNCHANGED, out, folder) == 1
    assert len(server.get("/history")) == before + 3
    said = capsys.readouterr().out
    names = ".DS_Store, ._photo.jpg, IMG_1.MOV, notes.txt, settings.aae"
    assert [line for line in said.splitlines() if line.startswith("Left out")] == [
        f"Left out of {folder} as no pictures: {names}; 5 in all"
    ]
    assert f"3 edited, 0 finished before, {len(BROKEN) + 3} failed, of {len(BROKEN) + 6}" in said
    assert said.count("  IMG_1.HEIC, IMG_2.heic, IMG_3, heic.jpg: it cannot be read as a picture") == 1
    assert results(out).keys() == {"photo.jfif", "without an ending", "photo.avif"}


def test_nothing_stays_in_the_folders_of_the_server(server, edit, folder, tmp_path):
    """But in that of temporary files, which it empties when it starts."""
    before = [files_of(server.base, name) for name in ("input", "output")]
    (tmp_path / "list.csv").write_text("picture\nplain.png\nphoto.jpg\n")
    assert edit(UNCHANGED, tmp_path / "same", folder, "--prompts", tmp_path / "list.csv") == 0
    assert [files_of(server.base, name) for name in ("input", "output")] == before
    assert len(results(tmp_path / "same")) == 2


LOADERS = {
    **{
        channel: ({"class_type": "LoadImageMask", "inputs": {"image": "none.png", "channel": channel}}, 0)
        for channel in ("red", "green", "blue", "alpha")
    },
    "of the picture's kind": (
        {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "Mask"}},
        1,
    ),
}


@pytest.mark.parametrize("name", ["pie-bench", "pie-bench-parquet", "csv"])
@pytest.mark.parametrize("loader", LOADERS)
def test_the_mask_of_a_case_gets_into_a_graph_that_has_a_place_for_it(edit, tmp_path, name, loader):
    """As runs and as a picture, by each loader and channel: the mask that the edit is measured with."""
    data = small_data_sets.write(name, tmp_path / "data", small_data_sets.entries(1))
    node, output = LOADERS[loader]
    graph = copy.deepcopy(PAINTED) | {"2": node}
    graph["4"]["inputs"]["mask"] = ["2", output]
    assert edit(graph, tmp_path / "painted", "--dataset", data) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "painted").glob("*.json")]
    outputs = {(record["picture_sha256"], record["target"]): record["outputs"] for record in records}
    for case in formats.read(data).cases:
        picture = decoded(case.picture.read(), case.id)
        mask = mask_of_case(case.mask, picture, case.id)
        (painted,) = outputs[digest_of(case.picture.read()), case.target]
        expected = np.where(mask[..., None], 255, picture.numpy())
        differs = np.abs(np.asarray(Image.open(tmp_path / "painted" / painted)).astype(int) - expected)
        assert differs.max() == 0, np.argwhere(differs)[:5]
