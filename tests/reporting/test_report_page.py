"""The page as its readers meet it: its structure, its script in a JavaScript engine, and all in a browser."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.fits import with_stages
from helpers.html import EVIL, Page, chromium, data_of

import bayescascade as bc
from bayescascade.cascade.discrepancy import evaluate_with_discrepancy, promise_spread
from bayescascade.display.svg import svg_with_marker
from bayescascade.reporting.explorer import make_explorer

STAGES = [EVIL, "</script><img src=x onerror=alert(2)>", 'large & "$1"']
STAND_IN = Path(__file__).parents[1] / "helpers" / "explorer_stand_in.js"


@pytest.fixture(scope="module")
def fit(example_fit):
    return with_stages(example_fit, STAGES)


@pytest.fixture(scope="module")
def path(fit, tmp_path_factory):
    solution = bc.tune(fit, error_price=0.02)
    return bc.report(fit, tmp_path_factory.mktemp("page") / "report.html", solution=solution)


@pytest.fixture(scope="module")
def page(path):
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def explorer(fit):
    return make_explorer(fit, own=bc.tune(fit, error_price=0.02).thresholds.values)


# ---- structure


def test_no_name_becomes_markup(path, page):
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script") == 2
    assert "img" not in page.tags
    assert "<" not in page.scripts["explorer-data"]
    assert all(name in data_of(page)["points"][-1]["sentence"] for name in STAGES[:2])


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert max(np.diff(levels)) <= 1


def test_everything_that_is_referred_to_is_there_once(page):
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.elements:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert set((attributes.get(name) or "").split()) <= set(page.ids)


def test_inputs_have_labels_and_outputs_are_read_out(page):
    labelled = {attributes["for"] for attributes in page.named("label")}
    inputs = {attributes["id"] for attributes in page.named("input")}
    assert inputs == {"explorer-price", "explorer-target"} == labelled
    assert all(attributes["type"] == "range" for attributes in page.named("input"))
    live = {attributes["id"]: attributes["aria-live"] for attributes in page.named("output")}
    assert [name for name, how in live.items() if how == "polite"] == ["explorer-answer"]  # one voice, not five


def test_tables_have_headers_and_names(page):
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.named("th"))
    text_of = set(page.ids)
    for attributes in page.named("table"):
        assert "aria-labelledby" not in attributes or attributes["aria-labelledby"] in text_of
    assert page.tags.count("th") > page.tags.count("table")


def test_figures_have_names(page):
    assert all(
        attributes["role"] == "img" and len(attributes["aria-label"]) > 10 for attributes in page.named("svg")
    )


def test_only_the_explorers_script_may_run(page):
    from base64 import b64encode
    from hashlib import sha256

    (policy,) = (a["content"] for a in page.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    digest = b64encode(sha256(page.scripts["explorer"].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert "default-src 'none'" in policy


def test_a_table_of_about_ten_points_stays_without_the_script(page):
    rows = re.findall(r"\d+\.\d% \(\d+\.\d% to \d+\.\d%\)", page.text)
    assert "Ten points of the frontier as a table" in page.text
    assert len(rows) >= 10
    (attributes,) = (a for _, a in page.elements if a.get("id") == "explorer")
    assert "hidden" in attributes


def test_the_sentences_judge_the_cascade(page):
    assert re.search(
        r"where an error costs 0\.02, it (saves|costs) \S+ \(\S+ to \S+\) per 1,000 queries", page.text
    )


# ---- what the explorer picks from


def test_the_explorer_keeps_what_evaluate_says_with_the_room_that_promises_have(fit, explorer):
    at = explorer.points.isel(point=[0, 20, -1])
    doubted = evaluate_with_discrepancy(fit, at["threshold"], spread=promise_spread(fit), one_sided=True)
    error = doubted["error"].transpose("point", "chain", "draw").values.reshape(3, -1)
    # the smallest error that at least 90% of the draws do not exceed
    np.testing.assert_allclose(at["kept"], np.sort(error, axis=1)[:, int(np.ceil(0.9 * (error.shape[1] - 1)))])
    np.testing.assert_allclose(at["answered"].sum("stage"), 1.0)
    believed = bc.evaluate(fit, at["threshold"])["error"].mean(("chain", "draw"))
    np.testing.assert_allclose(at["error"], believed)  # as the error of thresholds tuned for a price


def test_prices_and_targets_pick_as_brute_force_does(explorer):
    error, cost, kept = (explorer.points[name].values for name in ("error", "cost", "kept"))
    for price in np.geomspace(*explorer.price_range, 9):
        loss = error[explorer.for_price(price)] * price + cost[explorer.for_price(price)]
        assert loss == min(e * price + c for e, c in zip(error, cost, strict=True))
    for target in np.linspace(*explorer.target_range, 9):
        point, able = explorer.for_target(target)
        assert able == (kept.min() <= target)
        assert cost[point] == min(cost[kept <= target], default=cost[point])


def test_prices_between_which_a_point_is_best(explorer):
    ends = explorer.hull_prices()
    for point, (low, high) in enumerate(ends):
        if np.isfinite(low):
            assert explorer.for_price(np.sqrt(max(low, 1e-9) * min(high, 1e9))) == point
    best = ends[np.isfinite(ends[:, 0])]
    assert best[0, 0] == 0.0
    assert best[-1, 1] == np.inf
    np.testing.assert_array_equal(best[1:, 0], best[:-1, 1])


def test_the_explorer_shows_the_thresholds_of_the_report_as_they_were_tuned(fit, explorer):
    solution = bc.tune(fit, error_price=0.02)
    at = explorer.points.isel(point=explorer.points.attrs["own"])
    np.testing.assert_array_equal(at["threshold"], solution.thresholds)
    assert float(at["error"]) == pytest.approx(float(solution.error.mean()))
    assert float(at["cost"]) == pytest.approx(float(solution.cost.mean()))
    promise = bc.tune(fit, max_error=0.35)
    promised = make_explorer(fit, own=promise.thresholds.values)
    at = promised.points.isel(point=promised.points.attrs["own"])
    assert float(at["error"]) == pytest.approx(float(promise.error.mean()), rel=1e-6)
    assert float(at["kept"]) == pytest.approx(promise.upper_bounds["error"], abs=1e-3)
    assert np.all(np.diff(promised.points["error"]) < 0)  # none is dominated


def test_a_policy_changes_nothing_of_the_explorer_but_where_it_opens(fit):
    without, promise = make_explorer(fit), bc.tune(fit, max_error=0.35)
    with_one = make_explorer(fit, own=promise.thresholds.values)
    for price in np.geomspace(*without.price_range, 12):
        ends = [x.points["error"].values[x.for_price(price)] for x in (without, with_one)]
        assert ends[0] == pytest.approx(ends[1], abs=2e-3)
    # the line is a curve of best points: nearly all of them are best at some price
    assert np.isfinite(with_one.hull_prices()[:, 0]).mean() > 0.5


def test_the_sliders_ends_are_the_ends_of_the_frontier(explorer):
    low, high = explorer.price_range
    assert explorer.for_price(low) == 0
    least = explorer.points["error"].values.min()
    assert explorer.points["error"].values[explorer.for_price(high)] <= least + 1e-3
    assert not explorer.for_target(explorer.target_range[0])[1]
    assert explorer.for_target(explorer.target_range[1]) == (0, True)


def test_the_marker_stands_on_the_line():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.3, 0.1])

    def draw(ax):
        ax.plot(x, y, gid="the-line")

    svg, places = svg_with_marker(draw, np.column_stack([x, y]), name="m", label="a line", size=(4.0, 3.0))
    drawn = re.search(r'id="m-the-line">\s*<path d="([^"]*)"', svg)[1]
    numbers = np.array(re.findall(r"-?\d+\.?\d*", drawn), dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(places, numbers, atol=0.01)


# ---- the script


def run_script(page, moves):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine: the explorer's script was not run")
    elements = [attributes for _, attributes in page.elements if "id" in attributes]
    given = {"elements": elements, "data": page.scripts["explorer-data"], "script": page.scripts["explorer"]}
    done = subprocess.run(
        [node, str(STAND_IN)],
        input=json.dumps(given | {"moves": moves}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_script_shows_the_point_that_the_sliders_pick(page, explorer):
    moves = [["explorer-price", 0], ["explorer-price", 1000], ["explorer-price", 420]]
    moves += [["explorer-target", 0.3], ["explorer-target", 0.0]]
    first, cheap, dear, middle, held, missed = run_script(page, moves)
    low, high = explorer.price_range
    start = explorer.points.attrs["own"]
    assert low * (high / low) ** (int(first["price"]) / 1000) == pytest.approx(0.02, rel=0.01)
    able = explorer.for_target(0.3)[0]
    nearest, kept = explorer.for_target(float(missed["target"]))
    points = [start, 0, explorer.for_price(high), explorer.for_price(low * (high / low) ** 0.42), able, nearest]
    assert not kept
    places = explorer.figure("t")[1]
    for state, point in zip((first, cheap, dear, middle, held, missed), points, strict=True):
        assert not state["hidden"]
        assert state["visibility"] == "visible"
        assert state["text"]["explorer-error"] == explorer.band("error", point)
        assert state["text"]["explorer-cost"] == explorer.band("cost", point)
        assert explorer.sentence(point) in state["text"]["explorer-answer"]
        for stage, row in enumerate(explorer.rows(point)):
            assert [state["text"][f"explorer-cell-{stage}-{column}"] for column in range(3)] == row[1:]
        np.testing.assert_allclose([state["x"], state["y"]], places[point, :2], atol=0.06)
    assert first["text"]["explorer-answer"].startswith("The thresholds of this report:")
    assert held["text"]["explorer-answer"].startswith("Cheapest that keep an error of at most 30.0%:")
    assert missed["text"]["explorer-answer"].startswith("No thresholds keep an error of at most")


def test_the_other_slider_follows(page, explorer):
    _, by_price, by_target = run_script(page, [["explorer-price", 700], ["explorer-target", 0.3]])
    low, high = explorer.price_range
    point = explorer.for_price(low * (high / low) ** 0.7)
    assert float(by_price["target"]) == pytest.approx(float(explorer.points["kept"][point]), abs=6e-4)
    point = explorer.for_target(0.3)[0]
    price = low * (high / low) ** (int(by_target["price"]) / 1000)
    assert price == pytest.approx(explorer.prices()[point], rel=0.02)
    assert float(by_target["said"]) == pytest.approx(price, rel=0.01)


# ---- in a browser


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: the page was not opened in a browser")
    named = chromium()
    with api.sync_playwright() as play:
        try:
            opened = play.chromium.launch(executable_path=named, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium on this machine, so the page was not opened in a browser: {str(error)[:80]}")
        yield opened
        opened.close()


@pytest.fixture
def opened(browser, path):
    """Open the page, and fail on anything that its console says."""
    contexts, said = [], []

    def act(**options):
        contexts.append(browser.new_context(**options))
        tab = contexts[-1].new_page()
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}") or dialog.dismiss())
        tab.on("request", lambda request: None if request.url.startswith("file:") else said.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield act
    for context in contexts:
        context.close()
    assert said == []


def test_the_keyboard_moves_the_explorer(opened):
    tab = opened()
    before, place = tab.inner_text("#explorer-answer"), tab.get_attribute("#explorer-figure .marker circle", "cx")
    tab.focus("#explorer-price")
    tab.keyboard.press("End")
    after = tab.inner_text("#explorer-answer")
    assert before.startswith("The thresholds of this report:")
    assert after != before
    assert float(tab.get_attribute("#explorer-figure .marker circle", "cx")) > float(place)
    assert tab.get_attribute("#explorer-figure .marker", "visibility") == "visible"
    tab.keyboard.press("Tab")
    tab.keyboard.press("End")
    assert tab.inner_text("#explorer-answer").startswith("Cheapest that keep an error of at most")
    assert tab.input_value("#explorer-price") == "0" or float(tab.input_value("#explorer-price")) < 100


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


def test_a_phone_never_scrolls_sideways(opened):
    tab = opened(viewport={"width": 360, "height": 740})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    assert tab.locator("#explorer-price").bounding_box()["width"] > 250


def test_print_leaves_the_sliders_out(opened):
    tab = opened()
    assert tab.is_visible("#explorer")
    tab.emulate_media(media="print")
    assert not tab.is_visible("#explorer")
    assert tab.is_visible("#answer")


def test_without_javascript_the_table_remains(opened):
    tab = opened(java_script_enabled=False)
    assert not tab.is_visible("#explorer")
    assert tab.is_visible("text=Ten points of the frontier as a table")
