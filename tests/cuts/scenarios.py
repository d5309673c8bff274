"""The updates that are cut: what is on the device before, what comes, and where that leads."""

from typing import Any

import msgspec

_LENIENT = "probation_s = 0.3, max_drift = 1.0, max_latency_ratio = 1000.0"


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """``bundle`` is how the newest version is made, ``update`` the pipeline's settings; ``states`` those gone through.

    ``versions`` may serve after a cut; the update ends on ``ends_on``. With ``inputs`` it needs some to get anywhere.
    At least ``removed`` blobs go as garbage.
    """

    before: tuple[str, ...] = ("1.0.0",)
    newest: str = "1.1.0"
    bundle: dict[str, Any] = msgspec.field(default_factory=lambda: {"seed": 2})
    update: str = _LENIENT
    inputs: bool = False
    versions: frozenset[str] = frozenset({"1.0.0", "1.1.0"})
    ends_on: str = "1.1.0"
    removed: int = 0
    states: frozenset[str]

    @property
    def pipeline(self) -> str:
        """The TOML of the pipeline."""
        return f'[[pipeline]]\nname = "digits"\nmodel = "digits"\nthreads = 1\nupdate = {{ {self.update} }}\n'

    def has_ended(self, state: dict[str, Any]) -> bool:
        """Whether the state topic says that the newest version was taken, or for good refused."""
        told = state["update"]
        active = state["active"]["version"] if state["active"] else None
        ended = told["state"] in ("active", "failed", "rolled_back") and told["version"] == self.newest
        return bool(state["serving"]) and ended and active == self.ends_on


_PULLER = frozenset({"pulling", "verifying", "staged", "testing"})

SCENARIOS = {
    "first install": Scenario(before=(), versions=frozenset({"1.1.0"}), states=_PULLER | {"init", "active"}),
    "update": Scenario(states=_PULLER | {"active", "probation"}),
    "refused": Scenario(
        bundle={"seed": 2, "off_by": 0.5},
        versions=frozenset({"1.0.0"}),
        ends_on="1.0.0",
        states=_PULLER | {"active", "failed"},
    ),
    "shadow": Scenario(
        bundle={"seed": 1},
        update=_LENIENT + ", shadow = { samples = 5, max_latency_ratio = 1000.0 }",
        inputs=True,
        states=_PULLER | {"active", "shadow", "probation"},
    ),
    "rolled back": Scenario(
        update="probation_s = 3600, max_latency_ratio = 1000.0",
        inputs=True,
        ends_on="1.0.0",
        states=_PULLER | {"active", "probation", "rolled_back"},
    ),
    "garbage": Scenario(
        before=("1.0.0", "1.1.0", "1.2.0"),
        newest="1.3.0",
        bundle={"seed": 4},
        versions=frozenset({"1.2.0", "1.3.0"}),
        ends_on="1.3.0",
        removed=3,
        states=_PULLER | {"active", "probation"},
    ),
}
"""On probation the answers of "rolled back" drift; "garbage" has files of a version that nothing needs any more."""
