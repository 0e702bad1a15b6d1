"""Several servers, shards and faults, on processes that stand in for ComfyUI and whose runs can be counted."""

import errno
import json
import os
import re
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from urllib3.util import Retry

from support.object_store import s3_bucket
from support.stand_in import GRAPH, PNG
from tools.batch import batch as batch_module
from tools.batch import results
from tools.batch.__main__ import main
from tools.batch.batch import Batch
from tools.batch.edits import Shard
from tools.batch.job import EDITED, FAILED, Job
from tools.batch.server import ComfyServer
from tools.batch.store import LocalStore, place_of, store_at
from tools.batch.template import PictureEdit, Template, UsageError

COMFYUI = Path(__file__).parents[3] / "tools" / "benchmarks" / "stand_in_comfyui"


@pytest.fixture
def servers(tmp_path, monkeypatch):
    """servers(n): as many that run, in processes of their own."""
    monkeypatch.setenv("STAND_IN_SECONDS", "0.05")
    monkeypatch.setattr("tools.batch.server.copy_pack", lambda to: None)
    monkeypatch.setattr("tools.batch.client.Retry", lambda **options: Retry(**options | {"backoff_factor": 0}))
    started = []

    def start(count: int) -> list[ComfyServer]:
        for number in range(len(started), len(started) + count):
            base = tmp_path / f"server {number}"
            base.mkdir()
            started.append(ComfyServer(COMFYUI, base, log=base / "log", gpu=False))
            started[-1].__enter__()
        return started

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    (tmp_path / "pictures").mkdir()
    found = [tmp_path / "pictures" / f"{number:02}.png" for number in range(12)]
    for number, picture in enumerate(found):
        picture.write_bytes(PNG + bytes([number]))
    return found


@pytest.fixture
def command(tmp_path):
    """`edit` into a folder on servers; its exit code."""
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))

    def run(servers: list[ComfyServer], *arguments, out: object = tmp_path / "edited") -> int:
        where = [part for server in servers for part in ("--server", server.url)]
        prompts = ["--source", "a cat", "--target", "a dog", "--graph", tmp_path / "graph.json", "--out", out]
        return main(["edit", *map(str, [*where, *prompts, *arguments])])

    return run


def edits_of(pictures: list[Path], *targets: str) -> list[PictureEdit]:
    return [PictureEdit(f"{path.name} {target}", path, "a cat", target, {}) for path in pictures for target in targets]


def runs_of(server: ComfyServer) -> int:
    """How many it has run, also before it was killed."""
    return server.log.read_text().count("Prompt executed")


def finished(out: Path) -> Counter[str]:
    """Of each picture, how many edits have a record whose pictures are there."""
    records = [json.loads(path.read_text()) for path in out.glob("*.json")]
    assert all((out / name).read_bytes().startswith(PNG) for record in records for name in record["outputs"])
    return Counter(record["picture"] for record in records)


def wait_for(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


def test_servers_share_the_edits_and_one_picture_stays_on_one(servers, pictures, tmp_path):
    running, told = servers(2), []
    job = Job(Template(GRAPH), LocalStore(tmp_path / "edited"))
    job.store.prepare()
    Batch(running, job).run(edits_of(pictures, "a dog", "a fox", "a hen"), told.append)
    assert [outcome.status for outcome in told] == 36 * [EDITED]
    assert finished(tmp_path / "edited") == {path.name: 3 for path in pictures}
    asked = [Counter(_images(server)) for server in running]
    assert not asked[0].keys() & asked[1].keys() and all(len(images) > 2 for images in asked)
    assert {*asked[0].values(), *asked[1].values()} == {3}


def _images(server: ComfyServer) -> list[str]:
    return [entry["prompt"][2]["1"]["inputs"]["image"] for entry in server.get("/history").values()]


def test_a_server_that_is_killed_gives_back_and_is_used_again(servers, pictures, command, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_module, "ASK_AGAIN", 0.1)
    running, out, codes = servers(2), tmp_path / "edited", []
    client = threading.Thread(target=lambda: codes.append(command(running, tmp_path / "pictures")))
    client.start()
    wait_for(lambda: len(list(out.glob("*.json"))) > 1)
    running[0].process.kill()
    before = runs_of(running[0])
    running[0].__exit__()
    running[0].__enter__()  # at the same address
    client.join(timeout=60)
    assert codes == [0]
    assert finished(out) == {path.name: 1 for path in pictures}
    assert runs_of(running[0]) > before
    assert sum(map(runs_of, running)) <= 13  # one run may have ended with its server


def test_all_servers_gone_and_the_same_command_on_others(servers, pictures, command, tmp_path, capsys):
    running, out, codes = servers(2), tmp_path / "edited", []
    client = threading.Thread(target=lambda: codes.append(command(running, tmp_path / "pictures")))
    client.start()
    wait_for(lambda: len(list(out.glob("*.json"))) > 1)
    for server in running:
        server.process.kill()
    client.join(timeout=60)
    assert codes == [1]
    assert "does not answer" in (said := capsys.readouterr().out) and "the same command goes on" in said
    kept = {path: path.stat().st_mtime_ns for path in out.glob("*.json")}
    assert 1 < len(kept) < 12
    assert command(servers(1)[2:], tmp_path / "pictures") == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert finished(out) == {path.name: 1 for path in pictures}
    assert runs_of(servers(0)[2]) == 12 - len(kept)


def test_a_picture_in_which_three_servers_end_is_given_up(servers, pictures, tmp_path):
    running, told = servers(4), []
    store = LocalStore(tmp_path / "edited")
    store.prepare()
    edits = [*edits_of(pictures[:1], "kill"), *edits_of(pictures[1:], "a dog")]
    Batch(running, Job(Template(GRAPH), store)).run(edits, told.append)
    (failed,) = [outcome for outcome in told if outcome.status == FAILED]
    assert failed.tries == 3 and "the server stopped in it 3 times" in failed.error
    assert [server.process.poll() for server in running].count(None) == 1
    (record,) = store.names(results.FAILED_FOLDER)
    assert json.loads(store.read(record))["tries"] == 3
    assert finished(tmp_path / "edited") == {path.name: 1 for path in pictures[1:]}


def test_a_run_that_lacks_memory_is_tried_again_when_it_is_free(servers, pictures, tmp_path):
    (server,) = servers(1)
    store = LocalStore(tmp_path / "edited")
    store.prepare()
    job = Job(Template(GRAPH), store)
    outcomes = [job.run(edit, server, server.host()) for edit in edits_of(pictures[:2], "a crowd")]
    assert [(outcome.status, outcome.tries) for outcome in outcomes] == [(EDITED, 2), (EDITED, 1)]
    failed = job.run(edits_of(pictures[:1], "fail")[0], server, server.host())
    assert (failed.status, failed.tries) == (FAILED, 1)


def test_a_full_disk_ends_the_command_before_further_pictures_are_made(
    servers, pictures, command, tmp_path, capsys, monkeypatch
):
    running = servers(2)

    def refuse(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", refuse)
        assert command(running, tmp_path / "pictures") == 1
    assert f"Stopped: {tmp_path / 'edited'} takes no more files: No space left on device" in capsys.readouterr().out
    assert sum(map(runs_of, running)) <= 4
    assert command(running, tmp_path / "pictures") == 0


def test_two_commands_into_one_folder_at_once_are_harmless(servers, pictures, command, tmp_path):
    running, codes = servers(2), []
    clients = [
        threading.Thread(target=lambda server=server: codes.append(command([server], tmp_path / "pictures")))
        for server in running
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join(timeout=60)
    assert codes == [0, 0]
    assert finished(tmp_path / "edited") == {path.name: 1 for path in pictures}
    assert len(list((tmp_path / "edited").iterdir())) == 24


def test_shards_do_each_edit_once_and_keep_those_of_a_picture_together(servers, pictures, command, tmp_path, capsys):
    running, out = servers(1), tmp_path / "edited"
    rows = "".join(f"pictures/{path.name},{target}\n" for target in ("a dog", "a fox") for path in pictures)
    (tmp_path / "list.csv").write_text(f"picture,target\n{rows}")
    done = []
    for index in range(3):
        before = finished(out)
        assert command(running, "--prompts", tmp_path / "list.csv", "--shard", f"{index}/3") == 0
        done.append(finished(out) - before)
    assert runs_of(running[0]) == 24
    assert sum(done, Counter()) == {path.name: 2 for path in pictures}
    assert all(set(counts.values()) <= {2} for counts in done)
    assert len([counts for counts in done if counts]) > 1
    said = re.findall(r"(\d+) edited, 0 finished before, 0 failed, of (\d+)", capsys.readouterr().out)
    assert [edited for edited, _ in said] == [count for _, count in said] and sum(int(count) for _, count in said) == 24


@pytest.mark.parametrize("text", ["3/3", "1", "-1/3", "a/b", "1/0", "/"])
def test_a_part_that_there_is_not_is_refused(text):
    with pytest.raises(UsageError, match="write it as I/N, with I from 0 to N - 1"):
        Shard.of(text)


def test_from_an_object_store_to_an_object_store_are_the_same_files(servers, pictures, command, tmp_path, monkeypatch):
    """A parquet list and its pictures in S3, results in S3; and the same from folder to folder."""
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")):
        monkeypatch.setenv(name, value)
    running = servers(1)
    names = [path.name for path in pictures[:3]]
    table = pa.table(
        {"picture": [*names, None], "target": ["a dog", "a fox", "a hen", "a cow"], "steps": [3, None, 5, 1]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "pictures" / "list.parquet")
    with s3_bucket() as bucket:
        held = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
        store_at(bucket.format("pictures")).write(held)
        out = bucket.format("edited")
        for _ in range(2):
            assert command(running, "--prompts", bucket.format("pictures/list.parquet"), out=out) == 1  # the last row
        assert runs_of(running[0]) == 3
        assert command(running, "--prompts", tmp_path / "pictures" / "list.parquet") == 1
        assert runs_of(running[0]) == 6
        there, here = store_at(place_of(out)), LocalStore(tmp_path / "edited")
        assert there.names() == here.names() and len(here.names()) == 6
        for name in here.names():
            if name.endswith(".png"):
                assert there.read(name) == here.read(name)
        folder = [place_of(bucket.format("pictures")), "--steps", 3]
        assert command(running, *folder, out=out) == 0
        assert len(there.names()) == 2 * (3 + 12 - 1)  # the first row had asked for one of these
