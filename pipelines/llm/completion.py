"""Parsing of an OpenAI-compatible server's response: the answer, its token usage, or the error message.

Every function accepts arbitrary JSON: servers omit fields, and gateways respond in their own formats.
"""

import re
from typing import Any

from pipelines.llm.calls import Reply
from pipelines.models.templates.thinking import answer_of
from pipelines.text.encoding import parse_json

_CUT_OFF = frozenset({"length", "max_tokens"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "prohibited_content", "blocklist"})
_MOST_TOKENS = 2**53
_TAG = re.compile(r"<(?:style|script).*?</(?:style|script)>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_LONGEST_MESSAGE = 200  # characters of a server's error message


def parsed(raw: str) -> Any:
    """Return the parsed JSON of a body, with encodable text; None when it is not JSON."""
    try:
        return parse_json(raw)
    except ValueError:
        return None


def reply(body: Any) -> Reply:
    """Return the answer of a chat completion without its chain of thought, or the failure reason."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return Reply(None, "no_completion")
    ended = str(choice.get("finish_reason")).casefold()
    if ended in _CUT_OFF:
        return Reply(None, "cut_off")
    if ended in _FILTERED or message.get("refusal"):
        return Reply(None, "filtered")
    text = answer_of(_content(message.get("content")))
    return Reply(text) if text else Reply(None, "empty_answer")


def tokens(body: Any) -> tuple[int | None, int | None]:
    """Return the token counts of prompt and completion; None for a count that is missing, implausible or zero."""
    usage = body.get("usage") if isinstance(body, dict) else None
    counts = usage if isinstance(usage, dict) else {}
    return _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))


def error_message(raw: str) -> str:
    """Return a server's error message in one line: the JSON error, or else the text of the HTML page."""
    message = _message(parsed(raw)) or _TAG.sub(" ", raw)
    return " ".join(message.split())[:_LONGEST_MESSAGE].rstrip(". ")


def _content(value: Any) -> str:
    """Return the text of a message; some servers send a list of parts, which may include reasoning."""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else []
    texts = [
        part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in ("text", "output_text")
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _count(value: Any) -> int | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 1 <= value <= _MOST_TOKENS else None


def _message(body: Any) -> str:
    """Return the first message in an error of OpenAI, vLLM, Ollama or FastAPI, with the field that it names."""
    if isinstance(body, str):
        return body
    if isinstance(body, list):
        return "; ".join(filter(None, map(_message, body)))
    if not isinstance(body, dict):
        return ""
    for name in ("error", "message", "detail", "msg"):
        if message := _message(body.get(name)):
            where = body.get("param") or body.get("loc")
            field = ".".join(map(str, where)) if isinstance(where, list) else where
            return f"{field}: {message}" if isinstance(field, str) and field not in message else message
    return ""
