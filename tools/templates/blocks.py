"""What the example graphs have in common: the way from an image and words to noise maps and back to an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demo.scenes import SIZE
from tools.lab.settings import ColorEdit, LabSettings

from .graph import Group, Node, Note, Output, Wire

# Frames: what the graph starts from, the words, the inversion, the sampling, the results.
IMAGE, WORDS, INVERT, SAMPLE, RESULT = "#3f789e", "#88AA88", "#a1309b", "#8888AA", "#b58b2a"
SOURCE_COLORS = {"color": "#223", "bgcolor": "#335"}
TARGET_COLORS = {"color": "#232", "bgcolor": "#353"}

TEXT_ROOM = 8  # for a prompt of two lines
IMAGE_ROOM = 240
RESULT_WIDTH = 266
COMPARED_WIDTH, COMPARED_ROOM, SAVED_ROOM = 260, 110, 180
NARROW_NOTE = 250  # where a graph has five groups beside it
HELPING_NOTE = 290  # the same, beside results of COMPARED_WIDTH
PREVIEW_WIDTH = 230  # a little more than the least that Nodes 2.0 gives a node

TUNED, TUNED_COLOR = LabSettings(), ColorEdit()
DEMO_INVERSION: dict[str, Any] = {"steps": TUNED.steps, "cfg": TUNED.cfg_source, "seed": 1}
DEMO_EDIT = {"cfg": TUNED.cfg_target, "skip_steps": TUNED.skip_steps}
STRONG_EDIT = {"cfg": 3.0, "skip_steps": 0}  # so that it takes something to hold the image
REPLAY = {"cfg": TUNED.cfg_source, "skip_steps": 0}  # the inversion's cfg, from its first step
RECOLOR = {
    "strength": TUNED_COLOR.strength,
    "start_percent": TUNED_COLOR.start,
    "end_percent": TUNED_COLOR.end,
}


class Pipeline:
    """A model, its text encoder and its VAE, with the nodes that are built from them."""

    def __init__(self, model: Wire, clip: Wire, vae: Wire):
        self.model = model
        self.clip = clip
        self.vae = vae

    def prompt(self, title: str, text: str | Wire, colors: Mapping[str, str] | None = None) -> Node:
        return Node("CLIPTextEncode", title, {"clip": self.clip, "text": text}, room=TEXT_ROOM, colors=colors or {})

    def source(self, text: str | Wire) -> Node:
        return self.prompt("Source prompt", text, SOURCE_COLORS)

    def target(self, text: str | Wire) -> Node:
        return self.prompt("Target prompt", text, TARGET_COLORS)

    def empty(self) -> Node:
        """Nothing to write there, so it is a title bar only."""
        inputs = {"clip": self.clip, "text": ""}
        return Node("CLIPTextEncode", "Empty prompt", inputs, collapsed=True)

    def prompt_to_prompt(self, title: str, source: str | Output, target: str | Output, **values: Any) -> Node:
        inputs = {"clip": self.clip, "source_text": source, "target_text": target}
        return Node("EditFriendlyPromptToPrompt", title, inputs | values, room=2 * TEXT_ROOM)

    def encode(self, pixels: Wire) -> Node:
        return Node("VAEEncode", "Encode", {"pixels": pixels, "vae": self.vae}, collapsed=True)

    def decode(self, samples: Output) -> Node:
        return Node("VAEDecode", "Decode", {"samples": samples, "vae": self.vae}, collapsed=True)

    def compared(self, image: Wire, samples: Output, filename_prefix: str, width: int = COMPARED_WIDTH) -> list[Node]:
        """From a latent to a file, and to one view of the picture before and after."""
        decoded = self.decode(samples)
        return [decoded, *compared(image, decoded["IMAGE"], filename_prefix, width)]

    def invert(
        self,
        title: str,
        latent: Output,
        positive: Node | Output,
        negative: Node,
        node_id: str = "EditFriendlyInvert",
        **values: Any,
    ) -> Node:
        links = {"latent_image": latent, **self._conditioned(positive, negative)}
        return Node(node_id, title, links | values, live_preview=True)

    def sample(self, title: str, noise_maps: Node, positive: Node | Output, negative: Node, **values: Any) -> Node:
        links = {"noise_maps": noise_maps["noise_maps"], **self._conditioned(positive, negative)}
        return Node("FixedNoiseSampler", title, links | values, live_preview=True)

    def keep(self, latent: Output, **values: Any) -> Node:
        """The model with Keep Image, which holds an encoded image."""
        settings = {"where": "where it agrees", "amount": 1.0, "tolerance": 0.15}
        return Node("EditFriendlyKeepImage", "Keep", {"model": self.model, "latent_image": latent} | settings | values)

    def in_one_pass(
        self, latent: Output, source: Node | Output, target: Node | Output, negative: Node, **values: Any
    ) -> Node:
        """Edit Image from a source prompt to a target prompt."""
        links = {"model": self.model, "source": conditioning(source), "target": conditioning(target)}
        links |= {"negative": conditioning(negative), "latent_image": latent}
        return Node("EditFriendlyEdit", "Edit", links | {"seed": 1} | values, live_preview=True)

    def _conditioned(self, positive: Node | Output, negative: Node) -> dict[str, Wire]:
        return {"model": self.model, "positive": conditioning(positive), "negative": conditioning(negative)}


class DemoPipeline(Pipeline):
    """The bundled model."""

    def __init__(self) -> None:
        self.loader = Node("EditFriendlyLoadDemoModel", "Demo model")
        super().__init__(self.loader["model"], self.loader["clip"], self.loader["vae"])

    def edit(self, title: str, noise_maps: Node, target: Node | Output, empty: Node, **values: Any) -> Node:
        """At the settings of the demo model, but for `values`."""
        return self.sample(title, noise_maps, target, empty, **DEMO_EDIT | values)

    def replay(self, title: str, noise_maps: Node, prompt: Node, empty: Node) -> Node:
        """What the noise maps hold, under the prompt that they were made with."""
        return self.sample(title, noise_maps, prompt, empty, **REPLAY)

    def shown(self, title: str, samples: Output) -> list[Node]:
        """From a latent to a preview."""
        decoded = self.decode(samples)
        return [decoded, preview(title, decoded["IMAGE"])]

    def saved(self, title: str, samples: Output, filename_prefix: str, width: int = RESULT_WIDTH) -> list[Node]:
        """From a latent to a file and a large preview: the result of the graph."""
        decoded = self.decode(samples)
        return [decoded, save(title, decoded["IMAGE"], filename_prefix, width)]

    def four_in_one(self, first: Output, second: Output, third: Output, fourth: Output) -> list[Node]:
        """From four latents to one picture, two above two."""
        left, right, low, last = decoded = [self.decode(samples) for samples in (first, second, third, fourth)]
        above, below = joined(left, right, "right"), joined(low, last, "right")
        return [*decoded, above, below, joined(above, below, "down")]


class DemoScene(DemoPipeline):
    """The bundled model with one of its scenes, encoded, and the mask of a part of it."""

    def __init__(self, scene: str, seed: int, part: str = "object"):
        super().__init__()
        self.image = Node("EditFriendlyLoadDemoImage", "Image", {"scene": scene, "seed": seed, "part": part})
        self.encoded = self.encode(self.image["image"])

    @property
    def latent(self) -> Output:
        return self.encoded["LATENT"]

    def caption(self) -> Node:
        """The scene's own words as the source prompt."""
        return self.source(self.image["caption"])

    def words(self, target: str) -> tuple[Node, Node, Node]:
        """The source prompt, which is the caption, the target prompt, and the empty one."""
        return self.caption(), self.target(target), self.empty()

    def group(self, *more: Node) -> Group:
        """The frame that a graph with a scene starts with: the image, what is made of it, and the words."""
        title = "1  Image and words" if more else "1  Image"
        return Group(title, IMAGE, [[self.loader, self.image, self.encoded, *more]])

    def opening(self, note: str, *more: Node) -> list[list[Group | Note]]:
        """The first two columns of a graph: what it is for; the image with what is made of it and the words."""
        return [[Note(note)], [self.group(*more)]]

    def two_results(
        self, number: int, first: tuple[str, Node], second: tuple[str, Node], filename_prefix: str
    ) -> list[list[Group | Note]]:
        """The last columns of a graph that samples twice: the samplers, given with titles for their pictures, which
        are below them; the image itself.

        On a laptop they open large enough to be read, and nothing is behind the minimap.

        Args:
            number: of the first column.
        """
        shown = [first[1], *self.shown(first[0], first[1]["latent"])]
        saved = [second[1], *self.saved(second[0], second[1]["latent"], filename_prefix, PREVIEW_WIDTH)]
        saved[-1].room = SAVED_ROOM
        return [
            [Group(f"{number}  Sample", SAMPLE, [shown, saved])],
            [Group(f"{number + 1}  Before", RESULT, [[original(self.image["image"])]])],
        ]

    def inverted(
        self,
        positive: Node | Output,
        empty: Node,
        title: str = "Invert",
        node_id: str = "EditFriendlyInvert",
        **values: Any,
    ) -> Node:
        """Noise maps of the scene, at the settings of the demo model but for `values`."""
        return self.invert(title, self.latent, positive, empty, node_id, **DEMO_INVERSION | values)

    def inverted_without_prompt(self, empty: Node) -> Node:
        return self.inverted(empty, empty, "Invert without a prompt")

    def recolor(self, noise_maps: Node, color: Node) -> Node:
        """Eq. 7 under the mask of the scene's part."""
        links = {
            "noise_maps": noise_maps["noise_maps"],
            "mask": self.image["mask"],
            "color": color["LATENT"],
        }
        return Node("MaskColorEdit", "Recolor", links | RECOLOR)


def conditioning(prompt: Node | Output) -> Output:
    """What a node of a prompt gives, or one output of a node that gives several."""
    return prompt if isinstance(prompt, Output) else prompt["CONDITIONING"]


def original(image: Output, room: int = 0) -> Node:
    return preview("Original", image, room=room)


def plain(title: str, color: int) -> Node:
    """An image of one color, in the size of a scene."""
    return Node("EmptyImage", title, {"width": SIZE, "height": SIZE, "color": color})


def joined(first: Node, second: Node, direction: str) -> Node:
    """Two pictures as one; joined as latents, the decoder would make a seam of them."""
    inputs = {"image1": first["IMAGE"], "image2": second["IMAGE"], "direction": direction}
    return Node("ImageStitch", "Join", inputs, collapsed=True)


def pasted_under(mask: Wire, edited: Output, image: Wire) -> Node:
    """The edited picture under the mask, and around it the image itself."""
    inputs = {"destination": image, "source": edited, "x": 0, "y": 0, "resize_source": False, "mask": mask}
    return Node("ImageCompositeMasked", "Paste", inputs, collapsed=True)


def compared(image: Wire, edited: Output, filename_prefix: str, width: int = COMPARED_WIDTH) -> list[Node]:
    """The file of an edited picture, and both under one slider, which Nodes 2.0 alone shows."""
    both = {"image_a": image, "image_b": edited}
    saved = save("Edited", edited, filename_prefix, width)
    saved.room = SAVED_ROOM
    return [saved, Node("ImageCompare", "Before and after", both, width, room=COMPARED_ROOM)]


def preview(title: str, image: Output, width: int = PREVIEW_WIDTH, room: int = 0) -> Node:
    return Node("PreviewImage", title, {"images": image}, width, room=room or max(IMAGE_ROOM, width))


def save(title: str, image: Output, filename_prefix: str, width: int = RESULT_WIDTH) -> Node:
    inputs = {"images": image, "filename_prefix": f"edit_friendly/{filename_prefix}"}
    return Node("SaveImage", title, inputs, width, room=max(IMAGE_ROOM, width))
