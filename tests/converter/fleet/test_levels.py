"""Whom a rollout is for becomes a part of topics."""

import pytest

from maas_agent.errors import UsageError
from maas_converter.cli import main
from maas_converter.fleet.deploy import check_level


@pytest.mark.parametrize("odd", ["", "#", "a/+", "a/b", "a\0", "a\n", "a\u202eb", "\udcff"])
def test_what_is_no_level_of_a_topic_is_refused_before_the_broker_is_asked(
    odd: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a wildcard paho ends in a traceback of its thread, and a broker ends the connection."""
    with pytest.raises(UsageError, match="--group"):
        check_level(odd, "--group")
    broker = ["--broker", "mqtt://127.0.0.1:1"]
    root = ["--topic-root", f"a/{odd.replace('/', '//')}"]  # it may have several levels
    for words in (["digits==1.0.0", "--group", odd], ["digits==1.0.0", "--group", "a", *root]):
        assert main.run(["deploy", *words, *broker]) == 64
    assert main.run(["fleet", *root, *broker]) == 64
    assert "one level of a topic" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["all", "Halle 3", "größe", "line.2"])
def test_what_devices_and_groups_may_be_called_is_one(name: str) -> None:
    check_level(name, "--group")
