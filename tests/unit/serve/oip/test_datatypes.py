"""Facts of the binary form of tensors."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from oodtune.serve.oip.datatypes import pack_elements, raw_bytes, unpack_elements
from oodtune.serve.refusal import RefusedError

ELEMENTS = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(ELEMENTS)
def test_unpacked_elements_are_those_that_were_packed(elements):
    assert unpack_elements(memoryview(pack_elements(elements)), len(elements)) == elements


@given(ELEMENTS)
def test_elements_are_packed_as_tritonclient_packs_them(elements):
    assert pack_elements(elements) == serialize_byte_tensor(np.array(elements, object)).item()
    assert deserialize_bytes_tensor(pack_elements(elements)).tolist() == elements


@given(ELEMENTS, st.integers(-8, 8).filter(bool))
def test_a_tensor_that_is_longer_or_shorter_than_it_says_is_refused(elements, change):
    raw = pack_elements(elements)
    wrong = raw[:change] if change < 0 else raw + bytes(change)
    with pytest.raises(RefusedError, match="uint32 length before every element"):
        unpack_elements(wrong, len(elements))


@given(st.binary(max_size=64), st.integers(1, 100))
def test_no_bytes_make_unpacking_raise_anything_else(raw, count):
    with contextlib.suppress(RefusedError):
        assert pack_elements(unpack_elements(raw, count)) == raw


def test_floats_are_little_endian_and_row_major():
    values = np.array([[1.5, -2.0], [3.25, 1e-9]], np.float32)
    assert raw_bytes(values) == values.astype(">f4").byteswap().tobytes()
    assert raw_bytes(values.T) == np.ascontiguousarray(values.T).tobytes()
