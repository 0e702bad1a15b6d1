"""Files of noise maps in the host's output and input folders."""

from __future__ import annotations

import json
import os
import re
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from threading import Lock, Thread
from typing import Any

import folder_paths
from comfy.cli_args import args

SUFFIX = ".noisemaps.safetensors"
_LONGEST_NAME = 200  # bytes: file systems take 255, and a number, SUFFIX and storage's own ending are added

_TOKENS = {"%width%", "%height%", "%year%", "%month%", "%day%", "%hour%", "%minute%", "%second%"}  # the host's
_TOKEN = re.compile(r"%[^%/\\]+%")
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{name}{k}" for name in ("COM", "LPT") for k in range(1, 10))}

_LONGEST_TICK = 3_000_000_000  # ns, of the clocks that file systems have
_A_FEW = 1000  # entries of a folder, which take a millisecond to read
_AT_ONCE = 5 * _A_FEW  # entries of all folders that a page waits for
_ENTRIES_A_SECOND = 2000  # of larger folders, in the mean: reading them costs a thousandth of the time


@dataclass(frozen=True)
class Place:
    """A file to write, and what the front end is told of it."""

    path: str
    result: dict[str, str]


def check_prefix(prefix: str) -> None:
    """Refuse a prefix of file names that cannot be, on any system, before anything is computed.

    Raises:
        ValueError: a prefix that leaves the output folder, or with a name that is too long, that holds a token which
            only ComfyUI's own nodes know, or that Windows does not take.
    """
    _inside(folder_paths.get_output_directory(), prefix)
    if tokens := sorted(set(_TOKEN.findall(prefix)) - _TOKENS):
        raise ValueError(
            f"the filename_prefix holds {', '.join(tokens)}, which ComfyUI replaces in its own nodes alone: write it "
            f"out, or use {', '.join(sorted(_TOKENS))}"
        )
    for name in prefix.replace("\\", "/").split("/"):
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise ValueError(f"a name in the filename_prefix has more than {_LONGEST_NAME} bytes: use a shorter one")
        if _FORBIDDEN.search(name) or name.partition(".")[0].upper() in _DEVICES or name != name.rstrip(" "):
            raise ValueError(
                f'{name!r} in the filename_prefix is no name on Windows: do without < > : " | ? *, a blank at the end, '
                "and names of devices such as CON"
            )


@contextmanager
def place_to_save(prefix: str) -> Iterator[Place]:
    """The next file of a prefix below the output folder, numbered as the host numbers images, and held for the caller.

    An empty file holds the name, so that no other server with this folder takes it; it goes if saving fails.

    Raises:
        ValueError: a prefix that `check_prefix` refuses.
    """
    check_prefix(prefix)
    output = folder_paths.get_output_directory()
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, output)
    while True:
        filename = f"{name}_{counter:05}_{SUFFIX}"
        path = os.path.join(folder, filename)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            break
        except FileExistsError:
            counter += 1
    try:
        yield Place(path, {"filename": filename, "subfolder": subfolder, "type": "output"})
    except BaseException:
        if os.path.getsize(path) == 0:
            os.unlink(path)
        raise
    _OWN.add(os.path.abspath(path))


def graph_of(hidden: Any) -> dict[str, str]:
    """The graph of a node's hidden inputs, as the host keeps it with an image."""
    if args.disable_metadata:
        return {}
    parts = {"prompt": hidden.prompt, **(hidden.extra_pnginfo or {})}
    return {name: json.dumps(part) for name, part in parts.items() if part is not None}


def path_of(file: str) -> str:
    """The path of a name as the host annotates it: "name", "name [input]" or "name [output]".

    Raises:
        ValueError: a name that leaves its folder.
    """
    name, folder = folder_paths.annotated_filepath(file)
    return _inside(folder or folder_paths.get_input_directory(), name)


def saved() -> list[str]:
    """All files of noise maps, by names that the host's annotation understands."""
    folders = {"": folder_paths.get_input_directory(), " [output]": folder_paths.get_output_directory()}
    return [f"{name}{note}" for note, root in folders.items() for name in listing(os.path.abspath(root)).names()]


@dataclass(frozen=True)
class _Folder:
    """What a folder held when it was read.

    Args:
        changed: its time of change in ns; -1 where it may change again and keep that time.
        due: when it may be read again, by `time.monotonic`.
    """

    changed: int
    due: float
    maps: list[str]
    folders: list[str]


class _Listing:
    """The noise map files below a folder, of which a folder is read again only where it has changed.

    The host asks for the list at every /object_info, validation and execution, below folders of any size, and a page
    waits for it. A folder's time of change tells of files that came or went in it. Where pictures are saved all the
    time that is always so: then a large folder is read again from time to time. What would keep a page waiting is read
    in a thread, and until that is done the list is the last one, with the files that this process has saved since.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[str, _Folder] = {}
        self._read: set[str] = set()
        self.reader: Thread | None = None
        self._lock = Lock()

    def names(self) -> list[str]:
        with self._lock:
            if self.reader is None or not self.reader.is_alive():
                walk = self._walk()
                if sum(1 for _ in islice(walk, _AT_ONCE)) == _AT_ONCE:
                    self.reader = Thread(target=deque, args=(walk, 0), daemon=True)
                    self.reader.start()
        own = [path for path in list(_OWN) if path.startswith(self._root + os.sep) and os.path.isfile(path)]
        return sorted(os.path.relpath(path, self._root).replace(os.sep, "/") for path in self._read.union(own))

    def _walk(self) -> Iterator[None]:
        """Bring the list up to date, one entry of a folder at a time."""
        known: dict[str, _Folder] = {}
        waiting, seen = [self._root], set()
        while waiting:
            path = waiting.pop()
            try:
                stat = os.stat(path)
            except OSError:
                continue
            if (stat.st_dev, stat.st_ino) in seen:  # by another name: links may lead in a circle
                continue
            seen.add((stat.st_dev, stat.st_ino))
            folder = self._known.get(path)
            if folder is None or (folder.changed != stat.st_mtime_ns and time.monotonic() >= folder.due):
                folder = yield from _entries(path, stat.st_mtime_ns)
            known[path] = folder
            waiting += [os.path.join(path, name) for name in reversed(folder.folders)]
        self._known = known
        self._read = {os.path.join(path, name) for path, folder in known.items() for name in folder.maps}
        _OWN.difference_update(self._read)


def _entries(path: str, changed: int) -> Generator[None, None, _Folder]:
    """The noise map files and the folders of a folder, an entry at a time; none of one that may not be read."""
    maps, folders, count = [], [], 0
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            count += 1
            yield
            if _is_folder(entry):
                folders.append(entry.name)
            elif entry.name.endswith(SUFFIX):
                maps.append(entry.name)
    # Within a tick of its clock a folder may change again and keep its time.
    settled = time.time_ns() - changed > _LONGEST_TICK
    due = time.monotonic() + max(0, count - _A_FEW) / _ENTRIES_A_SECOND
    return _Folder(changed if settled else -1, due, maps, folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


listing = cache(_Listing)  # one for each folder
_OWN: set[str] = set()  # what this process has saved and no list has found yet


def _inside(folder: str, name: str) -> str:
    """`name` below `folder`; a ValueError where it would leave it."""
    folder = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(folder, name))
    if not path.startswith(folder + os.sep):
        raise ValueError(f"{name!r} leaves the folder {os.path.basename(folder)!r}: use a name inside it")
    return path
