"""Fixtures that start Chromium and a server with the page, which all of these tests share."""

import pytest
from toys import toy_model


@pytest.fixture(scope="package")
def browser():
    import optional

    with optional.chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def demo(request, model):
    """Job queue of the page, with two models. The parameter is the speed in characters per second."""
    from web_helpers import local_queue

    models = {"toy": model, "other": toy_model("\n abc", rnn_size=5)}
    return local_queue(models, pace=getattr(request, "param", 1000))


@pytest.fixture(scope="package")
def port(demo):
    """Port of a server with the page."""
    from web_helpers import server_in_thread

    with server_in_thread(demo) as port:
        yield port


@pytest.fixture
def visit(browser):
    """Return a function that opens the page. Fail at teardown on errors or requests to other servers."""
    from page_helpers import expect

    problems, contexts = [], []

    def visit(port, link="", **options):
        desktop = {"viewport": {"width": 1200, "height": 800}, "locale": "en"}
        context = browser.new_context(**desktop | options)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        origin = f"http://127.0.0.1:{port}/"
        page.on("request", lambda r: r.url.startswith(origin) or problems.append(r.url))
        page.on("pageerror", lambda error: problems.append(error))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        page.goto(origin + link)
        expect(page.locator("#model option").first).to_be_attached()
        return page

    yield visit
    for context in contexts:
        context.close()
    assert problems == []
