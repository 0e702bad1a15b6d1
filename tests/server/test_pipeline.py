"""`python -m tools.batch edit` against the real server, mostly on the demo model, which is fast."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tools.batch.__main__ import main
from tools.batch.client import GraphError
from tools.batch.server import ComfyServer

ROOT = Path(__file__).parents[2]
SOURCE, TARGET = "a red house by the sea", "a green house by the sea"
PROMPTS = ["--source", SOURCE, "--target", TARGET]


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Three pictures, each of another color."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, color in (("a", "red"), ("b", "green"), ("c", "blue")):
        Image.new("RGB", (32, 32), color).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def edit(server, demo_graph, tmp_path):
    """The command, with what all tests share; its exit code."""
    shared = ["--server", server.url, "--graph", str(demo_graph), "--out", str(tmp_path / "edited")]
    return lambda *arguments: main(["edit", *map(str, arguments), *shared])


def records(out: Path) -> dict[str, dict]:
    """The JSON of each finished edit, by the name of its picture."""
    found = [json.loads(path.read_text()) for path in sorted(out.glob("*.json"))]
    return {record["picture"]: record for record in found}


def runs(server) -> int:
    return len(server.get("/history"))


def queue_is(server, running: bool) -> bool:
    return bool(server.get("/queue")["queue_running"]) == running


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_a_broken_picture_does_not_stop_the_batch_and_the_rest_is_not_done_twice(
    server, edit, pictures, tmp_path, capsys
):
    (pictures / "b.png").write_bytes(b"this is no picture")
    (pictures / "notes.txt").write_text("nor is this one of the pictures")
    before = runs(server)
    assert edit(pictures, *PROMPTS, "--seed", 7) == 1
    assert runs(server) == before + 2
    said = capsys.readouterr().out
    assert "2 edited, 0 finished before, 1 failed, of 3" in said
    assert "b.png: it cannot be read as a picture: its first bytes are those of no picture" in said
    assert f"Left out of {pictures} as no pictures: notes.txt; 1 in all" in said

    out = tmp_path / "edited"
    done = records(out)
    assert set(done) == {"a.png", "c.png"}
    for record in done.values():
        (name,) = record["outputs"]
        assert Image.open(out / name).size == (32, 32)
        assert (record["source"], record["target"], record["seed"], record["steps"]) == (SOURCE, TARGET, 7, 3)
        by_title = {node["_meta"]["title"]: node for node in record["graph"].values()}
        assert by_title["Invert"]["inputs"]["seed"] == 7
        assert record["comfyui_version"] == server.version()
        assert "Original, edited" not in by_title  # it does not lead to the picture asked for
    assert done["a.png"]["picture_sha256"] != done["c.png"]["picture_sha256"]

    Image.new("RGB", (32, 32), "green").save(pictures / "b.png")
    before = runs(server)
    assert edit(pictures, *PROMPTS, "--seed", 7) == 0
    assert runs(server) == before + 1
    assert "1 edited, 2 finished before, 0 failed, of 3" in capsys.readouterr().out
    assert set(records(out)) == {"a.png", "b.png", "c.png"}
    assert not list(out.glob("*.part"))


def test_changed_parameters_run_again_and_stand_beside_the_first(server, edit, pictures, tmp_path):
    for name in ("b.png", "c.png"):
        (pictures / name).unlink()
    before = runs(server)
    assert edit(pictures, *PROMPTS) == 0
    assert edit(pictures, *PROMPTS, "--cfg", "2.5") == 0
    assert edit(pictures, *PROMPTS, "--set", "Edit.cfg=2.5") == 0  # the same once more, by another name
    assert runs(server) == before + 2
    found = [json.loads(path.read_text()) for path in (tmp_path / "edited").glob("a_*.json")]
    assert sorted(record["cfg"] for record in found) == [2.0, 2.5]


def test_results_among_the_pictures_are_not_edited(server, demo_graph, pictures, capsys):
    """Also with variations, and under other settings, which make new results."""
    for name in ("b.png", "c.png"):
        (pictures / name).unlink()
    command = ["edit", str(pictures), *PROMPTS, "--server", server.url, "--graph", str(demo_graph)]
    command += ["--out", str(pictures), "--variations", "2"]
    assert main(command) == 0
    before = runs(server)
    assert main(command) == 0
    assert runs(server) == before
    assert main([*command, "--cfg", "2.5"]) == 0
    assert runs(server) == before + 1
    said = capsys.readouterr().out
    assert said.count(f"Left out 2 results of earlier edits in {pictures}") == 2
    assert said.count("of 1. Results") == 3
    assert len(list(pictures.iterdir())) == 1 + 2 * 3


@pytest.mark.parametrize("damage", ["picture is gone", "half a JSON"])
def test_what_is_not_whole_is_done_again(server, edit, pictures, tmp_path, damage):
    for name in ("b.png", "c.png"):
        (pictures / name).unlink()
    assert edit(pictures, *PROMPTS) == 0
    out = tmp_path / "edited"
    (record,), (picture,) = out.glob("*.json"), out.glob("*.png")
    first = Image.open(picture).tobytes()
    if damage == "picture is gone":
        picture.unlink()
    else:
        record.write_text(record.read_text()[:50])
    before = runs(server)
    assert edit(pictures, *PROMPTS) == 0
    assert runs(server) == before + 1
    assert Image.open(picture).tobytes() == first
    assert json.loads(record.read_text())["outputs"] == [picture.name]


def test_a_list_with_broken_rows(server, edit, pictures, tmp_path, capsys):
    (tmp_path / "list.csv").write_text(
        "picture,source,target,seed,variations\n"
        f"pictures/a.png,{SOURCE},{TARGET},5,2\n"
        f"pictures/b.png,{SOURCE}\n"
        "\n"
        f"pictures/missing.png,{SOURCE},{TARGET},,\n"
        f"pictures/b.png,{SOURCE},{TARGET},many,\n"
        f"pictures/c.png,{SOURCE},{TARGET},,\n",
        encoding="utf-8-sig",
    )
    before = runs(server)
    assert edit("--prompts", tmp_path / "list.csv", "--seed", 9) == 1
    assert runs(server) == before + 2
    said = capsys.readouterr().out
    assert "row 3 of list.csv: the row has 2 columns, the header has 5" in said
    assert f"row 5 of list.csv (pictures/missing.png): there is no file {pictures / 'missing.png'}" in said
    assert "row 6 of list.csv (pictures/b.png): seed cannot be 'many'" in said
    done = records(tmp_path / "edited")
    assert (done["a.png"]["seed"], done["c.png"]["seed"]) == (5, 9)
    assert [name[-7:] for name in done["a.png"]["outputs"]] == ["_v0.png", "_v1.png"]
    first, second = ((tmp_path / "edited" / name).read_bytes() for name in done["a.png"]["outputs"])
    assert first != second


def test_a_refused_graph_is_told_by_node_and_input(edit, pictures, capsys):
    assert edit(pictures, *PROMPTS, "--skip-steps", 99999) == 1
    said = capsys.readouterr().out
    assert "'Edit' (FixedNoiseSampler): input skip_steps: Value 99999 bigger than max of" in said
    assert said.count("bigger than max") == 2  # when it comes up, and in the list at the end; not once a picture
    assert "a.png, b.png, c.png" in said


def test_a_failing_node_is_told_by_its_title(edit, pictures, capsys):
    assert edit(pictures, *PROMPTS, "--skip-steps", 3) == 1
    assert "'Edit' (FixedNoiseSampler): ValueError: skip_steps is 3" in capsys.readouterr().out


def test_a_picture_that_takes_too_long_is_cancelled(server, edit, pictures, capsys):
    for name in ("b.png", "c.png"):
        (pictures / name).unlink()
    assert edit(pictures, *PROMPTS, "--steps", 1000, "--timeout", 1) == 1
    assert "did not finish within 1 s, and was cancelled" in capsys.readouterr().out
    wait_for(lambda: queue_is(server, running=False))
    last = list(server.get("/history").values())[-1]
    assert [event for event, _ in last["status"]["messages"]][-1] == "execution_interrupted"


def test_a_run_that_somebody_takes_out_of_the_queue_does_not_wait_for_ever(server, demo_graph, pictures):
    graph = json.loads(demo_graph.read_text())
    graph["2"]["inputs"]["image"] = server.upload((pictures / "a.png").read_bytes(), "queued.png", "")
    graph["4"]["inputs"]["text"] = SOURCE
    graph["7"]["inputs"] |= {"steps": 1000, "seed": 11}
    running, waiting = server.queue(graph), server.queue(graph)
    wait_for(lambda: queue_is(server, running=True))
    server.cancel(waiting)
    with pytest.raises(GraphError, match="the server dropped the run"):
        server.result(waiting)
    assert server.get("/queue")["queue_running"][0][1] == running  # of two runs only the one meant was stopped
    server.cancel(running)
    with pytest.raises(GraphError, match="was cancelled on the server"):
        server.result(running)


def test_the_default_graph_on_a_checkpoint(server, pictures, tmp_path, capsys):
    """Random files as one SD1.5 checkpoint; a file that is not there is answered with those that are."""
    parts = {
        "model.diffusion_model.": "diffusion_models/random_sd15",
        "cond_stage_model.transformer.": "text_encoders/random_clip_l",
        "first_stage_model.taesd_encoder.": "vae_approx/taesd_encoder",
        "first_stage_model.taesd_decoder.": "vae_approx/taesd_decoder",
    }
    models = server.base / "models"
    weights = {
        prefix + name: tensor
        for prefix, file in parts.items()
        for name, tensor in load_file(models / f"{file}.safetensors").items()
    }
    (models / "checkpoints").mkdir(exist_ok=True)
    save_file(weights, models / "checkpoints" / "random_sd15_client.safetensors")
    for name in ("b.png", "c.png"):
        (pictures / name).unlink()
    Image.new("RGB", (72, 64), "red").save(pictures / "a.png")
    few = ["--steps", "2", "--skip-steps", "1", "--server", server.url, "--out", str(tmp_path / "edited")]
    few += ["--set", "Scale.megapixels=0.01"]
    prompts = ["--source", "a photo of a cat", "--target", "a photo of a dog"]

    missing = main(["edit", str(pictures), *prompts, *few, "--checkpoint", "missing.safetensors"])
    assert missing == 1
    said = capsys.readouterr().out
    assert "'Model' (CheckpointLoaderSimple): input ckpt_name: 'missing.safetensors' is not on the server" in said
    assert "random_sd15_client.safetensors" in said

    arguments = ["edit", str(pictures), *prompts, *few, "--checkpoint", "random_sd15_client.safetensors"]
    assert main(arguments) == 0
    record = records(tmp_path / "edited")["a.png"]
    assert Image.open(tmp_path / "edited" / record["outputs"][0]).size == (112, 96)  # its own shape, in steps of 16
    assert record["checkpoint"] == "random_sd15_client.safetensors"


def test_a_server_that_stops_in_the_middle_and_the_same_command_on_a_new_one(
    comfyui_path, demo_graph, pictures, tmp_path, capsys
):
    """The second edit is long, so that the server ends in it."""
    (tmp_path / "list.csv").write_text("picture,steps\npictures/a.png,3\npictures/b.png,200\npictures/c.png,3\n")
    base, out = tmp_path / "comfyui", tmp_path / "edited"
    base.mkdir()
    server = ComfyServer(comfyui_path, base, log=base / "server.log")
    command = ["edit", "--prompts", str(tmp_path / "list.csv"), *PROMPTS, "--server", server.url]
    command += ["--graph", str(demo_graph), "--out", str(out)]
    codes = []
    with server:
        client = threading.Thread(target=lambda: codes.append(main(command)))
        client.start()
        wait_for(lambda: list(out.glob("*.json")) and queue_is(server, running=True))
        server.process.kill()
        client.join(timeout=120)
    assert codes == [1]
    said = capsys.readouterr().out
    assert "1 edited, 0 finished before, 0 failed, of 3" in said
    assert "does not answer" in said and "the same command goes on with the rest" in said
    kept = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(kept) == 2  # the picture and its JSON

    temporary = set((base / "temp").rglob("*.png"))
    assert len(temporary) >= 2
    with server:
        assert not any(path.exists() for path in temporary)
        assert main(command) == 0
        assert runs(server) == 2
    assert "2 edited, 1 finished before, 0 failed, of 3" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert set(records(out)) == {"a.png", "b.png", "c.png"}


@pytest.mark.skipif(os.name == "nt", reason="a process on Windows cannot be sent a Ctrl-C alone")
def test_ctrl_c_stops_the_run_on_the_server_too(server, demo_graph, pictures, tmp_path):
    command = [sys.executable, "-m", "tools.batch", "edit", str(pictures), *PROMPTS, "--steps", "1000"]
    command += ["--server", server.url, "--graph", str(demo_graph), "--out", str(tmp_path / "edited")]
    # A suite that was started in the background ignores Ctrl-C, and its children would, too.
    client = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(lambda: queue_is(server, running=True))
    client.send_signal(signal.SIGINT)
    said, _ = client.communicate(timeout=60)
    assert client.returncode == 130
    assert "Interrupted. What is finished is kept; the same command goes on with the rest." in said
    wait_for(lambda: queue_is(server, running=False))
    last = list(server.get("/history").values())[-1]
    assert [event for event, _ in last["status"]["messages"]][-1] == "execution_interrupted"
    assert not list((tmp_path / "edited").iterdir())
