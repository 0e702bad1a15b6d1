"""The servers that a command is told of, and the headers that they want, such as a token."""

from __future__ import annotations

import argparse
from pathlib import Path

from .client import ComfyClient
from .template import UsageError

DEFAULT_SERVER = "http://127.0.0.1:8188"


def add_header(parser: argparse.ArgumentParser) -> None:
    """Add the option for headers."""
    parser.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent with every request; may be repeated; @FILE reads such lines from a file",
    )


def clients_of(servers: list[str], header_lines: list[str], timeout: float | None = None) -> list[ComfyClient]:
    """A client for each server; of a server that is named twice, perhaps once without its password, the last counts.

    Raises:
        UsageError: an invalid address or header; the message contains nothing that may be secret.
    """
    headers = _headers(header_lines)
    urls = [url if "://" in url else f"http://{url}" for url in servers]
    try:
        clients = [ComfyClient(url, timeout, headers) for url in urls]
        return list({client.url: client for client in clients}.values())
    except ValueError as error:
        raise UsageError(str(error)) from None


def _headers(texts: list[str]) -> dict[str, str]:
    """Headers by name, from 'Name: value' and @FILE; a UsageError never shows a value, which may be secret."""
    headers = {}
    for line in [line for text in texts for line in (_lines_of(text[1:]) if text.startswith("@") else [text])]:
        name, colon, value = line.partition(":")
        if not colon:
            raise UsageError("--header needs 'NAME: VALUE', or @FILE with such lines; one has no colon")
        headers[name] = value
    return headers


def _lines_of(file: str) -> list[str]:
    try:
        return [line for line in Path(file).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"the headers {file} cannot be read: {type(error).__name__}") from None
