"""Run a script until it or the process that started this one ends: `python supervised.py main.py --port 1`.

A server is to end with the tests that use it, also where they are killed and cannot stop it. So standard input has to
be a pipe, whose other end closes with the process that holds it, on every system.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
from pathlib import Path


def _end_at_the_end_of(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    # Not standard input itself: on Windows, whatever else looks at it waits for the thread that reads it.
    pipe = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=_end_at_the_end_of, args=(pipe,), daemon=True).start()
    own, script = Path(__file__).resolve().parent, Path(sys.argv[1]).resolve()
    # As if it had been run by itself; it may have modules of the names of those beside this file.
    sys.path[:] = [str(script.parent), *(entry for entry in sys.path if Path(entry).resolve() != own)]
    sys.argv[:] = [str(script), *sys.argv[2:]]
    runpy.run_path(str(script), run_name="__main__")
