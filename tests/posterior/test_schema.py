"""What a fit must be and hold: `require`, sentence by sentence, and the table of groups that it goes by."""

import numpy as np
import pytest
import xarray as xr
from helpers.fits import with_stages

import bayescascade as bc
from bayescascade.errors import CascadeError
from bayescascade.posterior.scenarios import drift, reprice
from bayescascade.posterior.schema import GROUPS, require, why_not_computed

THRESHOLDS = [0.8, 0.8, float("-inf")]
DOORS = {
    "evaluate": lambda fit: bc.evaluate(fit, THRESHOLDS),
    "tune": lambda fit: bc.tune(fit, error_price=0.01),
    "frontier": lambda fit: bc.frontier(fit, n_points=3),
    "check": bc.check,
    "drift": lambda fit: drift(fit, 0.1),
    "reprice": lambda fit: reprice(fit, factor=2.0),
    "select_task": lambda fit: bc.select_task(fit, "law"),
}


def _with(fit: xr.DataTree, group: str, **variables: xr.DataArray | None) -> xr.DataTree:
    """A fit with some variables of a group replaced, or dropped where None is given."""
    out = fit.copy()
    dataset = out[group].to_dataset()
    for name, values in variables.items():
        dataset = dataset.drop_vars(name) if values is None else dataset.assign({name: values})
    out[group] = xr.DataTree(dataset)
    return out


def test_a_fit_is_returned_as_it_came(example_fit):
    assert require(example_fit) is example_fit


def test_the_table_names_what_a_fit_has(example_fit):
    for group, variables in GROUPS.items():
        needed = {name for name, known in variables.items() if not known.optional}
        assert needed <= set(example_fit[group].data_vars)
        if group not in ("posterior", "sample_stats"):  # the model and the sampler leave more than is read
            assert set(example_fit[group].data_vars) <= set(variables)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_draws_that_are_not_finite_are_refused_at_each_door(example_fit, door, bad):
    tau = example_fit["posterior"]["tau"].copy(deep=True)
    tau[0, 0, 0] = bad
    broken = _with(example_fit, "posterior", tau=tau)
    message = rf"this DataTree is a damaged fit: 1 of the {tau.size} values of 'tau' of group 'posterior' are"
    with pytest.raises(CascadeError, match=message):
        DOORS[door](broken)


def test_a_stored_fit_with_nan_draws_is_refused_by_its_path(example_fit, tmp_path):
    mass = xr.full_like(example_fit["margins"]["segment_mass"], np.nan)
    bc.save_fit(_with(example_fit, "margins", segment_mass=mass), tmp_path / "fit.nc")
    with pytest.raises(CascadeError, match=r"fit\.nc is a damaged fit.*'segment_mass'.*Fit its log again"):
        bc.load_fit(tmp_path / "fit.nc")


def test_a_latency_may_be_unknown(example_fit):
    unknown = xr.full_like(example_fit["posterior"]["cost"], np.nan)
    assert require(_with(example_fit, "posterior", latency=unknown))


@pytest.mark.parametrize(
    ("group", "name"), [(g, n) for g, variables in GROUPS.items() for n, v in variables.items() if not v.optional]
)
def test_missing_variables_are_named(example_fit, group, name):
    lacking = _with(example_fit, group, **{name: None})
    with pytest.raises(CascadeError, match=f"is not a bayescascade fit: it lacks the variable '{name}' of group"):
        require(lacking, source="x.nc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda tau: tau.isel(link=0, drop=True),
            r"over \('chain', 'draw'\), where float64 over \('chain', 'draw', ",
        ),
        (lambda tau: tau.expand_dims(more=2), "where float64 over .'chain', 'draw', 'link'. is needed"),
        (lambda tau: tau.astype(str), "'tau' of group 'posterior' is <U"),
        (lambda tau: tau.astype(complex), "'tau' of group 'posterior' is complex128"),
        (lambda tau: tau.astype(int), "'tau' of group 'posterior' is int64 over .*, where float64 over"),
    ],
)
def test_variables_over_other_dims_or_of_other_kinds_are_refused(example_fit, change, message):
    with pytest.raises(CascadeError, match=message):
        require(_with(example_fit, "posterior", tau=change(example_fit["posterior"]["tau"])))


@pytest.mark.parametrize(
    ("group", "name", "dtype"),
    [
        ("margins", "segment_mass", "int64"),
        ("observed_data", "confidence", "bool"),
        ("constant_data", "split_used", "bool"),
        ("copula", "family", "bool"),
    ],
)
def test_values_of_another_kind_are_refused_though_they_could_be_cast(example_fit, group, name, dtype):
    values = xr.zeros_like(example_fit[group][name], dtype=dtype)
    with pytest.raises(CascadeError, match=f"^x.nc is not a bayescascade fit: '{name}' of .* is {dtype} over"):
        require(_with(example_fit, group, **{name: values}), source="x.nc")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("group", ["posterior", "margins", "observed_data", "constant_data"])
def test_stages_in_another_order_in_one_group_are_refused_at_each_door(example_fit, door, group):
    turned = example_fit.copy()
    turned[group] = xr.DataTree(turned[group].to_dataset().isel(stage=[2, 0, 1]))
    with pytest.raises(CascadeError, match=r"changed in some groups only: 'stage' is .* in the group .* in '"):
        DOORS[door](turned)


@pytest.mark.parametrize(
    ("group", "change", "message"),
    [
        ("margins", lambda data: data.isel(draw=slice(None, None, -1)), "'draw' is 199, 198, "),
        (
            "sample_stats",
            lambda data: data.isel(chain=[0]),
            "'chain' has 1 places in the group 'sample_stats' and 2",
        ),
        ("log_likelihood", lambda data: data.isel(query=[*range(299), 0]), "'query' is 0, 1, "),
        ("posterior", lambda data: data.drop_vars("stage"), "'stage' has no names in the group 'posterior'"),
        ("copula", lambda data: data.isel(link=[]), "'link' has 0 places"),
    ],
)
def test_groups_share_their_places(example_fit, group, change, message):
    changed = example_fit.copy()
    changed[group] = xr.DataTree(change(changed[group].to_dataset()))
    with pytest.raises(CascadeError, match=message):
        require(changed)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            ["large", "medium", "small"],
            "its links are 'small > medium', 'medium > large', where its stages are 'large'",
        ),
        ([0, 1, 2], "'stage' is 0, 1, 2, where each needs a name of its own"),
        ([b"a", b"b", b"c"], "'stage' is b'a', b'b', b'c', where each"),
        (np.array(["a", None, "c"], dtype=object), "'stage' is 'a', .*, 'c', where each"),
    ],
)
def test_stages_that_are_odd_in_all_groups_alike(example_fit, stages, message):
    odd = xr.DataTree.from_dict(
        {
            name: data.assign_coords(stage=stages) if "stage" in data.dims else data
            for name, data in ((name, group.to_dataset()) for name, group in example_fit.children.items())
        }
    )
    odd.attrs |= example_fit.attrs
    with pytest.raises(CascadeError, match=message):
        require(odd)


def test_segments_in_another_order_are_refused_in_memory_too(example_fit):
    high = example_fit["constant_data"]["segment_high"]
    turned = _with(example_fit, "constant_data", segment_high=high.copy(data=high.values[:, ::-1]))
    with pytest.raises(CascadeError, match="the segments of its margins do not follow one another"):
        bc.tune(turned, error_price=0.01)


def test_a_fit_that_is_not_in_memory_is_named(example_fit):
    pytest.importorskip("dask")
    lazy = example_fit.copy()
    lazy["margins"] = xr.DataTree(lazy["margins"].to_dataset().chunk())
    with pytest.raises(CascadeError, match=r"the group 'margins' of this DataTree is not in memory.*fit.load"):
        bc.check(lazy)


def test_one_draw_is_too_few_for_its_checks_and_enough_for_the_rest(example_fit):
    few = xr.DataTree.from_dict(
        {
            name: group.to_dataset().isel(draw=[0]) if "draw" in group.dims else group.to_dataset()
            for name, group in example_fit.children.items()
        }
    )
    few.attrs |= example_fit.attrs
    assert "too few for R-hat" in bc.check(few)["convergence"].text
    assert bc.tune(few, error_price=0.01).feasible


def test_stages_may_be_renamed_in_all_groups_alike(example_fit):
    renamed = with_stages(example_fit, ["a", "b", "c"])
    assert require(renamed) is renamed
    with pytest.raises(CascadeError, match=r"'stage' is 'a', 'a', 'c'.*, where each needs a name of its own"):
        require(with_stages(example_fit, ["a", "a", "c"]))


def test_the_order_of_dims_and_single_precision_do_not_matter(example_fit):
    turned = example_fit["posterior"]["tau"].transpose("link", "draw", "chain").astype("float32")
    assert require(_with(example_fit, "posterior", tau=turned))


def test_what_may_be_asked_of_a_fit(example_fit):
    of_task = example_fit.copy()
    of_task.attrs["task"] = "law"
    assert require(of_task) is of_task
    with pytest.raises(CascadeError, match=r"^this is the fit of the task 'law'; fit all\.$"):
        require(of_task, apart="; fit all.")
    with pytest.raises(CascadeError, match="this fit has no tasks: its log had no coord 'task'; name the column"):
        require(example_fit, tasks="several")
    dearer, drifted = reprice(example_fit, factor=2.0), drift(example_fit, 0.2)
    assert require(dearer, undrifted="; no.") is dearer
    for changed, word in ((dearer, "repriced"), (drifted, r"drift: 0\.2")):
        with pytest.raises(CascadeError, match=rf"^this fit was changed after sampling \({word}.*\); no\.$"):
            require(changed, unchanged="no.")
    with pytest.raises(CascadeError, match=r"^this fit has drifted by 0\.2; no\.$"):
        require(drifted, undrifted="; no.")


def test_why_something_is_not_computed(example_fit):
    def lacking(fit, **needs):
        return why_not_computed(fit, "it", **needs)

    needs = {"own_prior": True, "log_likelihood": True, "several_chains": True, "draws": 100}
    assert lacking(example_fit, **needs) == ""
    bare = xr.DataTree.from_dict(
        {"posterior": example_fit["posterior"].to_dataset().isel(chain=[0], draw=range(9))}
    )
    bare.attrs["task"] = "law"
    assert lacking(bare) == ""
    assert lacking(bare, own_prior=True).endswith("it is computed for fits of one task only.")
    assert lacking(bare, log_likelihood=True).startswith(
        "The fit holds no log-likelihood, so it was not computed."
    )
    assert lacking(bare, several_chains=True).startswith("One chain only, so it cannot be computed.")
    assert lacking(bare, draws=10) == "Fewer than 10 draws: too few for it. Fit again with more draws."
    assert lacking(bare, draws=9) == ""
