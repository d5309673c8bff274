"""A device that is offered one bad model after the other refuses each, says why, and serves on as if nothing were."""

import os
import threading
from random import Random

from tests.agent.trials import test_bad_models as bad
from tests.bundles import samples
from tests.models import crashing_tflite, endless_tflite, tiny_classifier_tflite
from tests.mutants import damaged, edited
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device
from tests.system.repositories import Repository

PIPELINE = (
    '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.3, max_drift = 1.0 }\nthreads = 1\n'
)
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
    "a cycle": bad.changed(bad.cycle),
    "endless recursion": crashing_tflite(),
    "other weights": tiny_classifier_tflite(seed=5),
}
if int(os.environ.get("MAAS_MUTANTS", "0")) >= 2000:
    WORST["endless loop"] = endless_tflite()  # a self-test waits two minutes for it
REASONS = ("cannot be loaded", "the manifest says", "of memory", "deviate by", "crashes this device", "did not end")
SELF_TEST_S = 150.0


class Samples:
    """Twenty inputs a second from a thread, for as long as the context lasts."""

    def __init__(self, console: Console) -> None:
        self.sent = 0
        self._console, self._end = console, threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Samples":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _send(self) -> None:
        while not self._end.wait(0.05):
            self._console.publish(f"maas/dev/digits/in/steady-{self.sent}", SAMPLE)
            self.sent += 1


def ended(update: dict[str, str], version: str) -> bool:
    return update["version"] == version and update["state"] not in ("pulling", "verifying", "staged", "testing")


def serving(device: Device, console: Console, repository: Repository) -> dict[str, object]:
    """What the good model answers."""
    repository.publish("digits", "1.0.0", seed=1)
    device.start()
    console.wait("maas/dev/digits/state", lambda s: s["serving"])
    return console.ask("dev", "digits", SAMPLE, "first")["result"]  # type: ignore[no-any-return]


def test_bad_models_are_refused_one_after_the_other_while_the_good_one_serves(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    device = make_device(PIPELINE, extra=repository.settings)
    expected = serving(device, console, repository)
    workers = device.workers()
    with Samples(console) as steady:
        for number, (name, model) in enumerate(WORST.items(), 1):
            version = f"1.0.{number}"
            repository.publish("digits", version, seed=1, swap=model)
            console.publish(f"maas/dev/cmd/update/{number}", '{"status": "init"}')
            state = console.wait(
                "maas/dev/digits/state",
                lambda s, v=version: ended(s["update"], v),  # type: ignore[misc]
                SELF_TEST_S,
            ).document
            assert state["update"]["state"] == "failed", name
            assert state["update"]["reason"].startswith("the self-test failed on cpu"), name
            assert any(words in state["update"]["reason"] for words in REASONS), state["update"]["reason"]
            assert state["active"]["version"] == "1.0.0" and state["serving"], name
    answers = [message.document for message in console.wait_for_count("maas/dev/digits/out/steady-", steady.sent)]
    assert len(answers) == steady.sent > len(WORST)
    assert all((answer["result"], answer["version"]) == (expected, "1.0.0") for answer in answers)
    assert device.workers() == workers  # the one that served first serves still
    assert console.is_uninterrupted()
    assert device.stop() == 0  # by the hub that was started


def test_what_rots_on_the_card_is_never_loaded(
    make_device: MakeDevice, console: Console, repository: Repository
) -> None:
    """A worker that starts checks every byte before the interpreter sees it."""
    device = make_device(PIPELINE, extra=repository.settings)
    serving(device, console, repository)
    assert device.stop() == 0
    random = Random(7)
    (blob,) = (path for path in (device.store / "blobs").iterdir() if path.read_bytes()[4:8] == b"TFL3")
    healthy = blob.read_bytes()
    repository.close()
    for rotten in (damaged(healthy, random)[1], edited(healthy, random)[1]):
        assert rotten != healthy
        blob.chmod(0o644)
        blob.write_bytes(rotten)
        console.forget()
        device.start()
        state = console.wait(
            "maas/dev/digits/state", lambda s: s["trouble"] and "on this device" in s["trouble"]
        ).document
        assert not state["serving"]
        assert device.stop() == 0
