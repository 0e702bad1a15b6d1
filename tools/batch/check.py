"""Try a checkpoint on a running ComfyUI: is it exact, what does it take, what do edits look like. One page tells all.

examples:
  python -m tools.batch check --checkpoint v1-5-pruned-emaonly.safetensors
  python -m tools.batch check --checkpoint sd_xl_base_1.0.safetensors --graph workflows/api/text_edit_sdxl.json
  ... --picture cat.jpg --source "a photo of a cat" --target "a photo of a dog" --weights weights/

the graph (--graph) is one in the API format that edits by Invert and Sample with Fixed Noise, or by Edit Image:
text_edit_sd15, text_edit_sdxl, text_edit_sd3, text_edit_flux, text_edit_video, or one of yours. A graph for videos gets
a few frames of the picture. The checkpoint is the file as the server's loader lists it. --set changes any other input.

what is tried: the picture encoded, inverted and sampled under its own prompt, which has to be what the VAE alone makes
of it; the edit as the graph has it; from noise maps also each preset that fits.

the page, --out: exactness; seconds, rows of the network and memory of each run; the edits; LPIPS and CLIP with the
networks of --weights, as `evaluate` has them. It is one file with its pictures in it.

exit code: 0 the picture came back and all was edited, 1 not so, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import base64
import io
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageStat
from tqdm import tqdm

from demo.rendering import render
from demo.scenes import scene_of_caption

from ..evaluation import EvaluationError
from ..evaluation.decoder import decode, png_of
from .client import ComfyClient, GraphError, ServerGone, images_of
from .connection import DEFAULT_SERVER, add_header, clients_of
from .plan import DEFAULT_GRAPH
from .template import PROMPTS, TEXT_INPUTS, EditError, PictureEdit, Template, UsageError, read_graph
from .trials import SAID, THROUGH_VAE, Trial, rows_of_network, still, trials

# what is edited without a picture, drawn as for the demo model
DRAWN = ("a red house by the sea on a clear day in summer", "a red house by the sea on a clear night in summer")
DRAWN_SIZE = 512
LEAST_EXACT = 1  # of 255: what the rounding to a PNG may differ by
SHOWN = 384  # pixels of a picture on the page
LOADERS = {"CheckpointLoaderSimple": "ckpt_name", "UNETLoader": "unet_name"}
METRICS = ("whole.psnr", "whole.ssim", "ef-paper.lpips", "ef-paper.clip")
_STYLE = (
    "body{font:14px sans-serif;margin:1em;max-width:1200px}table{border-collapse:collapse}td,th{border:1px solid #bbb;"
    "padding:.2em .6em;text-align:left}figure{display:inline-block;vertical-align:top;margin:0 .8em .8em 0;width:384px}"
    "figcaption{font-size:12px}img{display:block;max-width:384px}"
)


@dataclass
class Outcome:
    """What came of a trial."""

    trial: Trial
    pictures: list[Image.Image] = field(default_factory=list)
    through_vae: list[Image.Image] = field(default_factory=list)
    seconds: float = math.nan
    memory: float = math.nan  # GiB of the device in use at most, as the server tells
    said: str = ""
    error: str = ""

    @property
    def differs(self) -> int | None:
        """The largest difference of the way back from what the VAE alone gives, of 255; None where there is none."""
        if not self.through_vae or not self.pictures:
            return None
        return max(_difference(*pair) for pair in zip(self.through_vae, self.pictures, strict=True))

    @property
    def is_sound(self) -> bool:
        """Whether it ran, and came back if it was to."""
        return not self.error and (not self.trial.is_return or (self.differs or 0) <= LEAST_EXACT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `check`."""
    parser.add_argument("--checkpoint", metavar="FILE", help="as the server's loader lists it; default: the graph's")
    parser.add_argument("--graph", type=Path, default=DEFAULT_GRAPH, metavar="JSON", help="default: text_edit_sd15")
    parser.add_argument("--server", "--url", default=DEFAULT_SERVER, metavar="URL", help="default: %(default)s")
    add_header(parser)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="default: a house by day, drawn")
    what = "what the picture shows; default: as it is drawn, of a picture of yours as the graph has it"
    parser.add_argument("--source", metavar="TEXT", help=what)
    parser.add_argument("--target", metavar="TEXT", help="what it is to show; by default the house at night")
    parser.add_argument("--preset", action="append", metavar="NAME", help="only these; may be repeated")
    parser.add_argument("--no-presets", action="store_true", help="only the edit as the graph has it")
    parser.add_argument("--set", action="append", default=[], metavar="TITLE.INPUT=VALUE", help="any other input")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="the networks of LPIPS and CLIP")
    parser.add_argument("--out", type=Path, default=Path("check.html"), metavar="FILE", help="default: %(default)s")


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    try:
        (client,) = clients_of([options.server], options.header)
        picture = _drawn() if options.picture is None else decode(options.picture.read_bytes()).image
        name = client.upload(png_of(picture), "check.png", "edit_folder", temporary=True)
        planned = _planned(options, name)
        measures = _measures(options.weights)
        host = client.host()
        client.free()  # what it remembers of an earlier check would take no time
    except (UsageError, EditError, EvaluationError, OSError, ValueError) as error:
        options.refuse(str(error))
    except GraphError as error:
        tqdm.write(str(error))
        return 1
    outcomes = []
    for trial in planned:
        try:
            outcomes.append(_tried(client, trial))
        except ServerGone as gone:
            tqdm.write(str(gone))
            return 1
        tqdm.write(_line(outcomes[-1]))
    prompts, title = [text or "" for text in _prompts(planned[1].graph)], options.checkpoint or options.graph.stem
    options.out.write_text(page(title, host, outcomes, prompts, measures), encoding="utf-8")
    tqdm.write(f"The page: {options.out}")
    return 0 if all(outcome.is_sound for outcome in outcomes) else 1


def _drawn() -> Image.Image:
    pixels = render(scene_of_caption(DRAWN[0], 1), DRAWN_SIZE).image
    return Image.fromarray(((pixels.transpose(1, 2, 0) + 1) * 127.5).round().astype("uint8"))


def _planned(options: argparse.Namespace, picture: str) -> list[Trial]:
    template = Template(still(read_graph(options.graph)))
    given, own = (options.source, options.target), _prompts(template.graph)
    of_picture = DRAWN if options.picture is None else own
    if options.picture is not None and options.target is None:
        tqdm.write(f"The words are those of the graph ({own[1]}): --source and --target give this picture's")
    source, target = (
        (None if there is None else default) if text is None else text
        for text, there, default in zip(given, own, of_picture, strict=True)
    )
    template.check(set(), source is not None, target is not None)
    graph = template.filled(PictureEdit("the picture", Path(), source, target, dict(_set(options.set))), picture)
    loaders = [node for node in graph.values() if node["class_type"] in LOADERS]
    if options.checkpoint is not None:
        if len(loaders) != 1:
            raise UsageError(f"the graph has {len(loaders)} loaders of a model, and --checkpoint is for one")
        loaders[0]["inputs"][LOADERS[loaders[0]["class_type"]]] = options.checkpoint
    return trials(graph, template.output, () if options.no_presets else options.preset)


def _set(texts: Sequence[str]) -> list[tuple[str, str]]:
    parts = [text.partition("=") for text in texts]
    if wrong := [name for name, equals, _ in parts if not equals or "." not in name]:
        raise UsageError(f"--set {wrong[0]}: write it as TITLE.INPUT=VALUE")
    return [(name, value) for name, _, value in parts]


def _tried(client: ComfyClient, trial: Trial) -> Outcome:
    outcome = Outcome(trial)
    start = time.perf_counter()
    try:
        with _Memory(client) as memory:
            outputs = client.run(trial.graph)
        outcome.seconds, outcome.memory = time.perf_counter() - start, memory.most
        outcome.pictures = _downloaded(client, outputs, trial.graph, trial.output)
        if trial.is_return:
            outcome.through_vae = _downloaded(client, outputs, trial.graph, THROUGH_VAE)
        outcome.said = "".join(map(str, outputs.get(SAID, {}).get("text", [])))
    except ServerGone:
        raise
    except GraphError as error:
        outcome.error = str(error)
    return outcome


def _downloaded(client: ComfyClient, outputs: dict[str, Any], graph: dict[str, Any], node: str) -> list[Image.Image]:
    files = images_of(outputs, graph, node)
    return [Image.open(io.BytesIO(client.view(file))).convert("RGB") for file in files]


class _Memory:
    """The most memory of the server's device that is in use while a run goes on, in GiB; NaN where it does not say."""

    def __init__(self, client: ComfyClient):
        self.most = math.nan
        self._client, self._ended = client, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self._look()
            if self._ended.wait(0.25):
                return

    def _look(self) -> None:
        try:
            (device, *_) = self._client.get("/system_stats")["devices"]
            used = (device["vram_total"] - device["vram_free"]) / 2**30
        except (GraphError, KeyError, TypeError, ValueError):
            return
        self.most = used if math.isnan(self.most) else max(self.most, used)


def _difference(first: Image.Image, second: Image.Image) -> int:
    """The largest difference of two pictures, of 255."""
    return max(high for _, high in ImageChops.difference(first, second).getextrema())  # type: ignore[misc]


class _Measures:
    """The metrics of `evaluate` that there are networks for."""

    def __init__(self, networks: Mapping[str, Any]):
        from ..evaluation.pictures import of_image
        from ..evaluation.protocols import BY_NAME, Pair

        self._metrics, self._networks = [BY_NAME[name] for name in METRICS], networks
        self._pair, self._of_image = Pair, of_image

    def lines(self, source: Image.Image, edited: Image.Image, prompts: Sequence[str]) -> list[str]:
        """Each metric with its value."""
        source_prompt, target_prompt = prompts
        first, second = map(self._of_image, (source, edited))
        pair = self._pair(first, second, source_prompt=source_prompt, target_prompt=target_prompt)
        values = [(metric, metric.value(pair, self._networks)) for metric in self._metrics]
        return [f"{metric.heading}: {metric.shown(value)}" for metric, value in values if not math.isnan(value)]


def _measures(folder: Path | None) -> _Measures | None:
    """None without weights.

    Raises:
        UsageError: what measuring needs is not installed.
        EvaluationError: weights that cannot be read.
    """
    if folder is None:
        return None
    try:
        from ..evaluation import weights
    except ModuleNotFoundError as missing:
        raise UsageError(f"{missing}. Run: python -m pip install -r requirements-evaluation.txt") from None
    found = weights.load(folder)
    for note in found.notes:
        tqdm.write(note)
    return _Measures(found.networks)


def _prompts(graph: Mapping[str, Any]) -> list[str | None]:
    """The source and the target prompt as the graph has them; None for none, or one from another node."""
    texts = {node.get("_meta", {}).get("title"): _text(node["inputs"]) for node in graph.values()}
    return [texts.get(title) for title in PROMPTS.values()]


def _text(inputs: Mapping[str, Any]) -> str | None:
    return next((inputs[name] for name in sorted(TEXT_INPUTS) if isinstance(inputs.get(name), str)), None)


def _line(outcome: Outcome) -> str:
    """One trial in the terminal."""
    return f"{outcome.trial.name}: {outcome.error or ', '.join(_facts(outcome))}"


def _facts(outcome: Outcome) -> list[str]:
    facts = [f"{outcome.seconds:.1f} s"]
    if rows := rows_of_network(outcome.trial.graph, outcome.said):
        facts.append(f"{rows} predictions of the network")
    if not math.isnan(outcome.memory):
        facts.append(f"{outcome.memory:.2f} GiB in use at most")
    if (differs := outcome.differs) is not None:
        verdict = "the picture came back" if outcome.is_sound else "the picture did NOT come back"
        facts.append(f"{verdict}: the largest difference is {differs} of 255")
    return facts


def page(
    checkpoint: str,
    host: Mapping[str, str | None],
    outcomes: Sequence[Outcome],
    prompts: Sequence[str],
    measures: _Measures | None = None,
) -> str:
    """The whole report as one file of HTML."""
    title = f"Check of {checkpoint}"
    source = next((outcome.through_vae[0] for outcome in outcomes if outcome.through_vae), None)
    rows = "".join(
        f"<tr><td>{escape(outcome.trial.name)}</td><td>{escape(outcome.error or '; '.join(_facts(outcome)))}</td></tr>"
        for outcome in outcomes
    )
    figures = [] if source is None else [_figure(source, "the picture through the VAE", [])]
    for outcome in outcomes:
        if outcome.pictures:
            picture = outcome.pictures[0]
            measured = [] if source is None else [_change(source, picture)]
            if measures is not None and source is not None:
                measured += measures.lines(source, picture, prompts)
            figures.append(_figure(picture, outcome.trial.name, [outcome.said, *measured]))
    about = (
        f"ComfyUI {host['comfyui_version']} on {host['device']}. The first run loads the model, which its time has too."
    )
    return (
        f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(about)}</p><table>{rows}</table>"
        f"<p>{escape(prompts[0])} &rarr; <b>{escape(prompts[1])}</b></p>{''.join(figures)}\n"
    )


def _change(source: Image.Image, picture: Image.Image) -> str:
    difference = ImageStat.Stat(ImageChops.difference(source, picture)).mean
    return f"mean difference from the picture: {sum(difference) / len(difference):.1f} of 255"


def _figure(picture: Image.Image, title: str, lines: Sequence[str]) -> str:
    shown = picture.copy()
    shown.thumbnail((SHOWN, SHOWN))
    file = io.BytesIO()
    shown.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    caption = "<br>".join([f"<b>{escape(title)}</b>", *map(escape, filter(None, lines))])
    shown_as = f'<img src="data:image/png;base64,{data}" alt="{escape(title)}">'
    return f"<figure>{shown_as}<figcaption>{caption}</figcaption></figure>"
