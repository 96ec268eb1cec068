"""What is known of tenants comes back from its lines as it was written."""

import numpy as np

from bayescascade.cli.tables import tenants_table
from bayescascade.tenants.record import Record


def test_numbers_that_are_not_known_are_nan(tmp_path):
    """A goal without limits has no probability of keeping them, for any tenant."""
    record = Record.make(tmp_path)
    for name in ("law", "zoo"):
        record.add({"tenant": name, "status": "promised", "error": 0.2, "kept": np.nan, "file": f"{name}.json"})
    for found in (record, Record(tmp_path)):
        table = found.table(["law", "zoo"], ("status", "error", "kept", "file"))
        assert table["kept"].dtype == float
        assert table["kept"].isna().all()
        assert table["error"].tolist() == [0.2, 0.2]
    shown = tenants_table(table.reset_index(), numbers=("error", "kept"))
    assert shown.row_count == 2


def test_no_tenant_is_a_formula_for_a_spreadsheet(tmp_path):
    record = Record.make(tmp_path)
    record.add({"tenant": "=1+1", "status": "fitted"})
    record.write_table(record.table(["=1+1"], ("status",)))
    (written,) = tmp_path.glob("*.csv")
    assert written.read_text(encoding="utf-8").splitlines()[1] == "'=1+1,fitted"
