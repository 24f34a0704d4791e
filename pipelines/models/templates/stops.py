"""Stop tokens and padding: which tokens end a turn, which one ends a document, and which one pads.

Families end a turn with a token of their own (`<|eot_id|>`, `<end_of_turn>`, `<|end|>`, GLM with the next `<|user|>`),
which the tokenizer's EOS often is not. It is found where the chat template writes it: behind an answer.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from tokenizers import AddedToken
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.models.templates.canonical import thinks
from pipelines.models.templates.thinking import answer_of
from pipelines.runtime.errors import UserError

_DOCUMENT_ENDS = ("<|end_of_text|>", "<|endoftext|>", "</s>", "<eos>", "<｜end▁of▁sentence｜>")
"""EOS tokens of pretraining: Llama 3 and Granite; GPT-2, Qwen, Phi and GLM; Llama 2 and Mistral; Gemma; DeepSeek."""
_PADS = (re.compile(r"(?<![a-z])pad(?![a-z])"), re.compile("reserved|unused|dummy|placeholder|mask"))
"""Names of tokens for padding, and of tokens without a use."""
_PROBE: list[Message] = [
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": chat.PLACEHOLDER},
    {"role": "user", "content": "a"},
]


def turn_end(tok: PreTrainedTokenizerBase) -> int:
    """Return the token that ends an answer: the first one behind it in the chat template.

    Raises:
        UserError: the template writes no control token there, so that an end of turn cannot be learnt.
    """
    return _turn_end(tok, tok.chat_template)


@lru_cache(maxsize=16)
def _turn_end(tok: PreTrainedTokenizerBase, template: str) -> int:
    rendered = chat.render(tok, _PROBE, generation_prompt=False)
    behind = chat.encode_pieces(tok, rendered, [rendered.index(chat.PLACEHOLDER) + 1])[1]
    controls = set(tok.convert_tokens_to_ids(chat.control_tokens(tok)))
    for place, token in enumerate(behind):
        if token in controls:
            if tok.decode(behind[:place]).strip():
                break
            return token
    raise UserError(
        "The chat template writes no end of turn (a special token) behind an answer, so a model cannot learn to stop; "
        "set another template in base.chat_template."
    )


def stop_ids(model: PreTrainedModel, tok: PreTrainedTokenizerBase) -> list[int]:
    """Return every token that ends an answer: end of turn, EOS, and those of the model's generation config.

    Raises:
        ValueError: the padding token is one of them, which would exclude the end of turn from the losses.
    """
    stops = _stops(model, tok)
    if tok.pad_token_id is None or tok.pad_token_id in stops:
        raise ValueError(f"padding ({tok.pad_token_id}) must be a token that ends no turn ({stops})")
    return stops


def _stops(model: PreTrainedModel, tok: PreTrainedTokenizerBase) -> list[int]:
    found = {turn_end(tok), tok.eos_token_id}
    for config in (model.generation_config, model.config):
        configured = getattr(config, "eos_token_id", None)  # that of a model that also reads images may have none
        found |= set(configured if isinstance(configured, list) else [configured])
    return sorted(found - {None})


def answer_text(tok: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return the text of an answer without special tokens, and without its chain of thought if the template has one."""
    return without_thoughts(tok, tok.decode(tokens, skip_special_tokens=True))


def without_thoughts(tok: PreTrainedTokenizerBase, text: str) -> str:
    """Return a decoded answer without its chain of thought, if the chat template asks for one."""
    return answer_of(text) if thinks(tok) else text.strip()


def document_end(tok: PreTrainedTokenizerBase) -> list[int]:
    """Return the token that ends a document in pretraining, as a list; empty if it is unknown or pads.

    It is EOS, unless that is the end of a turn only, as in chat models of Llama 3 and Qwen.
    """
    vocabulary = tok.get_vocab()
    if tok.eos_token in _DOCUMENT_ENDS or tok.eos_token_id not in (None, turn_end(tok)):
        return [tok.eos_token_id]
    known = [vocabulary[name] for name in _DOCUMENT_ENDS if name in vocabulary]
    return [token for token in known if token != tok.pad_token_id][:1]


def settle(model: PreTrainedModel, tok: PreTrainedTokenizerBase, where: str) -> None:
    """Store the stop tokens in the model's configuration, and choose a padding token that is none of them.

    Every stop token becomes special, so that it is no part of an answer's text.

    Raises:
        UserError: the tokenizer has tokens without an embedding, or the template writes no end of turn.
    """
    stops = _stops(model, tok)
    used = {*stops, *chat.encode(tok, chat.render(tok, _PROBE, generation_prompt=False))}
    rows = model.get_input_embeddings().weight.shape[0]
    texts = {number for token, number in tok.get_vocab().items() if token not in tok.added_tokens_encoder}
    if (largest := max(texts | used)) >= rows:
        raise UserError(
            f"{where}: the tokenizer has a token with the number {largest}, but the model has only {rows} embeddings; "
            "use the tokenizer that the model was trained with."
        )
    special = [AddedToken(name, special=True, normalized=False) for name in tok.convert_ids_to_tokens(stops)]
    tok.add_tokens([token for token in special if token.content not in tok.all_special_tokens], special_tokens=True)
    if tok.pad_token_id is None or tok.pad_token_id in stops or tok.pad_token_id >= rows:
        tok.add_special_tokens({"pad_token": _padding(tok, used, rows)})
    if tok.pad_token_id >= rows:
        model.resize_token_embeddings(len(tok))
    for config in (model.config, model.generation_config):
        config.pad_token_id = tok.pad_token_id
        config.eos_token_id = stops if len(stops) > 1 else stops[0]


def _padding(tok: PreTrainedTokenizerBase, used: set[int], rows: int) -> str:
    """Return a token for padding: one made for it, one without a use, the unknown token, or a new one."""
    taken = {*used, tok.bos_token_id}
    added = tok.added_tokens_encoder
    free: list[str] = [token for token, number in added.items() if number < rows and number not in taken]
    for names in _PADS:
        if found := [token for token in free if names.search(token.lower())]:
            return found[0]
    if tok.unk_token is not None and tok.unk_token_id not in taken:
        return str(tok.unk_token)
    return next((token for token in free if token in _DOCUMENT_ENDS), "<|pad|>")
