"""What is played with an earlier maas-agent to get a store that it wrote: run within the tree of that revision.

It speaks to the agent as anybody does, by its configuration and its commands; of the tests of that revision it takes a
broker, a device and a repository, which were there from early on.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bundles import make_bundle, samples
from tests.system.brokers import Mosquitto
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository

QUEUED = 7
"""Results that the broker never got."""
SENSOR = (
    "import pathlib, sys, time\n"
    "flag = pathlib.Path(sys.argv[1])\n"
    "while True:\n"
    "    if flag.exists():\n"
    "        count = int(flag.read_text() or 0)\n"
    "        flag.unlink()\n"
    "        for number in range(count):\n"
    "            print(LINES[number % len(LINES)], flush=True)\n"
    "    time.sleep(0.02)\n"
)
"""A sensor that says as many samples as the file that its argument names says."""


def pipelines(folder: Path) -> str:
    """One that takes its model from the repository, and one that answers a sensor."""
    return (
        '[[pipeline]]\nname = "digits"\nmodel = "digits"\nupdate = { probation_s = 0.2 }\n'
        f'[[pipeline]]\nname = "sensor"\nbundle = "{folder / "sensor.maas"}"\nallow_unsigned = true\n'
        '[pipeline.source]\ntype = "command"\n'
        f'command = ["{sys.executable}", "{folder / "sensor.py"}", "{folder / "flag"}"]\n'
    )


def sensor(folder: Path) -> None:
    """Write the program of the sensor."""
    lines = json.dumps([json.dumps(sample.tolist()) for sample in samples(5)])
    (folder / "sensor.py").write_text(f"LINES = {lines}\n{SENSOR}")


def say(folder: Path, count: int) -> None:
    """Have the sensor say so many samples."""
    beside = folder / "flag.new"
    beside.write_text(str(count))
    beside.replace(folder / "flag")


def status(device: Device) -> dict[str, Any]:
    """What the agent says by ``maas-agent status``, nothing while it cannot be asked."""
    command = [sys.executable, "-m", "maas_agent", "status", "--json", "--config", str(device.config)]
    done = subprocess.run(command, capture_output=True)
    return dict(json.loads(done.stdout)) if done.stdout else {"pipelines": [], "outbox": {"on_disk_only": 0}}


def _update(device: Device) -> tuple[str, str | None]:
    """State and version of the newest update of the pipeline ``digits``."""
    found = next((each for each in status(device)["pipelines"] if each["pipeline"] == "digits"), None)
    return (found["update"]["state"], found["update"]["version"]) if found else ("", None)


def main(folder: Path) -> None:
    """Leave in ``folder`` a store with an active bundle, the one before it, one set aside, and results that wait."""
    broker, repository = Mosquitto(folder), Repository(folder)
    broker.start()
    make_bundle(folder / "sensor.maas", "sensor", "1.0.0", seed=3)
    sensor(folder)
    settings = repository.settings.replace("poll_s = 3600", "poll_s = 1")
    device = Device(folder / "device", broker.url, pipelines(folder), extra=settings)
    try:
        repository.publish("digits", "1.0.0", seed=1)
        device.start()
        wait_until(lambda: _update(device) == ("active", "1.0.0"), "1.0.0 is never active")
        repository.publish("digits", "1.1.0", seed=2)
        wait_until(lambda: _update(device) == ("active", "1.1.0"), "1.1.0 is never active")
        repository.publish("digits", "1.2.0", seed=4, off_by=5.0)
        wait_until(lambda: _update(device) == ("failed", "1.2.0"), "1.2.0 is never refused")
        broker.stop()
        say(folder, QUEUED)
        wait_until(lambda: status(device)["outbox"]["on_disk_only"] >= QUEUED, "results are never on the disk")
        device.kill()
    finally:
        device.close()
        repository.close()
        broker.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
