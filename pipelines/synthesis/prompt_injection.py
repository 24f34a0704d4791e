"""Text that gives orders to whoever reads it as a prompt: it is never shown to a teacher, and no row may repeat it.

Prompt injection (Greshake et al. 2023, arXiv:2302.12173): a document says "ignore the above", or holds the marks with
which a chat template sets its turns apart. Rules find the common forms; the checks of grounding reject
what an order led to.
"""

import re

_ORDER = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{0,30}"
    r"\b(?:above|previous|prior|preceding|foregoing|earlier|instructions?|prompts?|rules|everything|guidelines)\b"
    r"|\b(?:system|developer)\s+(?:prompt|message)\b|\byou are (?:now|no longer)\b|\bas an? (?:ai|language model)\b"
    r"|\b(?:new|updated|real) instructions?\s*:"
    r"|\bdo not (?:answer|follow)\b[^.!?\n]{0,30}\b(?:questions?|instructions?|prompts?)\b"
    r"|\b(?:assistant|chatgpt|language model|llm)\b[^.!?\n]{0,20}\b(?:must|should|shall|please)\b"
    r"|\b(?:respond|reply|answer|output|write|say|print)\s+(?:only|just|nothing but|exactly|with the words?)\b"
    r"|<\|[^|<>]{1,40}\|>|\[/?INST\]|<</?SYS>>|^\s*(?:###\s*)?(?:system|assistant|instruction)\s*:"
    r"|(?:忽略|无视|忘记|不要理会)[^。！？\n]{0,12}(?:以上|上述|之前|前面|先前|指令|提示|规则|要求)|你现在是|系统提示|只(?:需)?(?:回复|回答|输出)",
    re.IGNORECASE | re.MULTILINE,
)


def is_prompt_injection(text: str) -> bool:
    """Tell whether `text` speaks to the reader as to a model."""
    return _ORDER.search(text) is not None
