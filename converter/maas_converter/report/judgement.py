"""What was judged, in rows and sentences: the one place that tells the tasks apart."""

from maas_converter.base.statistics import Figure
from maas_converter.evidence.anomaly import AnomalyComparison, AnomalyScore
from maas_converter.evidence.classification import ClassificationComparison, ClassificationScore
from maas_converter.evidence.record import Judged, Record
from maas_converter.evidence.regression import RegressionScore
from maas_converter.evidence.scoring import Score
from maas_converter.report.words import NONE, percent, plain, points, shares

Row = tuple[str, ...]

_MOST_PAIRS = 30


def headline(judged: Judged) -> tuple[str, str, str]:
    """The one figure of the task: its name, the float model's and the bundle's."""
    name, *_ = next(iter(_figures(judged.bundle)), ("answers", ""))
    before, after = (next(iter(_figures(score)), ("", NONE))[1] for score in (judged.float32, judged.bundle))
    return name, before, after


def rows(judged: Judged) -> tuple[Row, ...]:
    """Every figure of both models."""
    before, after = dict(_figures(judged.float32)), dict(_figures(judged.bundle))
    return tuple((name, before.get(name, NONE), after.get(name, NONE)) for name in before | after)


def class_rows(score: ClassificationScore) -> tuple[Row, ...]:
    """One row of figures for each class."""
    return tuple(
        (
            entry.label,
            *(str(count) for count in (entry.samples, entry.correct, entry.answered)),
            *(percent(share) for share in (entry.precision, entry.recall, entry.f1)),
        )
        for entry in score.classes
    )


def confused_rows(score: ClassificationScore) -> tuple[Row, ...]:
    """The most confused pairs."""
    return tuple((pair.true, pair.answered, str(pair.count)) for pair in score.confused[:_MOST_PAIRS])


def verdict(judged: Judged) -> str:
    """What quantizing cost, and whether that is more than chance, in one sentence."""
    found = judged.comparison
    if found is None:
        return "There is no float model to compare with."
    sure = "more than chance would do" if found.significant else "no more than chance would do"
    if isinstance(found, ClassificationComparison):
        return f"Accuracy lost: {points(found.drop_points)} points, {sure}."
    if isinstance(found, AnomalyComparison):
        return f"ROC AUC lost: {plain(found.auc_drop, signed=True)}, {sure}."
    return f"Mean absolute error changed by {plain(found.mae_increase, signed=True)}, {sure}."


def details(judged: Judged) -> tuple[str, ...]:
    """How the verdict came about, and what it leaves out."""
    said = []
    if judged.unanswered:
        said.append(f"{judged.unanswered} samples were left unanswered by a condition and are not judged.")
    found = judged.comparison
    if isinstance(found, ClassificationComparison):
        said.append(f"Both models name the same class for {shares(found.agreement)} of the samples.")
        said.append(
            f"{found.lost} samples only the float model got right, {found.won} only the bundle: "
            f"p = {found.p:.3g} by McNemar's exact test."
        )
    elif found is not None:
        said.append("Both models answered the same samples; the interval of the difference is of such pairs.")
    return tuple(said)


def summary(record: Record) -> tuple[str, ...]:
    """The page's first sentences: how much smaller, how much faster, at what cost."""
    said = []
    if record.float32 is not None:
        said.append(
            f"The bundle is {record.float32.bytes / record.bundle.bytes:.2f} times smaller than the float model."
        )
    if record.latencies is not None and (before := record.latencies.by_threads[0].float32) is not None:
        times = before.p50_ms / max(record.latencies.by_threads[0].bundle.p50_ms, 1e-9)
        said.append(f"On one thread of this host it is {times:.2f} times as fast.")
    if record.judged is not None:
        said.append(verdict(record.judged))
    return (" ".join(said),) if said else ()


def _figures(score: Score | None) -> list[tuple[str, str]]:
    """Every figure of one model by name, the most important first."""
    if isinstance(score, ClassificationScore):
        return [
            ("accuracy", shares(Figure(score.accuracy, score.interval))),
            *((f"true class among the best {k}", shares(figure)) for k, figure in score.top.items()),
            ("precision, mean over classes", shares(score.precision)),
            ("recall, mean over classes", shares(score.recall)),
            ("F1, mean over classes", shares(score.f1)),
            ("samples", str(score.samples)),
        ]
    if isinstance(score, RegressionScore):
        errors = [("mean absolute error", plain(score.mae)), ("root mean squared error", plain(score.rmse))]
        return [*errors, ("R²", plain(score.r2)), ("samples", str(score.samples))]
    if isinstance(score, AnomalyScore):
        found = f" ({score.found})" if score.found else ""
        return [
            ("ROC AUC", plain(score.auc)),
            ("reconstruction error, normal samples", plain(score.mse)),
            (f"reconstruction error, samples to be found{found}", plain(score.mse_anomalies)),
            ("samples", f"{score.samples}, {score.anomalies} of them to be found"),
        ]
    return []
