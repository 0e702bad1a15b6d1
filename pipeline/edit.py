"""Edit many pictures on a running ComfyUI, which may be on another machine. Needs: pip install requests tqdm

examples:
  python -m pipeline edit pictures/ --source "a photo of a cat" --target "a photo of a dog" --out edited/
  python -m pipeline edit --prompts list.csv --checkpoint v1-5-pruned-emaonly.safetensors --steps 50 --skip-steps 18

list.csv has a header and a row per edit: picture, source, target, and if you like any parameter by its name above
(skip_steps, with underscores) or as "Title.input". An empty cell leaves a parameter as the options have it.
Pictures are looked for beside the CSV, or in the folder if one is named too.

what is filled into a graph (--graph: "Export (API)" in ComfyUI's menu):
  the picture     the LoadImage titled "Image", or the only LoadImage
  the prompts     every text of the nodes titled "Source prompt" and "Target prompt"
  the parameters  see each option; "Title.input" (--set, CSV) is that input of the nodes with that title
  the result      the SaveImage titled "Edited", or the only SaveImage; only what leads to it is run

results: NAME_KEY.png (NAME_KEY_v0.png, ... for several) and NAME_KEY.json beside it, where KEY comes from the picture's
content, the prompts and all settings. The JSON is written last: an edit with its JSON and pictures is finished and is
skipped next time; with anything changed it gets another KEY and stands beside the first.

exit code: 0 all is edited, 1 some failed or the server stopped, 2 wrong usage, 130 Ctrl-C. The same command resumes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from tqdm import tqdm

from .client import ComfyClient, GraphError, ServerGone
from .comfyui import PACK
from .template import PARAMETERS, PROMPTS, Edit, EditError, Template, UsageError, digest_of, read_graph

DEFAULT_GRAPH = PACK / "workflows" / "api" / "text_edit_sd15.json"
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SERVER_FOLDER = "edit_folder"  # below the server's input and output folders


@dataclass(frozen=True)
class Broken:
    """A row of the list that is no edit."""

    name: str
    reason: str


@dataclass
class Tally:
    edited: int = 0
    finished_before: int = 0
    failures: dict[str, list[str]] = field(default_factory=dict)  # names by reason


def edits_of_folder(folder: Path, source: str | None, target: str | None, settings: dict[str, str]) -> list[Edit]:
    """An edit of each picture in a folder, by name; other files and folders below are left out."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not pictures:
        raise UsageError(f"there is no picture in {folder}: looked for {' '.join(sorted(PICTURES))}")
    return [Edit(path.name, path, source, target, settings) for path in pictures]


class PromptList:
    """The rows of a CSV file with a header; row numbers are those of a spreadsheet, the header being row 1."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                self.rows = list(csv.reader(file))
        except (OSError, ValueError, csv.Error) as error:
            raise UsageError(f"the list {path} cannot be read: {error}") from error
        self.columns = [name.strip() for name in self.rows[0]] if self.rows else []
        if "picture" not in self.columns or len(set(self.columns)) < len(self.columns):
            raise UsageError(f"{path} needs a header of different names, picture among them; it is: {self.columns}")
        self.settings = set(self.columns) - {"picture", *PROMPTS}

    def edits(
        self, folder: Path, source: str | None, target: str | None, settings: dict[str, str]
    ) -> Iterator[Edit | Broken]:
        """The edits of the rows; what a row lacks comes from the arguments."""
        for number, cells in enumerate(self.rows[1:], start=2):
            name = f"row {number} of {self.path.name}"
            if not any(cells):
                continue
            if len(cells) != len(self.columns):
                hint = "a text with a comma needs quotes around it"
                counts = f"{len(cells)} columns, the header has {len(self.columns)}: {', '.join(self.columns)}"
                yield Broken(name, f"the row has {counts} ({hint})")
                continue
            row = dict(zip(self.columns, (cell.strip() for cell in cells), strict=True))
            own = {key: row[key] for key in self.settings if row[key]}
            if not row["picture"] or row.get("target") == "":
                yield Broken(name, f"the {'target' if row['picture'] else 'picture'} is empty")
                continue
            prompts = row.get("source", source), row.get("target", target)
            yield Edit(f"{name} ({row['picture']})", folder / row["picture"], *prompts, settings | own)


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
        stem = f"{edit.picture.stem}_{digest[:12]}"
        if _is_finished(self.out / f"{stem}.json", digest):
            self.tally.finished_before += 1
            return

        started = time.monotonic()
        # A new name each time: the server takes the same graph as done already, even where its file has been deleted.
        graph[self.template.output]["inputs"]["filename_prefix"] = (
            f"{SERVER_FOLDER}/{stem[-12:]}_{uuid.uuid4().hex[:8]}"
        )
        self.client.upload(content, uploaded, SERVER_FOLDER)
        files = self.client.run(graph)[self.template.output]["images"]
        names = [_name_of(stem, file, index, len(files)) for index, file in enumerate(files)]
        for name, file in zip(names, files, strict=True):
            _write(self.out / name, self.client.view(file))
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
        _write(self.out / f"{stem}.json", json.dumps(record, indent=2).encode())
        self.tally.edited += 1


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; its exit status."""
    try:
        template, edits = _plan(options)
        options.out.mkdir(parents=True, exist_ok=True)
    except (UsageError, OSError) as error:
        options.refuse(str(error))
    url = options.server if "://" in options.server else f"http://{options.server}"
    batch = None
    try:
        batch = Batch(ComfyClient(url, options.timeout), template, options.out)
        batch.run(edits)
    except GraphError as error:
        _report(batch, len(edits), options.out, f"Stopped: {error}.")
        return 1
    except KeyboardInterrupt:
        _report(batch, len(edits), options.out, "Interrupted.")
        return 130
    _report(batch, len(edits), options.out, None)
    return 1 if batch.tally.failures else 0


def add_command(commands: Any) -> None:
    """Add `edit` to the subparsers of the command line."""
    title, _, rest = (__doc__ or "").partition("\n\n")
    parser = commands.add_parser(
        "edit",
        help="edit a folder of pictures, or a list of them",
        description=title,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, refuse=parser.error)
    parser.add_argument("folder", type=Path, nargs="?", help="the folder of the pictures")
    parser.add_argument("--prompts", type=Path, metavar="CSV", help="a list of edits, in place of one for all")
    parser.add_argument("--source", metavar="TEXT", help='what the pictures show; may be ""')
    parser.add_argument("--target", metavar="TEXT", help="what they are to show")
    parser.add_argument("--server", default="http://127.0.0.1:8188", metavar="URL", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("edited"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--graph", type=Path, default=DEFAULT_GRAPH, metavar="JSON", help=f"default: workflows/api/{DEFAULT_GRAPH.name}"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="longest wait for one picture, queue included")
    for name, parameter in PARAMETERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=parameter.help)
    parser.add_argument(
        "--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="any other input; may be repeated"
    )


def _plan(options: argparse.Namespace) -> tuple[Template, list[Edit | Broken]]:
    """The template and what to do with it; UsageError before anything is run."""
    if options.folder is None and options.prompts is None:
        raise UsageError("name a folder of pictures, or a list with --prompts")
    settings = {name: value for name in PARAMETERS if (value := getattr(options, name)) is not None}
    for setting in options.set:
        name, equals, value = setting.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"--set {setting}: write it as TITLE.INPUT=VALUE")
        settings[name] = value
    template = Template(read_graph(options.graph))
    rows = None if options.prompts is None else PromptList(options.prompts)
    columns = set() if rows is None else set(rows.columns)
    template.check(
        settings.keys() | (columns - {"picture", *PROMPTS}),
        source=options.source is not None or "source" in columns,
        target=options.target is not None or "target" in columns,
    )
    given = options.source, options.target, settings
    try:
        template.filled(Edit("the options", Path(), *given), "")
    except EditError as error:
        raise UsageError(str(error)) from error
    if rows is None:
        return template, [*edits_of_folder(options.folder, *given)]
    return template, list(rows.edits(options.folder or options.prompts.parent, *given))


def _report(batch: Batch | None, count: int, out: Path, stop: str | None) -> None:
    """What was done, what failed and why, and how to go on."""
    tally = Tally() if batch is None else batch.tally
    failed = sum(map(len, tally.failures.values()))
    print(
        f"{tally.edited} edited, {tally.finished_before} finished before, {failed} failed, of {count}. Results: {out}"
    )
    for reason, names in tally.failures.items():
        print(f"  {', '.join(names)}: {reason}")
    if stop:
        print(f"{stop} What is finished is kept; the same command goes on with the rest.")


def _content_of(picture: Path) -> bytes:
    try:
        return picture.read_bytes()
    except FileNotFoundError as error:
        raise EditError(f"there is no file {picture}") from error


def _is_finished(record: Path, digest: str) -> bool:
    try:
        finished = json.loads(record.read_text(encoding="utf-8"))
        return finished["digest"] == digest and all((record.parent / name).is_file() for name in finished["outputs"])
    except (OSError, ValueError, KeyError, TypeError):
        return False  # none, or not one of ours


def _name_of(stem: str, file: dict, index: int, count: int) -> str:
    variation = "" if count == 1 else f"_v{index}"
    return f"{stem}{variation}{PurePath(file['filename']).suffix}"


def _write(path: Path, content: bytes) -> None:
    """Beside, then renamed: a half-written file never has the name of a finished one."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
