"""Names the topics of a device, without I/O. See "Topics" in docs/mqtt.md."""

import msgspec

from maas_agent.config import ID, Config

MAX_ID = 128


class Route(msgspec.Struct, frozen=True):
    """Says where an input goes and where its answer comes out. ``out`` has no id yet."""

    pipeline: str
    out: str


class Address(msgspec.Struct, frozen=True):
    """An input topic taken apart; ``id`` is ``None`` if the topic has none, ``bad_id`` what is no id."""

    target: Route
    id: str | None = None
    bad_id: str | None = None


class Command(msgspec.Struct, frozen=True):
    """A command topic taken apart."""

    name: str
    id: str


class Topics:
    """Names all topics of one configured device."""

    def __init__(self, config: Config) -> None:
        self._device = config.device.id
        self.base = f"{config.broker.topic_root}/{self._device}"
        self.status = f"{self.base}/status"
        self.metrics = f"{self.base}/metrics"
        self.sharing = f"{self.base}/shared"
        """On which a device of a group tells itself that shared subscriptions work."""
        self._commands = f"{self.base}/cmd/"
        groups = [f"{config.broker.topic_root}/groups/{group}/desired" for group in config.device.groups]
        self.desired = [f"{self.base}/desired", *groups]
        """The desired states that concern this device; the first is its own."""
        self._reserved = (f"{self.base}/", f"{config.broker.topic_root}/groups/")
        self._groups: dict[str, str] = {}
        self._inputs: dict[str, Route] = {}
        for pipeline in config.pipeline:
            self._add(f"{self.base}/{pipeline.name}", pipeline.name)
            for group in config.device.groups:
                base = f"{config.broker.topic_root}/groups/{group}/{pipeline.name}"
                self._groups[base] = group
                self._add(base, pipeline.name)

    def _add(self, base: str, pipeline: str) -> None:
        self._inputs[f"{base}/in"] = Route(pipeline, f"{base}/out")

    def state(self, pipeline: str) -> str:
        """The retained state topic of a pipeline."""
        return f"{self.base}/{pipeline}/state"

    def out(self, pipeline: str) -> str:
        """The out topic for samples of a local source."""
        return f"{self.base}/{pipeline}/out"

    def is_reserved(self, topic: str) -> bool:
        """Whether a topic is one that devices and operators speak on: no place for an answer that a request names.

        Else whoever may send an input could have this device speak there in its own name, by its own rights.
        """
        return topic.startswith(self._reserved)

    def subscriptions(self) -> list[str]:
        """Topic filters; a group's inputs are a shared subscription, so that one of its devices answers."""
        filters = [f"{self._commands}+/+", *self.desired]
        for topic in self._inputs:
            group = self._groups.get(topic.removesuffix("/in"))
            filters.append(f"$share/{group}/{topic}/#" if group else f"{topic}/#")
        if self._groups:
            filters.append(f"$share/{self._device}/{self.sharing}")
        return filters

    def input(self, topic: str) -> Address | None:
        """What an input topic addresses, or ``None`` if it is no input topic of this device."""
        head, _, last = topic.rpartition("/")
        if head in self._inputs:
            target = self._inputs[head]
            if is_level(last):
                return Address(target, last)
            return Address(target, bad_id=last)
        if topic in self._inputs:
            return Address(self._inputs[topic])
        for known, target in self._inputs.items():
            if topic.startswith(known + "/"):
                return Address(target, bad_id=topic[len(known) + 1 :])
        return None

    def command(self, topic: str) -> Command | None:
        """What a command topic names, or ``None`` if it is none of this device."""
        name, separator, command_id = topic.removeprefix(self._commands).partition("/")
        found = Command(name, command_id)
        return found if topic.startswith(self._commands) and separator and is_one(found) else None


def is_one(command: Command) -> bool:
    """Whether a command can be called so."""
    return is_level(command.name) and bool(ID.match(command.id)) and is_level(command.id)


def is_level(text: str) -> bool:
    """Whether ``text`` can be a level of a topic that is published to, on every broker.

    No wildcards (section 4.7.1), and nothing that a broker may close the connection over (section 1.5.4): control
    characters, and what is no character.
    """
    return 0 < len(text) <= MAX_ID and text.isprintable() and not set(text) & {"/", "+", "#"}
