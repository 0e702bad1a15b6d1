"""A real ComfyUI server in a process of its own, with this pack among its custom nodes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests

PACK = Path(__file__).parent
NOT_INSTALLED = shutil.ignore_patterns(".*", "__pycache__", "tests", "benchmarks", "output")


class GraphError(RuntimeError):
    """The server refused a graph, or a node of it failed; the message is the server's own."""


class ComfyServer:
    """`with ComfyServer(comfyui, base) as server:` starts it headless on a free port and stops it at the end.

    Args:
        comfyui: the folder of ComfyUI.
        base: an existing folder for its models, inputs and outputs; the pack is copied below it, as an install would.
        log: where the server's output goes; the console if None.
    """

    def __init__(self, comfyui: Path, base: Path, log: Path | None = None, timeout: float = 300):
        self.comfyui = comfyui
        self.base = base
        self.log = log
        self.timeout = timeout
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"

    def __enter__(self) -> ComfyServer:
        shutil.copytree(
            PACK, self.base / "custom_nodes" / "edit-friendly-ddpm", ignore=NOT_INSTALLED, dirs_exist_ok=True
        )
        for folder in ("input", "output", "models/vae_approx", "models/diffusion_models"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        output = None if self.log is None else self.log.open("w", encoding="utf-8")
        self.process = subprocess.Popen(self._command(), stdout=output, stderr=output, cwd=self.comfyui)
        try:
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def get(self, path: str, **params: str) -> Any:
        """The JSON behind a GET."""
        reply = requests.get(f"{self.url}{path}", params=params, timeout=60)
        reply.raise_for_status()
        return reply.json()

    def queue(self, graph: dict) -> str:
        """Post a graph in the API format; the id of its run."""
        reply = requests.post(f"{self.url}/prompt", json={"prompt": graph}, timeout=60)
        if not reply.ok or reply.json().get(
            "node_errors"
        ):  # it runs the outputs that are sound and leaves out the others
            raise GraphError(f"the server refused the graph: {reply.text}")
        return reply.json()["prompt_id"]

    def result(self, prompt_id: str) -> dict:
        """Wait for a run; its outputs by node id."""
        deadline = time.monotonic() + self.timeout
        while prompt_id not in (history := self.get(f"/history/{prompt_id}")):
            if self.process.poll() is not None:
                raise GraphError(f"the server stopped with exit code {self.process.returncode}")
            if time.monotonic() > deadline:
                raise GraphError(f"the graph did not finish within {self.timeout:g} s")
            time.sleep(0.1)
        entry = history[prompt_id]
        if entry["status"]["status_str"] != "success":
            raise GraphError(f"the graph failed: {entry['status']['messages']}")
        return entry["outputs"]

    def run(self, graph: dict) -> dict:
        """Post a graph and wait for it; its outputs by node id."""
        return self.result(self.queue(graph))

    def interrupt(self) -> None:
        """Press the Cancel button."""
        requests.post(f"{self.url}/interrupt", timeout=60).raise_for_status()

    def path_of(self, file: dict) -> Path:
        """Where a file lies that an output names."""
        return self.base / file["type"] / file["subfolder"] / file["filename"]

    def _command(self) -> list[str]:
        command = [sys.executable, str(self.comfyui / "main.py"), "--base-directory", str(self.base)]
        command += ["--port", self.url.rsplit(":", 1)[1], "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--preview-method", "auto"]
        return command if _has_gpu() else [*command, "--cpu"]

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + self.timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise GraphError(f"ComfyUI stopped at start with exit code {self.process.returncode}")
            try:
                self.get("/system_stats")
                return
            except requests.ConnectionError:
                time.sleep(0.2)
        raise GraphError(f"ComfyUI did not answer within {self.timeout:g} s")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
