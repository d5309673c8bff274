"""``python -m maas_agent.checks.child``: a `Question` on standard input, a `Reply` on standard output."""

import os
import resource
import sys
import time
from pathlib import Path

import msgspec

from maas_agent.base.terminal import keep_quiet_about_libraries
from maas_agent.checks.clock import server_time
from maas_agent.checks.questions import Loads, Offers, Question, Reaches, Reply
from maas_agent.errors import MaasError
from maas_agent.host.children import die_with_parent
from maas_agent.runtime.setup import CPU


def main() -> None:
    """Answer one question."""
    die_with_parent()
    keep_quiet_about_libraries()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    question: Question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    reply_to = os.dup(1)
    os.dup2(2, 1)  # libraries print to standard output too
    os.write(reply_to, msgspec.json.encode(_reply(question)))
    os._exit(0)  # how a library takes itself down is of no interest


def _reply(question: Question) -> Reply:
    try:
        match question:
            case Loads():
                return Reply(_loads(question))
            case Reaches():
                return _reaches(question)
            case Offers():
                return Reply(_offers(question))
    except MaasError as error:
        return Reply(reason=str(error))
    except Exception as error:  # the edge of a process: what a broken library raises is a reason
        return Reply(reason=f"{type(error).__name__}: {error}")


def _loads(question: Loads) -> str:
    from maas_agent.checks import least
    from maas_agent.runtime.selection import accelerator
    from maas_agent.trials.confined import hold

    setup = question.setup
    hold(setup, question.limits, ())
    chosen = accelerator(setup.accelerator, setup.options, setup.library)
    found = chosen.runtime()
    if setup.accelerator == CPU:  # others may refuse so small a model, and rightly
        least.run(chosen)
    return found


def _reaches(question: Reaches) -> Reply:
    from maas_agent.update.transfer.deadline import deadline
    from maas_agent.update.transfer.fetch import Fetcher

    asked = time.time()
    with deadline(question.seconds, f"the request for {question.url}"):
        date, age = Fetcher(question.access).date(question.url)
    return Reply(time=server_time(date, age, asked, time.time()))


def _offers(question: Offers) -> str:
    from maas_agent.update.repository.client import Repository

    # Not the store's own metadata: those are the agent's, which may be running.
    offers = Repository(question.access, Path(question.scratch)).refresh().offers
    return f"{len(offers)} bundle{'' if len(offers) == 1 else 's'}"


if __name__ == "__main__":
    main()
