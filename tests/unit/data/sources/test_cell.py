from hypothesis import given
from hypothesis import strategies as st

from oodtune.data.sources.cell import limit_cell

names = st.lists(st.text(min_size=1), unique=True, max_size=20)


@given(names, st.randoms(), st.integers(2, 9))
def test_the_choice_depends_on_the_names_and_not_on_their_order(names, random, limit) -> None:
    shuffled = random.sample(names, len(names))
    assert limit_cell(shuffled, limit) == limit_cell(names, limit)


@given(names, st.integers(2, 9))
def test_a_larger_limit_keeps_the_smaller_ones_choice(names, limit) -> None:
    smaller = limit_cell(names, limit)
    assert len(smaller) == min(limit, len(names))
    assert set(smaller) <= set(limit_cell(names, limit + 1)) <= set(limit_cell(names, None)) == set(names)
