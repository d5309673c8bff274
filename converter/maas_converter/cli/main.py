"""The process's edge: arguments in, exit code out; one sentence for everything a user can do wrong.

Exit codes are those of BSD ``sysexits.h``, see `maas_agent.errors`; 130 after Ctrl-C. This module needs nothing but the
standard library, so that ``maas-converter --help`` answers where the ``converter`` extra is not installed.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from maas_agent import __version__
from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries, write_line, write_lines
from maas_agent.errors import MaasError, UsageError
from maas_converter.base.extras import INSTALL, require
from maas_converter.cli.command_list import COMMANDS

if TYPE_CHECKING:
    from maas_converter.base.outlet import Promise

_EX_SOFTWARE, _INTERRUPTED = 70, 130

_ISOLATED = {"convert", "evaluate", "inspect", "split"}
"""Those that read models from anywhere, and mostly run them."""


def main() -> None:
    """Entry point of ``maas-converter``."""
    guard_streams()
    keep_quiet_about_libraries()
    arguments = sys.argv[1:]
    if not arguments or arguments[0] not in _ISOLATED:
        sys.exit(run(arguments))
    from maas_converter.base.isolation import isolated

    try:
        sys.exit(isolated(lambda: run(arguments), {"signer": _check_signer, "sign": _sign}))
    except MaasError as error:
        sys.exit(_fail(str(error), error.exit_code))


def _check_signer(promised: "Promise", content: bytes) -> bytes:
    from maas_converter.cli.signing import check_signer

    return check_signer(promised, content)


def _sign(promised: "Promise", content: bytes) -> bytes:
    from maas_converter.cli.signing import sign

    return sign(promised, content)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        return _dispatch(arguments)
    except MaasError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone, as in "| head"; nobody is left to tell, not even by Python at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EX_SOFTWARE
    except Exception as error:
        if os.environ.get("MAAS_TRACEBACK"):
            sys.excepthook(*sys.exc_info())
        kind = type(error).__name__
        return _fail(f"a defect of maas-converter ({kind}: {error}); MAAS_TRACEBACK=1 shows where", _EX_SOFTWARE)


def _dispatch(arguments: Sequence[str]) -> int:
    if list(arguments) == ["--version"]:
        write_line(f"maas-converter {__version__}")
        return 0
    try:
        from maas_converter.cli import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        return _without_extra(arguments)
    return app.dispatch(arguments)


def _without_extra(arguments: Sequence[str]) -> int:
    if not arguments:
        raise UsageError("name a command: maas-converter --help lists them")
    if "--help" not in arguments:
        require(f"maas-converter {arguments[0]}", "typer", "rich")
    lines = [f"  {name:<14}{what}" for name, what in COMMANDS.items()]
    write_lines(["Usage: maas-converter COMMAND …", "", *lines, "", f"Needs: {INSTALL}"])
    return 0


def _fail(sentence: str, code: int) -> int:
    write_line(f"maas-converter: error: {' '.join(sentence.split())}", error=True)
    return code
