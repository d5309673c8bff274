"""``maas-converter fleet``: one row for each pipeline of each device."""

import time

from maas_agent.base.terminal import cell
from maas_converter.fleet.broker import BrokerAccess, BrokerConnection
from maas_converter.fleet.view import FleetDevice, FleetView, Running

HEAD = ("device", "status", "groups", "pipeline", "version", "update", "accelerator", "p50/p99 ms", "last seen")


def devices_on(access: BrokerAccess, root: str, group: str | None, wait_s: float) -> tuple[list[FleetDevice], bool]:
    """The devices that the broker knows of, by id, and whether these are all; metrics, not retained, are waited for."""
    view = FleetView(root)
    with BrokerConnection(access, view.filters) as broker:
        for topic, payload in broker.retained():
            view.hear(topic, payload)
        ends_at = time.monotonic() + wait_s
        while (left := ends_at - time.monotonic()) > 0:
            for topic, payload in broker.messages(left):
                view.hear(topic, payload)
    found = view.of_group(group) if group is not None else list(view.devices.values())
    return sorted(found, key=lambda each: each.id), not view.is_full


def rows(devices: list[FleetDevice]) -> list[tuple[str, ...]]:
    """The table's cells; a device without pipelines has a row too."""
    found = list[tuple[str, ...]]()
    for device in devices:
        head = (device.id, _status(device), ", ".join(device.groups) or "-")
        for name, running in sorted(device.running.items()):
            found.append((*head, name, *_cells(device, running), device.seen[:19] or "-"))
        if not device.running:
            found.append((*head, "-", "-", "-", "-", "-", device.seen[:19] or "-"))
    return found


def lines(devices: list[FleetDevice]) -> list[str]:
    """The table as text: as wide as its cells are, for terminals and pipes alike.

    What devices say is bounded: a row is one, whatever a device puts into it.
    """
    cells = [HEAD, *(tuple(map(cell, row)) for row in rows(devices))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    return ["  ".join(f"{each:<{width}}" for each, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _status(device: FleetDevice) -> str:
    count = len(device.alarms)
    return f"{device.status}, {count} alarm{'' if count == 1 else 's'}" if count else device.status


def _cells(device: FleetDevice, running: Running) -> tuple[str, str, str, str]:
    latency = device.latency_ms.get(running.pipeline)
    model = running.model or running.pipeline
    version = f"{model} {running.serves}" if running.serves else "-"
    update = running.state if running.reason is None else f"{running.state}: {running.reason}"
    figures = f"{latency[0]:g}/{latency[1]:g}" if latency else "-"
    return version, update, running.accelerator or "-", figures
