"""A plain reading of the page: its tables, links, pictures and scripts."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "source", "br"}


@dataclass
class Table:
    """Rows of cells; a cell is its text and its attributes."""

    rows: list = field(default_factory=list)


class Page(HTMLParser):
    """What `feed` leaves: `tables`, `tags` (name, attributes) and `open` tags at the end."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.open, self.text = [], [], [], []
        self.cell = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self.tables[-1].rows.append([])
        elif tag in ("th", "td"):
            self.cell = {"text": "", "attrs": attrs, "links": [], "bold": False, "parts": []}
            self.tables[-1].rows[-1].append(self.cell)
        elif self.cell is not None and tag == "a":
            self.cell["links"].append(attrs)
        elif self.cell is not None and tag == "strong":
            self.cell["bold"] = True

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"
        if tag in ("th", "td"):
            self.cell = None

    def handle_data(self, data):
        self.text.append(data)
        if self.cell is not None and data.strip():
            self.cell["text"] = f"{self.cell['text']} {data.strip()}".strip()
            self.cell["parts"].append(data.strip())

    def attributes(self, name):
        return [attrs[name] for _, attrs in self.tags if name in attrs]
