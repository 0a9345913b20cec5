"""A warning is placed on the innermost line that is not the package's, Detectron2's or torch's."""

import inspect
import warnings

import pytest
import torch

from odam_d2.utils import user_warnings
from odam_d2.utils.user_warnings import warn_user


def here():
    return inspect.currentframe().f_back.f_lineno


def inner():
    return warn_user("look"), here()


def test_the_callers_line_where_nothing_lies_between():
    with pytest.warns(UserWarning, match="look") as caught:
        _, line = inner()
    assert (caught[0].filename, caught[0].lineno) == (__file__, line)


def test_frames_of_torch_and_of_the_package_are_passed_over():
    # As if it stood in this package, and called by torch.
    inside = compile("warn_user('deep', FutureWarning)", user_warnings.__file__, "exec")
    hook = lambda *_: torch.no_grad()(exec)(inside, {"warn_user": warn_user})  # noqa: E731
    with pytest.warns(FutureWarning, match="deep") as caught:
        hook()
    assert (caught[0].filename, caught[0].lineno) == (__file__, hook.__code__.co_firstlineno)


def test_the_outermost_line_where_all_are_the_packages(monkeypatch):
    monkeypatch.setattr(user_warnings, "_NOT_THE_USERS", ("/",))
    with pytest.warns(UserWarning, match="look") as caught:
        inner()
    frame = inspect.currentframe()
    while frame.f_back is not None:
        frame = frame.f_back
    assert caught[0].filename == frame.f_code.co_filename


def test_filters_know_the_users_module():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", module=__name__.replace(".", r"\."))
        inner()
    assert caught == []


def test_said_once_a_line_by_the_usual_filter():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            inner()
    assert len(caught) == 1
