"""The last step of every reader: the log, and what is said of it."""

from __future__ import annotations

import logging
import warnings

import xarray as xr

from bayescascade.errors import CascadeWarning
from bayescascade.logs.importers.collect import Collector

_logger = logging.getLogger("bayescascade")


def finished(collector: Collector, stacklevel: int = 3) -> xr.Dataset:
    """The log of collected calls; what was left out is a warning, and all of the summary is logged."""
    log = collector.to_dataset()
    summary = collector.summary
    _logger.info("%s", summary)
    if summary.left_out:
        calls = sum(stage.calls for stage in summary.stages.values())
        warnings.warn(
            f"{summary.left_out} of {calls} calls are left out of the log. {'; '.join(reasons(collector))}",
            CascadeWarning,
            stacklevel=stacklevel,
        )
    return log


def reasons(collector: Collector) -> list[str]:
    """Why calls are left out, stage by stage."""
    return [
        f"{name}: {reason} ({found.count}, first at {found.where})"
        for name, stage in collector.summary.stages.items()
        for reason, found in stage.left_out.items()
    ]
