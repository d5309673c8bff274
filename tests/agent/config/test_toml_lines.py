"""Where a key stands."""

import pytest

from maas_agent.config.toml_lines import line_of

TEXT = """\
metrics_s = 5            # 1
[ broker ]               # 2
url = "mqtt://h"         # 3
keepalive_s=30           # 4

[[pipeline]]             # 6
name = "a"               # 7
  [pipeline.source]      # 8
  type = "mqtt"          # 9
[[ pipeline ]]           # 10
name = "b"               # 11
report = { qos = 1 }     # 12
[pipeline.source]        # 13
type = "command"         # 14
command = [              # 15
  "x",
]
[device]                 # 18
groups = ["a", "b"]      # 19
# [store]
"""


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("metrics_s", 1),
        ("broker", 2),
        ("broker.url", 3),
        ("broker.keepalive_s", 4),
        ("broker.absent", 2),
        ("pipeline[0]", 6),
        ("pipeline[0].name", 7),
        ("pipeline[0].source", 8),
        ("pipeline[0].source.type", 9),
        ("pipeline[1]", 10),
        ("pipeline[1].name", 11),
        ("pipeline[1].report.qos", 12),
        ("pipeline[1].source.type", 14),
        ("pipeline[1].source.command[0]", 15),
        ("pipeline[1].absent", 10),
        ("pipeline[2].name", None),
        ("device.groups[1]", 19),
        ("store.path", None),
        ("absent", None),
    ],
)
def test_the_line_of_a_key_or_else_of_its_section_is_found(where: str, line: int | None) -> None:
    assert line_of(TEXT, where) == line


@pytest.mark.parametrize("text", ["", "\n", "[", "x", "= 1", "[[", "[a\n=", "]]]]"])
def test_text_that_is_no_toml_is_no_trouble(text: str) -> None:
    assert line_of(text, "a.b") is None


def test_a_line_is_found_in_time_that_grows_with_the_text() -> None:
    """A bracket and 5,000 blanks in a text took hours: the blanks could be shared out in any way."""
    text = 'a = """\n[' + " " * 5000 + '\n"""\n[b]\nc = 1\n[' + "a." * 50_000 + "]"
    assert line_of(text, "b.c") == 5
