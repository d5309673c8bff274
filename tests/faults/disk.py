"""A small disk of its own for the agent's store, that can be filled to the last byte. Needs root, to mount it."""

import errno
import subprocess
from pathlib import Path

_BYTES = 8 << 20


def refused() -> str:
    """What is said when one is mounted here; empty if it can be."""
    # In a mount namespace of its own: it is gone with the command.
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return tried.stderr.strip() or "mount failed" if tried.returncode else ""


class Disk:
    """``folder`` is where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_BYTES}", "tmpfs", folder], check=True)

    def fill(self) -> None:
        """Leave no byte for anybody else."""
        with self._filler.open("ab", buffering=0) as filler:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while filler.write(bytes(size)):
                        pass
                except OSError as error:
                    assert error.errno == errno.ENOSPC, error

    def free(self) -> None:
        """Give the space back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)
