"""Edits by words with the transformers of today: Qwen-Image, Z-Image, Chroma, FLUX.2 Klein, Anima."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..blocks import HELPING_NOTE, IMAGE, INVERT, RESULT, SAMPLE, WORDS, conditioning
from ..graph import Group, Node, Note, Output, Workflow
from .checkpoints import GIRL, GIRL_IN_SNOW, LARGE, LOW_ROOM, file_of, loaded_apart, picture
from .edit_models import FLUX_VAE, KLEIN_CLIP, KLEIN_VAE, QWEN_CLIP, QWEN_VAE, T5

QWEN_MODEL = file_of(
    "Comfy-Org/Qwen-Image_ComfyUI", "split_files/diffusion_models/qwen_image_2512_fp8_e4m3fn.safetensors"
)
Z_MODEL = file_of("Comfy-Org/z_image_turbo", "split_files/diffusion_models/z_image_turbo_bf16.safetensors")
Z_VAE = file_of("Comfy-Org/z_image_turbo", "split_files/vae/ae.safetensors")
CHROMA_MODEL = file_of(
    "Comfy-Org/Chroma1-HD_repackaged", "split_files/diffusion_models/Chroma1-HD-fp8mixed.safetensors"
)
KLEIN_BASE = file_of("Comfy-Org/flux2-klein", "split_files/diffusion_models/flux-2-klein-base-4b.safetensors")
_ANIMA = "circlestone-labs/Anima"
ANIMA_MODEL = file_of(_ANIMA, "split_files/diffusion_models/anima-base-v1.0.safetensors")
ANIMA_CLIP = file_of(_ANIMA, "split_files/text_encoders/qwen_3_06b_base.safetensors")
ANIMA_VAE = file_of(_ANIMA, "split_files/vae/qwen_image_vae.safetensors")


def text_edit_qwen_image() -> Workflow:
    """The image's own values are shared, so that colors and texture stay."""
    graph = _Graph(QWEN_MODEL, QWEN_CLIP, QWEN_VAE, "qwen_image", shift=3.1)
    source, target = graph.pipeline.source(GIRL), graph.pipeline.target(GIRL_IN_SNOW)
    share = Node(
        "EditFriendlyShareAttention", "Hold", {"source": conditioning(source), "method": "values only", "end": 0.3}
    )
    prompts = [conditioning(source), conditioning(target)]
    return graph.held(
        "text_edit_qwen_image", [source, target, share], prompts, share["attention"], steps=50, cfg=4.0, skip_steps=15
    )


def text_edit_anima() -> Workflow:
    """Prompt-to-Prompt, for its text is read by cross-attention."""
    graph = _Graph(ANIMA_MODEL, ANIMA_CLIP, ANIMA_VAE, "stable_diffusion")
    words = graph.pipeline.prompt_to_prompt("Words", GIRL, GIRL_IN_SNOW)
    prompts = [words["source"], words["target"]]
    return graph.held("text_edit_anima", [words], prompts, words["attention"], steps=30, cfg=4.0, skip_steps=9)


def text_edit_z_image_turbo() -> Workflow:
    """Eight steps without guidance, as the model is distilled for."""
    graph = _Graph(Z_MODEL, KLEIN_CLIP, Z_VAE, "lumina2", shift=3.0)
    return graph.by_words("text_edit_z_image_turbo", steps=8, target_cfg=1.0, skip_steps=2)


def text_edit_chroma() -> Workflow:
    graph = _Graph(CHROMA_MODEL, T5, FLUX_VAE, "chroma")
    return graph.by_words("text_edit_chroma", steps=26, target_cfg=3.5, skip_steps=8, scheduler="beta")


def text_edit_flux2_klein() -> Workflow:
    """The model that is not distilled, with the levels of its own scheduler."""
    graph = _Graph(KLEIN_BASE, KLEIN_CLIP, KLEIN_VAE, "flux2")
    size = Node("GetImageSize", "Size", {"image": graph.scale["IMAGE"]}, collapsed=True)
    steps = Node("PrimitiveInt", "Steps", {"value": 20})  # in one place, as Edit takes those of its levels
    links = {"steps": steps["INT"], "width": size["width"], "height": size["height"]}
    levels = Node("Flux2Scheduler", "Levels", links, collapsed=True)
    graph.below_words += [size, steps, levels]
    settings = {"steps": steps["INT"], "target_cfg": 5.0, "skip_steps": 6, "sigmas": levels["SIGMAS"]}
    return graph.by_words("text_edit_flux2_klein", **settings)


class _Graph:
    """A model in three files and a picture, encoded."""

    def __init__(
        self, model: dict[str, str], clip: dict[str, str], vae: dict[str, str], kind: str, shift: float | None = None
    ):
        self.pipeline, loaders = loaded_apart(model, clip, vae, kind)
        if shift is not None:
            moved = Node(
                "ModelSamplingAuraFlow", "Shift", {"model": self.pipeline.model, "shift": shift}, collapsed=True
            )
            self.pipeline.model = moved["MODEL"]
            loaders.append(moved)
        image, self.scale = picture(LARGE, LOW_ROOM)
        self.scale.collapsed = True
        self.encoded = self.pipeline.encode(self.scale["IMAGE"])
        self.before = [*loaders, image, self.scale, self.encoded]
        self.below_words: list[Node] = []

    def by_words(self, name: str, **values: Any) -> Workflow:
        """In one pass, without noise of its own (FlowEdit): the source by the model's own prediction, without guidance.

        Args:
            values: of Edit Image.
        """
        source, target, empty = self.pipeline.source(GIRL), self.pipeline.target(GIRL_IN_SNOW), self.pipeline.empty()
        settings: dict[str, Any] = {"source_cfg": 1.0, "eta": 0.0, "scheduler": "simple", **values}
        edit = self.pipeline.in_one_pass(self.encoded["LATENT"], source, target, empty, **settings)
        return self._shown(name, [source, target, empty], [], edit)

    def held(
        self,
        name: str,
        words: Sequence[Node],
        prompts: Sequence[Output],
        attention: Output,
        steps: int,
        cfg: float,
        skip_steps: int,
    ) -> Workflow:
        """Through noise maps, for a prompt of another length has calls of its own, where one pass has no attention."""
        (source, target), empty = prompts, self.pipeline.empty()
        made: dict[str, Any] = {"steps": steps, "cfg": 1.0, "scheduler": "simple", "seed": 1}
        invert = self.pipeline.invert("Invert", self.encoded["LATENT"], source, empty, **made)
        settings = {"cfg": cfg, "skip_steps": skip_steps, "attention": attention}
        edit = self.pipeline.sample("Edit", invert, target, empty, **settings)
        return self._shown(name, [*words, empty], [invert], edit)

    def _shown(self, name: str, words: Sequence[Node], invert: Sequence[Node], edit: Node) -> Workflow:
        result = self.pipeline.compared(self.scale["IMAGE"], edit["latent"], name)
        groups = [
            ("Image and model", IMAGE, self.before),
            ("Words", WORDS, [*words, *self.below_words]),
            ("Invert", INVERT, invert),
            ("Edit", SAMPLE, [edit]),
            ("Result", RESULT, result),
        ]
        shown = enumerate((group for group in groups if group[2]), 1)
        columns = [[Group(f"{number}  {title}", color, [list(nodes)])] for number, (title, color, nodes) in shown]
        note = Note(name, HELPING_NOTE) if invert else Note(name)
        return Workflow([[note], *columns])
