"""A real ComfyUI server in a process of its own, with this pack among its custom nodes."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import supervised
from .client import ComfyClient, GraphError, ServerGone
from .pack import copy_pack

LOG_END = 2000  # characters shown in messages
DYING = 2.0  # seconds for a process that no longer answers to end


class ComfyServer(ComfyClient):
    """`with ComfyServer(comfyui, base) as server:` starts it headless on a free port and stops it at the end.

    It also stops if this process is killed.

    Args:
        comfyui: the folder of ComfyUI.
        base: an existing folder for models, inputs and outputs; the pack is installed below it.
        log: file for the server's output; None for the console.
        previews: whether sampling nodes show each step, which costs time.
        python: ComfyUI's interpreter, started without this one's PYTHONPATH; None for the one that runs this.
        gpu: whether to compute on a GPU; None to ask torch here.
        models: further folder of models, laid out as ComfyUI's `models`.
        front_end: the folder of another front end than the one that is installed with ComfyUI.
    """

    def __init__(
        self,
        comfyui: Path,
        base: Path,
        log: Path | None = None,
        timeout: float = 300,
        previews: bool = True,
        python: Path | None = None,
        gpu: bool | None = None,
        models: Path | None = None,
        front_end: Path | None = None,
    ):
        self.comfyui = comfyui
        self.base = base
        self.log = log
        self.previews = previews
        self.python = python
        self.gpu = gpu
        self.models = models
        self.front_end = front_end
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        super().__init__(f"http://127.0.0.1:{port}", timeout)
        self.start_timeout = timeout

    def __enter__(self) -> ComfyServer:
        copy_pack(self.base / "custom_nodes" / "edit-friendly-ddpm")
        for folder in ("input", "output", "models/vae_approx", "models/diffusion_models"):
            (self.base / folder).mkdir(parents=True, exist_ok=True)
        with contextlib.nullcontext() if self.log is None else self.log.open("a", encoding="utf-8") as output:
            self.process = subprocess.Popen(
                self._command(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=self.comfyui,
                env=None if self.python is None else {k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            )
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
        assert self.process.stdin is not None
        self.process.stdin.close()

    def result(self, prompt_id: str) -> dict[str, Any]:
        """Wait for a run; its outputs by node id."""
        try:
            return super().result(prompt_id)
        except ServerGone as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=DYING)
                raise ServerGone(self._end("the server stopped")) from error
            raise

    def is_up(self) -> bool:
        """Whether it answers; not asked if its process has ended."""
        return self.process.poll() is None and super().is_up()

    def path_of(self, file: dict[str, Any]) -> Path:
        """The path of an output's file."""
        return self.base / file["type"] / file["subfolder"] / file["filename"]

    def _command(self) -> list[str]:
        command = [str(self.python or sys.executable), str(Path(supervised.__file__)), str(self.comfyui / "main.py")]
        command += ["--base-directory", str(self.base)]
        command += ["--port", self.url.rsplit(":", 1)[1], "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes"]
        command += ["--preview-method", "auto" if self.previews else "none"]
        if self.front_end is not None:
            command += ["--front-end-root", str(self.front_end)]
        if self.models is not None:
            command += ["--extra-model-paths-config", str(self._model_paths(self.models))]
        return command if (_has_gpu() if self.gpu is None else self.gpu) else [*command, "--cpu"]

    def _model_paths(self, models: Path) -> Path:
        """ComfyUI's YAML file that names the folders in `models`, written as JSON, which YAML includes."""
        folders = {folder.name: folder.name for folder in sorted(models.iterdir()) if folder.is_dir()}
        file = self.base / "extra_model_paths.yaml"
        file.write_text(json.dumps({"models": {"base_path": str(models)} | folders}), encoding="utf-8")
        return file

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise GraphError(self._end("ComfyUI stopped at start"))
            with contextlib.suppress(GraphError):
                # Another server may have taken the port since it was chosen.
                if str(self.base) in (self.system().get("argv") or []):
                    return
            time.sleep(0.2)
        raise GraphError(f"ComfyUI did not answer within {self.start_timeout:g} s")

    def _end(self, what: str) -> str:
        """Exit code of the process and the end of its log."""
        ended = f"{what} with exit code {self.process.poll()}"
        if self.log is None:
            return ended
        text = self.log.read_text(encoding="utf-8", errors="replace")[-LOG_END:].strip()
        return f"{ended}; the end of {self.log}:\n{text}"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
