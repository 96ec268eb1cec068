"""How a worker gets the log of one tenant."""

import pandas as pd

import bayescascade as bc
from bayescascade.tenants.sources import find_tenants


def test_grades_of_every_tenant_have_the_same_pass_mark(tmp_path):
    log = bc.simulate(30, random_seed=1)
    for name in ("law", "medicine"):
        folder = tmp_path / "logs" / f"tenant={name}"
        folder.mkdir(parents=True)
        bc.write_log(log, folder / "1.csv")
        table = pd.read_csv(folder / "1.csv")
        table["correct"] = table["correct"].map({0.0: 0.25, 1.0: 0.5})
        table.to_csv(folder / "1.csv", index=False)
    reading = {"confidence_kind": "probability", "pass_mark": 0.5}
    tenants = find_tenants(str(tmp_path / "logs"), "tenant", reading, tmp_path)
    for tenant in tenants:
        assert (tenant.read()["correct"].values == log["correct"].values).all()
    assert len(tenants) == 2
