"""Prompt injection: instructions to a model in the text of a document (Greshake et al. 2023, arXiv:2302.12173).

A document says "ignore the above", or contains the special tokens of a chat template. Such sentences are removed from
every prompt, and no training row may repeat them. Rules find the common forms; the grounding checks reject the output
of an injection that was missed.
"""

import re

_INJECTION = re.compile(
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
    """Return whether `text` contains instructions to a model."""
    return _INJECTION.search(text) is not None
