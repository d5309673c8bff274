"""Describes the repository as the configuration has it, for those who fetch from it."""

from maas_agent.config import RepositorySettings
from maas_agent.update.protocol import RepositoryAccess


def access_to(repository: RepositorySettings) -> RepositoryAccess:
    """Where the repository is, as whom it is asked, and by what it is trusted."""
    return RepositoryAccess(
        url=repository.url,
        root=repository.root,
        timeout_s=repository.timeout_s,
        username=repository.username,
        password_file=repository.password_file,
        ca=repository.ca,
        confine=repository.confine,
    )
