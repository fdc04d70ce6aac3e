"""The page for browsers without JavaScript. It shows a text when it is complete."""

from html import escape
from string import Template

import flask

from minichar.web.delivery import Delivery
from minichar.web.models import ModelInfo
from minichar.web.request import BadRequest, Request

LENGTH = 500
"""Number of characters to generate."""
MAX_PROMPT = 1000
"""Maximum length of the prompt, which is part of the address and thus of the request header."""
TEMPERATURES = ("0.5", "0.8", "1", "1.2")
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
    def plain() -> flask.Response:
        given = flask.request.args
        prime, temperature = given.get("prime", ""), given.get("temperature", "0.8")
        if len(prime) > MAX_PROMPT:
            raise BadRequest(f"prime is longer than {MAX_PROMPT:,} characters", "prime")
        if temperature not in TEMPERATURES:
            raise BadRequest(f"temperature must be one of {', '.join(TEMPERATURES)}", "temperature")
        fixed = {"length": LENGTH, "temperature": float(temperature), "unknown": "skip"}
        request = Request.from_json({"model": given.get("model", ""), "prime": prime, **fixed})
        slot, request = delivery.submit(request)
        update = delivery.whole(slot, 0)
        models = [(model.name, label(model)) for model in delivery.queue.models()]
        page = PAGE.substitute(
            models=options(models, request.model),
            temperatures=options([(each, each) for each in TEMPERATURES], temperature),
            prime=escape(request.prime),
            longest=MAX_PROMPT,
            text=escape(update.text or update.error),
        )
        return flask.Response(page, mimetype="text/html")

    return routes


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
