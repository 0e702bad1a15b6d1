"""How far an edit went, in numbers and words; and words on the node where settings do not suit the maps."""

import dataclasses
import logging
import sys
from types import SimpleNamespace

import pytest
import torch


@pytest.fixture
def report(pack):
    """report(source, edited, **inputs): summary, inside, outside."""
    return lambda source, edited, **inputs: pack.run("EditFriendlyEditReport", source=source, edited=edited, **inputs)


@pytest.fixture
def advice(pack):
    return sys.modules[f"{pack.root}.nodes.advice"]


@pytest.fixture
def maps_of(pack):
    """maps_of(method, steps=100, skipped=0, cfg=None): maps of nothing, made by that method."""

    def make(method, steps=100, skipped=0, cfg=None):
        count = steps - skipped
        schedule = pack.core.NoiseSchedule.variance_exploding(torch.linspace(10, 0, count + 1))
        states = torch.zeros(count + 1, 1, 4, 2, 2)
        facts = pack.core.Facts(origin=pack.core.Origin(pack.core.Method(method), cfg))
        return pack.core.NoiseMaps(schedule, states, states[1:], skipped=skipped, facts=facts)

    return make


def with_origin(pack, noise_maps, method: str, cfg: float):
    facts = dataclasses.replace(noise_maps.facts, origin=pack.core.Origin(pack.core.Method(method), cfg))
    return dataclasses.replace(noise_maps, facts=facts)


def half_mask():
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    return mask


def test_the_numbers_are_percent_of_the_range_in_the_mask_and_outside(report):
    source = torch.rand(1, 16, 16, 3) / 2
    edited = source.clone()
    edited[:, :, :8] += 0.25
    edited[:, :, 8:] += 0.05
    summary, inside, outside = report(source, edited, mask=half_mask())
    assert (inside, outside) == (pytest.approx(25, abs=1e-3), pytest.approx(5, abs=1e-3))
    assert "Inside the mask: it changed almost completely (25.0 % of the full range in the mean, 100 %" in summary
    assert "Outside the mask: it changed a little all over (5.0 %" not in summary  # no pixel by more than a tenth
    assert "To keep the outside: connect this mask" in summary
    summary, whole, nowhere = report(source, edited)
    assert (whole, nowhere) == (pytest.approx(15, abs=1e-3), 0)
    assert "In the whole image: it changed clearly" in summary and "Outside" not in summary


def painted(soft: bool = False):
    """A picture and its mask as the mask editor of newer front ends saves them, and the picture: 64 x 96 pixels."""
    picture = 0.1 + 0.9 * torch.rand((1, 64, 96, 3), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 64, 96)
    mask[:, 16:40, 24:60] = 1
    if soft:
        mask = torch.nn.functional.avg_pool2d(mask[None], 7, 1, 3)[0].clamp(0, 1)
    return torch.where((mask < 1)[..., None], picture, torch.zeros(())), mask, picture


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("after", ["as it is", "scaled", "with a VAE's noise", "two sources"])
def test_a_picture_that_is_black_just_under_the_mask_is_told(pack, report, host_node, soft, after):
    """By both nodes that see a picture and a mask; not by either of the picture before."""
    hole, mask, picture = painted(soft)
    images = [hole, picture]
    if after == "scaled":
        sizes = {"width": 72, "height": 56, "crop": "center"}
        images = [host_node("ImageScale", image=image, upscale_method="lanczos", **sizes)[0] for image in images]
        (scaled,) = host_node(
            "ImageScale", image=mask[..., None].expand(-1, -1, -1, 3), upscale_method="bilinear", **sizes
        )
        mask = scaled[..., 0]
    elif after == "with a VAE's noise":
        images = [(image + 0.01 * torch.randn(image.shape)).clamp(0, 1) for image in images]
    elif after == "two sources":
        images = [torch.cat([picture, image]) for image in images]
    for image, told in zip(images, (True, False), strict=True):
        edited = torch.full_like(image, 0.5)
        measured = pack.run("EditFriendlyMeasureEdit", source=image, edited=edited, mask=mask)[0]
        for said in (report(image, edited, mask=mask)[0], measured):
            assert ("The source is black just where the mask is." in said) == told
    assert "is black" not in report(hole, torch.zeros_like(hole))[0]


def test_a_black_picture_and_a_dark_thing_under_part_of_a_mask_are_not_told(report):
    hole, mask, picture = painted()
    wider = torch.zeros_like(mask)
    wider[:, 10:50, 10:80] = 1
    for source, under in (
        (torch.zeros_like(hole), mask),
        (hole, wider),
        (hole, torch.ones_like(mask)),
        (hole, 1 - mask),
    ):
        assert "is black" not in report(source, torch.full_like(hole, 0.5), mask=under)[0]


def test_a_soft_mask_counts_by_its_share(report):
    source, edited = torch.zeros(1, 16, 16, 3), torch.zeros(1, 16, 16, 3)
    edited[:, :, :8] = 0.4
    _, inside, outside = report(source, edited, mask=0.75 * half_mask() + 0.25 * (1 - half_mask()))
    assert (inside, outside) == (pytest.approx(30, abs=1e-3), pytest.approx(10, abs=1e-3))


def test_nothing_changed_says_what_to_turn(report, maps_of):
    image = torch.rand(1, 16, 16, 3)
    summary, inside, _ = report(image, image)
    assert inside == 0 and "nothing changed" in summary
    assert "For more: lower skip_steps, or raise cfg, or see that source and target prompt differ" in summary
    summary, *_ = report(image, image, noise_maps=maps_of("edit friendly", 50), skip_steps=36, cfg=6.0)
    assert "skip_steps 36 leaves out 72% of the 50 steps, and little is left to edit in: set it to 18" in summary
    assert "lower skip_steps from 36 to 18, or raise cfg from 6 to 9" in summary
    summary, *_ = report(image, image, noise_maps=maps_of("edit friendly", 50, 36), skip_steps=36, cfg=15.0)
    assert "invert again with skip_steps 18" in summary and "invert again with skip_steps below 36" in summary
    assert "the mask covers" in report(image, image, mask=half_mask())[0]
    summary, *_ = report(image, image, noise_maps=maps_of("null-text", 50, cfg=7.5), skip_steps=0, cfg=7.5)
    assert "raise cfg" not in summary and "skip_steps" not in summary


def test_too_much_says_what_keeps_more(report):
    summary, *_ = report(torch.zeros(1, 16, 16, 3), torch.ones(1, 16, 16, 3), skip_steps=10, cfg=15.0)
    assert "Mask from two Prompts finds one), raise skip_steps from 10, or lower cfg from 15" in summary
    part = torch.zeros(1, 16, 16, 3)
    part[:, :4, :4] = 1
    assert "If that is more" not in report(torch.zeros(1, 16, 16, 3), part)[0]


def test_batches_and_the_crop_of_a_vae(report):
    source = torch.rand(2, 20, 21, 3)
    edited = source[:, 2:18, 2:18].repeat(3, 1, 1, 1)
    edited[4:] = 1 - edited[4:]
    summary, *_ = report(source, edited, mask=torch.ones(1, 20, 21))
    assert "Each image: 0.0, 0.0, 0.0, 0.0, " in summary
    assert report(source[:1], source[:1].repeat(3, 1, 1, 1))[1] == 0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"edited": torch.zeros(1, 32, 32, 3)}, "the source is 16 x 16 pixels, the edited image 32 x 32"),
        ({"edited": torch.zeros(3, 16, 16, 3)}, "2 source images for 3 edited images: use one, or one for each"),
        ({"mask": torch.ones(1, 8, 8)}, "the mask is 8 x 8 pixels, the edited image 16 x 16"),
        ({"mask": torch.ones(3, 16, 16)}, "3 masks for 2 edited images"),
        ({"mask": torch.zeros(1, 16, 16)}, "the mask is empty"),
    ],
)
def test_what_cannot_be_compared(report, inputs, message):
    images = {"source": torch.zeros(2, 16, 16, 3), "edited": torch.zeros(2, 16, 16, 3)}
    with pytest.raises(ValueError, match=message):
        report(**(images | inputs))


@pytest.mark.parametrize(
    ("maps", "skip_steps", "cfg", "said"),
    [
        (("edit friendly",), 36, 15.0, ()),
        (("edit friendly", 50), 6, 2.0, ()),
        (("edit friendly", 100, 36), 36, 15.0, ()),
        (("edit friendly", 50), 36, 15.0, ("leaves out 72% of the 50 steps", "set it to 18")),
        (("edit friendly",), 36, 30.0, ("cfg 30 is a lot", "about 15", "Tab. 3, with edit friendly maps")),
        (("null-text", 50, 0), 0, 7.5, ()),
        (("null-text", 50, 0), 36, 15.0, ("set it to 0", "made for cfg 7.5", "not 15")),
        (("DDIM",), 0, 9.0, ()),
        (("DDIM",), 36, 15.0, ("cfg 15 is a lot for DDIM maps", "about 9")),
        (("CycleDiffusion",), 36, 15.0, ("about 4",)),
        (
            ("DDIM with residuals",),
            60,
            15.0,
            ("Tab. 3 skips 0% with DDIM maps", "a lot for DDIM with residuals maps", "Tab. 3, with DDIM maps"),
        ),
        (
            ("native",),
            60,
            30.0,
            ("Tab. 3 skips 36% with edit friendly maps", "for native maps", "Tab. 3, with edit friendly maps"),
        ),
        (("few steps", 5, 1), 1, 1.5, ()),
        (
            ("few steps", 5, 1),
            4,
            15.0,
            ("leaves out 80% of the 5 steps", "set it to 1", "cfg 15 is a lot", "about 1.5"),
        ),
        (("native",), 0, 7.5, ()),
        (("DDIM",), 120, None, ()),  # the sampler itself refuses it
    ],
)
def test_settings_that_do_not_suit_the_maps(advice, maps_of, maps, skip_steps, cfg, said):
    noise_maps = maps_of(*maps, cfg=7.5)
    text = advice.on_settings(noise_maps, skip_steps, cfg)
    assert bool(text) == bool(said)
    assert all(part in text for part in said), text


def test_the_sampling_nodes_say_it_on_the_node_and_in_the_log(pack, random_model, invert, sample, caplog, monkeypatch):
    model = random_model("sd15")
    noise_maps = with_origin(pack, invert(model), "null-text", 3.5)
    shown = []
    instance = SimpleNamespace(send_progress_text=lambda text, node_id: shown.append((node_id, text)))
    monkeypatch.setitem(sys.modules, "server", SimpleNamespace(PromptServer=SimpleNamespace(instance=instance)))
    hidden = SimpleNamespace(unique_id="7")
    for name in ("FixedNoiseSampler", "EditFriendlySamplerFixedNoise"):
        monkeypatch.setattr(getattr(pack, name), "hidden", hidden)
    with caplog.at_level(logging.WARNING):
        sample(model, noise_maps, skip_steps=4, cfg=15.0)
        pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=4)
        sample(model, noise_maps, skip_steps=0, cfg=3.5)
        pack.run("EditFriendlySamplerFixedNoise", noise_maps=noise_maps, skip_steps=0)
    assert [node_id for node_id, _ in shown] == ["7", "7"]
    assert "made for cfg 3.5" in shown[0][1] and "cfg" not in shown[1][1].replace("made", "")
    assert all("leaves out 80% of the 5 steps" in text and text in caplog.text for _, text in shown)


@pytest.mark.parametrize("server", [None, SimpleNamespace(), SimpleNamespace(PromptServer=SimpleNamespace())])
def test_without_a_server_only_the_log_says_it(pack, caplog, monkeypatch, server):
    monkeypatch.setitem(sys.modules, "server", server)
    with caplog.at_level(logging.WARNING):
        pack.host.notices.tell("7", "Something.")
        pack.host.notices.tell(None, "")
    assert caplog.messages == ["Something."]
