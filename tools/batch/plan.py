"""What the options of every front end say: which pictures are to be edited, how, and by which graph."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..comfyui import PACK
from . import data_set
from .edits import Broken, PromptList, pictures_of
from .store import folder_of, path_in, place_of
from .template import (
    INVERSIONS,
    PARAMETERS,
    PROMPTS,
    Edit,
    EditError,
    Template,
    UsageError,
    read_graph,
    with_inversion,
)

DEFAULT_GRAPH = PACK / "workflows" / "api" / "text_edit_sd15.json"


class Plan(NamedTuple):
    """What the command line asks for."""

    template: Template
    edits: Iterable[Edit | Broken]  # to be gone through once
    left_out: int  # results in the folder of the pictures


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `plan_of` reads, and those that every front end has beside them."""
    parser.add_argument("folder", type=place_of, nargs="?", help="the folder of the pictures")
    parser.add_argument("--prompts", type=place_of, metavar="CSV", help="a list of edits, in place of one for all")
    parser.add_argument("--dataset", type=Path, metavar="DATA", help="a data set to evaluate, with its own prompts")
    data_set.add_format(parser)
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


def plan_of(options: argparse.Namespace) -> Plan:
    """What to do; UsageError where it cannot be meant so."""
    if options.folder is None and options.prompts is None and options.dataset is None:
        raise UsageError("name a folder of pictures, or a list with --prompts, or a data set with --dataset")
    settings, sweep = _settings(options), list(map(_setting, options.sweep))
    graph = read_graph(options.graph)
    template = Template(graph if options.inversion is None else with_inversion(graph, options.inversion))
    if sweep:
        for setting in sweep:
            template.check(set(setting), *template.prompts)
            _check_values(template, Edit("the sweep", Path(), "", "", settings | setting))
        plan = _plan(options, template, settings)
        return plan._replace(edits=(edit for one in plan.edits for edit in swept(one, sweep)))
    return _plan(options, template, settings)


def _plan(options: argparse.Namespace, template: Template, settings: dict[str, str]) -> Plan:
    """What to do, once with each edit."""
    if options.dataset is not None:
        if any(given is not None for given in (options.folder, options.prompts, options.source, options.target)):
            raise UsageError("--dataset has pictures and prompts of its own: leave out the folder and theirs")
        template.check(set(settings), source=template.prompts[0], target=True)
        _check_values(template, Edit("the options", Path(), "", "", settings))
        return Plan(template, data_set.edits_of(options, settings), 0)
    rows = None if options.prompts is None else PromptList(options.prompts)
    columns = set() if rows is None else set(rows.columns)
    template.check(
        settings.keys() | (columns - {"picture", *PROMPTS}),
        source=options.source is not None or "source" in columns,
        target=options.target is not None or "target" in columns,
    )
    given = options.source, options.target, settings
    _check_values(template, Edit("the options", Path(), *given))
    if rows is not None:
        return Plan(template, rows.edits(options.folder or folder_of(options.prompts), *given), 0)
    pictures, left_out = pictures_of(options.folder)
    return Plan(template, (Edit(path_in(picture).name, picture, *given) for picture in pictures), left_out)


def swept(edit: Edit | Broken, sweep: Sequence[dict[str, str]]) -> Iterator[Edit | Broken]:
    """The edit once with each setting, one after the other, so that a server can go on with what it remembers."""
    if isinstance(edit, Broken):
        yield edit
        return
    for setting in sweep:
        label = ", ".join(f"{name} {value}" for name, value in setting.items())
        yield replace(edit, name=f"{edit.name}, {label}", settings=edit.settings | setting)


def _check_values(template: Template, edit: Edit) -> None:
    try:
        template.filled(edit, "")
    except EditError as error:
        raise UsageError(str(error)) from error


def _setting(text: str) -> dict[str, str]:
    """One setting of a sweep."""
    parts = [part.partition("=") for part in text.split(",")]
    if not all(name.strip() and equals and value.strip() for name, equals, value in parts):
        raise UsageError(f"--sweep {text}: write it as NAME=VALUE,NAME=VALUE, as in --sweep cfg=15,skip_steps=36")
    return {name.strip(): value.strip() for name, _, value in parts}


def _settings(options: argparse.Namespace) -> dict[str, str]:
    """The values of PARAMETERS and of --set that are given."""
    settings = {name: value for name in PARAMETERS if (value := getattr(options, name)) is not None}
    for setting in options.set:
        name, equals, value = setting.partition("=")
        if not equals or "." not in name:
            raise UsageError(f"--set {setting}: write it as TITLE.INPUT=VALUE")
        settings[name] = value
    return settings
