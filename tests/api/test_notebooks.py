"""The committed notebooks: executed, without errors, and free of this machine. `make notebooks` runs them."""

import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 1_500_000
# folders of the machines that execute notebooks; none of them belongs in what a reader sees
LOCAL = re.compile(r"(?<![\w.:/])/(?:work|home|root|tmp|Users|private|var)/|[A-Z]:\\\\")


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_notebooks_are_numbered_from_one():
    assert [path.stem[:3] for path in NOTEBOOKS] == [f"{i:02d}-" for i in range(1, 12)]


def test_the_site_shows_every_notebook_in_order():
    listed = re.findall(r"^notebooks/(\S+)$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.M)
    assert listed == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_is_valid_and_stays_as_it_is_when_written_again(self, path):
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
        assert nbformat.writes(notebook).rstrip("\n") == path.read_text(encoding="utf-8").rstrip("\n")

    def test_was_executed_from_top_to_bottom(self, path):
        counts = [cell.execution_count for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))

    def test_shows_no_error_and_no_warning(self, path):
        for cell in code_cells(path):
            for output in cell.outputs:
                assert output.output_type != "error", cell.source
                assert output.get("name") != "stderr", output.get("text")

    def test_shows_pictures(self, path):
        assert any("image/png" in output.get("data", {}) for cell in code_cells(path) for output in cell.outputs)

    def test_is_small_enough_to_be_shown(self, path):
        assert path.stat().st_size < MAX_BYTES

    def test_takes_its_data_from_nowhere_else(self, path):
        code = "\n".join(cell.source for cell in code_cells(path))
        assert "shared/data" not in code
        assert "http" not in code

    def test_says_every_seed(self, path):
        for cell in code_cells(path):
            for call in re.findall(r"bc\.(?:fit|simulate)\((?:[^()]|\([^()]*\))*\)", cell.source):
                assert "random_seed" in call, call

    def test_holds_no_path_of_this_machine(self, path):
        found = LOCAL.search(path.read_text(encoding="utf-8"))
        assert found is None, found
