"""Many pictures on running ComfyUI servers, over their HTTP API: client, server, template and the edits of a folder.

Knows nothing of the method, the nodes or the demo model; graphs are what connects them.
"""
