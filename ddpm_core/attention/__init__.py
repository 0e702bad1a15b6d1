"""Attention control: the maps of a source prompt at work under a target prompt.

Sources: Prompt-to-Prompt (arXiv 2208.01626), Plug-and-Play (arXiv 2211.12572), MasaCtrl (arXiv 2304.08465), KV-Edit
(arXiv 2502.17363); on edit-friendly noise maps arXiv 2304.06140, App. D.1 and Tab. 3.

In every method the source's rows ride beside the target's through one call of the network. `edit` says what is taken
over; `cross`, `sharing` and `words` are what a layer makes of it, `alignment` which word stands for which, and
`windows` when.
"""

from .alignment import Alignment, Mode, Prompt, align, common_subsequence
from .cross import CrossEdit, CrossWeights, Halves, Plain, cross_attention, joint_attention
from .edit import AttentionControl, shared_by
from .sharing import (
    METHODS,
    Part,
    Place,
    Rule,
    Share,
    ShareFeatures,
    SharingMethod,
    background_of,
    between,
    coarse,
    everywhere,
    fine_output,
    grid_of,
    output_from_second,
    second_output_block,
    take_source,
)
from .windows import Window, check_window, is_open
from .words import LocalBlend, WordMaps, attention_maps, near_quarter, word_heat, word_maps

__all__ = [
    "Alignment",
    "CrossEdit",
    "CrossWeights",
    "AttentionControl",
    "Halves",
    "LocalBlend",
    "METHODS",
    "SharingMethod",
    "Mode",
    "Part",
    "Plain",
    "Place",
    "Prompt",
    "Rule",
    "Share",
    "ShareFeatures",
    "Window",
    "WordMaps",
    "align",
    "attention_maps",
    "background_of",
    "between",
    "check_window",
    "coarse",
    "common_subsequence",
    "cross_attention",
    "everywhere",
    "fine_output",
    "grid_of",
    "is_open",
    "joint_attention",
    "near_quarter",
    "output_from_second",
    "second_output_block",
    "shared_by",
    "take_source",
    "word_heat",
    "word_maps",
]
