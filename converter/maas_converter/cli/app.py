"""The commands under their names; what each takes and shows is in the modules beside this one."""

from collections.abc import Sequence
from typing import Any

import typer

from maas_agent.errors import UsageError
from maas_converter.cli import conversion, fleet, publishing
from maas_converter.cli.command_list import COMMANDS

app = typer.Typer(
    help="Converts trained models into bundles, proves what that cost, and publishes them.",
    add_completion=False,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="The publisher's keys.", no_args_is_help=False)
repo_app = typer.Typer(help="Repositories of bundles.", no_args_is_help=False)
app.add_typer(keys_app, name="keys")
app.add_typer(repo_app, name="repo")

# What typer raises for a wrong command line; it is click's, and typer carries its own copy of click under another name.
_CommandLineError: Any = typer.BadParameter.__mro__[2]

_INTERRUPTED = 130  # what typer makes of Ctrl-C; older versions raise Abort


def dispatch(arguments: Sequence[str]) -> int:
    """Run the command that ``arguments`` name; raises `UsageError` if they name none."""
    try:
        code = app(list(arguments), standalone_mode=False, prog_name="maas-converter")
    except _CommandLineError as error:
        raise UsageError(f"{error.format_message()} (see maas-converter --help)") from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    if code == _INTERRUPTED:
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


app.command("convert", help=COMMANDS["convert"])(conversion.convert)
app.command("inspect", help=COMMANDS["inspect"])(conversion.inspect)
app.command("evaluate", help=COMMANDS["evaluate"])(conversion.evaluate)
app.command("split", help=COMMANDS["split"])(conversion.split)
keys_app.command("create", help=COMMANDS["keys create"])(publishing.keys_create)
repo_app.command("init", help=COMMANDS["repo init"])(publishing.repo_init)
repo_app.command("refresh", help=COMMANDS["repo refresh"])(publishing.repo_refresh)
repo_app.command("sign", help=COMMANDS["repo sign"])(publishing.repo_sign)
repo_app.command("delegate", help=COMMANDS["repo delegate"])(publishing.repo_delegate)
repo_app.command("rotate", help=COMMANDS["repo rotate"])(publishing.repo_rotate)
repo_app.command("verify", help=COMMANDS["repo verify"])(publishing.repo_verify)
repo_app.command("recipients", help=COMMANDS["repo recipients"])(publishing.repo_recipients)
app.command("publish", help=COMMANDS["publish"])(publishing.publish)
app.command("revoke", help=COMMANDS["revoke"])(publishing.revoke)
app.command("deploy", help=COMMANDS["deploy"])(fleet.deploy)
app.command("fleet", help=COMMANDS["fleet"])(fleet.fleet)
