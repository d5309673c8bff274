"""``convert``, ``inspect``, ``evaluate`` and ``split`` on the command line: arguments in, what came of it out."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from maas_agent.errors import UsageError
from maas_converter.base import sandbox
from maas_converter.base.json_output import answer
from maas_converter.base.outlet import Promise, journals_folder
from maas_converter.cli.options import Json, PassphraseFile

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A .maas file.")]
_TASK_HELP = "classification, regression or anomaly. Default: told from the data and the model's output."
_ACTIVATION_HELP = "What makes scores of the outputs: none, softmax, sigmoid or auto (told from the model; default)."


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A model (.keras, .h5, SavedModel folder, .tflite), or a graph file (.toml)."
        ),
    ],
    name: Annotated[str, typer.Option(help="The bundle's name: lower-case letters, digits, '.', '_', '-'.")],
    version: Annotated[str, typer.Option(help="Its version, as in 1.2.0 (semver.org).")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT.maas", help="The bundle to write.")],
    calibration: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Samples that quantization measures ranges on.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Samples with classes or targets that quality is measured on.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK", help=_TASK_HELP)] = None,
    activation: Annotated[str | None, typer.Option(metavar="NAME", help=_ACTIVATION_HELP)] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Names of the classes, one a line.")] = None,
    preprocess: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="How a sample becomes the model's input.")
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="float32, float16, dynamic, dynamic4, int8 (default), int16x8, int4 or auto.",
        ),
    ] = None,
    io: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Type of inputs and outputs: float, int8, uint8."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(metavar="POINTS", help="Points that may be lost, else nothing is written. Default: auto 1."),
    ] = None,
    max_size: Annotated[int | None, typer.Option(metavar="BYTES", help="auto: largest .tflite.")] = None,
    max_latency: Annotated[
        float | None, typer.Option(metavar="MS", help="auto: longest median inference on this machine.")
    ] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="SIZES", help="Sizes of one sample, without the batch: 96,96,3.")
    ] = None,
    signature: Annotated[str | None, typer.Option(metavar="KEY", help="Which signature of a SavedModel.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code in the model file: Lambda layers, ops that may reach files.")
    ] = False,
    custom: Annotated[
        Path | None, typer.Option(metavar="FILE.py", help="Python file with the model's own classes; needs --trust.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Convert although the calibration data look wrong.")] = False,
    allow_float: Annotated[
        bool, typer.Option("--allow-float", help="Accept that ops the recipe cannot quantize stay float.")
    ] = False,
    report: Annotated[Path | None, typer.Option(metavar="DIR", help="Write report.html and report.json there.")] = None,
    keys: Annotated[Path | None, typer.Option(metavar="DIR", help="Sign the bundle with these keys.")] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Import, quantize, prove, pack."""
    promised = Promise(
        files=(str(out.absolute()),),
        into=(str(report.absolute()),) if report is not None else (),
        journals=str(journals_folder()) if quantize == "auto" else "",
        keys=str(keys) if keys is not None else "",
        passphrase_file=str(passphrase_file) if passphrase_file is not None else "",
        name=name,
        version=version,
    )
    models = [source, *_named_in(source)]
    data = [calibration, evaluation, labels, preprocess, custom]
    # Importers are programs. That the kernel cannot confine is said of each model.
    sandbox.confine_command(models, data, promised, trusted=trust, programs=True)
    from maas_converter.base import console
    from maas_converter.cli import summary
    from maas_converter.convert.conversion import convert as run
    from maas_converter.convert.request import ConversionRequest, limits_of, shape_of

    request = ConversionRequest(
        source=source,
        name=name,
        version=version,
        out=out,
        quantize=quantize,
        io=io,
        limits=limits_of(max_drop, max_size, max_latency),
        max_drop=max_drop,
        calibration=calibration,
        evaluation=evaluation,
        task=task,
        activation=activation,
        labels=labels,
        preprocess=preprocess,
        input_shape=shape_of(input_shape),
        signature=signature,
        trust=trust,
        custom=custom,
        force=force,
        allow_float=allow_float,
        report=report,
        keys=keys,
    )
    conversion = run(request, console.TerminalProgress())
    answer(json, conversion)
    if not json:
        summary.show_conversion(conversion)


def inspect(bundle: BundlePath, json: Json = False) -> None:
    """Open, verify, describe."""
    sandbox.confine_command([bundle], [], Promise())
    from maas_agent.bundle.archive import open_bundle
    from maas_converter.base import console
    from maas_converter.cli import description

    with open_bundle(bundle) as opened:
        contents = description.describe_bundle(bundle, opened)
    answer(json, description.document(contents))
    if not json:
        console.show_facts(description.facts(contents))


def evaluate(
    bundle: BundlePath,
    data: Annotated[Path, typer.Option(metavar="DATA", help="Samples with classes or targets.")],
    task: Annotated[str | None, typer.Option(metavar="TASK", help=_TASK_HELP)] = None,
    output: Annotated[str | None, typer.Option(metavar="NAME", help="Which output, if there are several.")] = None,
    json: Json = False,
) -> None:
    """Measure quality and latency as a device would see them."""
    sandbox.confine_command([bundle], [data], Promise(), told=True)
    from maas_converter.base import console
    from maas_converter.cli import summary
    from maas_converter.evidence.evaluate import evaluate_bundle

    evaluation = evaluate_bundle(bundle, data, console.TerminalProgress(), task, output)
    answer(json, evaluation)
    if not json:
        summary.show_evaluation(evaluation)


def split(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A .tflite file, float or quantized.")],
    at: Annotated[
        list[str] | None, typer.Option(metavar="OP", help="Cut after this op: its number, output or label. Repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="A new folder for the stages.")] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Samples to prove on that the chain answers the same.")
    ] = None,
    preprocess: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="How a sample becomes the model's input.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say where it can be cut, and do nothing.")] = False,
    json: Json = False,
) -> None:
    """Stages, a graph file, and the proof that they answer to the bit as the whole."""
    promised = Promise(folders=(str(out.resolve()),) if out is not None else ())
    # Whether ``out`` is empty is looked at.
    sandbox.confine_command([model], [evaluation, preprocess, out], promised, told=not list_)
    from maas_converter.base import console
    from maas_converter.cli import summary
    from maas_converter.split.split import SplitRequest, list_cuts
    from maas_converter.split.split import split as run

    if list_:
        listing = list_cuts(model)
        answer(json, listing)
        if not json:
            summary.show_cuts(listing)
        return
    if out is None:
        raise UsageError("name a new folder with -o DIR, or give --list to see where the model can be cut")
    done = run(SplitRequest(model, tuple(at or ()), out, evaluation, preprocess), console.TerminalProgress())
    answer(json, done)
    if not json:
        summary.show_split(done)


def _named_in(source: Path) -> list[Path]:
    """The models and labels that a graph file names, found without what reads it properly, and loads NumPy."""
    if source.suffix.lower() != ".toml":
        return []
    try:
        document = tomllib.loads(source.read_text(encoding="utf-8"))
        tables = [table for key in ("stage", "output") for table in document.get(key, [])]
        named = [table[key] for table in tables for key in ("model", "labels") if key in table]
        return [source.parent / name for name in named]
    except (OSError, ValueError, TypeError, AttributeError):
        return []  # it is told when it is read
