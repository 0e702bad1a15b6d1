"""One edit, for every front end: its key, its record, when it is finished, and what happens if it fails.

So any front end can finish a folder that another began.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from ..evaluation.cases import PICTURE_ENDINGS
from . import results
from .client import ComfyClient, GraphError, RunDropped, ServerGone, images_of
from .edits import InvalidEdit
from .store import Place, Store, StoreError, path_in, read
from .template import PARAMETERS, EditError, PictureEdit, Template, UsageError, digest_of

SERVER_FOLDER = "edit_folder"  # below the server's input and output folders
OUT_OF_MEMORY = ("outofmemory", "out of memory", "allocation on device")  # how the host and torch put it
EDITED, FINISHED, FAILED, STOPPED = "edited", "finished before", "failed", "stopped"
MOST_DEATHS = 3  # servers that stop in an edit before it is given up


@dataclass(frozen=True)
class Outcome:
    """Result of an edit; `tries` counts the runs on servers, 0 for an edit finished before."""

    name: str
    status: str  # EDITED, FINISHED or FAILED; or STOPPED, which ends the batch and belongs to no edit
    key: str | None = None  # None if the picture cannot be read or a value is wrong
    tries: int = 0
    seconds: float = 0.0
    error: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _PreparedEdit:
    """An edit with its picture and its filled graph."""

    edit: PictureEdit
    content: bytes
    picture_digest: str
    uploaded: str  # name of the picture on the server
    graph: dict[str, Any]
    digest: str

    @property
    def stem(self) -> str:
        return results.stem_of(self.edit.picture, self.digest)

    @property
    def key(self) -> str:
        return self.digest[: results.KEY_LENGTH]


class Job:
    """Edits by one template into a store that is ready."""

    def __init__(self, template: Template, store: Store):
        self.template = template
        self.store = store
        self._failed = store.names(results.FAILED_FOLDER)  # records to delete when their edits succeed

    def run(self, edit: PictureEdit | InvalidEdit, client: ComfyClient, host: Mapping[str, Any]) -> Outcome:
        """Run an edit that is not finished; its own errors are in the outcome.

        Args:
            host: the answer of `client.host()`, for the record.

        Raises:
            ServerGone: no server answers any more, perhaps not because of this edit.
            StoreError: no more results can be written.
        """
        started = time.monotonic()
        outcome = self._outcome(edit, client, host)
        return replace(outcome, seconds=round(time.monotonic() - started, 2))

    def give_up(self, edit: PictureEdit | InvalidEdit, error: Exception) -> Outcome:
        """The failure of an edit during which MOST_DEATHS servers stopped, the last with this error."""
        reason = f"the server stopped in it {MOST_DEATHS} times: {error}"
        try:
            return self._failure(self._prepared(edit), reason, MOST_DEATHS)
        except (EditError, OSError) as error:
            return Outcome(edit.name, FAILED, error=str(error))

    def _outcome(self, edit: PictureEdit | InvalidEdit, client: ComfyClient, host: Mapping[str, Any]) -> Outcome:
        try:
            prepared = self._prepared(edit)
            if results.is_finished(self.store, prepared.stem, prepared.digest):
                return Outcome(edit.name, FINISHED, prepared.key)
        except (EditError, OSError) as error:
            return Outcome(edit.name, FAILED, error=str(error))
        tries, is_freed = 0, False
        while True:
            tries += 1
            try:
                return self._edited(prepared, client, host, tries)
            except StoreError:
                raise
            except (GraphError, OSError) as error:
                if isinstance(error, ServerGone) and not client.is_up():
                    raise
                if isinstance(error, RunDropped) and tries < MOST_DEATHS:
                    continue
                if _is_out_of_memory(error) and not is_freed:
                    is_freed = True
                    client.free()
                    continue
                return self._failure(prepared, str(error), tries)

    def _prepared(self, edit: PictureEdit | InvalidEdit) -> _PreparedEdit:
        """The edit with its picture and graph; EditError if one cannot be had."""
        if isinstance(edit, InvalidEdit):
            raise EditError(edit.reason)
        content = _content_of(edit.picture)
        picture_digest = hashlib.sha256(content).hexdigest()
        uploaded = f"{picture_digest[:24]}{path_in(edit.picture).suffix.lower()}"
        graph = self.template.filled(edit, f"{SERVER_FOLDER}/{uploaded}")
        return _PreparedEdit(edit, content, picture_digest, uploaded, graph, digest_of(graph))

    def _edited(self, prepared: _PreparedEdit, client: ComfyClient, host: Mapping[str, Any], tries: int) -> Outcome:
        """Run an edit and write its results."""
        started = time.monotonic()
        # A new name each time: the server takes the same graph as done already, even where its file has been deleted.
        output = prepared.graph[self.template.output]["inputs"]
        output["filename_prefix"] = f"{SERVER_FOLDER}/{prepared.key}_{uuid.uuid4().hex[:8]}"
        client.upload(prepared.content, prepared.uploaded, SERVER_FOLDER)
        files = images_of(client.run(prepared.graph), prepared.graph, self.template.output)
        names = results.names_of(prepared.stem, [_suffix_of(file) for file in files])
        # Download all before writing any: if one fails, no picture is left without a record.
        pictures = {name: client.view(file) for name, file in zip(names, files, strict=True)}
        done = {"outputs": names, "seconds": round(time.monotonic() - started, 2)}
        self.store.write(pictures | {results.record_of(prepared.stem): self._record(prepared, done | dict(host))})
        self._forget_failure(prepared)
        return Outcome(prepared.edit.name, EDITED, prepared.key, tries, outputs=tuple(names))

    def _failure(self, prepared: _PreparedEdit, reason: str, tries: int) -> Outcome:
        """Write the record of a failure, if the store takes it."""
        name = results.failure_of(prepared.stem)
        with contextlib.suppress(OSError):
            self.store.write({name: self._record(prepared, {"error": reason, "tries": tries})})
            self._failed.add(name)
        return Outcome(prepared.edit.name, FAILED, prepared.key, tries, error=reason)

    def _forget_failure(self, prepared: _PreparedEdit) -> None:
        name = results.failure_of(prepared.stem)
        if name in self._failed:
            self.store.delete(name)
            self._failed.discard(name)

    def _record(self, prepared: _PreparedEdit, result: Mapping[str, Any]) -> bytes:
        record = {
            "picture": path_in(prepared.edit.picture).name,
            "picture_sha256": prepared.picture_digest,
            "source": prepared.edit.source,
            "target": prepared.edit.target,
            **self.template.settings_of(prepared.graph),
            "set": {name: text for name, text in prepared.edit.settings.items() if name not in PARAMETERS},
            **result,
            "digest": prepared.digest,
            "graph": prepared.graph,
        }
        return json.dumps(record, indent=2).encode()


def _is_out_of_memory(error: Exception) -> bool:
    return any(sign in str(error).lower() for sign in OUT_OF_MEMORY)


def _content_of(picture: Place) -> bytes:
    try:
        return read(picture)
    except UsageError as error:
        raise EditError(str(error)) from error
    except (FileNotFoundError, ValueError) as error:  # a name with a NUL in it is a ValueError
        raise EditError(f"there is no file {picture}") from error


def _suffix_of(file: dict[str, Any]) -> str:
    """The ending of a file that the server names; it becomes part of a file name here."""
    suffix = PurePath(file["filename"]).suffix
    if suffix.lower() not in PICTURE_ENDINGS:
        raise GraphError(f"the run saved {file['filename']!r}, which is not the name of a picture")
    return suffix
