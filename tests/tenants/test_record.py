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
