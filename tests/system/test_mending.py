"""A card that wears out: files of the bundle that runs are damaged or gone, and the device brings them again itself."""

import json
from pathlib import Path
from typing import Any

import msgspec

from maas_agent.bundle.staged import Staged
from maas_agent.update.store.blob_store import BlobStore
from maas_converter.publishing.keys import key_files
from tests.bundles import make_bundle
from tests.system.conftest import MakeDevice
from tests.system.console import Console
from tests.system.device import Device, wait_until
from tests.system.repositories import Repository
from tests.system.test_install import SAMPLE, command
from tests.system.updating import check_for_updates

STATE = "maas/dev/digits/state"
PIPELINE = '[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\n'


def served(console: Console) -> str:
    """The manifest's digest of what serves."""
    state = console.wait(STATE, lambda s: s["serving"] and s["update"]["state"] == "active").document
    return str(state["active"]["digest"])


def model_of(device: Device, manifest: str) -> Path:
    """The largest file of a bundle."""
    needed = BlobStore(device.store).needs(manifest)
    return device.store / "blobs" / max(needed, key=lambda digest: needed[digest])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def answer(console: Console, name: str) -> Any:
    return console.ask("dev", "digits", SAMPLE, name)["result"]


def test_a_device_whose_model_is_damaged_fetches_it_again_and_serves(
    make_device: MakeDevice, repository: Repository, console: Console
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE, extra=repository.settings)
    device.start()
    manifest = served(console)
    model, right = model_of(device, manifest), answer(console, "before")
    # (1) one bit, and a restart.
    assert device.stop() == 0
    flip(model)
    console.forget()
    device.start()
    console.wait(STATE, lambda s: s["serving"] and "it was brought again" in (s["update"]["reason"] or ""))
    assert answer(console, "restarted") == right
    # (2) the file goes while it is served: the worker that cannot load says so, and is served by the old one meanwhile.
    model.unlink()
    console.publish("maas/dev/cmd/restart/1", '{"status": "init", "pipeline": "digits"}', retain=True)
    wait_until(model.exists, "the model is not brought again")
    assert answer(console, "went on") == right
    # (3) garbage was collected while the pipeline was not configured: its state is there, its files are not.
    assert device.stop() == 0
    for path in (device.store / "blobs").iterdir():
        path.unlink()
    console.forget()
    device.start()
    assert served(console) == manifest and answer(console, "configured again") == right
    assert Staged(device.store, manifest).manifest.version == "1.0.0"
    # (4) somebody asks: nothing is to be done, and nothing is.
    assert check_for_updates(console, "asked")["pipelines"]["digits"]["result"] == "current"


def test_without_a_server_the_file_it_came_from_makes_a_device_whole_without_a_restart(
    make_device: MakeDevice, repository: Repository, console: Console, tmp_path: Path
) -> None:
    signed = make_bundle(tmp_path / "usb.maas", sign=lambda data: key_files.sign_manifest(repository.keys, data))
    device = make_device(PIPELINE, extra=f'[repository]\nroot = "{repository.root}"\n')
    device.start()
    console.wait(STATE)
    assert command(device, "install", str(signed)).returncode == 0
    manifest = served(console)
    right = answer(console, "before")
    assert device.stop() == 0
    flip(model_of(device, manifest))
    console.forget()
    device.start()
    told = console.wait(STATE, lambda s: not s["serving"] and "damaged" in (s["trouble"] or "")).document["trouble"]
    assert told.endswith("it is brought again as soon as its source offers it, or by 'maas-agent install' of its file")
    done = command(device, "install", str(signed))
    assert done.stdout == (
        "digits: digits 1.0.0 is what runs already: it was not whole on this device, and is again\n"
    ), done
    console.wait(STATE, lambda s: s["serving"])
    assert answer(console, "after") == right
    flip(model_of(device, manifest))  # while it serves: whoever brings the file again gets a worker that loads it anew
    done = command(device, "install", str(signed), "--json")
    assert json.loads(done.stdout)["pipelines"]["digits"]["result"] == "mended"
    assert Staged(device.store, manifest).manifest.version == "1.0.0"
    assert answer(console, "anew") == right


def test_neither_damage_nor_a_new_name_costs_a_model_while_the_repository_is_away(
    make_device: MakeDevice, repository: Repository, console: Console
) -> None:
    repository.publish("digits", "1.0.0", seed=1)
    device = make_device(PIPELINE, extra=repository.settings)
    device.start()
    manifest = served(console)
    right = answer(console, "before")
    assert device.stop() == 0
    repository.close()
    # (1) the state is damaged: its copy knows what runs.
    state = device.store / "pipelines" / "digits.json"
    state.write_bytes(b"{")
    console.forget()
    device.start()
    console.wait(STATE, lambda s: s["serving"] and s["update"]["state"] == "failed")
    assert answer(console, "damaged") == right
    # (2) both are: nothing runs, and nothing is removed.
    assert device.stop() == 0
    for path in (state, state.with_name("digits.json.copy")):
        path.write_bytes(b"{")
    console.forget()
    device.start()
    console.wait(STATE, lambda s: s["update"]["state"] == "failed")
    assert check_for_updates(console, "unknown")["status"] == "failed"
    assert Staged(device.store, manifest).manifest.version == "1.0.0"
    # (3) a new name, and an old one that looks as if it were served.
    assert device.stop() == 0
    state.write_bytes(msgspec.json.encode({"active": {"version": "1.0.0", "digest": manifest}}))
    device.config.write_text(device.config.read_text().replace('name = "digits"', 'name = "numbers"'))
    console.forget()
    device.start()
    console.wait("maas/dev/numbers/state", lambda s: s["update"]["state"] == "failed")
    assert check_for_updates(console, "renamed")["status"] == "failed"
    assert Staged(device.store, manifest).manifest.version == "1.0.0"
    wait_until(lambda: [m.payload for m in console.on(STATE)][-1:] == [b""], "the old state is still on the broker")
    noted = device.store / "pipelines"
    wait_until(
        lambda: [path.name for path in noted.glob("*.announced")] == ["numbers.json.announced"], "it is not forgotten"
    )
