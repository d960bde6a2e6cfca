"""Facts of the queue between the event loop and its workers."""

import queue
import threading
import time

import pytest

from oodtune.serve.job_queue import JobQueue


def start(target, count: int = 1) -> list[threading.Thread]:
    threads = [threading.Thread(target=target, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def wait_for_idle(jobs: JobQueue, count: int) -> None:
    until_s = time.monotonic() + 20
    while jobs.num_idle != count:
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_what_comes_first_goes_first():
    jobs: JobQueue[int] = JobQueue()
    for place in range(5):
        jobs.put(place)
    assert len(jobs) == 5
    assert [jobs.get() for _ in range(5)] == [0, 1, 2, 3, 4]


def test_every_item_reaches_one_worker_however_many_there_are():
    jobs: JobQueue[int | None] = JobQueue()
    taken: list[int] = []

    def work() -> None:
        while (item := jobs.get()) is not None:
            taken.append(item)

    workers = start(work, 4)
    for place in range(5000):
        jobs.put(place)
        if place % 100 == 0:
            time.sleep(0.001)  # the workers become idle
    for _ in workers:
        jobs.put(None)
    join(workers)
    assert sorted(taken) == list(range(5000))


def test_an_item_wakes_one_worker_and_it_is_the_last_that_became_idle():
    jobs: JobQueue[str] = JobQueue()
    took: list[int] = []

    def worker(place: int):
        return lambda: (jobs.get(), took.append(place))

    threads = []
    for place in range(3):
        threads += start(worker(place))
        wait_for_idle(jobs, place + 1)
    for left in (2, 1, 0):
        jobs.put("item")
        threads[left].join(20)
        assert took[-1] == left
        assert jobs.num_idle == left


def test_who_waits_until_a_time_is_told_that_nothing_came_and_leaves_no_trace():
    jobs: JobQueue[int] = JobQueue()
    begun_s = time.perf_counter()
    with pytest.raises(queue.Empty):
        jobs.get(begun_s + 0.05)
    assert time.perf_counter() - begun_s >= 0.05
    with pytest.raises(queue.Empty):
        jobs.get(begun_s)  # long ago
    assert jobs.num_idle == 0
    jobs.put(7)
    assert jobs.get(begun_s) == 7


def test_no_item_is_lost_to_workers_that_wait_a_moment_only():
    jobs: JobQueue[int] = JobQueue()
    taken: list[int] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                taken.append(jobs.get(time.perf_counter() + 0.0005))
            except queue.Empty:
                continue

    workers = start(work, 3)
    for place in range(1000):
        jobs.put(place)
        if place % 5 == 0:
            time.sleep(0.0005)  # as long as they wait: many are woken as they give up
    until_s = time.monotonic() + 20
    while len(taken) < 1000 and time.monotonic() < until_s:
        time.sleep(0.001)
    done.set()
    join(workers)
    assert sorted(taken) == list(range(1000))


def test_what_an_idle_worker_has_been_handed_no_other_can_take():
    jobs: JobQueue[int] = JobQueue()
    taken: list[int] = []
    threads = start(lambda: taken.append(jobs.get()))
    wait_for_idle(jobs, 1)
    jobs.put(1)
    assert len(jobs) == 0
    with pytest.raises(queue.Empty):
        jobs.get(time.perf_counter())
    join(threads)
    assert taken == [1]
