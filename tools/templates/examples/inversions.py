"""Edit-friendly inversion beside the other two."""

from __future__ import annotations

from tools.lab.settings import HOUSE

from ..blocks import INVERT, RESULT, SAMPLE, TEXT_ROOM, WORDS, DemoScene
from ..graph import Group, Node, Note, Workflow


def compare_inversions() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a red house by the sea on a clear night in summer")
    inversions = _three_inversions(demo, source, empty)
    edits = [
        demo.edit(f"Edit {letter}", invert, target, empty) for letter, invert in zip("abc", inversions, strict=True)
    ]
    for edit in edits:
        edit.width = 264  # so that the results below, which are narrower, end left of the minimap
    results = [demo.shown(f"Result {letter}", edit["latent"]) for letter, edit in zip("abc", edits, strict=True)]
    return Workflow(
        [
            [
                demo.group(),
                Group("2  Words", WORDS, [[source, target, empty]]),
                Note("compare_inversions_next", width=330, title="And then"),
            ],
            [
                Group("3  Invert", INVERT, [[invert] for invert in inversions]),
                Note("compare_inversions", width=806),
            ],
            [Group("4  Edit", SAMPLE, [[edit] for edit in edits]), Group("5  Results", RESULT, results)],
        ]
    )


def noise_statistics() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, empty = demo.caption(), demo.empty()
    inversions = _three_inversions(demo, source, empty)
    first, second, third = (invert["noise_maps"] for invert in inversions)
    measure = Node(
        "EditFriendlyNoiseMapsStatistics",
        "Statistics",
        {"noise_maps": first, "noise_maps_2": second, "noise_maps_3": third},
        room=TEXT_ROOM,
    )
    plots = Node("PreviewImage", "Plots", {"images": measure["plots"]}, 500, room=360)
    numbers = Node("PreviewAny", "Numbers", {"source": measure["numbers"]}, 500, room=80)
    return Workflow(
        [
            *demo.opening("noise_statistics", source, empty),
            [Group("3  Invert", INVERT, [[invert] for invert in inversions])],
            [Group("5  What tells them apart", RESULT, [[plots, numbers]]), Group("4  Measure", SAMPLE, [[measure]])],
        ]
    )


def _three_inversions(demo: DemoScene, source: Node, empty: Node) -> list[Node]:
    return [
        demo.inverted(source, empty, "Edit friendly"),
        demo.inverted(source, empty, "CycleDiffusion", "EditFriendlyCycleDiffusionInvert"),
        demo.inverted(source, empty, "DDIM", "EditFriendlyDDIMInvert", keep_residuals=False),
    ]
