"""How much the figures are made of."""

from __future__ import annotations

from dataclasses import dataclass, fields

from demo.scenes import TEST_SEED

from .edits import KINDS


@dataclass(frozen=True)
class Sizes:
    """How much the figures are made of, and in how many steps; by default as in docs/figures.

    Args:
        paths: of Fig. 5, in the plane.
        pictures, steps: of the figures of noise maps; the paper has 10 (Figs. 6, 12) or 25 (Fig. 11), and 100 steps.
        captioned: pictures of Fig. 2 and real scenes of Fig. 8.
        latents, latent_steps: of the figures of There and Back Again.
        kinds, per_kind, edit_steps: of the held-out edits.
        variations: of one edit; the paper has 8.
        reconstructed: scenes of the reconstructions, of which null-text is slow.
        most_per_kind, most_steps: of the tables of `measured`, each of which has its own.
        first_seed: of the held-out scenes and their noise; another one gives other scenes.

    Raises:
        ValueError: a seed of scenes that were trained or tuned on.
    """

    paths: int = 2000
    pictures: int = 25
    steps: int = 50
    captioned: int = 12
    latents: int = 128
    latent_steps: int = 20
    kinds: tuple[str, ...] = KINDS
    per_kind: int = 2
    edit_steps: int = 20
    variations: int = 8
    reconstructed: int = 6
    most_per_kind: int = 48
    most_steps: int = 100
    first_seed: int = TEST_SEED

    def __post_init__(self) -> None:
        if self.first_seed < TEST_SEED:
            raise ValueError(f"held-out scenes begin at seed {TEST_SEED}, not at {self.first_seed}")

    def seeds(self, count: int) -> list[int]:
        """Those of the first held-out scenes."""
        return [self.first_seed + k for k in range(count)]


NUMBERS = {field.name: field.default for field in fields(Sizes) if field.name != "kinds"}
"""The sizes that are numbers, by their names."""
