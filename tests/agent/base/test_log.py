"""The log: one line an event, whatever is in it."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maas_agent.base.log import Log

LEVELS = {"info": 6, "warning": 4, "error": 3, "critical": 2}


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOURNAL_STREAM", "NOTIFY_SOCKET"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variable", ["JOURNAL_STREAM", "NOTIFY_SOCKET"])
@pytest.mark.parametrize("level", LEVELS)
def test_under_systemd_a_line_begins_with_its_priority(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, level: str
) -> None:
    monkeypatch.setenv(variable, "x")
    getattr(Log("hub"), level)("something happened", pid=7)
    assert capsys.readouterr().err == f"<{LEVELS[level]}>hub: something happened pid=7\n"


def test_in_a_terminal_a_line_begins_with_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    Log("hub").warning("it hangs")
    time, level, rest = capsys.readouterr().err.split(maxsplit=2)
    assert len(time) == 8 and level == "warning" and rest == "hub: it hangs\n"


def test_debug_is_silent_unless_asked_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "x")
    Log("hub").debug("detail")
    assert capsys.readouterr().err == ""
    Log("hub", debug=True).debug("detail")
    assert capsys.readouterr().err == "<7>hub: detail\n"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain", "plain"),
        (7, "7"),
        (0.5, "0.5"),
        ("grün", "grün"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[31mred", r'"\x1b[31mred"'),
        ("back\\slash here", r'"back\\slash here"'),
        ("\ud800", r'"\ud800"'),
        ("line\u2028separator", r'"line\u2028separator"'),
        (ValueError("no such file"), '"no such file"'),
    ],
)
def test_a_value_is_quoted_when_it_must_be(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: object, written: str
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "x")
    Log("hub").info("event", key=value)
    assert capsys.readouterr().err == f"<6>hub: event key={written}\n"


def test_a_field_without_a_value_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    Log("hub").info("event", none=None, some=False)
    assert capsys.readouterr().err.endswith("hub: event some=False\n")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.text(alphabet=st.characters()))
def test_any_value_is_one_line(capsys: pytest.CaptureFixture[str], value: str) -> None:
    Log("hub").info("event", key=value)
    line = capsys.readouterr().err
    assert line.endswith("\n") and len(line.splitlines()) == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(event=st.text(alphabet=st.characters()))
def test_any_event_is_one_line(capsys: pytest.CaptureFixture[str], event: str) -> None:
    """A sentence may end with a reason that a publisher gave, and that with a line of its own making."""
    Log("hub").error(event, key=1)
    line = capsys.readouterr().err
    assert line.endswith(" key=1\n") and line[:-1].isprintable()


@pytest.mark.parametrize(
    "text", ["x" * 100_000, "\U0001f600" * 100_000, "\U0001f600 " * 100_000, "\x1b[2J\n<2>hub: forged" * 10_000]
)
def test_no_line_is_so_long_that_the_journal_cuts_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """LineMax= is 48 KiB: what is behind would be an entry of its own, with the priority that it claims."""
    monkeypatch.setenv("JOURNAL_STREAM", "x")
    Log("hub").error(text, reason=text, **{f"field{number}": text for number in range(20)})
    line = capsys.readouterr().err
    assert line.startswith("<3>hub: ") and line.count("\n") == 1 and len(line.encode()) < 48 << 10


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-"], ids=["full", "closed"])
def test_a_log_that_is_full_or_closed_does_not_stop_the_device(redirection: str) -> None:
    script = "from maas_agent.base.log import Log; Log('hub').error('event'); print('goes on')"
    command = ["/bin/sh", "-c", f'"$0" -c "$1" {redirection}', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "goes on\n"
