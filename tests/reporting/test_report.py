"""The report is one whole page, says what was found, and lets nothing of the log run."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.fits import with_stages
from helpers.html import EVIL, Page, data_of

import bayescascade as bc
from bayescascade.analysis.label_value import LabelValue
from bayescascade.checks.results import CheckResult
from bayescascade.display.svg import inline_svg
from bayescascade.reporting.tables import provenance


@pytest.fixture(scope="module")
def solution(example_fit):
    return bc.tune(example_fit, max_cost=0.002)


@pytest.fixture(scope="module")
def unseen(example_log):
    """A test log; the fit's own would be refused."""
    return example_log.isel(query=slice(20, None))


@pytest.fixture(scope="module")
def full(example_fit, example_log, unseen, solution, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    returned = bc.report(example_fit, path, solution=solution, log=example_log, test=unseen)
    assert returned == path
    return path


def normal(text):
    return re.sub(r"\s+", " ", text).strip()


@pytest.fixture(scope="module")
def page(full):
    return Page(full.read_text(encoding="utf-8"))


def test_the_page_is_whole_and_small(full, page):
    text = full.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert len(text) < 5_000_000
    assert list(full.parent.iterdir()) == [full]
    assert page.tags.count("h1") == 1


def test_ids_are_unique_and_references_meet_them(full, page):
    assert len(page.ids) == len(set(page.ids))
    text = full.read_text(encoding="utf-8")
    references = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    assert references <= set(page.ids)


def test_the_page_needs_no_network(full):
    text = full.read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "@import" not in text
    assert "url(http" not in text
    # names of namespaces are no addresses to fetch
    assert set(re.findall(r'https?://[^"\s<]+', text)) <= {"http://www.w3.org/1999/xlink"}


def test_every_figure_is_named_for_those_who_do_not_see_it(full):
    heads = re.findall(r"<svg[^>]*>", full.read_text(encoding="utf-8"))
    # for a wide page and for a phone: density, worth, frontier, cascade, own signal; then stages, stages, links
    assert len(heads) == 2 * 5 + 3 + 3 + 2
    for shape in ("wide-only", "narrow-only"):
        assert sum(f'class="{shape}"' in head for head in heads) == 5
    assert all('role="img"' in head and re.search(r'aria-label="[^"]{10,}"', head) for head in heads)


def test_sections_stand_in_the_order_in_which_they_are_read(page):
    wanted = ["answer", "sure", "thresholds", "evidence", "frontier", "explore", "checks", "reliability"]
    wanted += ["margins", "links", "predictive", "provenance"]
    assert [name for name in page.ids if name in wanted] == wanted


def head_of(path_or_text):
    """What stands above the trade-off: the first screen."""
    return path_or_text.partition("The trade-off: error against cost")[0]


def test_the_title_is_the_answer(full, page, solution):
    title = re.sub("<[^>]*>", "", re.search("<h1[^>]*>(.*?)</h1>", full.read_text(encoding="utf-8"))[1])
    cost = f"{1000 * float(solution.cost.mean()):#.3g}"
    assert re.fullmatch(rf"Run small → (medium → )?large for {cost} per 1,000 queries", title)
    assert f"<title>{title}</title>" in full.read_text(encoding="utf-8")
    assert (
        "You can be 90% sure that the cost in the long run is at most 2.00 per 1,000 queries, as you asked."
        in page.text
    )


def test_four_tiles_say_what_is_expected_promised_seen_and_spent(page, example_fit, solution, unseen):
    head = head_of(page.text)
    found = bc.score(unseen, solution)  # as the command line has it, to the last digit
    assert f"Expected error {float(solution.error.mean()):.1%}" in head
    assert re.search(r"With safety margin ≤ \d+\.\d% 90% sure", head)
    low, high = (float(found[f"error_{end}"]) for end in ("low", "high"))
    assert f"On the test log {float(found['error']):.1%} as expected ({low:.1%} to {high:.1%})" in head
    assert "280 queries should show" in page.text
    assert f"test log {1000 * float(found['cost']):#.3g}" in head
    assert page.tags.count("dl") >= 2
    assert not re.search(r"wrong answer costs \d", head)  # nobody named a price


def test_the_margin_of_the_tile_is_that_of_the_promise(example_fit, tmp_path):
    promise = bc.tune(example_fit, max_error=0.35)
    text = Page(bc.report(example_fit, tmp_path / "r.html", solution=promise).read_text(encoding="utf-8")).text
    assert f"With safety margin ≤ {promise.upper_bounds['error']:.1%} 90% sure; your limit: 35%" in text
    believed = bc.tune(example_fit, max_error=0.35, doubt=0)
    text = Page(bc.report(example_fit, tmp_path / "r.html", solution=believed).read_text(encoding="utf-8")).text
    assert f"Without safety margin ≤ {believed.upper_bounds['error']:.1%}" in text
    assert "No safety margin: nothing is allowed for model error." in text


def test_the_bars_show_who_answers_what(full, page, solution):
    text = full.read_text(encoding="utf-8")
    widths = [float(width) for width in re.findall(r'class="track"[^>]*><span style="width:([\d.]+)%', text)]
    answered = solution.answered.mean(("chain", "draw")).values
    np.testing.assert_allclose(widths, 100 * answered, atol=0.051)
    assert f"confidence ≥ {float(solution.thresholds[0]):.3g}" in head_of(page.text)


def test_a_log_and_a_currency_have_names(example_fit, solution, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", solution=solution, name="May & June", currency="USD")
    text = Page(path.read_text(encoding="utf-8")).text
    assert "May & June · 3 models, fitted on 300 queries · not tested yet" in text
    assert f"for ${1000 * float(solution.cost.mean()):#.3g} per 1,000 queries" in text
    policy = solution.to_policy(currency="EUR")
    text = Page(bc.report(example_fit, tmp_path / "r.html", thresholds=policy).read_text(encoding="utf-8")).text
    assert f"for €{1000 * float(solution.cost.mean()):#.3g} per 1,000 queries" in text


def test_a_threshold_that_is_a_logarithm_is_told_as_a_probability():
    from bayescascade.display.format import as_probability

    assert as_probability(np.log(0.937), "logprob") == "token probability ≥ 94%"
    assert as_probability(np.log(0.99987), "logprob") == "token probability ≥ 99.99%"
    assert as_probability(np.log(0.5), "p_true") == "P(True) ≥ 50%"
    assert as_probability(-np.inf, "logprob") == as_probability(0.5, "probability") == ""


def test_thresholds_and_checks_are_in_tables(page, solution, example_fit):
    assert f"{float(solution.thresholds[0]):.3g}" in page.text
    for result in bc.check(example_fit, thresholds=solution.thresholds):
        assert result.name in page.text
        assert normal(result.text) in page.text


def test_provenance_names_log_seed_and_versions(page, example_fit):
    attrs = example_fit.attrs
    for part in (attrs["data_hash"], "random seed 1,", "copula gumbel", "pymc 6", "300 queries, 900 labels"):
        assert part in page.text


def test_provenance_says_that_priors_come_from_other_tasks(example_fit):
    pooled = example_fit.copy()
    pooled["population"] = xr.DataTree(xr.Dataset(attrs={"n_tasks": 8}))
    told = [dict(provenance(fit, None, 0.9))["Model"] for fit in (pooled, example_fit)]
    assert told[0] == told[1] + "; priors from 8 other tasks (empirical Bayes)"


def test_without_a_solution_it_offers_the_frontier(example_fit, tmp_path):
    page = Page(bc.report(example_fit, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No thresholds chosen yet" in page.text
    assert "bayescascade tune fit.nc --max-error 0.2 -o policy.json" in page.text
    assert "bc.tune(fit, max_error=..., prob=0.9)" in page.text
    assert "thresholds" not in page.ids
    assert page.text.count("→ large") >= 1
    (table,) = (a for _, a in page.elements if a.get("class") == "open-on-paper")
    assert "open" in table  # the points are all there is to choose from


def test_thresholds_of_ones_own_are_reported(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[0.9, np.inf, -np.inf])
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Run small → medium → large for" in text
    assert "These are thresholds of your own. No goal was stated for them." in text
    for rule in ("confidence ≥ 0.9", "escalates everything", "answers the rest"):
        assert rule in text


def test_stages_after_one_that_accepts_all_are_never_called(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[-np.inf] * 3)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Send every query to small, for" in text
    assert text.count("never called") == 2


def test_a_cascade_that_a_single_stage_beats_is_told_so(example_fit, tmp_path):
    # every query pays for all stages and is answered by the last one
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[np.inf, np.inf, -np.inf])
    text = Page(path.read_text(encoding="utf-8")).text
    assert "no single model is both as accurate and as cheap is below 1%" in text
    assert "Look at large alone first" in head_of(text)
    assert "-0.0%" not in text


def test_a_goal_out_of_reach_is_called_so(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", solution=bc.tune(example_fit, max_error=0.01))
    text = Page(path.read_text("utf-8")).text
    assert "These models cannot keep error at or below 1%" in text
    assert "The nearest thresholds, shown here, do so with probability under 1%; you asked for 90%." in text
    # the lowest that is offered can be had
    lowest = float(re.search(r"lowest error you can be 90% sure of is about ([\d.]+)%", text)[1]) / 100
    assert bc.tune(example_fit, max_error=lowest + 2e-3).feasible


def test_a_price_of_an_error_names_the_stage_to_beat(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", solution=bc.tune(example_fit, error_price=0.01))
    text = Page(path.read_text(encoding="utf-8")).text
    assert re.search(r"the best (single model|pair of models), \w+", head_of(text))
    assert re.search(r"(Run this cascade|Run it, though the gain is uncertain|Do not run this cascade)", text)


def test_a_report_of_a_part_that_abstains(example_fit, unseen, tmp_path):
    solution = bc.tune(example_fit, error_price=0.02, abstain_price=0.008, stages=["small", "large"])
    path = bc.report(example_fit, tmp_path / "r.html", solution=solution, test=unseen)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "gives no answer below" in text
    assert f"Left unanswered {float(solution.abstained.mean()):.1%}" in text
    assert "a wrong answer costs 0.0200 and an unanswered query costs 0.00800" in text
    given = float((solution.error / (1.0 - solution.abstained)).mean())
    assert f"of the answers given {given:.1%}" in head_of(text)
    assert "error, of the answers given" in text
    assert "answered or left at small" in text
    assert "answered by" not in text


def test_the_page_says_whose_log_the_dots_are(example_fit, example_log, tmp_path):
    said = {"own": "which the fit has seen", "another": "did on another log, of 100 queries"}
    for name, log in (("own", example_log), ("another", example_log.isel(query=slice(100)))):
        text = Page(bc.report(example_fit, tmp_path / "r.html", log=log).read_text(encoding="utf-8")).text
        assert [key for key, words in said.items() if words in text] == [name]


def test_a_log_or_a_solution_of_another_cascade_is_refused(example_fit, example_log, solution, tmp_path):
    renamed = example_log.assign_coords(stage=["a", "b", "c"])
    with pytest.raises(bc.CascadeError, match="the log has the stages 'a', 'b', 'c', but the fit has 'small'"):
        bc.report(example_fit, tmp_path / "r.html", log=renamed)
    with pytest.raises(bc.CascadeError, match="the solution was tuned on another fit"):
        bc.report(bc.reprice(example_fit, factor=2.0), tmp_path / "r.html", solution=solution)
    assert not (tmp_path / "r.html").exists()


def test_a_log_that_cannot_be_scored_is_left_out_with_a_word(example_fit, example_log, tmp_path):
    part = example_log.copy(deep=True)
    part["confidence"][:, 2] = np.where(np.arange(300) < 20, part["confidence"][:, 2], np.nan)
    part["correct"], part["cost"] = (part[v].where(part["confidence"].notnull()) for v in ("correct", "cost"))
    path = bc.report(example_fit, tmp_path / "r.html", log=part)
    assert "The log was not scored along the frontier" in Page(path.read_text(encoding="utf-8")).text


def test_a_policy_of_this_log_brings_its_goal_along(example_fit, solution, tmp_path):
    policy = solution.to_policy()
    text = Page(bc.report(example_fit, tmp_path / "r.html", thresholds=policy).read_text(encoding="utf-8")).text
    assert "You can be 90% sure that the cost in the long run is at most 2.00 per 1,000 queries" in text
    assert "that keeps the limit" in head_of(text)
    foreign = bc.Policy(
        policy.stages, policy.thresholds, "probability", metadata={**policy.metadata, "data_hash": "x"}
    )
    text = Page(bc.report(example_fit, tmp_path / "r.html", thresholds=foreign).read_text(encoding="utf-8")).text
    assert "No goal was stated" in text
    assert "You can be 90% sure that the cost" not in text


def test_the_worth_of_labels_is_told_where_it_is_known(example_fit, solution, tmp_path):
    sizes = np.array([25, 50])
    numbers = {name: (("labelled", "n_labels"), [[0.125, 0.25]]) for name in ("evsi", "evsi_mcse", "net")}
    data = xr.Dataset(numbers, coords={"labelled": ["all stages"], "n_labels": sizes})
    value = LabelValue(data, 0.5, None, None, "Fifty labels are worth a quarter.")
    text = bc.report(example_fit, tmp_path / "r.html", solution=solution, labels=value).read_text(encoding="utf-8")
    page = Page(text)
    assert "Fifty labels are worth a quarter." in page.text
    assert 'id="figure-labels-' in text
    assert "0.125" in page.text
    assert "What would more labels be worth?" in page.text
    without = Page(bc.report(example_fit, tmp_path / "r.html", solution=solution).read_text(encoding="utf-8"))
    assert "labels" not in without.ids  # what was not asked for is no section


def test_labels_are_valued_for_the_limit_that_was_asked_for(example_fit, tmp_path, monkeypatch):
    asked = {}

    def stand_in(fit, **options):
        asked.update(options)
        one = {name: [0.25] for name in ("limit", "lowest", "cost", "p_kept", "evsi", "error_width", "label_cost")}
        many = pd.DataFrame({"labelled": ["all stages"], "n_labels": [100], "limit_mcse": [0.002], **one})
        data = many.set_index(["labelled", "n_labels"]).to_xarray()
        return LabelValue(
            data.assign_attrs(limit_now=0.3, max_error=0.3), 0.5, None, None, "You could promise 25%."
        )

    monkeypatch.setattr("bayescascade.reporting.context.label_value", stand_in)
    monkeypatch.setattr("bayescascade.reporting.context.labels_figure", lambda value: "")
    solution = bc.tune(example_fit, max_error=0.3, prob=0.8)
    text = bc.report(example_fit, tmp_path / "r.html", solution=solution, labels=True).read_text(encoding="utf-8")
    assert asked == {"max_error": 0.3, "prob": 0.8, "doubt": solution.goal["doubt"], "random_seed": 0}
    said = Page(text).text
    assert "You could promise 25%." in said
    assert "limit at today's cost" in said
    assert "25.0% ± 0.2" in said
    assert "worth per 1,000 queries served" not in said  # the saving is in the cost already


@pytest.mark.slow
def test_labels_are_valued_at_the_price_that_suits_the_thresholds(example_fit, solution, tmp_path, monkeypatch):
    asked = {}

    def stand_in(fit, **options):
        asked.update(options)
        raise bc.CascadeError("far enough")

    monkeypatch.setattr("bayescascade.reporting.context.label_value", stand_in)
    with pytest.raises(bc.CascadeError, match="far enough"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, labels=True)
    # at that price, tune comes to thresholds that cost as much
    again = bc.tune(example_fit, error_price=asked["error_price"])
    assert float(again.cost.mean()) == pytest.approx(float(solution.cost.mean()), rel=0.1)
    with pytest.raises(bc.CascadeError, match="needs to know what an error costs"):
        bc.report(example_fit, tmp_path / "r.html", labels=True)
    with pytest.raises(bc.CascadeError, match="needs to know what an error costs"):
        bc.report(example_fit, tmp_path / "r.html", thresholds=solution.thresholds, labels=True)


def test_a_log_with_deferrals_that_cannot_be_scored_is_said_to_be_so(example_fit, tmp_path):
    fit = example_fit.copy(deep=True)
    seen = fit["observed_data"].to_dataset()
    answered = (seen["confidence"].isel(stage=0) >= 0.9) & (seen["stage"] != "small")
    names = [name for name in ("confidence", "correct", "cost") if name in seen]
    fit["observed_data"] = seen.assign({name: seen[name].where(~answered) for name in names})
    page = Page(bc.report(fit, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "The fit's own log cannot be scored" in page.text
    assert "rank by the model, given small" in page.text


def test_names_from_the_log_are_escaped(example_fit, tmp_path):
    fit = with_stages(example_fit, [EVIL, 'a"b&c', "$large$"])
    fit["posterior"] = fit["posterior"].to_dataset().assign_coords(link=[f"{EVIL} > a", "a > $large$"])
    solution = bc.tune(fit, max_cost=0.002)
    text = bc.report(fit, tmp_path / "r.html", solution=solution).read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 2  # the explorer's data and the explorer
    assert text.count("<script") == text.count("</script") == 2
    assert EVIL in page.text
    assert EVIL in data_of(page)["points"][-1]["sentence"]
    assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_contradictions_are_refused(example_fit, example_log, solution, tmp_path):
    with pytest.raises(bc.CascadeError, match="not both"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, thresholds=solution.thresholds)
    with pytest.raises(bc.CascadeError, match="needs thresholds"):
        bc.report(example_fit, tmp_path / "r.html", test=example_log)
    with pytest.raises(bc.CascadeError, match="ci_prob"):
        bc.report(example_fit, tmp_path / "r.html", ci_prob=90)
    with pytest.raises(bc.CascadeError, match="one threshold vector, but 2 came"):
        bc.report(example_fit, tmp_path / "r.html", thresholds=np.full((2, 3), -np.inf))
    assert not list(tmp_path.iterdir())


def test_a_test_log_of_another_cascade_is_refused(example_fit, example_log, solution, tmp_path):
    other = example_log.assign_attrs(confidence_kind="logprob")
    with pytest.raises(bc.CascadeError, match="are 'logprob', but the fit's are 'probability'"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, test=other)
    other = example_log.assign_coords(stage=["a", "b", "c"])
    with pytest.raises(bc.CascadeError, match="test log has stages"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, test=other)
    with pytest.raises(bc.CascadeError, match="test log"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, test=xr.Dataset())


def test_the_fits_own_log_is_no_test(example_fit, example_log, solution, tmp_path):
    with pytest.raises(bc.CascadeError, match="the very log that the fit has seen"):
        bc.report(example_fit, tmp_path / "r.html", solution=solution, test=example_log)


def test_the_fits_own_log_is_scored_and_the_lack_of_a_test_log_told(example_fit, example_log, solution, tmp_path):
    text = Page(bc.report(example_fit, tmp_path / "r.html", solution=solution).read_text(encoding="utf-8")).text
    found = bc.score(example_log, solution)
    assert re.search(rf"training log shows\s+error[^a-z]*{float(found['error']):.1%}", text.replace("to", ""))
    assert "These numbers have not been tested on new queries." in head_of(text)


def test_a_failed_check_of_links_that_are_not_used_is_told_so(example_fit, monkeypatch):
    from bayescascade.posterior.draws import get_draws
    from bayescascade.reporting.answer import trust
    from bayescascade.reporting.context import idle_pairs
    from bayescascade.reporting.text import Choice

    draws = get_draws(example_fit)
    rows = pd.DataFrame(
        {"link": ["small > medium", "medium > large"], "statistic": "tau", "p": [0.4, 1e-5]}
    ).set_index(["link", "statistic"])
    result = CheckResult("dependence", False, rows, "")

    def choice(last):
        reach = np.tile([1.0, 0.5, last], (10, 1))
        return Choice(draws.stages, np.zeros(3), np.zeros(10), np.zeros(10), reach, {}, True, 0.9, {})

    assert idle_pairs(result, draws, choice(0.001)) == ["medium > large"]
    assert idle_pairs(result, draws, choice(0.2)) == []
    told = trust([result], ["medium > large"], None, None, [])
    assert told["title"] == "1 of 1 model checks failed"
    assert told["effects"] == [
        (
            "dependence",
            "Only medium > large is affected, where these thresholds send next to nothing. Other thresholds on "
            "this page may go there.",
        )
    ]


@pytest.mark.parametrize(
    ("failed", "error", "said"),
    [
        (None, 0.2, "error and cost came out as predicted."),
        ("calibration", 0.2, "The thresholds can be used; refit as the checks advise"),
        (None, 0.4, "On the test log the error was higher than expected."),
        ("calibration", 0.05, "On the test log the error was lower than expected."),
        (None, None, "These numbers have not been tested on new queries."),
    ],
)
def test_what_failed_checks_and_a_test_log_mean_is_told(failed, error, said):
    from bayescascade.reporting.answer import trust

    passed = [CheckResult(name, True, pd.DataFrame(), "") for name in ("loo", "margins")]
    results = [*passed, CheckResult("cascade", None, pd.DataFrame(), "")]
    if failed:
        results.append(CheckResult(failed, False, pd.DataFrame(), ""))
    scored = None
    if error is not None:
        amounts = {
            "error": error,
            "error_low": 0.1,
            "error_high": 0.3,
            "cost": 1.0,
            "cost_low": 1.0,
            "cost_high": 1.0,
        }
        scored = xr.Dataset(amounts)
    told = trust(results, [], object(), scored, [])
    checks = "1 of 3 model checks failed" if failed else "All 2 model checks passed"
    worse = "On the test log the error was higher than expected"
    assert told["title"] == (worse if error == 0.4 else checks)
    assert said in " ".join([f"{told['title']}.", *told["text"]])
    assert told["css"] == ("care" if failed or error == 0.4 else "untested" if error is None else "good")


def test_a_failure_leaves_the_old_page(example_fit, tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("yesterday's page")

    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bayescascade._common.files.os.replace", fail)
    with pytest.raises(bc.CascadeError, match="No space left on device"):
        bc.report(example_fit, path)
    assert path.read_text() == "yesterday's page"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(example_fit, tmp_path):
    with pytest.raises(bc.CascadeError, match="does not exist"):
        bc.report(example_fit, tmp_path / "nowhere" / "r.html")


def test_an_inline_figure_follows_the_page():
    svg = inline_svg(lambda ax: ax.plot([0, 1]), name="one", label='a "line"', size=(3.0, 2.0))
    assert svg.startswith('<svg role="img" aria-label="a &quot;line&quot;"')
    assert svg.endswith("</svg>")
    assert "currentColor" in svg
    assert "<style" not in svg
    assert "#010203" not in svg
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert all(name.startswith("one-") for name in ids)


def test_importing_the_report_is_light():
    heavy = ("pymc", "arviz", "matplotlib", "jinja2")
    code = f"import sys, bayescascade.reporting; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_explorer_shows_a_threshold_as_the_top_of_the_page_does(example_fit, tmp_path):
    """In two digits the chosen one may not do as well; other points of the frontier have no such range."""
    solution = bc.tune(example_fit, max_error=0.35, prob=0.9)
    chosen = solution.thresholds.values
    ends = np.stack([chosen - 3e-5, chosen + 3e-5], axis=1)
    narrow = replace(solution, as_good=solution.as_good.copy(data=ends))
    page = Page(bc.report(example_fit, tmp_path / "report.html", solution=narrow).read_text(encoding="utf-8"))
    data = data_of(page)
    own = data["points"][data["own"]]
    stages = [str(name) for name in solution.thresholds["stage"].values]
    shown = {
        str(name): cells[0]
        for name, cells in zip(example_fit["posterior"]["stage"].values, own["rows"], strict=True)
    }
    for name, threshold in zip(stages[:-1], chosen[:-1], strict=True):
        assert abs(float(shown[name]) - threshold) <= 3e-5
        assert f"confidence ≥ {shown[name]}" in page.text
        assert f"{name} answers at confidence ≥ {shown[name]}" in own["sentence"]
    others = [cells[0] for i, point in enumerate(data["points"]) if i != data["own"] for cells in point["rows"]]
    assert all(len(text) <= len("0.951") for text in others if text[:2] == "0.")
