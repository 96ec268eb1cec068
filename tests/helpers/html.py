"""What the tests of the report read a page with."""

import json
import os
import re
import shutil
from html.parser import HTMLParser

EVIL = "<script>alert(1)</script>"
VOID = {"meta", "br", "hr", "img", "link", "input"}


def chromium():
    """The program of a Chromium on this machine, None where there is none."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
    return os.environ.get("BAYESCASCADE_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


class Page(HTMLParser):
    """Collects ids, tags and text, and checks that elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.words, self.open, self.attributes = [], [], [], [], []
        self.elements, self.scripts = [], {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.elements.append((tag, dict(attrs)))
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[self.elements[-1][1].get("id", "explorer")] = data
        else:
            self.words.append(data)

    def named(self, tag):
        """Attributes of every element of a kind."""
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def data_of(page):
    """What the explorer of a page reads."""
    return json.loads(page.scripts["explorer-data"])
