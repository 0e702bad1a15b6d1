"""Attention edits in the host's own UNet class, under its own tokenizers."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch

SOURCE = "a red cat sits on a mat"
REPLACED = "a green dog sits on a mat"
REFINED = "a red fluffy white cat sits on a big mat"
STEPS, SKIP = 4, 1
PNP, MASACTRL, VALUES = "Plug-and-Play", "MasaCtrl", "values only"


# What a random network makes of rounding at cfg 3.5 and more in a call of other rows; plain sampling in calls of other
# rows is as far off.
ROUNDING = 2e-4


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return bool((a.float() - b.float()).norm() <= tolerance * b.float().norm())


@pytest.fixture(scope="module")
def prompts(pack, random_clip):
    """prompts(source, target, kind, **inputs): Prompt-to-Prompt's edit, and both conditionings."""

    def make(source: str = SOURCE, target: str = REPLACED, kind: str = "sd15_tall", **inputs) -> SimpleNamespace:
        defaults = {"mode": "auto", "cross_steps": 0.5, "self_steps": 0.25, "self_size": 0.25}
        clip = random_clip(kind.split("_")[0])
        edit, *encoded = pack.run(
            "PromptToPrompt", clip=clip, source_text=source, target_text=target, **(defaults | inputs)
        )
        return SimpleNamespace(edit=edit, source=encoded[0], target=encoded[1], clip=clip)

    return make


@pytest.fixture
def share(pack):
    """share(source, method, **inputs): an edit of the self-attention."""
    return lambda source, method, **inputs: pack.run("ShareAttention", source=source, method=method, **inputs)[0]


@pytest.fixture
def small(latent):
    """A LATENT of 16 x 16 cells: attention at 16, 8 and 4."""
    return lambda kind="sd15_tall", batch=1: latent(kind, batch, 16, 16)


@pytest.fixture
def maps_of(invert, small):
    """maps_of(model, prompts, kind, **inputs): noise maps of a random latent under the source prompt."""

    def make(model, p, kind: str = "sd15_tall", **inputs):
        settings = {"positive": p.source, "steps": STEPS, "latent_image": small(kind)} | inputs
        return invert(model, kind, **settings)

    return make


# --- the official step ------------------------------------------------------------------------------------------------


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
    assert close(x[:1], maps.image)  # the source's row comes back
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


# --- nothing changed, nothing left ------------------------------------------------------------------------------------


def every_edit(p: SimpleNamespace, share) -> dict:
    return {"P2P": p.edit} | {method: share(p.source, method, start=0.0, end=1.0) for method in (PNP, MASACTRL, VALUES)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["sd15_tall", "sdxl_tall"])
def test_the_same_text_twice_gives_the_image_back(
    random_model, prompts, maps_of, small, sample, edit, share, kind, dtype
):
    model = random_model(kind, dtype)
    p = prompts(target=SOURCE, kind=kind, cross_steps=1.0, self_steps=1.0, self_size=1.0)
    image = small(kind)["samples"]
    maps, guided = maps_of(model, p, kind, cfg=1.0), maps_of(model, p, kind)
    pair = {"source": p.source, "target": p.target, "latent_image": small(kind), "steps": STEPS}
    for name, attention in every_edit(p, share).items():
        assert close(sample(model, maps, kind, positive=p.target, cfg=1.0, attention=attention), image), name
        assert close(edit(model, kind, attention=attention, source_cfg=1.0, target_cfg=1.0, **pair), image), name
        assert close(sample(model, guided, kind, positive=p.target, attention=attention), image, ROUNDING), name


def test_nothing_stays_of_an_edit(comfy, random_model, prompts, maps_of, sample, share, monkeypatch):
    """The next run without it is bit for bit the run before it: after a run, an error in the network, an interrupt."""
    model = random_model("sd15_tall")
    p = prompts()
    maps = maps_of(model, p)
    edit = p.edit.and_also(share(p.source, PNP))
    plain = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    before = sample(model, maps, "sd15_tall", **plain)
    edited = sample(model, maps, "sd15_tall", attention=edit, **plain)
    assert not close(edited, before, 1e-3)
    assert torch.equal(sample(model, maps, "sd15_tall", **plain), before)
    assert torch.equal(sample(model, maps, "sd15_tall", attention=edit, **plain), edited)

    network = model.model.diffusion_model
    with monkeypatch.context() as patch:
        patch.setattr(network.output_blocks[3][0].out_layers[0], "forward", lambda x: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sample(model, maps, "sd15_tall", attention=edit, **plain)

    def stop(value, total, preview, **_):
        comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    comfy.utils.set_progress_bar_global_hook(stop)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sample(model, maps, "sd15_tall", attention=edit, **plain)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert torch.equal(sample(model, maps, "sd15_tall", **plain), before)
    assert not any(module._forward_hooks for module in network.modules())
    assert model.model_options == {"transformer_options": {}}


# --- behind any guider ------------------------------------------------------------------------------------------------


def run_host_node(cls, **inputs) -> tuple:
    """What a node of the host returns, of either kind that there is."""
    result = cls.execute(**inputs) if hasattr(cls, "execute") else getattr(cls(), cls.FUNCTION)(**inputs)
    return getattr(result, "args", result)


@pytest.fixture
def run_custom(comfy, pack):
    """run_custom(guider, noise_maps, latent, **inputs): the result of SamplerCustomAdvanced with the maps' SAMPLER."""
    nodes = comfy.nodes.NODE_CLASS_MAPPINGS

    def call(node: str, **inputs):
        return run_host_node(nodes[node], **inputs)

    def run(guider, maps, latent, **inputs) -> torch.Tensor:
        sampler, sigmas = pack.run("SamplerFixedNoise", noise_maps=maps, skip_steps=SKIP, **inputs)
        (noise,) = call("DisableNoise")
        common = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": latent}
        return call("SamplerCustomAdvanced", **common)[0]["samples"]

    return SimpleNamespace(run=run, call=call)


def test_any_guider_of_the_host(random_model, conditioning, prompts, maps_of, sample, small, run_custom):
    """CFGGuider lists the positive prompt first, DualCFGGuider last, BasicGuider has no other."""
    model, negative = random_model("sd15_tall"), conditioning("sd15_tall", 2)
    p = prompts()
    maps = maps_of(model, p)
    common = {"positive": p.target, "skip_steps": SKIP, "attention": p.edit}
    cfg = run_custom.call("CFGGuider", model=model, positive=p.target, negative=negative, cfg=7.0)[0]
    expected = sample(model, maps, "sd15_tall", cfg=7.0, **common)
    assert torch.equal(run_custom.run(cfg, maps, small(), attention=p.edit), expected)
    (basic,) = run_custom.call("BasicGuider", model=model, conditioning=p.target)
    expected = sample(model, maps, "sd15_tall", cfg=1.0, **common)
    assert close(run_custom.run(basic, maps, small(), attention=p.edit), expected)
    (dual,) = run_custom.call(
        "DualCFGGuider",
        model=model,
        cond1=p.target,
        cond2=negative,
        negative=negative,
        cfg_conds=7.0,
        cfg_cond2_negative=3.0,
        style="regular",
    )
    # with its second prompt the negative, what it does is plain guidance
    expected = sample(model, maps, "sd15_tall", cfg=7.0, **common)
    assert close(run_custom.run(dual, maps, small(), attention=p.edit), expected)


def test_a_guider_that_goes_its_own_way(comfy, random_model, prompts, maps_of, small, run_custom):
    model = random_model("sd15_tall")
    p = prompts()

    class Own(comfy.samplers.CFGGuider):
        def predict_noise(self, x, timestep, model_options=None, seed=None):
            return 0.5 * x

    guider = Own(model)
    guider.set_conds(p.target, p.target)
    with pytest.raises(ValueError, match="guider calls the model in a way of its own"):
        run_custom.run(guider, maps_of(model, p), small(), attention=p.edit)


@pytest.mark.parametrize("method", [None, PNP, MASACTRL, VALUES])
def test_one_call_or_several(comfy, random_model, prompts, maps_of, sample, share, monkeypatch, method):
    """With little memory the host calls each prompt by itself, the negative one last."""
    model = random_model("sd15_tall")
    p = prompts()
    edit = p.edit if method is None else share(p.source, method, start=0.0, end=1.0)
    maps = maps_of(model, p)
    calls = rows_of_calls(model, monkeypatch)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": edit}
    together, one = sample(model, maps, "sd15_tall", **run), len(calls)
    calls.clear()
    monkeypatch.setattr(type(model.model), "memory_required", lambda *_, **__: 1e18)
    assert close(sample(model, maps, "sd15_tall", **run), together)
    assert method is None or len(calls) == 2 * one


def rows_of_calls(model, monkeypatch) -> list[int]:
    """The rows of each call of the network, in a list that grows."""
    rows, forward = [], model.model.diffusion_model.forward

    def counted(x, *args, **kwargs):
        rows.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(model.model.diffusion_model, "forward", counted)
    return rows


def test_cost_in_rows(random_model, prompts, maps_of, sample, share, edit, small, monkeypatch):
    """Of two images, three steps: what acts in the first half takes the source's rows in the first two (2 of 4)."""
    model = random_model("sd15_tall")
    p = prompts(cross_steps=0.5, self_steps=0.25)
    maps = maps_of(model, p, latent_image=small(batch=2))
    calls = rows_of_calls(model, monkeypatch)

    def rows(**inputs) -> list[int]:
        calls.clear()
        sample(model, maps, "sd15_tall", **({"positive": p.target, "cfg": 7.0, "skip_steps": SKIP} | inputs))
        return calls.copy()

    assert rows() == [4, 4, 4]
    assert rows(attention=p.edit) == [4, 2, 4, 2, 4]
    assert rows(attention=p.edit, cfg=1.0) == [4, 4, 2]
    assert rows(attention=share(p.source, MASACTRL, start=0.0, end=0.5)) == [8, 8, 4]
    assert rows(attention=share(p.source, PNP)) == [8, 8, 8]
    assert rows(attention=share(p.source, PNP, features_end=0.0)) == [8, 8, 4]
    calls.clear()
    pair = {"source": p.source, "target": p.target, "latent_image": small(batch=2), "steps": STEPS}
    edit(model, "sd15_tall", **pair)
    without = calls.copy()
    calls.clear()
    edit(model, "sd15_tall", attention=p.edit, **pair)
    assert calls == without == [8, 8, 8]


def test_variations_are_each_what_they_are_alone(random_model, conditioning, prompts, maps_of, sample, small, share):
    model = random_model("sd15_tall")
    p = prompts()
    edit = p.edit.and_also(share(p.source, MASACTRL))
    both = small(batch=2)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": edit}
    rows = sample(model, maps_of(model, p, latent_image=both, variations=2), "sd15_tall", **run)
    for row in range(4):
        alone = {"samples": both["samples"][row % 2 :][:1]}
        maps = maps_of(model, p, latent_image=alone, seed=3 + row // 2)
        assert close(rows[row : row + 1], sample(model, maps, "sd15_tall", **run))


def test_a_guidance_schedule(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall")
    p = prompts()
    maps = maps_of(model, p)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": p.edit}
    constant = sample(model, maps, "sd15_tall", cfg_schedule="linear", end_cfg=7.0, **run)
    assert close(constant, sample(model, maps, "sd15_tall", **run))


def test_edit_in_one_pass_is_inversion_and_sampling(random_model, prompts, maps_of, sample, edit, small, share):
    model = random_model("sd15_tall")
    p = prompts()
    for attention in every_edit(p, share).values():
        maps = maps_of(model, p, skip_steps=SKIP, scheduler="simple")
        run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP, "attention": attention}
        pair = {"source": p.source, "target": p.target, "latent_image": small(), "steps": STEPS}
        one = edit(model, "sd15_tall", attention=attention, **pair)
        assert close(one, sample(model, maps, "sd15_tall", **run))
        assert not close(one, edit(model, "sd15_tall", **pair), 1e-3)


@pytest.mark.parametrize(
    ("node", "inputs"),
    [
        ("CycleDiffusionInvert", {}),
        ("DDIMInvert", {}),
        ("DDIMInvert", {"keep_residuals": False}),
        ("NullTextInvert", {"inner_steps": 2}),
        ("SampleWithNoiseMaps", {}),
    ],
)
def test_maps_of_every_inversion(random_model, run_node, prompts, sample, small, node, inputs):
    """With the inversion's prompt on both sides an edit changes nothing, where the maps replay the image exactly."""
    model = random_model("sd15_tall")
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    settings = {"positive": p.source, "latent_image": small(), "steps": STEPS, "cfg": 1.5}
    *_, maps = run_node(node, model, "sd15_tall", **(settings | inputs))
    run = {"skip_steps": 0, "cfg": 1.5}
    plain = sample(model, maps, "sd15_tall", positive=p.source, **run)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit, **run)
    exact = close(plain, model.model.process_latent_out(maps.image), ROUNDING)
    assert exact == (inputs == {})  # textbook DDIM and null-text come near
    assert not exact or close(back, plain, ROUNDING)
    edited = sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit, **run)
    assert not close(edited, sample(model, maps, "sd15_tall", positive=p.target, **run), 100 * ROUNDING)


# --- beside other nodes -----------------------------------------------------------------------------------------------


def test_lora(comfy, random_model, random_lora, prompts, maps_of, sample, small):
    plain = random_model("sd15_tall")
    model, _ = comfy.sd.load_lora_for_models(plain, None, random_lora(plain), 1.0, 0.0)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p, cfg=1.0)
    run = {"positive": same.target, "attention": same.edit, "cfg": 1.0}
    assert close(sample(model, maps, "sd15_tall", **run), small()["samples"], ROUNDING)
    assert not close(sample(plain, maps, "sd15_tall", **run), small()["samples"], 100 * ROUNDING)


def test_control_net(comfy, random_model, random_control_net, conditioning, prompts, maps_of, sample, small, edit):
    """On the target's prompt it guides the source's rows too, as it did when the image was inverted."""
    apply = comfy.nodes.NODE_CLASS_MAPPINGS["ControlNetApplyAdvanced"]().apply_controlnet
    model, negative = random_model("sd15"), conditioning("sd15", 2)
    hint = torch.rand((1, 128, 128, 3), generator=torch.Generator().manual_seed(0))
    p = prompts(kind="sd15")
    same = prompts(target=SOURCE, kind="sd15", cross_steps=1.0, self_steps=1.0)

    def controlled(positive, strength: float = 1.0) -> dict:
        return dict(
            zip(
                ("positive", "negative"),
                apply(positive, negative, random_control_net, hint, strength, 0.0, 0.8),
                strict=True,
            )
        )

    maps = maps_of(model, p, "sd15", **controlled(p.source))
    back = sample(model, maps, "sd15", attention=same.edit, **controlled(same.target))
    assert close(back, small("sd15")["samples"], ROUNDING)
    run = {"cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15", attention=p.edit, **run, **controlled(p.target))
    assert not close(edited, sample(model, maps, "sd15", **run, **controlled(p.target)), 1e-3)
    target = controlled(p.target)
    with pytest.raises(ValueError, match="attention needs source and target in one call"):
        edit(model, "sd15", source=p.source, target=target["positive"], attention=p.edit, latent_image=small("sd15"))


def test_an_adapter_of_another_node_is_still_called(random_model, prompts, maps_of, sample, small, monkeypatch):
    """As IP-Adapter does: attention to the text, and a picture's on top, each by its own rows."""
    plain, seen = random_model("sd15_tall"), []

    def adapter(q, k, v, options):  # the host gives it by place
        import comfy.ldm.modules.attention as host

        picture = torch.randn(1, 4, k.shape[-1], generator=torch.Generator().manual_seed(6)).repeat(len(q), 1, 1)
        seen.append(len(q))
        text = host.optimized_attention(q, k, v, options["n_heads"])
        return text + 0.3 * host.optimized_attention(q, picture, picture, options["n_heads"])

    model = plain.clone()
    for block in (("middle", 0), ("output", 0), ("output", 2, 0)):
        model.set_model_attn2_replace(adapter, *block)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    calls = rows_of_calls(model, monkeypatch)
    seen.clear()
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert len(seen) == 3 * len(calls)
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)


@pytest.mark.parametrize("node", ["FreeU_V2", "PerturbedAttentionGuidance", "HyperTile", "RescaleCFG"])
def test_patches_of_the_host(comfy, random_model, prompts, maps_of, sample, small, run_custom, node):
    inputs = {
        "FreeU_V2": {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2},
        "PerturbedAttentionGuidance": {"scale": 2.0},
        "HyperTile": {"tile_size": 64, "swap_size": 1, "max_depth": 0, "scale_depth": False},
        "RescaleCFG": {"multiplier": 0.7},
    }[node]
    plain = random_model("sd15_tall")
    (model,) = run_host_node(comfy.nodes.NODE_CLASS_MAPPINGS[node], model=plain, **inputs)
    p, same = prompts(), prompts(target=SOURCE, cross_steps=1.0, self_steps=1.0)
    maps = maps_of(model, p)
    back = sample(model, maps, "sd15_tall", positive=same.target, attention=same.edit)
    assert close(back, small()["samples"], ROUNDING)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)
    assert not close(edited, sample(plain, maps, "sd15_tall", attention=p.edit, **run), 1e-3)


@pytest.mark.parametrize(
    ("node", "inputs", "message"),
    [
        ("TomePatchModel", {"ratio": 0.3}, "Tome Patch Model"),
        ("SelfAttentionGuidance", {"scale": 0.5, "blur_sigma": 2.0}, "Self-Attention Guidance"),
    ],
)
def test_what_cannot_share_is_refused_by_name(
    comfy, random_model, prompts, maps_of, sample, edit, node, inputs, message
):
    plain = random_model("sd15_tall")
    (model,) = run_host_node(comfy.nodes.NODE_CLASS_MAPPINGS[node], model=plain, **inputs)
    p = prompts()
    with pytest.raises(ValueError, match=message):
        sample(model, maps_of(plain, p), "sd15_tall", positive=p.target, attention=p.edit)


# --- prompts ----------------------------------------------------------------------------------------------------------

LONG = " ".join(f"word{chr(97 + k)}" for k in range(26)) + " by a red house and a tree on a hill under the sky"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (SOURCE, f"{SOURCE} {LONG} {LONG}"),
        (f"{SOURCE} {LONG} {LONG}", SOURCE),
        (SOURCE, "a (red:1.3) ((cat)) sits on a mat"),
        ("", "a red cat"),
        ("a red cat, on a mat", "a red caterpillar, on a mat"),
    ],
    ids=["77 and 154", "154 and 77", "weights", "empty source", "comma"],
)
def test_prompts_of_all_kinds(random_model, prompts, maps_of, sample, source, target):
    model = random_model("sd15_tall")
    p = prompts(source, target)
    maps = maps_of(model, p)
    run = {"positive": p.target, "cfg": 7.0, "skip_steps": SKIP}
    edited = sample(model, maps, "sd15_tall", attention=p.edit, **run)
    assert edited.isfinite().all()
    assert not close(edited, sample(model, maps, "sd15_tall", **run), 1e-3)


def test_the_words_of_a_prompt(pack, random_clip, tmp_path):
    """Weights are none of it, an embedding is one word, pieces make one word, SDXL's encoders agree."""
    from safetensors.torch import save_file

    words = pack.modules("words")
    save_file({"emb_params": torch.ones(3, 768)}, tmp_path / "style.safetensors")
    clip = random_clip("sd15", str(tmp_path))
    text = "a (Red:1.3) hippopotamusses, embedding:style in the sky"
    prompt = words.prompt_of(clip, text)
    assert prompt.texts == ("a", "red", "hippopotamusses", ",", "<embedding>", "in", "the", "sky")
    assert len(prompt.words[4]) == 3 and len(prompt.words[2]) > 1
    assert words.positions(clip, prompt, "embedding:style") == list(prompt.words[4])
    assert words.positions(clip, prompt, "red") == [2]
    assert words.positions(clip, prompt, "in the sky") == [p for k in (5, 6, 7) for p in prompt.words[k]]
    assert words.prompt_of(random_clip("sdxl"), "a cat").words == words.prompt_of(random_clip("sd15"), "a cat").words
    assert words.positions(clip, words.prompt_of(clip, "a caterpillar"), "cat") == []


def test_brackets_change_how_much_a_word_says_not_where_it_is(prompts):
    plain, weighted = prompts(), prompts(target="a (green:1.4) dog sits on a mat")
    assert torch.equal(plain.edit.edit.cross.matrix, weighted.edit.edit.cross.matrix)
    assert not torch.equal(plain.target[0][0], weighted.target[0][0])


# --- local blend ------------------------------------------------------------------------------------------------------


def test_a_local_blend_leaves_the_rest_of_the_image(random_model, prompts, maps_of, sample, small, edit):
    model = random_model("sd15_tall")
    run = {"cfg": 7.0, "skip_steps": SKIP}
    p = prompts(blend_words="cat, dog", blend_threshold=0.8)
    maps = maps_of(model, p)
    moved = (sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit, **run) - small()["samples"]).abs()
    kept = (moved.amax(dim=1) < 1e-5).float().mean()
    assert 0.2 < kept < 1
    everywhere = prompts(blend_words="cat, dog", blend_threshold=0.0)
    moved = sample(model, maps, "sd15_tall", positive=p.target, attention=everywhere.edit, **run) - small()["samples"]
    assert (moved.abs().amax(dim=1) < 1e-5).float().mean() < 0.1
    pair = {
        "source": p.source,
        "target": p.target,
        "latent_image": small(),
        "steps": STEPS,
        "scheduler": "ddim_uniform",
    }
    one = edit(model, "sd15_tall", attention=p.edit, **pair)
    again = maps_of(model, p, skip_steps=SKIP)
    assert close(one, sample(model, again, "sd15_tall", positive=p.target, attention=p.edit, **run))


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"reweight": "purple: 2"},
            "'purple' is in neither prompt; these words are: a, red, cat, sits, on, mat, green, d",
        ),
        ({"reweight": "cat: 2"}, "'cat' is in the source prompt alone; these words are in the target: a, green, dog"),
        ({"reweight": "dog"}, "reweight has the part 'dog'"),
        ({"reweight": "dog: much"}, "reweight has 'much' where a number"),
        ({"word_steps": "dog: 0.6-0.2"}, "window of word_steps at 'dog' goes from 0.6 to 0.2"),
        ({"blend_words": "house"}, "'house' is in neither prompt"),
        ({"mode": "replace", "target": REFINED}, r"the source has 7 \(a red cat.*the target 10"),
    ],
)
def test_words_and_windows_that_cannot_be(prompts, inputs, message):
    with pytest.raises(ValueError, match=message):
        prompts(**inputs)


def test_a_window_of_sharing_the_wrong_way_round(prompts, share):
    with pytest.raises(ValueError, match="window of MasaCtrl goes from 0.9 to 0.5"):
        share(prompts().source, MASACTRL, start=0.9, end=0.5)


def test_edits_of_different_sources_or_twice_the_same_kind(prompts, share):
    p, other = prompts(), prompts(source="a house")
    with pytest.raises(ValueError, match="different sources"):
        share(other.source, PNP, attention=p.edit)
    with pytest.raises(ValueError, match="both attention edits come from Prompt-to-Prompt"):
        p.edit.and_also(prompts().edit)


@pytest.mark.parametrize("kind", ["flow", "flux", "wan"])
def test_models_without_cross_attention_of_their_own(random_model, conditioning, invert, sample, share, kind):
    model = random_model(kind)
    maps = invert(model, kind, scheduler="simple")
    edit = share(conditioning(kind, 1), MASACTRL)
    with pytest.raises(ValueError, match=r"no cross-attention.*What works here: .*Mask from two Prompts"):
        sample(model, maps, kind, attention=edit)


def test_a_method_that_finds_no_layer(pack, demo, sample, share):
    """The demo model has attention at a quarter of the side alone, and MasaCtrl acts at half of it and more."""
    p = demo_edit(pack, demo, GREEN)
    run = {"positive": p.target, "negative": demo.negative, "cfg": 2.0}
    with pytest.raises(ValueError, match="does nothing with this model"):
        sample(demo.model, demo.maps, attention=share(p.source, MASACTRL), **run)


def test_text_encoders_that_cut_a_prompt_in_other_ways(pack, random_clip):
    import comfy.sd1_clip

    class Both(comfy.sd1_clip.SD1Tokenizer):
        def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
            streams = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            return streams | {"t5xxl": [streams["l"][0][:10]]}

    clip = random_clip("sd15")
    clip.tokenizer = Both()
    with pytest.raises(ValueError, match="text encoders l and t5xxl cut the prompt in different ways"):
        pack.run(
            "PromptToPrompt", clip=clip, source_text="a", target_text="b", mode="auto", cross_steps=1.0, self_steps=0.0
        )


def test_maps_of_another_prompt(random_model, prompts, maps_of, sample, run_custom, small):
    model = random_model("sd15_tall")
    p, other = prompts(), prompts(source="a red cat sits on a hat")
    maps = maps_of(model, other)
    with pytest.raises(ValueError, match=rf"made with another prompt than the attention edit's source \({SOURCE}\)"):
        sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit)


def test_a_prompt_is_known_again_in_another_precision(pack, prompts):
    """On another device or in half precision the numbers are a little off; another word is farther off than that."""
    signature, same = pack.host.signature, pack.host.same_signature
    prompt, other = prompts().source, prompts(source="a red cat sits on a hat").source
    halved = [[embedding.half(), options] for embedding, options in prompt]
    assert same(signature(prompt), signature(halved))
    assert not same(signature(prompt), signature(other))
    assert not same(signature(prompt), signature(prompt + prompt))


def test_another_source_than_the_one_pass(random_model, conditioning, prompts, edit, small):
    p = prompts()
    with pytest.raises(ValueError, match="another source"):
        edit(random_model("sd15_tall"), "sd15_tall", target=p.target, attention=p.edit, latent_image=small())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda target: target + target, "the target prompt has 2 entries"),
        (lambda target: [[target[0][0], {**target[0][1], "mask": torch.ones(1, 8, 8)}]], "target prompt has mask"),
        (lambda target: [[target[0][0], {**target[0][1], "area": (8, 8, 0, 0)}]], "target prompt has area"),
        (lambda target: [[target[0][0], {**target[0][1], "start_percent": 0.0, "end_percent": 0.9}]], "_percent"),
        (lambda target: [[torch.cat([target[0][0]] * 2, dim=1)[:, :100], target[0][1]]], "different kinds or lengths"),
    ],
    ids=["two entries", "mask", "area", "times", "other length"],
)
def test_conditionings_that_cannot_share(random_model, prompts, maps_of, sample, change, message):
    model = random_model("sd15_tall")
    p = prompts()
    with pytest.raises(ValueError, match=message):
        sample(model, maps_of(model, p), "sd15_tall", positive=change(p.target), attention=p.edit)


def test_tokens_that_another_node_has_added(random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall")
    p = prompts()
    longer = [[torch.cat([p.target[0][0]] * 2, dim=1), p.target[0][1]]]
    sample(model, maps_of(model, p), "sd15_tall", positive=longer, attention=p.edit)  # repeated whole: nothing is lost
    three = prompts(target=f"{REPLACED} {LONG} {LONG}")
    with pytest.raises(ValueError, match="reads 77 tokens, the prompts of the attention edit have 77 and 154"):
        sample(model, maps_of(model, p), "sd15_tall", positive=p.target, attention=three.edit)


def test_context_windows(comfy, random_model, prompts, maps_of, sample):
    model = random_model("sd15_tall").clone()
    p = prompts()
    maps = maps_of(model, p)
    model.model_options["context_handler"] = SimpleNamespace(should_use_context=lambda *_: False)
    with pytest.raises(ValueError, match="context windows"):
        sample(model, maps, "sd15_tall", positive=p.target, attention=p.edit)


def test_the_pack_uses_what_the_host_makes_public(pack):
    """The signatures that the mechanism stands on."""
    import comfy.patcher_extension
    import comfy.samplers

    assert list(inspect.signature(comfy.samplers.calc_cond_batch).parameters) == [
        "model",
        "conds",
        "x_in",
        "timestep",
        "model_options",
    ]
    assert comfy.patcher_extension.WrappersMP.CALC_COND_BATCH and comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL


# --- the demo model ---------------------------------------------------------------------------------------------------

RED, GREEN = "a red circle left on a blue ground", "a green circle left on a blue ground"


@pytest.fixture(scope="module")
def demo(pack, run_node):
    """The demo model, its CLIP, and a scene: IMAGE, mask of its object, LATENT, noise maps under its caption."""
    model, clip, vae = pack.run("LoadDemoModel")
    image, mask, _ = pack.run("LoadDemoImage", scene=RED, seed=1)
    source, empty = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (RED, ""))
    latent = {"samples": vae.encode(image)}
    settings = {"latent_image": latent, "positive": source, "negative": empty, "steps": 25, "cfg": 1.0}
    (maps,) = run_node("EditFriendlyInvert", model, **settings)
    return SimpleNamespace(model=model, clip=clip, image=image, mask=mask, negative=empty, latent=latent, maps=maps)


def demo_edit(pack, demo, target: str, **inputs) -> SimpleNamespace:
    defaults = {"mode": "auto", "cross_steps": 0.6, "self_steps": 0.2}
    edit, source, target = pack.run(
        "PromptToPrompt", clip=demo.clip, source_text=RED, target_text=target, **(defaults | inputs)
    )
    return SimpleNamespace(edit=edit, source=source, target=target)


def test_a_real_image_comes_back_under_its_own_caption(pack, demo, sample):
    p = demo_edit(pack, demo, RED, cross_steps=1.0, self_steps=1.0, self_size=1.0)
    back = sample(
        demo.model,
        demo.maps,
        positive=p.target,
        negative=demo.negative,
        cfg=1.0,
        attention=p.edit,
    )
    assert close(back, demo.latent["samples"])


def test_prompt_to_prompt_keeps_more_of_a_real_image(pack, demo, sample):
    p = demo_edit(pack, demo, GREEN)
    maps, run = demo.maps, {"positive": p.target, "negative": demo.negative, "cfg": 4.0}
    x, outside = demo.latent["samples"], 1 - demo.mask[:, None]

    def moved(result: torch.Tensor, where: torch.Tensor) -> float:
        return ((result - x).abs() * where).sum().item() / where.sum().item()

    plain, edited = (sample(demo.model, maps, attention=edit, **run) for edit in (None, p.edit))
    assert moved(edited, outside) < 0.95 * moved(plain, outside)
    assert moved(edited, 1 - outside) > 0.5 * moved(plain, 1 - outside)  # the object has another color in both


def test_a_color_word_finds_its_object(pack, demo):
    maps = demo.maps
    settings = {"model": demo.model, "clip": demo.clip, "noise_maps": maps, "caption": RED}
    settings |= {"threshold": 0.3, "levels": 7, "start": 0.2, "end": 0.8, "grow": 0}
    mask, preview = pack.run("WordMask", words="red", image=demo.image, **settings)
    assert mask.shape == demo.mask.shape and preview.shape == (1, 32, 64, 3)
    both = (mask > 0.5) & (demo.mask > 0.5)
    assert both.sum() > 0.9 * (demo.mask > 0.5).sum()
    assert (mask > 0.5).sum() < 3 * (demo.mask > 0.5).sum()
    ground, _ = pack.run("WordMask", words="blue", **settings)
    assert ((ground > 0.5) & (demo.mask > 0.5)).sum() < 0.2 * (demo.mask > 0.5).sum()
    with pytest.raises(ValueError, match="'green' is not in the caption; these words are: a, red, circle"):
        pack.run("WordMask", words="green", **settings)
    with pytest.raises(ValueError, match="no words to look for"):
        pack.run("WordMask", words=" , ", **settings)
