"""What a browser hears over the websocket while the nodes work: progress, live previews and words on a node."""

import asyncio
import io
import json
import math
import struct
import uuid

import pytest
import requests
from PIL import Image

PREVIEW_IMAGE, TEXT = 1, 3  # the host's binary events, for clients that declare no further features


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def graph(seed: int) -> dict:
    """The three nodes that sample, on the demo model."""
    links = {"model": ["model", 0], "negative": ["empty", 0]}
    invert = {
        "latent_image": ["latent", 0],
        "positive": ["source", 0],
        "steps": 10,
        "cfg": 1.0,
        "eta": 1.0,
        "scheduler": "ddim_uniform",
        "seed": seed,
        "skip_steps": 0,
        "variations": 1,
    }
    replay = {"positive": ["target", 0], "noise_maps": ["one", 0], "cfg": 3.0, "skip_steps": 2}
    edit = {"source": ["source", 0], "target": ["target", 0], "source_cfg": 1.0, "target_cfg": 3.0, "skip_steps": 3}
    shared = {name: value for name, value in invert.items() if name not in ("positive", "cfg", "skip_steps")}
    return {
        "model": node("EditFriendlyLoadDemoModel"),
        "image": node("EditFriendlyLoadDemoImage", scene="a red house by the sea", seed=seed),
        "latent": node("VAEEncode", pixels=["image", 0], vae=["model", 2]),
        "source": node("CLIPTextEncode", clip=["model", 1], text=["image", 2]),
        "target": node("CLIPTextEncode", clip=["model", 1], text="a green house by the sea"),
        "empty": node("CLIPTextEncode", clip=["model", 1], text=""),
        "one": node("EditFriendlyInvert", **links, **invert, timesteps_per_call=1),
        "four": node("EditFriendlyInvert", **links, **invert, timesteps_per_call=4),
        "sample": node("FixedNoiseSampler", **links, **replay),
        "edit": node("EditFriendlyEdit", **links, **edit, **shared),
        "kept": node("PreviewAny", source=["four", 0]),
        "kept_sample": node("SaveLatent", samples=["sample", 0], filename_prefix="progress/sample"),
        "kept_edit": node("SaveLatent", samples=["edit", 0], filename_prefix="progress/edit"),
    }


async def listen(url: str, prompt: dict, **extra: str) -> tuple[dict, dict, dict]:
    """Post a graph and hear it out: (value, max) of each node's progress, each node's preview images, and its texts.

    Args:
        extra: what the front end sends along with the graph.
    """
    import aiohttp  # comes with ComfyUI, and without ComfyUI there is no server to listen to

    client = uuid.uuid4().hex
    progress: dict[str, list] = {}
    previews: dict[str, list] = {}
    texts: dict[str, list] = {}
    executing = None
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ws", params={"clientId": client}, timeout=aiohttp.ClientWSTimeout(120)) as socket,
    ):
        body = {"prompt": prompt, "client_id": client, "extra_data": extra}
        reply = await asyncio.to_thread(requests.post, f"{url}/prompt", json=body, timeout=60)
        assert reply.ok, reply.text
        run = reply.json()["prompt_id"]
        while True:
            message = await socket.receive(timeout=120)
            if message.type == aiohttp.WSMsgType.BINARY:
                event, length = struct.unpack(">II", message.data[:8])
                if event == TEXT:
                    node_id, text = message.data[8 : 8 + length], message.data[8 + length :]
                    texts.setdefault(node_id.decode(), []).append(text.decode())
                elif event == PREVIEW_IMAGE:
                    previews.setdefault(executing, []).append(Image.open(io.BytesIO(message.data[8:])))
                continue
            event, data = (json.loads(message.data)[key] for key in ("type", "data"))
            assert event != "execution_error", data
            if event == "executing":
                executing = data["node"]
                if executing is None and data["prompt_id"] == run:
                    return progress, previews, texts
            elif event == "progress":
                progress.setdefault(data["node"], []).append((data["value"], data["max"]))


@pytest.fixture(scope="module")
def heard(server):
    return asyncio.run(listen(server.url, graph(seed=11)))


@pytest.mark.parametrize(("name", "steps"), [("one", 10), ("sample", 8), ("edit", 7)])
def test_progress_counts_the_steps_that_are_run(heard, name, steps):
    progress, *_ = heard
    assert progress[name] == [(value, steps) for value in range(1, steps + 1)]


def test_progress_without_previews_climbs_to_the_end(server):
    """Newer hosts can leave previews out of a run, and then leave out steps that follow within a tenth of a second."""
    prompt = graph(seed=12)
    kept = ("model", "image", "latent", "source", "empty", "one")
    prompt = {name: prompt[name] for name in kept} | {"kept": node("PreviewAny", source=["one", 0])}
    progress, *_ = asyncio.run(listen(server.url, prompt, preview_method="none"))
    values = [value for value, _ in progress["one"]]
    assert {steps for _, steps in progress["one"]} == {10}
    assert values == sorted(set(values)) and (values[0], values[-1]) == (1, 10)


def test_progress_of_a_batched_inversion_counts_the_steps_that_are_done(heard):
    progress, *_ = heard
    assert progress["four"] == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.parametrize(("name", "calls"), [("one", 10), ("four", math.ceil(10 / 4)), ("sample", 8), ("edit", 7)])
def test_each_call_shows_a_preview(heard, name, calls):
    _, previews, _ = heard
    assert len(previews[name]) == calls
    assert all(preview.size[0] >= 16 for preview in previews[name])


def test_settings_that_do_not_suit_the_maps_are_told_on_the_node(server, heard):
    """Where the papers would skip less, and nowhere else."""
    *_, texts = heard
    assert texts == {}
    prompt = graph(seed=13)
    del prompt["edit"], prompt["kept_edit"], prompt["four"], prompt["kept"]
    prompt["sample"]["inputs"] |= {"skip_steps": 8}
    prompt["sampler"] = node("EditFriendlySamplerFixedNoise", noise_maps=["one", 0], skip_steps=9)
    prompt["kept_sampler"] = node("PreviewAny", source=["sampler", 1])
    *_, texts = asyncio.run(listen(server.url, prompt))
    assert set(texts) == {"sample", "sampler"}
    assert "skip_steps 8 leaves out 80% of the 10 steps" in texts["sample"][0]
    assert "skip_steps 9 leaves out 90%" in texts["sampler"][0]
