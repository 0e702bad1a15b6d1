"""One edit, for every front end: its key, its record, when it is finished, and what happens if it fails.

So any front end can finish a folder that another began.
"""

from __future__ import annotations

import contextlib
import copy
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from ..evaluation import EvaluationError, masks
from ..evaluation.cases import PICTURE_ENDINGS, Mask, Picture, digest_of, digest_of_mask
from ..evaluation.decoder import decode, png_of
from . import results
from .client import TEMPORARY, ComfyClient, GraphError, RunDropped, ServerGone, images_of
from .edits import InvalidEdit
from .store import Place, Store, StoreError, path_in, read
from .template import PARAMETERS, EditError, PictureEdit, Template, UsageError, digest_of_graph

SERVER_FOLDER = "edit_folder"  # below the server's folder of temporary files
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
    part: str = ""  # what of the picture's file was edited, if not all


@dataclass(frozen=True)
class _Sent:
    """What an edit sends to a server: contents by name, and what of the picture's file that is, if not all."""

    files: Mapping[str, bytes]
    part: str


@dataclass(frozen=True)
class _PreparedEdit:
    """An edit with its picture and its filled graph.

    Args:
        picture, mask: their names in SERVER_FOLDER, from which alone the key is, so a finished edit is not decoded.
    """

    edit: PictureEdit
    content: bytes
    picture_digest: str
    picture: str
    mask: str | None
    mask_content: Mask | None
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
        try:
            sent = _sent(prepared)
        except EditError as error:
            return self._failure(prepared, str(error), 0)
        tries, is_freed = 0, False
        while True:
            tries += 1
            try:
                return self._edited(prepared, sent, client, host, tries)
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
        picture_digest, mask, mask_content = digest_of(content), None, _mask_of(edit)
        if mask_content is not None:  # whose picture depends on the size of the edit's
            mask = _name_of(digest_of(f"{picture_digest} {digest_of_mask(mask_content)}".encode()))
        picture = _name_of(picture_digest)
        graph = self.template.filled(edit, f"{SERVER_FOLDER}/{picture}", mask and f"{SERVER_FOLDER}/{mask}")
        return _PreparedEdit(edit, content, picture_digest, picture, mask, mask_content, graph, digest_of_graph(graph))

    def _edited(
        self, prepared: _PreparedEdit, sent: _Sent, client: ComfyClient, host: Mapping[str, Any], tries: int
    ) -> Outcome:
        """Run an edit and write its results."""
        started = time.monotonic()
        for name, content in sent.files.items():
            client.upload(content, name, SERVER_FOLDER, temporary=True)
        graph = self._posted(prepared)
        files = images_of(client.run(graph), prepared.graph, self.template.output)
        names = results.names_of(prepared.stem, [_suffix_of(file) for file in files])
        # Download all before writing any: if one fails, no picture is left without a record.
        pictures = {name: client.view(file) for name, file in zip(names, files, strict=True)}
        done = {"outputs": names, "seconds": round(time.monotonic() - started, 2)}
        done |= {"part": sent.part} if sent.part else {}
        self.store.write(pictures | {results.record_of(prepared.stem): self._record(prepared, done | dict(host))})
        self._forget_failure(prepared)
        return Outcome(prepared.edit.name, EDITED, prepared.key, tries, outputs=tuple(names), part=sent.part)

    def _posted(self, prepared: _PreparedEdit) -> dict[str, Any]:
        """The graph from and into the server's folder of temporary files, so that nothing of it stays there."""
        graph = copy.deepcopy(prepared.graph)
        for node in (self.template.picture, self.template.mask if prepared.mask else None):
            if node is not None:
                graph[node]["inputs"]["image"] += TEMPORARY
        output = graph[self.template.output]
        output["class_type"] = "PreviewImage"
        # The node looks for none, but a new one each time makes it run: the server takes the same graph as done
        # already, even where its file has been deleted.
        output["inputs"]["filename_prefix"] = f"{SERVER_FOLDER}/{prepared.key}_{uuid.uuid4().hex[:8]}"
        return graph

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
            "method": self.template.method_digest,
            "graph": prepared.graph,
        }
        return json.dumps(record, indent=2).encode()


def _sent(prepared: _PreparedEdit) -> _Sent:
    """The picture as it is measured, as a PNG, which every host reads alike, and its mask; EditError for none."""
    try:
        picture = decode(prepared.content)
    except EvaluationError as error:
        raise EditError(f"it cannot be read as a picture: {error}") from error
    files = {prepared.picture: prepared.content if picture.is_plain else png_of(picture.image)}
    if prepared.mask is not None and prepared.mask_content is not None:
        try:
            mask = masks.of_case(prepared.mask_content, picture.image.size, prepared.edit.name)
        except EvaluationError as error:
            raise EditError(str(error)) from error
        files[prepared.mask] = png_of(masks.for_loaders(mask))
    return _Sent(files, picture.part)


def _mask_of(edit: PictureEdit) -> Mask | None:
    if edit.mask is None or isinstance(edit.mask, tuple):
        return edit.mask
    content = _content_of(edit.mask)
    return Picture(path_in(edit.mask).name, lambda: content)


def _name_of(digest: str) -> str:
    """The name on a server of what has this digest."""
    return f"{digest[:24]}.png"


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
