"""The page to try a model: one HTML file that asks the REST API it comes from, and nobody else.

TensorFlow Serving has no such page: it is there with `--stemline_page` alone, at a path that no request of its API has.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

PATH = "/"
CONTENT_TYPE = "text/html"
_TEXT = Path(__file__).with_name("page.html").read_text("utf-8")
_MODELS = '<script type="application/json" id="models">{}</script>'


def page(models: Iterable[str]) -> bytes:
    """The document, with the names of the models that it may ask."""
    names = json.dumps(list(models)).replace("<", r"\u003c")
    return _TEXT.replace(_MODELS.format("[]"), _MODELS.format(names)).encode()


def _hashes(tag: str) -> str:
    """Source expressions of the document's own inline scripts or styles: https://www.w3.org/TR/CSP3/#framework-directive-source-list."""
    texts = re.findall(f"<{tag}>(.*?)</{tag}>", _TEXT, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)


# What the browser lets the page do: run its own script, ask its own server.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
