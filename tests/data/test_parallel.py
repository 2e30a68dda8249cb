"""Work that is handed to processes: a few jobs ahead, however many there are."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor

import pytest

from velatura.data import _parallel


class Pool(ProcessPoolExecutor):
    """Does a job when it is submitted; counts."""

    def __init__(self) -> None:
        self.submitted = 0

    def submit(self, call, job) -> Future:
        self.submitted += 1
        future: Future = Future()
        future.set_result(call(job))
        return future


@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_jobs_are_drawn_as_answers_are_taken(ahead):
    pool = Pool()
    taken = set()
    for answer in _parallel._results(lambda job: 10 * job, iter(range(20)), pool, ahead):
        taken.add(answer)
        assert pool.submitted <= len(taken) + ahead
    assert taken == set(range(0, 200, 10))
    assert pool.submitted == 20
