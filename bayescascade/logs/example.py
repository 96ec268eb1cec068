"""The embedded example logs: a simulated one, and one of a real cascade."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import xarray as xr

from bayescascade.errors import bad_value

_FILES = {"simulated": "example.csv", "digits": "example_digits.csv"}


def load_example(name: str = "simulated") -> xr.Dataset:
    """Load a bundled example log.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> log["stage"].values.tolist()
    ['small', 'medium', 'large']
    >>> digits = bc.load_example("digits")
    >>> dict(digits.sizes), digits["stage"].values.tolist()
    ({'query': 1597, 'stage': 3}, ['thumbnail', 'networks', 'forest'])
    >>> digits["correct"].mean("query").values.round(2).tolist()
    [0.82, 0.95, 0.97]

    Parameters
    ----------
    name : str
        Which log:

        * ``"simulated"``: 300 queries through three stages, made by `simulate`. Costs are in dollars.
        * ``"digits"``: 1,597 images of handwritten digits, read by three classifiers of rising cost. Labels,
          confidences and times were measured. The costs are milliseconds of processor time, and ``latency``
          holds the same times in seconds. Queries are in random order, so any part of the log is like any other.

    Returns
    -------
    xarray.Dataset
        As from `read_log`; the kind of confidence is ``probability``.

    Raises
    ------
    CascadeError
        If there is no example of that name.

    Notes
    -----
    The images are E. Alpaydin and C. Kaynak's "Optical Recognition of Handwritten Digits" (UCI Machine Learning
    Repository, 1998, doi:10.24432/C50P49, CC BY 4.0), as scikit-learn ships them; ids are their places there.
    The log holds no image. ``studies/digits/run.py`` recorded it.
    """
    from bayescascade.logs.read import read_log

    if not isinstance(name, str) or name not in _FILES:
        raise bad_value("name", name, "choose one of " + ", ".join(repr(known) for known in _FILES))
    with files("bayescascade.logs").joinpath(_FILES[name]).open("rb") as source:
        table = pd.read_csv(source)
    if name == "digits":
        # a call costs the time that it takes
        table["latency"] = table["cost"] / 1000
    return read_log(table, confidence_kind="probability")
