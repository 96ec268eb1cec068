"""What each calibration would get wrong with all labels: fits on whole pooled logs, held against the same logs.

``.venv/bin/python docs/evidence/bands_limit.py``. Keeps its table in ``build/promises/limit.csv``, which ``bands.py`` reads.
"""

import sys
import warnings

import numpy as np
import pandas as pd
import resplits as rs

import bayescascade as bc

OUT = rs.KEEP / "limit.csv"


def main(*calibrations: str) -> None:
    warnings.simplefilter("ignore", bc.CascadeWarning)
    done = pd.read_csv(OUT) if OUT.is_file() else pd.DataFrame(columns=["calibration", "log", "k"])
    seen = set(map(tuple, done[["calibration", "log", "k"]].values))
    for calibration in calibrations or rs.CALIBRATIONS:
        for k in rs.CASCADES:
            for name in rs.LOGS:
                if (calibration, name, k) in seen:
                    continue
                log = rs.pooled(name, k)
                how = {
                    "draws": 60,
                    "tune": 150,
                    "chains": 2,
                    "cores": 1,
                    "log_likelihood": False,
                    "progressbar": False,
                }
                of = rs.curve(bc.fit(log, calibration=calibration, random_seed=1, **how), log)
                rows = pd.DataFrame(
                    {
                        **{
                            "calibration": calibration,
                            "log": name,
                            "k": k,
                            "point": np.arange(len(of["held_error"])),
                        },
                        **{"error": of["error"].mean(axis=0), "held_error": of["held_error"]},
                        **{"cost": of["cost"].mean(axis=0), "held_cost": of["held_cost"]},
                    }
                )
                done = pd.concat([done, rows]) if len(done) else rows
                part = OUT.with_suffix(".part")
                done.to_csv(part, index=False)
                part.replace(OUT)
                print(
                    calibration, k, name, float((rows["error"] - rows["held_error"]).mean().round(4)), flush=True
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
