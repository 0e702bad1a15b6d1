"""Prompt-to-Prompt beside the official step, written out on the host's own UNet class."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from support.attention_edits import REFINED, REPLACED, ROUNDING, SKIP, SOURCE, STEPS, close


def official_replace(source: list[int], target: list[int], changed: dict[int, int]) -> torch.Tensor:
    """(77, 77): a walk over both prompts in step; each changed word here is one token."""
    mapper = torch.zeros(77, 77)
    for i in range(77):
        mapper[changed.get(i, i), i] = 1
    return mapper


def official_refine(source: list[int], target: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The mapper of the global alignment with gap 0, match 1, mismatch -1, start and end among the tokens."""
    score = torch.zeros(len(source) + 1, len(target) + 1)
    trace = {}
    for i in range(1, len(source) + 1):
        for j in range(1, len(target) + 1):
            left, up = score[i, j - 1], score[i - 1, j]
            diagonal = score[i - 1, j - 1] + (1 if source[i - 1] == target[j - 1] else -1)
            score[i, j] = max(left, up, diagonal)
            trace[i, j] = "left" if score[i, j] == left else "up" if score[i, j] == up else "diagonal"
    mapper, i, j = {}, len(source), len(target)
    while i > 0 and j > 0:
        if trace[i, j] == "left":
            j -= 1
            mapper[j] = -1
        elif trace[i, j] == "up":
            i -= 1
        else:
            i, j = i - 1, j - 1
            mapper[j] = i
    while j > 0:
        j -= 1
        mapper[j] = -1
    columns = [mapper[j] if j < len(target) else j for j in range(77)]
    alphas = torch.tensor([float(column != -1) for column in columns])
    matrix = torch.zeros(77, 77)
    matrix[columns, range(77)] = 1  # as indexing with -1 does, which alpha 0 takes away again
    return matrix, alphas


def official(model, maps, p: SimpleNamespace, negative, cfg: float, edit_cross, self_until: int) -> torch.Tensor:
    """Both rows sampled from the maps, with probabilities written out and edited in the rows of the positive prompt.

    Args:
        edit_cross: (step, maps of the source, of the target) -> maps of the target, each (heads, N, 77).
        self_until: the first step that keeps its own self-attention.
    """
    network, device = model.model, torch.device("cpu")
    uncond, source, target = (x[0][0] for x in (negative, p.source, p.target))
    contexts = torch.cat([uncond, uncond, source, target])
    x = maps.states[SKIP].repeat(2, 1, 1, 1)
    step = 0

    def attention(q, k, v, extra, cross: bool):
        heads = extra["n_heads"]
        q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (q, k, v))
        probabilities = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        height, width = extra["activations_shape"][-2:]
        if cross:
            probabilities[3] = edit_cross(step, probabilities[2], probabilities[3])
        elif height * width <= (16 // 4) ** 2 and step < self_until:
            probabilities[3] = probabilities[2]
        return (probabilities @ v).transpose(1, 2).flatten(-2)

    class Everywhere(dict):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def __contains__(self, key):
            return True

        def __getitem__(self, key):
            return self.function

    replace = {
        "attn1": Everywhere(lambda q, k, v, extra: attention(q, k, v, extra, cross=False)),
        "attn2": Everywhere(lambda q, k, v, extra: attention(q, k, v, extra, cross=True)),
    }
    for step in range(STEPS - SKIP):  # the controllers count the steps that run
        at = maps.schedule.step(SKIP + step)
        sigma = torch.full((4,), at.sigma, dtype=torch.float32, device=device)
        options = {"patches_replace": replace}
        rows = torch.cat([x, x])
        denoised = network.apply_model(rows, sigma, c_crossattn=contexts, transformer_options=options)
        without, under = denoised.chunk(2)
        scale = torch.tensor([3.5, cfg]).view(2, 1, 1, 1)
        x = at.mean(x, without + scale * (under - without)) + maps.residuals[SKIP + step]
    assert close(x[:1], maps.image, ROUNDING)  # the source's row comes back
    return network.process_latent_out(x[1:])


def ids(p: SimpleNamespace, text: str) -> list[int]:
    """The tokens of a text from start to end."""
    (chunk,) = p.clip.tokenize(text)["l"]
    tokens = [token for token, _ in chunk]
    return tokens[: tokens.index(49407) + 1]


@pytest.mark.parametrize(
    ("target", "inputs"),
    [
        (REPLACED, {"self_steps": 0.0}),
        (REFINED, {"self_steps": 0.0}),
        (REPLACED, {"self_steps": 0.0, "reweight": "green: 3, sits: -1"}),
        (REFINED, {"self_steps": 0.0, "reweight": "fluffy: 0.5, mat: 2"}),
        (REPLACED, {"cross_steps": 0.0, "self_steps": 0.5}),
        (REPLACED, {"reweight": "dog: 2"}),
        (REPLACED, {"self_steps": 0.0, "word_steps": "dog: 0.25, mat: 0.25-0.75"}),
    ],
    ids=["replace", "refine", "replace, reweight", "refine, reweight", "self", "all", "windows of words"],
)
def test_parity_with_the_official_step(random_model, conditioning, maps_of, prompts, sample, target, inputs):
    model, kind, negative = random_model("sd15_tall"), "sd15_tall", conditioning("sd15_tall", 2)
    p = prompts(target=target, **inputs)
    maps = maps_of(model, p)
    settings = {"cross_steps": 0.5, "self_steps": 0.25} | inputs
    tokens = ids(p, SOURCE), ids(p, target)
    matrix, alpha = official_replace(*tokens, {}), torch.ones(77)
    if target == REFINED:
        matrix, alpha = official_refine(*tokens)
    gain, windows = torch.ones(77), torch.zeros(STEPS + 1, 77)
    windows[: int(settings["cross_steps"] * (STEPS + 1))] = 1
    for part in filter(None, settings.get("reweight", "").split(", ")):
        word, value = part.split(": ")
        gain[tokens[1].index(ids(p, word)[1])] = float(value)
    if "word_steps" in inputs:
        windows[:, tokens[1].index(ids(p, "dog")[1])] = torch.tensor([1.0, 0, 0, 0, 0])
        windows[:, tokens[1].index(ids(p, "mat")[1])] = torch.tensor([0.0, 1, 1, 0, 0])

    def edit_cross(step: int, a_source: torch.Tensor, a_target: torch.Tensor) -> torch.Tensor:
        replaced = (a_source @ matrix * alpha + a_target * (1 - alpha)) * gain
        return replaced * windows[step] + a_target * (1 - windows[step])

    expected = official(model, maps, p, negative, 7.0, edit_cross, int(STEPS * settings["self_steps"]))
    common = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    out = sample(model, maps, kind, attention=p.edit, **common)
    assert close(out, expected)
    assert not close(out, sample(model, maps, kind, **common), 1e-3)  # it does something
