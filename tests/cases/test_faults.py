"""Faults that were found by trying to break it, a row for each: high, medium and low, and what comes now."""

import ctypes
import itertools
import json
import os
import pickle
import stat
import sys
import threading
import time
import warnings
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from helpers.cases import STAGES, Rows, read, refused, run_row, table_of
from helpers.cli_fakes import assert_one_sentence, ctrl_c_heard, run
from helpers.fuzz import bounded

import bayescascade as bc
from bayescascade._common import memory
from bayescascade._common.compiling import compiling
from bayescascade._common.files import whole_file
from bayescascade.cli.app import _interrupt_again
from bayescascade.inference import effort
from bayescascade.inference.sampling import SamplerConfig, keeps_log_likelihood
from bayescascade.model.design import build_design
from bayescascade.model.options import Options
from bayescascade.rivals.cells import Result, Store

row = Rows()
ALL = {f"{level}{n}" for level, last in {"H": 4, "M": 11, "L": 13}.items() for n in range(1, last + 1)}


def save(few_draws, **changed):
    fit = few_draws.copy(deep=True)
    for name, value in changed.items():
        posterior = fit["posterior"].to_dataset()
        values = posterior[name].values.copy()
        values.reshape(-1)[0] = value
        fit["posterior"] = xr.DataTree(posterior.assign({name: (posterior[name].dims, values)}))
    fit.to_netcdf("fit.nc", engine="h5netcdf")
    return fit


@pytest.fixture
def policy():
    bc.Policy(STAGES, [0.8, 0.8, -np.inf], "probability").save("policy.json")
    return json.loads(Path("policy.json").read_text())


@row("H1", "few values at every stage", pytest.mark.slow)
def _():
    log, _ = read(table_of().assign(confidence=lambda t: t["confidence"].mul(5).round() / 5), "votes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.CascadeWarning)
        fit = bc.fit(log, difficulty=False, draws=30, chains=2, tune=100, random_seed=1, progressbar=False)
        for result in bc.check(fit):
            assert result.text.endswith(".")
        assert np.isfinite(float(bc.tune(fit, error_price=0.01).error.mean()))


@row("H2", "a fit that holds NaN or is damaged is refused, and no policy is written")
def _(few_draws):
    for name, value in (("tau", np.nan), ("cost", np.inf), ("slope", -np.inf)):
        save(few_draws, **{name: value})
        done = run("tune", "fit.nc", "--error-price", "0.02", "-o", "policy.json")
        assert name in assert_one_sentence(done, "fit.nc")
    bc.save_fit(few_draws, "fit.nc")
    content = bytearray(Path("fit.nc").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 512] = bytes(512)
    Path("fit.nc").write_bytes(content)
    assert_one_sentence(run("tune", "fit.nc", "--error-price", "0.02", "-o", "policy.json"), "damaged")
    assert not os.path.exists("policy.json")


@row("H3", "a full disk is a sentence")
def _(few_draws):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    table_of().to_csv("log.csv", index=False)
    for write in (
        lambda: bc.save_fit(few_draws, "/dev/full"),
        lambda: bc.Policy(STAGES, [0.1, 0.1, -np.inf], "votes").save("/dev/full"),
    ):
        with pytest.raises(bc.CascadeError, match="cannot be written to /dev/full: No space left on device"):
            write()
    assert os.listdir() == ["log.csv"]


@row("H4", "what is no regular file is written through")
def _(policy):
    os.mkfifo("pipe")
    got = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_text()), daemon=True)
    reader.start()
    done = run("export", "policy.json", "--to", "sql", "-o", "pipe")
    reader.join(20)
    assert done.exit_code == 0, done.output
    assert "cascade_decision" in got[0]
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


@row("M1", "costs of 0 make no goal infeasible")
def _(few_draws):
    free = few_draws.copy(deep=True)
    posterior = free["posterior"].to_dataset()
    free["posterior"] = xr.DataTree(posterior.assign(cost=posterior["cost"] * 0.0))
    assert bc.tune(free, max_error=0.4, stages=STAGES).feasible
    assert bc.frontier(free).sizes["point"] == 1


@row("M2", "the log-likelihood is kept up to a bound of bytes")
def _():
    config = SamplerConfig(draws=1000, chains=4)
    assert keeps_log_likelihood(config, 1_000)
    kept = max(n for n in (1_000, 12_000, 13_000, 100_000) if keeps_log_likelihood(config, n))
    assert 3 * 8 * 4_000 * kept < 1.5e9  # three arrays; a fit of 12,000 queries once took 8.7 GB


@row("M3", "votes that are no shares of few samples")
def _():
    table = table_of(800)
    refused("distinct values, so they are no shares of a few samples", table, "votes")
    whole = table.assign(confidence=np.random.default_rng(0).uniform(size=len(table)))
    refused("confidence_kind='probability'", whole, "votes")


@row("M4", "a table that is cut off")
def _():
    text = table_of().to_csv(index=False)
    in_last_value = 0
    for at in np.random.default_rng(0).integers(len(text) // 2, len(text) - 1, 60):
        Path("log.csv").write_text(text[:at])
        last = text[:at].rpartition("\n")[2]
        if last.count(",") < 5 and last:
            refused("values where the header has 6", "log.csv")
        elif last.rpartition(",")[2]:
            in_last_value += 1
            assert any("no line end" in told for told in read("log.csv")[1]), last
    assert in_last_value


@row("M5", "a damaged fit is not opened by HDF5, which may never end")
def _(few_draws):
    bc.save_fit(few_draws, "fit.nc")
    content = Path("fit.nc").read_bytes()
    for at in np.random.default_rng(1).integers(0, len(content) - 200, 20):
        Path("fit.nc").write_bytes(content[:at] + bytes(8 * [255]) + content[at + 8 :])
        with bounded(seconds=10.0, megabytes=500.0), pytest.raises(bc.CascadeError, match=r"fit\.nc"):
            bc.load_fit("fit.nc")


@row("M6", "a foreign fit with the right groups")
def _(few_draws):
    for name, value in (("tau", 5.0), ("cost", -1.0)):
        save(few_draws, **{name: value})
        with pytest.raises(bc.CascadeError, match=rf"'{name}' of the group 'posterior' is {value}"):
            bc.load_fit("fit.nc")


@row("M7", "a termination leaves no part")
def _():
    def ended_half_way():
        with whole_file("note.txt", "the note") as part:
            part.write_text("half")
            sys.exit(143)

    with pytest.raises(SystemExit):
        ended_half_way()
    assert os.listdir() == []


@row("M8", "a damaged cache of compiled models is named")
def _():
    for error in (EOFError("Ran out of input"), pickle.UnpicklingError("x")):
        with pytest.raises(bc.CascadeError, match="pytensor-cache purge"), compiling():
            raise error


@row("M9", "several writers of one folder of cells")
def _():
    made = Result(np.array([0.5]), np.array([1e-4]), 0.3, np.array([0.29]), 1.5)

    def work(who):
        store = Store("cells")
        for n in range(12):
            store.put(f"cell {n}", made)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Store("cells")
    assert all(found.get(f"cell {n}").auc == 0.3 for n in range(12))


@row("M10", "one value that stands for a missing one")
def _():
    table = table_of(120)
    signal = np.log(table["confidence"] / (1.001 - table["confidence"]))
    for sentinel in (1e6, -999.0):
        _, said = read(table.assign(confidence=signal.mask(table.index == 7, sentinel)), "score")
        assert any(f"{sentinel:g}" in text or f"{sentinel:.0f}" in text for text in said), said
    assert read(table.assign(confidence=signal), "score")[1] == []


@row("M11", "control characters in names")
def _():
    for name in ("\x1b]0;pwn\x07\x1b[2Jsmall", "a\rb", "a\u202eb"):
        for column in ("model", "task"):
            table = table_of(task="law").drop(columns="stage")
            names = table[column].replace({"small": name, "law": name})
            refused("character", table.assign(**{column: names}))


@row("L1", "what other libraries raise")
def _(few_draws, policy):
    table = table_of()
    for name in ("a\ud800", "a\0"):
        names = pd.Series([name, "medium", "large"] * 60, dtype=object)
        refused("character", table.assign(model=names).drop(columns="stage"))
    refused("the price of stage 'small'", table, cost=dict.fromkeys(STAGES, 10**400))
    for path in ("a\0", "x" * 5000, "a/" * 3000):
        with pytest.raises(bc.CascadeError):
            bc.Policy.load(path)
    policy = bc.Policy.load("policy.json")
    with pytest.raises(bc.CascadeError):
        policy.decide("small", 10**400)
    Path("deep.json").write_text("[" * 100_000)
    with pytest.raises(bc.CascadeError):
        bc.Policy.load("deep.json")
    with pytest.raises(bc.CascadeError):
        read("deep.json")


@row("L2", "options that cannot be")
def _():
    table_of().to_csv("log.csv", index=False)
    log = ("log.csv", "--kind", "probability")
    for option, value in {"--plot": "x.xyz", "--n": ","}.items():
        assert_one_sentence(run("compare", *log, option, value), option)
    for option, value in {"--draws": 10**14, "--seed": 10**23}.items():
        assert_one_sentence(run("fit", *log, option, value, "-o", "f.nc"), f"Invalid value for '{option}'")
    assert_one_sentence(run("fit", *log, "--previous", "a[/b].nc", "-o", "f.nc"), "a[/b].nc")


@row("L3", "Ctrl-C that falls into a callback of compiled code is asked for again")
def _(monkeypatch):
    def pressed():
        raise KeyboardInterrupt

    def work():
        ctypes.CFUNCTYPE(None)(pressed)()
        for _ in range(100):  # an interrupt that is asked for does not end a sleep
            time.sleep(0.05)

    monkeypatch.setattr(sys, "unraisablehook", _interrupt_again)
    with ctrl_c_heard(), pytest.raises(KeyboardInterrupt):
        work()


@row("L4", "reading waits for no pipe and no device")
def _():
    os.mkfifo("pipe.json")
    for read_it, path in itertools.product((bc.Policy.load, bc.load_fit, read), ("pipe.json", "/dev/zero")):
        with bounded(seconds=10.0, megabytes=300.0), pytest.raises(bc.CascadeError):
            read_it(path)


@row("L5", "a small file of very many values")
def _(monkeypatch):
    table_of(400).drop(columns="model").assign(note="x" * 100_000).to_parquet("log.parquet")
    assert os.path.getsize("log.parquet") < 1e6
    monkeypatch.setattr("bayescascade.logs.files.total_memory", lambda: 60e6)
    monkeypatch.setattr(memory, "total_memory", lambda: 60e6)
    refused("GB of memory", "log.parquet")


@row("L6", "very many columns or stages")
def _():
    Path("log.csv").write_text("x," * 3_000_000 + "\n1\n")
    with bounded(seconds=20.0, megabytes=1500.0):
        refused("more than 20000 columns, so it is not a log", "log.csv")
    parts = {"confidence": 0.5, "cost": 0.1, "correct": 1.0}
    wide = pd.DataFrame({f"s{i}.{name}": [value] * 2 for i in range(3_000) for name, value in parts.items()})
    with bounded(seconds=20.0, megabytes=1500.0):
        assert read(wide)[0].sizes["stage"] == 3_000


@row("L7", "odd reads are none")
def _(policy):
    table = table_of().astype({"confidence": object})
    for value in ("1_000", "０.５", "١", b"0.5"):
        table.loc[4, "confidence"] = value
        refused("confidence is .* at row 4", table)
    part = {"confidence": [0.1, 0.2], "correct": [1, 0], "cost": [1.0, 2.0]}
    wide = pd.DataFrame({f"{stage}.{name}": cells for stage in ("", "a", "b") for name, cells in part.items()})
    refused("the column '.confidence' names no stage", wide)
    policy = bc.Policy.load("policy.json")
    for value in ("0.9", b"0.9", True):
        with pytest.raises(bc.CascadeError):
            policy.decide("small", value)


@row("L8", "messages stay short")
def _():
    table = table_of(stages=["x" * 10_000, "medium", "large"])
    refused("label", table.assign(correct=table["correct"].where(table["stage"] > 0)))
    twin = table["model"].mask((table["query"] > 3) & (table["stage"] == 0), "X" * 10_000)
    refused("alike", table.assign(model=twin).drop(columns="stage"))


@row("L9", "nothing is overwritten without a word")
def _(few_draws, policy):
    bc.save_fit(few_draws, "fit.nc")
    tune = ("tune", "fit.nc", "--error-price", "0.01", "-o")
    assert_one_sentence(run(*tune, "fit.nc"), "is the input itself")
    os.chmod("policy.json", 0o444)
    assert_one_sentence(run(*tune, "policy.json"), "write-protected")
    os.symlink("a", "b")
    os.symlink("b", "a")
    assert_one_sentence(run(*tune, "a"), "symbolic links")
    table_of().to_csv("log.csv", index=False)
    compare = ("compare", "log.csv", "--kind", "probability")
    assert_one_sentence(run(*compare, "-o", "q.svg", "--plot", "q.svg"), "would both be")
    assert_one_sentence(run("report", "fit.nc", "--policy", "policy.json", "-o", "policy.json"), "policy.json")
    assert json.loads(Path("policy.json").read_text())["stages"] == STAGES


@row("L10", "a policy file with odd keys")
def _(policy):
    odd = [
        json.dumps(policy | {"rejects": [0.1]}),
        json.dumps(policy)[:-1] + ', "version": 1}',
        json.dumps(policy | {"version": 1.0}),
        json.dumps(policy | {"thresholds": [10**400, 0.5, None]}),
    ]
    for text in odd:
        Path("odd.json").write_text(text)
        with pytest.raises(bc.CascadeError, match=r"odd\.json"):
            bc.Policy.load("odd.json")


@row("L11", "a policy is a value")
def _(policy):
    policy = bc.Policy.load("policy.json")
    with pytest.raises(bc.CascadeError):
        policy.run({0.5, 0.9})
    with pytest.raises(TypeError, match="cannot be changed"):
        policy.thresholds[0] = 0.0
    assert hash(policy) == hash(bc.Policy.load("policy.json"))
    assert policy.decide("large", 0.3) == "accept"


@row("L12", "how long a fit takes is said before")
def _(caplog):
    log, _ = read(table_of(2_000))
    design = build_design(log, Options(("frank", "frank"), difficulty=False))
    effort.announce(design, 2_000, SamplerConfig(draws=100_000, chains=4))
    assert "This fit takes about" in caplog.text


@row("L13", "types and licence go with the package")
def _():
    assert files(bc).joinpath("py.typed").is_file()


def test_every_row_is_here():
    assert row.names == ALL


@pytest.mark.parametrize("outcome", row.params)
def test_row(outcome, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_row(outcome, request)
