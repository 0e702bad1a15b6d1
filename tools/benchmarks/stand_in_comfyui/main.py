"""A stand-in for ComfyUI that computes nothing: `main.py` with its options, the routes of the client, and its queue.

What many edits cost beside the network is measured on it, and servers that end or fail are tried on it. What a run does
stands in the texts of its graph: "kill" ends the server, "fail" fails, "crowd" fails for want of memory until
/free is asked for. STAND_IN_SECONDS is how long each run takes. It prints what ComfyUI prints of a run.

Needs nothing installed, for it is run by any Python.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import queue
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

SECONDS = float(os.environ.get("STAND_IN_SECONDS", 0))
CHECKPOINTS = ["stand-in.safetensors"]
# A black pixel; what follows a picture is no part of it.
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC")
SAVERS = ("SaveImage", "PreviewImage")


class Runs:
    """The queue, and what has become of each run."""

    def __init__(self) -> None:
        self.waiting: queue.Queue[tuple[str, dict]] = queue.Queue()
        self.pending: dict[str, dict] = {}
        self.history: dict[str, dict] = {}
        self.pictures: dict[str, bytes] = {}
        self.inputs: dict[str, str] = {}  # digests
        self.is_crowded = True

    def add(self, graph: dict, prompt_id: str) -> None:
        self.pending[prompt_id] = graph
        self.waiting.put((prompt_id, graph))

    def work(self) -> None:
        while True:
            prompt_id, graph = self.waiting.get()
            if prompt_id in self.pending:
                print(f"got prompt {prompt_id}", flush=True)
                self.history[prompt_id] = self._entry(prompt_id, graph)
                self.pending.pop(prompt_id, None)  # gone if it was deleted meanwhile

    def _entry(self, prompt_id: str, graph: dict) -> dict:
        text = " ".join(str(node["inputs"].get("text", "")) for node in graph.values())
        time.sleep(SECONDS)
        if "kill" in text:
            os._exit(9)
        if "fail" in text or ("crowd" in text and self.is_crowded):
            kind = "Failure" if "fail" in text else "OutOfMemoryError"
            message = {"node_id": next(iter(graph)), "exception_type": kind, "exception_message": "as asked"}
            status = {"status_str": "error", "messages": [["execution_error", message]]}
            return {"prompt": [0, prompt_id, graph], "status": status, "outputs": {}}
        (node,) = (key for key in graph if graph[key]["class_type"] in SAVERS)
        name = f"{prompt_id}_00001_.png"
        self.pictures[name] = PNG + self._content(graph).encode()
        print("Prompt executed in 0.00 seconds", flush=True)
        image = {"filename": name, "subfolder": "", "type": "temp"}
        return {
            "prompt": [0, prompt_id, graph],
            "status": {"status_str": "success", "messages": []},
            "outputs": {node: {"images": [image]}},
        }

    def _content(self, graph: dict) -> str:
        """Equal for equal graphs and pictures."""
        inputs = [
            {name: self.inputs.get(str(value), value) for name, value in node["inputs"].items()}
            for node in graph.values()
        ]
        for values in inputs:
            values.pop("filename_prefix", None)
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    runs = Runs()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        first, _, rest = address.path.strip("/").partition("/")
        runs = self.runs
        if first == "view":
            self._answer(runs.pictures[parse_qs(address.query)["filename"][0]], "image/png")
        elif first == "history":
            self._answer({rest: runs.history[rest]} if rest in runs.history else {} if rest else runs.history)
        elif first == "queue":
            waiting = [[0, prompt_id] for prompt_id in list(runs.pending)]
            self._answer({"queue_running": waiting[:1], "queue_pending": waiting[1:]})
        elif first == "object_info":
            known = {rest: {"input": {"required": {"ckpt_name": [CHECKPOINTS, {}]}}}}
            self._answer({} if rest == "Unknown" else known)
        else:
            system = {"comfyui_version": "0.0.0", "argv": sys.argv}
            self._answer({"system": system, "devices": [{"name": "stand-in"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/prompt":
            asked = json.loads(body)
            prompt_id = asked.get("prompt_id") or str(uuid.uuid4())
            self.runs.add(asked["prompt"], prompt_id)
            self._answer({"prompt_id": prompt_id, "number": 1, "node_errors": {}})
        elif self.path == "/upload/image":
            (part,) = (part for part in body.split(body.partition(b"\r\n")[0]) if b'filename="' in part)
            name = part.partition(b'filename="')[2].partition(b'"')[0].decode()
            self.runs.inputs[f"edit_folder/{name} [temp]"] = hashlib.sha256(part.partition(b"\r\n\r\n")[2]).hexdigest()
            self._answer({"name": name, "subfolder": "edit_folder", "type": "temp"})
        elif self.path == "/free":
            self.runs.is_crowded = False
            self._answer({})
        else:
            for prompt_id in json.loads(body or b"{}").get("delete", []):
                self.runs.pending.pop(prompt_id, None)
            self._answer({})

    def _answer(self, content: dict | bytes, kind: str = "application/json") -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8188)
    options, _ = parser.parse_known_args()
    server = Server(("127.0.0.1", options.port), Handler)
    threading.Thread(target=Handler.runs.work, daemon=True).start()
    print(f"listening on {options.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
