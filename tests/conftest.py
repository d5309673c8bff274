"""What every test is run with."""

import os
import signal

from maas_agent.confinement.access import Access
from maas_agent.confinement.confine import offered

# `nohup make test &` would start the tests, and all that they start, deaf to the Ctrl-C that many of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that convert models run on kernels that cannot confine them too; what is said there has tests of its own.
if (_offered := offered(Access())).lacking or _offered.landlock == 1:
    os.environ["MAAS_UNCONFINED"] = "1"
