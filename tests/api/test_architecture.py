"""The page on architecture against the folders and the contracts."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent
while not (ROOT / "pyproject.toml").exists():
    ROOT = ROOT.parent
PACKAGE = ROOT / "bayescascade"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def tree() -> dict[str, set[str]]:
    """Modules and folders of each room as the page's tree lists them."""
    block = re.search(r"```text\n(.*?)```", PAGE, re.S)
    assert block is not None
    rooms: dict[str, set[str]] = {}
    for line in block[1].splitlines():
        if line[0] != " ":
            room, *names = line.split()
            rooms[room] = set(names)
        else:
            rooms[room] |= set(line.split())
    return rooms


def on_disk(room: Path) -> set[str]:
    modules = {path.stem for path in room.glob("*.py") if not path.stem.startswith("__")}
    return modules | {f"{path.name}/" for path in room.iterdir() if path.is_dir() and any(path.glob("*.py"))}


def folders() -> list[Path]:
    return [path for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"]


def test_the_tree_is_the_folders():
    assert tree() == {room.name: on_disk(room) for room in folders()}


def test_every_room_has_a_paragraph():
    titles = re.findall(r"^### `(\w+)`\n\n[\w`]", PAGE, re.M)
    assert sorted(titles) == sorted(room.name for room in folders())


def test_the_tree_and_the_contract_have_the_same_floors():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    floors = [floor.split(" | ") for floor in contracts[0]["layers"]]
    assert [room for floor in floors for room in floor if room != "errors"] == list(tree())


def test_no_module_stands_at_the_top():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors"}
