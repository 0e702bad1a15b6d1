"""Whatever is wired to the nodes: a ValueError that says what is wrong, or a right result; never another exception.

The rest of these, of files and the core, is in tests/core/test_fuzz.py.
"""

import contextlib
import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

MAX_SEED = 2**64 - 1
DTYPES = [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.bool]


def mostly(usual: st.SearchStrategy, odd: st.SearchStrategy) -> st.SearchStrategy:
    """One in eight is odd: several inputs are drawn, and one that is refused is enough."""
    return st.integers(0, 7).flatmap(lambda k: odd if k == 7 else usual)


def filled(shape, dtype=torch.float32, odd=None, seed=0) -> torch.Tensor:
    """Uniform noise in [0, 1), one value of it odd."""
    values = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed))
    if odd is not None and values.numel():
        values.view(-1)[-1] = odd
    return values.to(dtype)


def tensors(shapes: st.SearchStrategy) -> st.SearchStrategy:
    dtypes = mostly(st.just(torch.float32), st.sampled_from(DTYPES))
    odd = mostly(st.none(), st.sampled_from([math.nan, math.inf, -1.0, 2.0, 1e4]))
    return st.builds(filled, shapes, dtypes, odd, st.integers(0, 9))


def latents(channels: int) -> st.SearchStrategy:
    """LATENTs, mostly of images with these channels."""
    image = st.tuples(st.integers(1, 3), st.just(channels), st.integers(1, 9), st.integers(1, 9))
    other = st.lists(st.integers(0, 5), max_size=6).map(tuple)
    masked = mostly(st.none(), tensors(other | st.sampled_from([(1, 8, 8), (2, 1, 64, 64), (1, 1, 5, 9), (3, 7)])))
    return st.builds(
        lambda samples, mask: {"samples": samples} | ({} if mask is None else {"noise_mask": mask}),
        tensors(mostly(image, other)),
        masked,
    )


ROWS = mostly(st.just((1,)), st.sampled_from([(2,), (3,), (0,), (), (1, 1), (2, 1)]))
SIZES = mostly(
    st.sampled_from([(64, 64), (8, 8), (67, 70), (65, 65)]),
    st.sampled_from([(64, 1), (1, 1), (0, 64), (16, 64)]),
)
MASKS = tensors(st.builds(lambda rows, size: (*rows, *size), ROWS, SIZES))
SIGMAS = mostly(
    st.none() | st.lists(st.floats(0.03, 0.99), min_size=1, max_size=4).map(lambda some: [*sorted(some)[::-1], 0.0]),
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 14.0, math.nan, math.inf, -1.0, 1e-40]), max_size=4),
).map(lambda some: None if some is None else torch.tensor(some, dtype=torch.float32))
ETAS = st.sampled_from([0.0, 0.01, 0.5, 1.0])
SEEDS = st.sampled_from([0, 1, 2**63, MAX_SEED])
SCHEDULERS = st.sampled_from(["ddim_uniform", "karras", "simple", "beta", "normal", "exponential"])


def finite(x: torch.Tensor, shape) -> None:
    assert tuple(x.shape) == tuple(shape) and x.isfinite().all()


@given(st.data())
def test_inversions_and_what_they_sample_to(random_model, run_node, sample, data):
    kind = data.draw(st.sampled_from(["sd15", "flow"]))
    node = data.draw(
        st.sampled_from(
            [
                "EditFriendlyInvert",
                "EditFriendlyCycleDiffusionInvert",
                "EditFriendlyTurboInvert",
                "EditFriendlyDDIMInvert",
                "EditFriendlyNullTextInvert",
                "EditFriendlySampleWithNoiseMaps",
            ]
        )
    )
    image = data.draw(latents(4 if kind == "sd15" else 16))
    inputs = {
        "latent_image": image,
        "steps": data.draw(st.integers(1, 4)),
        "cfg": data.draw(st.sampled_from([0.0, 1.0, 3.5, 100.0])),
        "scheduler": data.draw(SCHEDULERS),
        "sigmas": data.draw(SIGMAS),
    }
    if node != "EditFriendlyNullTextInvert":
        inputs["seed"] = data.draw(SEEDS)
    if node != "EditFriendlySampleWithNoiseMaps":
        inputs["skip_steps"] = data.draw(mostly(st.just(0), st.integers(0, 4)))
    if node.endswith("Invert") and node != "EditFriendlyNullTextInvert":
        inputs["variations"] = data.draw(st.integers(1, 3))
    if node not in ("EditFriendlyDDIMInvert", "EditFriendlyNullTextInvert"):
        inputs["eta"] = data.draw(ETAS)
    if node in ("EditFriendlyInvert", "EditFriendlyCycleDiffusionInvert"):
        inputs["timesteps_per_call"] = data.draw(st.integers(0, 3))
    if node == "EditFriendlyTurboInvert":
        inputs["noise_shift"] = data.draw(st.integers(0, 5))
        inputs["clip_last"] = data.draw(st.sampled_from([0.0, 0.121, 10.0]))
    if node == "EditFriendlyNullTextInvert":
        inputs["inner_steps"] = data.draw(st.integers(1, 2))
        inputs["learning_rate"] = data.draw(st.sampled_from([0.0, 0.01, 1.0]))
        inputs["early_stop"] = data.draw(st.sampled_from([0.0, 1e-5, 1.0]))
    with contextlib.suppress(ValueError):
        noise_maps = run_node(node, random_model(kind), kind, **inputs)[-1]
        rows = len(image["samples"]) * inputs.get("variations", 1)
        finite(noise_maps.image, (rows, *image["samples"].shape[1:]))
        exact = inputs.get("timesteps_per_call", 1) == 1 and not inputs.get("clip_last")
        if inputs["cfg"] == 1.0 and "variations" in inputs and exact:
            back = sample(random_model(kind), noise_maps, kind, cfg=1.0)
            expected = image["samples"].float().repeat(inputs["variations"], 1, 1, 1)
            assert (back - expected).abs().max() <= 1e-4 * max(1, expected.abs().max())


@given(st.data())
def test_edits(pack, random_model, conditioning, invert, sample, data):
    model, images = random_model("sd15"), data.draw(st.integers(1, 2))
    samples = filled((images, 4, 8, 8))
    common = {
        "mask": data.draw(st.none() | MASKS),
        "skip_steps": data.draw(mostly(st.just(1), st.integers(0, 6))),
        "cfg_schedule": data.draw(st.sampled_from(["constant", "linear", "cosine"])),
        "end_cfg": data.draw(st.sampled_from([0.0, 1.0, 100.0])),
    }
    noise_maps = invert(model, latent_image={"samples": samples}, skip_steps=data.draw(st.integers(0, 1)))
    cfg = data.draw(st.sampled_from([0.0, 1.0, 15.0]))
    with contextlib.suppress(ValueError):
        edited = sample(model, noise_maps, positive=conditioning("sd15", 5), cfg=cfg, **common)
        finite(edited, samples.shape)
    with contextlib.suppress(ValueError):
        prompts = {name: conditioning("sd15", k) for k, name in enumerate(("source", "target", "negative"))}
        settings = {
            "steps": 3,
            "source_cfg": 3.5,
            "target_cfg": cfg,
            "eta": data.draw(ETAS),
            "scheduler": data.draw(SCHEDULERS),
        }
        image = data.draw(latents(4))
        settings |= {"seed": data.draw(SEEDS), "variations": 1, "latent_image": image, **common}
        edited, _ = pack.run("EditFriendlyEdit", model=model, **prompts, **settings)
        rows, channels, *cells = image["samples"].shape
        empty = not image["samples"].any()  # whose channels the host makes those of the model
        finite(edited["samples"], (rows, 4 if empty else channels, *cells))


@pytest.fixture(scope="session")
def inverted(random_model, invert):
    """Maps of one image, and of two that skip a step."""
    model = random_model("sd15")
    two = invert(model, latent_image={"samples": filled((2, 4, 8, 8), seed=1)}, skip_steps=1)
    return invert(model, latent_image={"samples": filled((1, 4, 8, 8))}), two


def manipulate(pack, data, noise_maps, other):
    """What a random one of the nodes that change noise maps makes of these."""
    pixels = mostly(st.integers(-60, 60), st.sampled_from([-64, 64, -16384, 16384]))
    inputs = {
        "LatentShift": lambda: {
            "x": data.draw(pixels),
            "y": data.draw(pixels),
            "fill": data.draw(st.sampled_from(["copy", "wrap", "gaussian"])),
        },
        "EditFriendlyNoiseMapsFlip": lambda: {
            "horizontal": data.draw(st.booleans()),
            "vertical": data.draw(st.booleans()),
        },
        "MaskColorEdit": lambda: {
            "mask": data.draw(MASKS),
            "color": data.draw(mostly(st.just({"samples": filled((1, 4, 8, 8))}), latents(4))),
            "strength": data.draw(st.sampled_from([-1.0, 0.0, 1.0])),
            "start_percent": data.draw(st.floats(0, 0.5)),
            "end_percent": data.draw(mostly(st.floats(0.5, 1), st.floats(0, 1))),
        },
        "EditFriendlyNoiseMapsInterpolate": lambda: {
            "noise_maps_b": other,
            "weight": data.draw(st.floats(0, 1)),
            "kind": data.draw(st.sampled_from(["spherical", "linear"])),
        },
    }
    node = data.draw(st.sampled_from(sorted(inputs)))
    given_maps = {"noise_maps_a" if node == "EditFriendlyNoiseMapsInterpolate" else "noise_maps": noise_maps}
    return pack.run(node, **given_maps, **inputs[node]())[0]


@given(st.data())
def test_changes_of_maps(pack, inverted, data):
    for _ in range(data.draw(st.integers(1, 2))):
        noise_maps = data.draw(st.sampled_from(inverted))
        with contextlib.suppress(ValueError):
            noise_maps = manipulate(pack, data, noise_maps, data.draw(st.sampled_from(inverted)))
            finite(noise_maps.residuals, noise_maps.residuals.shape)
            finite(noise_maps.states, (noise_maps.steps + 1, *noise_maps.image.shape))
        with contextlib.suppress(ValueError):
            (sheet,) = pack.run(
                "EditFriendlyNoiseMapsPreview",
                noise_maps=noise_maps,
                columns=data.draw(st.integers(2, 64)),
                row=data.draw(mostly(st.just(0), st.integers(0, 2))),
            )
            finite(sheet, sheet.shape)
        if data.draw(st.integers(0, 7)) == 7:
            others = {"noise_maps_2": data.draw(st.sampled_from(inverted)), "names": data.draw(st.text(max_size=8))}
            plots, numbers = pack.run("EditFriendlyNoiseMapsStatistics", noise_maps=noise_maps, **others)
            finite(plots, plots.shape)
            assert numbers


@given(st.data())
def test_maps_from_a_file_with_another_provenance(comfy, pack, random_model, sample, inverted, tmp_path_factory, data):
    """Under any name: not saved, refused when it is loaded, or the nodes can use what it says."""
    told = dict(sorted(inverted[0].notes.items()))
    some = st.text(max_size=6) | st.sampled_from(["0", "-1", "1e9", "NaN", "[]", "[1, 2]", "[[1.0]]", "null", "true"])
    nested = st.sampled_from(["[" * 100_000, '{"a": 1}', "[Infinity, 1, 1, 1]", "[0, 0, 0, 0]", '["a", 1, 1, 1]'])
    for key in data.draw(st.lists(st.sampled_from(list(told)), min_size=1, max_size=3)):
        told[key] = data.draw(some | nested)
    names = st.text(max_size=12) | st.sampled_from(["", ".", "..", "a/..", "a/../../b", "%year%", "a\0b", "a" * 300])
    save = pack.EditFriendlySaveNoiseMaps.PREPARE_CLASS_CLONE(None)
    save.hidden = SimpleNamespace(prompt=None, extra_pnginfo=None)
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ValueError):
        patch.setattr(comfy.folder_paths, "output_directory", str(tmp_path_factory.mktemp("output")))
        prefix = data.draw(mostly(st.just("noise_maps/ComfyUI"), names | names.map(lambda name: f"{name}/a")))
        saved = save.execute(
            dataclasses.replace(inverted[0], facts=dataclasses.replace(inverted[0].facts, notes=told)), prefix
        ).ui["noise_maps"][0]
        (noise_maps,) = pack.run("EditFriendlyLoadNoiseMaps", file=f"{saved['subfolder']}/{saved['filename']} [output]")
        finite(manipulate(pack, data, noise_maps, inverted[0]).states, noise_maps.states.shape)
        (sheet,) = pack.run("EditFriendlyNoiseMapsPreview", noise_maps=noise_maps, columns=2, row=0)
        finite(sheet, sheet.shape)
        finite(sample(random_model("sd15"), noise_maps), noise_maps.image.shape)
