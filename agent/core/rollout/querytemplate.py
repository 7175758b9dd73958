"""The part of Go's text/template that metric queries use: fields, `variables.key`, `index`, literals, comments.

A name that is not there is an error, as with Go's `missingkey=error`: a query with a hole in it would judge something
else. Conditions and loops are refused by name rather than passed over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_ACTION = re.compile(r"\{\{(-(?=\s))?\s*(.*?)\s*((?<=\s)-)?\}\}", re.DOTALL)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VARIABLE = re.compile(r"\(?\s*variables\s*\)?\s*\.([A-Za-z_][A-Za-z0-9_]*)")
_INDEX = re.compile(r'index\s+\(?\s*variables\s*\)?\s+"([^"]*)"')
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"|`([^`]*)`')


class TemplateError(ValueError):
    """The template cannot be rendered; the message says why, in the words Flagger's users know."""


def render(template: str, fields: Mapping[str, str], variables: Mapping[str, str]) -> str:
    """The query. Raises TemplateError for a syntax that is not supported and for names that do not exist."""
    parts: list[str] = []
    end, trim = 0, False
    for found in _ACTION.finditer(template):
        text = template[end : found.start()]
        text = text.lstrip() if trim else text
        parts.append(text.rstrip() if found[1] else text)
        parts.append(_value(found[2], fields, variables))
        end, trim = found.end(), found[3] is not None
    rest = template[end:].lstrip() if trim else template[end:]
    if "{{" in rest:
        raise TemplateError("template parsing failed: unclosed action")
    return "".join((*parts, rest))


def _value(expression: str, fields: Mapping[str, str], variables: Mapping[str, str]) -> str:
    if expression.startswith("/*") and expression.endswith("*/"):
        return ""
    if found := _TEXT.fullmatch(expression):
        return found[2] if found[1] is None else found[1].replace('\\"', '"').replace("\\\\", "\\")
    if found := _VARIABLE.fullmatch(expression) or _INDEX.fullmatch(expression):
        if found[1] not in variables:
            raise TemplateError(f'template execution failed: map has no entry for key "{found[1]}"')
        return variables[found[1]]
    if _FIELD.fullmatch(expression):
        if expression not in fields:
            raise TemplateError(f'template parsing failed: function "{expression}" not defined')
        return fields[expression]
    raise TemplateError(f"template parsing failed: {expression!r} is not supported: use a field, or variables.name")
