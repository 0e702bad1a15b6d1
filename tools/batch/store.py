"""Where results go: a folder of this machine, or one of an object store (S3, GCS and others, through pyarrow).

A file exists whole or not at all. Of files written together, the last exists only if all do, so the record, written
last, marks an edit as finished; a client that is stopped earlier leaves pictures without a record. Clients that write
the same names at once do not disturb each other: the last one wins.
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

Place = Path | str  # a local path, or an address such as s3://bucket/folder
ATOMIC = {"s3", "gcs", "abfs"}  # stores where an object appears once it is complete
NO_ROOM = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
DENIED = "ACCESS_DENIED"  # in pyarrow's error when an object store refuses to be written
PART = ".part"  # ending of an incomplete file


class StoreError(OSError):
    """No more results can be written."""


class Store(Protocol):
    """A folder of results; names may be FOLDER/NAME."""

    @property
    def where(self) -> Place:
        """Its path or address."""

    def prepare(self) -> None:
        """Create the folder; UsageError or OSError if nothing can be written."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files by name; StoreError if no file can be written any more."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if it is missing."""

    def has(self, name: str) -> bool:
        """Whether a file exists."""

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""

    def names(self, folder: str = "") -> set[str]:
        """The names of the files here, or of those in a subfolder as FOLDER/NAME."""


class LocalStore:
    """A folder of this machine or of a shared disk."""

    def __init__(self, where: Path):
        self.where = where

    def prepare(self) -> None:
        self.where.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files under unique names beside their places, then rename them."""
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
            raise _store_error(error, self.where) from None
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
    """A folder `root` of a file system of pyarrow."""

    def __init__(self, filesystem: Any, root: str, where: str):
        self.filesystem = filesystem
        self.root = root
        self.where = where

    def prepare(self) -> None:
        try:
            bucket = self.filesystem.get_file_info(self.root.split("/")[0])
        except OSError as error:
            raise UsageError(f"{self.where} cannot be reached: {error}") from error
        if self.filesystem.type_name in ATOMIC and bucket.type.name == "NotFound":
            raise UsageError(f"{self.where}: there is no bucket {bucket.path}")

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files in this order; under another name first where an incomplete one could be seen."""
        put = self._put if self.filesystem.type_name in ATOMIC else self._put_beside
        try:
            for name, content in files.items():
                put(self._path(name), content)
        except OSError as error:
            raise _store_error(error, self.where) from None

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
    """The place that a user names: a local path, or an address as it stands."""
    if "://" not in text:
        return Path(text)
    parts = urlsplit(text)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else text


def path_in(place: Place) -> PurePath:
    """The path of a place, for its name and suffix, without an address's options after the question mark."""
    return place if isinstance(place, Path) else PurePath(place.partition("?")[0])


def below(folder: Place, name: str) -> Place:
    """The file `name` of a folder; an address or an absolute path stands for itself."""
    place = place_of(name)
    if isinstance(place, str) or place.is_absolute():
        return place
    return folder / place if isinstance(folder, Path) else _joined(folder, name)


def folder_of(file: Place) -> Place:
    """The folder of a file."""
    if isinstance(file, Path):
        return file.parent
    path, mark, options = file.partition("?")
    return f"{path.rpartition('/')[0]}{mark}{options}"


def store_at(where: Place) -> Store:
    """The store at a place, unprepared; UsageError for an invalid address or without pyarrow."""
    return LocalStore(where) if isinstance(where, Path) else ArrowStore(*_opened(where), where)


def open_file(place: Place) -> Any:
    """A file opened to read bytes; OSError if that fails, FileNotFoundError if it is missing."""
    if isinstance(place, Path):
        return place.open("rb")
    filesystem, path = _opened(place)
    return filesystem.open_input_file(path)


def read(place: Place) -> bytes:
    """The content of a file, with the errors of `open_file`."""
    with open_file(place) as file:
        return file.read()


def _store_error(error: OSError, where: Place) -> OSError:
    """An error of writing; a StoreError if it would meet every further file too."""
    if error.errno in NO_ROOM or DENIED in str(error):
        return StoreError(f"{where} takes no more files: {error.strerror or error}")
    return error


def _joined(folder: str, name: str) -> str:
    """The address of a name below a folder, with the folder's options after the question mark."""
    path, mark, options = folder.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{options}"


def _opened(address: str) -> tuple[Any, str]:
    """The file system of an address and the path in it, undecoded: names may have blanks and percent signs."""
    scheme, _, rest = address.partition("://")
    rest, mark, options = rest.partition("?")
    bucket, _, path = rest.partition("/")
    if scheme == "s3":  # one request for a file instead of three
        mark, options = "?", f"allow_delayed_open=true{mark and '&'}{options}"
    filesystem, root = _filesystem(f"{scheme}://{bucket}{'' if bucket else '/'}{mark}{options}")
    return filesystem, posixpath.join(root, path).rstrip("/")


@lru_cache(maxsize=16)
def _filesystem(address: str) -> tuple[Any, str]:
    """The file system of a bucket and the bucket's path in it; shared by all threads."""
    try:
        from pyarrow.fs import FileSystem
    except ModuleNotFoundError:
        raise UsageError(f"{address} needs pyarrow. Run: python -m pip install pyarrow") from None
    try:
        return FileSystem.from_uri(address)
    except (ValueError, OSError) as error:
        raise UsageError(f"{address} is not the address of a store that pyarrow knows: {error}") from error
