"""The means of the steps along a trajectory, at first or at second order.

Source: arXiv 2304.06140, Sec. 3, Eq. 4; at second order SDE-DPM-Solver++(2M) (arXiv 2211.01095), which takes the
prediction carried on to the middle of the step, D + h / (2 h_before) (D - D_before), in place of D. With eta 1 the rest
of its step is Eq. 4's own.
"""

from __future__ import annotations

from torch import Tensor

from .schedule import NoiseSchedule


class Means:
    """mu_t of steps that follow one another, each from the state, the prediction, and the prediction before it.

    Args:
        schedule: of the steps.
        before: (N, *S) the prediction of the step before the first that is asked for; None where that is the first of
            the schedule.
    """

    def __init__(self, schedule: NoiseSchedule, before: Tensor | None = None):
        self._schedule = schedule
        self._before = before

    def __call__(self, i: int, x: Tensor, denoised: Tensor) -> Tensor:
        """(N, *S) mu_t of step i at x under the prediction `denoised`, both (N, *S).

        Raises:
            ValueError: a step of second order without a prediction before it.
        """
        step = self._schedule.step(i)
        carried = denoised
        if step.history:
            if self._before is None:
                raise ValueError(f"step {i} is of second order, and the prediction of the step before it is missing")
            carried = step.carried_on(denoised, self._before)
        if self._schedule.order > 1:
            self._before = denoised
        return step.mean(x, carried)
