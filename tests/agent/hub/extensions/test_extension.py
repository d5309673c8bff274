"""Extensions: told in their order, and nobody pays for a hook that none has."""

from typing import Any, cast

from maas_agent.hub.extensions.extension import Context, Extension, Extensions
from maas_agent.hub.extensions.table import EXTENSIONS
from maas_agent.hub.pipeline.pipeline import Pipeline
from maas_agent.ipc import Answer

NOTHING = cast("Context", None)
ANSWER = Answer(1, "id", b"{}", 1.0, None)


class Noted(Extension):
    """Notes what it is told."""

    def __init__(self, name: str, told: list[Any]) -> None:
        super().__init__(NOTHING)
        self.name, self.told = name, told

    def link_up(self) -> None:
        self.told.append((self.name, "up"))

    def pipeline_changed(self, pipeline: Pipeline) -> None:
        self.told.append((self.name, pipeline))

    def health_changed(self) -> None:
        self.told.append((self.name, "health"))


class Counting(Noted):
    def answered(self, pipeline: Pipeline, answer: Answer) -> None:
        self.told.append((self.name, pipeline, answer))


def test_each_hook_is_told_to_all_in_their_order() -> None:
    told: list[Any] = []
    pipeline = cast("Pipeline", object())
    extensions = Extensions([Noted("a", told), Extension(NOTHING), Noted("b", told)])
    extensions.link_up()
    assert told == [("a", "up"), ("b", "up")]
    told.clear()
    extensions.pipeline_changed(pipeline)
    assert told == [("a", pipeline), ("b", pipeline), ("a", "health"), ("b", "health")]
    told.clear()
    extensions.disk_changed()
    assert told == [("a", "health"), ("b", "health")]


def test_answers_go_to_those_who_listen_and_to_nobody_else() -> None:
    told: list[Any] = []
    pipeline = cast("Pipeline", object())
    listener = Extensions([Noted("a", told), Counting("b", told), Counting("c", told)]).listener_to(pipeline)
    assert listener is not None
    listener(ANSWER)
    assert told == [("b", pipeline, ANSWER), ("c", pipeline, ANSWER)]
    assert Extensions([Noted("a", told)]).listener_to(pipeline) is None


def test_the_table_lists_each_extension_once_by_its_own_hooks() -> None:
    assert len(set(EXTENSIONS)) == len(EXTENSIONS)
    hooks = {name for name, value in vars(Extension).items() if callable(value) and not name.startswith("_")}
    for kind in EXTENSIONS:
        assert hooks & set(vars(kind)), f"{kind.__name__} listens to nothing"
        assert kind.__doc__
