"""The OpenAPI document as a page for people, without a script."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_FRAME = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API · {title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="page.css">
</head>
<body>
<header class="top"><a class="brand" href="./">oodtune</a><span class="model">{title}</span>
<a href="openapi.json">OpenAPI document</a></header>
<main class="docs">
<h1>The interface of this server</h1>
{text}
{operations}
</main>
</body>
</html>
"""


def render_docs(document: dict[str, Any]) -> str:
    """Return the page: every operation with its parameters, answers, and a command that uses it."""
    text = "".join(f"<p>{_format(part)}</p>" for part in document["info"]["description"].split("\n\n"))
    setting = "ADDRESS=http://localhost:8080" + ("   TOKEN=..." if document.get("security") else "")
    operations = [
        _render_operation(document, method, path, item[method], item.get("parameters", []))
        for path, item in document["paths"].items()
        for method in ("get", "post")
        if method in item
    ]
    return _FRAME.format(
        title=escape(document["info"]["title"]),
        text=f"{text}<p>The commands below use <code>{escape(setting)}</code>.</p>",
        operations="\n".join(operations),
    )


def _render_operation(
    document: dict[str, Any], method: str, path: str, operation: dict[str, Any], shared: list[dict[str, Any]]
) -> str:
    (sample,) = operation["x-codeSamples"]
    parameters = [*shared, *operation.get("parameters", [])]
    body = operation.get("requestBody")
    parts = [
        f'<h2><span class="method">{method.upper()}</span> {escape(path)}</h2>',
        f"<p>{escape(operation['summary'])}.</p>",
        f"<pre><code>{escape(sample['source'])}</code></pre>",
        _table("Parameter", [(one["name"], _describe_parameter(one)) for one in parameters]),
        f"<p><strong>Body.</strong> {escape(body['description'])}</p>" if body else "",
        *(_render_examples("Example of a body", body["content"]) if body else ()),
        _table("Answer", [(code, _resolve(document, one)["description"]) for code, one in _responses(operation)]),
        *_render_examples("Example of an answer", operation["responses"]["200"]["content"]),
    ]
    return f'<article id="{escape(operation["operationId"])}">{"".join(parts)}</article>'


def _responses(operation: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return sorted(operation["responses"].items())


def _resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    for key in value.get("$ref", "#").split("/")[1:]:
        document = document[key]
    return document if "$ref" in value else value


def _describe_parameter(parameter: dict[str, Any]) -> str:
    schema = parameter["schema"]
    if "enum" in schema:
        return f"in the {parameter['in']}: {', '.join(schema['enum'])}"
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    default = [f"by default {schema['default']}"] if "default" in schema else []
    where = f"in the {parameter['in']}: {schema['type']} {' '.join(limits)}".rstrip()
    return f"{', '.join([where, *default])}. {parameter['description']}"


def _render_examples(title: str, content: dict[str, Any]) -> Iterator[str]:
    for media in content.values():
        if "example" in media:
            text = escape(json.dumps(media["example"], indent=2))
            yield f"<details><summary>{title}</summary><pre><code>{text}</code></pre></details>"


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th scope='row'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table aria-label='{title}'>{lines}</table>" if rows else ""


def _format(text: str) -> str:
    """Return text of Markdown whose only markup is `code`."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))
