"""Tries a bundle on this device: a child process for each setup, a table of what came of them."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from maas_agent.base.untrusted import MALFORMED
from maas_agent.confinement.watching import Watcher
from maas_agent.errors import SelfTestError, UnavailableError
from maas_agent.host.children import signal_name
from maas_agent.runtime.machine import look
from maas_agent.runtime.setup import CPU, Setup
from maas_agent.trials import plan
from maas_agent.trials.confined import access_of, hint, refused
from maas_agent.trials.hardware import cores, fingerprint, runtime_version
from maas_agent.trials.record import Trial, Trials, ranked
from maas_agent.trials.task import TrialTask, TrialVerdict
from maas_agent.trials.terms import Terms

TRIAL_S = 120.0
"""How long one trial may take, loading included."""
TOTAL_S = 300.0
"""After this no further trial is begun: what was found by then has to do."""


def select(store: Path, digest: str, terms: Terms, seconds: float = TRIAL_S) -> Trials:
    """Try the staged bundle with every setup that ``terms`` and this machine suggest.

    Raises `SelfTestError` if none may serve because of what the bundle is, `UnavailableError` if because of what the
    device lacks.
    """
    wanted = plan.setups(terms, look(terms.library), cores(terms.limits.cpus))
    verdicts = try_all(store, digest, wanted, terms, seconds)
    rows = tuple(verdict.trial for verdict in verdicts)
    if not ranked(rows):
        raise _refusal(verdicts)
    return Trials(runtime_version(terms.library), fingerprint(terms.library), terms, rows)


def try_all(
    store: Path, digest: str, wanted: Iterable[Setup], terms: Terms, seconds: float = TRIAL_S
) -> list[TrialVerdict]:
    """One verdict for each setup, in turn: side by side they would measure each other."""
    verdicts: list[TrialVerdict] = []
    began = time.monotonic()
    waiting = list(wanted)
    while waiting:
        setup = waiting.pop(0)
        verdict = run(TrialTask(str(store), digest, setup, terms.limits, seconds))
        verdicts.append(verdict)
        if verdict.strayed and (better := plan.more_precise(setup)):
            waiting.insert(0, better)
        elif verdict.trial.refused is not None:
            # What was refused with one thread is refused with four.
            waiting = [other for other in waiting if other.accelerator != setup.accelerator]
        if time.monotonic() - began > TOTAL_S:
            break
    return verdicts


def run(task: TrialTask) -> TrialVerdict:
    """Do one trial in a child process; whatever happens to that, it is a verdict."""
    if task.setup.accelerator == CPU or not task.limits.confine:
        return _tried(task)
    watcher = Watcher()
    try:
        verdict = _tried(task, watcher.teller)
    finally:
        asked = watcher.close()
    return _explained(task, verdict, asked)


def _tried(task: TrialTask, teller: socket.socket | None = None) -> TrialVerdict:
    # -P: no module is taken from the folder in which the agent was started, nor may the child read that.
    command = [sys.executable, "-P", "-m", "maas_agent.trials.child"]
    told = [teller.fileno()] if teller else []
    try:
        child = subprocess.run(
            [*command, *map(str, told)],
            input=msgspec.json.encode(task),
            capture_output=True,
            timeout=task.seconds + 2,
            pass_fds=told,
        )
    except subprocess.TimeoutExpired:
        return _ended(task, _endless(task))
    return judged(task, child.returncode, child.stdout, child.stderr)


def _explained(task: TrialTask, verdict: TrialVerdict, asked: dict[str, bool] | None) -> TrialVerdict:
    """With what an accelerator that does not work has asked for in vain."""
    reason = verdict.trial.refused
    if reason is None or verdict.strayed:
        return verdict
    found = None if asked is None else refused(asked, access_of(task.setup, task.limits, [Path(task.store)]))
    trial = msgspec.structs.replace(verdict.trial, refused=reason + hint(task.setup, task.limits, found))
    return msgspec.structs.replace(verdict, trial=trial)


def judged(task: TrialTask, status: int, said: bytes, complained: bytes) -> TrialVerdict:
    """What a child's exit status and output mean."""
    if status in (-signal.SIGALRM, -signal.SIGXCPU):
        return _ended(task, _endless(task))
    if status < 0:
        return _ended(task, f"killed by {signal_name(-status)}: the model crashes this device{_last(complained)}")
    try:
        return msgspec.json.decode(said, type=TrialVerdict)
    except MALFORMED:
        return _ended(task, f"ended with status {status} and no verdict{_last(complained) or ': no message'}")


def _refusal(verdicts: list[TrialVerdict]) -> SelfTestError | UnavailableError:
    reasons = [(verdict.trial.setup, verdict.trial.refused) for verdict in verdicts]
    text = "; ".join(f"{setup}: {reason}" for setup, reason in reasons) or "there is no setup to try"
    blamed = any(not verdict.device_fault for verdict in verdicts)
    return (SelfTestError if blamed else UnavailableError)(f"the self-test failed on {text}")


def _ended(task: TrialTask, reason: str) -> TrialVerdict:
    return TrialVerdict(Trial(setup=task.setup, refused=reason))


def _endless(task: TrialTask) -> str:
    return f"it did not end within {task.seconds:g} s: the model hangs or is far too slow for this device"


def _last(complained: bytes) -> str:
    """The last line of standard error, which mostly says why."""
    last = complained.decode(errors="replace").strip().rpartition("\n")[2][:300]
    return f": {last}" if last else ""
