"""The only room that imports ComfyUI: its models, conditionings, latents, and runs of its sampling."""
