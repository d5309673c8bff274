"""What each pipeline runs: its retained state document."""

from maas_agent.hub.extensions.extension import Extension
from maas_agent.hub.pipeline.pipeline import Pipeline


class StateTopics(Extension):
    """Tells the states on every connect, and each one when it has changed."""

    def link_up(self) -> None:
        """All of them."""
        for pipeline in self.context.pipelines:
            self.pipeline_changed(pipeline)

    def pipeline_changed(self, pipeline: Pipeline) -> None:
        """This one."""
        self.context.tell(self.context.topics.state(pipeline.settings.name), pipeline.state(), retain=True)
