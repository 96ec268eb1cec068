"""Properties under Hypothesis: few examples, the same each time, in every run; many in the long set."""

import copy
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

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


def damaged(data, content, ways):
    """Bytes that up to four accidents have befallen, each of one of the ways."""
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(len(content) - 1, 0)))
        how = data.draw(st.sampled_from(ways))
        if how == "flip" and content:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "cut":
            del content[at:]
        elif how == "zero":
            content[at : at + 40] = bytes(len(content[at : at + 40]))
        else:
            content[at:at] = data.draw(st.binary(max_size=12)) if how == "put in" else content[at : at + 60]
    return bytes(content)


def places(node, path=()):
    """Paths to every value within a value of JSON, its own first."""
    yield path
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(node, path, value):
    """The same value of JSON with another in one place."""
    if not path:
        return value
    node = copy.deepcopy(node)
    inner = node
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return node


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
