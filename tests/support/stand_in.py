"""A server for the answers that ComfyUI itself cannot be made to give, over real HTTP; and a graph for it.

What a sound server does is tested on a real one, in tests/server.
"""

from __future__ import annotations

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

# A black pixel; what follows a picture is no part of it.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC")
RUN = "a-run"
SAVED = {"filename": "edited_00001_.png", "subfolder": "", "type": "temp"}
GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "none.png"}, "_meta": {"title": "Image"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Source prompt"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Target prompt"}},
    "4": {"class_type": "EditFriendlyInvert", "inputs": {"image": ["1", 0], "positive": ["2", 0], "steps": 9}},
    "5": {"class_type": "FixedNoiseSampler", "inputs": {"noise_maps": ["4", 0], "positive": ["3", 0], "cfg": 9.0}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0]}, "_meta": {"title": "Edited"}},
}


class Answer(NamedTuple):
    content: Any  # bytes as they are, all else as JSON
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = {}


HTML = Answer(b"<html>Be back soon</html>", kind="text/html")
SOUND = {
    "GET /system_stats": Answer({"system": {"comfyui_version": "0.0.0"}}),
    "POST /upload/image": Answer({"name": "a.png", "subfolder": "edit_folder", "type": "input"}),
    "POST /prompt": Answer({"prompt_id": RUN, "number": 1, "node_errors": {}}),
    f"GET /history/{RUN}": Answer(
        {RUN: {"status": {"status_str": "success", "messages": []}, "outputs": {"6": {"images": [SAVED]}}}}
    ),
    "GET /queue": Answer({"queue_running": [], "queue_pending": []}),
    "POST /queue": Answer(b""),
    "POST /interrupt": Answer(b""),
    "GET /object_info/LoadImage": Answer({"LoadImage": {"input": {"required": {"image": [["other.png"], {}]}}}}),
    "GET /view": Answer(PNG, kind="image/png"),
}


class StandIn(ThreadingHTTPServer):
    """`once` and `always` hold answers in place of the sound ones, by method and path; `heard` what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.always: dict[str, Answer] = {}
        self.once: dict[str, Answer] = {}
        self.heard: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def reset(self) -> None:
        for kept in (self.always, self.once, self.heard):
            kept.clear()


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"  # connections are kept
    wbufsize = -1  # head and body in one packet

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = f"{self.command} {urlsplit(self.path).path}"
        self.server.heard.append((asked, dict(self.headers)))
        answer = self.server.once.pop(asked, None) or self.server.always.get(asked) or SOUND[asked]
        content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        self.send_response(answer.status)
        for name, value in (
            {"Content-Type": answer.kind, "Content-Length": str(len(content))} | answer.headers
        ).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        self.close_connection = answer.headers.get("Content-Length") is not None  # which is not true

    do_GET = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass
