"""All that a target takes over of its source's attention, in one description."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .cross import CrossEdit
from .sharing import Place, Rule, Share, ShareFeatures, SharingMethod, second_output_block
from .windows import Window, is_open
from .words import LocalBlend


@dataclass(frozen=True, eq=False)
class AttentionControl:
    """What the target takes over of the source's attention; without a model, without the tensors of a run.

    Args:
        cross: of the cross-attention, in the rows of the prompt.
        shares: of the self-attention.
        features: of the residual blocks, in the rows of every prompt.
        blend: where the edit stays.
    """

    cross: CrossEdit | None = None
    shares: tuple[Share, ...] = ()
    features: tuple[ShareFeatures, ...] = ()
    blend: LocalBlend | None = None

    def cross_at(self, step: int, steps: int) -> CrossEdit | None:
        """The edit of the cross-attention, if any of it acts at a step."""
        return self.cross if self.cross is not None and self.cross.is_open(step, steps) else None

    def shares_at(self, step: int, steps: int) -> list[Share]:
        """What of the self-attention is shared at a step."""
        return [share for share in self.shares if is_open(share.window, step, steps)]

    def features_at(self, step: int, steps: int) -> list[ShareFeatures]:
        """Which features are shared at a step."""
        return [features for features in self.features if is_open(features.window, step, steps)]

    def is_open(self, step: int, steps: int) -> bool:
        """Whether anything acts at a step, so that the source's rows are needed; a local blend looks at all of them."""
        acting = (self.cross_at(step, steps), self.shares_at(step, steps), self.features_at(step, steps), self.blend)
        return any(bool(part) if isinstance(part, list) else part is not None for part in acting)

    def of_all_prompts(self, step: int, steps: int) -> bool:
        """Whether the rows of every prompt are edited at a step, not those of the positive one alone."""
        shares = self.shares_at(step, steps)
        return any(share.all_prompts for share in shares) or bool(self.features_at(step, steps))

    def blends(self, step: int, steps: int) -> bool:
        """Whether the edit is kept to the words' places after a step."""
        return self.blend is not None and step >= int(self.blend.start * steps + 1e-6)

    def and_also(self, other: AttentionControl) -> AttentionControl:
        """Both at once.

        Raises:
            ValueError: each with an edit of the cross-attention.
        """
        if self.cross is not None and other.cross is not None:
            raise ValueError("both attention edits come from Prompt-to-Prompt: write all changes into one of them")
        return AttentionControl(
            self.cross or other.cross,
            self.shares + other.shares,
            self.features + other.features,
            self.blend or other.blend,
        )

    def acts_at(self, places: Sequence[Place]) -> bool:
        """Whether a model with transformers at these places has any that this acts at."""
        rules = [share.where for share in self.shares] + [features.where for features in self.features]
        return self.cross is not None or self.blend is not None or any(rule(places) for rule in rules)


def shared_by(
    method: SharingMethod,
    window: Window,
    features_end: float | None,
    where: Rule | None = None,
    edited: Tensor | None = None,
) -> AttentionControl:
    """A published method of sharing as an edit.

    Args:
        window: when the self-attention is shared.
        features_end: until when features are, for a method that does; else without effect.
        where: in place of the method's own layers.
        edited: of a `Share`.
    """
    until = None if method.features_end is None else features_end
    return AttentionControl(
        shares=(Share(method.takes, where or method.where, window, all_prompts=True, edited=edited),),
        features=() if not until else (ShareFeatures(second_output_block, (0.0, until)),),
    )
