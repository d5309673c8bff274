"""What is made once in a run of the tests, also where several processes run them: each would make its own."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Make = Callable[[Path], object]


def once(factory: pytest.TempPathFactory, name: str, make: Make) -> Path:
    """The folder ``name`` that ``make`` filled, for the first process that asks; the others wait for it.

    It is everybody's: a test that needs to change what is in it copies that. A ``make`` that fails is tried again.
    """
    run = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent  # a process has a folder of its own in that of the run
    folder = run / f"once-{name}"
    with (run / f"once-{name}.made").open("a+") as made:
        fcntl.flock(made, fcntl.LOCK_EX)  # released with the file, or with a process that dies
        if os.fstat(made.fileno()).st_size == 0:  # not its position, which is of when it was opened
            folder.mkdir(exist_ok=True)
            make(folder)
            made.write("made")
    return folder
