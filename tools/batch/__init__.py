"""Many pictures on ComfyUI servers, over their HTTP API: client, server, template, the job, and its front ends.

Knows nothing of the method, the nodes or the demo model; graphs are what connects them.
"""
