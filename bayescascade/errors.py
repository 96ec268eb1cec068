"""What bayescascade raises and warns with when the input, not the code, is at fault.

A message may name arguments and functions, which have other names on the command line. `option`, `call` and
`in_python` stand for them in it: joined to text by `said` or with ``+``, they make a `Message`, a string that
reads as Python and that another face renders in its own names. An f-string around them would keep Python's alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple, Protocol

# for `warnings.warn`: a warning is of the line outside the package that called it, however deep it arose
PACKAGE = (str(Path(__file__).parent),)
_LONGEST = 2000  # characters of a text in a message
_LONG_WORD = re.compile(r"\S{300,}")
# what steers a terminal, turns or breaks a line, or is half a character
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(value: Any, longest: int = 300) -> str:
    """A value as Python writes it, short; never an error, whatever the value is.

    Examples
    --------
    >>> shown("small"), shown("a" * 1000, longest=10)
    ("'small'", "'aaaaaa...")
    """
    try:
        text = repr(value)
    except Exception:  # of a class of the user's own, or a number of more digits than Python writes
        text = f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= longest else text[: longest - 3] + "..."


def legible(text: str) -> str:
    """A text of readable length that a terminal shows as it is: names and values from outside may hold anything.

    Examples
    --------
    >>> legible("there is no stage 'a\x1b[2J'")
    "there is no stage 'a\\\\x1b[2J'"
    >>> len(legible("a" * 10_000))
    253
    """
    text = _LONG_WORD.sub(lambda word: f"{word[0][:200]}...{word[0][-50:]}", text)
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class Code(str):
    """A value that is shown as it is, without quotes."""

    def __repr__(self) -> str:
        return str(self)


class Short(float):
    """A number of which six digits are shown at most."""

    def __repr__(self) -> str:
        return f"{self:g}"


class Blank(Code):
    """What the user has to put in the place of a value, in Python's terms."""


TO_FILL_IN = Blank("...")
_NONE = Code("")


class Option(NamedTuple):
    """An argument, with its value unless that is an empty `Code`."""

    name: str
    value: object

    def __str__(self) -> str:
        value = shown(self.value)
        return f"{self.name}={value}" if value else self.name


class Call(NamedTuple):
    """A function, with its arguments as text and the value of the last one if there are any."""

    name: str
    arguments: str
    value: object

    def __str__(self) -> str:
        arguments = ", ".join(filter(None, (self.arguments, shown(self.value))))
        return f"{self.name}({arguments})" if arguments else self.name


class Aside(NamedTuple):
    """What Python alone says, and what every other face says in its place."""

    text: str
    elsewhere: str

    def __str__(self) -> str:
        return self.text


class Face(Protocol):
    """Names of arguments and functions where a user meets them."""

    def option(self, name: str, value: object) -> str: ...

    def call(self, name: str, arguments: str, value: object) -> str: ...


class Message(str):
    """A text for Python that keeps its parts, to be rendered in the names of another face.

    Examples
    --------
    >>> message = option("prob", 90) + " is not allowed; see " + call("tune", "fit") + "."
    >>> print(message)
    prob=90 is not allowed; see tune(fit).
    >>> class Shell:
    ...     def option(self, name, value):
    ...         return f"--{name} {value}"
    ...
    ...     def call(self, name, arguments, value):
    ...         return f"`bayescascade {name}`"
    >>> message.render(Shell())
    '--prob 90 is not allowed; see `bayescascade tune`.'
    """

    parts: tuple[str | Option | Call | Aside, ...]

    def __new__(cls, *parts: str | Option | Call | Aside) -> Message:
        message = super().__new__(cls, "".join(map(str, parts)))
        message.parts = tuple(
            piece for part in parts for piece in (part.parts if isinstance(part, Message) else (part,))
        )
        return message

    def __add__(self, other: str) -> Message:
        return Message(self, other)

    def __radd__(self, other: str) -> Message:
        return Message(other, self)

    def join(self, texts: Iterable[str]) -> Message:
        """The texts with this one between them, as of any string."""
        pieces = [piece for text in texts for piece in (self, text)]
        return Message(*pieces[1:])

    def render(self, face: Face) -> str:
        """The text in the names of ``face``."""
        return "".join(_rendered(part, face) for part in self.parts)


def _rendered(part: str | Option | Call | Aside, face: Face) -> str:
    if isinstance(part, Option):
        return face.option(*part)
    if isinstance(part, Call):
        return face.call(*part)
    return part.elsewhere if isinstance(part, Aside) else part


def render(text: str, face: Face) -> str:
    """A text in the names of ``face``, if it has any that are another's."""
    return text.render(face) if isinstance(text, Message) else text


def option(name: str, value: object = _NONE) -> Message:
    """An argument by its name, and its value if one is given: ``prob=0.9``.

    Examples
    --------
    >>> from bayescascade.errors import TO_FILL_IN, option
    >>> print(option("error_price"), option("risk", "cvar"), option("stages", [TO_FILL_IN]))
    error_price risk='cvar' stages=[...]
    """
    return Message(Option(name, value))


def call(name: str, arguments: str = "", value: object = _NONE) -> Message:
    """A function by its name, with arguments as text, and the value of a last one if there is one.

    Examples
    --------
    >>> print(call("save_fit"), call("check", "fit"), call("select_task", "fit", "law"))
    save_fit check(fit) select_task(fit, 'law')
    """
    return Message(Call(name, arguments, value))


def in_python(text: str, elsewhere: str = "") -> Message:
    """Words that serve a user of Python only, and what others read in their place.

    Examples
    --------
    >>> message = "bring them to one unit" + in_python(", or drop them with log.drop_vars('latency')") + "."
    >>> print(message)
    bring them to one unit, or drop them with log.drop_vars('latency').
    """
    return Message(Aside(text, elsewhere))


def said(template: str, parts: Iterable[object]) -> Message:
    """A sentence with its parts in the place of ``{}``, in order; a part's own braces are plain text.

    Examples
    --------
    >>> print(said("{!r} has {:.0%} of the labels; see {}.", ("{}", 0.5, call("check", "fit"))))
    '{}' has 50% of the labels; see check(fit).
    """
    rest, pieces = iter(parts), []
    for text, field, spec, conversion in Formatter().parse(template):
        pieces.append(text)
        if field is not None:
            part = next(rest)
            plain = shown(part) if conversion == "r" else part
            pieces.append(plain if isinstance(plain, Message) else format(plain, spec or ""))
    return Message(*pieces)


class _Said(Exception):
    """A message, see `said`, and the argument at fault where it is a single one."""

    def __init__(
        self,
        message: str,
        parts: Iterable[object] = (),
        *,
        parameter: str | None = None,
        value: object = None,
        hint: str | None = None,
    ) -> None:
        message = said(message, parts) if parts else message
        if isinstance(message, Message):
            message = Message(*(legible(part) if isinstance(part, str) else part for part in message.parts))
        else:
            message = legible(message)
        super().__init__(message)
        self.message, self.parameter, self.value, self.hint = message, parameter, value, hint

    def render(self, face: Face) -> str:
        """The message in the names of ``face``."""
        return render(self.message, face)


class CascadeError(_Said, ValueError):
    """A mistake in what the user passed: a file, a column, a value or an option.

    Attributes
    ----------
    message : str
    parameter : str or None
        The argument at fault, by its name in Python; None where it is not a single one.
    value : object
        What came for it.
    hint : str or None
        What to do about it.

    Examples
    --------
    >>> from bayescascade.errors import CascadeError
    >>> try:
    ...     raise CascadeError("prob should be in (0, 1] but got 90; write 0.9", parameter="prob", value=90)
    ... except ValueError as error:
    ...     print(error)
    ...     print(error.parameter, error.value)
    prob should be in (0, 1] but got 90; write 0.9
    prob 90

    Notes
    -----
    The message is a clear sentence or two: what was wrong, the value that came, what is allowed, what to do.
    The command line prints it in its own names and leaves with exit code 2, without a traceback.
    """


class CascadeWarning(_Said, UserWarning):
    """Something the user can act on, though the work goes on; with the attributes of `CascadeError`.

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


def bad_value(
    parameter: str, value: object, hint: str | None = None, problem: str = "is not allowed"
) -> CascadeError:
    """The error of one argument that is at fault: its value, what is wrong with it, and what to do.

    Examples
    --------
    >>> error = bad_value("prob", 90, "give a probability strictly between 0 and 1")
    >>> print(error)
    prob=90 is not allowed; give a probability strictly between 0 and 1.
    >>> error.parameter, error.value, error.hint
    ('prob', 90, 'give a probability strictly between 0 and 1')
    """
    message = option(parameter, value) + " " + problem + ("." if hint is None else "; " + hint + ".")
    return CascadeError(message, parameter=parameter, value=value, hint=hint)
