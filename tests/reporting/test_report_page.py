"""The page as its readers meet it: its structure, its script in a JavaScript engine, and all in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.fits import with_stages
from helpers.html import EVIL, Page, data_of

import bayescascade as bc
from bayescascade.cascade.discrepancy import evaluate_with_discrepancy, promise_spread
from bayescascade.display.svg import svg_with_marker
from bayescascade.reporting.explorer import make_explorer

STAGES = [EVIL, "</script><img src=x onerror=alert(2)>", 'large & "$1"']
DIAGNOSTICS = ("reliability", "margins", "links", "predictive")
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
    inputs = {attributes["id"]: attributes["type"] for attributes in page.named("input")}
    assert inputs == {"explorer-place": "range", "explorer-price": "number", "explorer-target": "number"}
    assert set(inputs) == labelled
    live = {attributes["id"]: attributes["aria-live"] for attributes in page.named("output")}
    assert live == {"explorer-answer": "polite"}  # one voice, not five


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


def test_a_table_of_points_stays_without_the_script(page):
    rows = re.findall(r"\d+\.\d% \(\d+\.\d% to \d+\.\d%\)", page.text)
    assert "Points of the line as a table" in page.text
    assert len(rows) >= 6
    (attributes,) = (a for _, a in page.elements if a.get("id") == "explorer")
    assert "hidden" in attributes


def test_the_head_judges_the_cascade(page):
    assert re.search(r"(beats|toss-up against) the best (single model|pair of models), .*: it saves", page.text)
    assert "(that it is the cheaper one:" in page.text


def test_what_passed_is_closed_and_what_failed_is_open(fit, tmp_path, monkeypatch):
    from bayescascade.checks.results import CheckResults
    from bayescascade.checks.suite import check

    def failing(fit, **options):
        return CheckResults(
            replace(result, passed=result.name not in ("margins", "cascade")) for result in check(fit, **options)
        )

    monkeypatch.setattr("bayescascade.reporting.context.check", failing)
    page = Page(bc.report(fit, tmp_path / "r.html", thresholds=[0.9, 0.9, -np.inf]).read_text(encoding="utf-8"))
    opened = {a["id"]: "open" in a for _, a in page.elements if a.get("id") in DIAGNOSTICS}
    assert opened == {"reliability": False, "margins": True, "links": False, "predictive": True}
    assert "2 of 8 model checks failed." in page.text
    assert "may be off" in page.text.partition("The trade-off")[0]


def test_diagnostics_are_closed_where_all_passed(page):
    opened = {a["id"]: "open" in a for _, a in page.elements if a.get("id") in DIAGNOSTICS}
    assert set(opened) == set(DIAGNOSTICS)
    assert not any(opened.values()) or "failed" in page.text


# ---- what the explorer picks from


def test_the_explorer_keeps_what_evaluate_says_with_the_room_that_promises_have(fit, explorer):
    at = explorer.points.isel(point=[0, 20, -1])
    doubted = evaluate_with_discrepancy(fit, at["threshold"], spread=promise_spread(fit), one_sided=True)
    error = doubted["error"].transpose("point", "chain", "draw").values.reshape(3, -1)
    # the smallest error that at least 90% of the draws do not exceed
    np.testing.assert_allclose(at["kept"], np.sort(error, axis=1)[:, int(np.ceil(0.9 * error.shape[1])) - 1])
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
    # whatever stands between the ends can be had, and nothing below
    least, most = explorer.target_range
    assert explorer.for_target(least)[1]
    assert not explorer.for_target(least - 1e-3)[1]
    assert explorer.for_target(most) == (0, True)


def test_a_policy_of_a_point_is_the_point(explorer, tmp_path):
    for point in (0, 20, -1):
        (tmp_path / "policy.json").write_text(explorer.policy(point, {"origin": "here"}), encoding="utf-8")
        policy = bc.Policy.load(tmp_path / "policy.json")
        at = explorer.points["threshold"].isel(point=point)
        at = at[at.notnull()]
        assert policy.stages == list(at["stage"].values)
        np.testing.assert_array_equal(policy.thresholds, at)
        assert policy.metadata == {"origin": "here"}


def test_the_marker_stands_on_the_line():
    x, y = np.array([1.0, 2.0, 4.0]), np.array([0.5, 0.3, 0.1])

    def draw(ax):
        ax.plot(x, y, gid="the-line")

    svg, places = svg_with_marker(draw, np.column_stack([x, y]), name="m", label="a line", size=(4.0, 3.0))
    drawn = re.search(r'id="m-the-line">\s*<path d="([^"]*)"', svg)[1]
    numbers = np.array(re.findall(r"-?\d+\.?\d*", drawn), dtype=float).reshape(-1, 2)
    np.testing.assert_allclose(places, numbers, atol=0.01)


# ---- the script


def run_script(page, moves, link=""):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine: the explorer's script was not run")
    elements = [attributes for _, attributes in page.elements if "id" in attributes]
    given = {"elements": elements, "data": page.scripts["explorer-data"], "script": page.scripts["explorer"]}
    done = subprocess.run(
        [node, str(STAND_IN)],
        input=json.dumps(given | {"moves": moves, "link": link}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_script_shows_the_point_that_is_asked_for(page, explorer):
    last = explorer.points.sizes["point"] - 1
    moves = [["explorer-place", 0], ["explorer-place", last], ["explorer-price", "0.011"]]
    moves += [["explorer-target", "30"], ["explorer-target", "1"]]
    states = run_script(page, moves)
    start = explorer.points.attrs["own"]
    able = explorer.for_target(0.3)[0]
    nearest, kept = explorer.for_target(0.01)
    assert not kept
    points = [start, 0, last, explorer.for_price(0.011), able, nearest]
    shapes = json.loads(page.scripts["explorer-data"])["points"]
    for state, point in zip(states, points, strict=True):
        assert not state["hidden"]
        assert int(state["place"]) == point
        assert state["text"]["explorer-error"] == explorer.band("error", point)
        assert state["text"]["explorer-cost"] == explorer.band("cost", point)
        assert explorer.sentence(point) in state["text"]["explorer-answer"]
        for stage, row in enumerate(explorer.rows(point)):
            assert [state["text"][f"explorer-cell-{stage}-{column}"] for column in range(3)] == row[1:]
        policy = json.loads(state["text"]["explorer-policy"])
        assert policy["stages"] == json.loads(explorer.policy(point, {}))["stages"]
        for marker, place in zip(state["markers"], shapes[point]["places"], strict=True):
            assert marker == {"visibility": "visible", "x": place["x"], "y": place["y"], "bars": place["bars"]}
    said = [state["text"]["explorer-answer"] for state in states]
    assert said[0].startswith("The thresholds of this report:")
    assert said[3].startswith("Best if a wrong answer costs 0.011:")
    assert said[4].startswith("Cheapest thresholds with error ≤ 30%:")
    assert said[5].startswith(f"The lowest error you can be sure of is {explorer.points['kept'].min():.1%}.")


def test_the_markers_stand_on_the_line(page, explorer):
    shapes = json.loads(page.scripts["explorer-data"])["points"]
    assert {len(point["places"]) for point in shapes} == {2}  # for a wide page and for a phone
    for shape in range(2):
        x, y = (np.array([point["places"][shape][axis] for point in shapes]) for axis in "xy")
        # by rising cost to the right, and by falling error downwards
        assert np.all(np.diff(x) >= 0)
        assert np.all(np.diff(y) >= 0)


def test_what_was_not_asked_for_follows(page, explorer):
    _, by_place, by_target, by_price = run_script(
        page, [["explorer-place", 3], ["explorer-target", "30"], ["explorer-price", "0.02"]]
    )
    kept, prices = explorer.points["kept"].values, explorer.prices()
    assert float(by_place["target"]) == pytest.approx(100 * kept[3], abs=0.051)
    for state, point in ((by_place, 3), (by_target, explorer.for_target(0.3)[0])):
        price = prices[point]
        assert state["price"] == ("" if np.isnan(price) else pytest.approx(f"{price:.3g}")) or float(
            state["price"]
        ) == pytest.approx(price, rel=0.01)
    assert by_target["target"] == "30"
    assert float(by_price["target"]) == pytest.approx(100 * kept[explorer.for_price(0.02)], abs=0.051)


@pytest.mark.parametrize("asked", ["", "-3", "much", "1e999"])
def test_what_is_no_number_changes_nothing(page, asked):
    before, after = run_script(page, [["explorer-target", asked]])
    if asked == "1e999":  # any error will do
        assert after["text"]["explorer-answer"].startswith("Cheapest")
    else:
        assert after["text"]["explorer-answer"] == before["text"]["explorer-answer"]


def test_a_link_opens_the_page_where_it_points(page, explorer):
    (state,) = run_script(page, [], link="#error=30")
    assert int(state["place"]) == explorer.for_target(0.3)[0]
    assert state["scrolled"]
    (state,) = run_script(page, [], link="#point=5")
    assert int(state["place"]) == 5
    (state,) = run_script(page, [], link="#checks")
    assert int(state["place"]) == explorer.points.attrs["own"]
    assert not state["scrolled"]
