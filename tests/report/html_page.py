"""A page as tests read it: its tags and its text."""

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG_LEAVES = {"line", "circle", "rect", "polyline", "path"}


class Page(HTMLParser):
    """Collects tags and texts, and fails where elements do not close in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        assert tag in SVG_LEAVES
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
