"""A compiled model that is loaded draws what the one that was compiled did; what cannot be loaded is compiled."""

import numpy as np
import nutpie
import pymc as pm
import pytensor
import pytest

from bayescascade._common.compiling import compiling
from bayescascade.inference import machine_code as module

HOW = {"draws": 30, "tune": 30, "chains": 2, "cores": 1, "seed": 1, "progress_bar": False}


@pytest.fixture(scope="module")
def model():
    with pm.Model(coords={"part": ["a", "b"]}) as model:
        y = pm.Data("y", np.zeros(3))
        mean = pm.Normal("mean", 0.0, 1.0, dims="part")
        spread = pm.HalfNormal("spread", 1.0)
        pm.Deterministic("twice", 2.0 * mean, dims="part")
        pm.Normal("seen", mean.sum(), spread, observed=y)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def compiled(model, folder, monkeypatch):
    """Compiles the model, or loads it; and how often nutpie has compiled."""
    calls, original = [], nutpie.compile_pymc_model

    def compile_pymc_model(*args, **options):
        calls.append(args)
        return original(*args, **options)

    monkeypatch.setattr(nutpie, "compile_pymc_model", compile_pymc_model)
    monkeypatch.setattr(module, "_folder", lambda: folder)

    def make(structure="two parts"):
        with compiling():
            return module.compiled_model(structure, model, ["mean", "spread", "twice"])

    return make, calls


def draws(compiled, data):
    posterior = nutpie.sample(compiled.with_data(y=data), **HOW)["posterior"].to_dataset()
    assert posterior["twice"].coords["part"].values.tolist() == ["a", "b"]
    return [posterior[name].values for name in ("mean", "spread", "twice")]


def test_code_is_compiled_once_and_draws_the_same(compiled, folder):
    make, calls = compiled
    first = make()
    again = make()
    assert len(calls) == 1
    for data in (np.zeros(3), np.arange(40.0)):
        for one, other in zip(draws(first, data), draws(again, data), strict=True):
            np.testing.assert_array_equal(one, other)
    (path,) = folder.glob("*.bin")
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:100] + b"x" + whole[101:], b"x" * 32 + whole[32:]):
        path.write_bytes(damaged)
        assert module._load(path) is None
    path.write_bytes(whole)
    assert module._load(path) is not None


def test_what_the_code_hangs_on_names_its_file(monkeypatch):
    paths = {module._path("a"), module._path("b")}
    with pytensor.config.change_flags(floatX="float32"):
        paths.add(module._path("a"))
    monkeypatch.setenv("NUMBA_OPT", "0")
    paths.add(module._path("a"))
    monkeypatch.setattr(module, "_source", lambda: "other")
    paths.add(module._path("a"))
    monkeypatch.setattr(module, "version", lambda name: "0")
    paths.add(module._path("a"))
    assert len(paths) == 6


def test_code_that_cannot_be_kept_is_used_all_the_same(model, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setattr(module, "_folder", lambda: folder / "file" / "deep")
    monkeypatch.setattr(nutpie, "compile_pymc_model", lambda *args, **options: "compiled")
    assert module.compiled_model("two parts", model, []) == "compiled"
