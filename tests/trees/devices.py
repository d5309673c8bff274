"""A tree with this project installed as its user does: a virtual environment, and pip."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.trees.debian import Running, Tree, made
from tests.trees.packages import ROOT, download, project_wheel, requirements

_ENVIRONMENT = "/opt/maas-edge"
_WHEELS = "/srv/wheels"
_FILES = "/srv/files"


class TreeDevice:
    """``maas-agent`` in a tree."""

    def __init__(self, tree: Tree) -> None:
        self.tree, self.architecture = tree, tree.architecture

    def agent(self, *arguments: str) -> Any:
        """Run ``maas-agent … --json``, which has to succeed; its document."""
        return json.loads(self.tree.run(f"{_ENVIRONMENT}/bin/maas-agent", *arguments, "--json").stdout)

    def serve(self, config: str, log: Path) -> Running:
        """Start ``maas-agent run``; ``config`` is its path inside."""
        return self.tree.start(log, f"{_ENVIRONMENT}/bin/maas-agent", "run", "--config", config)

    def python(self, code: str) -> str:
        """What a line of Python prints there."""
        return self.tree.run(f"{_ENVIRONMENT}/bin/python", "-c", code).stdout.strip()

    def place(self, *files: Path) -> list[str]:
        """Copy files into the tree; their paths there."""
        return [self.tree.place(file, _FILES) for file in files]

    def configure(self, url: str, tables: str) -> str:
        """Write a configuration with an empty store; its path inside."""
        shutil.rmtree(self.tree.root / "var/lib/maas-agent", ignore_errors=True)
        path = self.tree.root / "etc/maas-agent/agent.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'[device]\nid = "{self.tree.name}"\n[broker]\nurl = "{url}"\n{tables}')
        return "/etc/maas-agent/agent.toml"


def device(name: str, cache: Path, packages: tuple[str, ...] = ()) -> TreeDevice:
    """The device of that architecture: its tree, and this project's wheel in it. What is there is used again."""
    tree = made(name, cache, packages)
    shutil.rmtree(tree.root / _FILES.lstrip("/"), ignore_errors=True)
    with TemporaryDirectory() as folder:
        _install(tree, project_wheel(Path(folder)))
    return TreeDevice(tree)


def _install(tree: Tree, wheel: Path) -> None:
    """Into a new environment where the requirements have changed; else only the project's wheel is new."""
    stamp, asked = tree.root / "srv/requirements", _asked(tree, wheel)
    path = tree.place(wheel, "/srv")
    pip = (f"{_ENVIRONMENT}/bin/pip", "install", "--no-index", "--disable-pip-version-check")
    if stamp.exists() and stamp.read_text() == asked:
        tree.run(*pip, "--no-deps", "--force-reinstall", path)
        return
    stamp.unlink(missing_ok=True)
    _fetch(tree, wheel)
    shared = ["--system-site-packages"] if tree.architecture.provided else []
    tree.run("python3", "-m", "venv", "--clear", *shared, _ENVIRONMENT)
    tree.run(*pip, "--find-links", _WHEELS, path)
    stamp.write_text(asked)


def _fetch(tree: Tree, wheel: Path) -> None:
    folder = tree.root / _WHEELS.lstrip("/")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    download(requirements(wheel, tree.architecture), tree.architecture, folder)


def _asked(tree: Tree, wheel: Path) -> str:
    """A digest of everything that decides what is installed beside the wheel."""
    required = sorted(map(str, requirements(wheel, tree.architecture)))
    pinned = (ROOT / "constraints.txt").read_text()
    return sha256(repr((required, pinned, tree.architecture)).encode()).hexdigest()
