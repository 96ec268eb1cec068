"""Several confidences of each answer, side by side in a log, so that the best one can be found."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayescascade.signals.absent import NoConfidence
from bayescascade.signals.confidence import Signal, check_signal, confidence

CANDIDATE = "candidate"  # the variable over (query, stage, signal)


class Candidates:
    """Confidences by several signals, in the order of the calls; NaN where a response holds none.

    Examples
    --------
    >>> from bayescascade.logs.importers.candidates import Candidates
    >>> candidates = Candidates(["mean_logprob", "min_logprob"], {})
    >>> candidates.add([-0.1, -0.3])
    >>> [values.tolist() for values in candidates.values.values()]
    [[-0.2], [-0.3]]
    """

    def __init__(self, signals: Sequence[str | Signal], options: Mapping[str, Any]) -> None:
        found = [check_signal(signal) for signal in signals]
        self._signals = {signal.name: signal for signal in found}
        self._options = {
            signal.name: {name: value for name, value in options.items() if name in signal.options}
            for signal in found
        }
        self.values = {name: array("d") for name in self._signals}

    def add(self, response: Any) -> None:
        """The confidences of one more call."""
        for name, signal in self._signals.items():
            try:
                self.values[name].append(confidence(response, signal, **self._options[name]))
            except NoConfidence:
                self.values[name].append(math.nan)

    def attach(self, log: xr.Dataset, query: NDArray[np.int64], stage: NDArray[Any]) -> xr.Dataset:
        """The log with them; ``query`` (call,) counts queries and ``stage`` (call,) names stages."""
        if not self._signals:
            return log
        place = pd.factorize(query)[0]  # as `read_log` lays queries out: in order of appearance
        column = log.get_index("stage").get_indexer(stage)
        matrix = np.full((log.sizes["query"], log.sizes["stage"], len(self.values)), np.nan)
        for number, values in enumerate(self.values.values()):
            matrix[place, column, number] = values
        kinds = [signal.kind for signal in self._signals.values()]
        log = log.assign_coords(signal=list(self.values), kind=("signal", kinds))
        return log.assign({CANDIDATE: (("query", "stage", "signal"), matrix)})
