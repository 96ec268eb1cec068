"""Commands that are killed, full disks and the like; docs/evidence/faults.md has a hundred times as many."""

import pytest

from studies.faults import single
from studies.faults.commands import COMMANDS, prepared
from studies.faults.run import SIGNALS, trials

pytestmark = [pytest.mark.slow, pytest.mark.long]

TRIALS = 4
# a report takes seconds up to its writing, and compare too
SLOW = ("report", "compare", "monitor", "demo")
QUICK = [command for command in COMMANDS if command.name not in SLOW and not command.goes_on]


@pytest.fixture(scope="module")
def ready(example_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "ready"
    few = example_fit.isel(draw=slice(25))
    with prepared(folder, few):
        yield folder


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("command", COMMANDS, ids=[command.name for command in COMMANDS])
def test_killed_commands_leave_whole_files(command, name, ready):
    found = trials(command, ready, SIGNALS[name], TRIALS)
    assert (found["half"], found["stuck"], found["not_again"]) == (0, 0, 0), found
    assert found["kept"] == found["cells"]
    if name == "SIGTERM":
        assert found["left"] == 0


@pytest.mark.parametrize(
    "fault", [single.full_disk, single.no_permission, single.two_writers, single.clock_jumps, single.slow_pipe]
)
def test_other_faults(fault, ready):
    found = fault(ready, QUICK)
    assert found.good == found.runs, found.trouble


@pytest.mark.parametrize("fault", [single.no_home, single.closed_stdout])
def test_faults_of_the_surroundings(fault, ready):
    found = fault(ready, [command for command in QUICK if command.name == "tune"])
    assert found.runs == found.good == 2, found.trouble
