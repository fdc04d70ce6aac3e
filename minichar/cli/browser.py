"""Open a page in a browser."""

import webbrowser

from minichar.terminal import say


def open_page(address: str) -> None:
    """Open the page at an address, or say that no browser was found.

    This may take as long as the browser runs, for example one that runs in the terminal.
    """
    if not webbrowser.open(address):
        say(f"no browser was found: open {address} in one")
