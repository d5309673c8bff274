"""Attacks by the broker, or by whoever may publish to it."""

from collections.abc import Iterator

from tests.attacks.registry import attack
from tests.attacks.scene import ACTIVE, OFFERED, Scene

Acts = Iterator[str | None]


def _held_back(scene: Scene, **wish: object) -> None:
    """The operator keeps the device on what runs, while 1.1.0 is there."""
    scene.desire(2_000, version=ACTIVE, **wish)
    scene.offer()


def _let_go(scene: Scene) -> None:
    scene.desire(3_000, version=OFFERED)


@attack("replayed desired state", "an older one", "an older one after a restart")
def replayed(scene: Scene, way: str) -> Acts:
    """The serial only grows; it is on the disk."""
    _held_back(scene)
    yield None
    scene.says = scene.agent.log
    if "restart" in way:
        scene.restart({})
    scene.desire(1_000, version="0.9.0")
    yield "its serial 1000 is older than 2000, which was here already: a replay"
    _let_go(scene)


_NO_DOCUMENT = {
    "no JSON": b"{",
    "no version": b'{"serial": 2500, "models": {"digits": {"version": "../../evil"}}}',
    "brackets without end": b'{"serial": 2500, "models": {"digits": {"rollout": {"a": ' + b"[" * 60_000,
    "NaN": b'{"serial": NaN, "models": {}}',
    "a megabyte": b" " * (1 << 20),
}


@attack("malformed JSON", *(f"desired state: {way}" for way in _NO_DOCUMENT))
def malformed_desire(scene: Scene, way: str) -> Acts:
    """The hub reads it, which must never crash."""
    _held_back(scene)
    yield None
    scene.says = scene.agent.log
    scene.say(_NO_DOCUMENT[way.removeprefix("desired state: ")])
    yield "the desired state on maas/dev/desired is ignored: "
    _let_go(scene)


@attack("unknown schema", "a desired state of other types")
def unknown_desire(scene: Scene) -> Acts:
    """Fields that are not known are ignored; those that are known must be what they are."""
    _held_back(scene)
    yield None
    scene.says = scene.agent.log
    scene.say(b'{"serial": 2500, "models": [{"name": "digits", "version": "0.9.0"}]}')
    yield "the desired state on maas/dev/desired is ignored: "
    _let_go(scene)


@attack("hostile broker", "a version that nobody published")
def unpublished(scene: Scene) -> Acts:
    """What is named is only chosen among what the targets name."""
    _held_back(scene)
    yield None
    scene.desire(2_500, version="6.6.6")
    yield "6.6.6 is wanted, but the repository does not offer it"
    _let_go(scene)


@attack("hostile broker", "a revoked version")
def revoked(scene: Scene) -> Acts:
    """What the publisher took back stays away."""
    publisher = scene.publisher
    publisher.publish("1.0.5", seed=5)
    publisher.revoke("1.0.5", "it leaks")
    _held_back(scene)
    yield None
    scene.desire(2_500, version="1.0.5")
    yield "1.0.5 is wanted, but revoked: it leaks"
    _let_go(scene)


@attack("hostile broker", "a version below a revoked one")
def below_revoked(scene: Scene) -> Acts:
    """A broker may take a device back, but not to what a revocation was to end."""
    publisher = scene.publisher
    publisher.publish("0.9.5", seed=5)
    publisher.revoke("0.9.5", "it leaks")
    _held_back(scene)
    yield None
    scene.desire(2_500, version="0.9.0")
    yield "0.9.0 is wanted, but not above 0.9.5, which is revoked: only its publisher leads there"
    _let_go(scene)


@attack("hostile broker", "withdraws what runs, to get behind a revoked one")
def withdrawn(scene: Scene) -> Acts:
    """The version before is older than one that was revoked since."""
    scene.desire(1_000, version="0.9.0")
    scene.wait_for("0.9.0")
    scene.console.forget()  # that it ran this once before
    scene.desire(1_500, version=ACTIVE)
    scene.wait_for(ACTIVE)
    publisher = scene.publisher
    publisher.publish("0.9.5", seed=5)
    publisher.revoke("0.9.5", "it leaks")
    _held_back(scene)
    scene.look()
    yield None
    scene.says = scene.agent.log
    scene.desire(2_500, version="6.6.6", withdrawn=[ACTIVE])
    yield "still runs 1.0.0, which is withdrawn: 0.9.0 is no way back, it is older than 0.9.5, which was revoked"
    _let_go(scene)


@attack("hostile broker", "a version that another team signed")
def of_another_team(scene: Scene) -> Acts:
    """The team may publish ``faces``, and the broker is on its side."""
    publisher = scene.publisher
    publisher.delegate("team", "faces/*/*")
    publisher.publish("1.0.5", role="team", seed=5)
    _held_back(scene)
    yield None
    scene.desire(2_500, version="1.0.5")
    yield "1.0.5 is wanted, but the repository does not offer it"
    _let_go(scene)
