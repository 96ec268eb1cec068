"""Run what a page shows and put what it prints below it.

    python .ci/shown.py README.md docs/howto.md

It runs the commands of blocks of `console`, and each block of `python` that a block of `text` follows: all of one
page in one session and one folder, which is removed afterwards.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(
    r"^```(console)\n(.*?)^```$|^```python\n((?:(?!^```).)*)^```\n\n```text\n(.*?)^```$", re.M | re.S
)


def bring_files(folder: str | os.PathLike[str]) -> None:
    """Put the files that pages read into a folder, at their place in the repository."""
    files = Path("notebooks", "responses")
    shutil.copytree(ROOT / files, Path(folder) / files)


def renew(text: str) -> str:
    """The page with what its commands and its Python print today, run in the current folder."""
    session: dict = {"__name__": "shown"}

    def run(found: re.Match) -> str:
        if found[1]:
            return f"```console\n{''.join(map(_command, re.findall(r'^\$ (.*)$', found[2], re.M)))}```"
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(found[3], "the page", "exec"), session)
        return f"```python\n{found[3]}```\n\n```text\n{printed.getvalue()}```"

    return BLOCK.sub(run, text)


def _command(line: str) -> str:
    program, *arguments = shlex.split(line)
    if program != "bayescascade":
        raise ValueError(f"only bayescascade is run, not {line!r}")
    command = [sys.executable, "-m", "bayescascade.cli", *arguments]
    # a kernel that compiles for the first time takes a minute or two
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=900)
    if done.returncode:
        raise RuntimeError(f"{line}\n{done.stderr}")
    printed = "".join(f"{shown.rstrip()}\n" for shown in done.stdout.splitlines())
    return f"$ {line}\n{printed}"


def main(names: list[str]) -> None:
    for path in [Path(name).resolve() for name in names]:
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            bring_files(folder)
            shown = renew(text)
        path.write_text(shown, encoding="utf-8")
        print(f"{'changed' if shown != text else 'unchanged'}: {os.path.relpath(path)}")


if __name__ == "__main__":
    main(sys.argv[1:])
