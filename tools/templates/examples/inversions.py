"""Edit-friendly inversion beside the other two."""

from __future__ import annotations

from tools.lab.settings import HOUSE

from ..blocks import INVERT, NARROW_NOTE, RESULT, SAMPLE, TEXT_ROOM, DemoScene, joined, preview
from ..graph import Group, Node, Note, Workflow


def compare_inversions() -> Workflow:
    demo = DemoScene(*HOUSE)
    source, target, empty = demo.words("a red house by the sea on a clear night in summer")
    inversions = _three_inversions(demo, source, empty)
    edits = [
        demo.edit(f"Edit {letter}", invert, target, empty) for letter, invert in zip("abc", inversions, strict=True)
    ]
    decoded = [demo.decode(edit["latent"]) for edit in edits]
    two = joined(decoded[0], decoded[1], "right")
    three = joined(two, decoded[2], "right")
    result = preview("a, b and c", three["IMAGE"], 370)
    return Workflow(
        [
            [demo.group(source, target, empty), Note("compare_inversions_next", width=266, title="And then")],
            [
                Group("2  Invert", INVERT, [[invert] for invert in inversions]),
                Note("compare_inversions", width=764),
            ],
            [Group("3  Edit", SAMPLE, [[edits[0], edits[1]], [edits[2]]])],
            [Group("4  Results", RESULT, [[*decoded, two, three, result]])],
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
    plots = Node("PreviewImage", "Plots", {"images": measure["plots"]}, 414, room=310)
    numbers = Node("PreviewAny", "Numbers", {"source": measure["numbers"]}, 414, room=80)
    return Workflow(
        [
            [Note("noise_statistics", NARROW_NOTE)],
            [demo.group(source, empty)],
            [Group("2  Invert", INVERT, [[invert] for invert in inversions])],
            [Group("4  What tells them apart", RESULT, [[plots, numbers]]), Group("3  Measure", SAMPLE, [[measure]])],
        ]
    )


def _three_inversions(demo: DemoScene, source: Node, empty: Node) -> list[Node]:
    inversions = [
        demo.inverted(source, empty, "Edit friendly"),
        demo.inverted(source, empty, "CycleDiffusion", "EditFriendlyCycleDiffusionInvert"),
        demo.inverted(source, empty, "DDIM", "EditFriendlyDDIMInvert", keep_residuals=False),
    ]
    for invert in inversions:
        invert.width = 236  # the least that the longest name of DDIM takes
    return inversions
