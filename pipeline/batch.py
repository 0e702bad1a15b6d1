"""Edits done one after the other on a server, whose results go into a folder; what is finished is not done again."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from tqdm import tqdm

from . import results
from .client import ComfyClient, GraphError, ServerGone, images_of
from .edits import PICTURES, Broken
from .template import PARAMETERS, Edit, EditError, Template, digest_of

SERVER_FOLDER = "edit_folder"  # below the server's input and output folders


@dataclass
class Tally:
    edited: int = 0
    finished_before: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)  # names by reason


class Batch:
    """Edits on one server, into one folder, which exists."""

    def __init__(self, client: ComfyClient, template: Template, out: Path):
        self.client = client
        self.template = template
        self.out = out
        self.version = client.version()
        self.tally = Tally()

    def run(self, edits: list[Edit | Broken]) -> None:
        """Do what is not finished; failures of single edits go into the tally.

        Raises:
            ServerGone: the server stopped; what was finished is kept.
        """
        with tqdm(edits, unit="picture", dynamic_ncols=True) as bar:
            for edit in bar:
                bar.set_postfix_str(edit.name)
                try:
                    self._do(edit)
                except ServerGone as error:
                    if not self.client.is_up():
                        raise
                    self._failed(edit, str(error))
                except (GraphError, EditError, OSError) as error:
                    self._failed(edit, str(error))

    def _failed(self, edit: Edit | Broken, reason: str) -> None:
        if reason not in self.tally.failures:
            tqdm.write(f"FAILED {edit.name}: {reason}")
        self.tally.failures.setdefault(reason, []).append(edit.name)

    def _do(self, edit: Edit | Broken) -> None:
        if isinstance(edit, Broken):
            raise EditError(edit.reason)
        content = _content_of(edit.picture)
        picture_digest = hashlib.sha256(content).hexdigest()
        uploaded = f"{picture_digest[:24]}{edit.picture.suffix.lower()}"
        graph = self.template.filled(edit, f"{SERVER_FOLDER}/{uploaded}")
        digest = digest_of(graph)
        stem = results.stem_of(edit.picture, digest)
        if results.is_finished(self.out, stem, digest):
            self.tally.finished_before += 1
            return

        started = time.monotonic()
        # A new name each time: the server takes the same graph as done already, even where its file has been deleted.
        graph[self.template.output]["inputs"]["filename_prefix"] = (
            f"{SERVER_FOLDER}/{stem[-results.KEY_LENGTH :]}_{uuid.uuid4().hex[:8]}"
        )
        self.client.upload(content, uploaded, SERVER_FOLDER)
        files = images_of(self.client.run(graph), graph, self.template.output)
        names = results.names_of(stem, [_suffix_of(file) for file in files])
        # All of them first: where one cannot be had, none is left behind that has no record.
        pictures = {name: self.client.view(file) for name, file in zip(names, files, strict=True)}
        record = {
            "picture": edit.picture.name,
            "picture_sha256": picture_digest,
            "source": edit.source,
            "target": edit.target,
            **self.template.settings_of(graph),
            "set": {name: text for name, text in edit.settings.items() if name not in PARAMETERS},
            "outputs": names,
            "seconds": round(time.monotonic() - started, 2),
            "comfyui_version": self.version,
            "digest": digest,
            "graph": graph,
        }
        results.write(self.out, pictures | {results.record_of(stem): json.dumps(record, indent=2).encode()})
        self.tally.edited += 1


def _content_of(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except (FileNotFoundError, ValueError) as error:  # a name with a NUL in it is a ValueError
        raise EditError(f"there is no file {picture}") from error


def _suffix_of(file: dict) -> str:
    """The ending of a file that the server names, which is to become part of a name on this machine."""
    suffix = PurePath(file["filename"]).suffix
    if suffix.lower() not in PICTURES:
        raise GraphError(f"the run saved {file['filename']!r}, which is not the name of a picture")
    return suffix
