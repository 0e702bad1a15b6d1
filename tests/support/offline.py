"""A process that reaches no other machine: what tries to is refused, and is told of.

Also the text of a script that ComfyUI runs at its start; so it imports nothing that has to be installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = ("127.0.0.1", "::1", "localhost", "")  # "" is every address of this machine, to listen at
# Python's own names of what it is about to do, and which argument says where.
PLACES = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
START, ATTEMPT = "No other machine is reached from here.", "An attempt to reach"

refused: list[str] = []
_refusing = False


def _audit(event: str, arguments: tuple) -> None:
    if not _refusing or event not in PLACES:
        return
    place = arguments[PLACES[event]]
    if event in ("socket.connect", "socket.sendto") and not isinstance(place, tuple):
        return  # a socket that is a file
    host = place[0] if isinstance(place, tuple) else place
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host not in HERE:
        refused.append(f"{ATTEMPT} {host} ({event})")
        sys.stderr.write(refused[-1] + "\n")
        raise PermissionError(refused[-1])


sys.addaudithook(_audit)  # it stays until the process ends


@contextmanager
def no_network() -> Iterator[list[str]]:
    """The attempts to reach another machine; each was an error where it was made."""
    global _refusing
    refused.clear()
    _refusing = True
    try:
        yield refused
    finally:
        _refusing = False


def forbid_network(base: Path, missing: tuple[str, ...] = ()) -> None:
    """Keep a ComfyUI that is started on this folder from other machines, by a pack of its own.

    Args:
        missing: packages that it shall not find.
    """
    folder = base / "custom_nodes" / "no_network"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("NODE_CLASS_MAPPINGS = {}\n")
    hidden = "".join(f"sys.modules[{name!r}] = None\n" for name in missing)
    start = f"{hidden}_refusing = True\nsys.stderr.write(START + '\\n')\n"
    (folder / "prestartup_script.py").write_text(Path(__file__).read_text(encoding="utf-8") + start, encoding="utf-8")


def attempts_of(log: Path) -> list[str]:
    """What such a ComfyUI tried, from its log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    assert START in lines
    return [line for line in lines if line.startswith(ATTEMPT)]
