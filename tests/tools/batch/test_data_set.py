"""`--dataset` and `--sweep` of `python -m tools.batch edit` without a ComfyUI: what is asked for, what is refused."""

import argparse

import pytest

from support import small_data_sets
from tools.batch.__main__ import main
from tools.batch.edits import InvalidEdit
from tools.batch.plan import EditRequest, add_options, plan_of


@pytest.fixture
def plan(tmp_path):
    """plan(*arguments): the edits that they ask for."""

    def of(*arguments):
        parser = argparse.ArgumentParser()
        add_options(parser)
        options = parser.parse_args([*map(str, arguments), "--out", str(tmp_path / "out")])
        return list(plan_of(EditRequest.of(options)).edits)

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
