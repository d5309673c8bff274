"""The page about updates knows every file that outlives an agent."""

import re

from maas_agent.hub.system import store_folder
from tests.docs.pages import rows, section

PAGE = "docs/updates.md"


def test_every_file_of_the_store_says_what_an_upgrade_and_a_downgrade_make_of_it() -> None:
    table = rows(section(PAGE, "### Upgrade and downgrade"))
    names = {name for row in table for name in re.findall(r"`([^`]+)`", row[0])} - {".copy"}
    named = {re.split(r"[./]", name)[0] for name in names}
    assert named == store_folder.CONTENTS - {"maas"}, "maas is what check writes, and removes"
    assert all(len(row) == 4 and all(row) for row in table)
