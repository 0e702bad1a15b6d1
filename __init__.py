"""Edit-friendly DDPM inversion for ComfyUI: real images to noise maps, edits with the noise fixed."""


async def comfy_entrypoint():
    """What ComfyUI calls to learn the nodes. The import waits until here, so that the core imports without a host."""
    from .nodes import EditFriendlyDDPM

    return EditFriendlyDDPM()
