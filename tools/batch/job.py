"""One edit, whoever asks for it: its key, its record, when it is finished, and what becomes of one that fails.

Every front end does its edits by this, so a folder that one has begun another finishes.
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

from . import results
from .client import ComfyClient, GraphError, RunDropped, ServerGone, images_of
from .edits import PICTURES, Broken
from .store import Place, Store, StoreError, path_in, read
from .template import PARAMETERS, Edit, EditError, Template, UsageError, digest_of

SERVER_FOLDER = "edit_folder"  # below the server's input and output folders
OUT_OF_MEMORY = ("outofmemory", "out of memory", "allocation on device")  # how the host and torch put it
EDITED, FINISHED, FAILED, STOPPED = "edited", "finished before", "failed", "stopped"
MOST_DEATHS = 3  # servers that stop in an edit before it is given up


@dataclass(frozen=True)
class Outcome:
    """What became of an edit; `tries` counts the runs that were asked of servers, none where it was finished before."""

    name: str
    status: str  # EDITED, FINISHED or FAILED, or STOPPED, which is of no edit and ends the run
    key: str | None = None  # None where it is not known: the picture cannot be read, or a value is wrong
    tries: int = 0
    seconds: float = 0.0
    error: str | None = None
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Order:
    """An edit with its picture, and the graph that is to run."""

    edit: Edit
    content: bytes
    picture_digest: str
    uploaded: str  # what the picture is called on the server
    graph: dict[str, Any]
    digest: str

    @property
    def stem(self) -> str:
        return results.stem_of(self.edit.picture, self.digest)

    @property
    def key(self) -> str:
        return self.digest[: results.KEY_LENGTH]


class Job:
    """The edits that a template makes, into a store that is ready."""

    def __init__(self, template: Template, store: Store):
        self.template = template
        self.store = store
        self._failed = store.names(results.FAILED)  # records to take away when their edits succeed

    def run(self, edit: Edit | Broken, client: ComfyClient, host: Mapping[str, Any]) -> Outcome:
        """Do an edit that is not finished; whatever is wrong with it is in the outcome.

        Args:
            host: what `client.host()` said, for the record.

        Raises:
            ServerGone: no server answers any more, which need not be because of this edit.
            StoreError: no result can be kept any more.
        """
        started = time.monotonic()
        outcome = self._outcome(edit, client, host)
        return replace(outcome, seconds=round(time.monotonic() - started, 2))

    def give_up(self, edit: Edit | Broken, error: Exception) -> Outcome:
        """The outcome of an edit in which MOST_DEATHS servers stopped, the last with this error."""
        reason = f"the server stopped in it {MOST_DEATHS} times: {error}"
        try:
            return self._failure(self._order(edit), reason, MOST_DEATHS)
        except (EditError, OSError) as error:
            return Outcome(edit.name, FAILED, error=str(error))

    def _outcome(self, edit: Edit | Broken, client: ComfyClient, host: Mapping[str, Any]) -> Outcome:
        try:
            order = self._order(edit)
            if results.is_finished(self.store, order.stem, order.digest):
                return Outcome(edit.name, FINISHED, order.key)
        except (EditError, OSError) as error:
            return Outcome(edit.name, FAILED, error=str(error))
        tries, is_freed = 0, False
        while True:
            tries += 1
            try:
                return self._edited(order, client, host, tries)
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
                return self._failure(order, str(error), tries)

    def _order(self, edit: Edit | Broken) -> _Order:
        """What is to run for an edit; EditError where that cannot be said."""
        if isinstance(edit, Broken):
            raise EditError(edit.reason)
        content = _content_of(edit.picture)
        picture_digest = hashlib.sha256(content).hexdigest()
        uploaded = f"{picture_digest[:24]}{path_in(edit.picture).suffix.lower()}"
        graph = self.template.filled(edit, f"{SERVER_FOLDER}/{uploaded}")
        return _Order(edit, content, picture_digest, uploaded, graph, digest_of(graph))

    def _edited(self, order: _Order, client: ComfyClient, host: Mapping[str, Any], tries: int) -> Outcome:
        """Run an edit and keep its results."""
        started = time.monotonic()
        # A new name each time: the server takes the same graph as done already, even where its file has been deleted.
        output = order.graph[self.template.output]["inputs"]
        output["filename_prefix"] = f"{SERVER_FOLDER}/{order.key}_{uuid.uuid4().hex[:8]}"
        client.upload(order.content, order.uploaded, SERVER_FOLDER)
        files = images_of(client.run(order.graph), order.graph, self.template.output)
        names = results.names_of(order.stem, [_suffix_of(file) for file in files])
        # All of them first: where one cannot be had, none is left behind that has no record.
        pictures = {name: client.view(file) for name, file in zip(names, files, strict=True)}
        done = {"outputs": names, "seconds": round(time.monotonic() - started, 2)}
        self.store.write(pictures | {results.record_of(order.stem): self._record(order, done | dict(host))})
        self._forget_failure(order)
        return Outcome(order.edit.name, EDITED, order.key, tries, outputs=tuple(names))

    def _failure(self, order: _Order, reason: str, tries: int) -> Outcome:
        """Keep the record of a failure, where that can be."""
        name = results.failure_of(order.stem)
        with contextlib.suppress(OSError):
            self.store.write({name: self._record(order, {"error": reason, "tries": tries})})
            self._failed.add(name)
        return Outcome(order.edit.name, FAILED, order.key, tries, error=reason)

    def _forget_failure(self, order: _Order) -> None:
        name = results.failure_of(order.stem)
        if name in self._failed:
            self.store.delete(name)
            self._failed.discard(name)

    def _record(self, order: _Order, came_of_it: Mapping[str, Any]) -> bytes:
        record = {
            "picture": path_in(order.edit.picture).name,
            "picture_sha256": order.picture_digest,
            "source": order.edit.source,
            "target": order.edit.target,
            **self.template.settings_of(order.graph),
            "set": {name: text for name, text in order.edit.settings.items() if name not in PARAMETERS},
            **came_of_it,
            "digest": order.digest,
            "graph": order.graph,
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


def _suffix_of(file: dict) -> str:
    """The ending of a file that the server names, which is to become part of a name on this machine."""
    suffix = PurePath(file["filename"]).suffix
    if suffix.lower() not in PICTURES:
        raise GraphError(f"the run saved {file['filename']!r}, which is not the name of a picture")
    return suffix
