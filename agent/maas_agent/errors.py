"""Defines every error this project raises on purpose, and what happens next.

MaasError                 a sentence for a person: what happened, where, what to do; never a traceback
├── ConfigError           exit 78 (EX_CONFIG); systemd does not restart
├── UsageError            exit 64 (EX_USAGE)
├── DataError             exit 65 (EX_DATAERR): a file or a value that is not what it should be
│   ├── BundleError       the bundle is refused; what runs keeps running
│   └── DecodeError       an input is answered with an error and counted; the pipeline goes on
├── NoInputError          exit 66 (EX_NOINPUT): a file that is not there
├── UnavailableError      exit 69 (EX_UNAVAILABLE): a service or a library that does not answer
├── RuntimeFailure        exit 70 (EX_SOFTWARE): a model that cannot be loaded or run here
└── UpdateError           the active bundle stays; the reason goes to the state topic
    ├── PullError         network or server: tried again at the next poll
    ├── VerifyError       signature, digest, schema, version: set aside until another one is offered
    └── SelfTestError     the device did not reproduce the golden samples: set aside likewise

The exit codes are those of BSD ``sysexits.h``.
"""

from typing import ClassVar

LONGEST_SENTENCE = 4000
"""Characters of an error."""


def brief(said: object) -> str:
    """``said`` as text, without its middle where it is longer than a sentence.

    Parsers repeat the value that was wrong, and errors go into logs, retained topics and states on the disk: a megabyte
    of it would be kept and sent again and again.
    """
    text = str(said)
    if len(text) <= LONGEST_SENTENCE:
        return text
    return f"{text[: LONGEST_SENTENCE - 600]} … {text[-500:]}"


class MaasError(Exception):
    """Base of all errors that are shown to a person as one sentence."""

    exit_code: ClassVar[int] = 70

    def __str__(self) -> str:
        return brief(super().__str__())


class ConfigError(MaasError):
    """The configuration cannot be used."""

    exit_code: ClassVar[int] = 78


class UsageError(MaasError):
    """A command was called in a way that makes no sense."""

    exit_code: ClassVar[int] = 64


class DataError(MaasError):
    """A file or value is not what it should be."""

    exit_code: ClassVar[int] = 65


class BundleError(DataError):
    """A bundle is damaged, unknown or not allowed."""


class DecodeError(DataError):
    """An input cannot be turned into a sample.

    ``code`` is one of `maas_agent.base.codes` and goes into the error result.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoInputError(MaasError):
    """A file that was named does not exist or cannot be read."""

    exit_code: ClassVar[int] = 66


class UnavailableError(MaasError):
    """Something this needs (a broker, a running agent, an optional package) does not answer."""

    exit_code: ClassVar[int] = 69


class RuntimeFailure(MaasError):  # noqa: N818 - "RuntimeError" is Python's own
    """A model cannot be loaded or run on this machine."""


class UpdateError(MaasError):
    """An update did not happen; what was active stays active."""

    exit_code: ClassVar[int] = 69


class PullError(UpdateError):
    """The repository cannot be reached or did not deliver in time; try again later."""


class VerifyError(UpdateError):
    """What was delivered must not run: signature, digest, schema or version."""


class SelfTestError(UpdateError):
    """This device does not reproduce what the converter measured."""
