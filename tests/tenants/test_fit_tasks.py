"""A fit for each tenant: from logs in any form, skipped where it is done, and kept whatever comes."""

import os
import signal
import sys
import threading
import time
import warnings
from functools import wraps
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import bayescascade as bc
from bayescascade.errors import CascadeError, CascadeWarning
from bayescascade.posterior.schema import data_hash
from bayescascade.tenants import cluster as clusters
from bayescascade.tenants import fit_tasks as module
from bayescascade.tenants.record import Record, file_name

NAMES = ["law", "a/b", "zoo"]


def as_table(logs, folder):
    parts = []
    for name, log in logs.items():
        bc.write_log(log, folder / "one.parquet")
        parts.append(pd.read_parquet(folder / "one.parquet").assign(tenant=name))
    (folder / "one.parquet").unlink()
    return pd.concat(parts, ignore_index=True)


def hashes(logs):
    return {data_hash(bc.validate_log(log)) for log in logs.values()}


def test_each_tenant_gets_a_fit_and_a_row(logs, quick, client, tmp_path):
    fits = bc.fit_tasks(logs, tmp_path / "fits", client=client, draws=50)
    assert fits.fitted == list(fits.table.index) == NAMES
    assert fits.table["queries"].tolist() == [40, 45, 50]
    assert fits.table["failed_checks"].tolist() == ["margins"] * 3
    assert (fits.table["rhat"] > 0.9).all()
    assert sorted(os.listdir(tmp_path / "fits")) == [
        "a%2Fb.nc",
        "law.nc",
        "tenants.csv",
        "tenants.jsonl",
        "zoo.nc",
    ]
    one = fits.fit("a/b")
    assert one.attrs["tenant"] == "a/b"
    assert one.attrs["data_hash"] == data_hash(bc.validate_log(logs["a/b"]))
    assert "log_likelihood" not in one.children  # several times as large as all the rest
    again = bc.TenantFits.open(tmp_path / "fits")
    assert again.fitted == sorted(NAMES)
    assert pd.read_csv(tmp_path / "fits" / "tenants.csv")["tenant"].tolist() == NAMES
    with pytest.raises(CascadeError, match="tenant 'art' has no fit; there are fits of 'law', 'a/b', 'zoo'"):
        fits.fit("art")


def test_a_tenants_seed_is_its_own_whoever_it_is_fitted_with(logs, quick, client, tmp_path):
    bc.fit_tasks(logs, tmp_path / "all", client=client, random_seed=7)
    seeds = {of: how["random_seed"] for of, how in quick.items()}
    assert len(set(seeds.values())) == 3
    assert all(how["cores"] == 1 for how in quick.values())
    quick.clear()
    bc.fit_tasks({"zoo": logs["zoo"]}, tmp_path / "one", client=client, random_seed=7)
    assert {of: how["random_seed"] for of, how in quick.items()}.items() <= seeds.items()


def test_what_is_done_is_skipped_and_what_has_changed_is_not(logs, quick, client, tmp_path):
    def again(logs, **options):
        quick.clear()
        bc.fit_tasks(logs, tmp_path, client=client, **{"draws": 50, **options})
        return set(quick)

    assert again(logs) == hashes(logs)
    assert again(logs) == set()
    more = logs | {"new": bc.simulate(30, n_stages=3, random_seed=9)}
    assert again(more) == hashes(more) - hashes(logs)
    changed = logs | {"law": logs["law"].isel(query=slice(30))}
    assert again(changed) == hashes({"law": changed["law"]})
    assert again(changed, draws=60) == hashes(changed)
    (tmp_path / "zoo.nc").unlink()
    assert again(changed, draws=60) == hashes({"zoo": logs["zoo"]})
    # a line that was cut off says nothing, and does not spoil the next
    with open(tmp_path / "tenants.jsonl", "a") as stream:
        stream.write('{"tenant": "law", "sta')
    assert again(changed, draws=60) == set()
    assert again(logs, draws=60) == hashes({"law": logs["law"]})
    assert Record(tmp_path).rows["law"]["queries"] == 40


@pytest.mark.parametrize("form", ["dataset", "frame", "parquet", "csv", "folders", "paths", "many paths"])
def test_logs_in_any_form(logs, quick, client, tmp_path, form):
    pytest.importorskip("duckdb")
    table, options = as_table(logs, tmp_path), {"by": "tenant", "confidence_kind": "probability"}
    source = tmp_path / "logs"
    source.mkdir()
    if form == "dataset":
        joined = bc.combine_tasks(logs)
        source, options = joined.rename(task="tenant"), {"by": "tenant"}
    elif form == "frame":
        source = table
    elif form in ("parquet", "csv"):
        for i in range(2):
            part = table.iloc[i::2]
            write = part.to_parquet if form == "parquet" else part.to_csv
            write(source / f"{i}.{form}", index=False)
    elif form == "folders":
        for name, part in table.groupby("tenant"):
            folder = source / f"tenant={name.replace('/', '%2F')}"
            folder.mkdir()
            part.drop(columns="tenant").to_parquet(folder / "0.parquet", index=False)
    elif form == "many paths":  # which say what their confidences are
        for name, log in logs.items():
            (source / file_name(name)).mkdir()
            for i, part in enumerate((log.isel(query=slice(30)), log.isel(query=slice(30, None)))):
                bc.write_log(part, source / file_name(name) / f"{i}.parquet")
        source, options = {name: source / file_name(name) for name in logs}, {}
    else:
        for name, log in logs.items():
            bc.write_log(log, source / f"{file_name(name)}.parquet")
        source, options = {name: source / f"{file_name(name)}.parquet" for name in logs}, {}
    fits = bc.fit_tasks(source, tmp_path / "fits", client=client, **options)
    assert sorted(fits.fitted) == sorted(NAMES)
    assert not (tmp_path / "fits" / ".rows").exists()
    if form not in ("parquet", "csv"):  # where rows are not dealt out to files, the order is theirs
        assert set(quick) == hashes(logs)
    assert dict(fits.table["queries"]) == {"law": 40, "a/b": 45, "zoo": 50}
    quick.clear()
    bc.fit_tasks(source, tmp_path / "fits", client=client, **options)
    assert not quick


def test_a_tenant_that_cannot_be_fitted_is_told_and_the_others_are_fitted(
    logs, quick, client, tmp_path, monkeypatch
):
    logs["none"] = logs["law"].assign(correct=logs["law"]["correct"] * np.nan)
    real = module.fit

    @wraps(real)
    def fit(log, **options):
        if log.sizes["query"] == 50:
            raise ZeroDivisionError("of the sampler")
        return real(log, **options)

    monkeypatch.setattr(module, "fit", fit)
    with pytest.warns(CascadeWarning, match="2 of 4 tenants could not be fitted"):
        fits = bc.fit_tasks(logs, tmp_path, client=client)
    assert fits.fitted == ["law", "a/b"]
    assert "has no labelled row" in fits.failed["none"]
    assert fits.failed["zoo"] == "it ended in an error: ZeroDivisionError: 'of the sampler'"
    monkeypatch.setattr(module, "fit", real)
    quick.clear()
    with pytest.warns(CascadeWarning, match=r"1 of 4 tenants could not be fitted \(first: 'none'"):
        fits = bc.fit_tasks(logs, tmp_path, client=client)
    assert set(quick) >= hashes({"zoo": logs["zoo"]})  # failures are tried again
    assert fits.fitted == ["law", "a/b", "zoo"]


def test_a_full_disk_ends_the_work_and_keeps_what_is_done(logs, quick, client, tmp_path, monkeypatch):
    real, written = module.write_packed, []

    def write(content, path):
        if written:
            raise CascadeError(f"the fit cannot be written to {path}: No space left on device.")
        written.append(path)
        real(content, path)

    monkeypatch.setattr(module, "write_packed", write)
    with pytest.raises(CascadeError, match="No space left on device"):
        bc.fit_tasks(logs, tmp_path, client=client)
    assert len(bc.TenantFits.open(tmp_path).fitted) == 1
    monkeypatch.setattr(module, "write_packed", real)
    quick.clear()
    assert len(bc.fit_tasks(logs, tmp_path, client=client).fitted) == 3
    assert len(quick) == 2


def test_a_job_that_costs_worker_after_worker_is_one_tenants():
    distributed = pytest.importorskip("distributed")

    def future(error):
        return SimpleNamespace(result=lambda: (_ for _ in ()).throw(error))

    lost = distributed.KilledWorker("fit_one", None, 4)
    assert clusters._result(future(lost)).startswith("every worker that took it was lost")
    with pytest.raises(CascadeError, match="the connection to the scheduler was lost; start again"):
        clusters._result(future(distributed.CancelledError("fit_one")))


def test_mistakes_are_sentences(logs, quick, client, tmp_path, monkeypatch):
    def refused(message, logs=logs, **options):
        with pytest.raises(CascadeError, match=message):
            bc.fit_tasks(logs, tmp_path / "fits", **{"client": client, **options})

    monkeypatch.setattr("bayescascade._common.cluster._SECONDS", "1s")
    refused("client='tcp://127.0.0.1:9' is the address of no scheduler that answers", client="tcp://127.0.0.1:9")
    refused("client='nowhere' is the address of no scheduler", client="nowhere")
    refused("client=5 is not allowed", client=5)
    refused("workers=0 is not allowed", client=None, workers=0)
    refused("there is no option 'drwas' of fits of many tenants", drwas=10)
    refused("there is no option 'previous'", previous=None)
    refused("draws=1 is not allowed", draws=1)
    refused("random_seed=-1 is not allowed", random_seed=-1)
    refused(
        "by='team' is not allowed; the log names tenants by none of its coords", bc.combine_tasks(logs), by="team"
    )
    refused("by='team' is not allowed; name the column of tenants", as_table(logs, tmp_path), by="team")
    refused("the tasks 'law' and 'LAW' are alike", logs | {"LAW": logs["law"]})
    refused("a tenant's name should be a text but is 5", {5: logs["law"]})
    refused("the log of 'law' should be a Dataset or a path but is a int", {"law": 5})
    refused("there is no tenant", {})
    table = as_table(logs, tmp_path)
    table.loc[3, "tenant"] = None
    refused("column 'tenant' of the DataFrame is empty in some rows", table, by="tenant")
    (tmp_path / "file").touch()
    with pytest.raises(CascadeError, match="cannot be made"):
        bc.fit_tasks(logs, tmp_path / "file" / "fits", client=client)
    with pytest.raises(CascadeError, match="there are no fits of tenants in"):
        bc.TenantFits.open(tmp_path)


def test_what_is_not_installed_is_named(logs, quick, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        ImportError, match="work for many tenants needs distributed, which is not installed"
    ) as caught:
        bc.fit_tasks(logs, tmp_path)
    assert str(caught.value).endswith('"bayescascade[distributed]"')


def test_files_of_tenants_have_names_that_a_disk_takes():
    names = ["acme", "a/b", "..", ".x", "x" * 500, "x" * 499 + "y", "Müller & Söhne", "a:b*?", "con trol"]
    files = [file_name(name) for name in names]
    assert len(set(files)) == len(names)
    for name in files:
        assert "/" not in name
        assert not name.startswith(".")
        assert len(name.encode()) < 200


# ---- on processes of their own


@pytest.mark.slow
@pytest.mark.long  # three processes that compile
def test_a_lost_worker_loses_no_tenant_and_each_compiles_once(tmp_path):
    distributed = pytest.importorskip("distributed")
    logs = {f"t{i}": bc.simulate(60, n_stages=2, random_seed=i) for i in range(6)}
    options = {"draws": 100, "chains": 2, "difficulty": False, "checks": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0")
        with cluster, distributed.Client(cluster) as client:
            processes = client.run(os.getpid)

            def strike():
                """Kill a worker that has a tenant in its hands."""
                while not any(client.processing().values()):
                    time.sleep(0.05)
                time.sleep(1.0)
                busy = next(address for address, jobs in client.processing().items() if jobs)
                os.kill(processes[busy], signal.SIGKILL)

            striker = threading.Thread(target=strike)
            striker.start()
            fits = bc.fit_tasks(logs, tmp_path, client=client, random_seed=3, **options)
            striker.join()
            after = client.run(os.getpid)
            compiled = client.run(compilations)
    assert sorted(fits.fitted) == sorted(logs)
    assert len(set(processes.values()) - set(after.values())) == 1
    assert max(compiled.values()) == 1
    # the tenant's own seed, whoever sampled it
    one, seed = fits.fit("t2"), module._seed_of(3, "t2")
    assert one.attrs["random_seed"] == seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CascadeWarning)  # so few draws do not satisfy R-hat
        alone = bc.fit(logs["t2"], random_seed=seed, progressbar=False, draws=100, chains=2, difficulty=False)
    means = [float(fit["posterior"]["tau"].mean()) for fit in (one, alone)]
    assert means[0] == pytest.approx(means[1], abs=0.05)


def compilations():
    from bayescascade.inference.sampling import _compile

    return _compile.cache_info().misses
