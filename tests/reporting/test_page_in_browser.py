"""The report as Chromium shows it: keyboard, copies and links, themes, phone, print, and axe's rules of access.

The browser is Debian's, or one of Playwright's own; where there is none, the tests are skipped and say so.
"""

import json
import re

import numpy as np
import pytest
from helpers.fits import with_stages
from helpers.html import chromium

import bayescascade as bc

STAGES = [
    "an-internal-provider/a-small-model-with-a-long-name-2026-10-01",
    "medium",
    "MODEL_OF_ANOTHER_PROVIDER_WITHOUT_A_PLACE_TO_BREAK_ITS_NAME_128x7B",
]
PHONE = {"viewport": {"width": 390, "height": 844}}
LAPTOP = {"viewport": {"width": 1280, "height": 1000}}
OF_PLACE = "#explorer-figure svg.{} .marker circle"


@pytest.fixture(scope="module")
def fit(example_fit):
    return with_stages(example_fit, STAGES)


@pytest.fixture(scope="module")
def path(fit, example_log, tmp_path_factory):
    """A page of long names, with a promise and a test log."""
    test = example_log.isel(query=slice(20, None)).assign_coords(stage=STAGES)
    folder = tmp_path_factory.mktemp("browser")
    solution = bc.tune(fit, max_error=0.33)
    return bc.report(fit, folder / "report.html", solution=solution, test=test, name="A log", currency="USD")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: the page was not opened in a browser")
    with api.sync_playwright() as play:
        try:
            opened = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium on this machine, so the page was not opened in a browser: {str(error)[:80]}")
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, path):
    """Open the page, and fail on anything that its console says or that it wants to fetch."""
    contexts, said = [], []

    def act(link="", at=path, **options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}") or dialog.dismiss())
        tab.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
        tab.goto(at.as_uri() + link)
        return tab

    yield act
    for context in contexts:
        context.close()
    assert said == []


def answer(tab):
    return tab.inner_text("#explorer-answer")


# ---- the first screen


def test_the_first_screen_of_a_laptop_holds_the_answer(opened, example_fit, tmp_path):
    own = bc.report(example_fit, tmp_path / "report.html", solution=bc.tune(example_fit, max_error=0.33))
    tab = opened(at=own, **LAPTOP)
    for part in ("h1", ".tiles", ".density svg.wide-only", "table.stages tbody tr:last-child"):
        box = tab.locator(part).first.bounding_box()
        assert box["y"] + box["height"] <= 1000, part
    assert tab.locator("svg.narrow-only").first.is_hidden()
    largest = tab.evaluate(
        "Math.max(...[...document.querySelectorAll('main *')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert largest == tab.evaluate("parseFloat(getComputedStyle(document.querySelector('h1')).fontSize)")


# ---- the explorer


def test_the_keyboard_moves_the_explorer(opened):
    tab = opened(**LAPTOP)
    circle = OF_PLACE.format("wide-only")
    before, place = answer(tab), tab.get_attribute(circle, "cx")
    assert before.startswith("The thresholds of this report:")
    tab.focus("#explorer-place")
    tab.keyboard.press("End")
    assert answer(tab).startswith("At this point:")
    assert float(tab.get_attribute(circle, "cx")) > float(place)
    assert tab.get_attribute("#explorer-place", "aria-valuetext").startswith("error ")
    tab.keyboard.press("Tab")
    tab.keyboard.press("Control+a")
    tab.keyboard.type("35")
    assert answer(tab).startswith("Cheapest thresholds with error ≤ 35%:")
    tab.keyboard.press("Tab")
    tab.keyboard.type("0.02")
    assert answer(tab).startswith("Best if a wrong answer costs 0.02:")
    tab.click("#explorer-reset")
    assert answer(tab) == before


def test_every_place_of_the_slider_can_be_had(opened):
    tab = opened(**LAPTOP)
    least = float(tab.get_attribute("#explorer-target", "min"))
    data = json.loads(tab.inner_text("#explorer-data") or tab.text_content("#explorer-data"))
    assert int(tab.get_attribute("#explorer-place", "max")) == len(data["points"]) - 1
    tab.fill("#explorer-target", str(least))
    assert answer(tab).startswith("Cheapest")
    tab.fill("#explorer-target", str(least - 1.0))
    assert answer(tab).startswith("The lowest error you can be sure of is")


def test_thresholds_are_copied_and_saved_as_a_policy(opened, tmp_path):
    tab = opened(**LAPTOP, permissions=["clipboard-read", "clipboard-write"], accept_downloads=True)
    tab.fill("#explorer-target", "36")
    tab.click("#explorer-copy")
    tab.wait_for_function("document.getElementById('explorer-copied').textContent.startsWith('Copied')")
    (tmp_path / "copied.json").write_text(tab.evaluate("navigator.clipboard.readText()"), encoding="utf-8")
    with tab.expect_download() as download:
        tab.click("#explorer-save")
    download.value.save_as(tmp_path / "saved.json")
    copied, saved = (bc.Policy.load(tmp_path / f"{name}.json") for name in ("copied", "saved"))
    assert copied == saved
    assert set(copied.stages) <= set(STAGES)
    assert copied.thresholds[-1] == -np.inf


def test_a_copied_link_opens_the_same_point(opened):
    tab = opened(**LAPTOP, permissions=["clipboard-read", "clipboard-write"])
    tab.fill("#explorer-target", "36")
    shown = answer(tab)
    tab.click("#explorer-link")
    tab.wait_for_function("document.getElementById('explorer-copied').textContent.startsWith('Link')")
    link = tab.evaluate("navigator.clipboard.readText()")
    assert link.endswith("#error=36")
    again = opened(link="#error=36", **LAPTOP)
    assert answer(again) == shown
    assert again.evaluate("scrollY") > 300  # it is where the reader looks


def test_without_javascript_the_table_remains(opened):
    tab = opened(java_script_enabled=False)
    assert not tab.is_visible("#explorer")
    assert tab.is_visible("text=Points of the line as a table")
    assert tab.is_visible("#explorer-figure svg.wide-only")


# ---- themes, phone, paper


def test_light_and_dark_follow_the_reader(opened):
    grounds = {}
    for theme in ("light", "dark"):
        tab = opened(color_scheme=theme)
        colour = tab.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        grounds[theme] = [sum(map(int, re.findall(r"\d+", part)[:3])) for part in colour]
    assert grounds["light"][0] > grounds["light"][1]
    assert grounds["dark"][0] < grounds["dark"][1]


OUTSIDE = """() => [...document.querySelectorAll('main *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width > 0 && !e.closest('.scroll, pre, svg, thead') && box.right > innerWidth + 0.5;
}).map(e => e.outerHTML.slice(0, 120))"""
# a figure's box is its viewBox: what is written beyond it is cut off
CLIPPED = """() => [...document.querySelectorAll('svg')].filter(e => e.checkVisibility()).flatMap(svg => {
  const edge = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(t => {
    const box = t.getBoundingClientRect();
    return box.left < edge.left - 2 || box.right > edge.right + 2
      || box.top < edge.top - 2 || box.bottom > edge.bottom + 2;
  }).map(t => svg.getAttribute('aria-label').slice(0, 40) + ': ' + t.textContent);
})"""
OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.mark.parametrize("shape", [LAPTOP, PHONE, {"viewport": {"width": 360, "height": 740}}])
def test_nothing_is_cut_off_with_long_names(opened, shape):
    tab = opened(**shape)
    tab.evaluate(OPEN_ALL)
    assert tab.evaluate("document.documentElement.scrollWidth") <= shape["viewport"]["width"]
    assert tab.evaluate(OUTSIDE) == []
    assert tab.evaluate(CLIPPED) == []


def test_a_phone_has_figures_of_its_own_shape(opened):
    tab = opened(**PHONE)
    tab.evaluate(OPEN_ALL)
    assert tab.locator("svg.wide-only >> visible=true").count() == 0
    assert tab.locator("svg.narrow-only >> visible=true").count() >= 4
    # letters of a figure that a reader can read without a lens
    sizes = tab.evaluate(
        "[...document.querySelectorAll('svg.narrow-only')].filter(e => e.getBoundingClientRect().width > 0)"
        ".flatMap(svg => { const k = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;"
        " return [...svg.querySelectorAll('text')].map(t => k * parseFloat(getComputedStyle(t).fontSize)); })"
    )
    assert min(sizes) >= 8.5
    assert tab.locator("#explorer-place").bounding_box()["width"] > 250
    tab.fill("#explorer-target", "36")
    assert tab.is_visible(OF_PLACE.format("narrow-only"))


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_it_prints_on_two_sides(opened, paper):
    pdf = opened(**LAPTOP).pdf(format=paper)
    assert len(re.findall(rb"/Type\s*/Page[^s]", pdf)) == 2


def test_print_shows_the_answer_and_no_controls(opened):
    tab = opened(**LAPTOP)
    assert tab.is_visible("#explorer")
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    for part in ("#explorer", "summary", "#diagnostics", "button"):
        assert tab.locator(f"{part} >> visible=true").count() == 0
    for part in ("#answer", ".tiles", ".density svg.wide-only", "#provenance", "text=90% sure below"):
        assert tab.locator(f"{part} >> visible=true").count() >= 1
    tab.emulate_media(media="screen")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    assert tab.get_attribute("details.open-on-paper", "open") is None  # as the reader had left it


# ---- access for all


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("shape", [LAPTOP, PHONE])
def test_axe_finds_no_fault(opened, theme, shape):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe: rules of access not checked"
    )
    tab = opened(color_scheme=theme, **shape)
    tab.evaluate(OPEN_ALL)  # what is closed is not looked at
    found = axe.Axe().run(tab).response
    assert [f"{rule['id']}: {rule['nodes'][0]['html'][:150]}" for rule in found["violations"]] == []
    assert {"color-contrast", "label", "button-name", "svg-img-alt"} <= {rule["id"] for rule in found["passes"]}
