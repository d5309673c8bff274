"""The matrix of docs/brokers.md is the one that is tested, and so are the configurations it links to."""

from maas_agent.config import BrokerSettings
from tests.docs.pages import ROOT, links, section, text
from tests.system.matrix import DEVIATIONS, KINDS, PROMISES, REMARKS, table

PAGE = "docs/brokers.md"


def test_the_matrix_is_the_one_that_is_tested() -> None:
    assert table() in section(PAGE, "## The matrix")


def test_every_cell_belongs_to_the_matrix_and_says_one_thing() -> None:
    cells = {(kind, promise) for kind in KINDS for promise in PROMISES}
    assert set(DEVIATIONS) | set(REMARKS) <= cells
    assert not set(DEVIATIONS) & set(REMARKS)
    assert all(REMARKS.values())
    assert not any(text.startswith("yes") for text in DEVIATIONS.values())


def test_every_tested_configuration_is_linked() -> None:
    files = {f"../examples/brokers/{path.name}" for path in (ROOT / "examples" / "brokers").iterdir()}
    assert files <= set(links(PAGE))


def test_the_defaults_it_leans_on_are_the_defaults() -> None:
    assert f"`reconnect_max_s` ({BrokerSettings().reconnect_max_s:g} s)" in text(PAGE)
    assert f"`keepalive_s` ({BrokerSettings().keepalive_s} s)" in text(PAGE)
