"""Cost of the networks of `python -m tools.batch evaluate`: for an edit of 512 x 512 pixels, and for a further method.

    python -m tools.benchmarks.evaluation_cost
    python -m tools.benchmarks.evaluation_cost --device cuda --edits 50

The networks have their real sizes and random weights; about 3 GB go into a temporary folder. A further method's edit
of the same picture is cheaper, since what is known of the source is kept. On a CPU the seconds are those of one core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from ..evaluation import weights
from ..evaluation.protocols import METRICS, Pair

CLIPS = {
    "clip-vit-large-patch14": (1024, 24, 16, 14, 768, 12),
    "clip-vit-base-patch32": (768, 12, 12, 32, 512, 8),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--edits", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        save_networks(Path(folder))
        networks = weights.load(Path(folder), options.device).networks
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    seconds = measure(networks, options.edits, clock)
    total = {which: sum(seconds[which].values()) for which in seconds}
    print(f"{'needs':16}{'first method, s':>18}{'share':>8}{'further, s':>14}")
    for needs in seconds["first"]:
        first, further = (seconds[which][needs] / options.edits for which in ("first", "further"))
        print(f"{needs:16}{first:>18.2f}{seconds['first'][needs] / total['first']:>8.2f}{further:>14.2f}")
    print(f"{'all':16}{total['first'] / options.edits:>18.2f}{'':8}{total['further'] / options.edits:>14.2f}")


def measure(networks: weights.Networks, edits: int, clock: Callable[[], float]) -> dict[str, dict[str, float]]:
    """Seconds by network, for the first method and for a further one, summed over the edits."""
    seconds: dict[str, dict[str, float]] = {which: defaultdict(float) for which in ("first", "further")}
    mask = torch.zeros(512, 512, dtype=torch.bool)
    mask[100:300, 100:300] = True
    for seed in range(edits):
        generator = torch.Generator().manual_seed(seed)
        source, *edited = torch.randint(256, (3, 512, 512, 3), generator=generator, dtype=torch.uint8)
        for which, edit in zip(seconds, edited, strict=True):
            pair = Pair(source, edit, mask, f"a photo of {seed}", f"a painting of {seed}")
            for metric in METRICS:
                start = clock()
                metric.value(pair, networks)
                seconds[which][metric.needs or "pixels"] += clock() - start
    return seconds


def save_networks(folder: Path) -> None:
    """Random weights of the real sizes, in the layout that `--weights` wants."""
    import torchvision
    from timm.models.vision_transformer import VisionTransformer
    from transformers import CLIPConfig, CLIPModel

    for name, (width, layers, heads, patch, text_width, text_heads) in CLIPS.items():
        vision = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "patch_size": patch}
        text = {"hidden_size": text_width, "num_attention_heads": text_heads, "intermediate_size": 4 * text_width}
        vision |= {"intermediate_size": 4 * width}
        CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=text_width)).save_pretrained(
            folder / name
        )
        _save_tokenizer(folder / name)
    dino = VisionTransformer(patch_size=8, num_classes=0)
    torch.save(dino.state_dict(), folder / weights.NETWORKS["dino"].place)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / weights.NETWORKS["lpips_squeeze"].place)
    torch.save(torchvision.models.alexnet().state_dict(), folder / weights.NETWORKS["lpips_alex"].place)


def _save_tokenizer(folder: Path) -> None:
    letters = [chr(code) for code in range(33, 127)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")


if __name__ == "__main__":
    main()
