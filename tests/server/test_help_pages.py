"""The node help and its pictures, by the addresses that the front end asks for, and its tables against the schemas."""

import re

import pytest
import requests

from support.node_ids import NODE_IDS
from tools.templates.help import filled


@pytest.mark.parametrize("node_id", NODE_IDS)
def test_the_server_serves_the_page_and_its_pictures(server, node_id):
    definition = server.get("/object_info/" + node_id)[node_id]
    (module, pack) = definition["python_module"].split(".")
    base = f"{server.url}/extensions/{pack}/docs/"
    assert module == "custom_nodes"
    page = requests.get(f"{base}{node_id}.md", timeout=60)
    assert page.ok
    assert page.text.startswith("# ")
    assert filled(page.text, definition) == page.text, "run `python -m tools.templates.help`"
    for path in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.text):
        picture = requests.get(base + path, timeout=60)
        assert picture.headers["Content-Type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")
