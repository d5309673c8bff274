"""What tests of updates share: samples that never stop, a check on demand, and what a device tells of it."""

import itertools
import threading

from tests.bundles import samples
from tests.system.console import Console

SAMPLE = samples(1)[0].tobytes()


class Load:
    """Publishes one sample after the other, with QoS 1, until told to stop."""

    def __init__(self, console: Console, window: int = 16) -> None:
        self._console, self._window = console, window
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.is_set():
                return
            self._console.publish(f"maas/dev/digits/in/{number}", SAMPLE)
            self.sent = number + 1
            if self.sent > self._window:
                self._console.wait_for_count("maas/dev/digits/out/", self.sent - self._window)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def check_for_updates(console: Console, command_id: str) -> dict[str, object]:
    console.publish(f"maas/dev/cmd/update/{command_id}", '{"status": "init"}', retain=True)
    return console.wait(f"maas/dev/cmd/update/{command_id}", lambda d: d["status"] in ("successful", "failed")).document


def update_state(console: Console, state: str) -> dict[str, object]:
    return console.wait("maas/dev/digits/state", lambda d: d["update"]["state"] == state).document
