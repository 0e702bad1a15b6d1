"""Edits of many pictures on ComfyUI servers over their HTTP API: client, server, template, job, front ends.

Independent of the method, the nodes and the demo model; graphs connect them.
"""
