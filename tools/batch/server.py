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

from . import supervised
from .client import ComfyClient, GraphError, ServerGone
from .pack import copy_pack

TOLD_OF_LOG = 2000  # characters of its end
DYING = 2.0  # seconds in which a process that answers no more may still end


class ComfyServer(ComfyClient):
    """`with ComfyServer(comfyui, base) as server:` starts it headless on a free port and stops it at the end.

    It also stops where this process is killed.

    Args:
        comfyui: the folder of ComfyUI.
        base: an existing folder for its models, inputs and outputs; the pack is copied below it, as an install would.
        log: the file that the server's output is added to; the console if None.
        previews: whether nodes that sample show each step; drawing that takes time.
        python: ComfyUI's interpreter, which is not told where this one finds modules; the one that runs this if None.
        gpu: whether it computes on a GPU; what torch sees here if None.
        models: a folder of models beside those of the base, with the folders of ComfyUI's `models` in it.
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
    ):
        self.comfyui = comfyui
        self.base = base
        self.log = log
        self.previews = previews
        self.python = python
        self.gpu = gpu
        self.models = models
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

    def result(self, prompt_id: str) -> dict:
        """Wait for a run; its outputs by node id."""
        try:
            return super().result(prompt_id)
        except ServerGone as error:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=DYING)
                raise ServerGone(self._end("the server stopped")) from error
            raise

    def is_up(self) -> bool:
        """Whether it answers; without asking where its process has ended."""
        return self.process.poll() is None and super().is_up()

    def path_of(self, file: dict) -> Path:
        """Where a file lies that an output names."""
        return self.base / file["type"] / file["subfolder"] / file["filename"]

    def _command(self) -> list[str]:
        command = [str(self.python or sys.executable), str(Path(supervised.__file__)), str(self.comfyui / "main.py")]
        command += ["--base-directory", str(self.base)]
        command += ["--port", self.url.rsplit(":", 1)[1], "--database-url", "sqlite:///:memory:"]
        command += ["--disable-auto-launch", "--disable-api-nodes"]
        command += ["--preview-method", "auto" if self.previews else "none"]
        if self.models is not None:
            command += ["--extra-model-paths-config", str(self._model_paths(self.models))]
        return command if (_has_gpu() if self.gpu is None else self.gpu) else [*command, "--cpu"]

    def _model_paths(self, models: Path) -> Path:
        """A file that tells ComfyUI of the folders in `models`, in its YAML, of which JSON is a part."""
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
                # The port was free when it was chosen. Another server may have taken it since, which is not this one.
                if str(self.base) in (self.system().get("argv") or []):
                    return
            time.sleep(0.2)
        raise GraphError(f"ComfyUI did not answer within {self.start_timeout:g} s")

    def _end(self, what: str) -> str:
        """How the process ended, and the end of its log, which says why."""
        ended = f"{what} with exit code {self.process.poll()}"
        if self.log is None:
            return ended
        text = self.log.read_text(encoding="utf-8", errors="replace")[-TOLD_OF_LOG:].strip()
        return f"{ended}; the end of {self.log}:\n{text}"


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
