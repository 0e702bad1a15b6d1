"""Where results go: a folder, S3 by a real server of it, and pyarrow's file systems of this machine and of memory."""

import errno
import os
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, _MockFileSystem

from support.object_store import s3_bucket
from tools.batch import results
from tools.batch.store import ArrowStore, LocalStore, StoreError, below, folder_of, open_file, place_of, store_at
from tools.batch.template import UsageError

DIGEST = "1a2b3c4d5e6f" + 52 * "0"


@pytest.fixture(scope="module")
def bucket():
    with s3_bucket() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield address


@pytest.fixture(params=["folder", "s3", "local file system", "memory"])
def store(request, tmp_path, bucket):
    """A store of each kind, empty."""
    made = {
        "folder": lambda: LocalStore(tmp_path / "edited"),
        "s3": lambda: store_at(bucket.format(tmp_path.name)),
        "local file system": lambda: ArrowStore(LocalFileSystem(), str(tmp_path / "edited"), "file system"),
        "memory": lambda: ArrowStore(_MockFileSystem(), "edited", "memory"),
    }[request.param]()
    made.prepare()
    return made


def test_what_is_written_is_there_and_nothing_else(store):
    assert store.names() == store.names("failed") == set()
    assert store.read("a b%20.png") is None and not store.has("a b%20.png")
    store.write({"a b%20.png": b"picture", "failed/a.json": b"{}"})
    store.write({"a b%20.png": b"another"})
    assert store.read("a b%20.png") == b"another" and store.has("a b%20.png")
    assert store.names() == {"a b%20.png"} and store.names("failed") == {"failed/a.json"}
    for _ in range(2):
        store.delete("failed/a.json")
    assert store.names("failed") == set() and not store.has("failed/a.json")


def test_an_edit_is_finished_where_its_record_names_what_is_there(store):
    stem = results.stem_of("tom.png", DIGEST)
    record = b'{"digest": "%s", "outputs": ["%s.png"]}' % (DIGEST.encode(), stem.encode())
    store.write({results.record_of(stem): record})
    assert not results.is_finished(store, stem, DIGEST)
    store.write({f"{stem}.png": b"picture"})
    assert results.is_finished(store, stem, DIGEST)
    assert results.results_among(store, store.names()) == {f"{stem}.png"}


@pytest.mark.parametrize("store", ["folder", "s3"], indirect=True)
def test_pictures_are_read_where_they_were_found(store):
    place = store.where
    store.write({"a b%20.png": b"picture"})
    with open_file(below(place, "a b%20.png")) as file:
        assert file.read() == b"picture"
    with pytest.raises(FileNotFoundError):
        open_file(below(place, "none.png"))
    assert str(folder_of(below(place, "a b%20.png"))) == str(place)


def test_places_of_a_list(tmp_path):
    assert place_of(tmp_path.as_uri()) == place_of(str(tmp_path)) == tmp_path
    assert below("gs://bucket/pictures", "a.png") == "gs://bucket/pictures/a.png"
    assert below(tmp_path, "s3://bucket/a.png") == "s3://bucket/a.png"
    assert below("s3://bucket/pictures", str(tmp_path / "a.png")) == tmp_path / "a.png"


@pytest.mark.parametrize(
    ("address", "message"),
    [("s3://no-bucket/{}", "there is no bucket no-bucket"), ("nothing://bucket/{}", "is not the address of a store")],
)
def test_an_address_of_nothing_is_refused(bucket, address, message):
    with pytest.raises(UsageError, match=message):
        store_at(address.format("edited") + bucket.partition("{}")[2]).prepare()


@pytest.mark.parametrize("where", ["a folder", "local file system"])
def test_a_full_disk_is_told_from_a_file_that_cannot_be_written(tmp_path, monkeypatch, where):
    def refuse(number):
        def write(*_, **__):
            raise OSError(number, os.strerror(number))

        return write

    store = LocalStore(tmp_path) if where == "a folder" else ArrowStore(LocalFileSystem(), str(tmp_path), "there")
    patched, name = (Path, "write_bytes") if where == "a folder" else (ArrowStore, "_put")
    monkeypatch.setattr(patched, name, refuse(errno.ENOSPC))
    with pytest.raises(StoreError, match="takes no more files: No space left on device"):
        store.write({"a.png": b"picture"})
    monkeypatch.setattr(patched, name, refuse(errno.EISDIR))
    with pytest.raises(OSError) as error:
        store.write({"a.png": b"picture"})
    assert not isinstance(error.value, StoreError)
    assert not list(tmp_path.iterdir())
