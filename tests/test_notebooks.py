"""The committed notebooks: executed, without errors, and free of this machine. `make notebooks` runs them."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# folders of the machines that execute notebooks; none of them belongs in what a reader sees
LOCAL = re.compile(r"(?<![\w.:/])/(?:work|home|root|tmp|Users|private|var)/|[A-Z]:\\\\")


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


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

    def test_holds_no_path_of_this_machine(self, path):
        found = LOCAL.search(path.read_text(encoding="utf-8"))
        assert found is None, found
