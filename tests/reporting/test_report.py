"""The report is one whole page, says what was found, and lets nothing of the log run."""

import re
import subprocess
import sys

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
    # flow, worth, frontier, explorer; stages, stages, links; cascade, dependence, own signal
    assert len(heads) == 4 + 3 + 3 + 2 + 3
    assert all('role="img"' in head and re.search(r'aria-label="[^"]{10,}"', head) for head in heads)


def test_sections_stand_in_the_order_in_which_they_are_read(page):
    wanted = ["answer", "thresholds", "frontier", "explore", "checks", "reliability", "margins", "links"]
    wanted += ["predictive", "labels", "provenance"]
    assert [name for name in page.ids if name in wanted] == wanted


def test_the_answer_says_what_to_set_what_it_brings_and_what_it_beats(page, solution, unseen):
    assert (
        "To have cost at most 2 per 1,000 queries with probability 90%, set: small answers from confidence"
        in page.text
    )
    assert f"{float(solution.error.mean()):.1%} (" in page.text
    assert f"{1000 * float(solution.cost.mean()):.3g} (" in page.text
    found = bc.score(unseen, solution.thresholds)
    assert "On the test log. Error: expected" in page.text
    assert f"they showed {float(found['error']):.1%}" in page.text
    assert "280 queries should show (90%)" in page.text
    assert "no stage used alone errs as little for as little money" in page.text
    assert not re.search(r"where an error costs \d", page.text)  # nobody named a price


def test_thresholds_and_checks_are_in_tables(page, solution, example_fit):
    assert f"{float(solution.thresholds[0]):.3g}" in page.text
    for result in bc.check(example_fit, thresholds=solution.thresholds):
        assert result.name in page.text
        assert result.text in page.text


def test_provenance_names_log_seed_and_versions(page, example_fit):
    attrs = example_fit.attrs
    for part in (attrs["data_hash"], "random seed 1,", "copula gumbel", "pymc 6", "300 queries, 900 labels"):
        assert part in page.text


def test_without_a_solution_it_offers_the_frontier(example_fit, tmp_path):
    page = Page(bc.report(example_fit, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "No thresholds were chosen" in page.text
    assert "bc.tune(fit, max_error=..., prob=0.9)" in page.text
    assert "thresholds" not in page.ids
    assert page.text.count("accept all") >= 1


def test_thresholds_of_ones_own_are_reported(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[0.9, np.inf, -np.inf])
    text = Page(path.read_text(encoding="utf-8")).text
    assert (
        "Set: small answers from confidence 0.9 up; medium defers everything; large answers what is left." in text
    )


def test_stages_after_one_that_accepts_all_are_never_called(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[-np.inf] * 3)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "Set: small answers everything; medium, large are never called." in text


def test_a_cascade_that_a_single_stage_beats_is_told_so(example_fit, tmp_path):
    # every query pays for all stages and is answered by the last one
    path = bc.report(example_fit, tmp_path / "r.html", thresholds=[np.inf, np.inf, -np.inf])
    text = Page(path.read_text(encoding="utf-8")).text
    assert "With probability below 1%, no stage used alone errs as little for as little money" in text
    assert "Do not run this cascade before you have looked at large alone" in text
    assert "-0.0%" not in text


def test_a_goal_out_of_reach_is_called_so(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", solution=bc.tune(example_fit, max_error=0.01))
    assert "No thresholds give error at most 1% with probability 90%" in Page(path.read_text("utf-8")).text


def test_a_price_of_an_error_names_the_stage_to_beat(example_fit, tmp_path):
    path = bc.report(example_fit, tmp_path / "r.html", solution=bc.tune(example_fit, error_price=0.01))
    text = Page(path.read_text(encoding="utf-8")).text
    assert re.search(r"Against the best single stage, \w+, it saves .* with probability", text)


def test_a_report_of_a_part_that_abstains(example_fit, unseen, tmp_path):
    solution = bc.tune(example_fit, error_price=0.02, abstain_price=0.008, stages=["small", "large"])
    path = bc.report(example_fit, tmp_path / "r.html", solution=solution, test=unseen)
    text = Page(path.read_text(encoding="utf-8")).text
    assert "leaves unanswered what is below" in text
    assert "left unanswered" in text
    assert "an abstention costs 0.008" in text


def test_a_log_that_cannot_be_scored_is_left_out_with_a_word(example_fit, example_log, tmp_path):
    part = example_log.copy(deep=True)
    part["confidence"][:, 2] = np.where(np.arange(300) < 20, part["confidence"][:, 2], np.nan)
    part["correct"], part["cost"] = (part[v].where(part["confidence"].notnull()) for v in ("correct", "cost"))
    path = bc.report(example_fit, tmp_path / "r.html", log=part)
    assert "The log was not scored along the frontier" in Page(path.read_text(encoding="utf-8")).text


def test_a_policy_of_this_log_brings_its_goal_along(example_fit, solution, tmp_path):
    policy = solution.to_policy()
    text = Page(bc.report(example_fit, tmp_path / "r.html", thresholds=policy).read_text(encoding="utf-8")).text
    assert (
        "To have cost at most 2 per 1,000 queries with probability 90%, set: small answers from confidence" in text
    )
    assert "per 1,000 queries against the best pair that keeps this limit" in text
    foreign = bc.Policy(
        policy.stages, policy.thresholds, "probability", metadata={**policy.metadata, "data_hash": "x"}
    )
    text = Page(bc.report(example_fit, tmp_path / "r.html", thresholds=foreign).read_text(encoding="utf-8")).text
    assert "Set: small answers from confidence" in text
    assert "To have cost at most" not in text


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
    assert "This was not asked for" not in page.text


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
    assert "PIT given small" in page.text


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
    assert re.search(rf"the fit's own log shows\s+error[^a-z]*{float(found['error']):.1%}", text.replace("to", ""))
    assert "Nothing here was measured on queries that the fit has not seen" in text


def test_a_failed_check_of_links_that_are_not_used_is_told_so(example_fit, monkeypatch):
    from bayescascade.posterior.draws import get_draws
    from bayescascade.reporting.context import idle_pairs
    from bayescascade.reporting.text import Choice, caveats

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
    assert "does not touch" in caveats(["dependence"], ["medium > large"], tested=True, chosen=True)[0]


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
