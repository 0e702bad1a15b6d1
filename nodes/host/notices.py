"""Words and progress on a node in the front end."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import comfy.model_management
import comfy.utils

T = TypeVar("T")


def counted(parts: Sequence[T]) -> Iterator[T]:
    """Parts of a task, counted in the node's progress bar, and ended by the user's interrupt."""
    progress = comfy.utils.ProgressBar(len(parts))
    for part in parts:
        comfy.model_management.throw_exception_if_processing_interrupted()
        yield part
        progress.update(1)


def tell(node_id: str | None, text: str) -> None:
    """Show a text on a node, and in the log; the log alone where no server runs. An empty text is not told."""
    if not text:
        return
    logging.warning("%s", text)
    server = running_server()
    if server is not None and node_id is not None:
        server.send_progress_text(text, node_id)


def running_server() -> Any | None:
    """ComfyUI's PromptServer; None where none runs."""
    # Imported by whoever runs the server; to import it here would start half of one in a script.
    return getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
