"""What somebody tries who runs his own code in a process of the agent's: everything that it has no business with.

`program` is a Python text. It is run where it was smuggled in, tries each of its attempts, and writes one line of JSON,
behind `MARK`, to the file that the process logs to: by attempt ``"done"``, or the name of the error that refused it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

MARK = "taken over: "
REFUSED = ("EACCES", "EPERM", "EXDEV")
"""The last one is what Landlock says of a link that would lead out of the folders that it allows."""

_PROGRAM = """
def _attack(GIVEN):
    import ctypes, errno, json, os, signal, socket, stat

    def tried(attempt, *arguments):
        try:
            attempt(*arguments)
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error.errno))
        return "done"

    def read(path):
        with open(path, "rb") as file:
            file.read(1)

    def write(path):
        with open(path, "ab"):
            pass

    def connect(family, address, kind=socket.SOCK_STREAM):
        with socket.socket(family, kind) as made:
            made.settimeout(2)
            made.connect(address)
            made.send(b"x")

    def listen():
        with socket.socket() as made:
            made.bind(("127.0.0.1", 0))
            made.listen()

    def run():
        pid = os.posix_spawn("/bin/true", ["true"], {})
        if os.waitpid(pid, 0)[1]:
            raise OSError(errno.EACCES, "it did not run")

    def fork():
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    def libc(name, *arguments):
        done = getattr(ctypes.CDLL(None, use_errno=True), name)(*map(ctypes.c_long, arguments))
        if done < 0:
            raise OSError(ctypes.get_errno(), name)
        return done

    hub = os.getppid()
    memory = ctypes.create_string_buffer(64)
    attempts = {f"read {name}": (read, path) for name, path in GIVEN["read"].items()}
    attempts |= {f"write {name}": (write, path) for name, path in GIVEN["write"].items()}
    attempts |= {
        "list the store": (os.listdir, GIVEN["store"]),
        "the control socket": (connect, socket.AF_UNIX, GIVEN["store"] + "/control.sock"),
        "listen": (listen,),
        "run a program": (run,),
        "fork": (fork,),
        "signal the hub": (os.kill, hub, 0),
        "signal its group": (os.killpg, os.getpgid(hub), 0),
        "memory of the hub": (read, f"/proc/{hub}/mem"),
        "environment of the hub": (read, f"/proc/{hub}/environ"),
        "files of the hub": (os.listdir, f"/proc/{hub}/fd"),
        "limits of the hub": (libc, "syscall", 302, hub, 7, 0, ctypes.addressof(memory)),
    }
    if GIVEN["confined"]:  # what would change something, or stop the agent
        attempts |= {
            "remove the lock": (os.unlink, GIVEN["store"] + "/lock"),
            "link to the outbox": (os.link, GIVEN["store"] + "/outbox.db", GIVEN["store"] + "/blobs/mine"),
            "change rights": (os.chmod, GIVEN["store"], 0o777),
            "become a program": (os.execve, "/bin/sh", ["sh", "-c", ":"], {}),
            "trace the hub": (libc, "ptrace", 16, hub, 0, 0),
        }
    if GIVEN["broker"]:
        attempts |= {
            "TCP to the broker": (connect, socket.AF_INET, ("127.0.0.1", GIVEN["broker"])),
            "UDP": (connect, socket.AF_INET, ("127.0.0.1", 9), socket.SOCK_DGRAM),
        }
    found = {name: tried(*attempt) for name, attempt in attempts.items()}
    text = (GIVEN["mark"] + json.dumps(found) + "\\n").encode()
    # Libraries' messages are kept while they load: what was kept aside of the process's own output is found here.
    for descriptor in range(2, 64):
        try:
            kind = os.fstat(descriptor).st_mode
            name = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if stat.S_ISREG(kind) and name.endswith(".log"):
            os.write(descriptor, text)
            break

_attack(GIVEN)
"""


def program(
    store: Path, read: Mapping[str, Path], write: Mapping[str, Path], broker: int = 0, *, confined: bool = True
) -> str:
    """What is run; ``broker`` is the port of the device's broker. One that is not ``confined`` stays what it is."""
    given = {
        "mark": MARK,
        "store": str(store),
        "read": {name: str(path) for name, path in read.items()},
        "write": {name: str(path) for name, path in write.items()},
        "broker": broker,
        "confined": confined,
    }
    return f"GIVEN = {given!r}\n{_PROGRAM}"


def outcomes(said: str) -> list[dict[str, str]]:
    """What came of each time that the program ran, from a log."""
    return [json.loads(line.removeprefix(MARK)) for line in said.splitlines() if line.startswith(MARK)]
