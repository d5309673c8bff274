"""A record as the sections of a page: sentences, tables and charts. A section that has nothing to show says so."""

import msgspec

from maas_converter.evidence.classification import ClassificationScore
from maas_converter.evidence.record import Record
from maas_converter.report import charts, judgement, words

Row = tuple[str, ...]


class FigureTable(msgspec.Struct, frozen=True):
    """The first column names its rows, the others are figures."""

    head: Row
    rows: tuple[Row, ...]
    title: str = ""
    folded: bool = False
    """Whether it is long, and shown on request."""


class Chart(msgspec.Struct, frozen=True):
    """An SVG element, and what it shows, for those who cannot see it."""

    svg: str
    title: str


class Section(msgspec.Struct, frozen=True):
    """One part of the page; ``key`` is its address in it."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    tables: tuple[FigureTable, ...] = ()
    charts: tuple[Chart, ...] = ()


def sections_of(record: Record) -> tuple[Section, ...]:
    """All sections, in the order of the page."""
    return (
        _overview(record),
        _accuracy(record),
        _confusion(record),
        _signal(record),
        _layers(record),
        _latency(record),
        _memory(record),
        _search(record),
        _ranges(record),
        _origin(record),
    )


def _overview(record: Record) -> Section:
    float32, bundle = record.float32, record.bundle
    rows: list[Row] = []
    if record.judged is not None:
        name, before, after = judgement.headline(record.judged)
        rows.append((f"{name} on {record.judged.data}", before, after))
    rows.append(("size, bytes", words.size(float32.bytes) if float32 else words.NONE, words.size(bundle.bytes)))
    if record.latencies is not None:
        first = record.latencies.by_threads[0]
        before = f"{first.float32.p50_ms:.3f}" if first.float32 else words.NONE
        rows.append(("latency, median, 1 thread, ms", before, f"{first.bundle.p50_ms:.3f}"))
    arena = words.size(float32.arena_bytes) if float32 else words.NONE
    rows.append(("memory for activations, bytes, computed", arena, words.size(bundle.arena_bytes)))
    table = FigureTable(("", "float32", bundle.title), tuple(rows))
    return Section("overview", "What it came to", judgement.summary(record), (table,))


def _accuracy(record: Record) -> Section:
    key, title = "accuracy", "How good the answers are"
    judged = record.judged
    if judged is None:
        return Section(key, title, (f"Not measured: {record.not_judged or 'there are no evaluation data'}.",))
    table = FigureTable(("95 % intervals in brackets", "float32", record.bundle.title), judgement.rows(judged))
    tables = [table]
    if isinstance(judged.bundle, ClassificationScore):
        head = ("class", "samples", "recognised", "answered", "precision", "recall", "F1")
        rows = judgement.class_rows(judged.bundle)
        tables.append(FigureTable(head, rows, f"{record.bundle.title}, by class", folded=len(rows) > 12))
    return Section(key, title, (judgement.verdict(judged), *judgement.details(judged)), tuple(tables))


def _confusion(record: Record) -> Section:
    key, title = "confusion", "What is taken for what"
    score = record.judged.bundle if record.judged is not None else None
    if not isinstance(score, ClassificationScore):
        return Section(key, title, ("Left out: it is about classes, and none were judged.",))
    before = record.judged.float32 if record.judged is not None else None
    models = [("float32", before), (record.bundle.title, score)]
    known = [(name, model) for name, model in models if isinstance(model, ClassificationScore)]
    if len(score.classes) <= charts.LARGEST_CONFUSION:
        labels = [entry.label for entry in score.classes]
        svg = charts.confusions([(name, model.confusion) for name, model in known], labels)
        return Section(key, title, charts=(Chart(svg, "Confusion matrices, rows are true classes"),))
    tables = tuple(
        FigureTable(("true class", "taken for", "samples"), judgement.confused_rows(model), name)
        for name, model in known
    )
    return Section(key, title, (f"The most confused pairs of {len(score.classes)} classes.",), tables)


def _signal(record: Record) -> Section:
    key, title = "signal", "How much of the output survives"
    if not record.signals:
        return Section(key, title, ("Left out: there is no float model to compare with.",))
    rows = tuple(
        (one.output, words.decibels(one.snr_db, one.mse), f"{one.cosine:.5f}", f"{one.largest_difference:.4g}")
        for one in record.signals
    )
    sentence = f"Real output values of the bundle against those of the float model, on {record.samples} samples."
    return Section(key, title, (sentence,), (FigureTable(("output", "SNR", "cosine", "largest difference"), rows),))


def _layers(record: Record) -> Section:
    key, title, found = "layers", "Where the error comes from", record.layers
    if found is None or not found.layers:
        why = found.skipped if found is not None else "there is no float model to compare with"
        return Section(key, title, (f"Left out: {why}.",))
    sentence = (
        f"Each layer's output against the float model's, on {found.samples} samples, worst first. It holds the error "
        "of all layers before it: look for jumps."
    )
    rows = tuple(
        (
            f"{layer.index} {layer.op}",
            layer.name,
            layer.dtype,
            words.percent(layer.relative_error),
            words.decibels(layer.snr_db, layer.relative_error),
            f"{layer.cosine:.5f}",
            f"{words.size(layer.weight_bytes)} ({layer.weight_share:.0%})",
        )
        for layer in found.layers
    )
    table = FigureTable(
        ("op", "layer", "type", "error", "SNR", "cosine", "weights, bytes"), rows, "All layers", folded=True
    )
    chart = Chart(charts.layer_errors(found.layers), "Relative error by layer, largest first")
    return Section(key, title, (sentence,), (table,), (chart,))


def _latency(record: Record) -> Section:
    key, title, found = "latency", "How long an inference takes", record.latencies
    if found is None:
        return Section(key, title, ("Not measured.",))
    rows = []
    for row in found.by_threads:
        before = (
            [f"{time:.3f}" for time in (row.float32.p50_ms, row.float32.p99_ms)] if row.float32 else [words.NONE] * 2
        )
        rows.append((str(row.threads), *before, f"{row.bundle.p50_ms:.3f}", f"{row.bundle.p99_ms:.3f}"))
    after = record.bundle.title
    head = ("threads", "float32 p50, ms", "p99, ms", f"{after} p50, ms", "p99, ms")
    sentence = f"From a decoded sample to real output values, models in turns, on {found.host}."
    chart = Chart(charts.latencies(found, after), "Latency by number of threads")
    return Section(key, title, (sentence,), (FigureTable(head, tuple(rows)),), (chart,))


def _memory(record: Record) -> Section:
    models = [model for model in (record.float32, record.bundle) if model is not None]
    dtypes = dict.fromkeys(dtype for model in models for dtype in model.bytes_by_dtype)
    rows: list[Row] = [("files", *(words.size(model.bytes) for model in models))]
    rows += [
        (f"weights, {dtype}", *(words.size(model.bytes_by_dtype.get(dtype, 0)) for model in models)) for dtype in dtypes
    ]
    rows.append(("activations, computed", *(words.size(model.arena_bytes) for model in models)))
    ops = ", ".join(f"{count} {name}" for name, count in record.bundle.ops.items())
    sentence = (
        f"In bytes. The bundle consists of {ops}. Memory for activations is computed from the files, not measured."
    )
    return Section(
        "memory", "Size and memory", (sentence,), (FigureTable(("", *(model.title for model in models)), tuple(rows)),)
    )


def _search(record: Record) -> Section:
    key, title = "search", "What else was tried"
    if not record.candidates:
        return Section(key, title, ("Left out: nothing was searched; --quantize auto does.",))
    rows = tuple(
        (
            candidate.name,
            words.size(candidate.bytes),
            f"{candidate.p50_ms:.3f}" if candidate.p50_ms is not None else words.NONE,
            f"{candidate.drop_points:+.2f}",
            ", ".join(
                word for word, said in (("chosen", candidate.chosen), ("on the front", candidate.on_front)) if said
            ),
        )
        for candidate in sorted(record.candidates, key=lambda one: one.bytes)
    )
    head = ("candidate", "bytes", "median, ms", "accuracy lost, points", "")
    chart = Chart(charts.pareto(record.candidates), "Size against accuracy lost")
    return Section(key, title, (), (FigureTable(head, rows, folded=len(rows) > 12),), (chart,))


def _ranges(record: Record) -> Section:
    key, title = "ranges", "What the data look like to the model"
    if not record.looks:
        return Section(key, title, ("Left out: no data were looked at.",))
    rows = tuple(
        (look.title, str(number), *(f"{value:.4g}" for value in (one.smallest, one.largest, one.mean, one.std)))
        for look in record.looks
        for number, one in enumerate(look.channels)
    )
    table = FigureTable(("data", "channel", "smallest", "largest", "mean", "deviation"), rows)
    chart = Chart(charts.ranges(record.looks), "Values at the model's input")
    sentence = "After preprocessing, before any quantization. Calibration and evaluation data should look alike."
    return Section(key, title, (sentence,), (table,), (chart,))


def _origin(record: Record) -> Section:
    lines = [(name.replace("_", " "), _text(value)) for name, value in record.lineage.items() if value]
    lines += [("input", text) for text in record.bundle.inputs] + [("output", text) for text in record.bundle.outputs]
    lines.append(("judged on", f"{record.samples} samples: {record.origin}"))
    return Section("origin", "How it was made", record.notes, (FigureTable(("", ""), tuple(lines)),))


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(str(item) for item in value)
    return str(value)
