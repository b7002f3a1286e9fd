"""The documentation site: it builds without a warning, loads nothing from the network, and is complete."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site."""
    out = tmp_path_factory.mktemp("site") / "site"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, ROOT / "tools/site/build.py", out],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def browser():
    """Start Chromium."""
    if not CHROMIUM:
        pytest.fail("expected Chromium for these tests; install it: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


def test_no_page_loads_anything_from_the_network(site, read_page):
    loading = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
    for page in site.rglob("*.html"):
        for tag, attributes in read_page(page).tags:
            assert not (attributes.get(loading.get(tag, "")) or "").startswith(("http:", "https:", "//")), page


def test_each_page_has_its_markdown_beside_it_whose_links_lead_somewhere(site):
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 40
    for page in pages:
        text = page.with_suffix(".md").read_text(encoding="utf-8")
        assert text.startswith("# "), page
        for link in re.findall(
            r"\]\((?!https?:|#)([^)\s#]+)", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M)
        ):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_llms_txt_has_the_form_of_llmstxt_org_and_lists_the_pages(site):
    text = (site / "llms.txt").read_text(encoding="utf-8")
    assert re.match(r"# music-rm\n\n> \S", text)
    listed = set(re.findall(r"^- \[.+?\]\((.+?)\): \S", text, re.MULTILINE))
    assert all((site / link).is_file() for link in listed)
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} <= listed
    assert {"agents.md", "api/music.md"} <= listed | set(re.findall(r"\]\((.+?)\)", text))


def test_the_reference_has_every_public_name_with_its_docstring(site):
    for line in (ROOT / "tests/public_names.txt").read_text(encoding="utf-8").splitlines():
        name = line.partition("(")[0]
        page = site / "api" / f"{name.partition('.')[0]}.html"
        assert f'id="{name}"' in page.read_text(encoding="utf-8"), name
        _, _, text = page.with_suffix(".md").read_text(encoding="utf-8").partition(f"### {name}\n\n```text\n")
        assert "Example" in text.partition("```")[0], name


def test_the_search_works_from_the_disk_and_a_phone_scrolls_in_one_direction(site, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((site / "recipes.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Control+k")
    page.keyboard.type("readout")
    page.get_by_text(re.compile(r"\d+ results")).first.wait_for()
    assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
