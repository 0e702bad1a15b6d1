"""The command line of the demo model: by the core, and by ComfyUI where a command needs it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ddpm_core import trajectories
from ddpm_core.contact_sheet import to_picture
from ddpm_core.inversion import invert
from ddpm_core.sampling import sample
from demo.autoencoder import FACTOR
from demo.model import DemoModel, load_model
from demo.scenes import TEST_SEED, TUNE_SEED, scene_of_caption
from demo.weights import WEIGHTS

from ..comfyui import find_comfyui, version_of
from ..evaluation.pictures import decoded
from ..host import NeedsComfyUI
from . import sheet
from .classifier import load_classifier
from .edits import KINDS, PAIRS, choose_edits, choose_two_edits, image_of
from .evaluate import evaluate, mask_found, mean_areas, two_edits, words_find
from .methods import BY_NAME, methods_of
from .settings import Keep, LabSettings, PromptToPrompt, SharedAttention
from .sizes import NUMBERS, Sizes
from .training.commands import add_parts, run_part

S = TypeVar("S", LabSettings, PromptToPrompt)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except (ValueError, FileNotFoundError, NeedsComfyUI) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("sheet", help="write a contact sheet of edits of held-out scenes")
    command.add_argument("--out", type=Path, default=Path("output/demo-sheet.png"))
    command.add_argument("--core", action="store_true", help="without ComfyUI, even where there is one")
    command.set_defaults(run=run_sheet)

    command = commands.add_parser("edit", help="edit one picture by two prompts")
    command.add_argument("--prompt", required=True, help="what the picture shows")
    command.add_argument("--target", required=True, help="what it should show")
    command.add_argument("--image", type=Path, help="a picture; default: a held-out scene that shows the prompt")
    command.add_argument("--out", type=Path, default=Path("output/demo-edit.png"))
    command.add_argument("--seed", type=int, default=0, help="of the scene and of the noise")
    command.add_argument("--cfg", type=float, default=LabSettings.cfg_target, help="guidance of the target prompt")
    command.add_argument(
        "--skip", type=float, default=LabSettings.skip, help="fraction of the steps to skip, 0 to below 1"
    )
    command.add_argument("--steps", type=int, default=LabSettings.steps)
    command.set_defaults(run=run_edit)

    command = commands.add_parser("pictures", help="make the pictures of the help pages anew")
    command.add_argument("--out", type=Path, default=Path("web/docs/images"))
    command.add_argument("--name", action="append", help="only the picture of this node (repeatable)")
    command.set_defaults(run=run_pictures)

    measuring = argparse.ArgumentParser(add_help=False)
    measuring.add_argument("--per-kind", type=int, default=48, help="edits, or scenes, of each kind")
    measuring.add_argument("--tuning", action="store_true", help="the scenes that settings may be tuned on")
    measuring.add_argument("--weights", type=Path, default=WEIGHTS, help="of another model of this kind")

    def add_measure(name: str, run: Callable[[argparse.Namespace], None], what: str) -> argparse.ArgumentParser:
        measure = commands.add_parser(name, parents=[measuring], help=what)
        measure.set_defaults(run=run)
        return measure

    command = add_measure("evaluate", run_evaluate, "measure edits by each method; prints a table")
    command.add_argument("--method", choices=tuple(BY_NAME), action="append", help="only this method (repeatable)")
    command.add_argument("--eta", type=float, nargs="+", help="each method once with each of these")
    command.add_argument("--steps", type=int, nargs="+", help="each method once with each of these numbers of steps")
    command.add_argument("--order", type=int, choices=(1, 2), nargs="+", help="each method once with each of these")
    what = "each method that shares the source's attention once until each of these shares of the run"
    command.add_argument("--share-end", type=float, nargs="+", metavar="END", help=what)
    what = "... in the blocks between these two shares of the model's depth"
    command.add_argument("--share-blocks", type=float, nargs=2, metavar=("FIRST", "LAST"), help=what)
    what = "each method that can be held once with Keep Image at each of these tolerances; inf holds everywhere"
    command.add_argument("--keep", type=float, nargs="+", metavar="TOLERANCE", help=what)
    command.add_argument("--keep-amount", type=float, default=1.0, help="... its amount")
    command.add_argument("--keep-end", type=float, default=1.0, help="... the share of the run until which it acts")
    command.add_argument("--kind", choices=KINDS, action="append", help="only this kind of edit (repeatable)")
    command.add_argument("--skip", type=float, help="fraction of the steps to skip, for all methods")
    command.add_argument("--cfg", type=float, help="guidance of the target prompt, for all methods")
    command.add_argument("--cross-steps", type=float, help="Prompt-to-Prompt: fraction of the steps for words")
    command.add_argument("--self-steps", type=float, help="Prompt-to-Prompt: fraction of the steps for pixels")
    command.add_argument("--own-map", action="store_true", default=None, help="... a changed word finds its own place")
    command.add_argument("--gain", type=float, help="... how much changed words count")
    command.add_argument("--blend-threshold", type=float, help="... local blend by the color's word")
    command.add_argument("--guidance-weight", type=float, help="zero-shot: how strongly the words' places are held")
    command.add_argument("--noise-shift", type=int, help="few steps: levels that the model is told above the noise")
    command.add_argument("--clip-last", type=float, help="... the last residual's largest RMS; 0 is off")
    command = add_measure("masks", run_masks, "measure how well the mask from two prompts finds the edit")
    command.add_argument("--kind", choices=KINDS, action="append", help="only this kind of edit (repeatable)")
    command = add_measure("words", run_words, "measure how well words find what they stand for; needs ComfyUI")
    command.add_argument("--kind", choices=KINDS, action="append", help="only words of this kind (repeatable)")
    add_measure("two", run_two, "measure two edits of a scene at once")

    command = commands.add_parser("dataset", help="write held-out edits as a data set, and graphs that make them")
    command.add_argument("--out", type=Path, default=Path("output/scenes"))
    command.add_argument("--per-kind", type=int, default=12)
    command.add_argument("--kind", choices=KINDS, action="append", help="only this kind of edit (repeatable)")
    command.set_defaults(run=run_dataset)

    command = commands.add_parser(
        "figures", help="those of the papers' figures and of the measurements that --out lacks; hours"
    )
    command.add_argument("--out", type=Path, default=Path("output/figures"))
    command.add_argument("--only", nargs="+", metavar="FIG", help="only these, such as fig11; a wrong name lists all")
    command.add_argument(
        "--pages", type=Path, nargs="+", default=(), help="pages whose tables to fill with the results"
    )
    what = "figures made at a time; with ComfyUI each process loads it"
    command.add_argument("--processes", type=int, default=1, metavar="N", help=what)
    sizes = command.add_argument_group("sizes", "how much they are made of; by default as on the pages")
    for name, default in NUMBERS.items():
        sizes.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, metavar="N")
    command.set_defaults(run=run_figures)

    command = commands.add_parser("train", help="train the weights again, part by part")
    add_parts(command)
    command.set_defaults(run=run_part)
    return parser


def run_sheet(args: argparse.Namespace) -> None:
    """Write the contact sheet, and its edits alone beside it; print where it is and what it shows."""
    start = time.monotonic()
    comfyui = None if args.core else find_comfyui()
    if comfyui is None:
        maker, rows = "the core alone", sheet.by_core(load_model(), progress=_report)
    else:
        print("Starting ComfyUI ...", flush=True)
        rows = sheet.by_comfyui(comfyui, load_model(), _report)
        maker = f"ComfyUI {version_of(comfyui)}, from {sheet.TOUR.name}"
    path = _save(sheet.draw(rows), args.out)
    _save(sheet.draw_edits(rows), args.out.with_stem(f"{args.out.stem}-edits"))
    print(f"Made by {maker}: {len(rows)} scenes in {time.monotonic() - start:.0f} s.")
    error = max(row.reconstruction_error for row in rows)
    print(f"Largest reconstruction error: {error:.1e} of latents of unit variance.")
    print(f"The sheet: {path.resolve()}")


def _report(done: int, count: int) -> None:
    print(f"Scene {done} of {count}", flush=True)


def run_pictures(args: argparse.Namespace) -> None:
    """Write the picture of each help page that has one; without ComfyUI, only those that can do without."""
    from .graph_pictures import GRAPH_PICTURES, graphs
    from .pictures import PICTURES, Runs

    def write(name: str, picture: Image.Image) -> None:
        path = _save(picture, args.out / f"{name}.png")
        print(f"{path}: {path.stat().st_size / 1024:.1f} KiB", flush=True)

    chosen = set(args.name or [*PICTURES, *GRAPH_PICTURES])
    runs = Runs(load_model())
    for name, make in PICTURES.items():
        if name in chosen:
            write(name, make(runs))
    comfyui = find_comfyui()
    if comfyui is not None and chosen & GRAPH_PICTURES.keys():
        with graphs(comfyui) as running:
            for name, run in GRAPH_PICTURES.items():
                if name in chosen:
                    write(name, run(running))


def run_edit(args: argparse.Namespace) -> None:
    """Write source, reconstruction and edit side by side."""
    settings = LabSettings(steps=args.steps, skip=args.skip, cfg_target=args.cfg)
    schedule, model = settings.schedule(), load_model()
    source, target = model.denoiser(args.prompt, settings.cfg_source), model.denoiser(args.target, settings.cfg_target)
    scene = None if args.image else scene_of_caption(args.prompt, TEST_SEED + args.seed)
    image = image_of(scene) if scene else read_picture(args.image)
    latent = model.autoencoder.encode(image[None])
    noise_maps = invert(source, trajectories.edit_friendly(latent, schedule, [args.seed]), schedule)
    back = sample(source, noise_maps)
    edit = sample(target, noise_maps, skip_steps=settings.skip_steps)
    pictures = [image, *model.autoencoder.decode(torch.cat([back, edit]))]
    path = _save(to_picture(torch.cat(pictures, dim=-1)), args.out)
    print(f"{path}: source, reconstruction (largest error of the latent {(back - latent).abs().max():.1e}), edit")


def _seed(args: argparse.Namespace) -> tuple[int, str]:
    """Where the scenes to measure begin, and what they are called."""
    return (TUNE_SEED, "tuning") if args.tuning else (TEST_SEED, "held-out")


def _model(args: argparse.Namespace) -> tuple[DemoModel, LabSettings]:
    """The model to measure, and the settings of its process."""
    model = load_model(args.weights)
    return model, LabSettings(flow=model.is_flow)


def read_picture(path: Path) -> Tensor:
    """(3, H, W) in [-1, 1].

    Raises:
        ValueError: no sound picture, or a size that is no multiple of 8.
    """
    pixels = decoded(path.read_bytes(), path.name).float()
    height, width = pixels.shape[:2]
    if height % FACTOR or width % FACTOR:
        raise ValueError(
            f"{path.name} is {width} x {height} pixels: the demo model takes multiples of {FACTOR} and was trained at "
            "128 x 128"
        )
    return (pixels / 127.5 - 1).movedim(-1, 0)


def run_evaluate(args: argparse.Namespace) -> None:
    """Print the table of methods by kinds of edit."""
    (model, _), (seed, scenes) = _model(args), _seed(args)
    if args.method:
        chosen = [BY_NAME[name] for name in args.method]
    else:
        chosen = methods_of(model)
        if find_comfyui() is None:
            left_out = ", ".join(method.name for method in chosen if method.needs_comfyui)
            print(f"Without ComfyUI (set COMFYUI_PATH to its folder) the table lacks: {left_out}", file=sys.stderr)
            chosen = [method for method in chosen if not method.needs_comfyui]
    edits = choose_edits(args.per_kind, seed, args.kind or KINDS)
    given = {"skip": args.skip, "cfg_target": args.cfg, "guidance_weight": args.guidance_weight}
    given |= {"noise_shift": args.noise_shift, "clip_last": args.clip_last, "flow": model.is_flow}
    of_p2p = {name: getattr(args, name) for name in ("cross_steps", "self_steps", "own_map", "gain", "blend_threshold")}
    runs = {
        f"{method.name}{more}": (method, _changed(replace(settings, p2p=_changed(settings.p2p, of_p2p)), given))
        for method in chosen
        for more, settings in method.rows.items()
    }
    for field in ("eta", "steps", "order"):
        if values := getattr(args, field):
            runs = {
                f"{label}, {field} {value:g}": (method, replace(settings, **{field: value}))
                for label, (method, settings) in runs.items()
                for value in values
            }
    if args.share_end or args.share_blocks:
        if free := [method.name for method in chosen if args.method and not method.shares]:
            raise ValueError(
                f"no attention is shared by {', '.join(free)}: leave out --share-end and --share-blocks, or the method"
            )
        first, last = args.share_blocks or (-1.0, -1.0)
        runs = {
            f"{label}, until {end:g}" if end >= 0 else label: (
                method,
                replace(settings, shared=SharedAttention(end, first, last)),
            )
            for label, (method, settings) in runs.items()
            if method.shares
            for end in args.share_end or (-1.0,)
        }
    if args.keep:
        if free := [method.name for method in chosen if args.method and not method.held]:
            raise ValueError(f"Keep Image is not measured with {', '.join(free)}: leave out --keep or the method")
        keep = Keep(args.keep_amount, end=args.keep_end)
        runs = {
            f"{label}, kept {value:g}": (method, replace(settings, keep=replace(keep, tolerance=value)))
            for label, (method, settings) in runs.items()
            if method.held and settings.keep is None
            for value in args.keep
        }
    print(f"{len(edits)} edits, {scenes} scenes", flush=True)
    print(evaluate(model, load_classifier(), edits, runs))


def _changed(settings: S, values: dict[str, Any]) -> S:
    """The settings with the values that are given."""
    return replace(settings, **{name: value for name, value in values.items() if value is not None})


def run_masks(args: argparse.Namespace) -> None:
    """Print the area under the curve of the mask from two prompts, by kind of edit."""
    (model, settings), (seed, scenes) = _model(args), _seed(args)
    edits = choose_edits(args.per_kind, seed, args.kind or KINDS)
    print(f"{len(edits)} edits, {scenes} scenes", flush=True)
    for kind, area in mask_found(model, edits, settings).items():
        print(f"{kind:20}{area:>6.3f}")


def run_words(args: argparse.Namespace) -> None:
    """Print the area under the curve of each word's attention."""
    (model, settings), (seed, scenes) = _model(args), _seed(args)
    print(f"Area under the curve of each word's attention against its place, {args.per_kind} {scenes} scenes a word:")
    found = words_find(model, args.per_kind, settings, seed, args.kind or KINDS)
    for kind, area in mean_areas(found, attrgetter("kind")).items():
        print(f"{kind:14}{area:.3f}")


def run_two(args: argparse.Namespace) -> None:
    """Print the table of two edits at once."""
    (model, settings), (seed, scenes) = _model(args), _seed(args)
    print(f"{'two edits at once':22}{'how':20}{'both':>8}{'error':>8}{'structure':>11}  of {args.per_kind} {scenes}")
    for kinds in PAIRS:
        pairs = choose_two_edits(args.per_kind, seed, kinds)
        for how, row in two_edits(model, load_classifier(), pairs, settings).items():
            print(f"{' and '.join(kinds):22}{how:20}{row[0]:>8.2f}{row[1]:>8.3f}{row[2]:>11.2f}", flush=True)


def run_dataset(args: argparse.Namespace) -> None:
    """Write a data set in PIE-Bench's layout, and a graph for each method."""
    from . import data_set

    args.out.mkdir(parents=True, exist_ok=True)
    made = data_set.entries(args.per_kind, args.kind or KINDS)
    print(f"{data_set.write(args.out, made)}: {len(made)} edits")
    for path in data_set.write_graphs(args.out / "graphs"):
        print(path)


def run_figures(args: argparse.Namespace) -> None:
    """Write the figures and print the tables."""
    from .figures import FIGURES, fill_pages, make_figures

    if unknown := [name for name in args.only or () if name not in FIGURES]:
        raise ValueError(f"there is no figure {', '.join(unknown)}: use some of {', '.join(FIGURES)}")
    sizes = Sizes(**{name: getattr(args, name) for name in NUMBERS})
    report: Callable[[str], None] = partial(print, flush=True)
    make_figures(load_model(), args.out, args.only or (), sizes, report, args.processes)
    fill_pages(args.out, args.pages)
    print(f"The figures: {args.out}")


def _save(picture: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    return path


if __name__ == "__main__":
    raise SystemExit(main())
