"""Confined processes of tests: programs that attack, as root and as somebody else, and kernels that can do less."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import maas_agent
from maas_agent.confinement.access import Access, Lack
from maas_agent.confinement.confine import command, offered

# What a process that was taken over may try; each raises OSError or MemoryError where it is refused.
ATTACKS = {
    "reads a secret": "open(secret).read()",
    "reads a secret through a root of /proc": "open(f'/proc/self/root{secret}').read()",
    "reads a secret through a link that it was given": "open(given + '/out').read()",
    "reads the environment of who started it": "open(f'/proc/{os.getppid()}/environ', 'rb').read()",
    "reads the memory of who started it": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "takes a file by its number": "libc('open_by_handle_at', -100, b'', 0)",
    "reads the passwords": "open('/etc/shadow').read()",
    "lists a folder": "os.listdir(os.path.dirname(secret))",
    "overwrites": "open(secret, 'w')",
    "makes a file": "open(secret + '.new', 'w')",
    "makes one in a shared folder": "open('/dev/shm/maas-confined-attack', 'w')",
    "changes what it may read": "open(model, 'a')",
    "empties by name": "os.truncate(secret, 0)",
    "empties what it may read": "os.open(model, os.O_RDONLY | os.O_TRUNC)",
    "removes": "os.unlink(secret)",
    "moves out": "os.rename(made, secret)",
    "makes a link for others to follow": "os.symlink(secret, scratch + '/link')",
    "makes a second name": "os.link(secret, scratch + '/name')",
    "makes a pipe for others to wait at": "os.mkfifo(scratch + '/pipe')",
    "makes a socket for others to talk to": "os.mknod(scratch + '/socket', 0o140600)",
    "opens a file to everybody": "os.chmod(secret, 0o777)",
    "opens what it may read to everybody": "os.fchmod(os.open(model, os.O_RDONLY), 0o777)",
    "gives a file away": "os.chown(secret, 1, 1)",
    "turns a file's clock back": "os.utime(secret, (0, 0))",
    "marks a file": "os.setxattr(secret, 'user.mark', b'1')",
    "connects": "socket.create_connection(('127.0.0.1', port), timeout=5)",
    "sends a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', port))",
    "listens": "socket.create_server(('127.0.0.1', 0))",
    "speaks to a local service": "socket.socket(socket.AF_UNIX)",
    "speaks to one by half a pair": "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect('/dev/log')",
    "speaks to the kernel": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "goes by a ring past the filter": "libc('syscall', 425, 8, b' ' * 120)",
    "forks": "[os.fork() for _ in range(100)]",
    "starts a program": "subprocess.run(['/bin/true'])",
    "starts a program by posix_spawn": "os.posix_spawn('/bin/true', ['true'], {})",
    "becomes a program": "os.execv('/bin/true', ['true'])",
    "ends who started it": "os.kill(os.getppid(), signal.SIGKILL)",
    "ends its group": "os.kill(0, signal.SIGTERM)",
    "ends everybody": "os.kill(-1, signal.SIGTERM)",
    "has a signal sent by a file": "fcntl.fcntl(os.pipe()[0], fcntl.F_SETOWN, os.getppid())",
    "steps into who started it": "libc('ptrace', 16, os.getppid(), None, None)",
    "sets the limits of who started it": "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (3, 3))",
    "types into the terminal": "fcntl.ioctl(0, termios.TIOCSTI, b'x')",
    "becomes root of a namespace": "libc('unshare', 0x10000000)",
    "mounts": "libc('mount', b'none', b'/tmp', b'tmpfs', 0, None)",
    "traces the kernel": "libc('syscall', 298 if platform.machine() == 'x86_64' else 241, b' ' * 120, 0, -1, -1, 0)",
    "takes a right back": "os.setresuid(1, 1, 1) if os.getuid() == 0 else os.setgroups([])",
    "shares memory that nobody counts": "mmap.mmap(-1, 1 << 20)",
    "makes a file that is in memory only": "os.memfd_create('x')",
    "writes more than there should be": "os.truncate(os.open(made, os.O_RDWR), 1 << 40)",
    "takes memory without end": "[mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE) for _ in range(1 << 12)]",
}
ATTACKING = """
import ctypes, fcntl, json, mmap, os, platform, resource, signal, socket, subprocess, sys, termios, threading
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def libc(name, *arguments):
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
attacks, secret, given, scratch, port = json.loads(sys.argv[1])
model, made = given + "/model", scratch + "/made"
with open(made, "wb") as file:
    file.write(open(model, "rb").read())
os.makedirs(scratch + "/inner/most")
os.rename(made, scratch + "/inner/made")
os.rename(scratch + "/inner/made", made)
thread = threading.Thread(target=open(scratch + "/thread", "w").close)
thread.start()
thread.join()
ours, theirs = socket.socketpair()
ours.send(b"x")
told = {}
for name, attack in attacks.items():
    try:
        eval(attack)
        told[name] = "done"
    except (OSError, MemoryError, AttributeError) as error:
        told[name] = type(error).__name__
json.dump(told, open(scratch + "/told", "w"))
"""
"""A program that tries all of it, after it has done what it is there for: ``[ATTACKS, secret, folder with a ``model``,
scratch, port]`` as JSON is its argument, what came of each is in ``told`` in the scratch folder."""

HOLDS_ALL = not offered(Access()).lacking
needs_confinement = pytest.mark.skipif(
    not HOLDS_ALL, reason=f"this kernel cannot confine a process: {offered(Access()).sentence()}"
)

_NOBODY = 65534
_AS_NOBODY = (
    *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--inh-caps=-all"),
    "--bounding-set=-all",
)
_SAME_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"

WITHOUT_LANDLOCK, WITHOUT_SECCOMP = "landlock_create_ruleset", "seccomp"
_OLDER = """
import runpy, struct, sys
from maas_agent.confinement import calls, filters, kernel
calls_refused, _, *sys.argv[1:] = sys.argv[1:]
machine = calls.machine()
numbers = {"landlock_create_ruleset": 444, "seccomp": filters._SECCOMP[machine.column]}
step = lambda *values: struct.pack("=HBBI", *values)
program = step(0x20, 0, 0, 0)
for name in calls_refused.split(","):
    program += step(0x15, 0, 1, numbers[name]) + step(0x06, 0, 0, 0x00050000 | 38)
kernel.prctl("PR_SET_NO_NEW_PRIVS", 38, 1)
filters.install_program(program + step(0x06, 0, 0, 0x7FFF0000), machine)
runpy.run_module("maas_agent.confinement", run_name="__main__", alter_sys=True)
"""
"""An older kernel: it answers ENOSYS to some calls. No simulation: a filter before the one that is tried."""


def on_an_older_kernel(module: str, *refused: str) -> list[str]:
    """The command that runs ``module`` on a kernel that has not the calls ``refused``; its arguments follow."""
    program = _OLDER.replace('"maas_agent.confinement", run_name', f'"{module}", run_name')
    return [sys.executable, "-P", "-c", program, ",".join(refused), "-"]


def users() -> list[str]:
    """Whom processes can be run as: ``self``, and ``nobody`` where that is somebody else."""
    can_change = os.geteuid() == 0 and shutil.which("setpriv") is not None and _python_of_nobody() is not None
    return ["self", "nobody"] if can_change else ["self"]


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and change, which those of pytest are not."""
    with tempfile.TemporaryDirectory(prefix="maas-confined-") as made:
        folder = Path(made).resolve()
        folder.chmod(0o777)
        yield folder


def run(
    access: Access,
    program: str,
    *arguments: str,
    user: str = "self",
    lacking: Iterable[Lack] = (),
    refused: Iterable[str] = (),
) -> "subprocess.CompletedProcess[str]":
    """Run the Python text ``program``, confined, as ``user``, on a kernel that has not the calls ``refused``."""
    with open_folder() as folder:
        (folder / "attacking.py").write_text(program)
        (folder / "older.py").write_text(_OLDER)
        line = command(access, "attacking", arguments, lacking)
        if refused:
            line = [*line[:2], "-m", "older", ",".join(refused), *line[3:]]
        return run_as(user, line[1:], Path("/"), folder)


def run_as(user: str, arguments: list[str], folder: Path, *paths: Path) -> "subprocess.CompletedProcess[str]":
    """Run Python with ``arguments`` in ``folder`` as ``user``; modules are found in ``paths`` too."""
    environment = os.environ | {
        "PYTHONPATH": ":".join([*map(str, paths), *_paths()]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    line = [sys.executable, *arguments] if user == "self" else [*_AS_NOBODY, str(_python_of_nobody()), *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, timeout=120, env=environment)


def _paths() -> list[str]:
    return [str(Path(maas_agent.__file__ or "").parents[1]), *(path for path in sys.path if path)]


def _python_of_nobody() -> str | None:
    """A Python of our version that nobody in particular may run."""
    for found in (sys.executable, shutil.which(_SAME_VERSION, path="/usr/local/bin:/usr/bin")):
        starts = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', '']))"
        if found and subprocess.run([*_AS_NOBODY, found, "-c", starts], capture_output=True).returncode == 0:
            return found
    return None
