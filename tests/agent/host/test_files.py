"""Files that survive a power cut."""

import os
import stat
from pathlib import Path

import pytest

from maas_agent.host.files import create_durably, write_durably
from tests.agent.memory import file_size_limit


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_or_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for content in (b"first", b"", b"second"):
        write_durably(path, content)
        assert path.read_bytes() == content
        assert names(tmp_path) == ["state"]


def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    """A full disk: here a limit on the size of files."""
    path = tmp_path / "state"
    write_durably(path, b"old")
    with pytest.raises(OSError, match="File too large"), file_size_limit(1000):
        write_durably(path, bytes(2000))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state"]


def test_a_rename_that_fails_leaves_nothing_beside(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        write_durably(folder, b"new")
    assert names(tmp_path) == ["state"] and folder.is_dir()


def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_durably(tmp_path / "none" / "state", b"x")
    assert names(tmp_path) == []


def test_whoever_has_the_old_file_open_keeps_the_old_content(tmp_path: Path) -> None:
    """A new file and a rename, never an overwrite: a mapped model would change while it runs."""
    path = tmp_path / "model"
    write_durably(path, b"old model")
    with path.open("rb") as reader:
        write_durably(path, b"new")
        assert reader.read() == b"old model"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_mode_is_the_one_asked_for_from_the_beginning(tmp_path: Path, mode: int) -> None:
    before = os.umask(0)
    try:
        write_durably(tmp_path / "state", b"x", mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == mode


def test_what_an_earlier_process_left_behind_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / f".state.{os.getpid()}.new").write_bytes(b"a longer content that was cut")
    write_durably(tmp_path / "state", b"new")
    assert (tmp_path / "state").read_bytes() == b"new"
    assert names(tmp_path) == ["state"]


def test_a_file_that_is_made_once_is_whole_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(OSError, match="File too large"), file_size_limit(1000):
        create_durably(path, bytes(2000), 0o600)
    assert names(tmp_path) == []
    create_durably(path, b"first", 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        create_durably(path, b"second", 0o600)
    assert path.read_bytes() == b"first" and names(tmp_path) == ["key"]
