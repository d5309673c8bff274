"""What the puller may reach: the network, the folders of the store that it writes, and what it trusts.

Neither what the hub remembers and sends, nor the broker's password and keys, nor other programs and processes.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from maas_agent.confinement.access import Access
from maas_agent.host.files import make_folder
from maas_agent.update.folders import FORMERLY_REMEMBERED, WRITTEN
from maas_agent.update.protocol import PullJob


def access_of(job: PullJob) -> Access:
    """For ``job``: no local sockets either, because one of them is the hub's, where it takes orders."""
    store = Path(job.store)
    return Access(
        read=tuple(_read(job)),
        write=tuple(str(store / folder) for folder in WRITTEN),
        network=True,
        local_sockets=False,
    )


def hold(job: PullJob) -> None:
    """Confine this process, for good, as far as the system can; workers say what it cannot.

    Before it has a second thread, and after it has the folders that it writes.
    """
    for folder in WRITTEN:
        with suppress(OSError):  # what cannot be made now is said where it is needed
            make_folder(Path(job.store, folder))
    if job.repository is not None and not job.repository.confine:
        return
    from maas_agent.confinement.confine import confine

    if job.repository is not None and job.repository.url:
        # It looks whether there is IPv6 by listening for a moment, which nobody may who is confined.
        import urllib3  # noqa: F401
    confine(access_of(job))


def _read(job: PullJob) -> Iterator[str]:
    yield from (str(Path(job.store, name)) for name in FORMERLY_REMEMBERED)
    repository = job.repository
    if repository is not None:
        yield from (path for path in (repository.root, repository.password_file, repository.ca) if path)
        if repository.url.startswith("file:"):
            yield url2pathname(urlsplit(repository.url).path)
    for wanted in job.wanted:
        yield from (path for path in (wanted.bundle, wanted.device_key) if path)
    places = ssl.get_default_verify_paths()
    yield from (path for path in (places.cafile, places.capath, os.environ.get("SSL_CERT_FILE")) if path)
