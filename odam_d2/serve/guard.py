"""Who may ask: the host that is named, the page that asks, the kind of body, the token; and headers of every answer."""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Collection
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .model_queue import STOPPED
from .refusals import RefusedError, refusal

LOOPBACK = ("127.0.0.1", "localhost", "::1")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]+))(?::\d{1,5})?")
# Where a site's fetch began, as browsers tell; "none" is the user's own typing.
_OWN_SITES = ("same-origin", "none")


def is_loopback(host: str) -> bool:
    """Whether a host that a server listens on is reached from its own machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Guard:
    """Stands before the whole application.

    - The ``Host`` must be one of ours, on any port, since a tunnel may have another: a name that somebody else gave
      this machine (DNS rebinding) is refused.
    - Where ``Origin`` or ``Sec-Fetch-Site`` tell that another site asks, it is refused; its links may open the page.
    - What is posted must be JSON or an image, which no form of another site can send.
    - With a token, all but the page's first address needs it: as a cookie, or as ``Authorization: Bearer``.

    Args:
        app: the application.
        hosts: names and addresses by which it may be called, without ports.
        token: what must be known; None for nothing.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str] = LOOPBACK, token: str | None = None):
        self.app = app
        self.hosts = frozenset(host.lower().strip("[]") for host in hosts)
        self.token = token
        # The cookie is no token: who reads it has this run of the server alone.
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"odam_{hashlib.sha256(self._session.encode()).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI; WebSockets are refused."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        began = False

        async def send_guarded(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._require_own_host(headers)
            self._require_own_site(scope, headers)
            _require_kind(scope, headers)
            entrance = None if self.token is None else self._entrance(scope, headers)
        except RefusedError as error:
            await refusal(error.status, str(error))(scope, receive, send_guarded)
            return
        try:
            await (entrance or self.app)(scope, receive, send_guarded)
        except asyncio.CancelledError:  # the server stops, and waits no longer for what isn't sent
            if began:
                raise
            await refusal(503, STOPPED)(scope, receive, send_guarded)

    def _require_own_host(self, headers: Headers) -> None:
        named = headers.getlist("host")
        if len(named) != 1 or _name_of(named[0]) not in self.hosts:
            raise RefusedError(
                421,
                f"the host must be one that the server was started for; got {', '.join(named)[:100]!r}: open "
                "http://127.0.0.1 with its port, or start it with --allow-host NAME",
            )

    def _require_own_site(self, scope: Scope, headers: Headers) -> None:
        host, origins = headers["host"].lower(), headers.getlist("origin")
        if any(origin.lower() not in (f"http://{host}", f"https://{host}") for origin in origins):
            raise RefusedError(403, f"the page that asks must be the server's own; got origin {origins[0][:100]!r}")
        sites = [site.lower() for site in headers.getlist("sec-fetch-site")]
        opens = scope["method"] == "GET" and scope["path"] == "/" and headers.get("sec-fetch-dest") == "document"
        if not (all(site in _OWN_SITES for site in sites) or opens):
            raise RefusedError(403, "the page that asks must be the server's own; got a request of another site")

    def _is_known(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self.token or ""):
            return True
        # Other servers of this machine set cookies too, of any form: one that is none hides no other.
        cookies = (one.strip().partition("=") for line in headers.getlist("cookie") for one in line.split(";"))
        return any(name == self._cookie and _same(value, self._session) for name, _, value in cookies)

    def _entrance(self, scope: Scope, headers: Headers) -> RedirectResponse | None:
        """What changes the token in the address of the page for a cookie; None where it isn't in the address.

        It is changed even where the cookie is there: links are copied from the address bar.
        """
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = query.pop("token", []) if scope["method"] == "GET" and scope["path"] == "/" else []
        if len(given) != 1 or not _same(given[0], self.token or ""):
            if self._is_known(headers):
                return None
            raise RefusedError(
                401, "the token must be given; got none, or another one: open the address that the server printed"
            )
        rest = urlencode(query, doseq=True)
        response = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return response


def _name_of(host: str) -> str | None:
    """The name in a ``Host`` header, without its port; None where it is none."""
    found = _HOST.fullmatch(host.lower())
    return found and (found["address"] or found["name"])


def _same(given: str, known: str) -> bool:
    # As bytes: the time that it takes tells nothing of how much is right.
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode("utf-8", "replace"))


def _require_kind(scope: Scope, headers: Headers) -> None:
    if scope["method"] == "GET":
        return
    if scope["method"] != "POST":
        raise RefusedError(405, f"the method must be GET or POST; got {scope['method'][:20]}")
    kind = ", ".join(headers.getlist("content-type")).partition(";")[0].strip().lower()
    wanted = "image/" if scope["path"] == "/api/images" else "application/json"
    if not kind.startswith(wanted) or (wanted == "application/json" and kind != wanted):
        shown = "an image (Content-Type image/png and so on)" if wanted == "image/" else wanted
        raise RefusedError(415, f"what is posted here must be {shown}; got {kind[:60] or 'no Content-Type'}")
