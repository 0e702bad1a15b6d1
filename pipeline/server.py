"""A real ComfyUI server in a process of its own, with this pack among its custom nodes."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from .client import ComfyClient, GraphError, ServerGone
from .comfyui import PACK

NOT_INSTALLED = shutil.ignore_patterns(".*", "__pycache__", "tests", "benchmarks", "output", "source")


class ComfyServer(ComfyClient):
    """`with ComfyServer(comfyui, base) as server:` starts it headless on a free port and stops it at the end.

    Args:
        comfyui: the folder of ComfyUI.
        base: an existing folder for its models, inputs and outputs; the pack is copied below it, as an install would.
        log: where the server's output goes; the console if None.
        previews: whether nodes that sample show each step; drawing that takes time.
    """

    def __init__(self, comfyui: Path, base: Path, log: Path | None = None, timeout: float = 300, previews: bool = True):
        self.comfyui = comfyui
        self.base = base
        self.log = log
        self.previews = previews
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{port}", timeout)
        self.start_timeout = timeout

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

    def result(self, prompt_id: str) -> dict:
        """Wait for a run; its outputs by node id."""
        try:
            return super().result(prompt_id)
        except ServerGone as error:
            raise ServerGone(f"the server stopped with exit code {self.process.poll()}") from error

    def path_of(self, file: dict) -> Path:
        """Where a file lies that an output names."""
        return self.base / file["type"] / file["subfolder"] / file["filename"]

    def _command(self) -> list[str]:
        command = [sys.executable, str(self.comfyui / "main.py"), "--base-directory", str(self.base)]
        command += ["--port", self.url.rsplit(":", 1)[1], "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes"]
        command += ["--preview-method", "auto" if self.previews else "none"]
        return command if _has_gpu() else [*command, "--cpu"]

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise GraphError(f"ComfyUI stopped at start with exit code {self.process.returncode}")
            try:
                self.get("/system_stats")
                return
            except ServerGone:
                time.sleep(0.2)
        raise GraphError(f"ComfyUI did not answer within {self.start_timeout:g} s")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
