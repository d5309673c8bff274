"""Names of topics, and what they mean."""

import pytest

from maas_agent.config import BrokerSettings, Config, DeviceSettings, PipelineSettings
from maas_agent.hub.api.topics import MAX_ID, Address, Command, Route, Topics, is_level

CONFIG = Config(
    device=DeviceSettings("dev", ("line-1", "line-2")),
    pipeline=(PipelineSettings("digits", bundle="x"), PipelineSettings("cats", bundle="x")),
)
DIGITS = Route("digits", "maas/dev/digits/out")
SHARED = Route("digits", "maas/groups/line-1/digits/out")


@pytest.mark.parametrize(
    ("topic", "address"),
    [
        ("maas/dev/digits/in", Address(DIGITS)),
        ("maas/dev/digits/in/7", Address(DIGITS, "7")),
        ("maas/dev/digits/in/ein Name", Address(DIGITS, "ein Name")),
        ("maas/dev/cats/in/7", Address(Route("cats", "maas/dev/cats/out"), "7")),
        ("maas/groups/line-1/digits/in", Address(SHARED)),
        ("maas/groups/line-1/digits/in/7", Address(SHARED, "7")),
        ("maas/dev/digits/in/" + "x" * MAX_ID, Address(DIGITS, "x" * MAX_ID)),
        ("maas/dev/digits/in/" + "x" * (MAX_ID + 1), Address(DIGITS, bad_id="x" * (MAX_ID + 1))),
        ("maas/dev/digits/in/", Address(DIGITS, bad_id="")),
        ("maas/dev/digits/in/a/b", Address(DIGITS, bad_id="a/b")),
        ("maas/dev/digits/in/a\nb", Address(DIGITS, bad_id="a\nb")),
        ("maas/dev/digits/in//", Address(DIGITS, bad_id="/")),
    ],
)
def test_an_input_topic_tells_pipeline_id_and_where_the_answer_goes(topic: str, address: Address) -> None:
    assert Topics(CONFIG).input(topic) == address


@pytest.mark.parametrize(
    "topic",
    [
        *("maas/dev/digits", "maas/dev/digits/out", "maas/dev/digits/inn", "maas/dev/dogs/in", "maas/other/digits/in"),
        *("maas/groups/line-3/digits/in", "maas/dev/status", "maas/dev/cmd/update/1", "other/dev/digits/in", "", "/"),
    ],
)
def test_what_is_no_input_topic_of_this_device_is_none(topic: str) -> None:
    assert Topics(CONFIG).input(topic) is None


def test_subscriptions_cover_commands_and_inputs_and_share_those_of_groups() -> None:
    assert Topics(CONFIG).subscriptions() == [
        "maas/dev/cmd/+/+",
        "maas/dev/desired",
        "maas/groups/line-1/desired",
        "maas/groups/line-2/desired",
        "maas/dev/digits/in/#",
        "$share/line-1/maas/groups/line-1/digits/in/#",
        "$share/line-2/maas/groups/line-2/digits/in/#",
        "maas/dev/cats/in/#",
        "$share/line-1/maas/groups/line-1/cats/in/#",
        "$share/line-2/maas/groups/line-2/cats/in/#",
        "$share/dev/maas/dev/shared",
    ]


def test_the_root_may_have_several_levels() -> None:
    config = Config(
        device=DeviceSettings("dev"),
        broker=BrokerSettings(topic_root="site/hall"),
        pipeline=(PipelineSettings("digits", bundle="x"),),
    )
    topics = Topics(config)
    assert topics.status == "site/hall/dev/status"
    assert topics.input("site/hall/dev/digits/in/7") == Address(Route("digits", "site/hall/dev/digits/out"), "7")
    assert topics.command("site/hall/dev/cmd/update/1") == Command("update", "1")


def test_a_devices_own_topics_are_named() -> None:
    assert (Topics(CONFIG).status, Topics(CONFIG).metrics) == ("maas/dev/status", "maas/dev/metrics")
    assert (Topics(CONFIG).state("digits"), Topics(CONFIG).out("digits")) == (
        "maas/dev/digits/state",
        "maas/dev/digits/out",
    )


@pytest.mark.parametrize(
    ("topic", "command"),
    [
        ("maas/dev/cmd/update/1", Command("update", "1")),
        ("maas/dev/cmd/no-such/c-8y", Command("no-such", "c-8y")),
        ("maas/dev/cmd/update", None),
        ("maas/dev/cmd/update/", None),
        ("maas/dev/cmd/update/1/2", None),
        ("maas/dev/cmd/update/" + "x" * 65, None),
        ("maas/dev/cmd/update/a\n", None),
        ("maas/dev/cmd/" + "x" * 129 + "/1", None),
        ("maas/dev/cmd/up\x85date/1", None),
        ("maas/dev/cmd/update/\uffff", None),
        ("maas/dev/cmd/+/1", None),
        ("maas/other/cmd/update/1", None),
        ("maas/dev/digits/in/1", None),
        ("update/1", None),
        ("", None),
    ],
)
def test_a_command_topic_tells_name_and_id(topic: str, command: Command | None) -> None:
    assert Topics(CONFIG).command(topic) == command


@pytest.mark.parametrize(
    ("topic", "reserved"),
    [
        ("maas/dev/status", True),
        ("maas/dev/digits/in/1", True),
        ("maas/dev/cmd/rollback/1", True),
        ("maas/groups/line-9/desired", True),
        ("maas/device/answers", False),
        ("answers/dev/press-7/1", False),
        ("maas/answers/me", False),
    ],
)
def test_a_request_does_not_choose_what_this_device_says_on_its_own_topics(topic: str, reserved: bool) -> None:
    assert Topics(CONFIG).is_reserved(topic) is reserved


@pytest.mark.parametrize("level", ["a+b", "#", "a\0b", "\u2028"])
def test_no_answer_goes_to_a_topic_over_which_a_broker_would_hang_up(level: str) -> None:
    """MQTT 5.0 section 4.7.1: a publisher may not name wildcards. It would come back with every connection."""
    assert Topics(CONFIG).input(f"maas/dev/digits/in/{level}") == Address(DIGITS, bad_id=level)
    assert Topics(CONFIG).command(f"maas/dev/cmd/{level}/1") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a", True), ("a b", True), ("x" * MAX_ID, True), ("x" * (MAX_ID + 1), False), ("", False), ("a/b", False)],
)
def test_a_level_is_short_and_has_no_separator(text: str, expected: bool) -> None:
    assert is_level(text) is expected
