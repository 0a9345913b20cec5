"""Who may ask the server, and what every answer says to browsers."""

import hmac
import socket

import pytest
from starlette.datastructures import Headers

from odam_d2.serve import guard
from odam_d2.serve.guard import Guard, is_loopback
from odam_d2.serve.workbench import Workbench
from tests.serve.conftest import serving

TOKEN = "correct-horse-battery"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:9000", "[::1]:{port}", "localhost"]
)
def test_own_hosts_are_answered(client, host):
    assert client.get("/api/about", Host=host.format(port=client.port)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example:{port}", "",
        "localhost:x",
        "127.0.0.1:80@evil.example", "[::1].evil.example", "localhost,evil.example", "0.0.0.0:{port}", "2130706433",
    ],
)  # fmt: skip
def test_a_name_that_somebody_else_gave_this_machine_is_refused(client, host):
    reply = client.get("/api/about", Host=host.format(port=client.port))
    assert reply.status in (400, 421)
    assert b"detectors" not in reply.body


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Origin": "http://localhost:{port}"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),  # another server of this machine
        ({"Origin": "http://127.0.0.1:{port}"}, 403),  # not the host that was asked
        ({"Origin": "http://localhost:{port}.evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 403),
        ({"Sec-Fetch-Site": ""}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(client, headers, status):
    given = {name: value.format(port=client.port) for name, value in headers.items()}
    assert client.get("/api/about", Host=f"localhost:{client.port}", **given).status == status


def test_a_link_of_another_site_may_open_the_page_and_nothing_else(client):
    navigates = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert client.get("/", **navigates).status != 403
    assert client.get("/", **{**navigates, "Sec-Fetch-Dest": "iframe"}).status == 403
    assert client.ask("POST", "/api/ask", "{}", {**navigates, "Content-Type": "application/json"}).status == 403


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx",
     "image/png"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/ask", "/api/edits", "/api/page", "/api/run/open/0"])
def test_what_a_form_can_send_is_refused(client, kind, path):
    reply = client.ask("POST", path, "{}", {"Content-Type": kind} if kind else {})
    assert reply.status == 415 and "application/json" in reply.error


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json", "text/html"])
def test_what_is_no_image_is_not_uploaded(client, kind):
    assert client.upload(b"x", kind).status == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_other_methods_are_refused(client, method):
    reply = client.ask(method, "/api/about")
    assert reply.status == 405 and reply.headers["allow"] == "GET, POST"
    assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("path", ["/", "/api/about", "/api/images/0123456789abcdef", "/nothing", "/static/heat.js"])
def test_every_answer_tells_browsers_what_is_forbidden(client, path):
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["script-src"] == "'self'" and policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "cache-control" in headers and "server" not in headers


def test_refusals_have_these_headers_too(client):
    headers = client.get("/api/about", Host="evil.example").headers
    assert "default-src 'none'" in headers["content-security-policy"]


@pytest.fixture(scope="module")
def locked():
    """Asks a server with a token, and without anything to ask."""
    with serving(Workbench(), token=TOKEN) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/api/about", "/static/heat.js", "/?token=", "/?token=wrong", "/nothing",
                                  f"/api/about?token={TOKEN}", f"/?token={TOKEN}&token=x"])  # fmt: skip
def test_nothing_is_answered_without_the_token(locked, path):
    reply = locked.get(path)
    assert reply.status == 401 and "token" in reply.error


def test_the_pages_address_changes_the_token_for_a_cookie(locked):
    reply = locked.get(f"/?token={TOKEN}")
    assert (reply.status, reply.headers["location"]) == (303, "/")
    cookie, *about = reply.headers["set-cookie"].split("; ")
    assert {"httponly", "samesite=strict", "path=/"} <= {one.lower() for one in about}
    assert TOKEN not in cookie
    assert locked.get("/api/about", Cookie=cookie).status == 200
    assert locked.get("/api/about", Cookie=f"{cookie}x").status == 401
    assert locked.get("/api/about", Cookie=f"a=b; {cookie}; c=d").status == 200
    assert locked.get("/api/about", Cookie='"; ;;=').status == 401


@pytest.mark.parametrize("other", ['theme={"dark": 1}', "expires=1", "a@b=1", "no value", 'x="', "\xff=\xff"])
def test_cookies_of_other_servers_lock_nobody_out(locked, other):
    cookie = locked.get(f"/?token={TOKEN}").headers["set-cookie"].split("; ")[0]
    assert locked.get("/api/about", Cookie=f"{other}; {cookie}").status == 200
    assert locked.get("/api/about", Cookie=f"{cookie}; {other}").status == 200
    assert locked.get("/api/about", Cookie=other).status == 401


def test_the_token_leaves_the_address_bar_even_where_the_cookie_is_there(locked):
    cookie = locked.get(f"/?token={TOKEN}").headers["set-cookie"].split("; ")[0]
    reply = locked.get(f"/?token={TOKEN}&a=1", Cookie=cookie)
    assert (reply.status, reply.headers["location"]) == (303, "/?a=1")
    assert locked.get("/?a=1", Cookie=cookie).status == 200


def test_headers_given_twice_are_both_looked_at(client):
    def status(line: str, *headers: str) -> int:
        text = "\r\n".join((f"{line} HTTP/1.1", "Host: localhost", *headers, "Connection: close", "", "{}"))
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as connection:
            connection.sendall(text.encode())
            return int(connection.recv(4000).split(b" ")[1])

    assert status("GET /api/about", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site") == 403
    json, text = "Content-Type: application/json", "Content-Type: text/plain"
    assert status("POST /api/ask", json, text, "Content-Length: 2") == 415
    assert status("POST /api/ask", text, json, "Content-Length: 2") == 415
    assert status("POST /api/ask", json, "Content-Length: 2") == 422


@pytest.mark.parametrize("given, status", [(f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (TOKEN, 401),
    ("Bearer ", 401), (f"Bearer {TOKEN}x", 401), (f"Bearer {TOKEN[:-1]}", 401), (f"Basic {TOKEN}", 401)])  # fmt: skip
def test_programs_send_the_token_as_a_header(locked, given, status):
    assert locked.get("/api/about", Authorization=given).status == status


def test_tokens_are_compared_in_constant_time(monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    one = Guard(app=None, token=TOKEN)  # type: ignore[arg-type]
    assert not one._is_known(Headers({"authorization": "Bearer wrong"}))
    assert (b"wrong", TOKEN.encode()) in compared


@pytest.mark.parametrize(
    "host, expected",
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.5", False), ("example.org", False)],
)  # fmt: skip
def test_only_this_machine_reaches_loopback_addresses(host, expected):
    assert is_loopback(host) is expected
