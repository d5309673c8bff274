"""Every row of the supervisor in docs/states.md: real rules and a real file; workers, trials, clock moved by hand."""

from pathlib import Path

import pytest

from maas_agent.errors import DataError
from maas_agent.hub.pipeline.supervisor import Changed, NotWhole
from maas_agent.ipc import Failed
from maas_agent.runtime.setup import Setup
from maas_agent.trials.record import Trial
from maas_agent.trials.task import TrialReport
from maas_agent.update.protocol import Outcome, PullProgress
from tests.agent.hub.pipeline.supervised import Supervised, digest_of
from tests.agent.hub.pools import FakeWorker
from tests.agent.hub.rows import Rows

SUPERVISOR = Rows()
NONE, STARTS, SERVES, RESTARTS = "no bundle", "starts", "serves", "is being restarted"
GPU, PROCESSOR = Setup("gpu"), Setup("cpu", 2)
BOTH = (Trial(setup=GPU, p50_ms=1.0, p99_ms=2.0, load_ms=9.0), Trial(setup=PROCESSOR, p50_ms=5.0, p99_ms=9.0))


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Supervised:
    return Supervised(tmp_path, monkeypatch)


@SUPERVISOR.row(NONE, "it starts")
def _(device: Supervised) -> None:
    device.begin()
    assert (device.supervisor.trouble, device.pools) == ("waiting for the first bundle", [])


@SUPERVISOR.row(NONE, "somebody restarts it")
def _(device: Supervised) -> None:
    told: list[str | None] = []
    device.begin().supervisor.restart(told.append)
    assert told == ["there is no bundle to serve"]


@SUPERVISOR.row(STARTS, "there is an active bundle")
def _(device: Supervised) -> None:
    device.serving()
    again = device.begin()
    pool = device.pools[-1]
    assert (again.serves, pool.told, pool.gentle, len(device.pools)) == ("1.0.0", ["serve"], False, 2)
    assert (device.supervisor.trouble, device.metrics.swaps) == (None, 0)


@SUPERVISOR.row(STARTS, "its worker cannot load it")
def _(device: Supervised) -> None:
    device.serving()
    device.begin()
    device.says(Failed("no such delegate"))
    device.dies()
    assert (device.supervisor.trouble, device.metrics.restarts) == ("no such delegate", 1)
    device.restarted()
    assert device.supervisor.trouble is None


@SUPERVISOR.row(SERVES, "a worker dies")
def _(device: Supervised) -> None:
    device.serving().dies(how="was killed by signal 11")
    assert (device.supervisor.trouble, device.metrics.restarts) == ("the worker was killed by signal 11", 1)
    assert device.said == [Changed()] and device.supervisor.placement.rests == []


@SUPERVISOR.row(SERVES, "a worker dies on an accelerator for the second time")
def _(device: Supervised) -> None:
    device.serving(rows=BOTH)
    assert device.pools[-1].setup == GPU
    device.dies()
    device.restarted()
    device.dies()
    assert [rest.accelerator for rest in device.supervisor.placement.rests] == ["gpu"]
    assert (device.pools[-1].setup, device.pools[-1].told) == (PROCESSOR, ["serve"]), "at once: nobody answers"
    assert device.metrics.swaps == 0, "it is the same bundle"


@SUPERVISOR.row(SERVES, "a worker says that files are missing, and dies")
def _(device: Supervised) -> None:
    device.serving(rows=BOTH)
    for _ in range(3):
        device.says(Failed("blob 12ab is missing", not_whole=True))
        device.dies()
        device.pools[-1].workers.append(FakeWorker())
    assert device.said.count(NotWhole()) == 3 and device.supervisor.placement.rests == []
    assert device.supervisor.trouble == (
        "blob 12ab is missing; it is brought again as soon as its source offers it, or by 'maas-agent install' of its "
        "file"
    )


@SUPERVISOR.row(SERVES, "its files were brought again")
def _(device: Supervised) -> None:
    device.serving().supervisor.conclude(Outcome(pipeline="p", result="current", state="active", mended=True))
    assert device.supervisor.switch.coming is device.pools[-1] is not device.pools[0]
    device.warm()
    assert (device.serves, device.pools[0].told[-1], device.metrics.swaps) == ("1.0.0", "retire", 0)


@SUPERVISOR.row(SERVES, "its files were brought again, and no worker lives")
def _(device: Supervised) -> None:
    device.serving().dies()
    device.supervisor.conclude(Outcome(pipeline="p", result="current", state="active", mended=True))
    assert (device.supervisor.switch.pool is device.pools[-1], device.pools[-1].told) == (True, ["serve"])


@SUPERVISOR.row(SERVES, "another setup turns out to be the best")
def _(device: Supervised) -> None:
    device.hardware = "another machine"
    device.serving(rows=BOTH[1:])
    (tester,) = device.testers
    device.supervisor.restart(lambda _reason: None)
    device.warm()
    tester.report(TrialReport(trials=device.trials(*BOTH, hardware="another machine")))
    assert device.pools[-1].setup == GPU and device.supervisor.switch.coming is device.pools[-1]
    assert device.saved.active is not None and device.saved.active.trials == device.state.active.trials  # type: ignore[union-attr]
    device.warm()
    assert device.supervisor.switch.pool is device.pools[-1]


@SUPERVISOR.row(SERVES, "workers on another setup cannot serve")
def _(device: Supervised) -> None:
    device.hardware = "another machine"
    device.serving(rows=BOTH[1:])
    device.testers[0].report(TrialReport(trials=device.trials(*BOTH, hardware="another machine")))
    device.dies()
    assert [rest.accelerator for rest in device.supervisor.placement.rests] == ["gpu"]
    assert device.supervisor.switch.pool is device.pools[0] and device.update == ("active", "1.0.0", None)


@SUPERVISOR.row(SERVES, "there is nothing newer")
def _(device: Supervised) -> None:
    device.serving().supervisor.conclude(
        Outcome(pipeline="p", result="current", state="active", reason="2.0.0 is set aside", revoked={"0.9.0": "leaks"})
    )
    assert device.update == ("active", "1.0.0", "2.0.0 is set aside")
    assert device.saved.revoked == {"0.9.0": "leaks"} and len(device.pools) == 1


@SUPERVISOR.row(SERVES, "an update fails")
def _(device: Supervised) -> None:
    device.serving().pulled("2.0.0")
    device.supervisor.conclude(
        Outcome(
            pipeline="p",
            result="failed",
            state="testing",
            version="2.0.0",
            digest=digest_of("2.0.0"),
            reason="it deviates",
            set_aside=True,
        )
    )
    assert (device.update, device.serves) == (("failed", "2.0.0", "it deviates"), "1.0.0")
    assert device.saved.refused == {digest_of("2.0.0"): "it deviates"}


@SUPERVISOR.row(SERVES, "what serves is on its way")
def _(device: Supervised) -> None:
    device.serving()
    with pytest.raises(DataError, match=r"1\.0\.0 is on its way, and serves already"):
        device.supervisor.progress(PullProgress("p", "pulling", "1.0.0", digest_of("1.0.0")))
    assert device.update == ("active", "1.0.0", None)


@SUPERVISOR.row(SERVES, "somebody restarts it")
def _(device: Supervised) -> None:
    told: list[str | None] = []
    device.serving().supervisor.restart(told.append)
    assert (told, device.pools[-1].gentle, device.serves) == ([], True, "1.0.0")
    device.supervisor.restart(told.append)
    assert told == ["another worker is taking over right now"]
    device.warm()
    assert told == ["another worker is taking over right now", None]
    assert device.supervisor.switch.pool is device.pools[-1]


@SUPERVISOR.row(RESTARTS, "a worker of the old pool comes back")
def _(device: Supervised) -> None:
    told: list[str | None] = []
    device.serving().supervisor.restart(told.append)
    device.dies(0)
    device.pools[0].workers.append(FakeWorker())
    device.warm(0)
    assert told == []


@SUPERVISOR.row(RESTARTS, "a new worker dies")
def _(device: Supervised) -> None:
    told: list[str | None] = []
    device.serving().supervisor.restart(told.append)
    device.dies()
    assert (told, device.supervisor.switch.pool) == (["its worker crashed"], device.pools[0])
    assert device.update == ("active", "1.0.0", None)


@SUPERVISOR.row(RESTARTS, "a bundle was tested")
def _(device: Supervised) -> None:
    told: list[str | None] = []
    device.serving().supervisor.restart(told.append)
    device.brought("2.0.0")
    assert told == ["an update is taking over"]


@SUPERVISOR.row("any", "it is drained")
def _(device: Supervised) -> None:
    done: list[str] = []
    told: list[str | None] = []
    device.serving().supervisor.drain(lambda: done.append("done"))
    device.drained()
    assert (done, device.pools[0].told[-1]) == (["done"], "drain")
    device.dies()
    device.supervisor.restart(told.append)
    assert told == ["there is no bundle to serve"] and len(device.pools) == 1


@SUPERVISOR.row("any", "it is stopped")
def _(device: Supervised) -> None:
    device.hardware = "another machine"
    device.serving().supervisor.stop()
    assert (device.pools[0].told[-1], device.testers[0].killed) == ("retire", True)
    device.loop.advance(600)
    assert len(device.pools) == len(device.testers) == 1


@pytest.mark.parametrize("row", SUPERVISOR, ids=": ".join)
def test_what_happens_in_a_state_is_what_the_table_says(device: Supervised, row: tuple[str, str]) -> None:
    SUPERVISOR[row](device)
