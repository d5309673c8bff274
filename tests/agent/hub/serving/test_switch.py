"""Who serves, when a pool becomes ready in the very moment in which it is let go. The workers are real ones."""

import select
import time
from pathlib import Path

import pytest

from maas_agent.base.log import Log
from maas_agent.config import MqttSource
from maas_agent.hub.serving.dispatcher import Dispatcher
from maas_agent.hub.serving.switch import Switch, SwitchEvent
from maas_agent.hub.serving.worker_pool import Deadlines, WorkerPool
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.system.services import Services
from maas_agent.ipc import Start
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials.terms import WorkerLimits
from tests.agent.staging import stage
from tests.bundles import make_bundle
from tests.runtimes import RUNTIME


@pytest.mark.parametrize("let_go", ["drain", "drop_coming", "stop", "fall_back"])
def test_a_pool_that_is_ready_when_it_is_let_go_takes_nothing_over(tmp_path: Path, let_go: str) -> None:
    loop, switched = Loop(), []
    told: list[SwitchEvent] = []
    serving = Switch(loop, Dispatcher(1, 1, lambda _request: None), told.append)
    services = Services(loop, tmp_path, "dev", Log("hub"))
    digest = stage(make_bundle(tmp_path / "a.maas", seed=1), tmp_path)
    start = Start(
        device="dev",
        pipeline="p",
        store=str(tmp_path),
        manifest=digest,
        setup=Setup(CPU, library=RUNTIME),
        limits=WorkerLimits(),
        form=None,
        source=MqttSource(),
        max_payload_bytes=1 << 20,
        heartbeat_s=1.0,
    )
    deadlines = Deadlines(60.0, 60.0)

    def pool(replicas: int) -> WorkerPool:
        return WorkerPool(services, start, "1.0.0", replicas, deadlines, serving.handle, gentle=False)

    coming, other = pool(1), pool(0)
    serving.bring(coming, lambda: switched.append(coming))
    (worker,) = coming.workers
    assert select.select([worker._channel], [], [], 60.0)[0]  # it has said that it is ready, and nobody has read that
    actions = {
        "drain": lambda: serving.drain(lambda: None),
        "drop_coming": serving.drop_coming,
        "stop": serving.stop,
        "fall_back": lambda: serving.fall_back(lambda: other),
    }
    actions[let_go]()
    assert (switched, told, serving.coming) == ([], [], None)
    deadline = time.monotonic() + 60.0

    def wait_for_its_end() -> None:
        if coming.ended or time.monotonic() > deadline:
            loop.stop()
        else:
            loop.after(0.01, wait_for_its_end)

    wait_for_its_end()
    loop.run()
    assert coming.ended
    assert (switched, told) == ([], [])
    loop.close()
