"""Edits done on one or several servers, a thread for each, from one queue."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, Queue
from typing import Any

from .client import ComfyClient, GraphError, ServerGone
from .edits import Broken, by_picture
from .job import MOST_DEATHS, Job, Outcome
from .template import Edit

ASK_AGAIN = 30.0  # seconds until a server that is gone is asked whether it is back
LOOK_UP = 0.5  # seconds after which the main thread sees a Ctrl-C, which wakes it from no lock on Windows

Group = list[Edit | Broken]


class Batch:
    """Edits of a job on servers. One that is gone gives its edits back to the others, and is asked again."""

    def __init__(self, clients: list[ComfyClient], job: Job):
        self.clients = clients
        self.job = job
        self._said: Queue[Outcome | BaseException | None] = Queue()  # an error that ends all; None: a thread has ended
        self._deaths: Counter[str] = Counter()

    def run(self, edits: Iterable[Edit | Broken], tell: Callable[[Outcome], object]) -> None:
        """Do what is not finished, and tell what becomes of each edit, as it comes.

        Raises:
            GraphError: all servers are gone; what was finished is kept.
            StoreError: no result can be kept any more.
        """
        work = _Work(by_picture(edits), len(self.clients))
        threads = [threading.Thread(target=self._serve, args=(client, work), daemon=True) for client in self.clients]
        for thread in threads:
            thread.start()
        try:
            self._listen(tell)
        finally:
            work.close()
            for client in self.clients:
                client.stopped.set()
            for thread in threads:
                thread.join()

    def _listen(self, tell: Callable[[Outcome], object]) -> None:
        ended = 0
        while ended < len(self.clients):
            try:
                said = self._said.get(timeout=LOOK_UP)
            except Empty:
                continue
            if isinstance(said, BaseException):
                raise said
            if said is None:
                ended += 1
            else:
                tell(said)

    def _serve(self, client: ComfyClient, work: _Work) -> None:
        """All that one server does."""
        try:
            self._take_from(work, client)
        except KeyboardInterrupt:  # the main thread's
            pass
        except BaseException as error:  # whatever it is, the main thread is to end with it
            self._said.put(error)
        self._said.put(None)

    def _take_from(self, work: _Work, client: ComfyClient) -> None:
        host = None
        while (group := work.take()) is not None:
            try:
                host = host or client.host()
                self._do(group, client, host)
            except GraphError:
                host = None
                work.give_back(group)
                if work.is_nobody_left():
                    raise
                if not self._comes_back(client, work):
                    return
                work.is_back()
            else:
                work.finish()

    def _comes_back(self, client: ComfyClient, work: _Work) -> bool:
        """Ask a server that is gone from time to time; False where all is done without it."""
        while not work.is_over(ASK_AGAIN):
            if client.is_up():
                return True
        return False

    def _do(self, group: Group, client: ComfyClient, host: Mapping[str, Any]) -> None:
        """The edits of a group, each taken out of it when it is done."""
        while group and not client.stopped.is_set():
            edit = group[0]
            try:
                self._said.put(self.job.run(edit, client, host))
            except ServerGone as error:
                self._deaths[edit.name] += 1
                if self._deaths[edit.name] < MOST_DEATHS:
                    raise
                self._said.put(self.job.give_up(edit, error))
                group.pop(0)
                raise
            group.pop(0)


class _Work:
    """Groups of edits that servers take and finish, or give back."""

    def __init__(self, groups: Iterable[Group], servers: int):
        self._groups = iter(groups)
        self._returned: deque[Group] = deque()
        self._at_end = False
        self._taken = 0
        self._present = servers
        self._closed = False
        self._changed = threading.Condition()

    def take(self) -> Group | None:
        """The next group; None at the end, which is not before all that was taken is finished."""
        with self._changed:
            while not self._closed:
                if self._returned:
                    group = self._returned.popleft()
                else:
                    group = next(self._groups, [])
                    self._at_end = not group
                if group:
                    self._taken += 1
                    return group
                if not self._taken:
                    break
                self._changed.wait()
            return None

    def finish(self) -> None:
        """A group that was taken is done."""
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def give_back(self, group: Group) -> None:
        """What is left of a group that was taken, by a server that is gone."""
        with self._changed:
            self._taken -= 1
            self._present -= 1
            if group:
                self._returned.appendleft(group)
            self._changed.notify_all()

    def is_nobody_left(self) -> bool:
        """Whether all servers are gone."""
        with self._changed:
            return self._present == 0

    def is_back(self) -> None:
        """One that was gone is there again."""
        with self._changed:
            self._present += 1

    def is_over(self, seconds: float) -> bool:
        """Whether all is done, after waiting so long for it."""
        with self._changed:
            return self._changed.wait_for(self._is_over, seconds)

    def close(self) -> None:
        """Nothing further is to be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._closed or (self._at_end and not self._returned and not self._taken)
