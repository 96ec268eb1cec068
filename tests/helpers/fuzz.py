"""Properties under Hypothesis: few examples, the same each time, in every run; many in the long set."""

import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from bayescascade.errors import CascadeError, CascadeWarning

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def fuzzed(quick, long, *fixtures, **strategies):
    """Make a test of a property: it gets the named fixtures, then what is drawn."""

    def decorate(check):
        def test(request, examples):
            given_fixtures = [request.getfixturevalue(name) for name in fixtures]

            @settings(
                max_examples=examples,
                derandomize=examples == quick,  # the quick ones find what they found yesterday
                database=None,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.explicit, Phase.generate),  # to shrink what writes files takes many minutes
            )
            @given(**strategies)
            def run(**drawn):
                check(*given_fixtures, **drawn)

            run()

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return pytest.mark.parametrize(
            "examples", [quick, pytest.param(long, marks=[pytest.mark.slow, pytest.mark.long])]
        )(test)

    return decorate


def accepted(call, *, seconds=30.0, megabytes=600.0):
    """What a call returns, or None for a `CascadeError`; other exceptions, much time and much memory fail."""
    with warnings.catch_warnings(), bounded(seconds, megabytes):
        warnings.simplefilter("ignore", CascadeWarning)
        try:
            return call()
        except CascadeError as error:
            text = str(error)
            assert text.strip()
            assert len(text) < 3_000
            text.encode()
            return None


@contextmanager
def bounded(seconds, megabytes):
    """Fail where what is inside takes longer, or needs more memory than it found (measured on Linux only)."""
    start, before = time.perf_counter(), _memory(reset=True)
    yield
    took, peak = time.perf_counter() - start, _memory()
    assert took < seconds, f"it took {took:.1f} s"
    assert peak - before < megabytes, f"it took {peak - before:.0f} MB"


def _memory(reset=False):
    """Highest resident memory since the last reset in MB; resetting makes it the present one."""
    try:
        if reset:
            _RESET.write_text("5")
        status = _STATUS.read_text()
    except OSError:
        return 0.0
    return int(status.split("VmHWM:")[1].split()[0]) / 1e3
