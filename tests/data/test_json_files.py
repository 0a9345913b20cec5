"""Files of JSON in the encodings that tools write; what is wrong with others is told with its remedy."""

import math

import pytest

from odam_d2.data.json_files import read_json

TEXT = '{"name": "caf\u00e9 \u732b"}'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_encodings_with_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(TEXT.encode(encoding))
    content, repair = read_json(tmp_path / "a.json")
    assert content == {"name": "caf\u00e9 \u732b"} and "byte order mark of UTF-" in repair


def test_marks_of_the_other_byte_order(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_json(tmp_path / "a.json")[0] == {"name": "caf\u00e9 \u732b"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_encodings_without_a_mark(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes(TEXT.encode(encoding))
    assert read_json(tmp_path / "a.json") == ({"name": "caf\u00e9 \u732b"}, f"it was read as {encoding.upper()}")


def test_a_plain_file(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\n" + TEXT.encode() + b"\n\n")
    assert read_json(tmp_path / "a.json") == ({"name": "caf\u00e9 \u732b"}, None)


def test_numbers_of_very_many_digits(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1' + "0" * 5000 + ', "b": 2}')
    assert read_json(tmp_path / "a.json")[0] == {"a": math.inf, "b": 2}


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "the file is empty: write it again"),
        (b" \n", "the file is empty"),
        (TEXT[:-1].encode(), "the file ends in the middle, at line 1 .*: it was cut off"),
        (TEXT[:11].encode(), "the file ends in the middle, at line 1 .Unterminated"),
        (b'{"a": 1,\n "b" 2}', "it is no JSON at line 2, column 6 .*: mend it there"),
        (TEXT.encode("utf-16-le")[:-1], "it begins in UTF-16-LE and goes on otherwise at byte 35: it was cut off"),
        (b"[" * 100000, "its lists are nested too deeply"),
        (
            TEXT[:14].encode("latin-1") + b'"}',
            r"not in UTF-8 .byte 14, in line 1, is 0xe9.: .* iconv -f LATIN1 -t UTF-8 'a.json' > new.json",
        ),
    ],
)
def test_what_can_not_be_read(tmp_path, data, reason):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_json(tmp_path / "a.json")


def test_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="No such file.*: name a file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="directory"):
        read_json(tmp_path)
