"""What goes over the wire is on the pages: error codes, update states, commands."""

from typing import get_args

import msgspec

from maas_agent.base import codes
from maas_agent.errors import ConfigError, DataError, MaasError, NoInputError, UnavailableError, UsageError
from maas_agent.hub.api.commands import COMMANDS, MAX_BURST, MAX_RUNNING
from maas_agent.hub.api.topics import MAX_ID
from maas_agent.hub.mqtt.client import RECEIVE_MAXIMUM
from maas_agent.hub.mqtt.counters import Counters
from maas_agent.hub.mqtt.flow.receive_window import MOST_BYTES, MOST_MESSAGES
from maas_agent.hub.serving.dispatcher import MAX_QUEUE_BYTES
from maas_agent.processing.content import _BY_CONTENT_TYPE
from maas_agent.processing.decode import MAX_BATCH
from maas_agent.update.protocol import State
from tests.docs.pages import rows, section


def test_every_error_code_is_on_the_page_with_its_meaning_and_no_other() -> None:
    described = {row[0].strip("`"): row[1] for row in rows(section("docs/mqtt.md", "## Errors"))}
    assert described == codes.MEANING


def test_every_code_has_a_meaning() -> None:
    assert {value for name, value in vars(codes).items() if name.isupper() and isinstance(value, str)} == set(
        codes.MEANING
    )


def test_every_content_type_is_on_the_page() -> None:
    inputs = section("docs/mqtt.md", "## Inputs")
    assert all(f"`{content_type}`" in inputs for content_type in _BY_CONTENT_TYPE)


def test_bounds_on_the_page_are_the_bounds() -> None:
    assert f"at most {MAX_ID} characters" in section("docs/mqtt.md", "## Topics")
    assert f"a batch of up to {MAX_BATCH}." in section("docs/mqtt.md", "## Inputs")
    commands = section("docs/mqtt.md", "## Commands")
    assert f"At most {MAX_RUNNING} commands run at once" in commands and f"a storm of commands {MAX_BURST} " in commands
    wire = section("docs/mqtt.md", "## On the wire")
    assert f"| {RECEIVE_MAXIMUM} unacknowledged inputs" in wire
    assert f"{MOST_MESSAGES:,} inputs or {MOST_BYTES >> 20} MiB are held" in wire
    assert f"by `queue` and by {MAX_QUEUE_BYTES >> 20} MiB" in wire


def test_every_counter_of_the_link_is_on_the_page_and_no_other() -> None:
    described = {row[0].strip("`") for row in rows(section("docs/mqtt.md", "## Metrics"))}
    assert described == {field.name for field in msgspec.structs.fields(Counters)}


def test_every_update_state_is_on_the_page_and_no_other() -> None:
    described = {row[0].strip("`") for row in rows(section("docs/updates.md", "## Update states"))}
    assert described == set(get_args(State))


def test_every_exit_code_is_on_the_page() -> None:
    kinds = (MaasError, ConfigError, UsageError, DataError, NoInputError, UnavailableError)
    described = {row[0] for row in rows(section("docs/commands.md", "## Exit codes"))}
    assert {str(kind.exit_code) for kind in kinds} <= described


def test_every_command_the_hub_knows_is_on_the_page() -> None:
    assert [row[0].strip("`") for row in rows(section("docs/mqtt.md", "## Commands"))] == list(COMMANDS)
