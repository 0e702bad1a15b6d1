"""Run graphs in the front end and write what the README shows of them: `python -m tools.templates.screenshots`.

It needs Chromium and playwright, as tests/browser does, and takes a minute.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import ViewportSize, sync_playwright

from .build import FOLDER, temporary_server
from .front_end import ARGUMENTS, SETTINGS, WINDOW, FrontEnd, find_chromium

SHOWN = {"quick_start": "graph-quick-start.png", "sdedit_comparison": "graph-sdedit-comparison.png"}


def main() -> int:
    chromium = find_chromium()
    if chromium is None:
        sys.exit("This needs Chromium: apt-get install chromium, or put a chromium or google-chrome on the PATH.")
    with temporary_server() as server, sync_playwright() as playwright:
        settings = server.base / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(json.dumps(SETTINGS))
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        viewport = ViewportSize(width=WINDOW["width"], height=WINDOW["height"])
        front_end = FrontEnd(browser.new_page(viewport=viewport), server.url)
        for name, picture in SHOWN.items():
            front_end.open(FOLDER / f"{name}.json")
            front_end.run()
            front_end.wait_for_images()
            if front_end.errors:
                sys.exit("\n".join(front_end.errors))
            front_end.screenshot(FOLDER.parent / "docs" / picture)
            print(f"docs/{picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
