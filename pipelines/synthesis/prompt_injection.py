"""Prompt injection: instructions to a model in the text of a document (Greshake et al. 2023, arXiv:2302.12173).

A document says "ignore the above and …", or contains the special tokens of a chat template. Such sentences are removed
from every prompt, and no training row may repeat them. The rules require what is said to models (previous instructions,
their prompt, control tokens), since documents also give orders to people: "Do not ignore previous instructions" and
"Ignore all safety instructions" are no injections. The grounding checks reject the output of one that was missed.
"""

import re
from collections.abc import Iterator, Sequence

from pipelines.artifacts import Row
from pipelines.text.sentences import sentences

_MODEL = r"(?:chatgpt|chatbot|llm|ai|(?:large |ai )?language model|ai (?:model|assistant))"
_INJECTION = re.compile(
    r"(?<!not )(?<!never )(?<!who )(?<!if you )"
    r"\b(?:ignore|disregard|forget|override|bypass|stop following|do not follow)\s"
    r"(?:all\s|any\s)?(?:of\s)?(?:the\s|your\s|my\s|these\s)?"
    r"(?:(?:above|previous|prior|preceding|foregoing|earlier|system|initial)\s"
    r"(?:instructions|prompts?|system messages?)"
    r"|(?:instructions|prompts?)\s(?:above|before)|(?<=\ball\s)instructions)\b"
    r"|\b(?:ignore|disregard|forget)\b[^.!?\n]{0,20}\babove,? and\b"
    r"|\b(?:reveal|print|repeat|show|output|leak)\b[^.!?\n]{0,20}\b(?:system|developer|hidden|initial)\sprompt\b"
    rf"|\byou are (?:now |no longer )(?:an? )?(?:{_MODEL}\b|in (?:developer|jailbreak) mode)"
    rf"|\bas an? {_MODEL},? (?:i|you)\b"
    rf"|\b{_MODEL}s?[,:]\s*(?:please|you|ignore|answer|respond|reply|say|write|output)\b"
    r"|\b(?:respond|reply|answer)\s+(?:only|just|exactly)\s+with\s+(?:the\s+)?(?:words?|phrase)\b"
    r"|<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|^\s*###\s*(?:system|assistant|instruction|response)\s*:"
    r"|(?:忽略|无视|忘记|不要理会)[^。！？\n]{0,12}(?:指令|提示词|系统提示)|系统提示词"
    r"|你现在是[^。！？\n]{0,4}(?:AI|人工智能|语言模型|聊天机器人|助手)|只(?:需)?(?:回复|回答|输出)(?:单词|[“\"「])",
    re.IGNORECASE | re.MULTILINE,
)


def is_prompt_injection(text: str) -> bool:
    """Return whether `text` contains instructions to a model."""
    return _INJECTION.search(text) is not None


def injected_sentences(documents: Sequence[Row]) -> Iterator[Row]:
    """Yield the sentences with a prompt injection, as rows for reports."""
    for document in documents:
        for start, end in sentences(document["text"]):
            if is_prompt_injection(sentence := document["text"][start:end]):
                yield {"question": sentence, "source": document["id"], "span": [start, end]}
