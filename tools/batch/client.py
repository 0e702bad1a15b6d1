"""A ComfyUI server's HTTP API: upload pictures, run graphs, download results. Needs `requests`, nothing else.

Callers see GraphError (this run) or ServerGone (all runs), whatever answers at the address, and never a KeyError. No
message contains a password or the value of a header.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import re
import threading
import time
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

REQUEST_TIMEOUT = 60  # seconds without a byte from the server
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0  # seconds between two polls of a run
PAUSE = 0.02  # fraction of the time so far: polling delays a run by at most that
GATEWAY_ERRORS = (502, 503, 504)  # from a proxy whose server is down
GATEWAY_TRIES = 3  # while a run goes on
NOT_LET_IN = (401, 403, 407)
TEMPORARY = " [temp]"  # in ComfyUI's names of files: in the folder of temporary ones
PER_REQUEST = {"content-type", "content-length", "transfer-encoding"}  # differ from request to request
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]+")

T = TypeVar("T")


class GraphError(RuntimeError):
    """The server refused a graph, or a node of it failed; the message is the server's own, with the node's title."""


class ServerGone(GraphError):
    """No ComfyUI answers at the address: nothing, or only a proxy, or it refuses access."""


class GatewayFailed(ServerGone):
    """A proxy answers that the server behind it does not, which may be so for a moment."""


class RunDropped(GraphError):
    """The server no longer knows the run, so the run may be repeated."""


class ComfyClient:
    """The server at `url`, such as http://127.0.0.1:8188; user:password@ before the host is sent as basic auth.

    Every method raises ServerGone where no ComfyUI answers, and GraphError where it answers with an error. `url` is
    kept without user and password.

    Args:
        timeout: seconds that `result` waits for a run, its time in the queue included, before it cancels the run; for
            ever if None.
        headers: sent with every request, such as a token for a proxy before the server.

    Raises:
        ValueError: an invalid address or header; the message contains nothing that may be secret.
    """

    def __init__(self, url: str, timeout: float | None = None, headers: Mapping[str, str] | None = None):
        self.url, authorization = _without_password(url)
        self.timeout = timeout
        self.stopped = threading.Event()  # set by another thread: ends the wait for a run, as Ctrl-C does
        self._session = requests.Session()
        self._session.headers.update(_checked(headers or {}))
        if authorization is not None:
            if "Authorization" in self._session.headers:
                raise ValueError("a user in the address and a header Authorization are one too many: leave one out")
            self._session.headers["Authorization"] = authorization
        if "Authorization" in self._session.headers:
            self._session.auth = _GivenAuthorization()
        # A proxy of the environment is the way out of this machine, not to a server on it.
        self._session.trust_env = not _is_loopback(self.url)
        # A GET is repeated when a connection breaks; a POST might run a graph twice.
        retry = Retry(total=3, status=0, backoff_factor=0.3, allowed_methods={"GET"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def get(self, path: str, **params: str) -> Any:
        """The JSON behind a GET."""
        return self._json_of(self._request("GET", path, params=params))

    def is_up(self) -> bool:
        """Whether a ComfyUI answers."""
        try:
            self.system()
        except GraphError:
            return False
        return True

    def system(self) -> dict[str, Any]:
        """The server's own data: comfyui_version, argv and more."""
        return _part(self.get("/system_stats"), dict, "system")

    def version(self) -> str:
        """The server's version of ComfyUI."""
        return _part(self.system(), str, "comfyui_version")

    def host(self) -> dict[str, str | None]:
        """The server's version and device for a record, since other devices round otherwise."""
        answer = self.get("/system_stats")
        device = _find(answer, "devices", 0, "name")
        version = _part(_part(answer, dict, "system"), str, "comfyui_version")
        return {"comfyui_version": version, "device": device if isinstance(device, str) else None}

    def upload(self, content: bytes, name: str, subfolder: str, temporary: bool = False) -> str:
        """Write a picture into the server's input folder, over one of that name; its name for LoadImage.

        Args:
            temporary: into the folder of temporary files instead, which the server empties when it starts.
        """
        form = {"subfolder": subfolder, "overwrite": "true", "type": "temp" if temporary else "input"}
        file = self._json_of(self._request("POST", "/upload/image", files={"image": (name, content)}, data=form))
        stored, folder = _part(file, str, "name"), _find(file, "subfolder")
        return f"{f'{folder}/' if folder else ''}{stored}{TEMPORARY if temporary else ''}"

    def view(self, file: dict[str, Any]) -> bytes:
        """The content of a file that an output names."""
        params = {
            "filename": _part(file, str, "filename"),
            "subfolder": str(file.get("subfolder") or ""),
            "type": str(file.get("type") or "output"),
        }
        reply = self._request("GET", "/view", params=params)
        if reply.headers.get("Content-Type", "").startswith("text/html"):  # ComfyUI never does
            raise ServerGone(f"{self.url} answered /view with a web page: is it a ComfyUI server?")
        if not reply.content:
            raise GraphError(f"the server's file {params['filename']} is empty")
        return reply.content

    def queue(self, graph: dict[str, Any], prompt_id: str | None = None) -> str:
        """Post a graph in the API format; the id of its run."""
        prompt_id = prompt_id or str(uuid.uuid4())
        # The history of a run without a client lacks what ComfyUI 0.17 has remembered.
        posted = {"prompt": graph, "prompt_id": prompt_id, "client_id": prompt_id}
        reply = self._send("POST", "/prompt", json=posted)
        if reply.status_code != 400:
            _check(reply)
        answer = self._json_of(reply)
        if not reply.ok or _find(answer, "node_errors"):
            if reply.ok:  # it queues the valid outputs and drops the others
                self.cancel(prompt_id)
            raise GraphError(f"the server refused the graph: {self._reasons(graph, answer)}")
        return _part(answer, str, "prompt_id")

    def result(self, prompt_id: str) -> dict[str, Any]:
        """Wait for a run; its outputs by node id."""
        started = time.monotonic()
        while (entry := self._history(prompt_id)) is None:
            if not self._in_queue(prompt_id):
                entry = self._history(prompt_id)  # it may have ended between the two questions
                if entry is None:
                    raise RunDropped("the server dropped the run: it was restarted, or its queue was cleared")
                break
            taken = time.monotonic() - started
            if self.timeout is not None and taken > self.timeout:
                self.cancel(prompt_id)
                raise GraphError(f"the graph did not finish within {self.timeout:g} s, and was cancelled")
            if self.stopped.wait(min(max(FIRST_PAUSE, PAUSE * taken), LONGEST_PAUSE)):
                raise KeyboardInterrupt
        status = _find(entry, "status", "status_str")
        if status is None:
            raise GraphError("the server does not say whether the run succeeded: its history has no status for it")
        if status != "success":
            raise GraphError(f"the graph failed: {describe_failure(entry)}")
        return _part(entry, dict, "outputs")

    def run(self, graph: dict[str, Any]) -> dict[str, Any]:
        """Post a graph and wait for it; its outputs by node id. Ctrl-C also stops the run on the server."""
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

    def free(self) -> None:
        """Make the server unload its models and clear its cache before its next run."""
        self._request("POST", "/free", json={"unload_models": True, "free_memory": True})

    def interrupt(self) -> None:
        """Press the Cancel button."""
        self._request("POST", "/interrupt")

    def choices(self, class_type: str, name: str) -> list[str]:
        """The choices of a node's combo input on this server, such as the files that a loader finds."""
        inputs = _part(self.get(f"/object_info/{class_type}"), dict, class_type, "input")
        spec = _find(inputs, "required", name) or _find(inputs, "optional", name)
        return _part(spec, list, 1, "options") if _find(spec, 0) == "COMBO" else _part(spec, list, 0)

    def _history(self, prompt_id: str) -> dict[str, Any] | None:
        return _find(self._asked_again(f"/history/{prompt_id}"), prompt_id)

    def _asked_again(self, path: str) -> Any:
        """The JSON behind a GET while a run goes on, which a proxy that fails for a moment must not end."""
        for _ in range(GATEWAY_TRIES):
            try:
                return self.get(path)
            except GatewayFailed:
                if self.stopped.wait(LONGEST_PAUSE):
                    raise KeyboardInterrupt from None
        return self.get(path)

    def _in_queue(self, prompt_id: str) -> bool:
        queue = self._asked_again("/queue")
        entries = _part(queue, list, "queue_running") + _part(queue, list, "queue_pending")
        return any(_find(entry, 1) == prompt_id for entry in entries)

    def _reasons(self, graph: dict[str, Any], answer: Any) -> str:
        """Why a graph was refused, node by node, in one line."""
        by_node = _find(answer, "node_errors")
        reasons = [
            f"{describe_node(graph, node)}: {self._reason(graph, node, error)}"
            for node, errors in (by_node.items() if isinstance(by_node, dict) else ())
            for error in _list(_find(errors, "errors"))
        ]
        if not reasons:
            error = [_find(answer, "error", key) for key in ("message", "details")]
            reasons = [" ".join(str(text) for text in error if text) or str(answer)]
        return "; ".join(reasons)

    def _reason(self, graph: dict[str, Any], node: str, error: Any) -> str:
        name, message, details = _find(error, "extra_info", "input_name"), _find(error, "message"), ""
        if name and _find(error, "type") == "value_not_in_list":  # the server leaves long lists out of its answer
            with contextlib.suppress(GraphError):
                offered = ", ".join(map(str, self.choices(graph[node]["class_type"], name))) or "nothing"
                return f"input {name}: {graph[node]['inputs'][name]!r} is not on the server, it has: {offered}"
        if _find(error, "details") not in (None, "", name):
            details = f" ({_find(error, 'details')})"
        return f"{f'input {name}: ' if name else ''}{message or error}{details}"

    def _request(self, method: str, path: str, **options: Any) -> requests.Response:
        return _check(self._send(method, path, **options))

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer to a request; ServerGone if it is not ComfyUI's."""
        try:
            # No redirects: following one turns a POST into a GET and sends the headers to another host.
            reply = self._session.request(
                method, f"{self.url}{path}", timeout=REQUEST_TIMEOUT, allow_redirects=False, **options
            )
        except (requests.RequestException, ValueError) as error:  # ValueError: an invalid address in a redirect
            # The text of such an error contains addresses, perhaps with passwords.
            raise ServerGone(f"the server {self.url} does not answer: {type(error).__name__}") from None
        status = f"{reply.status_code} {reply.reason}"
        if reply.status_code in GATEWAY_ERRORS:
            raise GatewayFailed(f"the server {self.url} does not answer: {status}")
        if reply.status_code in NOT_LET_IN:
            raise ServerGone(f"the server {self.url} does not let this client in: {status}")
        if reply.is_redirect:
            raise ServerGone(f"the server {self.url} sends this client {self._elsewhere(reply)}")
        return reply

    def _elsewhere(self, reply: requests.Response) -> str:
        """The target of a redirect, without passwords and tokens."""
        try:
            target = urlsplit(urljoin(self.url, reply.headers["Location"]))
        except ValueError:
            return "elsewhere"
        own, host = urlsplit(self.url), target.netloc.rpartition("@")[2]
        if (target.scheme, host) == (own.scheme, own.netloc):
            return "to another page of its own, perhaps to log in"
        return f"to {target.scheme}://{host}: if that is a ComfyUI server, name it instead"

    def _json_of(self, reply: requests.Response) -> Any:
        try:
            return reply.json()
        except requests.JSONDecodeError as error:
            path = urlsplit(reply.request.path_url).path
            what = "something else than JSON: is it a ComfyUI server?"
            raise ServerGone(f"{self.url} answered {path} with {what}") from error


def images_of(outputs: dict[str, Any], graph: dict[str, Any], node: str) -> list[dict[str, Any]]:
    """The files that a node of a run has saved, at least one; GraphError for none."""
    images = _list(_find(outputs, node, "images"))
    if not images or not all(isinstance(_find(image, "filename"), str) for image in images):
        raise GraphError(f"the run ended without a picture from {describe_node(graph, node)}")
    return images


def describe_node(graph: Any, node: Any) -> str:
    """A node's title and class, for messages."""
    title = _find(graph, node, "_meta", "title")
    class_type = _find(graph, node, "class_type")
    name = f"'{title}'" if title else f"'node {node}'"
    return f"{name} ({class_type})" if class_type else name


def describe_failure(entry: Any) -> str:
    """The reason of a failure in one line, from the run's entry in the server's history."""
    graph, messages = _find(entry, "prompt", 2), _list(_find(entry, "status", "messages"))
    for event, message in ((_find(message, 0), _find(message, 1)) for message in messages):
        node = describe_node(graph, _find(message, "node_id"))
        if event == "execution_error":
            kind = str(_find(message, "exception_type")).rsplit(".", 1)[-1]
            what = " ".join(str(_find(message, "exception_message")).split())
            return f"{node}: {kind}: {what}"
        if event == "execution_interrupted":
            return f"{node} was cancelled on the server ({event})"
    return str(messages) if messages else "the server does not say why"


class _GivenAuthorization(AuthBase):
    """Keeps the given header Authorization, which requests would otherwise replace from ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


def _without_password(url: str) -> tuple[str, str | None]:
    """The address without user and password, and the header Authorization made of these."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    # An @ further on, or a ? or #, is probably part of a password, so nothing of it may be shown.
    if not sound or "@" in parts.path or parts.query or parts.fragment:
        raise ValueError(
            "the address of the server needs the form http://HOST:PORT or https://USER:PASSWORD@HOST/PATH, with / ? # @"
            " in a password written as %2F %3F %23 %40, and a token in a header"
        ) from None
    user, at, host = parts.netloc.rpartition("@")
    address = f"{parts.scheme}://{host}{parts.path.rstrip('/')}"
    if not at:
        return address, None
    name, _, password = user.partition(":")
    credentials = f"{unquote(name)}:{unquote(password)}".encode()
    return address, f"Basic {base64.b64encode(credentials).decode()}"


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    """Valid headers; ValueError names an invalid one without its value."""
    checked = {name.strip(): value.strip() for name, value in headers.items()}
    for name, value in checked.items():
        if not HEADER_NAME.fullmatch(name):
            raise ValueError("a header needs the form 'Name: value', its name of letters, digits and dashes")
        if name.lower() in PER_REQUEST:
            raise ValueError(f"the header {name} differs from request to request: leave it out")
        if not HEADER_VALUE.fullmatch(value):
            raise ValueError(
                f"the value of the header {name} is {'not of one line of Latin letters' if value else 'empty'}"
            )
    return checked


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _find(answer: Any, *keys: Any) -> Any:
    """The value under nested keys of a server's JSON; None if the JSON has another shape."""
    for key in keys:
        try:
            answer = answer[key]
        except (KeyError, IndexError, TypeError):
            return None
    return answer


def _part(answer: Any, kind: type[T], *keys: Any) -> T:
    """The value under nested keys, of a required type; GraphError without it."""
    found = _find(answer, *keys)
    if not isinstance(found, kind):
        raise GraphError(f"the server's answer lacks '{'.'.join(map(str, keys))}': is it a ComfyUI server?")
    return found


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _check(reply: requests.Response) -> requests.Response:
    if not reply.ok:
        raise GraphError(f"the server answered {reply.status_code} {reply.reason} to {reply.request.path_url}")
    return reply
