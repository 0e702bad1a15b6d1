"""The schemas of the nodes are frozen: saved graphs hold values and links by the order of inputs and outputs."""

import json
from pathlib import Path

from support.node_ids import NODE_IDS
from tools.schemas import as_text, changes, schemas_of

FROZEN = Path(__file__).parent / "schemas.json"
RULE = """
The schemas are not those of tests/host/schemas.json, which graphs that users saved rely on.
What a release had stays as it was and where it was: add inputs at the end, optional and with the default that does what
was done before, and outputs at the end; never rename, move or remove one, nor change its type, default or limits.
For a change that is meant, write the file anew, look at its diff, and tell users in CHANGELOG.md:
    python run.py test tests/host/test_schemas.py --write-schemas
"""


def test_the_schemas_are_the_frozen_ones(comfy, pack, request):
    now = schemas_of((getattr(pack, node_id) for node_id in NODE_IDS), list(comfy.samplers.SCHEDULER_NAMES))
    if request.config.getoption("--write-schemas"):
        FROZEN.write_text(as_text(now), encoding="utf-8", newline="\n")
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert frozen == now, "\n".join([*changes(frozen, now), RULE])
    assert as_text(frozen) == FROZEN.read_text(encoding="utf-8")


def test_lists_that_depend_on_the_host_are_left_out():
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    combos = {
        (node_id, part["name"])
        for node_id, parts in frozen.items()
        for part in parts["inputs"]
        if part["type"] == "COMBO" and "options" not in part
    }
    assert {name for _, name in combos} == {"scheduler", "file"}


def test_a_change_says_whether_saved_graphs_break():
    steps, seed = {"name": "steps", "type": "INT", "optional": False}, {"name": "seed", "type": "INT"}
    mask = {"name": "mask", "type": "MASK", "optional": True}
    fill = {"name": "fill", "type": "COMBO", "options": ["copy"]}
    before = {"A": {"inputs": [steps, seed], "outputs": [mask]}, "B": {"inputs": [], "outputs": []}}
    after = {"A": {"inputs": [seed, steps, mask, steps], "outputs": []}, "C": {"inputs": [], "outputs": []}}
    said = [line.split(" {")[0].split(" was")[0] for line in changes(before, after)]
    assert said == [
        *("BREAKS A: inputs append", "BREAKS A: inputs[0]", "BREAKS A: inputs[1]", "BREAKS A: outputs lack"),
        *("BREAKS B: is gone", "keeps A: inputs append", "keeps C: is new"),
    ]
    assert changes(before, before) == []
    more, other = ({"D": {"inputs": [fill | {"options": options}]}} for options in (["wrap", "copy"], ["wrap"]))
    combo = {"D": {"inputs": [fill]}}
    assert [line.split()[0] for line in (*changes(combo, more), *changes(combo, other))] == ["keeps", "BREAKS"]
