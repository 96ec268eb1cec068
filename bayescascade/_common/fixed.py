"""Lists that stay as they were made, for objects that were checked when they were made."""

from __future__ import annotations

from typing import Any, NoReturn


class FixedList[Item](list[Item]):
    """A list that refuses to be changed; it equals a plain one, and `copy` gives a plain one.

    Examples
    --------
    >>> fixed = FixedList([0.8, 0.9])
    >>> fixed == [0.8, 0.9]
    True
    >>> fixed[0] = 0.1
    Traceback (most recent call last):
    ...
    TypeError: this list cannot be changed, because what it belongs to was checked; make a new one
    """

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("this list cannot be changed, because what it belongs to was checked; make a new one")

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = extend = insert = pop = remove = clear = sort = reverse = _refuse

    def __reduce__(self) -> tuple[Any, ...]:  # list's own fills an empty one by `extend`
        return type(self), (list(self),)
