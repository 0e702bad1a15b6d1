"""Measure edited pictures of any method against a data set. Needs: pip install -r requirements-evaluation.txt

examples:
  python -m tools.batch evaluate PIE/mapping_file.json --edited ef=runs/ef --edited p2p=OTHER/output --weights weights/
  python -m tools.batch evaluate list.csv --columns picture=image,target=prompt --edited mine=edited/ --out results/

the data set, recognised by its content:
  PIE-Bench's mapping_file.json, with its pictures in annotation_images; its parquet copy PIE-Bench++ (file or folder);
  the official yaml (init_img, source_prompt, target_prompts); CSV or parquet with the columns picture, source, target
  and, if there are any, id, type, mask (a picture, white where the edit was wanted, or runs), words.

the edits of a method, --edited NAME=FOLDER:
  a folder of `python -m tools.batch edit`: matched by picture and prompts; other settings in it are other methods;
  any other folder: pictures called as the case's id, or in the place of the source, with any ending, _v0, _v1, ... for
  variations; of a strip of pictures the last. What is not there is listed, and the rest is measured.

weights, --weights FOLDER; a metric without its weights is left out with a line that names the file:
  clip-vit-large-patch14/, clip-vit-base-patch32/   config.json, model.safetensors, vocab.json, merges.txt
  dino_vitbase8_pretrain.pth, squeezenet1_1-b8a52dc0.pth, alexnet-owt-7be5be79.pth

results: per_picture.csv (and .parquet), summary.json, table.md, clip_lpips.png, index.html with the worst cases.
The CSV grows by a row at a time; the same command goes on with what it lacks.

exit code: 0 all is measured, 1 some edits are missing or could not be measured, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ..evaluation import EvaluationError, formats
from .plan import add_format, columns_of
from .template import PARAMETERS

if TYPE_CHECKING:
    from ..evaluation.measuring import Measured


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `evaluate`."""
    parser.add_argument("data", type=Path, metavar="DATA", help="a data set: a file, or a folder of PIE-Bench")
    add_format(parser)
    parser.add_argument(
        "--edited", action="append", default=[], metavar="NAME=FOLDER", help="edits of a method; may be repeated"
    )
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="the networks of LPIPS, CLIP and DINO")
    parser.add_argument("--out", type=Path, default=Path("evaluated"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--resize", choices=("crop", "stretch"), help="make a source of another size fit its edit")
    parser.add_argument("--jpeg", type=int, metavar="QUALITY", help="recompress edits first; PIE-Bench's runners: 75")
    parser.add_argument("--calibrate", action="store_true", help="measure the sources as well, as if they were edits")
    parser.add_argument("--common", action="store_true", help="compare over the cases that all methods have")
    parser.add_argument("--device", default="cpu", help="cuda for networks on a GPU; default: %(default)s")
    parser.add_argument("--sheet", type=int, default=48, metavar="N", help="cases on the sheet; default: %(default)s")
    parser.add_argument("--sort", default="whole.psnr", metavar="METRIC", help="... those worst in this: %(default)s")
    parser.add_argument(
        "--lpips-bound",
        type=float,
        default=0.3,
        metavar="LPIPS",
        help="the best setting of a method has the highest CLIP with no more LPIPS; default: the paper's %(default)s",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    try:
        from ..evaluation import weights
        from ..evaluation.evaluating import Evaluation, evaluate
        from ..evaluation.measuring import Options
    except ModuleNotFoundError as missing:
        options.refuse(f"{missing}. Run: python -m pip install -r requirements-evaluation.txt")
    try:
        folders = _folders(options.edited)
        if not (folders or options.calibrate):
            raise EvaluationError("name edits with --edited NAME=FOLDER, or take --calibrate for the sources alone")
        data = formats.read(options.data, options.format, columns_of(options.columns))
        found = weights.load(options.weights, options.device)
        options.out.mkdir(parents=True, exist_ok=True)
        evaluation = Evaluation(
            data,
            folders,
            tuple(PARAMETERS),
            found,
            Options(options.resize, options.jpeg),
            options.calibrate,
            options.common,
            options.sheet,
            options.sort,
            options.lpips_bound,
        )
        for note in found.notes:
            tqdm.write(note)
        with tqdm(total=len(data.cases), unit="case", dynamic_ncols=True) as bar:
            measured = evaluate(evaluation, options.out, lambda case: bar.update())
    except (EvaluationError, OSError) as error:
        options.refuse(str(error))
    except KeyboardInterrupt:
        tqdm.write("Interrupted. What is measured is kept; the same command goes on with the rest.")
        return 130
    return _report(measured, options.out)


def _folders(texts: Sequence[str]) -> dict[str, Path]:
    folders = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder) or "," in name or name in folders:
            raise EvaluationError(
                f"--edited {text}: write it as NAME=FOLDER, each with a name of its own, no comma in it"
            )
        folders[name] = Path(folder)
    return folders


def _report(measured: dict[str, Measured], out: Path) -> int:
    """Print what was measured and what was not; the exit status."""
    tqdm.write((out / "table.md").read_text(encoding="utf-8"))
    for name, own in measured.items():
        failed = sum(map(len, own.failed.values()))
        tqdm.write(f"{name}: {len(own.rows)} measured, {len(own.missing)} missing, {failed} failed")
    tqdm.write(f"Results: {out}")
    return 1 if any(own.missing or own.failed for own in measured.values()) else 0
