"""A ComfyUI server's HTTP API: upload pictures, run graphs, download results. Needs `requests`, nothing else."""

from __future__ import annotations

import contextlib
import time
import uuid
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

REQUEST_TIMEOUT = 60  # seconds without a byte from the server
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds between two looks at a run
GATEWAY_ERRORS = (502, 503, 504)  # a proxy answers in place of a server that is down


class GraphError(RuntimeError):
    """The server refused a graph, or a node of it failed; the message is the server's own, with the node's title."""


class ServerGone(GraphError):
    """The server does not answer."""


class ComfyClient:
    """The server at `url`, such as http://127.0.0.1:8188; user:password@ before the host is sent as basic auth.

    Every method raises ServerGone where the server does not answer, and GraphError where it answers with an error.

    Args:
        timeout: seconds that `result` waits for a run, its time in the queue included, before it cancels the run; for
            ever if None.
    """

    def __init__(self, url: str, timeout: float | None = None):
        self.url = url.rstrip("/")
        self.timeout = timeout
        self._session = requests.Session()
        # What only asks is asked again when a connection breaks; a post might run a graph twice.
        retry = Retry(total=3, status=0, backoff_factor=0.3, allowed_methods={"GET"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(self, path: str, **params: str) -> Any:
        """The JSON behind a GET."""
        return _json_of(self._request("GET", path, params=params))

    def is_up(self) -> bool:
        """Whether a ComfyUI answers."""
        try:
            return "system" in self.get("/system_stats")
        except GraphError:
            return False

    def version(self) -> str:
        """The server's version of ComfyUI."""
        return self.get("/system_stats")["system"]["comfyui_version"]

    def upload(self, content: bytes, name: str, subfolder: str) -> str:
        """Put a picture into the server's input folder, over one of that name; what LoadImage calls it."""
        form = {"subfolder": subfolder, "overwrite": "true"}
        file = _json_of(self._request("POST", "/upload/image", files={"image": (name, content)}, data=form))
        return f"{file['subfolder']}/{file['name']}" if file["subfolder"] else file["name"]

    def view(self, file: dict) -> bytes:
        """The content of a file that an output names."""
        params = {key: file[key] for key in ("filename", "subfolder", "type")}
        return self._request("GET", "/view", params=params).content

    def queue(self, graph: dict, prompt_id: str | None = None) -> str:
        """Post a graph in the API format; the id of its run."""
        prompt_id = prompt_id or str(uuid.uuid4())
        reply = self._send("POST", "/prompt", json={"prompt": graph, "prompt_id": prompt_id})
        if reply.status_code not in (200, 400):
            _check(reply)
        answer = _json_of(reply)
        if not reply.ok or answer.get("node_errors"):
            if reply.ok:  # it queues the outputs that are sound and leaves out the others
                self.cancel(prompt_id)
            raise GraphError(f"the server refused the graph: {self._reasons(graph, answer)}")
        return answer["prompt_id"]

    def result(self, prompt_id: str) -> dict:
        """Wait for a run; its outputs by node id."""
        deadline = None if self.timeout is None else time.monotonic() + self.timeout
        pause = FIRST_PAUSE
        while (entry := self._history(prompt_id)) is None:
            if not self._in_queue(prompt_id):
                entry = self._history(prompt_id)  # it may have ended between the two questions
                if entry is None:
                    raise GraphError("the server dropped the run: it was restarted, or its queue was cleared")
                break
            if deadline is not None and time.monotonic() > deadline:
                self.cancel(prompt_id)
                raise GraphError(f"the graph did not finish within {self.timeout:g} s, and was cancelled")
            time.sleep(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)
        if entry["status"]["status_str"] != "success":
            raise GraphError(f"the graph failed: {describe_failure(entry)}")
        return entry["outputs"]

    def run(self, graph: dict) -> dict:
        """Post a graph and wait for it; its outputs by node id. Ctrl-C stops the run on the server as well."""
        prompt_id = str(uuid.uuid4())  # chosen here, so that a run can be stopped before its id has come back
        try:
            return self.result(self.queue(graph, prompt_id))
        except KeyboardInterrupt:
            with contextlib.suppress(GraphError):
                self.cancel(prompt_id)
            raise

    def cancel(self, prompt_id: str) -> None:
        """Stop one run, waiting or running; those of others go on."""
        self._request("POST", "/queue", json={"delete": [prompt_id]})
        self._request("POST", "/interrupt", json={"prompt_id": prompt_id})

    def interrupt(self) -> None:
        """Press the Cancel button."""
        self._request("POST", "/interrupt")

    def choices(self, class_type: str, name: str) -> list[str]:
        """What a combo input of a node offers on this server, such as the files that a loader finds."""
        inputs = self.get(f"/object_info/{class_type}")[class_type]["input"]
        spec = inputs["required"][name] if name in inputs["required"] else inputs["optional"][name]
        return spec[1]["options"] if spec[0] == "COMBO" else spec[0]

    def _history(self, prompt_id: str) -> dict | None:
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def _in_queue(self, prompt_id: str) -> bool:
        queue = self.get("/queue")
        return any(entry[1] == prompt_id for entry in queue["queue_running"] + queue["queue_pending"])

    def _reasons(self, graph: dict, answer: dict) -> str:
        """Why a graph was refused, node by node, in one line."""
        reasons = []
        for node, errors in answer.get("node_errors", {}).items():
            for error in errors["errors"]:
                reasons.append(f"{describe_node(graph, node)}: {self._reason(graph[node], error)}")
        error = answer.get("error") or {}
        if not reasons:
            reasons = [" ".join(filter(None, (error.get("message"), error.get("details")))) or str(answer)]
        return "; ".join(reasons)

    def _reason(self, node: dict, error: dict) -> str:
        name = error.get("extra_info", {}).get("input_name")
        if error["type"] == "value_not_in_list":  # the server leaves long lists out of its answer
            offered = ", ".join(map(str, self.choices(node["class_type"], name))) or "nothing"
            return f"input {name}: {node['inputs'][name]!r} is not on the server, it has: {offered}"
        details = "" if error["details"] in ("", name) else f" ({error['details']})"
        return f"input {name}: {error['message']}{details}" if name else f"{error['message']}{details}"

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        return _check(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            reply = self._session.request(method, f"{self.url}{path}", timeout=REQUEST_TIMEOUT, **options)
        except requests.RequestException as error:
            raise ServerGone(f"the server {self.url} does not answer: {type(error).__name__}") from error
        if reply.status_code in GATEWAY_ERRORS:
            raise ServerGone(f"the server {self.url} does not answer: {reply.status_code} {reply.reason}")
        return reply


def describe_node(graph: dict, node: str) -> str:
    """A node as its reader knows it: title and class."""
    class_type = graph[node]["class_type"]
    title = graph[node].get("_meta", {}).get("title", f"node {node}")
    return f"'{title}' ({class_type})"


def describe_failure(entry: dict) -> str:
    """Why a run ended, in one line, from its entry in the server's history."""
    graph = entry["prompt"][2]
    for event, message in entry["status"]["messages"]:
        if event == "execution_error":
            kind = message["exception_type"].rsplit(".", 1)[-1]
            what = " ".join(message["exception_message"].split())
            return f"{describe_node(graph, message['node_id'])}: {kind}: {what}"
        if event == "execution_interrupted":
            return f"{describe_node(graph, message['node_id'])} was cancelled on the server ({event})"
    return str(entry["status"]["messages"])


def _check(reply: requests.Response) -> requests.Response:
    if not reply.ok:
        raise GraphError(f"the server answered {reply.status_code} {reply.reason} to {reply.request.path_url}")
    return reply


def _json_of(reply: requests.Response) -> Any:
    try:
        return reply.json()
    except requests.JSONDecodeError as error:
        raise GraphError(f"{reply.url} answered with something else than JSON: is it a ComfyUI server?") from error
