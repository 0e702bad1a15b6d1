"""When an edit of the attention acts."""

from __future__ import annotations

Window = tuple[float, float]
"""From where to where something acts, as fractions of all steps of the schedule, counted from the first that runs."""


def is_open(window: Window, step: int, steps: int) -> bool:
    """Whether a window is open at a step.

    Deviation: Prompt-to-Prompt's code ends those of words at int(share (steps + 1)), which at 0.55, 0.65, 0.75, 0.85
    and 0.95 of 50 steps is one step later; here they end as those of pixels do.

    Args:
        step: counted from the first that runs, as the official code counts.
        steps: of the full schedule, skipped ones included.
    """
    first, last = (int(share * steps + 1e-6) for share in window)
    return first <= step < last


def check_window(window: Window, what: str) -> None:
    """Refuse a window that cannot be.

    Raises:
        ValueError: outside 0 to 1, or the wrong way round.
    """
    start, stop = window
    if not 0 <= start <= stop <= 1:
        raise ValueError(
            f"the window of {what} goes from {start:g} to {stop:g}: use fractions of the steps from 0 to 1, start first"
        )
