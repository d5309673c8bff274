"""A model's identity, whatever its files are called: as ``sha256sum`` prints it."""

import subprocess
from pathlib import Path

import pytest

from maas_converter.importers.digest import digest_of

COMMAND = '(cd "$0" && find * -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum)'


@pytest.mark.parametrize("names", [[b"a", b"b/c"], [b"\xff"], [b"a\nb"], [b"a\\b", b"\xe2\x80\xa8"], [b"a b"]])
def test_it_is_what_sha256sum_says_of_its_files(tmp_path: Path, names: list[bytes]) -> None:
    for number, name in enumerate(names):
        path = tmp_path / name.decode("utf-8", "surrogateescape")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes((number,)) * 10)
    said = subprocess.run(["sh", "-c", COMMAND, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True)
    assert digest_of(tmp_path) == said.stdout.split()[0]


def test_a_line_break_in_a_name_makes_no_other_file(tmp_path: Path) -> None:
    """Else one model could be taken for another one."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    (two / "a").write_bytes(b"1")
    (two / "b").write_bytes(b"2")
    second = digest_of(two / "b")
    (one / f"a\n{second}  b").write_bytes(b"1")
    assert digest_of(one) != digest_of(two)
