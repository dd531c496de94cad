"""McNemar's test against SciPy's binomial test, and by hand."""

import numpy as np
import pytest
from scipy import stats

from eyespot.transfer import MetricsError, mcnemar_test


def rights(both, first, second, neither):
    counts = (both, first, second, neither)
    return (
        np.repeat([True, True, False, False], counts),
        np.repeat([True, False, True, False], counts),
    )


def test_by_hand():
    found = mcnemar_test(*rights(7, 0, 5, 2))
    assert (found.both_right, found.only_first, found.only_second, found.both_wrong) == (7, 0, 5, 2)
    assert found.p_value == pytest.approx(2 / 2**5)  # five tosses, all on one side


@pytest.mark.parametrize(("first", "second"), [(1, 9), (12, 12), (40, 60), (3_000, 3_200)])
def test_it_is_the_binomial_test(first, second):
    found = mcnemar_test(*rights(10, first, second, 10))
    expected = stats.binomtest(first, first + second).pvalue
    assert found.p_value == pytest.approx(expected, rel=1e-9)


def test_equal_answers_are_no_evidence():
    assert mcnemar_test(*rights(3, 0, 0, 1)).p_value == 1


def test_the_pictures_must_be_the_same():
    with pytest.raises(MetricsError, match=r"\(3,\) and \(4,\)"):
        mcnemar_test(np.ones(3, bool), np.ones(4, bool))
