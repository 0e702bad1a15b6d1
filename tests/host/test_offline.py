"""Every test of this folder, and so every node, runs in a process that reaches no other machine."""

import socket

import pytest


def test_what_reaches_another_machine_is_refused_and_told_of(reached):
    for reach in (
        lambda: socket.create_connection(("example.org", 80)),
        lambda: socket.socket().connect(("192.0.2.1", 80)),
        lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 80)),
    ):
        with pytest.raises(PermissionError, match="An attempt to reach (example.org|192.0.2.1)"):
            reach()
    assert len(reached) == 3
    reached.clear()
