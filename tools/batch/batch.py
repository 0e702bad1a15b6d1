"""Edits on one or several servers, a thread for each, from one queue."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, Queue
from typing import Any

from .client import ComfyClient, GraphError, ServerGone
from .edits import InvalidEdit, by_picture
from .job import MOST_DEATHS, Job, Outcome
from .template import PictureEdit

ASK_AGAIN = 30.0  # seconds until a server that is gone is asked whether it is back
LOOK_UP = 0.5  # seconds after which the main thread sees a Ctrl-C, which wakes it from no lock on Windows

Group = list[PictureEdit | InvalidEdit]


class Batch:
    """Edits of a job on servers; a lost server's edits go to the others, and it is asked again from time to time."""

    def __init__(self, clients: list[ComfyClient], job: Job):
        self.clients = clients
        self.job = job
        # From the threads: an outcome, an error that ends the batch, or None for a thread that has ended.
        self._messages: Queue[Outcome | BaseException | None] = Queue()
        self._deaths: Counter[str] = Counter()

    def run(self, edits: Iterable[PictureEdit | InvalidEdit], tell: Callable[[Outcome], object]) -> None:
        """Run the edits that are not finished, and pass each outcome to `tell` as it comes.

        Raises:
            GraphError: all servers are gone; finished edits are kept.
            StoreError: no more results can be written.
        """
        work = _GroupQueue(by_picture(edits), len(self.clients))
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
                message = self._messages.get(timeout=LOOK_UP)
            except Empty:
                continue
            if isinstance(message, BaseException):
                raise message
            if message is None:
                ended += 1
            else:
                tell(message)

    def _serve(self, client: ComfyClient, work: _GroupQueue) -> None:
        """The thread of one server."""
        try:
            self._take_from(work, client)
        except KeyboardInterrupt:  # the main thread's
            pass
        except BaseException as error:  # the main thread raises it
            self._messages.put(error)
        self._messages.put(None)

    def _take_from(self, work: _GroupQueue, client: ComfyClient) -> None:
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

    def _comes_back(self, client: ComfyClient, work: _GroupQueue) -> bool:
        """Ask a lost server from time to time; False once everything is done without it."""
        while not work.is_over(ASK_AGAIN):
            if client.is_up():
                return True
        return False

    def _do(self, group: Group, client: ComfyClient, host: Mapping[str, Any]) -> None:
        """Run the edits of a group, removing each when it is done."""
        while group and not client.stopped.is_set():
            edit = group[0]
            try:
                self._messages.put(self.job.run(edit, client, host))
            except ServerGone as error:
                self._deaths[edit.name] += 1
                if self._deaths[edit.name] < MOST_DEATHS:
                    raise
                self._messages.put(self.job.give_up(edit, error))
                group.pop(0)
                raise
            group.pop(0)


class _GroupQueue:
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
        """The next group; None at the end, once every group taken is finished."""
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
        """Count a taken group as done."""
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def give_back(self, group: Group) -> None:
        """Return the rest of a taken group, from a server that is gone."""
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
        """Count a server that was gone as present again."""
        with self._changed:
            self._present += 1

    def is_over(self, seconds: float) -> bool:
        """Whether all is done, after waiting up to that long."""
        with self._changed:
            return self._changed.wait_for(self._is_over, seconds)

    def close(self) -> None:
        """Hand out no more groups."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_over(self) -> bool:
        return self._closed or (self._at_end and not self._returned and not self._taken)
