"""Tells why a program cannot be started: what execve(2) says in one word, for a person, and what to type.

Only by looking: nothing is run here.
"""

import os
import re
import shlex
import shutil
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

_INTERPRETERS = re.compile(r"(ba|da|a|z|k)?sh$|python[\d.]*$|perl[\d.]*$|ruby[\d.]*$|node$|lua[\d.]*$")
_HEAD_BYTES = 4096
_LINE_BYTES = 256
"""What the kernel reads of a first line (BINPRM_BUF_SIZE)."""
_BOM = b"\xef\xbb\xbf"
_RUNS_TOO = {(62, 3), (183, 40)}
"""ELF machines: a processor of the first kind runs programs for the second (x86-64 i386, AArch64 ARM)."""
_PT_INTERP = 3
FORMATS = Path("/proc/sys/fs/binfmt_misc")
"""The formats that the kernel was taught, one file each, where they can be seen."""
_DEEPEST = 4
"""Scripts whose interpreter is a script: the kernel stops there too."""


class Obstacle(msgspec.Struct, frozen=True):
    """Why a program cannot be started, and what to type or change."""

    found: str
    mend: str

    def __str__(self) -> str:
        return f"{self.found} -> {self.mend}"


def obstacle(command: Sequence[str], depth: int = 0) -> Obstacle | None:
    """What keeps this process from starting ``command``; ``None`` if nothing that can be seen from here."""
    program = command[0]
    path = _found(program)
    if path is None or depth > _DEEPEST:
        return _missing(program)
    try:
        status = path.stat()
    except PermissionError:
        return Obstacle(f"{path} cannot be reached: a folder on the way is closed to {_user()}", f"namei -l {path}")
    except OSError:
        return _missing(program)
    if not stat.S_ISREG(status.st_mode):
        what = "a folder" if stat.S_ISDIR(status.st_mode) else "no file"
        return Obstacle(f"{path} is {what}, not a program", "name the program in it")
    return _not_executable(path, status.st_mode) or _not_loadable(path, depth) or _no_script(path, command[1:])


def _found(program: str) -> Path | None:
    """The file that a command names; of a name without a slash, in PATH."""
    if "/" in program:
        return Path(program)
    # Whatever is there: why one cannot be executed is said below.
    for folder in os.get_exec_path():
        with suppress(OSError, ValueError):
            if (Path(folder) / program).is_file() and program:
                return Path(shutil.which(program) or Path(folder) / program)
    return None


def _missing(program: str) -> Obstacle:
    words = _words(program)
    if len(words) > 1 and (found := _found(words[0])) is not None and _is_file(found):
        listed = ", ".join(f'"{word}"' for word in words)
        return Obstacle(
            f'there is no program "{program}": that is a whole command line as one text',
            f"write it as a list: command = [{listed}]",
        )
    if program.startswith(("~", "$")):
        return Obstacle(f"there is no {program}: no shell reads this, so nothing is expanded", "write the whole path")
    if "/" in program:
        here = "" if program.startswith("/") else f" in {Path.cwd()}"
        return Obstacle(
            f"there is no {program}{here}", f"install it there, or mend command: ls -l {shlex.quote(program)}"
        )
    return Obstacle(f'there is no program "{program}" in {os.pathsep.join(os.get_exec_path())}', "write its whole path")


def _not_executable(path: Path, mode: int) -> Obstacle | None:
    if os.access(path, os.X_OK):
        return None
    with suppress(OSError):
        if mode & 0o111 and os.statvfs(path).f_flag & os.ST_NOEXEC:
            return Obstacle(
                f"{path} lies on a file system from which nothing may be run (noexec)", "move it to /usr/local/bin"
            )
    return Obstacle(f"{path} is not executable for {_user()}", f"sudo chmod a+rx {shlex.quote(str(path))}")


def _not_loadable(path: Path, depth: int) -> Obstacle | None:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None  # it may be run and not read: what is in it is not ours to see
    if head.startswith(b"#!"):
        return _bad_first_line(path, head, depth)
    if head.startswith(b"\x7fELF"):
        return _foreign(path, head)
    if _is_registered(path, head):
        return None
    if head.startswith(_BOM):
        return Obstacle(
            f"{path} begins with a byte order mark, not with #!", f"sudo sed -i '1s/^\\xef\\xbb\\xbf//' {path}"
        )
    return Obstacle(
        f"{path} is no program: it begins neither with #! nor as one for this system",
        "write the interpreter into its first line: #!/bin/sh or #!/usr/bin/python3",
    )


def _bad_first_line(path: Path, head: bytes, depth: int) -> Obstacle | None:
    line = head[2:_LINE_BYTES].split(b"\n", 1)[0].decode(errors="replace")
    words = line.strip(" \t").split(None, 1) if line.strip() else []
    if line.endswith("\r"):
        return Obstacle(
            f"{path} has Windows line ends: its first line asks for {_shown(line.strip(' '))}",
            f"sudo sed -i 's/\\r$//' {shlex.quote(str(path))}",
        )
    if not words:
        return Obstacle(f"{path} names no interpreter in its first line", "write #!/bin/sh or #!/usr/bin/python3 there")
    if obstacle(words[:1], depth + 1) is not None:
        return Obstacle(
            f"{path} asks for {words[0]} in its first line, which cannot be run: {obstacle(words[:1], depth + 1)}",
            "install it, or mend that line",
        )
    if Path(words[0]).name == "env" and len(words) > 1 and (name := _of_env(words[1])) and _found(name) is None:
        return Obstacle(
            f"{path} asks for {_shown(name)} in its first line, and there is no such program in "
            f"{os.pathsep.join(os.get_exec_path())}",
            "install it, or mend that line",
        )
    return None


def _of_env(argument: str) -> str | None:
    """The program that ``#!/usr/bin/env …`` runs: without -S all of it is one argument (env(1))."""
    if not argument.startswith("-"):
        return argument
    words = argument[2:].split() if argument.startswith("-S") else []
    return next((word for word in words if "=" not in word and not word.startswith("-")), None)


def _foreign(path: Path, head: bytes) -> Obstacle | None:
    """A program for another processor, or one whose loader is not here (musl and glibc, 32 and 64 bits)."""
    with suppress(OSError, struct.error):
        ours = _machine(Path(sys.executable).read_bytes()[:_HEAD_BYTES])
        if (theirs := _machine(head)) != ours and (ours, theirs) not in _RUNS_TOO and not _is_registered(path, head):
            return Obstacle(f"{path} was built for another processor than this one", "install the one for this device")
        loader = _loader(head)
        if loader is not None and not Path(loader).exists():
            return Obstacle(
                f"{path} needs the loader {loader}, which is not here: it was built for another system",
                "install the one for this device",
            )
    return None


def _machine(head: bytes) -> int:
    order = "<" if head[5] == 1 else ">"
    return int(struct.unpack_from(f"{order}H", head, 18)[0])


def _loader(head: bytes) -> str | None:
    """The path in PT_INTERP (elf(5)), if the headers lie where linkers put them."""
    order, is_wide = "<" if head[5] == 1 else ">", head[4] == 2
    table = struct.unpack_from(f"{order}Q", head, 32)[0] if is_wide else struct.unpack_from(f"{order}I", head, 28)[0]
    size, count = struct.unpack_from(f"{order}2H", head, 54 if is_wide else 42)
    for number in range(count):
        at = table + number * size
        if struct.unpack_from(f"{order}I", head, at)[0] != _PT_INTERP:
            continue
        start, length = (
            (struct.unpack_from(f"{order}Q", head, at + 8)[0], struct.unpack_from(f"{order}Q", head, at + 32)[0])
            if is_wide
            else (struct.unpack_from(f"{order}I", head, at + 4)[0], struct.unpack_from(f"{order}I", head, at + 16)[0])
        )
        found = head[start : start + length].split(b"\0", 1)[0].decode(errors="replace")
        return found or None
    return None


def _is_registered(path: Path, head: bytes) -> bool:
    """Whether the kernel was taught what to run this file with (binfmt_misc, as by qemu-user-static or wine)."""
    with suppress(OSError):
        if (FORMATS / "status").read_text().strip() == "enabled":
            formats = [file for file in FORMATS.iterdir() if file.name not in ("register", "status")]
            return any(_matches(file.read_text(), path, head) for file in formats)
    return False


def _matches(described: str, path: Path, head: bytes) -> bool:
    """Whether a format takes a file: by bytes of its head, or by what its name ends in (admin-guide/binfmt-misc)."""
    lines = described.splitlines()
    if not lines or lines[0] != "enabled":
        return False
    said = {key: value for key, _, value in (line.partition(" ") for line in lines[1:])}
    if "extension" in said:
        return path.name.rpartition(".")[2] == said["extension"].removeprefix(".") and "." in path.name
    magic = bytes.fromhex(said.get("magic", ""))
    mask = bytes.fromhex(said.get("mask", "ff" * len(magic)))
    start = int(said.get("offset", 0))
    found = head[start : start + len(magic)]
    return len(found) == len(magic) and all((a ^ b) & m == 0 for a, b, m in zip(found, magic, mask, strict=True))


def _no_script(path: Path, arguments: Sequence[str]) -> Obstacle | None:
    """A script that an interpreter is to run, named as its first argument: it ends at once if that is not there."""
    if not any(_INTERPRETERS.match(name) for name in (path.name, path.resolve().name)):
        return None
    for argument in arguments:
        if argument.startswith("-") and argument != "-":
            if re.match(r"-[a-zA-Z]*c", argument) or argument.startswith(("--", "-m", "-e", "-W", "-X", "-o")):
                return None  # the script is in the arguments, or an option takes the next one
            continue
        if argument == "-":
            return None
        script = Path(argument)
        with suppress(OSError):
            if not script.exists():
                return Obstacle(f"there is no {script}, which {path} is to run", f"ls -l {shlex.quote(argument)}")
            if not os.access(script, os.R_OK):
                return Obstacle(f"{script} cannot be read by {_user()}", f"sudo chmod a+r {shlex.quote(argument)}")
        return None
    return None


def _is_file(path: Path) -> bool:
    with suppress(OSError, ValueError):
        return path.is_file()
    return False


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _shown(text: str) -> str:
    return repr(text).strip("'")


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"the user {os.geteuid()}"
