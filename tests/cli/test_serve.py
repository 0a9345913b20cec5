"""The command line of the server: what it refuses, and what it builds."""

import importlib.util
import socket
from contextlib import closing

import pytest

from odam_d2.cli import serve
from odam_d2.cli.arguments import split_opts
from odam_d2.serve import run_server
from odam_d2.store import ImageRow, RunWriter, StoredImage

CONFIG = "synthetic/faster_rcnn_compact_FPN"


@pytest.mark.parametrize(
    "argv, words",
    [
        ([], "give RUN, --config-file, or both"),
        (["--config-file", "a", "b", "c"], "at most 2 detectors; got 3"),
        (["out", "--host", "0.0.0.0"], "--token must be given"),
        (["out", "--host", "192.168.1.7"], "--token must be given"),
        (["out", "--token", "short"], "at least 16"),
        (["out", "--token", "sixteen letters\n."], "printable"),
        (["out", "--port", "70000"], "at most 65535"),
        (["out", "--port", "-1"], "at least 0"),
        (["out", "MODEL.WEIGHTS", "x.pth"], "without --config-file"),
        (["--config-file", "a", "b", "MODEL.WEIGHTS", "x.pth"], "weights at the end must be those of one detector"),
    ],
)
def test_wrong_arguments_are_told(capsys, argv, words):
    with pytest.raises(SystemExit) as caught:
        serve.main(argv)
    assert caught.value.code == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "argv, expected",
    [
        (["out", "--config-file", "a"], []),
        (["--config-file", "a", "b", "MODEL.DEVICE", "cpu"], ["MODEL.DEVICE", "cpu"]),
        (["--config-file", "a.py", "model.backbone.freeze_at=0", "x=1"], ["model.backbone.freeze_at=0", "x=1"]),
        (["--config-file", "A", "--host", "127.0.0.1"], []),
        ([], []),
    ],
)
def test_options_at_the_end_are_found(argv, expected):
    words, opts = split_opts(argv)
    assert opts == expected and words + opts == argv


@pytest.mark.parametrize(
    "given, expected",
    [
        ([], {"127.0.0.1", "localhost", "::1"}),
        (["--allow-host", "box.example"], {"127.0.0.1", "localhost", "::1", "box.example"}),
        (["--host", "192.168.1.7"], {"127.0.0.1", "localhost", "::1", "192.168.1.7"}),
        (["--host", "0.0.0.0"], {"127.0.0.1", "localhost", "::1", socket.gethostname()}),
    ],
)
def test_names_that_it_answers_to(given, expected):
    assert set(serve.hosts_of(serve.argument_parser().parse_args(["out", *given]))) == expected


def test_what_is_missing_is_named_with_its_remedy(capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    assert serve.main(["out"]) == 1
    assert "uvicorn: pip install 'odam_d2[serve]'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_anything_is_loaded(capsys):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert serve.main(["out", "--port", str(port)]) == 1
    assert f"got 127.0.0.1 and {port}" in capsys.readouterr().err


def test_work_that_goes_on_does_not_keep_the_process(monkeypatch):
    def leave(code):
        raise SystemExit(f"left with {code}")

    monkeypatch.setattr(run_server, "run_server", lambda *_: True)
    monkeypatch.setattr(serve, "_workbench", lambda _: None)
    monkeypatch.setattr(serve.os, "_exit", leave)
    with pytest.raises(SystemExit, match="left with 0"):
        serve.main(["out", "--port", "0"])


def test_a_folder_without_a_run_is_told(capsys, tmp_path):
    assert serve.main([str(tmp_path), "--port", "0"]) == 1
    assert "must hold a run" in capsys.readouterr().err


def test_it_serves_the_run_and_the_detector(monkeypatch, tmp_path, capsys):
    with RunWriter(tmp_path) as writer:
        writer.write(StoredImage(ImageRow(0, "0", "a.jpg", "a.jpg", failure="x")))
    served = {}

    def run(bench, listener, hosts, token):
        served.update(bench=bench, address=run_server.address_of(listener, token))
        bench.close()

    monkeypatch.setattr(run_server, "run_server", run)
    argv = [str(tmp_path), "--config-file", CONFIG, "--port", "0", "--attributes", "score", "--device", "cpu"]
    assert serve.main([*argv, "--token", "correct-horse battery", "INPUT.MIN_SIZE_TEST", "240"]) == 0
    told = served["bench"].about()
    assert told["run"]["images"] == 1 and [one["name"] for one in told["detectors"]] == ["faster_rcnn_compact_FPN"]
    assert told["detectors"][0]["attributes"] == ["score"] and told["detectors"][0]["combined"] is None
    assert {one["name"] for one in told["samples"]} >= {"scene_demo_000000.jpg"}
    assert served["address"].endswith("/?token=correct-horse%20battery")
    assert "Loading" in capsys.readouterr().out
