"""The files that ``--encrypt-to`` takes: what devices say of themselves, as people collect it."""

import base64
from pathlib import Path

import pytest

from maas_agent.bundle.sealed import recipient_id
from maas_agent.errors import DataError, NoInputError, UsageError
from maas_converter.publishing.sealing import Recipient, read_recipients

KEY = bytes(range(32))
LINE = f"maas-device gate-1 {base64.b64encode(KEY).decode()}"


def file(tmp_path: Path, text: str, name: str = "devices") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_of_all_files_are_taken_and_comments_are_not(tmp_path: Path) -> None:
    first = file(tmp_path, f"# at the gate\n\n{LINE}  # the new one\n")
    second = file(tmp_path, LINE.replace("gate-1", "gate-2"), "more")
    assert read_recipients([first, second]) == [Recipient("gate-1", KEY), Recipient("gate-2", KEY)]
    assert Recipient("gate-1", KEY).id == recipient_id(KEY)


def test_a_device_id_may_have_spaces(tmp_path: Path) -> None:
    assert read_recipients([file(tmp_path, LINE.replace("gate-1", "Halle 3, Tor"))]) == [Recipient("Halle 3, Tor", KEY)]


def test_a_file_that_another_system_wrote_is_read(tmp_path: Path) -> None:
    """With a byte order mark, and its own ends of lines."""
    assert read_recipients([file(tmp_path, f"\ufeff{LINE}\r\n")]) == [Recipient("gate-1", KEY)]


@pytest.mark.parametrize("key", [bytes(32), bytes([1, *bytes(31)]), KEY[:-1], KEY + b"x", b""])
def test_a_key_for_which_nothing_can_be_sealed_is_refused_with_its_line(tmp_path: Path, key: bytes) -> None:
    path = file(tmp_path, f"{LINE}\nmaas-device gate-2 {base64.b64encode(key).decode()}\n")
    with pytest.raises(DataError, match="devices, line 2: this is not what 'maas-agent enroll' prints"):
        read_recipients([path])


def test_no_file_and_nobody_in_it_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"cannot read .*none: No such file"):
        read_recipients([tmp_path / "none"])
    with pytest.raises(UsageError, match="--encrypt-to names nobody"):
        read_recipients([file(tmp_path, "# nobody yet\n")])
