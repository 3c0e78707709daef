"""Our part of Sphinx: formulas as MathML, the fields of named tuples with their shapes, and the generated pages.

MathML needs no script and no network, as the page that `claimlab report` writes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tokenize
from io import StringIO
from pathlib import Path
from typing import Any

import pages
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, Any]:
    app.setup_extension("sphinx.ext.autodoc")
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("builder-inited", lambda app: pages.write(Path(app.srcdir)))
    app.connect("autodoc-process-docstring", _with_fields)
    app.connect("autodoc-skip-member", _is_field)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def formula(latex: str, display: str, node: nodes.Node | None = None) -> str:
    """MathML of a formula; a warning, which ends the build, where the converter does not know a command."""
    if display == "block" and "\\\\" in latex and "\\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        text = convert(re.sub(r"\\arg\b", r"\\operatorname{arg}", " ".join(latex.split())), display=display)
    except Exception as error:  # the converter raises a dozen kinds of error
        log.warning("formula %r: %s", latex, error, location=node)
        return f"<code>{latex}</code>"
    text = re.sub(r">\\([{}])<", r">\1<", text)  # what it makes of \Bigl\{
    if "\\" in text:
        log.warning("formula %r holds a command that the converter does not know", latex, location=node)
    return text


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(formula(node.astext(), "inline", node))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math" tabindex="0">{formula(node.astext(), "block", node)}</div>')
    raise nodes.SkipNode


def _with_fields(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """The fields of a named tuple, which say their shapes in comments, become a list."""
    if what == "class" and issubclass(thing, tuple) and hasattr(thing, "_fields"):
        lines.append("")
        for field, kind, words in fields_of(thing):
            lines += [f"``{field}`` : {kind}", f"    {words or '..'}"]
        lines.append("")


def fields_of(kind: type) -> list[tuple[str, str, str]]:
    """Name, annotation and comment of each field, from the source of a class."""
    try:
        source = textwrap.dedent(inspect.getsource(kind))
    except (OSError, TypeError):
        return []
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    body = ast.parse(source).body[0]
    found = []
    for node in getattr(body, "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            line, words = node.end_lineno or node.lineno, []
            while line in comments and (not words or source.splitlines()[line - 1].lstrip().startswith("#")):
                words.append(comments[line])
                line += 1
            found.append((node.target.id, ast.unparse(node.annotation), _words(" ".join(words))))
    return found


def _words(comment: str) -> str:
    """A comment as reStructuredText: what would be read as markup is code."""
    return (
        "" if not comment else comment.replace("\\", "\\\\").replace("*", "\\*").replace("|", "\\|").replace("_", "\\_")
    )


def _is_field(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Fields of named tuples stand in the list of attributes already."""
    return True if type(thing).__name__ == "_tuplegetter" else None
