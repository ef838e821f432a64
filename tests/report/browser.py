"""A real browser for tests: a page's DOM after its scripts have run, and what it said meanwhile."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The DOM of a page as text, and the lines of its console.

    The calling test is skipped where there is no Chromium.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("NO CHROMIUM: the page is not tested in a browser; install chromium to do it")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={profile}",
        "--window-size=1400,4000",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
        "--v=0",
        "--dump-dom",
    ]
    done = subprocess.run(
        [browser, *options, page.resolve().as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
