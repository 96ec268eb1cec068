"""The embedded example log."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd
import xarray as xr


def load_example() -> xr.Dataset:
    """Load the embedded example: 300 queries through three stages, made by `simulate`.

    Examples
    --------
    >>> import bayescascade as bc
    >>> log = bc.load_example()
    >>> log["stage"].values.tolist()
    ['small', 'medium', 'large']

    Returns
    -------
    xarray.Dataset
    """
    from bayescascade.logs.read import read_log

    with files("bayescascade.logs").joinpath("example.csv").open("rb") as source:
        return read_log(pd.read_csv(source), confidence_kind="probability")
