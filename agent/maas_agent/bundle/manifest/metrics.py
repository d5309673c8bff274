"""Holds what a conversion cost and won, as figures in the manifest."""

from maas_agent.bundle.manifest.parts import ManifestPart


class Accuracy(ManifestPart, frozen=True):
    """Paired accuracy of the float model and of this bundle on one data set, as fractions.

    What compares with the float model is ``None`` where there is none: the source was quantized already.
    """

    samples: int
    bundle: float
    float32: float | None = None
    drop_points: float | None = None
    """Accuracy lost, in percentage points; negative when the bundle is better."""
    interval_points: tuple[float, float] | None = None
    """95 % confidence interval of ``drop_points`` (paired; Agresti and Min)."""


class Regression(ManifestPart, frozen=True):
    """Error of the float model and of this bundle on one data set, in the unit of the target."""

    samples: int
    bundle_mae: float
    bundle_rmse: float
    float32_mae: float | None = None
    float32_rmse: float | None = None


class Anomaly(ManifestPart, frozen=True):
    """Area under the ROC curve of the anomaly score on one data set; chance is 0.5."""

    samples: int
    bundle_auc: float
    float32_auc: float | None = None


class Latency(ManifestPart, frozen=True):
    """Time of one inference, in milliseconds, and where it was measured."""

    host: str
    threads: int
    bundle_p50_ms: float
    bundle_p99_ms: float
    float32_p50_ms: float | None = None


class Metrics(ManifestPart, frozen=True):
    """What the conversion cost and won, by data set. ``float32_bytes`` is 0 where there was no float model."""

    float32_bytes: int
    bundle_bytes: int
    accuracy: dict[str, Accuracy] = {}
    regression: dict[str, Regression] = {}
    anomaly: dict[str, Anomaly] = {}
    latency: Latency | None = None
