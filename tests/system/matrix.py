"""Which broker keeps which promise: the table of docs/brokers.md, and what tests/system/test_brokers.py plays.

What a broker does not do is in `DEVIATIONS`, and is tested as well: a broker that has learnt it fails the test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A broker and the MQTT version spoken with it."""

    key: str
    title: str
    """Head of its column."""
    program: str
    """The Debian package, or the Python package, that it comes from."""
    mqtt: str
    """The version that the agent must end up with."""
    protocol: str = "auto"
    """What `broker.protocol` is set to."""


MOSQUITTO, MOSQUITTO_311 = "mosquitto-5", "mosquitto-3.1.1"
RABBITMQ, NATS, AMQTT = "rabbitmq-3.1.1", "nats-3.1.1", "amqtt-3.1.1"

KINDS = {
    kind.key: kind
    for kind in (
        Kind(MOSQUITTO, "Mosquitto 2.0, MQTT 5", "mosquitto", "5"),
        # Mosquitto speaks both; this is for what else speaks 3.1.1 well.
        Kind(MOSQUITTO_311, "Mosquitto 2.0, 3.1.1", "mosquitto", "3.1.1", protocol="3.1.1"),
        Kind(RABBITMQ, "RabbitMQ 3.10, 3.1.1", "rabbitmq-server", "3.1.1"),
        Kind(NATS, "NATS 2.9, 3.1.1", "nats-server", "3.1.1"),
        Kind(AMQTT, "amqtt 0.12, 3.1.1", "amqtt", "3.1.1"),
    )
}

PROMISES = {
    "version": "the agent finds the version by itself",
    "credentials": "a wrong password is refused, and the log says so",
    "birth": "status, state and metrics on every connect",
    "answers": "an input with an id is answered, QoS 0 and 1",
    "bad_input": "a bad input is answered with its error",
    "large": "an input of 8 MiB arrives",
    "dots": "ids with a dot",
    "groups": "group inputs (`$share`)",
    "commands": "commands",
    "retained": "a retained message is there for who subscribes to its topic",
    "retained_wildcard": "… and for who subscribes to a wildcard (`maas-converter fleet`, `deploy`)",
    "desired_away": "a desired state set while the device is off reaches it",
    "command_away": "so does a command",
    "offline": "`offline` when the device is killed",
    "stopped": "`stopped` when it ends cleanly",
    "held": "inputs a killed device held are answered after its restart",
    "queued": "inputs sent while it is off are answered after its restart",
    "restart_held": "a broker restart costs nothing: inputs the device held",
    "restart_queued": "… inputs the broker held",
    "restart_retained": "… retained messages",
    "crash_held": "kill -9 of the broker costs nothing: inputs the device held",
    "crash_queued": "… inputs the broker held",
    "crash_retained": "… retained messages",
}

DEVIATIONS = {
    (AMQTT, "credentials"): "not set up",
    (RABBITMQ, "dots"): "no: `.` becomes `/`",
    (NATS, "dots"): "no: it hangs up on the sender",
    (RABBITMQ, "groups"): "no; the agent says so",
    (NATS, "groups"): "no; the agent says so",
    (AMQTT, "groups"): "no; the agent says so",
    (RABBITMQ, "retained_wildcard"): "no",
    (AMQTT, "held"): "no: it keeps no sessions",
    (AMQTT, "queued"): "no: it keeps no sessions",
    (AMQTT, "restart_queued"): "no",
    (AMQTT, "restart_retained"): "no",
    (AMQTT, "crash_queued"): "no",
    (AMQTT, "crash_retained"): "no",
}
"""What is not kept, in the words of the table."""

REMARKS = {
    (MOSQUITTO, "crash_queued"): "yes, once saved",
    (MOSQUITTO, "crash_retained"): "yes, once saved",
    (MOSQUITTO_311, "version"): "set `protocol`",
    (MOSQUITTO_311, "crash_queued"): "yes, once saved",
    (MOSQUITTO_311, "crash_retained"): "yes, once saved",
    (RABBITMQ, "crash_retained"): "yes, after 2 s",
    (NATS, "held"): "yes, after `ack_wait`",
    (NATS, "restart_held"): "yes, after `ack_wait`",
    (NATS, "crash_held"): "yes, after `ack_wait`",
    (AMQTT, "version"): "yes, after 5 s",
}
"""What is kept, but not without more words."""


def table() -> str:
    """The matrix in Markdown."""
    rows = [["", *(kind.title for kind in KINDS.values())]]
    rows.append(["---"] * len(rows[0]))
    for promise, title in PROMISES.items():
        cells = [(kind, promise) for kind in KINDS]
        rows.append([title, *(DEVIATIONS.get(cell) or REMARKS.get(cell) or "yes" for cell in cells)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
