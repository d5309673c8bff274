"""The report as people read it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from bench.report import CEILING, Ratio, Report, Row, Spread
from bench.serving import CONTENDERS


def show(report: Report, console: Console) -> None:
    """Print the contenders, the ratios, the bars, and how far the generator was from its limits."""
    console.print(", ".join(f"{key} {value}" for key, value in report.machine.items()), highlight=False)
    console.print(_contenders(report))
    if report.ratios:
        console.print(_ratios(report.ratios))
    console.print(_bars(report))
    for line in _headroom(report.rows):
        console.print(line, highlight=False)
    peak, invoke = _figure(report.bare.peak_mb), _figure(report.bare.invoke_us)
    console.print(f"bare interpreter: {peak} MB peak; one invoke takes {invoke} us", highlight=False)
    for line in report.failures:
        console.print(f"[red]failed[/] {line}", highlight=False)


def _figure(spread: Spread, digits: int = 1) -> str:
    """Return ``median (low to high)``."""
    return f"{spread.median:,.{digits}f} ({spread.low:,.{digits}f} to {spread.high:,.{digits}f})"


def _contenders(report: Report) -> Table:
    table = Table(title=f"median (min to max) of rounds, {report.seconds:g} s each", title_justify="left")
    table.add_column("contender")
    for column in ("QoS", "requests/s, 64 outst.", "p50 us, 1 outst.", "p99 us, 1 outst.", "generator CPU"):
        table.add_column(column, justify="right")
    table.add_column("peak MB")
    for row in report.rows:
        table.add_row(
            CONTENDERS[row.contender].title,
            "HTTP" if row.qos is None else str(row.qos),
            _figure(row.requests_per_s, 0),
            _figure(row.p50_us, 0),
            _figure(row.p99_us, 0),
            f"{row.generator_cpu_64.median:.0%} / {row.generator_cpu_1.median:.0%}",
            ", ".join(f"{role} {peak.median:.1f}" for role, peak in row.peak_mb.items()),
        )
    return table


def _ratios(ratios: list[Ratio]) -> Table:
    table = Table(title="ratios, paired within each round: median (min to max)", title_justify="left")
    for column in ("of", "to", "QoS"):
        table.add_column(column)
    table.add_column("requests/s", justify="right")
    table.add_column("p50 difference, us", justify="right")
    for ratio in ratios:
        table.add_row(
            ratio.subject,
            ratio.reference,
            str(ratio.qos),
            _figure(ratio.throughput, 3),
            _figure(ratio.p50_difference_us, 0),
        )
    return table


def _bars(report: Report) -> Table:
    table = Table(title="to reach", title_justify="left")
    for column in ("figure", "value", "bar", ""):
        table.add_column(column)
    verdicts = {True: "[green]met[/]", False: "[red]not met[/]", None: "[yellow]not measured[/]"}
    for bar in report.bars:
        value = "" if bar.value is None else f"{bar.value:,.2f}"
        table.add_row(bar.figure, value, bar.bar, verdicts[bar.met])
    return table


def _headroom(rows: list[Row]) -> list[str]:
    """Say, per QoS, how far above the fastest contender broker and generator can go."""
    lines = []
    for ceiling in (row for row in rows if row.contender == CEILING):
        rivals = [row for row in rows if row.contender != CEILING and row.qos == ceiling.qos]
        fastest = max(rivals, key=lambda row: row.requests_per_s.median, default=None)
        line = f"ceiling, QoS {ceiling.qos}: {ceiling.requests_per_s.median:,.0f} requests/s"
        line += f" with the generator at {ceiling.generator_cpu_64.median:.0%} of a core"
        if fastest is not None:
            times = ceiling.requests_per_s.median / fastest.requests_per_s.median
            busiest = max(row.generator_cpu_64.high for row in rivals)
            line += f"; {times:.1f} x the fastest contender ({fastest.contender}), against which it is at"
            line += f" {busiest:.0%} at most"
        lines.append(line)
    return lines
