"""What became of every input, and whose loss it is where no answer came: rules over what was seen, no I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tests.faults.clients import Sent
from tests.faults.tap import Record

MOST_DUPLICATES = 0.01


class Account(msgspec.Struct, frozen=True):
    """The figures of one scenario."""

    faults: int
    inputs: int
    lost: int
    """Inputs without an answer that the agent answers for."""
    lost_by_broker: int
    """Inputs without an answer that the broker lost, before the agent had them or after it had their result."""
    duplicated: int
    """Answers beyond the first, of all ids together."""
    errors: int
    """Answers that are an error."""

    @property
    def duplicates(self) -> float:
        """Their part of the inputs."""
        return self.duplicated / self.inputs if self.inputs else 0.0

    def __add__(self, other: "Account") -> "Account":
        return Account(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    def __sub__(self, other: "Account") -> "Account":
        return Account(*(getattr(self, name) - getattr(other, name) for name in self.__struct_fields__))


NOTHING = Account(0, 0, 0, 0, 0, 0)


class Deaths(msgspec.Struct):
    """When the broker and the hub were killed, on the monotonic clock."""

    broker: list[float] = msgspec.field(default_factory=list)
    hub: list[float] = msgspec.field(default_factory=list)


def unanswered(sent: Iterable[str], answers: Mapping[str, int]) -> list[str]:
    """The inputs that have no answer."""
    return [input_id for input_id in sent if not answers.get(input_id)]


def is_lost_by_broker(input_id: str, sent: Sent, seen: Record, deaths: Deaths) -> bool:
    """Whether an input without an answer is the broker's loss; whatever that cannot be shown of is the agent's.

    An input is the broker's until the agent has acknowledged it, and again from when the broker has acknowledged its
    result. A broker loses what it has only by being killed.
    """
    if sent.unrouted:
        return True  # it said so: it knew of no agent
    if sent.acknowledged is None:
        return False  # the sender still sends it: too early to tell
    settled, taken = seen.settled.get(input_id), seen.taken.get(input_id)
    if settled is not None:
        return _after(deaths.broker, settled)
    if taken is not None:
        return False
    reported = seen.reported.get(input_id)
    if reported and not _after(deaths.hub, reported[-1]):
        return False  # the agent had a result, lived on and did not send it again
    return _after(deaths.broker, sent.acknowledged)


def settle(
    sent: Mapping[str, Sent],
    answers: Counter[str],
    errors: int,
    seen: Record,
    deaths: Deaths,
) -> Account:
    """The account of a scenario that has come to rest."""
    missing = unanswered(sent, answers)
    by_broker = sum(is_lost_by_broker(input_id, sent[input_id], seen, deaths) for input_id in missing)
    return Account(
        faults=0,
        inputs=len(sent),
        lost=len(missing) - by_broker,
        lost_by_broker=by_broker,
        duplicated=sum(count - 1 for count in answers.values() if count),
        errors=errors,
    )


def table(rows: Sequence[tuple[str, Account]]) -> str:
    """The accounts as docs/reliability.md holds them."""
    head = "| fault | faults | inputs | lost | lost by the broker | duplicated | |\n|---|---|---|---|---|---|---|\n"
    return head + "\n".join(
        f"| {name} | {a.faults} | {a.inputs} | {a.lost} | {a.lost_by_broker} | {a.duplicated} | {a.duplicates:.2%} |"
        for name, a in rows
    )


def _after(times: list[float], moment: float) -> bool:
    return any(time > moment for time in times)
