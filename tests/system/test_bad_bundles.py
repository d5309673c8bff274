"""A device that is offered one bad model after the other refuses each, says why, and serves on as if nothing were."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.agent.trials import test_bad_models as bad
from tests.bundles import samples
from tests.models import crashing_tflite, tiny_classifier_tflite
from tests.mutants import damaged, edited
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.repositories import Repository

PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\n'
SAMPLE = samples(1)[0].tobytes()
WORST = {
    "no model": b"TFL3 it is not",
    "cut off": bad.HEALTHY[: len(bad.HEALTHY) // 2],
    "flipped bytes": bad.flipped(bad.HEALTHY),
    "unknown op": bad.changed(bad.unknown_builtin),
    "unknown custom op": bad.changed(bad.unknown_custom),
    "an arena of 4 GB": bad.changed(bad.huge),
    "no rows": bad.changed(bad.shaped(1, 0, 8, 1)),
    "int8 for float": tiny_classifier_tflite(dtype="int8"),
    "no outputs": bad.changed(bad.no_outputs),
    "endless recursion": crashing_tflite(),
    "other weights": tiny_classifier_tflite(seed=5),
}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    served = Repository(tmp_path)
    yield served
    served.close()


def ended(update: dict[str, str], version: str) -> bool:
    return update["version"] == version and update["state"] not in ("pulling", "verifying", "staged", "testing")


def test_bad_models_are_refused_one_after_the_other_while_the_good_one_serves(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE, extra=repository.settings)
    device.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"])
    expected = console.ask("dev", "digits", SAMPLE, "first")["result"]
    (worker,) = device.workers()
    for number, (name, model) in enumerate(WORST.items(), 1):
        version = f"1.0.{number}"
        repository.publish("digits", version, seed=1, swap=model)
        console.publish(f"maas/dev/cmd/update/{number}", '{"status": "init"}')
        state = console.wait("maas/dev/digits/state", lambda s, v=version: ended(s["update"], v)).document  # type: ignore[misc]
        assert state["update"]["state"] == "failed", name
        assert state["update"]["reason"].startswith("the self-test failed on cpu"), name
        assert state["active"]["version"] == "1.0.0" and state["serving"], name
        assert console.ask("dev", "digits", SAMPLE, f"after-{number}")["result"] == expected, name
    assert device.workers() == [worker]  # the one that served first serves still
    assert len(console.on("maas/dev/status")) == 1  # and the session was never interrupted


def test_what_rots_on_the_card_is_never_loaded(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    """A worker that starts checks every byte before the interpreter sees it."""
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE, extra=repository.settings)
    device.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"])
    assert device.stop() == 0
    random = Random(7)
    (blob,) = (path for path in (device.store / "blobs").iterdir() if path.read_bytes()[4:8] == b"TFL3")
    healthy = blob.read_bytes()
    for rotten in (damaged(healthy, random)[1], edited(healthy, random)[1]):
        blob.chmod(0o644)
        blob.write_bytes(rotten)
        console.forget()
        repository.close()
        device.start()
        state = console.wait(
            "maas/dev/digits/state", lambda s: s["trouble"] and "on this device" in s["trouble"]
        ).document
        assert not state["serving"]
        assert device.stop() == 0
