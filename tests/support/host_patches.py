"""Nodes of the host that patch a MODEL, found by what they take and give, and chains of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

Inputs = dict[str, Any]


def patch_nodes(classes: Mapping[str, Any]) -> dict[str, dict[str, tuple[Any, Inputs]]]:
    """The inputs beside the MODEL, as (type, options), of each node that takes one MODEL and gives one.

    Only such nodes whose other inputs are numbers, switches, texts and choices; what is optional and of another type
    is left out.
    """
    found = {}
    for name, cls in sorted(classes.items()):
        if list(cls.RETURN_TYPES) != ["MODEL"]:
            continue
        types = cls.INPUT_TYPES()
        required = {key: _spec(value) for key, value in types.get("required", {}).items()}
        models = [key for key, spec in required.items() if spec[0] == "MODEL"]
        others = {key: spec for key, spec in required.items() if spec[0] != "MODEL"}
        if models != ["model"] or not all(map(_is_plain, others.values())):
            continue
        optional = {key: _spec(value) for key, value in types.get("optional", {}).items()}
        found[name] = others | {key: spec for key, spec in optional.items() if _is_plain(spec)}
    return found


def usual(spec: tuple[Any, Inputs]) -> Any:
    """The value that the front end starts with."""
    kind, options = spec
    if isinstance(kind, list):
        return options.get("default", kind[0])
    return options.get("default", {"BOOLEAN": False, "STRING": ""}.get(kind))


def throughout(specs: Mapping[str, tuple[Any, Inputs]]) -> Inputs:
    """Inputs by which a node acts at every step of a run and, where it names layers, on the first two."""
    chosen = {key: usual(spec) for key, spec in specs.items()}
    for key, (kind, options) in specs.items():
        if kind == "FLOAT" and key.startswith(("start", "end")):
            chosen[key] = options["min" if key.startswith("start") else "max"]
        elif kind == "STRING":
            chosen[key] = "0, 1"
    return chosen


def _spec(value: tuple[Any, ...]) -> tuple[Any, Inputs]:
    kind, options = value[0], value[1] if len(value) > 1 else {}
    return (options["options"] if kind == "COMBO" else kind), options


def _is_plain(spec: tuple[Any, Inputs]) -> bool:
    kind, options = spec
    if isinstance(kind, list):
        return bool(kind)
    return kind in ("BOOLEAN", "STRING") or (kind in ("INT", "FLOAT") and "default" in options)


def anything(spec: tuple[Any, Inputs]) -> st.SearchStrategy:
    """A value that the front end lets a user choose: usual ones, the ends of the range, and any between."""
    kind, options = spec
    if isinstance(kind, list):
        return st.sampled_from(kind)
    if kind == "BOOLEAN":
        return st.booleans()
    if kind == "STRING":  # mostly of layers
        return st.sampled_from([usual(spec), "", "0", "0, 1", "1"])
    low, high, value = options.get("min", 0), options.get("max", 64), options["default"]
    between = st.integers(low, high) if kind == "INT" else st.floats(low, high, allow_subnormal=False)
    near = (
        st.integers(low, min(high, low + 4))
        if kind == "INT"
        else st.floats(low, min(high, low + 1), allow_subnormal=False)
    )
    return st.one_of(st.just(value), st.sampled_from([low, high]), near, between)
