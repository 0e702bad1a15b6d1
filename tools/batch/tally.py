"""What has become of the edits of a run: counts, failures by reason, and what is printed of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tqdm import tqdm

from .client import GraphError
from .job import EDITED, FINISHED, Outcome
from .store import Place

MOST_REASONS, MOST_NAMES = 50, 20  # that are kept and shown, so that a long run's do not fill the memory
OTHER_REASONS = "other reasons"


@dataclass
class Failures:
    """Those of one reason."""

    count: int = 0
    names: list[str] = field(default_factory=list)  # the first ones

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def __str__(self) -> str:
        left = self.count - len(self.names)
        return ", ".join(self.names) + (f" and {left} more" if left else "")


@dataclass
class Tally:
    edited: int = 0
    finished_before: int = 0
    failures: dict[str, Failures] = field(default_factory=dict)  # by reason

    @property
    def failed(self) -> int:
        return sum(failures.count for failures in self.failures.values())

    def add(self, outcome: Outcome) -> None:
        """Count one; a reason that is new is printed."""
        if outcome.status == EDITED:
            self.edited += 1
        elif outcome.status == FINISHED:
            self.finished_before += 1
        else:
            self._fail(outcome.name, outcome.error or "")

    @contextmanager
    def watched(self, count: int) -> Iterator[Callable[[Outcome], None]]:
        """A function that counts an outcome, beside a bar with the rate, the time left and what failed."""
        with tqdm(total=count, unit="picture", dynamic_ncols=True) as bar:

            def tell(outcome: Outcome) -> None:
                self.add(outcome)
                failed = f"{self.failed} failed, " if self.failed else ""
                bar.set_postfix_str(f"{failed}{outcome.name}", refresh=False)
                bar.update()

            yield tell

    def report(self, count: int, out: Place, stop: str | None) -> None:
        """Print what was done, what failed and why, and how to go on."""
        tqdm.write(
            f"{self.edited} edited, {self.finished_before} finished before, {self.failed} failed, of {count}."
            f" Results: {out}"
        )
        for reason, failures in self.failures.items():
            tqdm.write(f"  {failures}: {reason}")
        if stop:
            tqdm.write(f"{stop} What is finished is kept; the same command goes on with the rest.")

    def ended(self, do: Callable[[], None], count: int, out: Place) -> int:
        """Do what counts here, and report it however it ends; the exit status."""
        stop, status = None, 1
        try:
            do()
            status = 1 if self.failures else 0
        except (GraphError, OSError) as error:
            stop = f"Stopped: {error}."
        except KeyboardInterrupt:
            stop, status = "Interrupted.", 130
        self.report(count, out, stop)
        return status

    def _fail(self, name: str, reason: str) -> None:
        if reason not in self.failures:
            tqdm.write(f"FAILED {name}: {reason}")
            if len(self.failures) >= MOST_REASONS:
                reason = OTHER_REASONS
        self.failures.setdefault(reason, Failures()).add(name)
