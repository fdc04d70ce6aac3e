"""The page for browsers without JavaScript. It shows a text when it is complete, or an error."""

from html import escape
from string import Template

import flask
from werkzeug.exceptions import TooManyRequests

from minichar.web.delivery import Delivery
from minichar.web.job import Busy
from minichar.web.models import ModelInfo
from minichar.web.rate_limit import RETRY_AFTER
from minichar.web.request import BadRequest, Request

LENGTH = 500
"""Number of characters to generate."""
MAX_PROMPT = 1000
"""Maximum length of the prompt, which is part of the address and thus of the request header."""
TEMPERATURES = ("0.5", "0.8", "1", "1.2")
DEFAULT = "0.8"
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>minichar</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page.css">
</head>
<body>
<header><h1><a href="./">minichar</a></h1></header>
<main>
<form action="plain" method="get">
<label class="wide"><span>Model <span lang="zh">模型</span></span>
<select name="model">$models</select></label>
<label class="wide"><span>Prompt <span lang="zh">起始文本</span></span>
<textarea name="prime" rows="2" maxlength="$longest">
$prime</textarea></label>
<label class="wide"><span>Temperature <span lang="zh">温度</span></span>
<select name="temperature">$temperatures</select></label>
<p class="wide buttons"><button class="main">Generate <span lang="zh">生成</span></button></p>
</form>
<p id="status" role="status" class="error">$error</p>
<section><h2 id="heading">Output <span lang="zh">生成结果</span></h2>
<div id="text" tabindex="0" role="document" aria-labelledby="heading"
><div><span class="prime">$prime</span>$text</div></div>
</section>
</main>
</body>
</html>
""")


def plain_routes(delivery: Delivery) -> flask.Blueprint:
    """Return a blueprint with ``/plain``, which generates a text for the parameters of a form."""
    routes = flask.Blueprint("plain", __name__)

    @routes.get("/plain")
    def plain() -> str:
        prime, temperature = given_prime(), flask.request.args.get("temperature", DEFAULT)
        if len(prime) > MAX_PROMPT:
            raise BadRequest(f"prime is longer than {MAX_PROMPT:,} characters", "prime")
        if temperature not in TEMPERATURES:
            raise BadRequest(f"temperature must be one of {', '.join(TEMPERATURES)}", "temperature")
        fixed = {"length": LENGTH, "temperature": float(temperature), "unknown": "skip"}
        model = flask.request.args.get("model", "")
        slot, request = delivery.submit(Request.from_json({"model": model, "prime": prime, **fixed}))
        update = delivery.whole(slot, 0)
        return page(delivery.queue.models(), request.model, prime, temperature, update.text, update.error)

    def rejected(message: str) -> str:
        try:
            models = delivery.queue.models()
        except Busy:  # Redis is not responding
            models = []
        return page(models, prime=given_prime(), error=message)

    @routes.errorhandler(BadRequest)
    def bad_request(error: BadRequest) -> tuple[str, int]:
        return rejected(str(error)), error.status

    @routes.errorhandler(Busy)
    def busy(error: Busy) -> tuple[str, int, dict[str, str]]:
        return rejected(str(error)), 503, {"Retry-After": str(RETRY_AFTER)}

    @routes.errorhandler(TooManyRequests)
    def too_many(error: TooManyRequests) -> tuple[str, int, dict[str, str]]:
        return rejected(error.description or ""), 429, {"Retry-After": str(RETRY_AFTER)}

    return routes


def given_prime() -> str:
    """Return the prompt of the form. Browsers send a line break as two characters."""
    return flask.request.args.get("prime", "").replace("\r\n", "\n")


def page(
    models: list[ModelInfo],
    model: str = "",
    prime: str = "",
    temperature: str = DEFAULT,
    text: str = "",
    error: str = "",
) -> str:
    """Return the page with the form, filled in, and a text or an error."""
    return PAGE.substitute(
        models=options([(each.name, label(each)) for each in models], model),
        temperatures=options([(each, each) for each in TEMPERATURES], temperature),
        prime=escape(prime),
        longest=MAX_PROMPT,
        text=escape(text),
        error=escape(error),
    )


def label(model: ModelInfo) -> str:
    """Return the name of a model for readers, as on the page with JavaScript."""
    loss = [] if model.loss is None else [f"loss {model.loss:.3f}"]
    parts = [model.title, f"{model.cell.upper()} {model.layers}×{model.units}", *loss]
    return ", ".join(filter(None, parts))


def options(values: list[tuple[str, str]], chosen: str) -> str:
    """Return the ``option`` elements for values and their labels."""
    return "".join(
        f'<option value="{escape(value)}"{" selected" * (value == chosen)}>{escape(shown)}</option>'
        for value, shown in values
    )
