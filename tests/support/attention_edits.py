"""The prompts, runs and measures that the tests of attention edits share; tests/host/conftest.py has the fixtures."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

SOURCE = "a red cat sits on a mat"
REPLACED = "a green dog sits on a mat"  # as many words
REFINED = "a red fluffy white cat sits on a big mat"
STEPS, SKIP = 4, 1
PNP, MASACTRL, VALUES = "Plug-and-Play", "MasaCtrl", "values only"

# What a random network makes of rounding at cfg 3.5 and more in a call of other rows; plain sampling in calls of other
# rows is as far off.
ROUNDING = 2e-4


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-5) -> bool:
    """Whether they differ by no more than this fraction of b's norm."""
    return bool((a.float() - b.float()).norm() <= tolerance * b.float().norm())


def every_edit(p: SimpleNamespace, share: Callable) -> dict:
    """What the fixtures `prompts` and `share` make, by name; what shares self-attention does so in every step."""
    return {"P2P": p.edit} | {method: share(p.source, method, start=0.0, end=1.0) for method in (PNP, MASACTRL, VALUES)}


def rows_of_calls(model, monkeypatch) -> list[int]:
    """The rows of each call of the network of a MODEL, in a list that grows."""
    rows, forward = [], model.model.diffusion_model.forward

    def counted(x, *args, **kwargs):
        rows.append(len(x))
        return forward(x, *args, **kwargs)

    monkeypatch.setattr(model.model.diffusion_model, "forward", counted)
    return rows
