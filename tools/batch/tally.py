"""Progress and result of a batch: counts, failures by reason, a bar, and what is printed at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType

from tqdm import tqdm

from .client import GraphError
from .edits import MOST_NAMES, listed
from .job import EDITED, FINISHED, Outcome
from .store import Place

MOST_REASONS = 50  # kept and shown, so that a long batch does not fill the memory
OTHER_REASONS = "other reasons"


@dataclass
class Named:
    """The pictures of which one thing is said."""

    count: int = 0
    names: list[str] = field(default_factory=list)  # the first ones

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < MOST_NAMES:
            self.names.append(name)

    def __str__(self) -> str:
        return listed(self.names, self.count)


class Tally:
    """`with Tally(count, out) as tally:` counts outcomes beside a bar and prints a report at the end.

    GraphError, OSError and Ctrl-C end the block and are part of the report; `exit_status` is then that of the command.
    Other errors pass through without a report.
    """

    def __init__(self, count: int, out: Place):
        self.count = count
        self.out = out
        self.edited = 0
        self.finished_before = 0
        self.failures: dict[str, Named] = {}  # by reason
        self.parts: dict[str, Named] = {}  # pictures of whose files only a part is edited
        self.exit_status = 1

    def __enter__(self) -> Tally:
        self.bar = tqdm(total=self.count, unit="picture", dynamic_ncols=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self.bar.close()
        if error is None:
            self.exit_status = 1 if self.failures else 0
            self._report()
        elif isinstance(error, GraphError | OSError):
            self._report(f"Stopped: {error}.")
        elif isinstance(error, KeyboardInterrupt):
            self.exit_status = 130
            self._report("Interrupted.")
        else:
            return False
        return True

    @property
    def failed(self) -> int:
        return sum(failures.count for failures in self.failures.values())

    def add(self, outcome: Outcome) -> None:
        """Count an outcome and move the bar; a new reason of failure is printed."""
        if outcome.status == EDITED:
            self.edited += 1
            if outcome.part:
                self.parts.setdefault(outcome.part, Named()).add(outcome.name)
        elif outcome.status == FINISHED:
            self.finished_before += 1
        else:
            self._add_failure(outcome.name, outcome.error or "")
        failed = f"{self.failed} failed, " if self.failed else ""
        self.bar.set_postfix_str(f"{failed}{outcome.name}", refresh=False)
        self.bar.update()

    def _add_failure(self, name: str, reason: str) -> None:
        if reason not in self.failures:
            tqdm.write(f"FAILED {name}: {reason}")
            if len(self.failures) >= MOST_REASONS:
                reason = OTHER_REASONS
        self.failures.setdefault(reason, Named()).add(name)

    def _report(self, stop: str = "") -> None:
        """Print what was done, what failed and why, and how to resume."""
        tqdm.write(
            f"{self.edited} edited, {self.finished_before} finished before, {self.failed} failed, of {self.count}."
            f" Results: {self.out}"
        )
        for part, pictures in self.parts.items():
            tqdm.write(f"  {pictures}: edited is {part}")
        for reason, failures in self.failures.items():
            tqdm.write(f"  {failures}: {reason}")
        if stop:
            tqdm.write(f"{stop} What is finished is kept; the same command goes on with the rest.")
