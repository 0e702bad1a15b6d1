"""Where results go: a folder of this machine, or one of an object store (S3, GCS and others, through pyarrow).

Every file is there as a whole or not at all. Of the files that are written together the last is there only if all are,
so a record that is written last is what makes an edit finished; a client that is stopped before it leaves pictures that
nothing names. Clients that write the same names at once do not disturb each other: the last one wins.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import uuid
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .template import UsageError

Place = Path | str  # a path of this machine, or an address such as s3://bucket/folder
WHOLE = {"s3", "gcs", "abfs"}  # where an object appears when all of it has arrived
NO_ROOM = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
DENIED = "ACCESS_DENIED"  # what pyarrow says where an object store does not let this client write
PART = ".part"  # of the name of what is not whole yet


class StoreError(OSError):
    """No result can be kept any more, whichever it is."""


class Store(Protocol):
    """A folder of results; names may have a folder before them, with a slash."""

    @property
    def where(self) -> Place:
        """What it is called."""

    def prepare(self) -> None:
        """Make the folder; UsageError or OSError where nothing can be written."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files by name; StoreError where there is no room for any."""

    def read(self, name: str) -> bytes | None:
        """What a file holds; None where there is none."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def delete(self, name: str) -> None:
        """Take a file away, if it is there."""

    def names(self, folder: str = "") -> set[str]:
        """The files here, or those of a folder below, as FOLDER/NAME; none where there is no such folder."""


class LocalStore:
    """A folder of this machine, or of a disk that several share."""

    def __init__(self, where: Path):
        self.where = where

    def prepare(self) -> None:
        self.where.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files, beside their places and under names that no other process takes, then rename them."""
        parts: dict[Path, Path] = {}
        try:
            for name, content in files.items():
                path = self.where / name
                path.parent.mkdir(exist_ok=True)
                part = path.parent / f"{uuid.uuid4().hex}{PART}"
                parts[part] = path
                part.write_bytes(content)
            for part, path in parts.items():
                os.replace(part, path)
        except OSError as error:
            raise _told(error, self.where) from None
        finally:
            for part in parts:
                part.unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.where / name).read_bytes()
        except OSError:
            return None

    def has(self, name: str) -> bool:
        return (self.where / name).is_file()

    def delete(self, name: str) -> None:
        path = self.where / name
        path.unlink(missing_ok=True)
        if path.parent != self.where:
            with contextlib.suppress(OSError):  # others are in it
                path.parent.rmdir()

    def names(self, folder: str = "") -> set[str]:
        found = (self.where / folder).glob("*")
        return {posixpath.join(folder, path.name) for path in found if path.is_file() and path.suffix != PART}


class ArrowStore:
    """A folder of a file system that pyarrow knows, `root` being the path of the folder in it."""

    def __init__(self, filesystem: Any, root: str, where: str):
        self.filesystem = filesystem
        self.root = root
        self.where = where

    def prepare(self) -> None:
        try:
            bucket = self.filesystem.get_file_info(self.root.split("/")[0])
        except OSError as error:
            raise UsageError(f"{self.where} cannot be reached: {error}") from error
        if self.filesystem.type_name in WHOLE and bucket.type.name == "NotFound":
            raise UsageError(f"{self.where}: there is no bucket {bucket.path}")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files in this order; where half of one could be seen, under another name first."""
        put = self._put if self.filesystem.type_name in WHOLE else self._put_beside
        try:
            for name, content in files.items():
                put(self._path(name), content)
        except OSError as error:
            raise _told(error, self.where) from None

    def read(self, name: str) -> bytes | None:
        try:
            with self.filesystem.open_input_stream(self._path(name)) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def has(self, name: str) -> bool:
        return self.filesystem.get_file_info(self._path(name)).is_file

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.filesystem.delete_file(self._path(name))

    def names(self, folder: str = "") -> set[str]:
        from pyarrow.fs import FileSelector

        found = self.filesystem.get_file_info(FileSelector(self._path(folder), allow_not_found=True))
        files = (file.base_name for file in found if file.is_file)
        return {posixpath.join(folder, name) for name in files if not name.endswith(PART)}

    def _path(self, name: str) -> str:
        return posixpath.join(self.root, name)

    def _put(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as file:
            file.write(content)

    def _put_beside(self, path: str, content: bytes) -> None:
        folder = posixpath.dirname(path)
        part = posixpath.join(folder, f"{uuid.uuid4().hex}{PART}")
        self.filesystem.create_dir(folder, recursive=True)
        try:
            self._put(part, content)
            self.filesystem.move(part, path)
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(part)
            raise


def place_of(text: str) -> Place:
    """What a user calls a file or a folder: a path of this machine, or an address as it is."""
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else text


def path_in(place: Place) -> PurePath:
    """The path of a place, for its name and suffix: without the options of an address, which follow a question mark."""
    return place if isinstance(place, Path) else PurePath(place.partition("?")[0])


def below(folder: Place, name: str) -> Place:
    """The file of a folder that a list calls `name`, which may be an address or a path of its own."""
    place = place_of(name)
    if isinstance(place, str) or place.is_absolute():
        return place
    return folder / place if isinstance(folder, Path) else _joined(folder, name)


def folder_of(file: Place) -> Place:
    """Where a file lies."""
    if isinstance(file, Path):
        return file.parent
    path, mark, options = file.partition("?")
    return f"{path.rpartition('/')[0]}{mark}{options}"


def store_at(where: Place) -> Store:
    """The store at a place, as it is; UsageError where the address is none or pyarrow is missing."""
    return LocalStore(where) if isinstance(where, Path) else ArrowStore(*_opened(where), where)


def open_file(place: Place) -> Any:
    """A file opened to read bytes; OSError where it cannot be had, FileNotFoundError where it is not there."""
    if isinstance(place, Path):
        return place.open("rb")
    filesystem, path = _opened(place)
    return filesystem.open_input_file(path)


def read(place: Place) -> bytes:
    """The content of a file; the same errors."""
    with open_file(place) as file:
        return file.read()


def _told(error: OSError, where: Place) -> OSError:
    """An error of writing as what it means: for this file, or for all that would follow it."""
    if error.errno in NO_ROOM or DENIED in str(error):
        return StoreError(f"{where} takes no more files: {error.strerror or error}")
    return error


def _joined(folder: str, name: str) -> str:
    """An address below another, before the options that follow its question mark."""
    path, mark, options = folder.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{options}"


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it, as it stands: names may have blanks and percent signs."""
    scheme, _, rest = address.partition("://")
    rest, mark, options = rest.partition("?")
    bucket, _, path = rest.partition("/")
    if scheme == "s3":  # one request for a file in place of three
        mark, options = "?", f"allow_delayed_open=true{mark and '&'}{options}"
    filesystem, root = _filesystem(f"{scheme}://{bucket}{'' if bucket else '/'}{mark}{options}")
    return filesystem, posixpath.join(root, path).rstrip("/")


@lru_cache(maxsize=16)
def _filesystem(address: str) -> tuple[Any, str]:
    """The file system of a bucket, and what the bucket is called in it; one for all threads, as its connections are."""
    try:
        from pyarrow.fs import FileSystem
    except ModuleNotFoundError:
        raise UsageError(f"{address} needs pyarrow. Run: python -m pip install pyarrow") from None
    try:
        return FileSystem.from_uri(address)
    except (ValueError, OSError) as error:
        raise UsageError(f"{address} is not the address of a store that pyarrow knows: {error}") from error
