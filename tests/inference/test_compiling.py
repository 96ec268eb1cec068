"""Compiling in a process of its own: from several threads, in single precision, without a home to write to."""

import os
import subprocess
import sys

import pytest

from bayescascade._common import compiling as module

FIT = """
import threading, warnings
import bayescascade as bc
log, found = bc.load_example(), {}

def go(number):
    options = dict(draws=20, tune=30, chains=1, cores=1, random_seed=1, progressbar=False)
    found[number] = bc.fit(log, **options)["posterior"]["tau"].values

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", bc.CascadeWarning)
    threads = [threading.Thread(target=go, args=(number,)) for number in range(N)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(*[warning.message for warning in caught if "kept in" in str(warning.message)], sep="\\n")
print(len(found), all((found[0] == tau).all() for tau in found.values()), found[0].mean())
"""


def run(n, **changed):
    environment = {name: value for name, value in (os.environ | changed).items() if value is not None}
    command = [sys.executable, "-c", FIT.replace("N)", f"{n})")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


@pytest.mark.slow
@pytest.mark.long
def test_threads_single_precision_and_no_home_change_no_draw(tmp_path):
    *_, alone = run(1)
    *_, threads = run(4, PYTENSOR_FLAGS=f"floatX=float32,base_compiledir={tmp_path / 'new'}")
    assert alone.split()[:2] == ["1", "True"]
    assert threads.split()[:2] == ["4", "True"]
    assert float(threads.split()[2]) == pytest.approx(float(alone.split()[2]), abs=1e-6)
    (tmp_path / "home").write_text("no folder")  # as root, any folder can be written to
    *notes, homeless = run(1, HOME=str(tmp_path / "home"), PYTENSOR_FLAGS=None)
    assert homeless.split()[:2] == ["1", "True"]
    assert sum("cannot be written to, so what is compiled is kept in" in note for note in notes) == 1


def test_which_folders_can_be_written_to(tmp_path, monkeypatch):
    assert module._can_write(tmp_path / "new" / "deep")
    (tmp_path / "file").write_text("")
    assert not module._can_write(tmp_path / "file")
    assert not module._can_write(tmp_path / "file" / "deep")
    (tmp_path / "new" / "numba").mkdir()
    monkeypatch.setattr(os, "access", lambda place, mode: "numba" not in str(place))
    assert not module._can_write(tmp_path / "new")


def test_a_damaged_cache_is_named():
    with pytest.raises(module.CascadeError, match=r"a compiled model in .* cannot be read .*pytensor-cache purge"):
        _fail()


@module.compiling()
def _fail():
    raise EOFError("Ran out of input")
