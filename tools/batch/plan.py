"""The options of every front end as a typed request, and the edits that a request asks for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..comfyui import PACK
from ..evaluation import formats
from .edits import InvalidEdit, PromptList, Shard, edits_of_data_set, pictures_of
from .store import Place, folder_of, path_in, place_of
from .template import (
    INVERSIONS,
    PARAMETERS,
    PROMPTS,
    EditError,
    PictureEdit,
    Template,
    UsageError,
    read_graph,
    with_inversion,
)

DEFAULT_GRAPH = PACK / "workflows" / "api" / "text_edit_sd15.json"


@dataclass(frozen=True)
class EditRequest:
    """What the options of a front end ask for.

    Args:
        folder, prompts, data_set: where the edits come from; a folder may be named beside a list.
        format, columns: how to read the data set; None to recognise it, and its own names for our columns.
        settings: values by names of PARAMETERS or "Title.input".
        sweep: further settings, all edits once with each; empty for none.
    """

    folder: Place | None
    prompts: Place | None
    data_set: Path | None
    format: str | None
    columns: Mapping[str, str]
    source: str | None
    target: str | None
    out: Place
    graph: Path
    inversion: str | None
    shard: Shard
    timeout: float | None
    settings: Mapping[str, str]
    sweep: Sequence[Mapping[str, str]]

    @classmethod
    def of(cls, options: argparse.Namespace) -> EditRequest:
        """The request of parsed options; UsageError for one that makes no sense."""
        if options.folder is None and options.prompts is None and options.dataset is None:
            raise UsageError("name a folder of pictures, or a list with --prompts, or a data set with --dataset")
        return cls(
            folder=options.folder,
            prompts=options.prompts,
            data_set=options.dataset,
            format=options.format,
            columns=columns_of(options.columns),
            source=options.source,
            target=options.target,
            out=options.out,
            graph=options.graph,
            inversion=options.inversion,
            shard=Shard.of(options.shard),
            timeout=options.timeout,
            settings=_settings(options),
            sweep=[_setting(text) for text in options.sweep],
        )


class Plan(NamedTuple):
    """The edits of a request and the graph that makes them."""

    template: Template
    edits: Iterable[PictureEdit | InvalidEdit]  # to be iterated once
    notes: list[str]  # what is left out, in words


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that make an EditRequest."""
    parser.add_argument("folder", type=place_of, nargs="?", help="the folder of the pictures")
    parser.add_argument("--prompts", type=place_of, metavar="CSV", help="a list of edits, in place of one for all")
    parser.add_argument("--dataset", type=Path, metavar="DATA", help="a data set to evaluate, with its own prompts")
    add_format(parser)
    parser.add_argument("--source", metavar="TEXT", help='what the pictures show; may be ""')
    parser.add_argument("--target", metavar="TEXT", help="what they are to show")
    parser.add_argument("--out", type=place_of, default=Path("edited"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--graph", type=Path, default=DEFAULT_GRAPH, metavar="JSON", help=f"default: workflows/api/{DEFAULT_GRAPH.name}"
    )
    parser.add_argument("--inversion", choices=INVERSIONS, help="in the place of the one that the graph has")
    parser.add_argument(
        "--shard", default="0/1", metavar="I/N", help="only the pictures of part I, from 0, of N; default: %(default)s"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="longest wait for one picture, queue included")
    for name, parameter in PARAMETERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", help=parameter.help)
    parser.add_argument(
        "--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="any other input; may be repeated"
    )
    parser.add_argument(
        "--sweep",
        action="append",
        default=[],
        metavar="NAME=VALUE,...",
        help="all edits with these values, too; repeated for each setting of a sweep",
    )


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how to read a data set."""
    parser.add_argument("--format", choices=formats.FORMATS, help="of the data set; default: recognised by the content")
    parser.add_argument(
        "--columns",
        metavar="picture=NAME,...",
        help="what its table, CSV or parquet, calls picture, source, target, id, type, mask, words",
    )


def columns_of(text: str | None) -> dict[str, str]:
    """Column names of a table by our own names."""
    parts = [part.partition("=") for part in (text or "").split(",") if part]
    return {ours.strip(): theirs.strip() for ours, _, theirs in parts}


def plan_of(request: EditRequest) -> Plan:
    """The plan of a request, its shard applied; UsageError where graph, list or values do not go together."""
    graph = read_graph(request.graph)
    template = Template(graph if request.inversion is None else with_inversion(graph, request.inversion))
    for setting in request.sweep:
        template.check(set(setting), *template.prompts)
        _check_values(template, PictureEdit("the sweep", Path(), "", "", {**request.settings, **setting}))
    edits, notes = _edits_of(request, template)
    if request.sweep:
        edits = (edit for one in edits for edit in swept(one, request.sweep))
    return Plan(template, filter(request.shard.has, edits), notes)


def _edits_of(request: EditRequest, template: Template) -> tuple[Iterable[PictureEdit | InvalidEdit], list[str]]:
    """The edits without the sweep, and what is left out, in words."""
    settings = request.settings
    if request.data_set is not None:
        if any(given is not None for given in (request.folder, request.prompts, request.source, request.target)):
            raise UsageError("--dataset has pictures and prompts of its own: leave out the folder and theirs")
        template.check(set(settings), source=template.prompts[0], target=True)
        _check_values(template, PictureEdit("the options", Path(), "", "", dict(settings)))
        data = request.data_set, request.format, request.columns, request.out
        return edits_of_data_set(*data, settings, template.mask is not None, template.takes_words)
    if request.columns:
        raise UsageError("--columns is for --dataset: call the columns of --prompts picture, source, target")
    rows = None if request.prompts is None else PromptList(request.prompts)
    columns = set() if rows is None else set(rows.columns)
    template.check(
        settings.keys() | (columns - {"picture", *PROMPTS}),
        source=request.source is not None or "source" in columns,
        target=request.target is not None or "target" in columns,
    )
    given = request.source, request.target, dict(settings)
    _check_values(template, PictureEdit("the options", Path(), *given))
    if rows is not None:
        assert request.prompts is not None
        return rows.edits(request.folder or folder_of(request.prompts), *given), []
    assert request.folder is not None
    pictures, notes = pictures_of(request.folder)
    return (PictureEdit(path_in(picture).name, picture, *given) for picture in pictures), notes


def swept(edit: PictureEdit | InvalidEdit, sweep: Sequence[Mapping[str, str]]) -> Iterator[PictureEdit | InvalidEdit]:
    """The edit with each setting in turn, so that a server can use what it remembers of the picture."""
    if isinstance(edit, InvalidEdit):
        yield edit
        return
    for setting in sweep:
        label = ", ".join(f"{name} {value}" for name, value in setting.items())
        yield replace(edit, name=f"{edit.name}, {label}", settings={**edit.settings, **setting})


def _check_values(template: Template, edit: PictureEdit) -> None:
    try:
        template.filled(edit, "")
    except EditError as error:
        raise UsageError(str(error)) from error


def _setting(text: str) -> dict[str, str]:
    """One setting of a sweep: values by name."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in parts):
        raise UsageError(f"--sweep {text}: write it as NAME=VALUE,NAME=VALUE, as in --sweep cfg=15,skip_steps=36")
    return {name.strip(): value.strip() for name, _, value in parts}


def _settings(options: argparse.Namespace) -> dict[str, str]:
    """The given values of PARAMETERS and of --set."""
    settings = {name: value for name in PARAMETERS if (value := getattr(options, name)) is not None}
    for setting in options.set:
        name, equals, value = setting.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"--set {setting}: write it as TITLE.INPUT=VALUE")
        settings[name] = value
    return settings
