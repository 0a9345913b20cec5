"""Pickles of arrays and tensors are read; whatever else they hold is refused, and not run."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from odam_d2.utils.unpickling import CarriesCode, load_arrays
from tests.utils.payloads import CALLS, Calls

VALUES = [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(3.5),
    np.array(["a", "bc"]),
    np.float32(3),
    np.int64(-7),
    torch.arange(6.0).reshape(2, 3).t(),
    torch.nn.Parameter(torch.ones(2)),
    torch.full((2,), 0.5, dtype=torch.bfloat16),
    b"abc",
    OrderedDict(a=1),
    {"a": [1, (2.5, None, True)]},
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_weights_are_made_of_comes_back(value, protocol):
    found = load_arrays(io.BytesIO(pickle.dumps({"value": value}, protocol)))["value"]
    if isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype and torch.equal(found, value)
    elif isinstance(value, np.ndarray):
        assert found.dtype == value.dtype and np.array_equal(found, value)
    else:
        assert found == value and isinstance(found, type(value))


def test_arrays_that_python_2_wrote():
    """Its texts are bytes: protocol 2 with the opcode of such a text, under the old module name."""
    old = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tb."
    )
    assert load_arrays(io.BytesIO(old)).tolist() == [1.0, -2.0]


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", CALLS)
def test_calls_are_refused_by_name_and_not_made(name, protocol, tmp_path):
    target = tmp_path / "written"
    content = pickle.dumps({"model": {"w": np.ones(2)}, "more": Calls(name, target)}, protocol)
    with pytest.raises(CarriesCode) as refused:
        load_arrays(io.BytesIO(content))
    assert refused.value.name and not target.exists()
    pickle.loads(content)
    assert target.exists()  # so it would have


def test_functions_that_are_known_can_not_be_changed():
    """BUILD sets attributes of whatever lies on the stack: here of the function that makes bytes."""
    content = b"\x80\x02c_codecs\nencode\nN}U\x09_functionc_codecs\nencode\ns\x86b."
    with pytest.raises((pickle.UnpicklingError, AttributeError)):
        load_arrays(io.BytesIO(content))
    assert load_arrays(io.BytesIO(pickle.dumps(b"as before", 2))) == b"as before"


@pytest.mark.parametrize("call", [b"R", b"\x81"], ids=["call", "new object"])
def test_arrays_are_not_made_of_places_in_memory(call):
    """ndarray((1,), dtype("O"), bytes) reads the bytes as a pointer."""
    content = (
        b"\x80\x03cnumpy\nndarray\nK\x01\x85cnumpy\ndtype\nX\x01\x00\x00\x00O\x85RC\x08" + bytes(8) + b"\x87" + call
    )
    assert pickle.loads(content + b".").tolist() == [None]
    with pytest.raises(pickle.UnpicklingError):
        load_arrays(io.BytesIO(content + b"."))


def test_bytes_are_latin1_alone():
    """Another encoding would make Python import a codec by its name."""
    with pytest.raises(pickle.UnpicklingError, match="must be written as latin1; got 'rot13'"):
        load_arrays(io.BytesIO(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."))
