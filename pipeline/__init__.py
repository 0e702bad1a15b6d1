"""Many pictures on ComfyUI servers, over their HTTP API: client, server, template, job, and the front ends that do jobs.

Knows nothing of the method, the nodes or the demo model; graphs are what connects them.
"""
