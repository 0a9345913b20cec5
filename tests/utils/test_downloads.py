"""Weights at addresses, without a network."""

import pytest

from odam_d2.utils.downloads import cache_path, fetch_weights


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no way out of this machine."""

    def refused(*args, **kwargs):
        raise OSError("no way out")

    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlretrieve", refused)
    return tmp_path


@pytest.mark.parametrize(
    "address, place",
    [
        ("detectron2://ImageNetPretrained/MSRA/R-50.pkl", "detectron2/ImageNetPretrained/MSRA/R-50.pkl"),
        ("catalog://ImageNetPretrained/FAIR/X-101-32x8d", "detectron/ImageNetPretrained/20171220/X-101-32x8d.pkl"),
        ("https://example.invalid/a/b.pth", "a/b.pth"),
    ],
)
def test_an_address_says_where_a_copy_belongs_and_finds_it_there(cache, address, place):
    assert cache_path(address) == str(cache / place)
    with pytest.raises(FileNotFoundError) as caught:
        fetch_weights(address, "MODEL.WEIGHTS")
    text = str(caught.value)
    assert str(cache / place) in text and "MODEL.WEIGHTS /path/to/file" in text and "no way out" in text
    with pytest.raises(FileNotFoundError, match="train.init_checkpoint=/path/to/file"):
        fetch_weights(address, "train.init_checkpoint")
    (cache / place).parent.mkdir(parents=True, exist_ok=True)
    (cache / place).write_bytes(b"weights")
    assert fetch_weights(address, "MODEL.WEIGHTS") == str(cache / place)


def test_paths_stay_what_they_are_and_other_addresses_have_no_place(cache):
    assert fetch_weights("some/where.pth", "MODEL.WEIGHTS") == "some/where.pth"
    assert cache_path("odam://a.pth") is None and cache_path("catalog://nothing") is None
