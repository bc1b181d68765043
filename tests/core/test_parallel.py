"""Work spread over processes."""

from itertools import islice

import pytest

from fewframes.core.parallel import mapped


@pytest.mark.parametrize(("workers", "chunk"), [(1, 1), (2, 1), (2, 3)])
def test_results_come_in_the_order_of_the_jobs(workers, chunk):
    assert list(mapped(abs, [-3, 1, -2, 0, 5], workers, chunk)) == [3, 1, 2, 0, 5]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_is_raised_where_its_result_would_be(workers):
    results = mapped(int, ["1", "2", "x", "4"], workers)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="x"):
        next(results)


def test_one_process_works_as_results_are_taken():
    done = []
    results = mapped(done.append, range(5), 1)
    assert not done
    list(islice(results, 2))
    assert done == [0, 1]
