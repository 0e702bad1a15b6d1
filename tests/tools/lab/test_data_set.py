"""The demo's scenes as a data set, and graphs that edit them: what `python -m tools.lab dataset` writes."""

from __future__ import annotations

import numpy as np

from tools.batch.template import Template, read_graph
from tools.evaluation import formats
from tools.evaluation.pictures import decoded, mask_of_case
from tools.lab.__main__ import main
from tools.lab.data_set import METHODS
from tools.lab.edits import KINDS, choose_edits, kept_by


def test_what_the_command_writes_is_read_as_what_it_is(tmp_path):
    assert main(["dataset", "--out", str(tmp_path), "--per-kind", "1"]) == 0
    cases = formats.read(tmp_path).cases
    edits = choose_edits(1)
    assert [(case.source, case.target) for case in cases] == [(e.source.caption, e.target.caption) for e in edits]
    assert len({case.edit_type for case in cases}) == 7 and len(cases) == len(KINDS)
    for case, edit in zip(cases, edits, strict=True):
        mask = mask_of_case(case.mask, decoded(case.picture.read(), case.id), case.id).numpy()
        assert np.array_equal(mask[1:-1, 1:-1], ~kept_by(edit).numpy()[1:-1, 1:-1])
    for method, class_type in METHODS.items():
        template = Template(read_graph(tmp_path / "graphs" / f"{method}.json"))
        assert template.prompts == (method != "sdedit", True)
        assert [node["class_type"] for node in template.graph.values()].count(class_type) == 1
