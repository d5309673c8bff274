"""The extensions of the hub, in the order in which they are told: a new one is a module and a line here."""

from maas_agent.hub.extensions.extension import Context, Extension, Extensions
from maas_agent.hub.extensions.metrics_topic import MetricsTopic
from maas_agent.hub.extensions.retired_pipelines import RetiredPipelines
from maas_agent.hub.extensions.service_status import ServiceStatus
from maas_agent.hub.extensions.state_topics import StateTopics
from maas_agent.hub.extensions.status_topic import StatusTopic

EXTENSIONS: tuple[type[Extension], ...] = (
    StatusTopic,
    StateTopics,
    RetiredPipelines,
    MetricsTopic,
    ServiceStatus,
)


def extensions(context: Context) -> Extensions:
    """All of them, made for one hub."""
    return Extensions([kind(context) for kind in EXTENSIONS])
