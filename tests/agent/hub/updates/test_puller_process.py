"""The puller handles what comes from outside: the hub believes it nothing that counts."""

import os
from typing import Any

import pytest

from maas_agent.base.log import Log
from maas_agent.hub.system.job_process import JobProcess
from maas_agent.hub.system.loop import Loop
from maas_agent.hub.updates import puller_process
from maas_agent.update.protocol import Outcome, PullJob, PullProgress, Wanted


class _Lying(JobProcess):
    """Somebody else's puller in the place of ours."""

    def __init__(self, loop: Loop, _module: str, *arguments: Any) -> None:
        super().__init__(loop, "tests.agent.hub.updates.lying", *arguments)


@pytest.mark.parametrize("model", ["says so", "tries"])
def test_a_puller_that_says_a_bundle_has_passed_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Any, model: str
) -> None:
    """It has not tried any, or another one, which failed: the hub tries bundles itself, and knows."""
    monkeypatch.setenv("PYTHONPATH", str(request.config.rootpath), prepend=os.pathsep)
    monkeypatch.setattr(puller_process, "JobProcess", _Lying)
    heard: list[PullProgress | Outcome] = []
    ended: list[str] = []
    loop = Loop()

    def end(how: str) -> None:
        ended.append(how)
        loop.stop()

    job = PullJob(store=str(tmp_path), wanted=[Wanted(pipeline="p", model=model)])
    puller = puller_process.PullerProcess(loop, job, heard.append, end, Log("test"))
    loop.run()
    loop.close()
    assert not any(isinstance(event, Outcome) for event in heard)
    assert (puller.outcomes, ended) == ({}, ["was killed by SIGKILL"])
