"""There is one door by which the converter starts a process, and it asks what that process may do."""

import ast
from pathlib import Path

import maas_converter
from maas_converter.base import sandbox

_STARTING = {
    "fork", "forkpty", "posix_spawn", "posix_spawnp", "system", "popen", "Popen", "run", "call", "check_call",
    "check_output", "getoutput", "getstatusoutput", "create_subprocess_exec", "create_subprocess_shell",
}  # fmt: skip
_MODULES = {"os", "subprocess", "asyncio", "multiprocessing", "pty", "_posixsubprocess"}
DOORS = {"base/sandbox.py": {"Popen"}, "base/isolation.py": {"fork"}}
"""A program, confined; a fork of the command, which confines itself."""


def test_nothing_else_in_the_converter_starts_a_process():
    root = Path(maas_converter.__file__).parent
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        for name in _started(ast.parse(path.read_text())):
            found.setdefault(str(path.relative_to(root)), set()).add(name)
    assert found == DOORS


def _started(tree: ast.AST) -> list[str]:
    """What starts processes: ``os.fork``, ``subprocess.run`` and the like, by whatever name they were imported."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in _MODULES:
                found += [name] if name in _STARTING or name.startswith(("exec", "spawn")) else []
            case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in _MODULES - {"asyncio"}:
                found += [alias.name for alias in names if alias.name in _STARTING or alias.name == "Process"]
            case ast.Import(names=names):
                found += [alias.name for alias in names if alias.name.startswith(("multiprocessing", "pty"))]
            case ast.ImportFrom(module="concurrent.futures", names=names):
                found += [alias.name for alias in names if alias.name == "ProcessPoolExecutor"]
    return found


def test_links_of_data_are_followed_and_those_of_a_model_only_to_itself(tmp_path):
    """Who made a model made its links: one to a secret gives nobody leave to read that."""
    for name in ("model", "data", "elsewhere", "blobs"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "secret").write_text("the key")
    (tmp_path / "blobs" / "1f").write_text("weights")
    for folder in ("model", "data"):
        (tmp_path / folder / "out").symlink_to("../elsewhere/secret")
        (tmp_path / folder / "above").symlink_to(tmp_path)
        (tmp_path / folder / "kept").symlink_to("../blobs/1f")
        (tmp_path / folder / "loop").symlink_to("loop")
    model, data = tmp_path / "model", tmp_path / "data"
    loops = {str(model / "loop")}
    assert set(sandbox.access([model], tmp_path).read) - loops == {str(model), str(tmp_path / "blobs" / "1f")}
    given = set(sandbox.access([], tmp_path, [data]).read)
    assert {str(data), str(tmp_path / "elsewhere" / "secret"), str(tmp_path / "blobs" / "1f")} <= given
    assert str(tmp_path) not in given
