"""Parse the HTML pages that minichar writes."""

import json
from html.parser import HTMLParser


class Page(HTMLParser):
    """HTML parser that collects the tags of a page and the text of its title, scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts, self.inside = [], {"title": [], "script": [], "style": []}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, text):
        if self.inside in self.texts:
            self.texts[self.inside][-1] += text

    @property
    def data(self):
        return json.loads(self.texts["script"][0])
