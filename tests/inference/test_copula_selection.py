"""Choice of a family for each link: candidates, and what is refused."""

import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.inference.copula_selection import CANDIDATES, fit_auto, with_families
from bayescascade.inference.sampling import SamplerConfig
from bayescascade.model.copulas.family import FAMILIES
from bayescascade.model.design import build_design
from bayescascade.model.options import check_options, structure_of

LOWER, UPPER = {"clayton", "gumbel_180", "joe_180"}, {"gumbel", "joe", "clayton_180"}


def test_every_family_is_a_candidate():
    assert set(CANDIDATES) == set(FAMILIES)
    assert {"independence", "gaussian", "frank"} | LOWER | UPPER == set(CANDIDATES)


def test_one_compiled_model_serves_every_choice():
    """All candidates, and the final fit with a family of its own for each link, share their structure."""
    log = bc.load_example()
    options = check_options("independence", "polya_tree", "logistic", 2)
    pairs = [[name] * 2 for name in CANDIDATES] + [["clayton", "joe"], ["independence", "gumbel_180"]]
    assert len({build_design(log, with_families(options, pair)).structure for pair in pairs}) == 1
    plain = structure_of(check_options("gumbel", "polya_tree", "logistic", 2), 3, 1)
    assert plain.families == ("gumbel",)
    assert not plain.rotated


@pytest.mark.parametrize("copula", [["gumbel"], ["gumbel", "frank", "joe"], []])
def test_the_number_of_families_is_that_of_links(example_log, copula):
    message = (
        f"copula has {len(copula)} families, but the log has 2 links between its stages; give one name for all"
    )
    with pytest.raises(CascadeError, match=message):
        bc.fit(example_log, copula=copula)
    with pytest.raises(CascadeError, match=message):
        bc.build_model(example_log, copula=copula)


def test_a_model_is_of_named_families(example_log):
    """There is no one model to build before the choice is made."""
    with pytest.raises(CascadeError, match="copula='auto' is not a known family"):
        bc.build_model(example_log, copula="auto")


def test_families_are_compared_on_one_task():
    log = bc.combine_tasks({name: bc.simulate(40, random_seed=i) for i, name in enumerate("ab")})
    options = check_options("independence", "polya_tree", "logistic", 2)
    with pytest.raises(CascadeError, match="compares families on one task; choose on one, and name the families"):
        fit_auto(log, options, SamplerConfig())
