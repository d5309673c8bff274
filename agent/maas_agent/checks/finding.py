"""Holds what one check found."""

import msgspec


class CheckResult(msgspec.Struct, frozen=True):
    """The result of one check. ``mend`` is what to type or change if it did not pass.

    ``passed`` is ``None`` for what is not here and nothing asks for: that is good to know, and no failure.
    """

    name: str
    passed: bool | None
    found: str
    mend: str | None = None
