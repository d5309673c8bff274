"""What conversions, evaluations and splits came to, as tables for people."""

from maas_converter.base.console import say, show_table
from maas_converter.base.statistics import Interval
from maas_converter.cli.description import accuracy_text
from maas_converter.convert.conversion import Conversion
from maas_converter.evidence.anomaly import AnomalyScore
from maas_converter.evidence.classification import ClassFigures, ClassificationScore
from maas_converter.evidence.evaluate import BundleEvaluation
from maas_converter.evidence.regression import RegressionScore
from maas_converter.split.split import GRAPH_FILE, Listing, Split
from maas_converter.tflite.cut import Cut

_SHOWN = 12
"""Candidates of a search that the table has room for."""

Rows = list[tuple[str, str, str]]


def show_conversion(conversion: Conversion) -> None:
    """The model as it came and the bundle side by side, then what was decided on the way."""
    if conversion.warning:
        say(f"warning: {conversion.warning}")
    metrics, recipe = conversion.metrics, conversion.recipe
    rows = _quality(conversion)
    if conversion.agreement is not None:
        rows.append(("same class as float32", "", f"{conversion.agreement:.2%}"))
    before, after = conversion.float32_time, conversion.bundle_time
    rows.append(("size, bytes", f"{metrics.float32_bytes:,}" if before else "", f"{metrics.bundle_bytes:,}"))
    rows.append(("latency p50, ms", f"{before.p50_ms:.3f}" if before else "", f"{after.p50_ms:.3f}"))
    rows.append(("latency p99, ms", f"{before.p99_ms:.3f}" if before else "", f"{after.p99_ms:.3f}"))
    show_table(f"{conversion.name} {conversion.version}", ("", "float32" if before else "", recipe), rows)
    _show_candidates(conversion)
    for note in conversion.notes:
        say(f"note: {note}")
    if conversion.report is not None:
        say(f"report: {conversion.report}/report.html")
    signed = "signed" if conversion.signed else "unsigned"
    say(f"wrote {conversion.path}: {conversion.bytes:,} bytes, {signed}, {conversion.digest}")


def _quality(conversion: Conversion) -> Rows:
    metrics, rows = conversion.metrics, Rows()
    for name, accuracy in metrics.accuracy.items():
        rows.append((f"accuracy on {name} ({accuracy.samples})", _share(accuracy.float32), _share(accuracy.bundle)))
        if accuracy.drop_points is not None:
            rows.append(("  drop, 95 % interval", "", accuracy_text(accuracy)))
    for name, errors in metrics.regression.items():
        where = f"on {name} ({errors.samples})"
        rows.append((f"mean absolute error {where}", _number(errors.float32_mae), _number(errors.bundle_mae)))
        rows.append(("root mean squared error", _number(errors.float32_rmse), _number(errors.bundle_rmse)))
    for name, anomaly in metrics.anomaly.items():
        title = f"ROC AUC on {name} ({anomaly.samples})"
        rows.append((title, _number(anomaly.float32_auc), _number(anomaly.bundle_auc)))
    return rows


def _show_candidates(conversion: Conversion) -> None:
    front = [candidate for candidate in conversion.candidates if candidate.on_front or candidate.chosen]
    if not front:
        return
    rows = [
        (
            f"{'→ ' if candidate.chosen else '  '}{candidate.name}",
            f"{candidate.bytes:,}",
            f"{candidate.p50_ms:.3f}" if candidate.p50_ms is not None else "",
            f"{candidate.drop_points:+.2f}",
        )
        for candidate in front
        if candidate.chosen or candidate in front[:_SHOWN]
    ]
    title = f"{len(conversion.candidates)} candidates, those that none beats in every respect"
    show_table(title, ("", "bytes", "p50, ms", "drop, points"), rows)


def _share(value: float | None) -> str:
    return f"{value:.2%}" if value is not None else ""


def _number(value: float | None) -> str:
    return f"{value:.4g}" if value is not None else ""


def show_evaluation(evaluation: BundleEvaluation) -> None:
    """The figures of the task, each with its interval."""
    score = evaluation.score
    title = f"{evaluation.name} {evaluation.version} on {evaluation.data}"
    match score:
        case ClassificationScore():
            head = ("class", "samples", "recognised", "answered", "precision", "recall", "F1")
            show_table(title, head, [_class_row(figures) for figures in score.classes])
            say(f"accuracy {score.accuracy:.2%} {_between(score.interval, '.2%')} on {score.samples} samples")
            for k, figure in score.top.items():
                say(f"top-{k} accuracy {figure.value:.2%} {_between(figure.interval, '.2%')}")
            for name, figure in (("precision", score.precision), ("recall", score.recall), ("F1", score.f1)):
                say(f"macro {name} {figure.value:.4f} {_between(figure.interval, '.4f')}")
        case RegressionScore():
            say(f"{title}, {score.samples} samples")
            say(f"mean absolute error {score.mae.value:.4g} {_between(score.mae.interval, '.4g')}")
            say(f"root mean squared error {score.rmse.value:.4g} {_between(score.rmse.interval, '.4g')}")
            if score.r2 is not None:
                say(f"R² {score.r2.value:.4f} {_between(score.r2.interval, '.4f')}")
        case AnomalyScore():
            say(f"{title}, {score.samples} samples, {score.anomalies} to be found")
            say(f"ROC AUC {score.auc.value:.4f} {_between(score.auc.interval, '.4f')}")
    if evaluation.unanswered:
        say(
            f"{evaluation.unanswered} samples were not answered: the stage that makes {evaluation.output!r} was skipped"
        )
    for note in evaluation.notes:
        say(f"note: {note}")
    say(f"latency p50 {evaluation.time.p50_ms:.3f} ms, p99 {evaluation.time.p99_ms:.3f} ms, on {evaluation.host}")


def show_cuts(listing: Listing) -> None:
    """Each op in a row: what crosses a cut after it, and how many bytes a sample that is."""
    rows = [
        (place.label, _crossing(place), "" if place.obstacle else f"{place.wire_bytes:,}") for place in listing.cuts
    ]
    show_table(f"{listing.model}, {listing.bytes:,} bytes", ("cut after", "what crosses", "bytes a sample"), rows)


def show_split(split: Split) -> None:
    """Each stage in a row, then what was proven."""
    rows = [
        (stage.file, ", ".join(stage.inputs), ", ".join(stage.outputs), f"{stage.bytes:,}") for stage in split.stages
    ]
    show_table(f"{split.model}, {split.bytes:,} bytes", ("stage", "takes", "makes", "bytes"), rows)
    say(f"bit-exact on {split.evidence.samples} samples: {split.evidence.origin}")
    say(f"wrote {split.out}: pack it with maas-converter convert {split.out}/{GRAPH_FILE}")


def _crossing(place: Cut) -> str:
    if place.obstacle:
        return f"no cut: {place.obstacle}"
    return ", ".join(f"{list(tensor.shape)} {tensor.dtype}" for tensor in place.crossing)


def _class_row(figures: ClassFigures) -> tuple[str, ...]:
    counts = (figures.samples, figures.correct, figures.answered)
    shares = (figures.precision, figures.recall, figures.f1)
    return (figures.label, *(str(count) for count in counts), *(f"{share:.3f}" for share in shares))


def _between(interval: Interval | None, form: str) -> str:
    return f"({interval[0]:{form}} … {interval[1]:{form}} at 95 %)" if interval is not None else ""
