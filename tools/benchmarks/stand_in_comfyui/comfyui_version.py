"""What a ComfyUI says of its version."""

__version__ = "0.0.0"
