"""Just enough of JSON Schema to hold an answer against the OpenAPI document; an unknown keyword is an error."""

from __future__ import annotations

from typing import Any

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_NOTES = {"title", "description", "default", "format"}


def references(document: Any) -> set[str]:
    """Every $ref in the document."""
    if isinstance(document, dict):
        own = {document["$ref"]} if isinstance(document.get("$ref"), str) else set()
        return own.union(*(references(value) for value in document.values()))
    if isinstance(document, list):
        return set().union(*(references(value) for value in document))
    return set()


def resolve(document: dict[str, Any], reference: str) -> dict[str, Any]:
    """What a $ref names. Raises KeyError."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def problems(value: Any, schema: dict[str, Any], document: dict[str, Any], at: str = "$") -> list[str]:
    """Where the value does not fit."""
    found: list[str] = []
    for keyword, wanted in schema.items():
        if keyword in _NOTES or keyword in {"properties", "required"}:
            continue
        match keyword:
            case "$ref":
                found += problems(value, resolve(document, wanted), document, at)
            case "anyOf":
                if all(problems(value, option, document, at) for option in wanted):
                    found.append(f"{at}: {value!r} fits none of {wanted}")
            case "enum":
                found += [] if value in wanted else [f"{at}: {value!r} is not in {wanted}"]
            case "type":
                fits = isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))
                found += [] if fits else [f"{at}: {value!r} is not of type {wanted}"]
            case "items":
                for index, item in enumerate(value if isinstance(value, list) else ()):
                    found += problems(item, wanted, document, f"{at}[{index}]")
            case "additionalProperties":
                rest = value.keys() - schema.get("properties", {}).keys() if isinstance(value, dict) else ()
                for name in rest:
                    found += problems(value[name], wanted, document, f"{at}.{name}")
            case _:
                found.append(f"{at}: the document uses {keyword!r}, which this check does not know")
    if isinstance(value, dict) and "properties" in schema:
        found += [f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        known = schema["properties"]
        for name in value:
            if name in known:
                found += problems(value[name], known[name], document, f"{at}.{name}")
            elif "additionalProperties" not in schema:
                found.append(f"{at}: {name} is not described")
    return found
