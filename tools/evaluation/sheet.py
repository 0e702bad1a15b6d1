"""The contact sheet: a static page of sources, masks and edits with their numbers, the worst first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw

from . import EvaluationError, pictures
from .cases import Case, Picture
from .edited import Method
from .measuring import Measured
from .protocols import BY_NAME
from .rows import Row, value_of

SIDE = 192  # pixels of a thumbnail
_SHOWN = ("pie-bench.psnr", "pie-bench.ssim", "masked.psnr", "whole.psnr", "pie-bench.lpips", "pie-bench.clip_whole")
_STYLE = (
    "body{font:14px sans-serif;margin:1em}section{border-top:1px solid #999;padding:.6em 0}"
    "figure{display:inline-block;vertical-align:top;margin:0 .8em .4em 0;width:192px}figcaption{font-size:12px}"
    "img{display:block}p{margin:.2em 0}"
)


@dataclass(frozen=True)
class SheetEntry:
    """One case on the sheet, with its rows by method."""

    case: Case
    rows: Mapping[str, Row]


def checked(metric_name: str) -> str:
    """The name of a metric; EvaluationError if there is no such metric."""
    if metric_name not in BY_NAME:
        raise EvaluationError(f"there is no metric {metric_name}: take one of {', '.join(BY_NAME)}")
    return metric_name


def worst_first(
    cases: Sequence[Case], measured: Mapping[str, Measured], metric_name: str, count: int
) -> list[SheetEntry]:
    """The cases in which some method is worst in a metric; cases without a value come last."""
    rows: dict[str, dict[str, Row]] = {}
    for method, own in measured.items():
        for row in own.rows:
            rows.setdefault(row["case"], {}).setdefault(method, row)
    sign = -1 if BY_NAME[metric_name].better == "down" else 1

    def badness(entry: SheetEntry) -> float:
        values = [sign * value_of(row[metric_name]) for row in entry.rows.values()]
        return min((value for value in values if not math.isnan(value)), default=math.inf)

    entries = [SheetEntry(case, rows[case.id]) for case in cases if case.id in rows]
    return sorted(entries, key=badness)[:count]


def write(folder: Path, entries: Iterable[SheetEntry], methods: Mapping[str, Method], title: str) -> None:
    """Write index.html and its thumbnails into a folder."""
    (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
    sections = [_section(folder, number, entry, methods) for number, entry in enumerate(entries)]
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    page = f"<!doctype html>{head}<h1>{escape(title)}</h1>\n" + "\n".join(sections)
    (folder / "index.html").write_text(page + "\n", encoding="utf-8")


def _section(folder: Path, number: int, entry: SheetEntry, methods: Mapping[str, Method]) -> str:
    case = entry.case
    figures = [_figure(folder, f"{number}_source", _with_outline(case), "source, the mask outlined")]
    for place, (name, row) in enumerate(entry.rows.items()):
        edited = methods[name].find(case)
        if edited is not None:
            image = _thumbnail(_decoded(edited.pictures[0]))
            figures.append(_figure(folder, f"{number}_{place}", image, name, _numbers(row)))
    prompts = f"<p>{escape(case.source)} &rarr; <b>{escape(case.target)}</b></p>"
    return f"<section><h3>{escape(case.id)} {escape(case.edit_type)}</h3>{prompts}{''.join(figures)}</section>"


def _figure(folder: Path, name: str, image: Image.Image, title: str, lines: Sequence[str] = ()) -> str:
    path = folder / "thumbnails" / f"{name}.jpg"
    image.save(path, quality=85)
    caption = "<br>".join([f"<b>{escape(title)}</b>", *map(escape, lines)])
    return (
        f'<figure><img src="thumbnails/{path.name}" alt="{escape(title)}"><figcaption>{caption}</figcaption></figure>'
    )


def _numbers(row: Row) -> list[str]:
    metrics = [BY_NAME[name] for name in _SHOWN if row[name]]
    return [f"{metric.name}: {metric.shown(value_of(row[metric.name]))}" for metric in metrics]


def _with_outline(case: Case) -> Image.Image:
    """The source, with the edge of the mask in red."""
    picture = pictures.decoded(case.picture.read(), case.picture.name)
    image = _thumbnail(pictures.to_image(picture))
    if case.mask is None:
        return image
    mask = pictures.mask_fitted(
        pictures.mask_of_case(case.mask, picture, case.id), image.height, image.width, "stretch"
    )
    edge = mask.clone()
    edge[1:-1, 1:-1] &= ~(mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:])
    ImageDraw.Draw(image).bitmap((0, 0), Image.fromarray(edge.numpy()), fill=(255, 0, 0))
    return image


def _decoded(picture: Picture) -> Image.Image:
    return pictures.to_image(pictures.decoded(picture.read(), picture.name))


def _thumbnail(image: Image.Image) -> Image.Image:
    scale = SIDE / max(image.size)
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST)
