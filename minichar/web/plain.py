"""The page for browsers without JavaScript. It shows the text and any error once generation ends."""

from html import escape
from importlib.resources import files
from string import Template

from starlette.requests import Request as HttpRequest
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from minichar.web.delivery import Delivery
from minichar.web.errors import RETRY_AFTER, Busy, Refused
from minichar.web.models import ModelInfo
from minichar.web.request import Request

LENGTH = 500
"""Number of characters to generate."""
MAX_PROMPT = 800
"""Maximum length of the prompt. In the URL, a Chinese character takes up 9 bytes, and nginx rejects request
lines longer than 8 KiB by default."""
TEMPERATURES = ("0.5", "0.8", "1", "1.2")
DEFAULT = "0.8"
CHINESE = {
    400: "表单内容无效，请检查后重试。",
    404: "该模型不存在或已不可用。",
    429: "你同时发起的请求过多，请稍后再试。",
    500: "服务器出错，生成失败。",
    503: "服务繁忙或生成已中断，请稍后再试。",
}
"""Chinese error messages by HTTP status. Like labels, errors are shown in both English and Chinese."""
PAGE = Template(files("minichar.web").joinpath("plain.html").read_text("utf-8"))


def plain_routes(delivery: Delivery) -> list[Route]:
    """Return the route ``/plain``, which generates text from a submitted form."""

    async def generate(http: HttpRequest, prime: str, model: str, temperature: str) -> tuple[str, int, str]:
        """Return the generated text, the HTTP status and the error message."""
        try:
            if len(prime) > MAX_PROMPT:
                raise Refused(f"prime is longer than {MAX_PROMPT:,} characters", "prime")
            if temperature not in TEMPERATURES:
                raise Refused(f"temperature must be one of {', '.join(TEMPERATURES)}", "temperature")
            fixed = {"length": LENGTH, "temperature": float(temperature), "unknown": "skip"}
            request = Request.from_json({"model": model, "prime": prime, **fixed})
            slot, _ = await delivery.submit(http, request)
            try:
                update = await delivery.whole(slot, 0)
            finally:
                await delivery.close(slot)
        except Refused as error:
            return "", error.status, str(error)
        if update.reason in ("length", "stop"):
            return update.text, 200, ""
        if update.reason == "error":
            return update.text, 500, update.error
        return update.text, 503, "generation was interrupted: try again"

    async def plain(http: HttpRequest) -> Response:
        given, text, status, error = http.query_params, "", 200, ""
        # Browsers submit line breaks as CRLF.
        prime, model = given.get("prime", "").replace("\r\n", "\n"), given.get("model", "")
        temperature = given.get("temperature", DEFAULT)
        if http.headers.get("sec-fetch-site") != "cross-site":  # another site must not start texts
            text, status, error = await generate(http, prime, model, temperature)
        try:
            models = await delivery.queue.models()
        except Busy:  # Redis is not responding
            models = []
        page = PAGE.substitute(
            models=options([(each.name, label(each)) for each in models], model),
            temperatures=options([(each, each) for each in TEMPERATURES], temperature),
            prime=escape(prime),
            longest=MAX_PROMPT,
            text=escape(text),
            error=f'{escape(error)} <span lang="zh">{CHINESE[status]}</span>' if error else "",
        )
        return HTMLResponse(page, status, RETRY_AFTER if status in (429, 503) else None)

    return [Route("/plain", plain)]


def label(model: ModelInfo) -> str:
    """Return the display name of a model, as shown on the main page."""
    loss = [] if model.loss is None else [f"loss {model.loss:.3f}"]
    parts = [model.title, f"{model.cell.upper()} {model.layers}×{model.units}", *loss]
    return ", ".join(filter(None, parts))


def options(values: list[tuple[str, str]], chosen: str) -> str:
    """Return HTML ``option`` elements for pairs of values and labels."""
    return "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(shown)}</option>'
        for value, shown in values
    )
