"""``python -m maas_agent.update FD``: the puller process; ``FD`` is its inherited end of a socketpair to the hub."""

import os
import resource
import socket
import sys

from maas_agent.base.log import Log
from maas_agent.base.terminal import guard_streams, keep_quiet_about_libraries
from maas_agent.errors import MaasError
from maas_agent.host.children import die_with_parent
from maas_agent.update.confined import hold
from maas_agent.update.hub_link import HubLink
from maas_agent.update.puller import pull

_NICE = 10


def main(arguments: list[str]) -> int:
    """Do one job and exit: 0 when every pipeline got its outcome."""
    guard_streams()
    log = Log("puller")
    die_with_parent()
    keep_quiet_about_libraries()
    # An update must not slow down what is being served, and a core dump must not fill the device.
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hub = HubLink(socket.socket(fileno=int(arguments[0])))
    try:
        job = hub.job()
        hold(job)
        hub.follow()
        pull(job, hub, log)
    except MaasError as error:
        log.error("no job was done", reason=error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
