"""Reports in a browser: they are drawn and printed, their script runs, and nothing is asked of a network."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest
import torch
from made_up import comparison
from PIL import Image

from medsynth.metrics.suite import judge
from medsynth.report import Embedding, NearestPair, write_comparison, write_report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
           "--disable-background-networking", "--enable-logging=stderr", "--allow-file-access-from-files")  # fmt: skip
# What went wrong and what was fetched, written into the page itself once the script has been used.
WATCH = """<script>
const wrong = [];
window.requestAnimationFrame = (draw) => setTimeout(draw, 16);  // no frames are drawn in virtual time
addEventListener("error", (event) => wrong.push(event.message || event.target.src), true);
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
</script>"""
TELL = """<script>
addEventListener("load", () => setTimeout(() => {
  const cube = document.querySelector("svg.rotatable");
  const place = () => cube && cube.querySelector("line").getAttribute("x1");
  const before = place();
  if (cube) cube.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  setTimeout(() => {
    const told = document.createElement("pre");
    told.id = "told";
    told.textContent = JSON.stringify({
      wrong, turned: before !== place(), fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
      across: document.documentElement.scrollWidth, screen: innerWidth });
    document.body.append(told);
  }, 200);
}, 50));
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")


def images(count, *, seed):
    return torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    judgement = judge(
        reference=[images(12, seed=0)],
        held_out=[images(12, seed=1)],
        fake=[images(12, seed=2)],
        config={"count": 12, "extractors": ["random"]},
    )
    points = torch.randn(2, 12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return write_report(
        folder,
        judgement=judgement,
        run_facts={"title": "a-run", "facts": {"Model": "wgan_gp"}, "reproduce": ["python -m medsynth.train"]},
        real_grid=images(8, seed=0),
        fake_grid=images(8, seed=2),
        nearest=[NearestPair(images(1, seed=2)[0], images(1, seed=0)[0], 0.001, "number 3", True)],
        curves=[{"images_seen": 100 * i, "val/swd_12": 30.0 - i} for i in range(5)],
        embedding=Embedding(*points, shares=(0.5, 0.25, 0.1), extractor="random"),
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    runs = {f"wgan_gp-kidney_ct-64-s{seed}": [0.02 + 0.01 * seed, 0.3 + 0.1 * seed] for seed in range(3)}
    return write_comparison(
        tmp_path_factory.mktemp("compared"),
        comparison=comparison(runs, metrics=("kid_random", "recall_random")),
        run_facts={"title": "3 runs", "facts": {}, "reproduce": ["python -m medsynth.evaluate"]},
        grids={name: images(8, seed=0) for name in runs},
    )


def browse(page, folder, *options):
    """What the browser says and writes, in a folder of its own."""
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def told(html, folder):
    """What the page tells about itself once it was opened, and what the browser's console holds."""
    watched = folder / "watched.html"
    watched.write_text(html.replace("<head>", f"<head>{WATCH}").replace("</body>", f"{TELL}</body>"), encoding="utf-8")
    done = browse(watched, folder, "--window-size=500,900", "--dump-dom", "--virtual-time-budget=2000")
    found = re.search(r'<pre id="told">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stderr
    return json.loads(unescape(found[1])), [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


def test_the_page_runs_without_an_error_and_without_a_network(page, tmp_path):
    seen, console = told(page.read_text("utf-8"), tmp_path)
    assert seen["wrong"] == seen["fetched"] == console == []
    assert seen["turned"]
    assert seen["across"] <= seen["screen"]


def test_a_comparison_fits_a_narrow_screen_and_prints(compared, tmp_path):
    seen, console = told(compared.read_text("utf-8"), tmp_path)
    assert seen["wrong"] == seen["fetched"] == console == []
    assert seen["across"] <= seen["screen"]
    browse(compared, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes())) <= 5


def test_an_error_and_a_request_would_be_seen(tmp_path):
    html = '<head></head><body><img src="http://127.0.0.1:9/x.png"><script>absent()</script></body>'
    seen, console = told(html, tmp_path)
    assert any("absent" in line for line in seen["wrong"])
    assert "http://127.0.0.1:9/x.png" in [*seen["wrong"], *seen["fetched"]]
    assert any("absent is not defined" in line for line in console)


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_page_is_drawn_in_the_colours_that_its_reader_prefers(page, tmp_path, is_dark):
    scheme = f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"
    browse(page, tmp_path, scheme, "--window-size=800,1000", f"--screenshot={tmp_path / 'page.png'}")
    with Image.open(tmp_path / "page.png") as drawn:
        grey = drawn.convert("L")
        paper = grey.getpixel((2, 2))
        assert len(grey.getcolors()) > 20
    assert paper < 60 if is_dark else paper > 240


def test_the_page_prints(page, tmp_path: Path):
    browse(page, tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'page.pdf'}")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
