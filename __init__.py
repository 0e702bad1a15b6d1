"""Edit-friendly DDPM inversion for ComfyUI: real images to noise maps, edits with the noise fixed."""

WEB_DIRECTORY = "web"  # the node help that ComfyUI shows: web/docs/<node id>.md


async def comfy_entrypoint() -> object:
    """What ComfyUI calls to learn the nodes. The import waits until here, so that the core imports without a host."""
    from .nodes import EditFriendlyDDPM

    return EditFriendlyDDPM()
