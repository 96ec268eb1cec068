"""What doctests and tests share.

Docstrings say ``bc.fit(...)``, as a reader would, and most of them ask for one and the same fit. So when a run is
of doctests alone (`make doctests`), `bayescascade.fit` is for its whole length a function that takes fits from
where the tests keep theirs. Where tests are in the run nothing is replaced, since those of `fit` have to sample.
"""

from importlib.util import find_spec

import matplotlib
import pytest

matplotlib.use("Agg")

# doctests of adapters import what they adapt to, which is seldom installed; their tests say that they are skipped
ADAPTED = {"inspect_ai": "inspect_model", "langchain": "langchain_middleware", "litellm": "litellm_model"}
collect_ignore = [
    f"bayescascade/serving/adapters/{name}.py" for package, name in ADAPTED.items() if find_spec(package) is None
]


# fits of several tasks are compiled for themselves, and what a label is worth is simulated
SLOW = {
    "bayescascade.analysis.label_choice.draw_queries",
    "bayescascade.analysis.label_value.label_value",
    "bayescascade.plots.decisions.plot_label_value",
    "bayescascade.posterior.tasks.select_task",
}
# dozens of refits; tests of `label_value` make as many for less
LONG = {"bayescascade.analysis.label_value.label_value", "bayescascade.plots.decisions.plot_label_value"}


def pytest_collection_modifyitems(items):
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name in SLOW:
            item.add_marker(pytest.mark.slow)
            if item.name in LONG:
                item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", autouse=True)
def _stored_fits(request):
    if not all(isinstance(item, pytest.DoctestItem) for item in request.session.items):
        yield
        return
    from helpers.fits import stored_fit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayescascade.fit", stored_fit)
        yield
