"""A confined process does what its work needs, and nothing else, whoever starts it: these attacks run as root too."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import offered
from tests.confining import (
    ATTACKING,
    ATTACKS,
    WITHOUT_LANDLOCK,
    WITHOUT_SECCOMP,
    needs_confinement,
    open_folder,
    run,
    users,
)
from tests.ports import free_port

GIB = 1 << 30


@pytest.fixture
def places():
    """A secret, a folder with a model and a link to the secret, a folder for scratch."""
    with open_folder() as folder:
        for name in ("home", "given", "scratch"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        (folder / "home" / "secret").write_text("key")
        (folder / "given" / "model").write_text("a model")
        (folder / "given" / "out").symlink_to(folder / "home" / "secret")
        for path in (folder / "home" / "secret", folder / "given" / "model"):
            path.chmod(0o666)
        yield folder


@needs_confinement
@pytest.mark.parametrize("user", users())
def test_what_it_was_not_given_is_refused_and_its_work_is_not(places, user):
    secret, scratch = places / "home" / "secret", places / "scratch"
    before = secret.stat()
    access = Access((str(places / "given"),), (str(scratch),), memory_bytes=2 * GIB, file_bytes=GIB)
    told = json.dumps([ATTACKS, str(secret), str(places / "given"), str(scratch), free_port()])
    done = run(access, ATTACKING, told, user=user)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads((scratch / "told").read_text())
    assert [name for name, outcome in outcomes.items() if outcome == "done"] == []
    assert outcomes.keys() == ATTACKS.keys()
    # What it was there for.
    assert (scratch / "made").read_text() == "a model"
    assert sorted(path.name for path in scratch.iterdir()) == ["inner", "made", "thread", "told"]
    # Nothing is left elsewhere.
    assert sorted(path.name for path in (places / "home").iterdir()) == ["secret"]
    assert (secret.read_text(), (places / "given" / "model").read_text()) == ("key", "a model")
    after = secret.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (before.st_mode, before.st_uid, before.st_mtime_ns)
    assert not Path("/dev/shm/maas-confined-attack").exists()


def test_without_it_the_same_attacks_get_through(places):
    """They are attacks: those that harm nobody but these folders."""
    secret = places / "home" / "secret"
    tried = (
        *("reads a secret", "lists a folder", "changes what it may read", "makes a file", "starts a program"),
        *("makes a link for others to follow", "sends a datagram", "opens a file to everybody", "speaks to the kernel"),
        *("speaks to a local service", "shares memory that nobody counts"),
    )
    attacks = {name: ATTACKS[name] for name in tried}
    told = json.dumps([attacks, str(secret), str(places / "given"), str(places / "scratch"), free_port()])
    (places / "attacking.py").write_text(ATTACKING)
    subprocess.run([sys.executable, str(places / "attacking.py"), told], check=True, timeout=60)
    assert set(json.loads((places / "scratch" / "told").read_text()).values()) == {"done"}


@needs_confinement
@pytest.mark.parametrize("user", users())
def test_it_does_what_it_is_allowed_to(places, user):
    program = """
import mmap, os, socket, subprocess, sys
server, path = int(sys.argv[1]), sys.argv[2]
with socket.create_connection(("127.0.0.1", server), timeout=30) as connected:
    connected.sendall(b"here")
os.chmod(path, 0o600)
os.memfd_create("x"), mmap.mmap(-1, 1 << 20)
listed = subprocess.run(["/bin/cat", path, "/proc/self/comm"], capture_output=True, text=True)
print(listed.stdout.split(), listed.stderr)
try:
    socket.create_server(("127.0.0.1", 0))
except OSError:
    print("listens not")
print(subprocess.run(["/bin/cat", sys.argv[3]], stderr=subprocess.DEVNULL).returncode)
"""
    own = places / "scratch" / "own"
    with socket.create_server(("127.0.0.1", 0)) as server:
        access = Access(
            write=(str(places / "scratch"),), network=True, programs=True, attributes=True, shared_memory=True
        )
        given = f"open({str(own)!r}, 'w').write('mine ')\n" + program
        done = run(access, given, str(server.getsockname()[1]), str(own), str(places / "home" / "secret"), user=user)
        assert done.stdout.split("\n")[:3] == ["['mine', 'cat'] ", "listens not", "1"], done.stderr
        assert server.accept()[0].recv(9) == b"here"
    assert own.stat().st_mode & 0o777 == 0o600


@needs_confinement
def test_what_it_forks_is_held_too(places):
    program = """
import os, sys
if os.fork() == 0:
    open(sys.argv[1])
print(os.waitstatus_to_exitcode(os.wait()[1]), open("/proc/self/comm").read().strip())
"""
    done = run(Access(processes=True), program, str(places / "home" / "secret"))
    assert done.stdout.split()[0] == "1"
    assert "PermissionError" in done.stderr


@needs_confinement
class TestPaths:
    READ = "import sys; print([open(path).read() for path in sys.argv[1:]])"

    def reads(self, *paths: Path, given: Path) -> str:
        done = run(Access((str(given), "/no/such/place")), self.READ, *map(str, paths))
        return done.stdout.strip() or done.stderr.splitlines()[-1].partition(":")[0]

    def test_a_file_a_folder_and_what_a_link_leads_to(self, places):
        model = places / "given" / "model"
        (places / "a link").symlink_to(places / "given")
        (places / "file link").symlink_to(model)
        deep = places / "given" / ("long " * 40) / "ä"
        deep.mkdir(parents=True)
        (deep / "model").write_text("deep")
        assert self.reads(model, given=model) == "['a model']"
        assert self.reads(deep / "model", given=places / "given") == "['deep']"
        assert self.reads(places / "a link" / "model", model, given=places / "a link") == "['a model', 'a model']"
        assert self.reads(places / "file link", given=places / "file link") == "['a model']"
        assert self.reads(places / "home" / "secret", given=model) == "PermissionError"

    def test_a_link_that_is_changed_later_leads_nowhere(self, places):
        """What it leads to is found when the process is confined, not when the file is opened."""
        link = places / "moving"
        link.symlink_to(places / "given" / "model")
        change = f"import os; os.path.lexists({str(link)!r})\n"
        done = run(Access((str(link),)), change + self.READ, str(places / "given" / "model"))
        assert done.stdout.strip() == "['a model']"
        link.unlink()
        link.symlink_to(places / "home" / "secret")
        assert self.reads(link, given=places / "given") == "PermissionError"


@needs_confinement
def test_processor_time_has_an_end():
    assert run(Access(cpu_seconds=2), "while True: pass").returncode == -signal.SIGXCPU


@needs_confinement
def test_threads_that_run_already_are_told_of():
    program = """
import threading, time
from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import confine
from maas_agent.confinement.landlock import holds_all_threads
waits = threading.Event()
threading.Thread(target=waits.wait).start()
held = confine(Access())
print(holds_all_threads(held.landlock) or held.lacking)
waits.set()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() in ("True", "('threads',)"), done.stderr


class TestOtherKernels:
    """A kernel that cannot do all of it says so, and nothing is started that was not to be without."""

    PROGRAM = "import sys; print(open(sys.argv[1]).read())"

    @needs_confinement
    @pytest.mark.parametrize(
        ("refused", "says"),
        [
            ((WITHOUT_LANDLOCK,), "every file that its user can"),
            ((WITHOUT_SECCOMP,), "can reach the network"),
            ((WITHOUT_LANDLOCK, WITHOUT_SECCOMP), "can start programs"),
        ],
    )
    def test_nothing_is_started_there(self, places, refused, says):
        done = run(Access(), self.PROGRAM, str(places / "home" / "secret"), refused=refused)
        assert (done.returncode, done.stdout) == (69, "")
        assert says in done.stderr

    @needs_confinement
    def test_unless_whoever_starts_it_said_so(self, places):
        done = run(
            Access(), self.PROGRAM, str(places / "home" / "secret"), refused=[WITHOUT_LANDLOCK], lacking=["files"]
        )
        assert done.stdout == "key\n", done.stderr

    @needs_confinement
    @pytest.mark.parametrize("version", range(1, offered(Access()).landlock + 1))
    def test_older_versions_of_landlock_hold_the_same(self, places, version):
        """What they know less of, the filter holds; the first one also refuses to move a file to another folder."""
        older = f"""
import sys
from maas_agent.confinement import landlock
landlock.version = lambda: {version}
from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import confine
held = confine(Access(("{places}/given",), ("{places}/scratch",), file_bytes=1 << 30, memory_bytes=2 << 30))
assert (held.landlock, held.lacking) == ({version}, ()), held
"""
        program = (
            ATTACKING if version > 1 else "\n".join(line for line in ATTACKING.split("\n") if "rename(" not in line)
        )
        scratch = places / "scratch"
        told = json.dumps([ATTACKS, str(places / "home" / "secret"), str(places / "given"), str(scratch), free_port()])
        done = subprocess.run([sys.executable, "-c", older + program, told], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        outcomes = json.loads((scratch / "told").read_text())
        assert [name for name, outcome in outcomes.items() if outcome == "done"] == []
        assert (places / "home" / "secret").read_text() == "key"


def test_it_costs_nothing_where_it_is_not_used():
    """It is loaded in a few milliseconds, and without ctypes."""
    program = (
        "import sys, time, msgspec; before = time.process_time(); import maas_agent.confinement.confine; "
        "print(time.process_time() - before, 'ctypes' in sys.modules)"
    )
    best = min(
        (subprocess.check_output([sys.executable, "-c", program], text=True).split() for _ in range(3)),
        key=lambda told: float(told[0]),
    )
    assert float(best[0]) < 0.02
    assert best[1] == "False"


def test_on_another_system_it_says_that_it_holds_nothing():
    """The numbers of calls are Linux's: none is made there."""
    program = (
        "import platform; platform.system = lambda: 'Darwin'\n"
        "from maas_agent.confinement.access import Access\n"
        "from maas_agent.confinement.confine import confine, offered\n"
        "print(offered(Access()).lacking, confine(Access()).lacking)\n"
    )
    told = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=60)
    assert told == f"{('files', 'network', 'programs', 'kernel', 'signals')} " + (
        f"{('files', 'network', 'programs', 'kernel', 'signals', 'privileges')}\n"
    )
