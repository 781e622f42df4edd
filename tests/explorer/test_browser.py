"""The explorer as a reader meets it: JupyterLab in a real browser, all cells run, a slider moved, a new picture."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00_explorer.ipynb"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds: a cold JupyterLab and a kernel that imports torch, on a busy machine.
PATIENCE = 90_000
#: Seconds from Run All to the first picture: 8 s of a core, and 20 are allowed to a reader; tests run side by side.
FIRST_PICTURE = 60


@pytest.fixture
def chromium() -> str:
    """The browser; without one the test fails on CI, and is skipped on a machine that need not have one."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    missing = [] if found else [f"no browser on PATH ({', '.join(BROWSERS)}): apt-get install chromium"]
    if importlib.util.find_spec("playwright") is None:
        missing.append("no package playwright: install the dev group")
    if missing and os.environ.get("CI"):
        pytest.fail("; ".join(missing))
    if missing:
        pytest.skip("; ".join(missing))
    assert found
    return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab of its own on a free port, with no settings but its defaults; yields the notebook's address."""
    root = tmp_path / "notebooks"
    root.mkdir()
    shutil.copy(NOTEBOOK, root)
    folders = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    # JupyterLab asks a new reader whether to fetch news from the network: no.
    settings = tmp_path / "JUPYTER_CONFIG_DIR" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    path = os.pathsep.join(filter(None, (str(NOTEBOOK.parents[1]), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0"]
    command.append(f"--ServerApp.root_dir={root}")
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | folders | {"PYTHONPATH": path}, stdout=log, stderr=log, cwd=tmp_path
        )
        try:
            yield _address(server, tmp_path)
        finally:
            server.terminate()
            server.wait(timeout=30)


def _address(server: subprocess.Popen[bytes], folder: Path) -> str:
    """Read the server's own note of its port and token, once it has written it."""
    note = folder / "JUPYTER_RUNTIME_DIR" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline and server.poll() is None:
        if note.exists() and note.read_text():
            info = json.loads(note.read_text())
            return f"{info['url']}lab/tree/{NOTEBOOK.name}?token={info['token']}"
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start: {(folder / 'log').read_text()[-2000:]}")


def test_moving_a_slider_changes_the_picture(chromium: str, lab: str, tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as play:
        context = play.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=chromium, args=FLAGS, viewport={"width": 1280, "height": 1100}
        )
        try:
            page = context.pages[0]
            page.set_default_timeout(PATIENCE)
            page.goto(lab)
            # Asked to run before its kernel is there, JupyterLab would ask which one.
            page.locator(".jp-StatusBar-TextItem", has_text="| Idle").wait_for()
            still = page.locator(".jp-OutputArea-output.jp-RenderedImage img")
            expect(still.first).to_be_visible()  # the stored picture, before anything runs
            page.locator(".lm-MenuBar-itemLabel:text-is('Run')").click()
            start = time.monotonic()
            page.locator(".lm-Menu-itemLabel:text-is('Run All Cells')").click()
            picture = page.locator("img.widget-image").first
            expect(picture).to_be_visible(timeout=PATIENCE)
            page.wait_for_function("document.querySelector('img.widget-image').naturalWidth > 100")
            assert time.monotonic() - start < FIRST_PICTURE
            # No cell waits or runs, so the kernel is idle and the next picture is the slider's.
            expect(page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0, timeout=PATIENCE)
            expect(still.last).to_be_visible(timeout=PATIENCE)
            assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0

            status = page.get_by_text("tokens, self-weight")
            expect(status).to_contain_text("196 tokens, self-weight −0.2;")
            source, before = picture.get_attribute("src"), picture.screenshot()
            handle = page.locator(".widget-slider", has_text="α₁").locator(".noUi-handle")
            handle.scroll_into_view_if_needed()
            box = handle.bounding_box()
            assert box
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x - 60, y, steps=6)
            page.mouse.up()
            expect(picture).not_to_have_attribute("src", source or "", timeout=PATIENCE)
            expect(status).not_to_contain_text("self-weight −0.2;")
            page.wait_for_function("document.querySelector('img.widget-image').complete")
            assert picture.screenshot() != before
            if folder := os.environ.get("RETCONV_SCREENSHOTS"):
                page.screenshot(path=Path(folder) / "explorer.png")
        finally:
            context.close()
