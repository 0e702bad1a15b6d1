"""`python -m tools.batch edit` where no ComfyUI is needed: wrong usage, odd answers, secrets, and how it is called."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.stand_in import GRAPH, HTML, PNG, RUN, SAVED, SOUND, Answer
from tools.batch import edits, job
from tools.batch.__main__ import main

ROOT = Path(__file__).parents[3]
PROMPTS = ["--source", "a cat", "--target", "a dog"]
SECRET = "pass!word"


def history(**entry) -> Answer:
    sound = {"status": {"status_str": "success", "messages": []}, "outputs": {"6": {"images": [SAVED]}}}
    return Answer({RUN: sound | entry})


@pytest.fixture
def edit(stand_in, graph_file, tmp_path):
    """The command, with what all tests share; its exit code."""
    shared = ["--graph", str(graph_file), "--out", str(tmp_path / "edited")]
    return lambda *arguments: main(["edit", "--server", stand_in.url, *shared, *map(str, arguments)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a folder of pictures, or a list with --prompts"),
        (["nowhere", *PROMPTS], "nowhere is not a folder"),
        (["pictures", "--source", "a cat"], "--target (or the column) is not given"),
        (["pictures", *PROMPTS, "--steps", "ten"], "steps cannot be 'ten'"),
        (["pictures", *PROMPTS, "--checkpoint", "x"], "the graph has no place for 'checkpoint'"),
        (["pictures", *PROMPTS, "--set", "Shift.x=8"], "the graph has no place for 'Shift.x'"),
        (["pictures", *PROMPTS, "--set", "Shift.x"], "--set Shift.x: write it as TITLE.INPUT=VALUE"),
        (["--prompts", "typo.csv"], "there is no parameter 'skip_step'"),
        (["--prompts", "typo.csv", "--columns", "picture=image"], "--columns is for --dataset: call the columns of"),
        ([".", *PROMPTS], "there is no picture in .: Left out of . as no pictures: graph.json, typo.csv; 2 in all"),
        (["pictures", *PROMPTS, "--header", SECRET], "--header needs 'NAME: VALUE', or @FILE with such lines"),
        (["pictures", *PROMPTS, "--header", "@nowhere"], "the headers nowhere cannot be read: FileNotFoundError"),
        (["pictures", *PROMPTS, "--header", f"My Token: {SECRET}"], "a header needs the form 'Name: value'"),
        (["pictures", *PROMPTS, "--header", "Authorization: "], "the value of the header Authorization is empty"),
        (["pictures", *PROMPTS, "--server", f"http://me:{SECRET}/@h"], "the address of the server needs the form"),
    ],
)
def test_wrong_usage_is_refused_before_anything_runs(
    stand_in, edit, pictures, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    Path("typo.csv").write_text("picture,source,target,skip_step\n")
    with pytest.raises(SystemExit) as stop:
        edit(*arguments)
    assert stop.value.code == 2
    said = capsys.readouterr()
    assert message in said.err
    assert SECRET not in said.err + said.out
    assert stand_in.heard == []


def test_no_server(pictures, graph_file, tmp_path, capsys):
    where = ["--server", f"http://me:{SECRET}@127.0.0.1:9", "--graph", str(graph_file), "--out", str(tmp_path)]
    assert main(["edit", str(pictures), *PROMPTS, *where]) == 1
    assert "Stopped: the server http://127.0.0.1:9 does not answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "answer", "message"),
    [
        (f"GET /history/{RUN}", history(outputs={}), "without a picture from 'Edited' (SaveImage)"),
        (f"GET /history/{RUN}", history(outputs={"6": {"images": []}}), "without a picture from 'Edited' (SaveImage)"),
        (f"GET /history/{RUN}", history(outputs={"6": {"text": ["x"]}}), "without a picture from 'Edited' (SaveImage)"),
        (f"GET /history/{RUN}", history(outputs=None), "the server's answer lacks 'outputs'"),
        (f"GET /history/{RUN}", history(status=None), "does not say whether the run succeeded"),
        (
            f"GET /history/{RUN}",
            history(outputs={"6": {"images": [{"filename": "x.json"}]}}),
            "the run saved 'x.json', which is not the name of a picture",
        ),
        ("POST /prompt", HTML, "answered /prompt with something else than JSON"),
        ("POST /prompt", Answer(None), "the server's answer lacks 'prompt_id'"),
        ("POST /upload/image", Answer(b"", 413), "the server answered 413 Request Entity Too Large to /upload/image"),
        ("POST /upload/image", Answer([]), "the server's answer lacks 'name'"),
        ("GET /view", Answer(b"", 404), "the server answered 404 Not Found to /view"),
        ("GET /view", HTML, "answered /view with a web page"),
        ("GET /view", Answer(b"", kind="image/png"), "the server's file edited_00001_.png is empty"),
        ("GET /view", Answer(PNG, kind="image/png", headers={"Content-Length": "99"}), "ChunkedEncodingError"),
    ],
)
def test_an_odd_answer_fails_that_picture_and_the_next_is_edited(
    stand_in, edit, pictures, tmp_path, capsys, asked, answer, message
):
    stand_in.once[asked] = answer
    assert edit(pictures, *PROMPTS) == 1
    said = capsys.readouterr().out
    assert "1 edited, 0 finished before, 1 failed, of 2" in said
    (failed,) = [line for line in said.splitlines() if line.startswith("FAILED a.png: ")]
    assert message in failed
    out = tmp_path / "edited"
    assert sorted(path.name[:2] + path.suffix for path in out.iterdir()) == ["b_.json", "b_.png", "fa"]
    (record,) = (out / "failed").iterdir()
    assert message in json.loads(record.read_text())["error"] and record.name.startswith("a_")
    assert edit(pictures, *PROMPTS) == 0
    assert sorted(path.name[:2] + path.suffix for path in out.iterdir()) == ["a_.json", "a_.png", "b_.json", "b_.png"]


def test_a_second_picture_that_cannot_be_had_leaves_no_first_one(stand_in, edit, pictures, tmp_path):
    """Or a first variation would lie there without a record, to be taken for a picture."""
    (pictures / "b.png").unlink()
    missing = {**SAVED, "filename": "edited_00002_.json"}
    stand_in.once[f"GET /history/{RUN}"] = history(outputs={"6": {"images": [SAVED, missing]}})
    assert edit(pictures, *PROMPTS) == 1
    stand_in.once[f"GET /history/{RUN}"] = history(outputs={"6": {"images": [SAVED, SAVED]}})
    stand_in.once["GET /view"] = Answer(b"", 404)
    assert edit(pictures, *PROMPTS) == 1
    assert [path.name for path in (tmp_path / "edited").iterdir()] == ["failed"]


@pytest.mark.parametrize(
    "answer", [HTML, Answer(b"", 401), Answer([]), Answer(b"", 302, headers={"Location": "/login"})]
)
def test_a_server_that_is_none_any_more_stops_the_batch(stand_in, edit, pictures, capsys, answer):
    """A proxy with its own page, a token that has run out: no picture after that would fare better."""
    stand_in.once["GET /system_stats"] = SOUND["GET /system_stats"]
    stand_in.always |= {"GET /system_stats": answer, "POST /prompt": HTML}
    assert edit(pictures, *PROMPTS) == 1
    said = capsys.readouterr().out
    assert "0 edited, 0 finished before, 0 failed, of 2" in said and "Stopped: " in said
    assert [asked for asked, _ in stand_in.heard].count("POST /prompt") == 1


def test_what_is_no_comfyui_from_the_start_is_told(stand_in, edit, pictures, capsys):
    stand_in.always["GET /system_stats"] = Answer({"status": "ok"})
    assert edit(pictures, *PROMPTS) == 1
    assert "Stopped: the server's answer lacks 'system': is it a ComfyUI server?" in capsys.readouterr().out


def test_results_in_the_folder_of_the_pictures_are_left_out_and_a_picture_of_such_a_name_is_not(
    stand_in, edit, pictures, capsys
):
    (pictures / "mine_1a2b3c4d5e6f.png").write_bytes(PNG)
    (pictures / "folder.png").mkdir()
    assert edit(pictures, *PROMPTS, "--out", pictures) == 0
    said = capsys.readouterr().out
    assert "3 edited, 0 finished before, 0 failed, of 3" in said and "Left out" not in said
    assert edit(pictures, *PROMPTS, "--out", pictures, "--steps", "5") == 0
    said = capsys.readouterr().out
    assert "3 edited, 0 finished before, 0 failed, of 3" in said
    assert f"Left out 3 results of earlier edits in {pictures}" in said and said.count("Left out") == 1


def test_what_is_no_picture_is_counted_and_named_once_and_not_opened_where_its_name_says_so(
    edit, pictures, capsys, monkeypatch
):
    """Captions beside a million pictures in an object store are a million requests."""
    for k in range(25):
        (pictures / f"caption {k:02}.txt").write_text("a cat")
    (pictures / "unknown").write_text("a cat")
    (pictures / "photo").write_bytes(PNG)
    opened = []
    monkeypatch.setattr(edits, "open_file", lambda place: opened.append(place.name) or place.open("rb"))
    assert edit(pictures, *PROMPTS) == 0
    assert sorted(opened) == ["photo", "unknown"]
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "Left out" in line]
    names = ", ".join(f"caption {k:02}.txt" for k in range(20))
    assert said == f"Left out of {pictures} as no pictures: {names} and 6 more; 26 in all"


def test_a_finished_edit_is_not_decoded_again(edit, pictures, monkeypatch):
    """A million that are finished are read for their keys, and no more."""
    assert edit(pictures, *PROMPTS) == 0
    monkeypatch.setattr(job, "decode", None)
    assert edit(pictures, *PROMPTS) == 0


def test_a_folder_of_results_alone_is_refused_with_the_way_to_edit_them(edit, pictures, tmp_path, capsys):
    out = tmp_path / "edited"
    assert edit(pictures, *PROMPTS) == 0
    with pytest.raises(SystemExit) as stop:
        edit(out, *PROMPTS)
    assert stop.value.code == 2
    assert "its 2 are results of edits; to edit these again, list them with --prompts" in capsys.readouterr().err
    rows = "".join(f"{path.name}\n" for path in out.glob("*.png"))
    (out / "list.csv").write_text(f"picture\n{rows}")
    assert edit("--prompts", out / "list.csv", *PROMPTS) == 0
    assert "2 edited" in capsys.readouterr().out


def test_a_row_with_an_impossible_name_fails_alone(edit, pictures, tmp_path, capsys):
    if sys.version_info < (3, 11):
        pytest.skip("csv refuses a NUL before Python 3.11, and the list with it")
    (tmp_path / "list.csv").write_text("picture\npictures/a\0.png\npictures/b.png\n")
    assert edit("--prompts", tmp_path / "list.csv", *PROMPTS) == 1
    assert "1 edited, 0 finished before, 1 failed, of 2" in capsys.readouterr().out


def test_a_name_that_the_console_cannot_show_does_not_end_the_batch(stand_in, edit, pictures, monkeypatch):
    (pictures / "a.png").rename(pictures / "a\u65e5.png")
    stand_in.once["GET /view"] = Answer(b"", 404)
    console = io.TextIOWrapper(io.BytesIO(), encoding="cp1252")
    monkeypatch.setattr(sys, "stdout", console)
    assert edit(pictures, *PROMPTS) == 1
    console.flush()
    assert b"FAILED a\\u65e5.png: " in console.buffer.getvalue()


def test_a_folder_that_the_first_version_began_is_finished(stand_in, edit, pictures, tmp_path, capsys):
    """It was written by the code before there were jobs; the key of an edit is not to change."""
    record = (Path(__file__).parent / "record_of_the_first_version.json").read_text()
    (pictures / "a.png").write_bytes(b"\x89PNG\r\n\x1a\na")  # no whole picture, and not looked into
    (tmp_path / "edited").mkdir()
    (tmp_path / "edited" / "a_dce623ec483d.json").write_text(record)
    (tmp_path / "edited" / "a_dce623ec483d.png").write_bytes(PNG)
    assert edit(pictures, *PROMPTS, "--steps", 5, "--set", "Source prompt.text=a cat on a mat") == 0
    assert "1 edited, 1 finished before, 0 failed, of 2" in capsys.readouterr().out
    assert [asked for asked, _ in stand_in.heard].count("POST /prompt") == 1
    (written,) = (tmp_path / "edited").glob("b_*.json")
    assert list(json.loads(record)) == [
        name for name in json.loads(written.read_text()) if name not in ("device", "method")
    ]


@pytest.mark.parametrize("how", ["address", "option", "file"])
def test_password_and_token_go_to_the_server_and_nowhere_else(stand_in, edit, pictures, tmp_path, capfd, how):
    """One picture fails and one is edited; neither console nor records hold it."""
    (tmp_path / "headers.txt").write_text(f"Authorization: Bearer {SECRET}\n\nX-Team: two\n", encoding="utf-8-sig")
    arguments = {
        "address": ["--server", stand_in.url.replace("//", f"//me:{SECRET}@")],
        "option": ["--header", f"Authorization: Bearer {SECRET}", "--header", "X-Team:two"],
        "file": ["--header", f"@{tmp_path / 'headers.txt'}"],
    }[how]
    stand_in.once["POST /prompt"] = Answer(b"no", 500)
    assert edit(pictures, *PROMPTS, *arguments) == 1
    assert "1 edited, 0 finished before, 1 failed, of 2" in (said := capfd.readouterr()).out
    expected = "Basic bWU6cGFzcyF3b3Jk" if how == "address" else f"Bearer {SECRET}"
    assert {sent["Authorization"] for _, sent in stand_in.heard} == {expected}
    assert {sent.get("X-Team") for _, sent in stand_in.heard} == {None if how == "address" else "two"}
    assert {"POST /upload/image", "GET /view"} <= {asked for asked, _ in stand_in.heard}
    written = [path.read_bytes().decode("latin-1") for path in (tmp_path / "edited").rglob("*.*")]
    assert len(written) == 3  # a picture, its record, and the record of a failure
    for text in (said.out, said.err, *written):
        assert SECRET not in text and expected not in text


def test_it_runs_from_any_folder_with_the_pack_on_the_path(stand_in, graph_file, pictures, tmp_path):
    command = [sys.executable, "-m", "tools.batch", "edit", "pictures", *PROMPTS, "--server", stand_in.url[7:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--graph", "graph.json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "2 edited, 0 finished before, 0 failed, of 2. Results: edited" in done.stdout
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "edited").glob("a_*.json")]
    assert record["source"] == "a cat" and record["graph"].keys() == GRAPH.keys()


@pytest.mark.parametrize(
    ("arguments", "shown"), [([], "edit a folder of pictures"), (["edit"], "--header 'NAME: VALUE'")]
)
def test_help(tmp_path, arguments, shown):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "tools.batch", *arguments, "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_without_requests_one_sentence_says_what_to_install(tmp_path):
    """-S: without the folder that packages are installed in."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-S", "-m", "tools.batch", "edit", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("Run: python -m pip install requests tqdm pillow")
    assert done.stderr.startswith("No module named ") and len(done.stderr.splitlines()) == 1


def test_the_client_needs_neither_torch_nor_the_pack():
    code = "import sys, tools.batch.edit, tools.batch.server; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    imported = set(done.stdout.split())
    assert "tools.batch.client" in imported and not {"torch", "comfy", "nodes", "demo", "ddpm_core"} & imported
