"""Standard output and error, as a program of this project uses them."""

import io
import sys


def accept_any_text() -> None:
    """Write what the locale's charset lacks as an escape, such as ``\\xfc``, in place of ending with a traceback.

    Labels, file names and sentences of others may hold any character; a serial console may know 128.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
