"""Whatever patches of the host a MODEL has: where KSampler gives a picture the pack's nodes do, or say why they do not.

Chains of the nodes from MODEL to MODEL that the host has, with any inputs that the front end offers.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support.host_patches import anything, patch_nodes
from support.rounding import TIMES, nudged, relative, rounding

STEPS = 3
KINDS = ["sd15", "flow", "flux"]
ONE_EDIT = {"direction": "add", "scale": 7.0, "quantile": 0.0, "start": 0.0, "end": 1.0}
H_EDIT = {"guidance": "h-Edit", "cfg": 7.0, "source_cfg": 5.0}


KEEPING = ("momentum", "reuse_threshold")
"""Inputs by which a patch keeps something from call to call."""


@pytest.fixture(scope="module")
def chained(comfy, host_node):
    """chained(data, model): a MODEL with one to three patches; None where a node does not take it.

    What compiles a network leaves it as it is here, for that takes a minute.
    """
    import torch._dynamo

    nodes = patch_nodes(comfy.nodes.NODE_CLASS_MAPPINGS)

    def chain(data, model):
        chain.keeps = False
        for node_id in data.draw(st.lists(st.sampled_from(sorted(nodes)), min_size=1, max_size=3), label="nodes"):
            inputs = {name: data.draw(anything(spec), label=name) for name, spec in nodes[node_id].items()}
            chain.keeps |= any(inputs.get(name) for name in KEEPING)
            try:
                (model,) = host_node(node_id, model=model, **inputs)
            except Exception:
                return None
        return model

    with torch._dynamo.config.patch(disable=True):
        yield chain


@pytest.fixture(scope="module")
def by_ksampler(host_node, conditioning):
    """by_ksampler(model, kind, latent): the picture of the host; None where it gives none."""

    def run(model, kind: str, latent: dict) -> torch.Tensor | None:
        prompts = {"positive": conditioning(kind, 1), "negative": conditioning(kind, 2)}
        chosen = {
            "seed": 3,
            "steps": STEPS,
            "cfg": 3.5,
            "sampler_name": "euler",
            "scheduler": "simple",
            "denoise": 1.0,
        }
        try:
            picture = host_node("KSampler", model=model, latent_image=latent, **prompts, **chosen)[0]["samples"]
        except Exception:
            return None
        return picture if picture.isfinite().all() else None

    return run


@contextmanager
def watched(told: list[str]):
    """Adds what is logged within the context."""
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def or_why(run, *args) -> torch.Tensor | str:
    """The result of a run, or the error that tells the user what to do."""
    try:
        return run(*args)
    except ValueError as error:
        return str(error)


@settings(max_examples=settings.default.max_examples // 3)  # each is a run of a model by several nodes
@given(st.data())
def test_any_chain_of_patches(
    pack,
    chained,
    by_ksampler,
    host_node,
    random_model,
    conditioning,
    latent,
    invert,
    sample,
    edit,
    run_custom,
    data,
):
    kind = data.draw(st.sampled_from(KINDS))
    image = latent(kind, batch=data.draw(st.integers(1, 2)))
    if data.draw(st.booleans()):
        ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
        image["noise_mask"] = data.draw(st.sampled_from([ramp, ramp.round()]))
    model = chained(data, random_model(kind))
    if model is None or by_ksampler(model, kind, image) is None:
        return
    computes_in = model.get_model_object("manual_cast_dtype") or torch.float32  # where a patch has set one
    bound = partial(rounding, dtype=computes_in)
    chosen = {"steps": STEPS, "scheduler": "simple", "skip_steps": 1}
    target = {"positive": conditioning(kind, 9), "negative": conditioning(kind, 2), "cfg": 7.0, "skip_steps": 1}

    def in_two(image: dict) -> torch.Tensor:
        return sample(model, invert(model, kind, latent_image=image, **chosen), kind, **target)

    def in_one(image: dict) -> torch.Tensor:
        return edit(model, kind, latent_image=image, **chosen)

    two, one = or_why(in_two, image), or_why(in_one, image)
    if isinstance(two, str) or isinstance(one, str):
        assert one == two
        return
    assert one.isfinite().all()
    apart = relative(one, two)
    # levels that hardly change hold little of the image, whose nudge then says little: 1e-5 is what the pack promises
    assert apart <= 1e-5 or apart <= bound(in_one, image), f"one pass and two are {apart:.2g} apart"

    maps = invert(model, kind, latent_image=image, **chosen)
    off = (sample(model, maps, kind, skip_steps=1) - image["samples"]).abs().max()
    largest = max(maps.states.abs().max(), maps.residuals.abs().max())
    assert off <= 1e-5 * largest or off <= bound(in_two, image) * two.abs().max(), f"the image is {off:.2g} off"

    (guider,) = host_node("CFGGuider", model=model, **{name: target[name] for name in ("positive", "negative", "cfg")})
    hosts = run_custom(guider, maps, image, skip_steps=1)
    apart = relative(two, hosts)
    assert apart <= 1e-5, f"the host's guider and ours are {apart:.2g} apart"
    (edits,) = pack.run("EditFriendlyAddEdit", prompt=target["positive"], **ONE_EDIT)
    source = {"source": target["negative"], "edits": edits}
    edited = pack.run("EditFriendlySampleEdits", model=model, noise_maps=maps, skip_steps=1, **source)[0]["samples"]
    apart = relative(edited, hosts)
    assert apart <= 1e-5 or apart <= bound(in_two, image), f"several edits are {apart:.2g} off"

    def h_edit(words: torch.Tensor) -> torch.Tensor:
        source, negative = [[words, target["negative"][0][1]]], target["negative"]
        prompts = {"source": source, "target": target["positive"], "negative": negative}
        (guider,) = pack.run("EditFriendlyEditGuider", model=model, **prompts, **H_EDIT)
        return run_custom(guider, maps, image, skip_steps=1)

    words, told = target["negative"][0][0], []
    with watched(told):
        by_h_edit = h_edit(words)
    if chained.keeps and any("A call for each edit" in text for text in told):
        return  # such a patch keeps of all calls together, as the log says
    apart = relative(by_h_edit, hosts)
    # a patch may multiply what source and negative prompt differ by, which here is rounding alone (NAGuidance: by 50 in
    # each layer), and a nudge of the LATENT is one of both
    if apart > 1e-5:
        of_words = TIMES * relative(h_edit(nudged(words, computes_in)), by_h_edit)
        assert apart <= max(of_words, bound(in_two, image)), f"h-Edit is {apart:.2g} off"
