"""``maas-agent``: run, check, status, install, rollback, enroll, infer, bench.

Each command imports only what it needs: a device starts fast.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from maas_agent import __version__
from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries, write_line
from maas_agent.errors import MaasError

if TYPE_CHECKING:
    from maas_agent.trials.terms import WorkerLimits

_DEFAULT_CONFIG = "/etc/maas-agent/agent.toml"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit status (sysexits)."""
    guard_streams()
    keep_quiet_about_libraries()
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except MaasError as error:
        write_line(f"maas-agent: error: {error}", error=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if options.command is _run:
            raise  # a service has no reader who has seen enough: this is a defect, and has to be seen
        return 0


def _run(options: argparse.Namespace) -> int:
    from maas_agent.base.log import Log
    from maas_agent.config import load_config
    from maas_agent.hub.hub import Hub

    return Hub(load_config(options.config), Log("hub", debug=options.verbose)).run()


def _check(options: argparse.Namespace) -> int:
    from maas_agent.commands.check import check

    return check(options.config, as_json=options.json)


def _status(options: argparse.Namespace) -> int:
    from maas_agent.commands.status import show_status

    return show_status(options.config, as_json=options.json)


def _install(options: argparse.Namespace) -> int:
    from maas_agent.commands.install import install

    return install(options.config, options.bundle, options.pipeline, as_json=options.json)


def _rollback(options: argparse.Namespace) -> int:
    from maas_agent.commands.install import roll_back

    return roll_back(options.config, options.pipeline, options.reason, as_json=options.json)


def _enroll(options: argparse.Namespace) -> int:
    from maas_agent.commands.enroll import enroll

    return enroll(options.config, as_json=options.json)


def _infer(options: argparse.Namespace) -> int:
    from maas_agent.commands.infer import infer
    from maas_agent.runtime.setup import CPU, Setup

    name = CPU if options.accelerator == "auto" else options.accelerator
    setup = Setup(name, options=dict(options.option), library=options.runtime)
    return infer(options.bundle, options.file, setup, _limits(options), as_json=options.json)


def _bench(options: argparse.Namespace) -> int:
    from maas_agent.commands.bench import bench
    from maas_agent.config import ACCELERATOR
    from maas_agent.errors import UsageError
    from maas_agent.trials.terms import Terms

    if not ACCELERATOR.match(options.accelerator):
        raise UsageError(f"--accelerator {options.accelerator}: choose one of auto, cpu, gpu, npu, delegate:PATH")
    terms = Terms(options.accelerator, options.threads, dict(options.option), options.runtime, limits=_limits(options))
    return bench(options.bundle, terms, as_json=options.json)


def _limits(options: argparse.Namespace) -> "WorkerLimits":
    """What the process that runs the model may reach, as in a worker."""
    from maas_agent.trials.terms import WorkerLimits

    return WorkerLimits(confine=not options.unconfined, allow_paths=tuple(options.allow))


def _key_and_value(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _add_setup(parser: argparse.ArgumentParser, accelerators: str) -> None:
    """The arguments that say what a bundle runs on."""
    parser.add_argument("--accelerator", default="auto", metavar="NAME", help=accelerators)
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_key_and_value,
        metavar="KEY=VALUE",
        help="an option of the accelerator; may be given again",
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        choices=("auto", "ai-edge-litert", "tflite-runtime"),
        help="the interpreter library (default: the first that is installed)",
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="PATH",
        help="a file, folder or device that the accelerator needs beside its own; may be given again",
    )
    parser.add_argument("--unconfined", action="store_true", help="let the model's process reach all that you do")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]  # exits, as argparse's own does
        self.print_usage(sys.stderr)
        write_line(f"{self.prog}: error: {message}", error=True)  # it repeats arguments: names of files, too
        self.exit(64)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="maas-agent", description="Serve models on this device.")
    parser.add_argument("--version", action="version", version=f"maas-agent {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="serve until SIGTERM; what the systemd unit starts")
    run.add_argument("--verbose", action="store_true", help="log more")
    run.set_defaults(command=_run)

    check = commands.add_parser(
        "check", help="test configuration, broker, repository, clock, disk, runtime and accelerators"
    )
    check.set_defaults(command=_check)

    status = commands.add_parser("status", help="ask the running agent how it is")
    status.set_defaults(command=_status)

    install = commands.add_parser("install", help="test a bundle from a file, and serve it if it passes")
    install.add_argument("bundle", type=Path, metavar="BUNDLE", help="a signed .maas file")
    install.add_argument("--pipeline", metavar="NAME", help="only for this pipeline (default: all that run its model)")
    install.set_defaults(command=_install)

    rollback = commands.add_parser("rollback", help="go back to the bundle that a pipeline ran before")
    rollback.add_argument("pipeline", metavar="PIPELINE", help="its name")
    rollback.add_argument("--reason", default="somebody asked for it", help="told on the state topic")
    rollback.set_defaults(command=_rollback)

    enroll = commands.add_parser("enroll", help="make this device's key for sealed bundles, and print its public half")
    enroll.set_defaults(command=_enroll)

    for command in (run, check, status, install, rollback, enroll):
        command.add_argument("--config", type=Path, default=Path(_DEFAULT_CONFIG), metavar="FILE", help=_CONFIG_HELP)

    infer = commands.add_parser("infer", help="run a bundle on files, without an agent")
    infer.add_argument("bundle", type=Path, metavar="BUNDLE", help="a .maas file")
    infer.add_argument("file", nargs="+", metavar="FILE", help=_FILE_HELP)
    _add_setup(infer, "cpu, gpu, npu or delegate:PATH; auto (the default) is cpu: nothing is tried out here")
    infer.set_defaults(command=_infer)

    bench = commands.add_parser("bench", help="measure a bundle on every accelerator of this device")
    bench.add_argument("bundle", type=Path, metavar="BUNDLE", help="a .maas file")
    bench.add_argument("--threads", type=int, default=0, metavar="N", help="threads to try (default: 1, 2 and 4)")
    _add_setup(bench, "auto (all there are), cpu, gpu, npu or delegate:PATH")
    bench.set_defaults(command=_bench)

    for command in (check, status, install, rollback, enroll, infer, bench):
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


_FILE_HELP = "PNG, JPEG, WAV, JSON or raw bytes; .npz or CSV, a sample a row; - is standard input"
_CONFIG_HELP = f"the configuration (default: {_DEFAULT_CONFIG})"
