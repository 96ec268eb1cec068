"""Fixtures of all tests of the command line."""

from helpers.cli_fakes import calls, folder

__all__ = ["calls", "folder"]
