"""Inputs to a worker and back, and who is to blame for its death."""

import random
import time

import pytest

from maas_agent.hub.serving import dispatcher as rules
from maas_agent.hub.serving.dispatcher import MAX_DEATHS, MAX_QUEUE_BYTES, Dispatcher
from maas_agent.hub.serving.request import Nobody, OnFull, Request
from maas_agent.ipc import InferenceRequest
from tests.agent.hub.doubles import Monotonic


class Worker:
    """The worker as the dispatcher sees it: it is sent requests."""

    def __init__(self) -> None:
        self.requests: list[InferenceRequest] = []

    def send(self, request: InferenceRequest) -> None:
        self.requests.append(request)

    @property
    def ids(self) -> list[str]:
        return [request.id for request in self.requests]


def request(number: int, qos: int = 1, *, left_s: float | None = None, size: int = 0) -> Request:
    expires_at = None if left_s is None else time.monotonic() + left_s
    on_full = OnFull.WAIT if qos else OnFull.DROP_OLDEST
    return Request(str(number), bytes(size), None, 0.0, 0.0, Nobody(), on_full, expires_at)


class Setting:
    """A dispatcher, the worker it feeds, and the answers in order."""

    def __init__(self, window: int = 4, queue: int = 100) -> None:
        self.expired: list[str] = []
        self.dispatcher = Dispatcher(window, queue, lambda request: self.expired.append(request.id))
        self.answered: list[str] = []
        self.new_worker()

    def new_worker(self) -> None:
        self.worker = Worker()
        self.dispatcher.feed(self.worker)

    def submit(self, *numbers: int, qos: int = 1) -> None:
        for number in numbers:
            self.dispatcher.submit(request(number, qos))

    def answer(self, count: int = 1) -> None:
        """The worker answers its oldest requests, and the turn ends."""
        for _ in range(count):
            request = self.worker.requests.pop(0)
            found = self.dispatcher.answered(self.worker, request.sequence)
            assert found is not None and found.id == request.id
            self.answered.append(found.id)
            self.dispatcher.pump()

    def answer_all(self) -> None:
        while self.worker.requests:
            self.answer()

    def die(self) -> list[str]:
        """The worker dies, and a new one comes; the ids that are given up."""
        given_up = [request.id for request in self.dispatcher.worker_died(self.worker)]
        self.new_worker()
        return given_up


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_a_worker_holds_a_window_of_inputs_and_the_rest_waits_in_order(setting: Setting) -> None:
    setting.submit(*range(10))
    assert setting.worker.ids == ["0", "1", "2", "3"]
    assert (setting.dispatcher.outstanding, len(setting.dispatcher)) == (4, 10)
    setting.answer()
    assert setting.worker.ids == ["1", "2", "3", "4"]
    setting.answer_all()
    assert setting.answered == [str(number) for number in range(10)]
    assert len(setting.dispatcher) == 0


def test_without_a_worker_inputs_wait(setting: Setting) -> None:
    setting.dispatcher.take_back(setting.worker)
    setting.submit(1, 2)
    assert setting.worker.ids == []
    setting.new_worker()
    assert setting.worker.ids == ["1", "2"]


def test_an_answer_that_nobody_asked_for_is_none(setting: Setting) -> None:
    setting.submit(1)
    sequence = setting.worker.requests[0].sequence
    assert setting.dispatcher.answered(setting.worker, sequence + 1) is None
    assert setting.dispatcher.answered(setting.worker, 0) is None
    setting.answer()
    assert setting.dispatcher.answered(setting.worker, sequence) is None


def test_too_many_of_qos_0_push_out_the_oldest_of_them() -> None:
    setting = Setting(window=2, queue=3)
    setting.submit(*range(10), qos=0)
    assert setting.dispatcher.dropped == 5
    setting.answer_all()
    assert setting.answered == ["0", "1", "7", "8", "9"]


def test_qos_1_is_never_dropped() -> None:
    setting = Setting(window=1, queue=2)
    setting.submit(0)
    setting.submit(1, 2, 3, 4)
    setting.submit(10, 11, 12, 13, qos=0)
    setting.submit(5, 6)
    assert setting.dispatcher.dropped == 2
    setting.answer_all()
    assert setting.answered == ["0", "1", "2", "3", "4", "12", "13", "5", "6"]


def test_an_input_that_goes_straight_to_the_worker_pushes_nothing_out() -> None:
    setting = Setting(window=4, queue=1)
    setting.submit(*range(5), qos=0)
    assert setting.dispatcher.dropped == 0


def test_what_a_dead_worker_held_goes_first_and_one_at_a_time(setting: Setting) -> None:
    setting.submit(*range(10))
    assert setting.die() == []
    assert setting.worker.ids == ["0"]
    for number in range(4):
        assert setting.worker.ids == [str(number)]
        setting.answer()
    assert setting.worker.ids == ["4", "5", "6", "7"]  # all suspects have answered
    setting.answer_all()
    assert setting.answered == [str(number) for number in range(10)]


def test_whoever_holds_the_second_death_alone_is_given_up_and_the_others_are_not(setting: Setting) -> None:
    setting.submit(*range(10))
    setting.die()
    setting.answer(2)
    assert setting.worker.ids == ["2"]
    assert setting.die() == ["2"]
    setting.answer_all()
    assert setting.answered == ["0", "1", *"3456789"]


def test_two_culprits_are_found_one_after_the_other(setting: Setting) -> None:
    setting.submit(*range(6))
    given_up: list[str] = []
    poison = {"1", "3"}
    for _ in range(20):
        while setting.worker.requests and not (poison & set(setting.worker.ids)):
            setting.answer()
        if not setting.worker.requests:
            break
        if setting.worker.ids[0] in poison:
            given_up += setting.die()
        else:
            setting.answer()
    assert given_up == ["1", "3"]
    assert sorted(setting.answered) == ["0", "2", "4", "5"]


def test_an_input_that_was_held_alone_both_times_is_given_up_after_the_second(setting: Setting) -> None:
    setting.submit(1)
    assert setting.die() == []
    assert setting.die() == ["1"]
    assert MAX_DEATHS == 2
    assert len(setting.dispatcher) == 0


def test_a_worker_that_dies_idle_is_nobodys_fault(setting: Setting) -> None:
    assert setting.die() == []
    setting.submit(*range(4))
    assert setting.worker.ids == ["0", "1", "2", "3"]


def test_after_a_death_more_of_qos_0_push_out_the_oldest_as_before() -> None:
    """What comes back from a dead worker counts among those that wait."""
    setting = Setting(window=5, queue=3)
    setting.submit(*range(8), qos=0)
    setting.die()
    setting.submit(8, 9, qos=0)
    setting.answer_all()
    assert setting.dispatcher.dropped == 2
    assert setting.answered == ["0", *"3456789"]


@pytest.mark.parametrize("seed", range(30))
def test_every_input_is_answered_given_up_or_dropped_exactly_once(seed: int) -> None:
    """And those of QoS 1 in their order, as long as none of them kills."""
    choice = random.Random(seed)
    setting = Setting(window=choice.randint(1, 6), queue=choice.randint(1, 10))
    poison = {str(number) for number in choice.sample(range(200), 5)}
    given_up: list[str] = []
    for number in range(200):
        setting.submit(number, qos=choice.choice([0, 1, 1]))
        for _ in range(choice.randrange(4)):
            if setting.worker.requests and setting.worker.ids[0] in poison:
                given_up += setting.die()
            elif setting.worker.requests:
                setting.answer()
    while setting.worker.requests:
        if setting.worker.ids[0] in poison:
            given_up += setting.die()
        else:
            setting.answer()
    assert len(setting.dispatcher) == 0
    assert set(given_up) <= poison and not poison & set(setting.answered)
    assert len(setting.answered) == len(set(setting.answered))
    assert len(setting.answered) + len(given_up) + setting.dispatcher.dropped == 200
    assert setting.answered == sorted(setting.answered, key=int)


class Several:
    """Replicas that answer when told to."""

    def __init__(self, count: int, window: int = 4) -> None:
        self.dispatcher = Dispatcher(window, 1000)
        self.workers = [Worker() for _ in range(count)]
        self.answered: list[str] = []
        for worker in self.workers:
            self.dispatcher.feed(worker)

    def submit(self, *numbers: int) -> None:
        for number in numbers:
            self.dispatcher.submit(request(number))

    def answer(self, worker: Worker) -> None:
        found = self.dispatcher.answered(worker, worker.requests.pop(0).sequence)
        assert found is not None
        self.answered.append(found.id)
        self.dispatcher.pump()

    def die(self, worker: Worker) -> list[str]:
        self.workers.remove(worker)
        given_up = [request.id for request in self.dispatcher.worker_died(worker)]
        self.workers.append(Worker())
        self.dispatcher.feed(self.workers[-1])
        return given_up

    def loads(self) -> list[int]:
        return [len(worker.requests) for worker in self.workers]


def test_the_next_input_goes_to_the_replica_that_holds_the_fewest() -> None:
    several = Several(3)
    several.submit(*range(6))
    assert several.loads() == [2, 2, 2]
    several.answer(several.workers[1])
    several.answer(several.workers[1])
    several.submit(6)
    assert several.workers[1].ids == ["6"]


def test_what_a_replica_held_is_tried_alone_while_the_others_go_on() -> None:
    several = Several(2)
    several.submit(*range(8))
    healthy, dying = several.workers
    assert several.die(dying) == []
    several.submit(*range(8, 12))
    while healthy.requests:  # it is spared now, so that it has nothing to lose when a suspect comes
        several.answer(healthy)
    new = several.workers[-1]
    assert set(new.ids) == {"8", "9", "10", "11"}


def test_sparing_a_replica_gets_the_suspects_answered_under_constant_load() -> None:
    several = Several(2)
    several.submit(*range(8))
    held = set(several.workers[1].ids)
    several.die(several.workers[1])
    for number in range(8, 60):
        several.submit(number)
        for worker in several.workers:
            if worker.requests:
                several.answer(worker)
    assert held <= set(several.answered)


def test_while_dispatch_rests_nobody_gets_anything_until_somebody_new_is_fed() -> None:
    several = Several(1)
    several.submit(1)
    several.dispatcher.rest()
    several.submit(2, 3)
    (old,) = several.workers
    assert old.ids == ["1"]
    several.answer(old)
    assert old.ids == []
    several.dispatcher.take_back(old)
    new = Worker()
    several.dispatcher.feed(new)
    assert new.ids == ["2", "3"]


def test_what_is_taken_back_goes_first_and_is_no_suspect() -> None:
    several = Several(1)
    several.submit(*range(6))
    several.dispatcher.take_back(several.workers[0])
    new = Worker()
    several.dispatcher.feed(new)
    assert new.ids == ["0", "1", "2", "3"]


@pytest.mark.parametrize("seed", range(30))
def test_replicas_answer_or_give_up_every_input_exactly_once(seed: int) -> None:
    choice = random.Random(seed)
    several = Several(choice.randint(2, 4), window=choice.randint(1, 5))
    poison = {str(number) for number in choice.sample(range(200), 4)}
    given_up: list[str] = []

    def work(worker: Worker) -> None:
        if worker.requests and worker.ids[0] in poison:
            given_up.extend(several.die(worker))
        elif worker.requests:
            several.answer(worker)

    for number in range(200):
        several.submit(number)
        work(choice.choice(several.workers))
    while len(several.dispatcher):
        work(choice.choice(several.workers))
    assert set(given_up) == poison
    assert sorted([*several.answered, *given_up], key=int) == [str(number) for number in range(200)]


def test_an_input_whose_time_has_run_out_goes_to_no_worker() -> None:
    setting = Setting(window=1)
    setting.submit(0)
    for number, left_s in ((1, -1.0), (2, 60.0), (3, 0.0), (4, None)):
        setting.dispatcher.submit(request(number, left_s=left_s))
    setting.answer_all()
    assert setting.answered == ["0", "2", "4"]
    assert setting.expired == ["1", "3"]
    assert len(setting.dispatcher) == 0


def test_inputs_expire_also_while_there_is_no_worker_at_all() -> None:
    setting = Setting()
    setting.dispatcher.take_back(setting.worker)
    for number in range(6):
        setting.dispatcher.submit(request(number, qos=number % 2, left_s=-1.0 if number < 3 else 60.0))
    setting.dispatcher.expire()
    assert setting.expired == ["0", "1", "2"]
    setting.dispatcher.expire()
    setting.new_worker()
    setting.answer_all()
    assert setting.answered == ["3", "4", "5"]
    assert setting.dispatcher.dropped == 0


def test_a_suspect_expires_too_and_the_next_one_is_tried() -> None:
    setting = Setting(window=2)
    setting.dispatcher.submit(request(0, left_s=0.01))
    setting.dispatcher.submit(request(1))
    setting.dispatcher.worker_died(setting.worker)
    time.sleep(0.02)  # the time itself is what runs out
    setting.new_worker()
    setting.answer_all()
    assert (setting.answered, setting.expired) == (["1"], ["0"])


def test_what_is_left_of_an_expiry_is_at_least_a_second() -> None:
    assert request(0).left_s(1e9) is None
    expiring = request(0, left_s=10.0)
    assert expiring.expires_at is not None
    assert [expiring.left_s(expiring.expires_at - left) for left in (9.5, 1.0, 0.2, -100.0)] == [10, 1, 1, 1]


def test_few_qos_0_inputs_of_many_bytes_push_out_the_oldest_too() -> None:
    """A thousand of eight megabytes each would be all memory there is."""
    setting = Setting(window=1, queue=1000)
    size = MAX_QUEUE_BYTES // 4
    setting.submit(0)
    dropped = [lost.id for number in range(1, 8) for lost in setting.dispatcher.submit(request(number, 0, size=size))]
    assert dropped == ["1", "2", "3"]
    assert [lost.id for lost in setting.dispatcher.submit(request(8, 0, size=4 * size + 1))] == ["4", "5", "6", "7"]
    setting.answer_all()
    assert setting.answered == ["0", "8"]
    assert setting.dispatcher.dropped == 7


def test_qos_1_inputs_are_not_dropped_for_their_bytes() -> None:
    setting = Setting(window=1)
    for number in range(5):
        assert setting.dispatcher.submit(request(number, 1, size=MAX_QUEUE_BYTES // 2)) == []


def test_a_request_says_what_its_input_was() -> None:
    dispatcher, worker = Dispatcher(2, 10), Worker()
    dispatcher.feed(worker)
    dispatcher.submit(Request("7", b"payload", "image/png", 12.5, 13.5, Nobody()))
    dispatcher.submit(request(8))
    assert worker.requests == [
        InferenceRequest(1, "7", b"payload", "image/png", 12.5, 13.5),
        InferenceRequest(2, "8", b"", None, 0.0, 0.0),
    ]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr(rules, "time", clock)
    return clock


def test_a_worker_is_busy_since_it_got_work_or_answered_what_was_before(clock: Monotonic, setting: Setting) -> None:
    """That is how long it has computed what it owes: whoever hangs is found by it."""

    def busy() -> float | None:
        return setting.dispatcher.busy_since(setting.worker)

    assert busy() is None
    assert setting.dispatcher.busy_since(Worker()) is None
    setting.submit(1)
    clock.now += 5
    setting.submit(2)
    assert busy() == 1000
    clock.now += 5
    setting.answer()
    assert busy() == 1010
    setting.answer()
    assert busy() is None
    clock.now += 5
    setting.submit(3)
    assert busy() == 1015


def test_a_worker_that_is_not_fed_holds_nothing(setting: Setting) -> None:
    setting.submit(1)
    stranger = Worker()
    setting.dispatcher.take_back(stranger)
    assert setting.dispatcher.worker_died(stranger) == []
    assert setting.dispatcher.answered(stranger, setting.worker.requests[0].sequence) is None
    assert len(setting.dispatcher) == 1


def test_an_input_is_late_in_the_very_moment_in_which_its_time_ends(clock: Monotonic, setting: Setting) -> None:
    setting.dispatcher.take_back(setting.worker)
    for number, left_s in ((0, 5.0), (1, 6.0)):
        one = request(number)
        one.expires_at = clock.now + left_s
        setting.dispatcher.submit(one)
    clock.now += 5
    setting.dispatcher.expire()
    assert setting.expired == ["0"]
    clock.now += 1
    setting.new_worker()
    assert (setting.expired, setting.worker.ids) == (["0", "1"], [])


def test_what_has_expired_is_not_counted_among_those_that_wait(clock: Monotonic) -> None:
    setting = Setting(queue=2)
    setting.dispatcher.take_back(setting.worker)
    for number in range(2):
        late = request(number, qos=0)
        late.expires_at = clock.now
        assert setting.dispatcher.submit(late) == []
    setting.dispatcher.expire()
    dropped = [lost.id for number in range(2, 6) for lost in setting.dispatcher.submit(request(number, qos=0))]
    assert (setting.expired, dropped) == (["0", "1"], ["2", "3"])


def test_what_is_taken_back_is_counted_among_those_that_wait() -> None:
    setting = Setting(window=2, queue=2)
    setting.submit(0, 1, qos=0)
    setting.dispatcher.take_back(setting.worker)
    assert [lost.id for lost in setting.dispatcher.submit(request(2, qos=0))] == ["0"]
    setting.new_worker()
    assert [lost.id for number in (3, 4, 5) for lost in setting.dispatcher.submit(request(number, qos=0))] == ["3"]


def test_an_answer_that_nobody_asked_for_makes_no_worker_less_busy(clock: Monotonic, setting: Setting) -> None:
    setting.submit(1)
    clock.now += 5
    assert setting.dispatcher.answered(setting.worker, 99) is None
    assert setting.dispatcher.busy_since(setting.worker) == 1000


def test_it_is_full_by_number_whoever_waits() -> None:
    setting = Setting(window=1, queue=3)
    setting.submit(0, 1, 2)
    assert not setting.dispatcher.is_full(0)
    setting.submit(3)
    assert setting.dispatcher.is_full(0)
    setting.die()  # what it held waits as a suspect, and is sent to the next one
    assert setting.worker.ids == ["0"] and setting.dispatcher.is_full(0)
    setting.dispatcher.worker_died(setting.worker)
    setting.dispatcher.take_back(setting.worker)
    assert setting.dispatcher.is_full(0)


def test_suspects_count_among_those_that_wait() -> None:
    setting = Setting(window=2, queue=2)
    setting.submit(0, 1)
    setting.dispatcher.worker_died(setting.worker)
    assert setting.dispatcher.is_full(0)


def test_it_is_full_by_bytes_unless_nobody_waits() -> None:
    setting = Setting(window=1, queue=100)
    setting.submit(0)
    assert not setting.dispatcher.is_full(MAX_QUEUE_BYTES + 1), "one of any size may wait"
    setting.dispatcher.submit(request(1, size=MAX_QUEUE_BYTES // 2))
    setting.dispatcher.submit(request(2, size=MAX_QUEUE_BYTES // 4))
    assert not setting.dispatcher.is_full(MAX_QUEUE_BYTES // 4)
    assert setting.dispatcher.is_full(MAX_QUEUE_BYTES // 4 + 1)
    setting.answer()
    assert not setting.dispatcher.is_full(3 * (MAX_QUEUE_BYTES // 4))
    assert setting.dispatcher.is_full(3 * (MAX_QUEUE_BYTES // 4) + 1)


def test_what_waits_is_bounded_by_64_mib_and_two_deaths() -> None:
    assert (MAX_QUEUE_BYTES, MAX_DEATHS) == (64 << 20, 2)
