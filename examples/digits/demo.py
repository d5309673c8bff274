"""`make demo`: the main job from beginning to end, all of it real.

Train, quantize, prove, sign, publish, pull, serve, replace under load, and read a local sensor; on the loopback, in a
temporary folder, with an embedded broker. Exits with 1 if anything of it does not hold.
"""

import itertools
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from stage import DEVICE, Stage
from visitor import Answer, Visitor, percentile

console = Console(stderr=True)
FORMS = ("raw", "json", "png")
SENSOR_SAMPLES = 40
STEPS = 11
SWAP_AFTER = 150
"""Samples that are answered by the old version before the new one is published."""


class Demo:
    """The eight steps, in order; each leaves what the next one needs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._checks: list[tuple[str, str, bool]] = []
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        self._progress = Progress(*columns, console=console, transient=True)
        self._task = self._progress.add_task("", total=STEPS)

    def run(self) -> bool:
        """Run all steps; whether everything held."""
        with self._progress:
            answers = self._steps()
        self._judge(*answers)
        return self._table()

    def _steps(self) -> tuple[list[Answer], list[Answer], list[dict[str, Any]]]:
        with self._step("training digits 1.0.0 (TensorFlow starts)"):
            self._stage.train("1.0.0", epochs=3)
        first = self._convert("1.0.0")
        self._publish_first(first)
        with ExitStack() as running:
            with self._step("starting broker, file server and agent"):
                visitor = self._stage.start(running)
                visitor.wait_until_serving("digits", "1.0.0")
            self._say("the agent pulled, tested and serves digits 1.0.0")
            served = self._ask_in_every_form(visitor)
            with self._step("training digits 1.1.0 for longer"):
                self._stage.train("1.1.0", epochs=15)
            second = self._convert("1.1.0")
            swapped = self._replace_under_load(visitor, second)
            sensed = self._listen_to_the_sensor(visitor)
        return served, swapped, sensed

    def _convert(self, version: str) -> Path:
        with self._step(f"converting digits {version} to int8 and measuring it"):
            bundle, facts = self._stage.convert(version)
        accuracy, size = facts["accuracy"]["evaluation"], facts["size"]
        latency = facts["latency"]
        self._say(f"digits {version}, measured on {accuracy['samples']} evaluation digits:")
        table = Table("", "float32", "int8")
        table.add_row("accuracy", f"{accuracy['float32']:.2%}", f"{accuracy['bundle']:.2%}")
        table.add_row("model size, bytes", f"{size['float32']:,}", f"{size['bundle']:,}")
        table.add_row("latency p50, ms", f"{latency['float32_p50_ms']:.3f}", f"{latency['bundle_p50_ms']:.3f}")
        console.print(table)
        return bundle

    def _publish_first(self, bundle: Path) -> None:
        with self._step("making keys and a repository, publishing digits 1.0.0"):
            self._stage.found_repository()
            self._stage.publish(bundle)
        self._say("published digits 1.0.0 in a signed repository")

    def _ask_in_every_form(self, visitor: Visitor) -> list[Answer]:
        """The held-out digits as raw bytes, as JSON and as PNG."""
        images, classes = self._stage.heldout()
        answers = []
        for form in FORMS:
            with self._step(f"asking for the held-out digits as {form}"):
                answers += visitor.ask_all("digits", images, classes, form)
        self._say(f"{len(answers)} held-out digits answered")
        return answers

    def _replace_under_load(self, visitor: Visitor, bundle: Path) -> list[Answer]:
        """Samples flow without a pause while 1.1.0 is published, pulled, tested and takes over."""
        images, classes = self._stage.heldout()
        with self._step("replacing 1.0.0 by 1.1.0 while samples keep flowing"):
            with visitor.flow("digits", images, classes) as flow:
                flow.wait_for_answers(SWAP_AFTER)
                self._stage.publish(bundle)
                visitor.command("update", "demo")
                visitor.wait_until_serving("digits", "1.1.0")
                flow.wait_for_answers(flow.sent + SWAP_AFTER)
            answers = flow.finish()
        self._say(f"{len(answers)} digits answered while 1.1.0 took over")
        return answers

    def _listen_to_the_sensor(self, visitor: Visitor) -> list[dict[str, Any]]:
        with self._step("listening to the pipeline that reads a sensor (a script that replays digits)"):
            documents = visitor.listen("sensor", SENSOR_SAMPLES)
        for document in documents[-3:]:
            result = document.get("result", document.get("error"))
            label, score = (result["label"], result["score"]) if "label" in result else (result["code"], 0.0)
            console.print(f"  {DEVICE}/sensor/out  id {document['id']}: {label} ({score:.2f})", highlight=False)
        return documents

    def _judge(self, served: list[Answer], swapped: list[Answer], sensed: list[dict[str, Any]]) -> None:
        stage = self._stage
        images, _ = stage.heldout()
        expected = stage.evaluated_accuracy("1.0.0")
        for form in FORMS:
            answers = [answer for answer in served if answer.form == form]
            right = sum(answer.right for answer in answers) / max(1, len(answers))
            told = f"{right:.2%} of {len(answers)}, converter: {expected:.2%}"
            self._check(f"accuracy on the device, {form}", told, len(answers) == len(images) and right == expected)
        milliseconds = [answer.latency_ms for answer in served]
        p50, p99 = percentile(milliseconds, 50), percentile(milliseconds, 99)
        self._check("latency on the device, p50 / p99", f"{p50:.2f} / {p99:.2f} ms", 0 < p50 <= p99)
        once = sum(answer.times == 1 for answer in served + swapped)
        total = len(served) + len(swapped)
        self._check("answered exactly once / sent", f"{once} / {total}", once == total)
        self._judge_versions(swapped)
        labels = sum("result" in document for document in sensed)
        self._check("results of the sensor pipeline", f"{labels} of {len(sensed)}", labels == len(sensed) > 0)

    def _judge_versions(self, swapped: list[Answer]) -> None:
        versions = [answer.version for answer in swapped]
        changes = sum(a != b for a, b in itertools.pairwise(versions))
        counts = ", ".join(f"{version}: {versions.count(version)}" for version in sorted(set(versions)))
        ordered = versions[:1] == ["1.0.0"] and versions[-1:] == ["1.1.0"] and changes == 1
        self._check("versions across the swap, in order", counts, ordered)

    def _check(self, what: str, found: str, holds: bool) -> None:
        self._checks.append((what, found, holds))

    def _table(self) -> bool:
        table = Table("", "found", "holds")
        for what, found, holds in self._checks:
            table.add_row(what, found, "[green]yes[/]" if holds else "[red]NO[/]")
        console.print(table)
        return all(holds for *_, holds in self._checks)

    @contextmanager
    def _step(self, what: str) -> Iterator[None]:
        """One step of the progress bar."""
        self._progress.update(self._task, description=what)
        yield
        self._progress.advance(self._task)

    def _say(self, text: str) -> None:
        console.print(f"[green]✓[/] {text}", highlight=False)


def main() -> int:
    """Run the demo; Ctrl-C at any time ends every process and removes every file."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="maas-demo-"))
    try:
        with Stage(folder) as stage:
            held = Demo(stage).run()
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130
    except (RuntimeError, TimeoutError) as error:
        console.print(f"[red]the demo failed:[/] {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(f"{'everything held' if held else 'NOT everything held'}, in {time.monotonic() - began:.0f} s")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
