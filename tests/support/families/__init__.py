"""Every family of models that ComfyUI samples, made tiny; `Family` says what the fields are.

A row is a class of `comfy.supported_models`, or another kind of model of one. The numbers are the smallest that the
host's networks take. Random weights say whether arithmetic is exact, and nothing of how an edit looks.
"""

from support.families.pictures import PICTURES
from support.families.sounds_and_shapes import SOUNDS_AND_SHAPES
from support.families.unets import UNETS
from support.families.videos import VIDEOS

NOT_SAMPLED = {"DepthAnything3", "RT_DETR_v4", "SAM3", "SAM31"}  # classes that find things in pictures

FAMILIES = {family.name: family for family in [*UNETS, *PICTURES, *VIDEOS, *SOUNDS_AND_SHAPES]}
