"""The formats of data sets: the same edits from each, and files that are none."""

import csv

import numpy as np
import pytest

from support import small_data_sets
from support.small_data_sets import COLUMNS
from tools.evaluation import EvaluationError, formats
from tools.evaluation.pictures import decoded, mask_of_case


@pytest.fixture(scope="module")
def made():
    return small_data_sets.entries()


@pytest.mark.parametrize("name", small_data_sets.WRITERS)
def test_each_format_gives_the_same_edits(name, made, tmp_path):
    columns = dict(part.split("=") for part in COLUMNS.split(",")) if name == "parquet" else None
    data = formats.read(small_data_sets.write(name, tmp_path, made), columns=columns)
    assert data.format == ("table" if name in ("csv", "parquet") else name)
    assert len(data.cases) == len(made)
    for case, entry in zip(data.cases, made, strict=True):
        assert (case.source, case.target) == (entry.source, entry.target)  # without brackets
        assert case.picture.read() == entry.picture
        pixels = decoded(case.picture.read(), case.picture.name)
        if name.startswith("pie-bench") or name == "csv":
            expected = entry.mask.copy()
            if name != "csv":
                expected[[0, -1]] = expected[:, [0, -1]] = True
            assert np.array_equal(mask_of_case(case.mask, pixels, case.id).numpy(), expected)
        else:
            assert case.mask is None
    types = {case.edit_type for case in data.cases}
    expected_types = {"pie-bench": {"change color", "change object"}, "yaml": {""}, "parquet": {""}}
    assert types == expected_types.get(name, {"color", "thing"})


def test_the_folder_of_pie_bench_is_as_good_as_its_file(made, tmp_path):
    file = small_data_sets.write("pie-bench", tmp_path, made)
    assert formats.read(tmp_path).path == file


def test_a_case_for_each_target_of_the_yaml(tmp_path):
    (tmp_path / "list.yaml").write_text(
        "- init_img: /cat.png\n  source_prompt: a cat\n  target_prompts: [a dog, a fox]\n"
        "- target_prompts: [lost]\n- init_img: b/dog.jpg\n  target_prompts: [a cat]\n"
    )
    cases = formats.read(tmp_path / "list.yaml").cases
    assert [(case.id, case.source, case.target) for case in cases] == [
        ("cat_0", "a cat", "a dog"),
        ("cat_1", "a cat", "a fox"),
        ("b/dog_0", "", "a cat"),
    ]


def test_cases_without_an_id_are_called_after_their_picture(tmp_path):
    rows = [["picture", "target", "mask"], ["a/cat.png", "a dog", "0 3 8 2"], ["a/cat.png", "a fox", ""]]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    first, second = formats.read(tmp_path / "list.csv").cases
    assert (first.id, first.mask, first.source) == ("a/cat_0", (0, 3, 8, 2), "")
    assert (second.id, second.mask) == ("a/cat_1", None)


def test_a_picture_that_is_not_there_is_found_out_when_it_is_read(made, tmp_path):
    file = small_data_sets.write("pie-bench", tmp_path, made)
    (tmp_path / "annotation_images" / made[1].path).unlink()
    first, second, *_ = formats.read(file).cases
    assert first.picture.read()
    with pytest.raises(EvaluationError, match=f"there is no picture {made[1].path}"):
        second.picture.read()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.json", None, "there is no data set"),
        ("notes.txt", "", "of no known kind: name one of pie-bench, pie-bench-parquet, yaml, table"),
        ("broken.json", "{", "cannot be read as pie-bench: Expecting"),
        ("empty.json", "{}", "has no case"),
        ("other.json", '{"1": {"image_path": "a.png"}}', "cannot be read as pie-bench: it has no 'original_prompt'"),
        ("list.csv", "picture,prompt\na.png,a cat\n", "which column is the target\\? Say it by --columns target="),
        ("uneven.csv", "picture,target\na.png,a,cat\n", "row 2 has another number of cells than the header"),
        ("double.csv", "id,picture,target\n1,a.png,a\n1,b.png,b\n", "several cases of the id '1'"),
        ("list.json", "[]", "cannot be read as pie-bench: 'list' object"),
        ("broken.yaml", "- [", "cannot be read as yaml: while parsing"),
        ("broken.parquet", "no parquet", "broken.parquet cannot be read"),
    ],
)
def test_files_that_are_none(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationError, match=message):
        formats.read(tmp_path / name)


def test_columns_that_are_none(made, tmp_path):
    file = small_data_sets.write("parquet", tmp_path, made)
    with pytest.raises(EvaluationError, match="--columns target=caption, but the columns are source_image, source_pro"):
        formats.read(file, columns={"target": "caption"})
    with pytest.raises(EvaluationError, match="the names are picture, source, target"):
        formats.read(file, columns={"image": "source_image"})


def test_a_cell_without_a_mask_picture_is_no_mask(made, tmp_path):
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"picture": entry.picture, "source": entry.source, "target": entry.target, "mask": mask}
        for entry, mask in zip(made, (made[0].picture, None, None, None), strict=True)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "list.parquet")
    assert [case.mask is None for case in formats.read(tmp_path / "list.parquet").cases] == [False, True, True, True]


def test_a_cell_that_is_too_long_is_told(tmp_path):
    (tmp_path / "list.csv").write_text('picture,target,mask\na.png,a dog,"' + "1 2 " * 40_000 + '"\n')
    with pytest.raises(EvaluationError, match="list.csv cannot be read as table: field larger than field limit"):
        formats.read(tmp_path / "list.csv")


def test_a_path_from_the_root_is_that_or_one_from_the_folder(made, tmp_path):
    (tmp_path / "here").mkdir()
    for place in ("apart.png", "here/beside.png"):
        (tmp_path / place).write_bytes(made[0].picture)
    rows = f"picture,target\n{tmp_path / 'apart.png'},a dog\n/beside.png,a dog\n"
    (tmp_path / "here" / "list.csv").write_text(rows)
    cases = formats.read(tmp_path / "here" / "list.csv").cases
    assert [case.picture.read() for case in cases] == [made[0].picture] * 2
