"""Why a program cannot be started: what is said by looking, against what starting it really comes to."""

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from maas_agent.host import programs
from maas_agent.host.programs import obstacle

MakeCommand = Callable[[Path], list[str]]


def script(folder: Path, text: str | bytes, mode: int = 0o755, name: str = "reader") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return str(path)


def foreign(folder: Path) -> str:
    """This interpreter's first bytes, for a processor that there never was."""
    head = bytearray(Path(sys.executable).resolve().read_bytes()[:4096])
    struct.pack_into("<H", head, 18, 0xFFF0)
    return script(folder, bytes(head))


def loaderless(folder: Path) -> str:
    whole = Path(shutil.which("cat") or "").resolve().read_bytes()
    start = whole.index(b"/lib")
    end = whole.index(b"\0", start)
    return script(folder, whole[:start] + b"/lib/ld-nothing.so".ljust(end - start, b"\0")[: end - start] + whole[end:])


BAD: dict[str, tuple[MakeCommand, str]] = {
    "missing": (lambda f: [f"{f}/nothing"], "there is no"),
    "not in PATH": (lambda f: ["no-such-reader"], 'there is no program "no-such-reader" in '),
    "empty": (lambda f: [""], "there is no program"),
    "one text": (lambda f: ["cat /dev/null"], 'write it as a list: command = ["cat", "/dev/null"]'),
    "one text with quotes": (lambda f: ["sh -c 'a | b'"], 'command = ["sh", "-c", "a | b"]'),
    "one text with a path": (lambda f: [script(f, "#!/bin/sh\n") + " --every 1"], '", "--every", "1"]'),
    "below nowhere": (lambda f: ["no/such/reader"], f"there is no no/such/reader in {Path.cwd()}"),
    "a tilde": (lambda f: ["~/reader"], "write the whole path"),
    "a folder": (lambda f: [str(f)], "is a folder"),
    "a device": (lambda f: ["/dev/null"], "is no file"),
    "not executable": (lambda f: [script(f, "#!/bin/sh\n", 0o644)], "sudo chmod a+rx"),
    "below a file": (lambda f: [script(f, "#!/bin/sh\n") + "/x"], "there is no"),
    "Windows line ends": (lambda f: [script(f, "#!/bin/sh\r\necho\r\n")], "Windows line ends"),
    "Windows line ends by env": (lambda f: [script(f, "#!/usr/bin/env python3\r\npass\r\n")], "Windows line ends"),
    "no interpreter": (lambda f: [script(f, "#!/usr/bin/nothing -u\n")], "asks for /usr/bin/nothing in its first line"),
    "no interpreter by env": (lambda f: [script(f, "#!/usr/bin/env nothing3\n")], "asks for nothing3"),
    "an option for env": (lambda f: [script(f, "#!/usr/bin/env cat -u\n")], "asks for cat -u in its first line"),
    "an interpreter that is a folder": (lambda f: [script(f, "#!/usr/bin\n")], "is a folder"),
    "no first line": (lambda f: [script(f, "print(1)\n")], "it begins neither with #!"),
    "nothing in it": (lambda f: [script(f, "")], "it begins neither with #!"),
    "an empty first line": (lambda f: [script(f, "#!\n")], "names no interpreter"),
    "a byte order mark": (lambda f: [script(f, b"\xef\xbb\xbf#!/bin/sh\n")], "byte order mark"),
    "another processor": (lambda f: [foreign(f)], "another processor"),
    "no loader": (lambda f: [loaderless(f)], "needs the loader /lib/ld-nothing.so"),
    "no script": (lambda f: [sys.executable, "-u", f"{f}/read.py"], "which"),
    "no shell script": (lambda f: ["sh", f"{f}/read.sh"], "is to run"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_program_that_cannot_be_started_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    command = make(tmp_path)
    found = obstacle(command)
    assert found is not None and words in str(found)
    try:
        ended = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
    except OSError:
        return
    assert ended.returncode != 0


def formats(folder: Path, **described: str) -> Path:
    """What the kernel shows of the formats it was taught: as it shows them, in a folder of ours."""
    folder.mkdir()
    (folder / "register").touch()
    (folder / "status").write_text("enabled\n")
    for name, text in described.items():
        (folder / name).write_text(text)
    return folder


FOREIGN = (
    "enabled\ninterpreter /usr/bin/qemu\nflags: POCF\noffset 18\nmagic {magic}\nmask fcff\n"  # two bytes of e_machine
)
WINDOWS = "enabled\ninterpreter /usr/bin/wine\nflags: \nextension .exe\n"


def test_a_format_that_the_kernel_was_taught_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = formats(tmp_path / "formats", qemu=FOREIGN.format(magic="f0ff"), wine=WINDOWS)
    monkeypatch.setattr(programs, "FORMATS", taught)
    windows = script(tmp_path, b"MZ\0\0", name="reader.exe")
    assert obstacle([foreign(tmp_path)]) is None and obstacle([windows]) is None
    # What it was not taught stays none, however much else it was.
    assert obstacle([script(tmp_path, b"MZ\0\0", name="readerexe")]) is not None
    assert obstacle([script(tmp_path, "print(1)\n")]) is not None
    (taught / "qemu").write_text(FOREIGN.format(magic="f4ff"))
    assert "another processor" in str(obstacle([foreign(tmp_path)]))
    (taught / "wine").write_text(WINDOWS.replace("enabled", "disabled"))
    assert "it begins neither" in str(obstacle([windows]))
    (taught / "qemu").write_text(FOREIGN.format(magic="f0ff"))
    (taught / "status").write_text("disabled\n")
    assert "another processor" in str(obstacle([foreign(tmp_path)]))


GOOD: dict[str, MakeCommand] = {
    "a program": lambda f: ["/bin/true"],
    "in PATH": lambda f: ["true"],
    "a script": lambda f: [script(f, "#!/bin/sh\nexit 0\n")],
    "a blank before the interpreter": lambda f: [script(f, "#! /bin/sh -e\nexit 0\n")],
    "by env": lambda f: [script(f, "#!/usr/bin/env sh\nexit 0\n")],
    "by env with -S": lambda f: [script(f, "#!/usr/bin/env -S sh -e\nexit 0\n")],
    "a script of a script": lambda f: [script(f, f"#!{script(f, '#!/bin/sh', name='first')}\n")],
    "a name with a blank": lambda f: [script(f, "#!/bin/sh\nexit 0\n", name="the reader")],
    "a link": lambda f: [str((f / "link").symlink_to(script(f, "#!/bin/sh\n")) or f / "link")],
    "a shell's command": lambda f: ["sh", "-c", "exit 0"],
    "shell options": lambda f: ["sh", "-ec", "exit 0"],
    "a module": lambda f: [sys.executable, "-S", "-m", "this"],
    "code": lambda f: [sys.executable, "-S", "-c", "pass"],
    "a script that is not executable": lambda f: ["sh", script(f, "exit 0\n", 0o644)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_program_that_can_be_started_is_left_alone(tmp_path: Path, name: str) -> None:
    command = GOOD[name](tmp_path)
    assert obstacle(command) is None
    assert subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=20).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system")
def test_a_file_system_from_which_nothing_may_be_run_is_told(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        found = obstacle([script(tmp_path, "#!/bin/sh\n")])
        assert found is not None and "noexec" in found.found
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
