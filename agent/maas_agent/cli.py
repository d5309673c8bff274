"""``maas-agent``: run, check, status, infer. Each command imports only what it needs: a device starts fast."""

import argparse
import sys
from pathlib import Path

from maas_agent import __version__
from maas_agent.errors import MaasError

_DEFAULT_CONFIG = "/etc/maas-agent/agent.toml"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status (sysexits)."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except MaasError as error:
        print(f"maas-agent: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough


def _run(options: argparse.Namespace) -> int:
    from maas_agent.config import load_config
    from maas_agent.hub.hub import Hub
    from maas_agent.log import Log

    return Hub(load_config(options.config), Log("hub", debug=options.verbose)).run()


def _check(options: argparse.Namespace) -> int:
    from maas_agent.check import check

    return check(options.config, as_json=options.json)


def _status(options: argparse.Namespace) -> int:
    from maas_agent.status import show_status

    return show_status(options.config, as_json=options.json)


def _infer(options: argparse.Namespace) -> int:
    from maas_agent.infer import infer

    return infer(options.bundle, options.file, options.accelerator, as_json=options.json)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # exits, as argparse's own does
        self.print_usage(sys.stderr)
        self.exit(64, f"{self.prog}: error: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="maas-agent", description="Serve models on this device.")
    parser.add_argument("--version", action="version", version=f"maas-agent {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="serve until SIGTERM; what the systemd unit starts")
    run.add_argument("--verbose", action="store_true", help="log more")
    run.set_defaults(command=_run)

    check = commands.add_parser("check", help="test configuration, broker, repository, runtime and disk")
    check.set_defaults(command=_check)

    status = commands.add_parser("status", help="ask the running agent how it is")
    status.set_defaults(command=_status)

    for command in (run, check, status):
        command.add_argument("--config", type=Path, default=Path(_DEFAULT_CONFIG), metavar="FILE", help=_CONFIG_HELP)

    infer = commands.add_parser("infer", help="run a bundle on files, without an agent")
    infer.add_argument("bundle", type=Path, metavar="BUNDLE", help="a .maas file")
    infer.add_argument("file", nargs="+", metavar="FILE", help="PNG, JPEG, JSON or raw bytes; - is standard input")
    infer.add_argument("--accelerator", default="auto", help="auto or cpu")
    infer.set_defaults(command=_infer)

    for command in (check, status, infer):
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


_CONFIG_HELP = f"the configuration (default: {_DEFAULT_CONFIG})"
