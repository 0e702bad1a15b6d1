"""The statistics node: one column a map, names, and maps that lack what is measured."""

import math
import sys

import pytest
import torch


def cells(line: str) -> list[str]:
    """The values of a line of the table, after its heading of 24 characters."""
    return line[24:].split()


@pytest.fixture
def measure(pack):
    def run(*maps, names=""):
        further = {f"noise_maps_{k}": part for k, part in enumerate(maps[1:], start=2)}
        plots, numbers = pack.run("EditFriendlyNoiseMapsStatistics", noise_maps=maps[0], names=names, **further)
        return plots, {line[:24].strip(): cells(line) for line in numbers.splitlines()}

    return run


def test_numbers_are_those_of_the_core(pack, random_model, latent, invert, measure):
    noise_maps = invert(random_model("sd15"), latent_image=latent("sd15", height=24, width=16))
    plots, table = measure(noise_maps)
    assert plots.ndim == 4
    assert plots.shape[0] == 1
    assert 0 <= plots.min() < plots.max() <= 1
    for name, value in pack.core.statistics.report(noise_maps).items():
        shown = table[name][0]
        assert shown == "-" if math.isnan(value) else float(shown) == pytest.approx(value, abs=6e-4)


def test_each_of_several_maps_has_its_column_and_name(random_model, invert, measure):
    maps = [invert(random_model("sd15"), seed=seed) for seed in range(3)]
    alone, _ = measure(maps[0])
    plots, table = measure(*maps, names="first\n\nthird")
    assert " ".join(table[""]) == "first edit friendly third"
    assert all(len(row) == 3 for name, row in table.items() if name)
    assert plots.shape == alone.shape
    assert (plots - alone).abs().mean() > 1e-3  # the others are drawn, too
    _, numbered = measure(maps[0], maps[1])
    assert " ".join(numbered[""]) == "edit friendly edit friendly (2)"


def test_maps_that_generated_the_image_say_how_near_an_inversion_comes_to_their_noise(
    pack, random_model, latent, run_node, measure
):
    model, empty = random_model("sd15"), {"samples": torch.zeros_like(latent("sd15")["samples"])}
    image, native = run_node("EditFriendlySampleWithNoiseMaps", model, latent_image=empty, cfg=1.0, eta=0.0)
    (ddim,) = run_node("EditFriendlyDDIMInvert", model, latent_image=image, cfg=1.0)
    _, table = measure(ddim, native)
    angles = pack.core.statistics.angles_to_noise(ddim, native)
    assert sum(angles) == pytest.approx(180, abs=1e-3)
    assert [table[f"angle at {corner}"] for corner in ("noise", "image", "latent")] == [
        [f"{angle:.3f}", "-"] for angle in angles
    ]
    assert "No angles" not in pack.modules("preview").table({"DDIM": ddim, "native": native})
    (other,) = run_node("EditFriendlyDDIMInvert", model, cfg=1.0)
    _, table = measure(other, native)
    assert table["angle at noise"] == ["-", "-"], "the image is another one"


def test_no_angles_to_noise_that_cannot_be_found_again(pack, random_model, run_node):
    """An image of eta 1 is also made of the noise of each step, so its starting noise is no measure of an inversion."""
    model = random_model("sd15")
    image, native = run_node("EditFriendlySampleWithNoiseMaps", model, cfg=1.0, eta=0.5)
    (ddim,) = run_node("EditFriendlyDDIMInvert", model, latent_image=image, cfg=1.0)
    *lines, reason = pack.modules("preview").table({"DDIM": ddim, "native": native}).splitlines()
    assert [cells(line) for line in lines if line.startswith("angle at")] == [["-", "-"]] * 3
    assert "generated with eta 0.5" in reason


def test_what_maps_do_not_have_is_a_dash(random_model, run_node, invert, measure):
    model = random_model("sd15")
    (ddim,) = run_node("EditFriendlyDDIMInvert", model)
    _, table = measure(ddim, invert(model, steps=1, scheduler="simple"))
    assert table["std of z"] == ["-", "-"]
    assert table["correlation of z"] == ["-", "-"]
    assert "-" not in table["KL of latent"]


def test_without_matplotlib_only_the_plots_say_so(pack, random_model, invert, monkeypatch):
    """By name, with what to do; masks are shown without it."""
    noise_maps = invert(random_model("sd15"))
    monkeypatch.delitem(sys.modules, f"{pack.root}.ddpm_core.plots", raising=False)
    monkeypatch.delattr(pack.core, "plots", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match="plots of Measure Noise Maps need matplotlib.*pip install matplotlib"):
        pack.run("EditFriendlyNoiseMapsStatistics", noise_maps=noise_maps)
    heat = torch.rand(1, 1, 8, 8)
    shown = pack.modules("masks").pictures(noise_maps, None, torch.ones(1, 64, 64), heat[0].repeat(1, 8, 8))
    assert shown.shape == (1, 64, 128, 3) and 0 <= shown.min() and shown.max() <= 1
