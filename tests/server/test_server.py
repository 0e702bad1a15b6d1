"""The pack in a real server: graphs are posted as a script would post them."""

import time

import pytest
import torch
from safetensors.torch import load_file

from ddpm_core import storage
from support.node_ids import NODE_IDS
from tools.batch.server import GraphError


def node(class_type: str, **inputs) -> dict:
    return {"class_type": class_type, "inputs": inputs}


def graph(**changed) -> dict:
    """LoadImage -> VAEEncode -> EditFriendlyInvert -> FixedNoiseSampler -> VAEDecode -> SaveImage."""
    nodes = {
        "model": node("UNETLoader", unet_name="random_sd15.safetensors", weight_dtype="default"),
        "clip": node("CLIPLoader", clip_name="random_clip_l.safetensors", type="stable_diffusion"),
        "vae": node("VAELoader", vae_name="taesd"),
        "image": node("LoadImage", image="photo.png"),
        "latent": node("VAEEncode", pixels=["image", 0], vae=["vae", 0]),
        "source": node("CLIPTextEncode", clip=["clip", 0], text="a photo of a cat"),
        "target": node("CLIPTextEncode", clip=["clip", 0], text="a photo of a dog"),
        "empty": node("CLIPTextEncode", clip=["clip", 0], text=""),
        "invert": node(
            "EditFriendlyInvert",
            model=["model", 0],
            positive=["source", 0],
            negative=["empty", 0],
            latent_image=["latent", 0],
            steps=4,
            cfg=3.5,
            eta=1.0,
            scheduler="ddim_uniform",
            seed=1,
            skip_steps=0,
            variations=1,
            timesteps_per_call=1,
        ),
        "back": sampler("source", cfg=3.5, skip_steps=0),
        "edit": sampler("target", cfg=9.0, skip_steps=1),
        "pixels": node("VAEDecode", samples=["edit", 0], vae=["vae", 0]),
        "save": node("SaveImage", images=["pixels", 0], filename_prefix="edit"),
        "save_latent": node("SaveLatent", samples=["latent", 0], filename_prefix="latent"),
        "save_back": node("SaveLatent", samples=["back", 0], filename_prefix="back"),
        "save_edit": node("SaveLatent", samples=["edit", 0], filename_prefix="edit"),
        "save_maps": node("EditFriendlySaveNoiseMaps", noise_maps=["invert", 0], filename_prefix="noise_maps/photo"),
    }
    for name, inputs in changed.items():
        nodes[name]["inputs"] |= inputs
    return nodes


def sampler(prompt: str, noise_maps: str = "invert", **inputs) -> dict:
    links = {"model": ["model", 0], "positive": [prompt, 0], "negative": ["empty", 0], "noise_maps": [noise_maps, 0]}
    return node("FixedNoiseSampler", **links, **inputs)


def latent(server, outputs: dict, name: str) -> torch.Tensor:
    return load_file(server.path_of(outputs[name]["latents"][0]))["latent_tensor"]


@pytest.fixture(scope="module")
def first_run(server) -> dict:
    return server.run(graph())


def run_anew(server, before: dict, unload_models: bool) -> dict:
    """The outputs of the graph, every node of it executed once more after the run that gave `before`.

    The server drops cached results some time after it is told to; until then a run gives the files of the last one.
    """
    import requests

    for _ in range(60):
        requests.post(f"{server.url}/free", json={"unload_models": unload_models, "free_memory": True}, timeout=60)
        time.sleep(1)
        outputs = server.run(graph())
        if outputs["save_edit"] != before["save_edit"]:
            return outputs
    raise TimeoutError("the server did not drop its results")


def test_the_nodes_are_listed(server):
    info = server.get("/object_info")
    ours = {name for name, entry in info.items() if entry["python_module"] == "custom_nodes.edit-friendly-ddpm"}
    assert ours == set(NODE_IDS)  # a node with an id of the host's own would be missing here
    assert info["EditFriendlyInvert"]["output"] == ["NOISE_MAPS"]
    assert info["FixedNoiseSampler"]["input"]["required"]["noise_maps"][0] == "NOISE_MAPS"
    assert info["EditFriendlyInvert"]["input"]["required"]["seed"][1]["control_after_generate"] is True


def test_the_main_job(server, first_run):
    image = latent(server, first_run, "save_latent")
    assert (latent(server, first_run, "save_back") - image).abs().max() <= 1e-5
    assert (latent(server, first_run, "save_edit") - image).abs().max() > 0.1
    assert server.path_of(first_run["save"]["images"][0]).stat().st_size > 0


def test_the_same_graph_queued_twice_gives_the_same_bytes(server, first_run):
    second_run = run_anew(server, first_run, unload_models=True)
    for name, key in (("save_edit", "latents"), ("save_maps", "noise_maps"), ("save", "images")):
        first, second = first_run[name][key][0], second_run[name][key][0]
        assert first["filename"] != second["filename"]
        assert server.path_of(first).read_bytes() == server.path_of(second).read_bytes()


def test_saved_maps_are_edited_again_without_an_inversion(server, first_run):
    """What another process saved is loaded by this one, and sampled by the server from the file."""
    file = first_run["save_maps"]["noise_maps"][0]
    noise_maps = storage.load(server.path_of(file))
    assert noise_maps.origin.method.value == "edit friendly"
    assert '"EditFriendlyInvert"' in noise_maps.notes["prompt"]
    nodes = graph()
    nodes["invert"] = node("EditFriendlyLoadNoiseMaps", file=f"{file['subfolder']}/{file['filename']} [output]")
    del nodes["save_maps"]
    assert torch.equal(latent(server, server.run(nodes), "save_edit"), latent(server, first_run, "save_edit"))


def test_every_node_in_one_graph(server):
    nodes = graph()
    nodes |= {
        "flip": node("EditFriendlyNoiseMapsFlip", noise_maps=["invert", 0], horizontal=True, vertical=False),
        "shift": node("LatentShift", noise_maps=["flip", 0], x=16, y=-8, fill="copy"),
        "mask": node("SolidMask", value=1.0, width=64, height=72),
        "recolor": node(
            "MaskColorEdit",
            noise_maps=["shift", 0],
            mask=["mask", 0],
            color=["latent", 0],
            strength=0.05,
            start_percent=0.3,
            end_percent=0.8,
        ),
        "sampler": node("EditFriendlySamplerFixedNoise", noise_maps=["recolor", 0], skip_steps=1),
        "guider": node("CFGGuider", model=["model", 0], positive=["target", 0], negative=["empty", 0], cfg=9.0),
        "noise": node("DisableNoise"),
        "advanced": node(
            "SamplerCustomAdvanced",
            noise=["noise", 0],
            guider=["guider", 0],
            sampler=["sampler", 0],
            sigmas=["sampler", 1],
            latent_image=["latent", 0],
        ),
        "ours": sampler("target", "recolor", cfg=9.0, skip_steps=1),
        "preview": node("EditFriendlyNoiseMapsPreview", noise_maps=["recolor", 0], columns=3, row=0, vae=["vae", 0]),
        "save_advanced": node("SaveLatent", samples=["advanced", 0], filename_prefix="advanced"),
        "save_ours": node("SaveLatent", samples=["ours", 0], filename_prefix="ours"),
    }
    outputs = server.run(nodes)
    assert torch.equal(latent(server, outputs, "save_advanced"), latent(server, outputs, "save_ours"))
    (shown,) = outputs["preview"]["images"]
    assert shown["type"] == "temp" and server.path_of(shown).stat().st_size > 0


def test_an_interrupted_graph_runs_again_as_if_nothing_had_been(server, first_run):
    run = server.queue(graph(invert={"steps": 1000}))
    while not server.get("/queue")["queue_running"]:
        time.sleep(0.05)
    time.sleep(3)  # into the inversion
    server.interrupt()
    with pytest.raises(GraphError, match="execution_interrupted"):
        server.result(run)
    again = run_anew(server, first_run, unload_models=False)  # the very model that was interrupted
    assert torch.equal(latent(server, again, "save_edit"), latent(server, first_run, "save_edit"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edit": {"skip_steps": 4}}, "skip_steps is 4, the noise maps hold steps 0 to 3 of 4"),
        ({"invert": {"skip_steps": 4}}, "skip_steps is 4, the schedule has 4 steps"),
        ({"invert": {"eta": 0.0}}, "smaller than min"),
        ({"save_maps": {"filename_prefix": "../outside"}}, "leaves the folder 'output'"),
    ],
)
def test_what_is_wrong_is_said_on_the_node(server, changed, message):
    with pytest.raises(GraphError, match=message):
        server.run(graph(**changed))


def test_a_file_outside_the_hosts_folders_is_refused_before_anything_runs(server):
    nodes = graph()
    nodes["invert"] = node("EditFriendlyLoadNoiseMaps", file="../../secret.noisemaps.safetensors")
    with pytest.raises(GraphError, match="refused the graph.*leaves the folder 'input'"):
        server.run(nodes)


def test_lists_of_sentences_arrive_whole(server):
    """Sentences as a list of the host's, and the same as entries of one conditioning, lead to one and the same edit."""
    words = {"source": ("a cat", "a cat asleep"), "target": ("a dog", "a dog asleep")}
    encoded = {
        "listed": {
            name: node("EditFriendlyEncodeSentences", clip=["clip", 0], text="\n\n".join(words[name])) for name in words
        },
        "combined": {
            name: node("ConditioningCombine", conditioning_1=[f"{name} 0", 0], conditioning_2=[f"{name} 1", 0])
            for name in words
        },
    }
    found = {}
    for how, sentences in encoded.items():
        nodes = graph(invert={"steps": 2}, edit={"positive": ["moved", 0], "skip_steps": 0})
        for name in ("save", "pixels", "save_back", "back", "save_maps", "save_latent", "target"):
            del nodes[name]
        nodes |= {f"of {name}": one for name, one in sentences.items()}
        if how == "combined":
            nodes |= {
                f"{name} {k}": node("CLIPTextEncode", clip=["clip", 0], text=text)
                for name, texts in words.items()
                for k, text in enumerate(texts)
            }
        links = {"conditioning": ["source", 0], "source": ["of source", 0], "target": ["of target", 0]}
        nodes["moved"] = node("EditFriendlyEditDirection", **links, strength=1.0)
        outputs = server.run(nodes)
        assert len(outputs["save_edit"]["latents"]) == 1
        found[how] = latent(server, outputs, "save_edit")
    assert torch.equal(found["listed"], found["combined"])


def test_zero_shot_image_to_image(server):
    """Gradients in the server's own inference mode."""
    nodes = graph(invert={"steps": 2})
    for name in ("save", "pixels", "save_back", "back", "save_maps", "save_latent"):
        del nodes[name]
    links = {name: [name, 0] for name in ("model", "source", "target")}
    links |= {"negative": ["empty", 0], "noise_maps": ["invert", 0]}
    nodes["edit"] = node("EditFriendlyZeroShotImageToImage", **links, cfg=7.5, guidance_weight=0.1, skip_steps=0)
    outputs = server.run(nodes)
    assert latent(server, outputs, "save_edit").isfinite().all()
