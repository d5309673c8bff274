"""The commands: what each takes, and how what comes of it is shown. What they do is elsewhere, and imported late."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from maas_agent.errors import UsageError
from maas_converter.cli import COMMANDS

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

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .maas file.")]
RepositoryPath = Annotated[Path, typer.Argument(metavar="DIR", help="The repository's folder.")]
KeysPath = Annotated[Path, typer.Option("--keys", metavar="DIR", help="The folder that 'keys create' made.")]


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


@app.command(help=COMMANDS["convert"])
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A Keras 3 model (.keras).")],
    name: Annotated[str, typer.Option(help="The bundle's name: lower-case letters, digits, '.', '_', '-'.")],
    version: Annotated[str, typer.Option(help="Its version, as in 1.2.0 (semver.org).")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.maas", help="The bundle to write.")],
    calibration: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Samples that quantization measures ranges on (.npz).")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Samples with classes that accuracy is measured on (.npz).")
    ] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")] = None,
    quantize: Annotated[str, typer.Option(metavar="RECIPE", help="int8 or float32.")] = "int8",
    preprocess: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="How a sample becomes the model's input.")
    ] = None,
    keys: Annotated[Path | None, typer.Option(metavar="DIR", help="Sign the bundle with these keys.")] = None,
    json: Json = False,
) -> None:
    """Import, quantize, prove, pack."""
    from maas_converter import console, summary
    from maas_converter.convert import convert as run
    from maas_converter.order import Order

    order = Order(
        source=source,
        name=name,
        version=version,
        out=out,
        quantize=quantize,
        calibration=calibration,
        evaluation=evaluation,
        labels=labels,
        preprocess=preprocess,
        keys=keys,
    )
    conversion = run(order, console.TerminalProgress())
    _answer(json, conversion)
    if not json:
        summary.show_conversion(conversion)


@app.command(help=COMMANDS["inspect"])
def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Open, verify, describe."""
    from maas_agent.bundle.archive import open_bundle
    from maas_converter import console, describe

    with open_bundle(bundle) as opened:
        contents = describe.contents_of(bundle, opened)
    _answer(json, describe.document(contents))
    if not json:
        console.show_facts(describe.facts(contents))


@app.command(help=COMMANDS["evaluate"])
def evaluate(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option(metavar="DATA", help="Samples with classes (.npz).")],
    json: Json = False,
) -> None:
    """Measure accuracy and latency as a device would see them."""
    from maas_converter import console, summary
    from maas_converter.evaluate import evaluate_bundle

    evaluation = evaluate_bundle(bundle, data, console.TerminalProgress())
    _answer(json, evaluation)
    if not json:
        summary.show_evaluation(evaluation)


@keys_app.command("create", help=COMMANDS["keys create"])
def keys_create(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder for them, new or empty.")], json: Json = False
) -> None:
    """One key for each role."""
    from maas_converter.console import say
    from maas_converter.keys import create_keys

    keyids = create_keys(folder)
    _answer(json, {"folder": str(folder), "keys": keyids})
    if not json:
        say(f"made keys for {', '.join(keyids)} in {folder}: keep root.pem off-line, and a copy of all of them")


@repo_app.command("init", help=COMMANDS["repo init"])
def repo_init(folder: RepositoryPath, keys: KeysPath, json: Json = False) -> None:
    """Static files for any web server."""
    from maas_converter.console import say
    from maas_converter.repository import init_repository

    init_repository(folder, keys)
    _answer(json, {"repository": str(folder)})
    if not json:
        say(f"made the repository {folder}: devices trust it by a copy of {folder / 'metadata' / 'root.json'}")


@repo_app.command("refresh", help=COMMANDS["repo refresh"])
def repo_refresh(folder: RepositoryPath, keys: KeysPath, json: Json = False) -> None:
    """To be run regularly."""
    from maas_converter.console import say
    from maas_converter.repository import refresh_repository

    refreshed = refresh_repository(folder, keys)
    _answer(json, refreshed)
    if not json:
        say(f"signed anew: {', '.join(refreshed.signed)}")
        for role in refreshed.overdue:
            say(f"{role} expires on {refreshed.expires[role]:%Y-%m-%d} and its key is not in {keys}")


@app.command(help=COMMANDS["publish"])
def publish(
    bundle: BundlePath,
    repo: Annotated[Path, typer.Option(metavar="DIR", help="The repository's folder.")],
    keys: KeysPath,
    channel: Annotated[str, typer.Option(help="The channel that points at this version from now on.")] = "stable",
    json: Json = False,
) -> None:
    """Devices on the channel get it at their next poll."""
    from maas_converter.console import say
    from maas_converter.repository import publish as run

    published = run(bundle, repo, keys, channel)
    _answer(json, published)
    if not json:
        new = f"{published.new_blobs} new blobs, {published.new_bytes} bytes"
        say(f"published {published.name} {published.version} ({published.digest[:12]}…) on {channel}: {new}")


def _answer(json: bool, document: Any) -> None:
    """With ``--json``, the one thing that ever goes to standard output."""
    if json:
        import msgspec

        from maas_converter.document import whole

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(whole(document)), indent=2).decode() + "\n")
        sys.stdout.flush()
