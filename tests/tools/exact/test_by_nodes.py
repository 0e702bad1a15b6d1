"""The same claims by the nodes, on a MODEL whose network is the exact predictor."""

from functools import partial

import pytest

from tools.exact import attention, edits, manipulations, noise_space
from tools.exact.by_nodes import ByNodes
from tools.exact.runs import ByCore
from tools.exact.words_by_nodes import WordsByNodes

pytestmark = pytest.mark.once
FEW = 8
ORACLES = {
    "plane": partial(noise_space.in_the_plane, rows=FEW),
    "plain": noise_space.latents_of_plain_pixels,
    "sizes": partial(noise_space.of_a_perfect_predictor, names=["Stable Diffusion, 20 steps"]),
    "methods": partial(edits.at_the_papers_settings, draws=1, count=FEW),
    "unguided": partial(edits.without_guidance, count=FEW),
    "skips": edits.reached,
    "shifts": partial(manipulations.shifted, count=FEW, by=(2,)),
    "turned": partial(manipulations.turned, count=2, by=(8,)),
    "mirrored": partial(manipulations.mirrored, count=2),
    "paint": manipulations.painted,
    "guidance": partial(edits.way_back_of_ddim, count=FEW, cfgs=(7.5,)),
}


@pytest.mark.parametrize("name", ORACLES)
def test_nodes_and_core_give_the_same_numbers(comfy, name):
    by_core = {check.what: check.value for check in ORACLES[name](ByCore)}
    by_nodes = ORACLES[name](ByNodes)
    assert by_nodes
    for check in by_nodes:
        assert check.value == pytest.approx(by_core[check.what], abs=2e-3), check.what


@pytest.mark.parametrize("name", ["sizes", "skips", "paint", "turned"])
def test_what_is_no_mean_over_images_is_within_its_bound_by_the_nodes(comfy, name):
    assert not [check for check in ORACLES[name](ByNodes) if not check.holds]


def test_the_order_of_the_methods_holds_by_the_nodes(comfy):
    """Tab. 1: each number within its bound, and ours over DDIM and CycleDiffusion beyond chance."""
    checks = edits.at_the_papers_settings(ByNodes, draws=1, count=40)
    assert not [check for check in checks if not check.holds]
    leads = [check for check in checks if check.what.startswith("edit friendly over")]
    assert len(leads) == 2 and all(check.low > 0.1 for check in leads)


@pytest.mark.parametrize(
    "oracle",
    [partial(attention.with_known_maps, count=FEW, steps=20), partial(attention.table_1, count=60, steps=50)],
    ids=["known maps", "Tab. 1"],
)
def test_prompt_to_prompt_by_the_nodes_keeps_the_places_of_known_maps(comfy, oracle):
    """The same numbers as by the core, within their bounds."""
    by_core = {check.what: check.value for check in oracle()}
    checks = oracle(WordsByNodes)
    assert [check.what for check in checks] == list(by_core)
    for check in checks:
        assert check.value == pytest.approx(by_core[check.what], abs=2e-3), check.what
    assert not [check for check in checks if not check.holds]
