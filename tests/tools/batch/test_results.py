"""The results in a store: which files are results, and that they are whole."""

import json
import threading
from pathlib import Path

import pytest

from tools.batch import results
from tools.batch.store import LocalStore

DIGEST = "1a2b3c4d5e6f" + 52 * "0"


def finish(folder, stem: str, suffixes: list[str]) -> list[str]:
    names = results.names_of(stem, suffixes)
    record = {"digest": DIGEST, "outputs": names}
    files = dict.fromkeys(names, b"picture") | {results.record_of(stem): json.dumps(record).encode()}
    LocalStore(folder).write(files)
    return names


def test_a_result_is_what_a_record_beside_it_names(tmp_path):
    one = finish(tmp_path, results.stem_of(tmp_path / "tom.png", DIGEST), [".png"])
    several = finish(tmp_path, results.stem_of(tmp_path / "my_cat.jpg", DIGEST), [".png", ".png"])
    assert one == ["tom_1a2b3c4d5e6f.png"]
    assert several == ["my_cat_1a2b3c4d5e6f_v0.png", "my_cat_1a2b3c4d5e6f_v1.png"]
    found = {path.name for path in tmp_path.glob("*.png")}
    assert results.results_among(LocalStore(tmp_path), found) == found == {*one, *several}


@pytest.mark.parametrize(
    "record",
    [
        None,
        "half a {",
        "[]",
        '"digest outputs"',
        '{"digest": null, "outputs": null}',
        '{"digest": "1a2b3c4d5e6f", "outputs": [3]}',
        '{"digest": "1a2b3c4d5e6f", "outputs": ["other_1a2b3c4d5e6f.png"]}',
        '{"digest": "000000000000", "outputs": ["mine_1a2b3c4d5e6f.png"]}',
    ],
)
def test_a_picture_whose_name_merely_looks_like_a_result_is_a_picture(tmp_path, record):
    picture = tmp_path / "mine_1a2b3c4d5e6f.png"
    picture.touch()
    if record is not None:
        picture.with_suffix(".json").write_text(record)
    assert results.results_among(LocalStore(tmp_path), [picture.name]) == set()


def test_an_edit_is_finished_with_its_record_and_all_its_pictures(tmp_path):
    stem, store = results.stem_of(tmp_path / "tom.png", DIGEST), LocalStore(tmp_path)
    assert not results.is_finished(store, stem, DIGEST)
    finish(tmp_path, stem, [])
    assert not results.is_finished(store, stem, DIGEST)  # of a run that saved nothing
    names = finish(tmp_path, stem, [".png", ".png"])
    assert results.is_finished(store, stem, DIGEST)
    assert not results.is_finished(store, stem, DIGEST[::-1])
    (tmp_path / names[1]).unlink()
    assert not results.is_finished(store, stem, DIGEST)


def test_clients_that_write_the_same_results_do_not_disturb_each_other(tmp_path):
    """Each writes contents of its own length; whatever is read in between is of one of them."""
    contents = [bytes([65 + writer]) * 100_000 * (writer + 1) for writer in range(4)]
    errors: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(25):
                LocalStore(tmp_path).write({"a.png": content, "a.json": content})
                assert (tmp_path / "a.png").read_bytes() in contents
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert errors == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.png"]


@pytest.mark.parametrize("stopped", [OSError("No space left on device"), KeyboardInterrupt()])
def test_where_one_file_cannot_be_written_none_is(tmp_path, monkeypatch, stopped):
    whole = Path.write_bytes

    def write_bytes(path, content):
        whole(path, content[:3])
        if content == b"the record":
            raise stopped
        return whole(path, content)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(type(stopped)):
        LocalStore(tmp_path).write({"a.png": b"the picture", "a.json": b"the record"})
    assert not list(tmp_path.iterdir())


def test_a_name_of_the_greatest_length_has_a_part_too(tmp_path):
    LocalStore(tmp_path).write({f"{251 * 'n'}.png": b"picture"})
    assert [path.stat().st_size for path in tmp_path.iterdir()] == [7]
