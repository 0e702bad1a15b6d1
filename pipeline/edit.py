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
skipped next time; with anything changed it gets another KEY and stands beside the first. Results that lie in the folder
of the pictures are not edited again.

a server behind a password or a token: --server https://USER:PASSWORD@HOST, or --header "Authorization: Bearer TOKEN".
Other users of this machine can read a command line: --header @FILE reads the headers from a file, one a line. Neither
is ever printed or written into a record.

exit code: 0 all is edited, 1 some failed or the server stopped, 2 wrong usage, 130 Ctrl-C. The same command resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

from .batch import Batch, Tally
from .client import ComfyClient, GraphError
from .comfyui import PACK
from .edits import Broken, PromptList, pictures_of
from .template import PARAMETERS, PROMPTS, Edit, EditError, Template, UsageError, read_graph

DEFAULT_GRAPH = PACK / "workflows" / "api" / "text_edit_sd15.json"


class Plan(NamedTuple):
    """What the command line asks for."""

    template: Template
    edits: list[Edit | Broken]
    left_out: int  # results in the folder of the pictures
    client: ComfyClient


def run(options: argparse.Namespace) -> int:
    """Do what the command line asks for; its exit status."""
    try:
        plan = _plan(options)
        options.out.mkdir(parents=True, exist_ok=True)
    except (UsageError, OSError) as error:
        options.refuse(str(error))
    if plan.left_out:
        print(f"Left out {plan.left_out} results of earlier edits in {options.folder}")
    batch, stop, status = None, None, 1
    try:
        batch = Batch(plan.client, plan.template, options.out)
        batch.run(plan.edits)
        status = 1 if batch.tally.failures else 0
    except GraphError as error:
        stop = f"Stopped: {error}."
    except KeyboardInterrupt:
        stop, status = "Interrupted.", 130
    _report(Tally() if batch is None else batch.tally, len(plan.edits), options.out, stop)
    return status


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
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent with every request; may be repeated; @FILE reads such lines from a file",
    )
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


def _plan(options: argparse.Namespace) -> Plan:
    """What to do, on which server; UsageError before anything is run."""
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
    client = _client(options)
    if rows is not None:
        return Plan(template, list(rows.edits(options.folder or options.prompts.parent, *given)), 0, client)
    pictures, left_out = pictures_of(options.folder)
    return Plan(template, [Edit(path.name, path, *given) for path in pictures], left_out, client)


def _client(options: argparse.Namespace) -> ComfyClient:
    url = options.server if "://" in options.server else f"http://{options.server}"
    headers = _headers(options.header)
    try:
        return ComfyClient(url, options.timeout, headers)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _headers(texts: list[str]) -> dict[str, str]:
    """Headers by name, from 'Name: value' and @FILE. UsageError says nothing of what may be a secret."""
    headers = {}
    for line in [line for text in texts for line in (_lines_of(text[1:]) if text.startswith("@") else [text])]:
        name, colon, value = line.partition(":")
        if not colon:
            raise UsageError("--header needs 'NAME: VALUE', or @FILE with such lines; one has no colon")
        headers[name] = value
    return headers


def _lines_of(file: str) -> list[str]:
    try:
        return [line for line in Path(file).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"the headers {file} cannot be read: {type(error).__name__}") from None


def _report(tally: Tally, count: int, out: Path, stop: str | None) -> None:
    """What was done, what failed and why, and how to go on."""
    failed = sum(map(len, tally.failures.values()))
    print(
        f"{tally.edited} edited, {tally.finished_before} finished before, {failed} failed, of {count}. Results: {out}"
    )
    for reason, names in tally.failures.items():
        print(f"  {', '.join(names)}: {reason}")
    if stop:
        print(f"{stop} What is finished is kept; the same command goes on with the rest.")
