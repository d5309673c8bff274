"""What a person should look at, as one list: on the status topic, and in what ``maas-agent status`` shows."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

Severity = Literal["error", "warning"]
"""``error``: something is not done, or will be lost. ``warning``: it goes on, and somebody should mend it."""

MOST = 32
LONGEST_TEXT = 500
"""Characters of a sentence: retained documents are to stay small."""


class Alarm(msgspec.Struct, frozen=True):
    """One of them. ``code`` says of what it is, for programs; ``since`` is RFC 3339, empty if it is not known."""

    severity: Severity
    code: str
    text: str
    since: str = ""


def bounded(alarms: Iterable[Alarm]) -> list[Alarm]:
    """The first `MOST` of them, errors first, with the beginning of what they say."""
    ordered = sorted(alarms, key=lambda alarm: alarm.severity != "error")
    return [_cut(alarm) for alarm in ordered[:MOST]]


def alarms_of(said: Any, trouble: Any = None) -> list[Alarm]:
    """The alarms in a status document.

    An earlier agent says plain sentences, and beside them, over its socket, what of its connection is to be mended
    (``trouble``). What is neither is left out.
    """
    found = [alarm for each in (said if isinstance(said, list | tuple) else ()) if (alarm := _alarm_of(each))]
    if isinstance(trouble, str):
        found.append(Alarm("warning", "connection", trouble))
    return bounded(found)


def _alarm_of(said: Any) -> Alarm | None:
    if isinstance(said, str):
        return Alarm("error", "unknown", said)
    try:
        return msgspec.convert(said, Alarm)
    except msgspec.ValidationError:
        return None


def _cut(alarm: Alarm) -> Alarm:
    if len(alarm.text) <= LONGEST_TEXT:
        return alarm
    return msgspec.structs.replace(alarm, text=f"{alarm.text[: LONGEST_TEXT - 1]}…")
