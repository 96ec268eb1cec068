"""What bayescascade raises and warns with when the input, not the code, is at fault."""


class CascadeError(ValueError):
    """A mistake in what the user passed: a file, a column, a value or an option.

    Examples
    --------
    >>> from bayescascade.errors import CascadeError
    >>> try:
    ...     raise CascadeError("prob should be in (0, 1] but got 90; write 0.9")
    ... except ValueError as error:
    ...     print(error)
    prob should be in (0, 1] but got 90; write 0.9

    Notes
    -----
    The message is a clear sentence or two: what was wrong, the value that came, what is allowed, what to do.
    The command line prints it and leaves with exit code 2, without a traceback.
    """


class CascadeWarning(UserWarning):
    """Something the user can act on, though the work goes on.

    Examples
    --------
    >>> import warnings
    >>> from bayescascade.errors import CascadeWarning
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     warnings.warn("only 6 queries: the prior dominates; label more", CascadeWarning, stacklevel=1)
    >>> caught[0].category.__name__
    'CascadeWarning'
    """
