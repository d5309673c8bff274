"""What conversions and evaluations came to, as tables for people."""

from maas_converter.console import say, show_table
from maas_converter.convert import Conversion
from maas_converter.describe import accuracy_text
from maas_converter.evaluate import Evaluation


def show_conversion(conversion: Conversion) -> None:
    """Float model and bundle side by side, then what was decided on the way."""
    metrics, recipe = conversion.metrics, conversion.recipe
    rows = []
    for name, accuracy in metrics.accuracy.items():
        rows.append((f"accuracy on {name} ({accuracy.samples})", f"{accuracy.float32:.2%}", f"{accuracy.bundle:.2%}"))
        rows.append(("  drop, 95 % interval", "", accuracy_text(accuracy)))
    if conversion.agreement is not None:
        rows.append(("same class as float32", "", f"{conversion.agreement:.2%}"))
    rows.append(("size, bytes", f"{metrics.float32_bytes:,}", f"{metrics.bundle_bytes:,}"))
    before, after = conversion.float32_time, conversion.bundle_time
    rows.append(("latency p50, ms", f"{before.p50_ms:.3f}", f"{after.p50_ms:.3f}"))
    rows.append(("latency p99, ms", f"{before.p99_ms:.3f}", f"{after.p99_ms:.3f}"))
    show_table(f"{conversion.name} {conversion.version}", ("", "float32", recipe), rows)
    for note in conversion.notes:
        say(f"note: {note}")
    signed = "signed" if conversion.signed else "unsigned"
    say(f"wrote {conversion.path}: {conversion.bytes:,} bytes, {signed}, {conversion.digest}")


def show_evaluation(evaluation: Evaluation) -> None:
    """Each class in a row, then the whole."""
    score, low, high = evaluation.score, *evaluation.score.interval
    rows = [(entry.label, str(entry.samples), str(entry.correct), str(entry.answered)) for entry in score.classes]
    title = f"{evaluation.name} {evaluation.version} on {evaluation.data}"
    show_table(title, ("class", "samples", "recognised", "answered"), rows)
    say(f"accuracy {score.accuracy:.2%} ({low:.2%} … {high:.2%} at 95 %) on {score.samples} samples")
    say(f"latency p50 {evaluation.time.p50_ms:.3f} ms, p99 {evaluation.time.p99_ms:.3f} ms, on {evaluation.host}")
