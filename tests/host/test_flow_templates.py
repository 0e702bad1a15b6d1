"""The templates for flow models and edit models, and that with SAM3, executed with random weights of their layouts.

In this process, for their text encoders have one size, of many gigabytes: what the loaders of a graph would give is
handed to it, and all else is the host's and the pack's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import pytest
import torch

from run import NEWEST
from support.families import FAMILIES
from support.families.family import TOKENS, Family
from tools.benchmarks.random_weights import randomize

API = Path(__file__).parents[2] / "workflows" / "api"
KINDS = {"text_edit_sd3": "flow", "text_edit_flux": "flux", "text_edit_video": "wan", "text_edit_sound": "ace"}
KINDS |= {"text_edit_sam3_mask": "sdxl", "text_edit_wan22": "wan"}
KINDS |= {"text_edit_mask": "sdxl", "text_edit_flux_mask": "flux"}
FAMILY = {
    "keep_image_flux2_klein": "Flux2 Klein",
    "keep_image_qwen_edit": "QwenImage",
    "keep_image_flux_kontext": "Flux",
    "text_edit_qwen_image": "QwenImage",
    "text_edit_z_image_turbo": "ZImage",
    "text_edit_flux2_klein": "Flux2 Klein",
    "text_edit_chroma": "Chroma",
    "text_edit_anima": "Anima",
}
SMALL_SAM3 = {"embed_dim": 64, "depth": 1, "global_att_blocks": (), "d_model": 32, "mem_dim": 32, "num_queries": 8}
SAM3 = Family(  # which has pictures of 1008 x 1008 pixels at any width
    "SAM31",
    SMALL_SAM3 | {"image_model": "SAM31"},
    text=(TOKENS, 64),
    masked=2,
    cut="diffusion_model.detector.transformer.encoder.layers",
)
CUT = "ImageFromBatch"  # older hosts define it only in a server
SIDE, FRAMES = 64, 5
SECONDS = 2
SMALL = SIDE * SIDE / 2**20  # megapixels


class Words:
    """A CLIP: a random conditioning of a kind of model for each text."""

    def __init__(self, encode):
        self.encode = encode

    def tokenize(self, text: str, lyrics: str = "", images: Sequence[torch.Tensor] = (), **_: str) -> str:
        return text + lyrics + "." * len(images)

    def encode_from_tokens_scheduled(self, text: str):
        return self.encode(sum(map(ord, text)))


class WordsOfAnima:
    """Stands where a graph has Anima's text encoder: its tokenizer, and vectors that the tokens draw."""

    def __init__(self):
        from comfy.text_encoders.anima import AnimaTokenizer

        self.tokenizer = AnimaTokenizer()
        self.tokenize = self.tokenizer.tokenize_with_weights

    def encode_from_tokens_scheduled(self, tokens):
        qwen, t5 = (torch.tensor([token[0] for token in tokens[name][0]]) for name in ("qwen3_06b", "t5xxl"))
        generator = torch.Generator().manual_seed(int(qwen.sum()))
        vectors = torch.randn((1, len(qwen), 1024), generator=generator)
        return [[vectors, {"t5xxl_ids": t5, "t5xxl_weights": torch.ones(len(t5))}]]


class Mosaic:
    """A VAE whose latents are the mean colors of cells, over and over.

    Of a picture of any size there are as many cells: a text encoder that enlarges one to a megapixel stays fast.
    """

    def __init__(self, channels: int, cell: int, frames: bool = False):
        self.channels, self.cell, self.frames = channels, cell, frames

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        colors = torch.nn.functional.adaptive_avg_pool2d(pixels[..., :3].movedim(-1, 1), SIDE // self.cell)
        latent = colors.repeat(1, self.channels // 3 + 1, 1, 1)[:, : self.channels]
        return latent[:, :, None] if self.frames else latent

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        latent = latent[:, :, 0] if self.frames else latent
        return latent[:, :3].repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3).movedim(1, -1)


@pytest.fixture(scope="session")
def random_vae(comfy):
    """random_vae(kind): a VAE of 16 channels, of images or of videos; of Flux 2, one of 128 in cells of 16 pixels; of
    SDXL, one of 4."""
    framed = Mosaic(16, 8, frames=True)
    mosaics = {"Flux2 Klein": Mosaic(128, 16), "QwenImage": framed, "Anima": framed, "sdxl": Mosaic(4, 8)}

    @cache
    def make(kind: str):
        import comfy.ldm.wan.vae
        import comfy.taesd.taesd

        if kind in mosaics:
            return mosaics[kind]
        if kind != "wan":
            vae = comfy.taesd.taesd.TAESD(latent_channels=16)
            for part in (vae.taesd_encoder, vae.taesd_decoder):
                randomize(part, seed=3)
        else:
            sizes = {"dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_scales": []}
            vae = comfy.ldm.wan.vae.WanVAE(**sizes, temperal_downsample=[False, True, True])
            randomize(vae, seed=3)
        return comfy.sd.VAE(sd=vae.state_dict())

    return make


@pytest.fixture
def run_template(comfy, pack, host_node, random_model, random_vae, sound_vae, conditioning, monkeypatch):
    """run_template(name, **changes): the inputs of each node by its title, the rows of each call of the model, and the
    guidance that each call is told.

    Args:
        changes: inputs by the titles of their nodes.
    """

    def loaded(kind: str, graph: dict, model) -> dict:
        prompt = FAMILIES[kind].prompt if kind in FAMILIES else partial(conditioning, kind)
        clip = WordsOfAnima() if kind == "Anima" else Words(prompt)
        vae = sound_vae(kind) if kind == "ace" else random_vae(kind)
        pixels = torch.rand((FRAMES if kind == "wan" else 1, 80, 72, 3), generator=torch.Generator().manual_seed(0))
        painted = torch.zeros((1, 80, 72))
        painted[:, 20:50, 10:40] = 1
        waveform = torch.randn((1, 2, SECONDS * 44100), generator=torch.Generator().manual_seed(0)) / 4
        given = {
            "CheckpointLoaderSimple": (model, clip, vae),
            "UNETLoader": (model,),
            "CLIPLoader": (clip,),
            "DualCLIPLoader": (clip,),
            "VAELoader": (vae,),
            "LoadImage": (pixels, painted),
            "LoadAudio": ({"waveform": waveform, "sample_rate": 44100},),
            "GetVideoComponents": (pixels, None, 16.0),
            CUT: (pixels,),
            "GetImageSize": (SIDE, SIDE),  # the host's tells it to the page, too
            "FluxKontextImageScale": (pixels[:, :SIDE, :SIDE],),  # the host's is of a megapixel
        }
        outputs = {node: given[entry["class_type"]] for node, entry in graph.items() if entry["class_type"] in given}
        titled = {entry["_meta"]["title"]: node for node, entry in graph.items()}
        if "SAM3" in titled:
            outputs[titled["SAM3"]] = SAM3.model(comfy), Words(SAM3.prompt)
        if "Mask" in titled:  # newer mask editors save the picture black under the paint
            outputs[titled["Mask"]] = pixels * (1 - painted[..., None]), painted
        return outputs

    def run(name: str, **changes: dict):
        graph, kind = json.loads((API / f"{name}.json").read_text()), (KINDS | FAMILY)[name]
        model = FAMILIES[kind].model(comfy) if kind in FAMILIES else random_model(kind)
        rows, told = [], []
        apply_model = model.model.apply_model

        def counted(x, timestep, **c):
            rows.append(len(x))
            told.append(c.get("guidance"))
            return apply_model(x, timestep, **c)

        monkeypatch.setattr(model.model, "apply_model", counted)
        outputs, seen = loaded(kind, graph, model), {}

        def output_of(value):
            if not (isinstance(value, list) and value[0] in graph):
                return value
            node, index = value
            if node not in outputs:
                node_id = graph[node]["class_type"]
                run_node = partial(pack.run, node_id) if hasattr(pack, node_id) else partial(host_node, node_id)
                outputs[node] = run_node(**inputs_of(node))
            return outputs[node][index]

        def inputs_of(node: str) -> dict:
            title, inputs = graph[node]["_meta"]["title"], dict(graph[node]["inputs"])
            if "megapixels" in inputs:
                inputs["megapixels"] = SMALL
            inputs |= changes.get(title, {})
            seen[title] = {key: output_of(value) for key, value in inputs.items()}
            return seen[title]

        with torch.inference_mode():  # as a server runs a graph
            for node, entry in graph.items():
                if entry["class_type"] in ("SaveImage", "CreateVideo", "SaveAudio", "ImageCompare"):
                    inputs_of(node)
        return seen, rows, told

    return run


@pytest.mark.parametrize(
    ("name", "steps", "rows", "settings"),
    [
        ("text_edit_sd3", 33, 4, {"source_cfg": 3.5, "target_cfg": 13.5, "eta": 0.0, "skip_steps": 17}),
        ("text_edit_flux", 24, 2, {"source_cfg": 1.0, "target_cfg": 1.0, "eta": 0.0, "skip_steps": 4}),
        ("text_edit_video", 33, 4, {"source_cfg": 3.5, "target_cfg": 10.0, "eta": 0.0, "skip_steps": 17}),
        ("text_edit_wan22", 14, 4, {"source_cfg": 1.0, "target_cfg": 3.5, "eta": 0.0, "skip_steps": 6}),
    ],
)
def test_a_template_edits_at_its_settings(run_template, name, steps, rows, settings):
    seen, called, told = run_template(name)
    edit = seen["Edit"]
    assert {key: edit[key] for key in settings} == settings
    guided = (settings[f"{side}_cfg"] > 1 for side in ("source", "target"))
    check = [1 + each for each in guided]  # the first call that both prompts share is checked
    assert called == check + [rows] * steps
    is_video = "Put together" in seen
    edited = seen["Put together" if is_video else "Edited"]["images"]
    assert edited.shape == (FRAMES if is_video else 1, SIDE, SIDE, 3)
    assert edited.isfinite().all() and edited.std() > 0.01
    if name == "text_edit_flux":  # FlowEdit's for Flux, told with each prompt
        assert all(guidance.tolist() == [1.5, 5.5] for guidance in told[len(check) :])


@pytest.mark.parametrize(
    ("name", "steps", "cfg", "rows"),
    [
        ("text_edit_z_image_turbo", 8, 1.0, 2 + 6 * 2),
        ("text_edit_flux2_klein", 20, 5.0, 3 + 14 * 4),
        ("text_edit_chroma", 26, 3.5, 3 + 18 * 4),
        ("text_edit_qwen_image", 50, 4.0, 50 + 15 * 4 + 20 * 2),
        ("text_edit_anima", 30, 4.0, 30 + 18 * 3 + 3 * 2),
    ],
)
def test_a_template_of_a_transformer_edits_and_under_its_own_words_gives_the_image_back(
    run_template, name, steps, cfg, rows
):
    seen, called, _ = run_template(name)
    (invert, edit), held = (seen.get(title, {}) for title in ("Invert", "Edit")), "Invert" in seen
    assert ((invert or edit)["steps"], edit["cfg" if held else "target_cfg"]) == (steps, cfg)
    assert ("attention" in edit) == held
    assert sum(called) == rows, called
    image, edited = (invert or edit)["latent_image"]["samples"], seen["Decode"]["samples"]["samples"]
    assert edited.shape == image.shape and edited.isfinite().all()
    assert (edited - image).abs().max() > 1e-3 * image.std()
    source = seen["Words"]["source_text"] if "Words" in seen else seen["Source prompt"]["text"]
    same = {"Words": {"target_text": source}, "Target prompt": {"text": source}}
    back, _, _ = run_template(name, **same, Edit={"cfg" if held else "target_cfg": 1.0})
    assert (back["Decode"]["samples"]["samples"] - image).abs().max() <= 1e-5 * image.abs().max()


def assert_edited_under(mask: torch.Tensor, seen: dict) -> None:
    """Of all pixels only those under a mask, and none of them black before."""
    assert mask.shape == (1, SIDE, SIDE) and 0 < mask.mean() < 1
    edited, image = seen["Decode"]["samples"]["samples"], seen["Edit"]["latent_image"]["samples"]
    assert (edited - image).abs().max() > 1e-3 * image.std()
    before, after = (seen["Before and after"][name] for name in ("image_a", "image_b"))
    assert torch.equal(after, seen["Edited"]["images"])
    assert torch.equal(after[mask == 0], before[mask == 0])
    assert (after - before)[mask > 0].abs().max() > 0.01
    assert before[mask > 0.99].mean() > 0.3


@pytest.mark.parametrize(
    ("name", "few", "rows"),
    [
        ("text_edit_mask", {"steps": 4, "skip_steps": 1}, 3 * 4),
        ("text_edit_flux_mask", {}, 2 + 2 + 24 * 2),  # a call is checked of each prompt, and one of both
    ],
)
def test_a_template_edits_under_the_mask_that_is_painted_and_nothing_else(run_template, name, few, rows):
    seen, called, told = run_template(name, Edit=few)
    assert sum(called) == rows, called
    assert_edited_under(seen["Edit"]["mask"], seen)
    with pytest.raises(ValueError, match="the mask is empty.*paint one"):
        run_template(name, Edit=few, **{"Mask as image": {"mask": torch.zeros((1, 64, 64))}})
    if name == "text_edit_flux_mask":  # KV-Edit's: what is around the mask is held
        assert told[-1].tolist() == [1.5, 5.5]
        assert seen["Hold"]["mask"] is seen["Edit"]["mask"] and seen["Hold"]["source"] is seen["Edit"]["source"]
        bare, *_ = run_template(name, Edit={"attention": None})
        held, free = (each["Decode"]["samples"]["samples"] for each in (seen, bare))
        assert (held - free).abs().max() > 1e-3 * held.std()


def test_a_template_edits_what_sam3_finds_and_nothing_else(run_template, comfy):
    if not SAM3.is_in(comfy):
        pytest.skip(f"SAM3 is in newer versions: python run.py test --comfyui {NEWEST}")
    few = {"Edit": {"steps": 4, "skip_steps": 1}}
    seen, _, _ = run_template("text_edit_sam3_mask", Find={"threshold": 0.0, "refine_iterations": 1}, **few)
    assert_edited_under(seen["Edit"]["mask"], seen)
    with pytest.raises(ValueError, match="the mask is empty.*lower the threshold of the node that finds it"):
        run_template("text_edit_sam3_mask", Find={"threshold": 1.0}, **few)


def test_the_template_of_sound_edits_at_its_settings(run_template):
    seen, called, _ = run_template("text_edit_sound")
    assert called == [1] * 50 + [2] * 35  # without guidance, then with
    assert {key: seen["Edit"][key] for key in ("cfg", "skip_steps")} == {"cfg": 5.0, "skip_steps": 15}
    assert seen["Edit"]["mask"].shape == (1, 1, 100 * SECONDS) and seen["Edit"]["mask"].min() == 1
    source, target = seen["Invert"]["positive"][0][1], seen["Edit"]["positive"][0][1]
    assert not torch.equal(source["conditioning_lyrics"], target["conditioning_lyrics"])  # of the random encoder
    edited, encoded = seen["Decode"]["samples"]["samples"], seen["Invert"]["latent_image"]["samples"]
    cells = SECONDS * 44100 // 4096
    assert edited.shape == encoded.shape == (1, 8, 16, cells)
    assert (edited - encoded).std() > 0.1 * encoded.std()
    sound = seen["Edited"]["audio"]
    assert sound["waveform"].shape == (1, 2, 4096 * cells) and sound["sample_rate"] == 44100
    assert sound["waveform"].isfinite().all() and sound["waveform"].std() > 0


@pytest.mark.parametrize(
    ("name", "rows"),
    [("keep_image_flux2_klein", 4), ("keep_image_qwen_edit", 2 * 20), ("keep_image_flux_kontext", 20)],
)
def test_a_template_keeps_the_image_while_an_edit_model_works(run_template, name, rows):
    """At no further call; held everywhere, the image comes out, which the model and Keep have both been told."""
    seen, called, told = run_template(name)
    assert sum(called) == rows
    image = seen["Keep"]["latent_image"]["samples"]
    edited = seen["Decode"]["samples"]["samples"]
    assert edited.shape == image.shape and edited.isfinite().all()
    assert (edited - image).abs().max() > 0.1 * image.std()
    if name == "keep_image_flux_kontext":
        assert told == [torch.tensor([2.5])] * 20
    positive = seen["Guider" if "Guider" in seen else "Edit"]["positive"]
    (reference,) = positive[0][1]["reference_latents"]
    torch.testing.assert_close(reference, image, atol=0.05, rtol=0)  # Qwen's encoder enlarges it first
    held, _, _ = run_template(name, Keep={"where": "everywhere", "amount": 1.0})
    held = held["Decode"]["samples"]["samples"]
    assert (held - image).abs().max() <= 1e-5 * image.abs().max()
