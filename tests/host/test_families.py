"""What holds for every family of models that ComfyUI samples, each tiny, in its own latent, told what it is told.

The suite tries one of each kind of latent and of conditioning. `--all-families` tries each that the host has, and
writes the table of docs/families.md.
"""

from __future__ import annotations

import logging
from functools import cached_property
from types import SimpleNamespace

import pytest
import torch

from support.families import FAMILIES, NOT_SAMPLED
from support.families.page import COLUMNS, Measured, write_page
from tools.comfyui import version_of

SELECTION = (
    "SD15 inpaint",  # a UNet with a picture beside the latent
    "SDXL CosXL",  # EDM, with a vector beside the text
    "SVD_img2vid",  # a video that is a batch
    "PixArtAlpha",  # a transformer that predicts noise
    "Flux Kontext",  # told its guidance, and a reference
    "ChromaRadiance",  # pixels
    "QwenImage edit",  # pictures with a frame axis, and a reference
    "Lumina2 padded",  # an attention mask
    "HunyuanVideo padded",  # an attention mask for one row alone
    "LTXV",  # kept frames are shown without noise
    "CosmosT2V",  # EDM of video
    "WAN21_Vace",  # lists of tensors beside the text
    "WAN22_T2V first frame kept",
    "CogVideoX_T2V",  # v-prediction of video, text and picture in one attention
    "ACEStep",  # sound of 4 axes
    "ACEStep15",  # sound of 3 axes
    "HunyuanImage21Refiner",
    "LTXAV",
    "WAN21_FlowRVS",
    "TripoSplat",
    "Trellis2 structure",
)
STEPS, SEED = 4, 11
EXACT, ROUNDING = 1e-5, 1e-4  # of the largest value; the second is what calls of other rows make of it
CANNOT = "the host cannot"
WHOLE = ((0.0, 1.0),) * 400  # windows of as many words as any prompt has
OUT_OF_REACH = (
    "not within reach of ComfyUI's hooks",
    "cannot share a call of the model",
    "does not take source and target prompt in one call",
    "a model of video frames",
    "has no attention",
    "the model reads",
    "words have no place of their own in this model",
)
INVERSIONS = {
    "EditFriendlyInvert": [{"eta": 1.0}, {"eta": 0.5}, {"eta": 1.0, "order": 2}],
    "EditFriendlyCycleDiffusionInvert": [{"eta": 1.0}],
    "EditFriendlyDDIMInvert": [{"keep_residuals": True, "fixed_point_iterations": 0, "forward_noise_steps": 0}],
}


def pytest_generate_tests(metafunc):
    """A test takes the families that it is about: those that are refused, or those that are not."""
    if "family" in metafunc.fixturenames:
        chosen = FAMILIES if metafunc.config.getoption("--all-families") else SELECTION
        refused = "refused" in metafunc.function.__name__
        names = [name for name in chosen if bool(FAMILIES[name].refused) == refused]
        metafunc.parametrize("family", names, indirect=True, scope="module")


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


class Family:
    """A family on the host at hand, with the nodes of the pack."""

    def __init__(self, pack, comfy, name: str):
        self.told = FAMILIES[name]
        self.model = self.told.model(comfy)
        self.source, self.target, self.negative = (self.told.prompt(seed) for seed in (1, 2, 3))
        self.longer = self.told.prompt(4, more=7)
        self.image = self.told.image(self.model)
        self.edit_cfg = self.told.cfg if self.told.cfg == 1 else 5.0
        self._run = pack.run

    def inverted(self, node_id: str = "EditFriendlyInvert", **inputs):
        """All that a node from a LATENT makes of it."""
        settings = {"steps": STEPS, "scheduler": self.told.scheduler, "cfg": self.told.cfg, "seed": SEED}
        settings |= {"latent_image": self.image, "positive": self.source, "negative": self.negative}
        if node_id != "EditFriendlySampleWithNoiseMaps":
            settings |= {"skip_steps": 0, "variations": 1}
        return self._run(node_id, model=self.model, **settings | inputs)

    def sampled(self, maps, **inputs) -> torch.Tensor:
        """Noise maps sampled, with the prompt and the cfg of the inversion."""
        settings = {"positive": self.source, "negative": self.negative, "cfg": self.told.cfg, "skip_steps": 0}
        return self._run("FixedNoiseSampler", model=self.model, noise_maps=maps, **settings | inputs)[0]["samples"]

    def edited(self, maps, target, **inputs) -> torch.Tensor:
        return self.sampled(maps, positive=target, cfg=self.edit_cfg, **inputs)

    def in_one_pass(self, target, **inputs) -> torch.Tensor:
        settings = {"source": self.source, "target": target, "negative": self.negative, "latent_image": self.image}
        settings |= {"source_cfg": self.told.cfg, "target_cfg": self.edit_cfg, "eta": 1.0, "steps": STEPS}
        settings |= {"scheduler": self.told.scheduler, "seed": SEED, "skip_steps": 0, "variations": 1}
        return self._run("EditFriendlyEdit", model=self.model, **settings | inputs)[0]["samples"]

    def by_the_hosts_sampler(
        self, prompt=None, noise_mask: torch.Tensor | None = None, seed: int = 1, cfg: float | None = None
    ) -> torch.Tensor:
        """A step from the level that a run starts from to 0."""
        import comfy.sample

        return comfy.sample.sample_custom(
            self.model,
            comfy.sample.prepare_noise(self.samples, seed),
            cfg or self.told.cfg,
            comfy.samplers.sampler_object("euler"),
            self.first_step,
            prompt or self.source,
            self.negative,
            self.samples,
            noise_mask=noise_mask,
            disable_pbar=True,
            seed=seed,
        )

    @cached_property
    def maps(self):
        return self.inverted(eta=1.0)[0]

    @property
    def samples(self) -> torch.Tensor:
        return self.image["samples"]

    @cached_property
    def first_step(self) -> torch.Tensor:
        """(2,) the level that a run starts from, and 0."""
        return torch.stack([self.maps.schedule.sigmas[0], torch.zeros([])]).float()

    @cached_property
    def keeps(self) -> torch.Tensor:
        """(1, 1, *S[1:]) a noise mask that keeps the first frame of a video, or half of anything else."""
        shape = self.samples.shape
        mask = torch.ones(1, 1, *shape[2:])
        if len(shape) == 5 and shape[2] > 1:
            mask[:, :, 0] = 0
        else:
            axis = max(k for k, size in enumerate(shape) if size > 1)
            mask.narrow(axis, 0, shape[axis] // 2).zero_()
        return mask

    def host_samples(self, **inputs) -> bool:
        """Whether the host's own samplers can: some classes take no noise mask, or prompts of one length alone."""
        try:
            self.by_the_hosts_sampler(**inputs)
        except (RuntimeError, ValueError):
            return False
        return True


@pytest.fixture(scope="module")
def table(request, comfy, comfyui_path):
    """What was measured, by family and column; written to the page at the end where all was tried."""
    found: dict[str, dict[str, Measured]] = {}
    yield found
    here = {name for name, family in FAMILIES.items() if family.is_in(comfy)}
    columns = {column for cells in found.values() for column in cells}
    if here == set(found) and columns == {*COLUMNS, "refused"}:
        write_page(found, version_of(comfyui_path))


@pytest.fixture(scope="module")
def family(request, pack, comfy, table):
    if not FAMILIES[request.param].is_in(comfy):
        pytest.skip(f"this ComfyUI has no {FAMILIES[request.param].host_class}")
    table.setdefault(request.param, {})
    return Family(pack, comfy, request.param)


@pytest.fixture
def measured(family, table):
    """measured(column, error, at_most): write an error down, and hold it to its bound."""

    def note(column: str, error: float, at_most: float, remark: str = "") -> None:
        found = Measured(error, at_most, remark)
        table[family.told.name][column] = found
        assert found.holds, f"{column}: {error:.1e} of the largest value, where {at_most:.0e} is rounding"

    return note


def test_every_class_of_the_host_has_a_row(comfy):
    classes = {model.__name__ for model in comfy.supported_models.models} - NOT_SAMPLED
    assert classes <= {family.host_class for family in FAMILIES.values()}


def test_replay_returns_the_latent(family, measured):
    errors = [
        relative(family.sampled(family.inverted(node_id, **inputs)[0]), family.samples)
        for node_id, settings in INVERSIONS.items()
        for inputs in settings
    ]
    made, maps = family.inverted("EditFriendlySampleWithNoiseMaps", eta=1.0)
    errors.append(relative(family.sampled(maps), made["samples"]))
    measured("replay", max(errors), EXACT)


@pytest.mark.parametrize("length", ["as long", "longer"])
def test_one_pass_gives_what_inverting_and_sampling_give(family, measured, length):
    """Alone or beside itself: a random network may make 1e-4 of what another number of rows rounds otherwise."""
    target = family.target if length == "as long" else family.longer
    column = "one pass" if length == "as long" else "longer prompt"
    if not family.host_samples(prompt=target):
        measured(column, 0.0, ROUNDING, CANNOT)
        return
    one, two = family.in_one_pass(target), family.edited(family.maps, target)
    assert relative(two, family.samples) > 1e-3, "the prompt changes nothing"
    error = relative(one, two)
    if error > ROUNDING:
        twice = {**family.image, "samples": torch.cat([family.samples] * 2)}
        maps = family.inverted(eta=1.0, latent_image=twice)[0]
        error = min(error, relative(one, family.edited(maps, target)[: len(one)]))
    measured(column, error, ROUNDING)


def test_three_timesteps_in_a_call_give_what_one_gives(family, measured, caplog):
    with caplog.at_level(logging.INFO):
        together = family.inverted(eta=1.0, timesteps_per_call=3)[0]
    alone = "one at a time" if "one timestep a call" in caplog.text else ""
    measured("three a call", relative(together.residuals, family.maps.residuals), ROUNDING, alone)


def test_what_is_outside_a_mask_stays(family, measured):
    """What a noise mask keeps, and, where there are height and width, what a MASK leaves out."""
    results = []
    if family.host_samples(noise_mask=family.keeps):
        maps = family.inverted(eta=1.0, latent_image={**family.image, "noise_mask": family.keeps})[0]
        results.append((family.keeps, family.edited(maps, family.target)))
    if family.samples.ndim > 3 and family.samples.shape[-1] > 1:
        mask = torch.ones(family.samples.shape[-2:])
        mask[:, : mask.shape[1] // 2] = 0
        results.append((mask, family.edited(family.maps, family.target, mask=mask[None])))
    errors = []
    for mask, edited in results:
        moved = (edited - family.samples).abs()
        largest = family.samples.abs().max()
        assert (moved * mask).max() > 1e-3 * largest
        errors.append(((moved * (1 - mask)).max() / largest).item())
    measured("mask", max(errors), EXACT)


def test_each_variation_of_a_batch_is_the_run_with_its_seed(family, measured):
    two = family.told.image(family.model, images=2)
    maps = family.inverted(eta=1.0, latent_image=two, variations=2)[0]
    second = family.inverted(eta=1.0, latent_image=two, seed=SEED + 1)[0]
    images = len(two["samples"])
    assert torch.equal(maps.states[:, images:], second.states)
    assert torch.equal(maps.states[:, : len(family.samples)], family.maps.states)  # the noise that an image has alone
    if "noise_augmentation" not in family.told.told:  # the host draws that by the seed of all variations
        assert relative(maps.residuals[:, images:], second.residuals) <= ROUNDING
    one = family.in_one_pass(family.target, latent_image=two, variations=2)
    assert relative(one, family.edited(maps, family.target)) <= ROUNDING
    repeated = two["samples"].repeat(2, *[1] * (family.samples.ndim - 1))
    measured("rows", relative(family.sampled(maps), repeated), EXACT)


def test_what_is_kept_is_shown_as_by_the_hosts_own_samplers(family, measured, monkeypatch):
    """Without noise or with it, and at which timesteps."""
    if not family.host_samples(noise_mask=family.keeps):
        measured("kept", 0.0, EXACT, CANNOT)
        return
    seen, network, masked = [], family.model.model.diffusion_model, {**family.image, "noise_mask": family.keeps}
    forward = network.forward

    def watched(*args, **kwargs):
        x, times = (part[0] if isinstance(part, list | tuple) else part for part in args[:2])
        seen.append((x[:1, : family.samples.shape[1]] * (1 - family.keeps), times[:1].clone()))
        return forward(*args, **kwargs)

    def first_call(run, *args, **kwargs):
        seen.clear()
        run(*args, **kwargs)
        return seen[0]

    monkeypatch.setattr(network, "forward", watched)
    (host, times), (again, _) = (
        first_call(family.by_the_hosts_sampler, noise_mask=family.keeps, seed=seed) for seed in (1, 2)
    )
    (pack, own_times), (pack_again, _) = (
        first_call(family.inverted, eta=1.0, sigmas=family.first_step, latent_image=masked, seed=seed)
        for seed in (1, 2)
    )
    clean = torch.equal(host, again)
    assert torch.equal(own_times, times)
    assert clean == torch.equal(pack, pack_again), f"{'without' if clean else 'with'} noise by the host alone"
    measured("kept", relative(pack, host) if clean else 0.0, EXACT, "clean" if clean else "noised")


def test_attention_is_edited_or_said_to_be_out_of_reach(family, measured, pack):
    """With all keys and values of the source, or its maps of words, the image comes back; an edit is another."""
    try:
        family.by_the_hosts_sampler(cfg=1.0)
    except ValueError as error:  # Hunyuan3D 2.1 of older hosts
        pytest.skip(f"the host itself cannot run it without guidance: {error}")
    told, core, unguided = family.told, pack.core.attention, family.inverted(eta=1.0, cfg=1.0)[0]
    share = pack.run("EditFriendlyShareAttention", source=family.source, method="keys and values")[0]
    tokens = told.text[0]
    maps = core.CrossEdit(
        torch.eye(tokens).double(), torch.ones(tokens).bool(), torch.ones(tokens).double(), WHOLE[:tokens]
    )
    words = pack.host.attention_runs.AttentionEdit(family.source, "the source", core.AttentionControl(maps))
    errors, works = [], []
    for name, edit in (("self", share), ("words", words)):
        try:
            errors.append(relative(family.sampled(unguided, attention=edit, cfg=1.0), family.samples))
        except ValueError as refusal:
            assert any(why in str(refusal) for why in OUT_OF_REACH), refusal
            continue
        works.append(name)
        edited, plain = (family.edited(unguided, family.target, attention=each) for each in (edit, None))
        assert relative(edited, plain) > 1e-6, f"{name} changes nothing"
    measured("attention", max(errors, default=0.0), ROUNDING, " and ".join(works) or "refused")


def test_a_file_holds_the_maps_bit_for_bit(family, measured, pack, comfy, tmp_path, monkeypatch):
    monkeypatch.setattr(comfy.folder_paths, "output_directory", str(tmp_path))
    node = pack.EditFriendlySaveNoiseMaps.PREPARE_CLASS_CLONE(None)
    node.hidden = SimpleNamespace(prompt=None, extra_pnginfo=None)
    name = node.execute(noise_maps=family.maps, filename_prefix="family").ui["noise_maps"][0]["filename"]
    (maps,) = pack.run("EditFriendlyLoadNoiseMaps", file=f"{name} [output]")
    for part in ("states", "residuals", "denoised"):
        assert torch.equal(getattr(maps, part), getattr(family.maps, part))
    assert (maps.seeds, maps.images) == (family.maps.seeds, family.maps.images)
    measured("file", relative(family.sampled(maps), family.samples), EXACT)


def test_a_latent_of_which_there_are_no_maps_is_refused_by_name(family, table):
    """Whether it holds something or, as for generation, nothing."""
    nothing = [] if family.samples.is_nested else [{"samples": torch.zeros_like(family.samples)}]
    settings = {node_id: inputs[0] for node_id, inputs in INVERSIONS.items()}
    settings["EditFriendlySampleWithNoiseMaps"] = {"eta": 1.0}
    for image in [family.image, *nothing]:
        for node_id, inputs in settings.items():
            with pytest.raises(ValueError, match=family.told.refused) as refusal:
                family.inverted(node_id, latent_image=image, **inputs)
        with pytest.raises(ValueError, match=family.told.refused):
            family.in_one_pass(family.target, latent_image=image)
    table[family.told.name]["refused"] = Measured(0.0, 0.0, str(refusal.value))
