"""Formats by their names."""

from bayescascade.logs.importers.formats import FORMATS
from bayescascade.logs.importers.names import FORMAT_NAMES


def test_the_names_in_the_texts_are_those_of_the_readers():
    assert tuple(FORMATS) == FORMAT_NAMES
