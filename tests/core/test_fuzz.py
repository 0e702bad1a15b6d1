"""Whatever is given: a ValueError that says what is wrong, or a right result; never another exception.

A few hundred inputs in the suite; `--hypothesis-profile=nightly` tries 1,000 a test.
"""

import contextlib
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

from ddpm_core import (
    Facts,
    LatentSpace,
    Method,
    NoiseMaps,
    NoiseSchedule,
    Origin,
    edit,
    generate,
    invert,
    manipulation,
    null_text,
    pure_noise,
    sample,
    statistics,
    storage,
    trajectories,
)

STEPS, SHAPE = 3, (2, 2, 3, 4)  # of the maps that are mutated
DTYPES = (torch.float64, torch.float32, torch.float16, torch.int64, torch.uint8, torch.bool)
ODD_NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-300, 1e300, 3e38, 1e-45, math.inf, -math.inf, math.nan])
NUMBERS = ODD_NUMBERS | st.floats(-20, 20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3),
)


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def maps_of(schedule: NoiseSchedule, shape=SHAPE, **more) -> NoiseMaps:
    return NoiseMaps(schedule, seeded(schedule.steps + 1, *shape), seeded(schedule.steps, *shape), **more)


@st.composite
def schedules(draw, family_at, most=6):
    eta = draw(st.sampled_from([0.0, 0.3, 1.0]))
    return draw(st.sampled_from(family_at))(draw(st.integers(1, most)), eta)


@pytest.fixture(scope="session")
def saved(tmp_path_factory, family_at):
    """A file of maps that have all that maps may have."""
    path = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    more = {"uncond": seeded(STEPS, SHAPE[0], 3, 2), "kept_denoised": seeded(STEPS, *SHAPE)}
    space = LatentSpace("SD15", "SD15", torch.ones(2), torch.zeros(2), 8, torch.ones(2, 2, 2, 3))
    facts = Facts((3, 4), 1, Origin(Method.NATIVE, 2.5, (0.5, -1.0)), space, {"scheduler": "normal"})
    noising = torch.stack([torch.linspace(1, 1, STEPS + 1), torch.linspace(2, 0, STEPS + 1)]).double()
    storage.save(maps_of(family_at[0](STEPS, 1.0), facts=facts, noising=noising, **more), path)
    return path, path.read_bytes()


def load_or_refuse(path, content: bytes) -> None:
    """Refused with the name of the file; or consistent, and the same again after it is saved."""
    path.write_bytes(content)
    try:
        noise_maps = storage.load(path)
    except ValueError as error:
        assert path.name in str(error)
        return
    assert all(math.isfinite(number) for step in noise_maps.schedule.step_table for number in vars(step).values())
    assert noise_maps.denoised.shape == noise_maps.residuals.shape
    storage.save(noise_maps, path)
    again = storage.load(path)
    assert (again.seeds, again.images, again.origin) == (noise_maps.seeds, noise_maps.images, noise_maps.origin)
    assert again.notes == noise_maps.notes and again.skipped == noise_maps.skipped
    assert torch.equal(again.states, noise_maps.states) and torch.equal(again.residuals, noise_maps.residuals)


@given(st.data())
def test_files_whose_bytes_are_changed(saved, data):
    path, content = saved
    content = bytearray(content)
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, header) | st.integers(0, len(content)))
        stop = start + data.draw(st.integers(0, 8))
        content[start:stop] = data.draw(st.binary(max_size=8) | st.binary(min_size=stop - start, max_size=stop - start))
    load_or_refuse(path, bytes(content[: data.draw(st.none() | st.integers(0, len(content)))]))


@given(st.data())
def test_files_whose_header_is_changed(saved, data):
    path, content = saved
    length = int.from_bytes(content[:8], "little")
    table = json.loads(content[8 : 8 + length])
    header = json.loads(table["__metadata__"]["noise_maps"])
    parts = [header, *(header[name] for name in ("notes", "origin", "space"))]
    where = data.draw(st.sampled_from([*parts, table["__metadata__"], table, table["states"]]))
    for _ in range(data.draw(st.integers(1, 3))):
        where[data.draw(st.sampled_from(sorted(where)) | st.text(max_size=5))] = data.draw(JSON)
    if isinstance(table.get("__metadata__"), dict) and where is not table["__metadata__"]:
        table["__metadata__"]["noise_maps"] = json.dumps(header)
    text = json.dumps(table).encode()
    load_or_refuse(path, len(text).to_bytes(8, "little") + text + content[8 + length :])


def tensors(shapes, dtypes=DTYPES):
    """Any tensors of these shapes."""

    def of(shape, dtype, number, seed):
        base = seeded(*shape, seed=seed).double()
        if number is not None and base.numel():
            base.view(-1)[0] = number
        return base.to(dtype)

    return st.builds(of, shapes, st.sampled_from(dtypes), st.none() | NUMBERS, st.integers(0, 9))


@given(st.data())
def test_files_whose_tensors_are_changed(saved, data):
    path, content = saved
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    held = load(content)
    for name in data.draw(st.lists(st.sampled_from(sorted(held)), min_size=1, max_size=3, unique=True)):
        shape = held[name].shape
        near = st.permutations(shape) | st.just(shape) | st.lists(st.integers(0, 4), max_size=6)
        held[name] = data.draw(tensors(near, (*DTYPES, torch.complex64, torch.float8_e5m2, torch.bfloat16)))
        if data.draw(st.integers(0, 9)) == 0:
            del held[name]
    load_or_refuse(path, save(held, metadata))


@given(
    sigmas=st.lists(NUMBERS, max_size=5) | st.lists(NUMBERS, max_size=5).map(lambda some: [*sorted(some)[::-1], 0.0]),
    make=st.sampled_from([NoiseSchedule.variance_exploding, NoiseSchedule.flow, NoiseSchedule.variance_preserving]),
    eta=NUMBERS | st.floats(0, 1),
)
def test_levels_of_any_kind(sigmas, make, eta):
    """A schedule is refused, or all of its coefficients are numbers, and its steps go from one level to the next."""
    try:
        schedule = make(torch.tensor(sigmas, dtype=torch.float64), eta)
    except ValueError:
        return
    for i in range(schedule.steps):
        step = schedule.step(i)
        assert all(math.isfinite(number) for number in vars(step).values())
        assert step.denoised_weight > 0
        assert 0 <= step.sigma_t <= schedule.noise[i + 1]


def finite(x: torch.Tensor, shape) -> None:
    assert tuple(x.shape) == tuple(shape) and x.isfinite().all()


@given(st.data())
def test_loops_with_any_numbers(family_at, denoiser_at, data):
    """What a seed, a skip, a mask, a count of states or of seeds may be."""
    schedule = data.draw(schedules(family_at))
    shape = data.draw(
        st.sampled_from([(1, 2, 3, 4), (2, 1, 1, 1), (1, 5), (2, 2, 2, 3, 3), (0, 2, 3, 4), (1, 2, 0, 4)])
    )
    seeds = data.draw(st.lists(st.sampled_from([0, 1, 2**63, 2**64 - 1, -1]), min_size=shape[0], max_size=shape[0]))
    seeds += data.draw(st.sampled_from([[], [], [], [5]]))
    skip = data.draw(st.none() | st.integers(-1, 7))
    mask = data.draw(st.none() | tensors(st.sampled_from([shape, (1,), (1, *shape[1:]), (2, 7), (0,), ()])))
    x_0 = seeded(*shape).to(data.draw(st.sampled_from([torch.float16, torch.float32, torch.float64])))

    def guided(x, sigma):
        return lambda uncond: denoiser_at(x, sigma) + uncond.mean()

    with contextlib.suppress(ValueError):
        states = trajectories.edit_friendly(x_0, schedule, seeds)
        noise_maps = invert(denoiser_at, states, schedule)
        finite(sample(denoiser_at, noise_maps, skip_steps=skip, mask=mask), shape)
        assert skip is None or 0 <= skip < schedule.steps
    with contextlib.suppress(ValueError):
        finite(edit(lambda x, sigma: 0.5 * denoiser_at(x, sigma), x_0, schedule, seeds, mask=mask), shape)
    with contextlib.suppress(ValueError):
        finite(generate(denoiser_at, pure_noise(x_0, schedule, seeds), schedule, seeds).image, shape)
    with contextlib.suppress(ValueError):
        options = {"fixed_point_iterations": data.draw(st.integers(-1, 2)), "forward_noise_steps": skip or 0}
        options |= {"warm_start": data.draw(st.booleans()), "regularization": data.draw(st.sampled_from([0.0, 20.0]))}
        states = trajectories.ddim(denoiser_at, x_0, schedule, seeds, **options)
        finite(states, (schedule.steps + 1, *shape))
        uncond = seeded(*data.draw(st.sampled_from([(shape[0], 2, 3), (1, 2, 3), (2, 3), (shape[0], 0, 3)])))
        finite(null_text(guided, states, schedule, uncond, inner_steps=2).uncond, (schedule.steps, shape[0], 2, 3))


@given(st.data())
def test_edits_of_maps_with_any_numbers(family_at, data):
    schedule = data.draw(schedules(family_at))
    shape = data.draw(st.sampled_from([(1, 2, 3, 4), (2, 1, 1, 1), (1, 5), (2, 2, 2, 3, 3), (1, 2, 16, 17)]))
    noise_maps = maps_of(schedule, shape, skipped=data.draw(st.integers(0, 3)))
    odd = tensors(st.sampled_from([shape, (1,), shape[-2:], (1, *shape[1:]), (2, 7), (0,), (), (1, 1, *shape)]))
    numbers = st.sampled_from([0.0, 1.0]) | NUMBERS
    offsets = st.integers(-5, 5) | st.sampled_from([-(2**70), 2**70])
    other = maps_of(data.draw(schedules(family_at)), shape)
    edits = (
        lambda: manipulation.shift(
            noise_maps,
            data.draw(offsets),
            data.draw(offsets),
            data.draw(st.sampled_from(["copy", "wrap", "gaussian", "", "none"])),
            data.draw(st.sampled_from([None, [], [0] * shape[0], [2**64 - 1] * shape[0], [0] * 3])),
        ),
        lambda: manipulation.flip(noise_maps, data.draw(st.booleans()), data.draw(st.booleans())),
        lambda: manipulation.recolor(noise_maps, data.draw(odd), data.draw(odd), *(data.draw(numbers) for _ in "abc")),
        lambda: manipulation.interpolate(
            noise_maps, other, data.draw(numbers), data.draw(st.sampled_from(["spherical", "linear", "other"]))
        ),
    )
    with contextlib.suppress(ValueError):
        edited = data.draw(st.sampled_from(edits))()
        finite(edited.states, noise_maps.states.shape)
        finite(edited.residuals, noise_maps.residuals.shape)
        numbers = statistics.report(edited, data.draw(st.none() | st.just(noise_maps)))
        assert all(isinstance(number, float) for number in numbers.values())
