"""HTML reports: Jinja templates next to their modules, with a common style sheet. All text is escaped."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

SHOWN = 700  # characters of an excerpt


def render(template: Path, facts: dict[str, Any]) -> str:
    """Render `template`, which may include `page.css`, to HTML."""
    folders = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(
        loader=folders, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = lambda value: f"{value:,.0f}"
    environment.filters["excerpt"] = excerpt
    return environment.get_template(template.name).render(facts)


def excerpt(text: str, most: int = SHOWN) -> str:
    """Return a text, or its beginning and end if it is longer than `most` characters."""
    return text if len(text) <= most else f"{text[: most * 2 // 3].rstrip()} […] {text[-most // 3 :].lstrip()}"
