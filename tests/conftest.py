"""What every test is run with."""

import signal

# `nohup make test &` would start the tests, and all that they start, deaf to the Ctrl-C that many of them send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
