"""The pages over HTTP. They only look: nothing is put back or changed here, and each look at a person is audited."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from aiohttp import web

from worker.admin import views
from worker.admin.entering import Entering, is_ours
from worker.answers.finding import Asked, find
from worker.config_files import parse_moment
from worker.errors import ConfigurationError, Problem, TransientError
from worker.policy.number import Number, parse_number
from worker.records import Place
from worker.replaying.letters import LetterFilter
from worker.replaying.looking import count_letters, judge_at, newest_letters, rehearse
from worker.replaying.putting_back import Figures, Wish
from worker.tools import Tools

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOGIN_S = 10.0
DEADLINE_S, AT_ONCE = 60.0, 2  # a look reads topics; more than two at a time would only wait for one another
NEWEST, REHEARSED, BODY_BYTES = 100, 2_000, 16 * 1024
MONTH = timedelta(days=30)
# Nothing is loaded, nothing runs, nobody may frame it, and no cache keeps it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",  # without one a browser sends its own forms as from nowhere
    "X-Content-Type-Options": "nosniff",
}


class Admin:
    """Answers."""

    def __init__(self, tools: Tools, entering: Entering) -> None:
        self._tools = tools
        self._entering = entering
        self._looking = asyncio.Semaphore(AT_ONCE)

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES)
        application.on_response_prepare.append(_harden)
        application.add_routes(
            [
                web.get("/", self._letters),
                web.get(r"/letters/{topic}/{partition:\d{1,6}}/{offset:\d{1,18}}", self._letter),
                web.get("/replay", self._replay),
                web.get("/find", self._ask),
                web.post("/find", self._find),
                web.get("/login", self._login),
                web.post("/login", self._enter),
            ]
        )
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and not is_ours(request):
            raise web.HTTPForbidden(text="this form is another site's")
        if request.path == "/login":  # whoever is not in yet keeps nobody waiting who is
            async with asyncio.timeout(LOGIN_S):
                return await handler(request)
        if not self._entering.may(request):
            if request.method == "GET" and "Authorization" not in request.headers:
                raise web.HTTPSeeOther("/login")
            raise web.HTTPUnauthorized(text="the token is missing, or wrong")
        try:
            await asyncio.wait_for(request.read(), LOGIN_S)
            async with asyncio.timeout(DEADLINE_S), self._looking:
                return await handler(request)
        except TransientError as error:
            return _page(views.failed(str(error)), 503)
        except TimeoutError:
            return _page(views.failed("it took more than a minute; choose fewer letters, or a shorter time"), 503)

    async def _letters(self, request: web.Request) -> web.StreamResponse:
        wanted, given = _wanted(request)
        counts = await count_letters(self._tools, wanted, every=False)
        newest = await newest_letters(self._tools, wanted, NEWEST, every=False)
        return _page(views.letters(counts, newest, given))

    async def _letter(self, request: web.Request) -> web.StreamResponse:
        its = request.match_info
        topic = its["topic"]
        if topic not in set(self._tools.topics.dead_letters()):
            raise web.HTTPNotFound(text="that is no topic of dead letters")
        judged = await judge_at(self._tools, Place(topic, int(its["partition"]), int(its["offset"])))
        if judged is None:
            return _page(views.failed("nothing is there; its topic may have dropped it"), 404)
        return _page(views.letter(judged))

    async def _replay(self, request: web.Request) -> web.StreamResponse:
        wanted, given = _wanted(request)
        if not request.query_string:
            return _page(views.replay(None, given, REHEARSED))
        figures = Figures()
        await rehearse(self._tools, wanted, Wish(run="rehearsal", most=REHEARSED), figures)
        return _page(views.replay(figures, given, REHEARSED))

    async def _ask(self, _: web.Request) -> web.StreamResponse:
        return _page(views.find(None, ""))

    async def _find(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        given = {name: str(form.get(name, "")).strip() for name in ("phone", "contact", "order", "event")}
        filled = [name for name, value in given.items() if value]
        if len(filled) != 1:
            return _page(views.failed("fill in one of the fields, and only one"), 400)
        (name,) = filled
        phone, told = None, f"{name} {given[name]}"
        if name == "phone":
            number = parse_number(given["phone"])
            if not isinstance(number, Number):
                return _page(views.failed("that is no number that can be texted"), 400)
            phone, told = number.e164, f"+{'•' * (len(number.e164) - 3)}{number.e164[-2:]}"
        asked = Asked(
            phone=phone, contact=given["contact"] or None, order=given["order"] or None, event_id=given["event"] or None
        )
        return _page(views.find(await find(self._tools, asked, datetime.now(UTC) - MONTH), told))

    async def _login(self, _: web.Request) -> web.StreamResponse:
        return _page(views.login(wrong=False))

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        if not self._entering.is_token(str(form.get("token", ""))):
            await asyncio.sleep(1.0)  # whoever guesses guesses slowly
            return _page(views.login(wrong=True), 401)
        response = web.Response(status=303, headers={"Location": "/"})
        self._entering.let_in(response)
        return response


async def _harden(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)


def _wanted(request: web.Request) -> tuple[LetterFilter, dict[str, str]]:
    """Return which letters a query means, and what it said."""
    given = {name: value for name in views.FILTERS if (value := request.query.get(name, "").strip())}
    since = _time(given["since"]) if "since" in given else None
    return LetterFilter(
        stage=given.get("stage"), reason=given.get("reason"), event_type=given.get("type"), route=given.get("route"),
        template=given.get("template"), campaign=given.get("campaign"), since=since,
    ), given  # fmt: skip


def _time(written: str) -> datetime:
    try:
        return parse_moment(written)
    except ValueError:
        raise web.HTTPBadRequest(text="since: write 2h, 3d, or 2026-11-23T08:00Z") from None


def _page(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, content_type="text/html", charset="utf-8", status=status)


@asynccontextmanager
async def open_admin_pages(tools: Tools, host: str, port: int, token: str | None) -> AsyncIterator[int]:
    """
    Listen until the block ends; gives the port, which is a free one for port 0.

    Raises:
        ConfigurationError: Somebody else listens there.
    """
    runner = web.AppRunner(Admin(tools, Entering(token)).application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            told = f"cannot listen on {host}:{port}: {error.strerror}; 0 takes a free port"
            raise ConfigurationError([Problem("--port", None, "", told)]) from None
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
