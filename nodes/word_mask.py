"""A node that finds the words of a caption in the image, and the sampler that finds them."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy_api.latest import io
from torch import Tensor

from ..ddpm_core import NoiseMaps, masks
from ..ddpm_core.attention import Edit, WordMaps, word_heat
from . import guide, host, inputs
from . import words as of_words
from .attention import Blocks, Patches
from .masks import found, search_inputs, search_outputs
from .samplers import CoreSampler, Run, sigmas_at
from .types import CATEGORY, Conditioning, ModelPatcher, search_aliases

START, END = 0.2, 0.8


class WordMapsSampler(CoreSampler):
    """Adds up the attention to some tokens over levels of noise maps; `maps` is there after the run.

    Args:
        noise_maps: whose states the model is shown.
        levels: indices into their steps.
        tokens: (L,) bool.
    """

    def __init__(self, noise_maps: NoiseMaps, levels: list[int], tokens: Tensor):
        self.noise_maps = noise_maps
        self.levels = levels
        self._seen = WordMaps(tokens)

    @property
    def sigmas(self) -> Tensor:
        """(levels + 1,) what the host is told of the run."""
        return sigmas_at(self.noise_maps.schedule, self.levels)

    @property
    def maps(self) -> Tensor:
        """(rows, h, w) how much each place attends to the tokens."""
        return self._seen.sum[0].cpu()

    def run(self, run: Run) -> Tensor:
        options = run.extra_args["model_options"]
        patches = Patches(Edit(), Blocks.of(run.guider.inner_model.diffusion_model), steps=1)
        options = patches.into(options, step=0, positive=0, see=self._seen)
        denoiser = replace(run, extra_args={**run.extra_args, "model_options": options}).denoiser
        with run.progress(len(self.levels)) as progress:
            for k, i in enumerate(self.levels):
                x = self.noise_maps.states[i].to(run.noise.device, copy=True)
                sigma = self.noise_maps.schedule.step(i).sigma
                denoised = denoiser(x, x.new_full((len(x),), sigma, dtype=torch.float32))
                progress({"x": x, "i": k, "sigma": sigma, "denoised": denoised})
        return run.latent


class WordMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EditFriendlyWordMask",
            display_name="Mask from Words",
            category=f"{CATEGORY}/inspect",
            **search_aliases("automatic mask", "attention map", "segment", "find object"),
            description="Finds words of a caption in the image, by where the model attends to them. For Stable "
            "Diffusion's UNets; Mask from two Prompts is for any model.",
            inputs=[
                inputs.model_of_maps(),
                io.Clip.Input("clip", tooltip="Its text encoder."),
                inputs.noise_maps(),
                io.String.Input(
                    "caption", multiline=True, dynamic_prompts=True, tooltip="What the image shows, in a sentence."
                ),
                io.String.Input(
                    "words",
                    default="",
                    tooltip="Words of the caption to look for, such as 'hat' or 'red hat, dog'. Words that stand "
                    "together are looked for together.",
                ),
                *search_inputs(
                    threshold=0.3,
                    above="what is attended to more than this share of the strongest",
                    cost="a call each",
                    start=START,
                    end=END,
                ),
            ],
            outputs=search_outputs("the attention: bright is strong"),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: of_words.Clip,
        noise_maps: NoiseMaps,
        caption: str,
        words: str,
        threshold: float,
        levels: int,
        start: float,
        end: float,
        grow: int,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        host.check_same_model(noise_maps, model)
        conditioning, tokens = tokens_of(clip, caption, words)
        chosen = masks.levels_between(noise_maps.full_steps, noise_maps.skipped, levels, start, end)
        sampler = WordMapsSampler(noise_maps, chosen, tokens)
        guider = guide.guider_for(model, conditioning, conditioning, 1.0)
        host.run_on_maps(guider, sampler, sampler.sigmas, noise_maps)
        maps = sampler.maps.unflatten(0, (-1, host.images_of(noise_maps))).mean(dim=0)  # over the variations
        heat = word_heat(maps, noise_maps.image.shape[-2:])[:, None]
        return found(noise_maps, heat, threshold, grow, image)


def tokens_of(clip: of_words.Clip, caption: str, phrases: str) -> tuple[Conditioning, Tensor]:
    """The caption as CONDITIONING, and (L,) which of its tokens are of some words.

    Raises:
        ValueError: words that the caption does not have, or none.
    """
    prompt, conditioning = of_words.prompt_of(clip, caption), of_words.encode(clip, caption)
    of_words.check_fits(prompt, conditioning)
    tokens = torch.zeros(len(prompt.tokens), dtype=torch.bool)
    for phrase in of_words.phrases(phrases):
        found = of_words.positions(clip, prompt, phrase)
        if not found:
            raise ValueError(
                f"'{phrase}' is not in the caption; these words are: {', '.join(prompt.texts) or 'none, it is empty'}"
            )
        tokens[found] = True
    if not tokens.any():
        raise ValueError(f"there are no words to look for: write some of the caption's, {', '.join(prompt.texts)}")
    return conditioning, tokens
