"""Networks of the metrics, loaded from a folder that the user names; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import EvaluationError
from .clip import FolderClip
from .perceptual import LocalLpips
from .protocols import METRICS, Networks
from .structure import DinoStructure

REQUIREMENTS = "requirements-evaluation.txt"
PINNED = {"timm", "torchmetrics"}  # in that file; ComfyUI brings the others
_OF_CLIP = ("config.json", "model.safetensors", "vocab.json", "merges.txt")
_OPTIONAL = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Network:
    """A network and its place in the folder of weights.

    Args:
        place: a file, or a folder with the files `parts`.
        packages: the Python packages that load it.
        digest: first digits of the published file's SHA-256; "" if unknown.
    """

    place: str
    load: Callable[[Path, str], Any]
    packages: tuple[str, ...]
    parts: tuple[str, ...] = ()
    digest: str = ""

    def files(self, folder: Path) -> list[Path]:
        """Its existing files."""
        named = [*self._needed(folder), *(folder / self.place / name for name in _OPTIONAL if self.parts)]
        return [file for file in named if file.is_file()]

    def missing(self, folder: Path) -> str:
        """The first missing file; "" if all exist."""
        return next((str(file) for file in self._needed(folder) if not file.is_file()), "")

    def _needed(self, folder: Path) -> list[Path]:
        place = folder / self.place
        return [place / name for name in self.parts] if self.parts else [place]


_OF_LPIPS = ("torchvision", "torchmetrics")
NETWORKS = {
    "clip_l14": Network("clip-vit-large-patch14", FolderClip, ("transformers", "safetensors"), _OF_CLIP),
    "clip_b32": Network("clip-vit-base-patch32", FolderClip, ("transformers", "safetensors"), _OF_CLIP),
    "dino": Network("dino_vitbase8_pretrain.pth", DinoStructure, ("timm",)),
    "lpips_squeeze": Network(
        "squeezenet1_1-b8a52dc0.pth", partial(LocalLpips, "squeeze"), _OF_LPIPS, digest="b8a52dc0"
    ),
    "lpips_alex": Network("alexnet-owt-7be5be79.pth", partial(LocalLpips, "alex"), _OF_LPIPS, digest="7be5be79"),
}


@dataclass(frozen=True)
class Weights:
    """The loaded networks.

    Args:
        networks: by name.
        digests: SHA-256 of each file read, by its path in the folder.
        notes: a line for each missing network and each file that is not the published one.
    """

    networks: Networks
    digests: dict[str, str]
    notes: tuple[str, ...]


def load(folder: Path | None, device: str = "cpu") -> Weights:
    """Load the networks whose files are in the folder; none without a folder.

    Raises:
        EvaluationError: the folder is missing, or a file in it is damaged or holds something else.
    """
    if folder is not None and not folder.is_dir():
        raise EvaluationError(f"there is no folder of weights {folder}")
    networks: dict[str, Any] = {}
    digests: dict[str, str] = {}
    notes = []
    for name, network in NETWORKS.items():
        reason = _reason_against(network, folder)
        if folder is None or reason:
            notes.append(f"Without {', '.join(_metrics_of(name))}: {reason}")
            continue
        networks[name] = _loaded(network, folder, device)
        found = {file.relative_to(folder).as_posix(): _digest_of(file) for file in network.files(folder)}
        digests |= found
        notes += [
            f"{file} is not the published file: its SHA-256 begins with {digest[:8]}"
            for file, digest in found.items()
            if not digest.startswith(network.digest)
        ]
    return Weights(networks, digests, tuple(notes))


def _reason_against(network: Network, folder: Path | None) -> str:
    """Why a network cannot be loaded; "" if it can."""
    if folder is None:
        return f"it takes {network.place} in a folder named with --weights"
    if missing := network.missing(folder):
        return f"there is no {missing}"
    lacking = [package for package in network.packages if importlib.util.find_spec(package) is None]
    install = f"-r {REQUIREMENTS}" if set(lacking) & PINNED else " ".join(lacking)
    return f"it takes {' and '.join(lacking)}: pip install {install}" if lacking else ""


def _loaded(network: Network, folder: Path, device: str) -> Any:
    try:
        return network.load(folder / network.place, device)
    except Exception as error:  # each library raises its own for a damaged file
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise EvaluationError(
            f"the weights {folder / network.place} cannot be read: {what}. Is the file whole, and what its name says? "
            "Get it again, or take it out of the folder"
        ) from error


def _metrics_of(network: str) -> list[str]:
    return [metric.name for metric in METRICS if metric.needs == network]


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        digest = hashlib.sha256()
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
