"""Parts of the package that need more than NumPy, where no more is installed."""

from __future__ import annotations


def not_installed(missing: ModuleNotFoundError, what: str, extra: str = "fit") -> ImportError:
    """The error where ``what`` needs a package that is not there; what is missing of our own is returned as it is.

    Examples
    --------
    >>> print(not_installed(ModuleNotFoundError("No module named 'pymc'", name="pymc"), "bayescascade.fit"))
    bayescascade.fit needs pymc, which is not installed; ... with: python -m pip install "bayescascade[fit]"
    """
    name = (missing.name or "").partition(".")[0]
    if name in ("", "bayescascade"):
        return missing
    light = "; what is here runs policies only. Install the rest with" if extra == "fit" else ". Install it with"
    return ImportError(
        f'{what} needs {name}, which is not installed{light}: python -m pip install "bayescascade[{extra}]"',
        name=name,
    )
