"""Removal of a reasoning model's chain of thought from its answer.

Servers without a reasoning parser leave it in the content: between tags, before a lone closing tag (the chat templates
of Qwen3 and DeepSeek-R1 open the block in the prompt), or in channels (gpt-oss, the harmony format).
"""

import re

_NAMES = r"(?:think|thinking|thoughts?|reasoning|seed:think)"
_MARK = re.compile(
    rf"(?P<open><{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>)"
    rf"|(?P<close></{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>)",
    re.IGNORECASE,
)
_CHANNEL = "<|channel|>"
_FINAL = re.compile(
    r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>|\Aanalysis.*assistantfinal", re.DOTALL
)
_END = re.compile(r"<\|(?:end|return|start|channel)\|>")
_WRAPPED = re.compile(r"<(answer|solution)>(.*)</\1>|<\|begin_of_solution\|>(.*)<\|end_of_solution\|>", re.DOTALL)


def answer_of(text: str) -> str:
    """Return `text` without its chain of thought, which may leave an empty string.

    An unclosed block at the start of a line is removed to the end of the text: its answer was truncated. A tag in
    backticks is quoted text and is kept.
    """
    text = _without_blocks(_final(text)).strip()
    wrapped = _WRAPPED.fullmatch(text)
    return (wrapped[2] or wrapped[3] or "").strip() if wrapped else text


def _final(text: str) -> str:
    """Return the final channel of the harmony format; other text is returned unchanged."""
    if finals := list(_FINAL.finditer(text)):
        return _END.split(text[finals[-1].end() :], maxsplit=1)[0]
    return "" if text.lstrip().removeprefix("<|start|>assistant").startswith(_CHANNEL) else text


def _without_blocks(text: str) -> str:
    kept: list[str] = []
    at, opened = 0, None
    for mark in _MARK.finditer(text):
        if text[: mark.start()].endswith("`") and text[mark.end() :].startswith("`"):
            continue
        if mark["close"]:
            if opened is None:
                kept.clear()
            at, opened = mark.end(), None
        elif opened is None:
            kept.append(text[at : mark.start()])
            opened = mark.start()
    if opened is None:
        kept.append(text[at:])
    elif text[:opened].rstrip(" \t")[-1:] not in ("", "\n"):
        kept.append(text[opened:])
    return "".join(kept)
