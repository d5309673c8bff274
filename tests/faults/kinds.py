"""The faults, one by one. Each is a context: it is in force inside, and repaired at its end.

It is repaired as far as somebody would repair it: systemd starts a hub that ended, the hub a worker.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.proxy import Direction
from tests.faults.scene import Scene
from tests.system.device import alive

_DAY_S = 86_400.0
_HELD = 10
"""Inputs that a process has for certain when it is killed at work."""

# ------------------------------------------------------------- processes


@contextmanager
def held_up(scene: Scene) -> Iterator[None]:
    """The workers stand still, and the agent has inputs that it owes an answer; they go on at the end."""
    scene.until(scene.device.workers, "there is no worker")
    workers = scene.device.workers()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    wanted = len(scene.proxy.record.offered) + _HELD
    scene.until(lambda: len(scene.proxy.record.offered) >= wanted, "no inputs come")
    try:
        yield
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGCONT)


@contextmanager
def hub_killed(scene: Scene, *, at_work: bool = False) -> Iterator[None]:
    """SIGKILL to the hub, and it is started again."""
    workers = scene.device.workers()
    with held_up(scene) if at_work else contextlib.nullcontext():
        scene.device.kill()
    scene.deaths.hub.append(time.monotonic())
    yield
    # systemd takes down the whole control group before it starts the service again (KillMode=mixed).
    scene.until(lambda: not any(alive(worker) for worker in workers), "a worker outlives its hub")
    scene.start_agent()


@contextmanager
def worker_killed(scene: Scene, *, at_work: bool = False) -> Iterator[None]:
    """SIGKILL to a worker, which the hub replaces."""
    scene.until(scene.device.workers, "there is no worker")
    with held_up(scene) if at_work else contextlib.nullcontext(), contextlib.suppress(ProcessLookupError):
        os.kill(scene.device.workers()[0], signal.SIGKILL)
    yield


@contextmanager
def terminated(scene: Scene, *, at_work: bool = False) -> Iterator[None]:
    """SIGTERM to the hub; it drains and leaves with 0, and is started again."""
    with held_up(scene) if at_work else contextlib.nullcontext():
        os.kill(scene.device.pid, signal.SIGTERM)
    status = scene.device.wait()
    assert status == 0, f"the agent left with {status}\n{scene.device.log()[-4000:]}"
    scene.deaths.hub.append(time.monotonic())
    yield
    scene.start_agent()


@contextmanager
def broker_killed(scene: Scene) -> Iterator[None]:
    """SIGKILL to the broker, and it is started again; consumer and sender are back before the agent.

    Results that reach a broker without persistence before the consumer are for nobody, and no loss of the agent.
    """
    scene.proxy.hold()
    scene.broker.stop()
    scene.until(lambda: not scene.sender.subscribed.is_set(), "the sender does not notice")
    scene.until(lambda: not scene.consumer.subscribed.is_set(), "the consumer does not notice")
    scene.deaths.broker.append(time.monotonic())
    yield
    scene.broker.start()
    scene.until(scene.consumer.subscribed.is_set, "the consumer does not come back")
    scene.until(scene.sender.subscribed.is_set, "the sender does not come back")
    scene.proxy.heal()


# ------------------------------------------------------------- the network


@contextmanager
def stalled(scene: Scene, *directions: Direction) -> Iterator[None]:
    """Nothing passes in these directions; connections stay open."""
    scene.proxy.stall(*directions)
    yield
    scene.proxy.heal()


@contextmanager
def away(scene: Scene) -> Iterator[None]:
    """The agent's connection ends, and new ones are not taken."""
    scene.proxy.hold()
    scene.proxy.cut()
    yield
    scene.proxy.heal()


@contextmanager
def reset(scene: Scene) -> Iterator[None]:
    """RST on the agent's connection."""
    scene.proxy.reset()
    yield


@contextmanager
def cut(scene: Scene) -> Iterator[None]:
    """FIN on the agent's connection, whatever is on its way."""
    scene.proxy.cut()
    yield


@contextmanager
def half_open(scene: Scene) -> Iterator[None]:
    """The broker's end of the connection is gone; the agent finds out by itscene."""
    scene.proxy.half_open()
    yield


@contextmanager
def kicked(scene: Scene, times: int) -> Iterator[None]:
    """The broker accepts the agent and resets it, so many times."""
    scene.proxy.kick(times)
    scene.proxy.reset()
    yield
    scene.until(lambda: not scene.proxy.kicks_left, "the agent does not come back to be kicked")


@contextmanager
def slow(scene: Scene, bytes_per_s: float) -> Iterator[None]:
    """A network that lets only so much pass."""
    scene.proxy.throttle(bytes_per_s)
    yield
    scene.proxy.heal()


@contextmanager
def unplugged(scene: Scene) -> Iterator[None]:
    """The cable to the agent's network namespace is pulled."""
    assert scene.namespace
    scene.namespace.pull()
    yield
    scene.namespace.plug()


# ------------------------------------------------------------- the machine


@contextmanager
def clock_off(scene: Scene, days: float) -> Iterator[None]:
    """The wall clock jumps, and back."""
    assert scene.clock
    scene.clock.jump(days * _DAY_S)
    yield
    scene.clock.jump(0)


@contextmanager
def disk_full(scene: Scene) -> Iterator[None]:
    """The disk of the agent's store has no byte left."""
    assert scene.disk
    scene.disk.fill()
    yield
    scene.disk.free()
