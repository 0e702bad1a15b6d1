"""`--dataset` and `--sweep` of `python -m tools.batch edit` without a ComfyUI: what is asked for, what is refused."""

import argparse
import copy
import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import small_data_sets
from support.picture_files import HEIGHT, SOUND, WIDTH
from support.stand_in import GRAPH
from tools.batch import job as job_module
from tools.batch.__main__ import main
from tools.batch.edits import InvalidEdit
from tools.batch.job import FAILED, Job
from tools.batch.plan import EditRequest, add_options, plan_of
from tools.batch.store import LocalStore
from tools.batch.template import PictureEdit, Template, read_graph

API = Path(__file__).parents[3] / "workflows" / "api"


@pytest.fixture
def plan(tmp_path):
    """plan(*arguments): the edits that they ask for; `notes` is what is said of the last."""

    def of(*arguments):
        parser = argparse.ArgumentParser()
        add_options(parser)
        options = parser.parse_args([*map(str, arguments), "--out", str(tmp_path / "out")])
        made = plan_of(EditRequest.of(options))
        of.notes = made.notes
        return list(made.edits)

    return of


@pytest.fixture
def made():
    return small_data_sets.entries(1)


@pytest.mark.parametrize("name", small_data_sets.WRITERS)
def test_each_case_is_an_edit_of_a_file(plan, made, tmp_path, name):
    data = small_data_sets.write(name, tmp_path / "data", made)
    columns = ["--columns", small_data_sets.COLUMNS] if name == "parquet" else []
    edits = plan("--dataset", data, "--seed", 7, *columns)
    assert [(edit.source, edit.target) for edit in edits] == [(entry.source, entry.target) for entry in made]
    assert [edit.picture.read_bytes() for edit in edits] == [entry.picture for entry in made]
    assert all(edit.settings == {"seed": "7"} for edit in edits)


def test_pictures_are_taken_out_of_a_parquet_file_once(plan, made, tmp_path):
    data = small_data_sets.write("pie-bench-parquet", tmp_path / "data", made)
    first = [edit.picture for edit in plan("--dataset", data)]
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "pictures").iterdir()}
    assert set(first) == set(kept) and len(kept) == len(made)
    assert [edit.picture for edit in plan("--dataset", data)] == first
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_sweep_is_each_edit_with_each_setting_one_after_the_other(plan, made, tmp_path):
    data = small_data_sets.write("yaml", tmp_path / "data", made)
    edits = plan("--dataset", data, "--seed", 7, "--sweep", "cfg=9,skip_steps=20", "--sweep", "cfg=15")
    assert [edit.settings for edit in edits[:2]] == [
        {"seed": "7", "cfg": "9", "skip_steps": "20"},
        {"seed": "7", "cfg": "15"},
    ]
    assert edits[0].picture == edits[1].picture != edits[2].picture
    assert edits[0].name == "color/000000000000_0, cfg 9, skip_steps 20"


def test_a_sweep_of_a_folder(plan, made, tmp_path):
    data = small_data_sets.write("yaml", tmp_path / "data", made)
    folder = data.parent / "color"
    assert len(plan(folder, "--source", "a", "--target", "b", "--sweep", "cfg=9", "--sweep", "cfg=15")) == 2


def test_a_picture_that_cannot_be_taken_out_does_not_stop_the_others(plan, made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [{"picture": {"bytes": content, "path": None}, "target": "a"} for content in (None, made[0].picture)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "list.parquet")
    broken, sound = plan("--dataset", tmp_path / "list.parquet")
    assert isinstance(broken, InvalidEdit) and "the cell picture of row 0" in broken.reason
    assert sound.target == "a"


def masked_graph(*loaders: dict) -> dict:
    """A graph into whose result loaders lead."""
    graph = copy.deepcopy(GRAPH) | {f"mask {k}": loader for k, loader in enumerate(loaders)}
    graph["6"]["inputs"] |= {f"of {node}": [node, 0] for node in graph if node.startswith("mask")}
    return graph


MASK = {"class_type": "LoadImageMask", "inputs": {"image": "none.png", "channel": "red"}}
TITLED = {"_meta": {"title": "Mask"}}


@pytest.mark.parametrize(
    ("loaders", "place"),
    [
        ([], None),
        ([MASK], "mask 0"),
        ([MASK, MASK], None),
        ([MASK, MASK | TITLED], "mask 1"),
        ([MASK, {"class_type": "LoadImage", "inputs": {"image": "none.png"}} | TITLED], "mask 1"),
        ([MASK, {"class_type": "EmptyImage", "inputs": {"image": "none.png"}} | TITLED], "mask 0"),
    ],
)
def test_the_place_of_a_mask_is_a_loader_of_that_title_or_the_only_loader_of_masks(loaders, place):
    assert Template(masked_graph(*loaders)).mask == place


def test_the_only_loader_of_pictures_is_no_place_of_masks_whatever_its_title():
    graph = copy.deepcopy(GRAPH)
    graph["1"] |= TITLED
    template = Template(graph)
    assert (template.picture, template.mask) == ("1", None)


@pytest.mark.parametrize(
    ("name", "masks"), [("pie-bench", "runs"), ("pie-bench-parquet", "runs"), ("csv", "files"), ("yaml", "none")]
)
def test_masks_go_to_the_graph_that_has_a_place_and_else_it_is_said(plan, made, tmp_path, name, masks):
    data = small_data_sets.write(name, tmp_path / "data", made)
    path = tmp_path / "masked.json"
    path.write_text(json.dumps(masked_graph(MASK)))
    edits = plan("--dataset", data, "--graph", path)
    kinds = {"runs": tuple, "files": Path, "none": type(None)}
    assert all(isinstance(edit.mask, kinds[masks]) for edit in edits)
    assert plan.notes == []
    assert all(edit.mask is None for edit in plan("--dataset", data))
    said = ["Left out the masks of 2 cases: the graph has no place for them, a Load Image (as Mask) titled 'Mask'"]
    assert plan.notes == ([] if masks == "none" else said)


@pytest.mark.parametrize(
    ("words", "blended", "counted"),
    [
        ("Cat dog", "cat, dog", "dog: 2"),
        ('["cat", "dog"]', "cat, dog", "dog: 2"),
        ("bird dog", "dog", "dog: 2"),  # as if the runner's mask of an unknown word were empty
        ("cat bird", "cat", ""),
        ("", "", ""),
    ],
)
def test_changed_words_of_a_case_go_to_the_prompt_to_prompt_of_that_title(plan, tmp_path, words, blended, counted):
    """The target's count twice, as in PIE-Bench's runners; any other graph has words of its own."""
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["picture", "source", "target", "words"], ["a.png", "a cat", "a dog.", words]])
    (edit,) = plan("--dataset", tmp_path / "list.csv", "--graph", API / "pie_p2p_null_text.json")
    filled = Template(read_graph(API / "pie_p2p_null_text.json")).filled(edit, "a.png")
    (inputs,) = [node["inputs"] for node in filled.values() if node["class_type"] == "EditFriendlyPromptToPrompt"]
    assert (inputs["blend_words"], inputs["reweight"]) == (blended, counted)
    (edit,) = plan("--dataset", tmp_path / "list.csv", "--graph", API / "text_edit_p2p.json")
    assert edit.settings == {}


def test_a_case_without_a_mask_is_not_edited_under_that_of_another(plan, made, tmp_path):
    """But all are, under the graph's own, where the data set has no masks at all."""
    (tmp_path / "masked.json").write_text(json.dumps(masked_graph(MASK)))
    for content, ours in (("picture,target,mask\na.png,x,0 5\nb.png,y,\n", False), ("picture,target\na.png,x\n", True)):
        (tmp_path / "list.csv").write_text(content)
        *_, last = plan("--dataset", tmp_path / "list.csv", "--graph", tmp_path / "masked.json")
        if ours:
            assert last.mask is None
        else:
            assert isinstance(last, InvalidEdit) and last.reason == "the graph takes a mask, and the case has none"


def test_the_mask_of_a_turned_picture_is_as_wide_as_it_stands(tmp_path):
    """Runs are of the picture as it is seen, not as its file keeps it; and another mask is another edit."""
    (tmp_path / "turned.jpg").write_bytes(SOUND["turned.jpg"].content)
    job = Job(Template(masked_graph(MASK)), LocalStore(tmp_path))
    edits = [PictureEdit("a", tmp_path / "turned.jpg", "a", "b", {}, mask) for mask in ((100, 3), (100, 4), None)]
    prepared = [job._prepared(edit) for edit in edits]
    assert len({one.digest for one in prepared}) == 3
    sent = job_module._sent(prepared[0])
    sizes = {name: Image.open(io.BytesIO(content)).size for name, content in sent.files.items()}
    assert set(sizes.values()) == {(HEIGHT, WIDTH)} and len(sizes) == 2
    mask = np.asarray(Image.open(io.BytesIO(sent.files[prepared[0].mask])))
    assert mask.shape == (WIDTH, HEIGHT, 4)
    assert np.argwhere(mask[1:-1, 1:-1, 0]).tolist() == [[1, 27], [1, 28], [1, 29]]  # without the border
    assert (mask[..., 3] == 255 - mask[..., 0]).all()


def test_a_mask_of_another_size_fails_by_name(tmp_path):
    (tmp_path / "a.png").write_bytes(SOUND["plain.png"].content)
    Image.new("L", (8, 8)).save(tmp_path / "mask.png")
    job = Job(Template(masked_graph(MASK)), LocalStore(tmp_path))
    for mask, says in (
        (tmp_path / "mask.png", "the mask mask.png is 8 x 8 pixels, its picture 52 x 36"),
        ((5000, 3), "the mask of a starts a run at pixel 5000, and its picture is 52 x 36"),
        (tmp_path / "none.png", "there is no file .*none.png"),
    ):
        outcome = job.run(PictureEdit("a", tmp_path / "a.png", "a", "b", {}, mask), None, {})
        assert outcome.status == FAILED and re.search(says, outcome.error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pictures", "--dataset", "DATA"], "--dataset has pictures and prompts of its own"),
        (["--dataset", "DATA", "--target", "a dog"], "--dataset has pictures and prompts of its own"),
        (["--dataset", "nowhere.json"], "there is no data set nowhere.json"),
        (["--dataset", "DATA", "--format", "yaml"], "cannot be read as yaml"),
        (["--dataset", "DATA", "--sweep", "cfg"], "--sweep cfg: write it as NAME=VALUE,NAME=VALUE"),
        (["--dataset", "DATA", "--sweep", "cfg=high"], "cfg cannot be 'high'"),
        (["--dataset", "DATA", "--sweep", "beauty=3"], "there is no parameter 'beauty'"),
        (["--dataset", "DATA", "--set", "Shift.x=8"], "the graph has no place for 'Shift.x'"),
    ],
)
def test_wrong_usage(made, tmp_path, capsys, arguments, message):
    data = small_data_sets.write("pie-bench", tmp_path / "data", made)
    named = [str(data) if part == "DATA" else part for part in arguments]
    with pytest.raises(SystemExit) as stopped:
        main(["edit", *named, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", ["pie-bench", "yaml"])
@pytest.mark.parametrize("command", [["edit", "--dataset"], ["evaluate", "--calibrate"]])
def test_names_of_columns_are_refused_where_there_are_no_columns(made, tmp_path, capsys, name, command):
    """They would count for nothing, and the pictures be those of the fixed names."""
    data = small_data_sets.write(name, tmp_path / "data", made)
    arguments = [*command, str(data), "--columns", "picture=photo", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    said = " ".join(capsys.readouterr().err.split())
    assert "--columns picture=photo is for the columns of CSV and parquet" in said
    assert f"is read as {name}, whose names are fixed" in said and "write it as a CSV" in said
