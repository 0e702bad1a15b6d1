"""What saved graphs and scripts know of the nodes: ids, inputs and outputs in order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

KEPT = ("optional", "default", "min", "max", "step", "options", "forceInput", "control_after_generate")
FILES = {("EditFriendlyLoadNoiseMaps", "file")}  # the options of this one are what lies in the host's folders

Schemas = dict[str, dict[str, list[Any]]]


def schemas_of(classes: Iterable[Any], schedulers: list[str]) -> Schemas:
    """The schemas of node classes by node id, without texts, and without options that depend on the host.

    Args:
        schedulers: the names of the host's, which newer hosts have more of.
    """
    found = {}
    for schema in (cls.GET_SCHEMA() for cls in classes):
        inputs = []
        for part in schema.inputs:
            told = part.as_dict()
            if told.get("options") == schedulers or (schema.node_id, part.id) in FILES:
                del told["options"]
            inputs.append({"name": part.id, "type": part.get_io_type()} | {k: told[k] for k in KEPT if k in told})
        outputs = [{"name": part.display_name, "type": part.get_io_type()} for part in schema.outputs]
        found[schema.node_id] = {"inputs": inputs, "outputs": outputs}
    return found


def as_text(schemas: Schemas) -> str:
    """JSON with an input or an output a line, so that a change of it is seen as one."""
    nodes = []
    for node_id, parts in sorted(schemas.items()):
        kinds = [
            f'    "{kind}": [' + ",".join(f"\n      {json.dumps(part)}" for part in parts[kind]) + "]" for kind in parts
        ]
        nodes.append(f'  "{node_id}": {{\n' + ",\n".join(kinds) + "\n  }")
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def changes(frozen: Schemas, now: Schemas) -> list[str]:
    """A line for each change, which says whether saved graphs break."""
    lines = [f"BREAKS {node_id}: is gone" for node_id in frozen.keys() - now.keys()]
    lines += [f"keeps {node_id}: is new" for node_id in now.keys() - frozen.keys()]
    for node_id in frozen.keys() & now.keys():
        for kind in ("inputs", "outputs"):
            old, new = frozen[node_id].get(kind, []), now[node_id].get(kind, [])
            for k, (was, after) in enumerate(zip(old, new, strict=False)):
                if was != after:
                    more = set(after.get("options", ())) > set(was.get("options", ()))
                    kept = more and after == was | {"options": after["options"]}
                    told = f"{node_id}: {kind}[{k}] was {json.dumps(was)}, is {json.dumps(after)}"
                    lines.append(f"{'keeps' if kept else 'BREAKS'} {told}")
            lines += [f"BREAKS {node_id}: {kind} lack {json.dumps(part)}" for part in old[len(new) :]]
            for part in new[len(old) :]:
                kept = kind == "outputs" or part.get("optional")  # a graph of a script lacks it, and has to have others
                lines.append(f"{'keeps' if kept else 'BREAKS'} {node_id}: {kind} append {json.dumps(part)}")
    return sorted(lines)
