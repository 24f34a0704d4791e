"""The chat template of a model in canonical form, written once by `base`, so that all stages and servers render alike.

Many templates depend on more than the conversation: on a switch for the chain of thought, on today's date, on roles
that only some families have. Here each such choice is made once and stored in the template itself.
"""

import re
from datetime import date
from pathlib import Path

from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import _get_template_variables

from pipelines.models import chat
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError
from pipelines.runtime.progress import say
from pipelines.user_files import read_text

_SWITCHES = ("enable_thinking", "thinking")
"""Template variables that switch the chain of thought: of Qwen3, GLM-4.5 and SmolLM3; of Granite and DeepSeek-V3.1."""
_DATE = date(2024, 7, 26)
"""The date in prompts whose template asks for today's (the default of Llama 3's template)."""
_NOW = re.compile(r"""strftime_now\(\s*(["'])(.+?)\1\s*\)""")
_END = "<|im_end|>"
_FOLD = (
    "{% if messages | length > 1 and messages[0]['role'] == 'system' %}"
    "{% set messages = [{'role': messages[1]['role'], "
    "'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}] + messages[2:] %}{% endif %}"
)
_SYSTEM: Message = {"role": "system", "content": chat.PLACEHOLDER}
_TURNS: list[Message] = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")]


def canonicalise(tok: PreTrainedTokenizerBase, replacement: Path | None, thinking: bool, where: str) -> None:
    """Give the tokenizer its canonical chat template: its own, or the Jinja file `replacement`.

    The chain of thought is switched by `thinking`, and dates are constant. If the template has no system role, a system
    message is put in front of the first user message. A `replacement` begins with the tokens that the tokenizer puts in
    front of a text (BOS), and ends a turn with EOS if the vocabulary has no `<|im_end|>`. `where` names the model's
    parameter in messages.

    Raises:
        UserError: there is no template, it cannot render a conversation, or `thinking` is true and it has no switch.
    """
    if replacement is not None:
        if not replacement.is_file():
            raise UserError(f"base.chat_template {replacement} does not exist; null keeps the model's own.")
        tok.chat_template = _adapted(tok, read_text(replacement))
    if not tok.chat_template:
        raise UserError(f"{where} has no chat template; name a Jinja file in base.chat_template.")
    tok.chat_template = _NOW.sub(lambda call: repr(_DATE.strftime(call[2])), tok.get_chat_template())
    chat.render(tok, _TURNS, generation_prompt=False)  # fails with a sentence
    _switch_thinking(tok, thinking, where)
    if not _keeps_system(tok):
        tok.chat_template = _FOLD + tok.chat_template
        say(f"{where}: the chat template has no system role; a system message begins the first user message.")


def _adapted(tok: PreTrainedTokenizerBase, template: str) -> str:
    """Return a template of the user's in the special tokens of the tokenizer."""
    if _END in template and _END not in tok.get_vocab() and tok.eos_token:
        template = template.replace(_END, tok.eos_token)
    begin = "".join(tok.convert_ids_to_tokens(chat.beginning(tok)))
    present = "bos_token" in template or not begin or begin in template
    return template if present else f"{{{{ {begin!r} }}}}{template}"


def _switch_thinking(tok: PreTrainedTokenizerBase, thinking: bool, where: str) -> None:
    """Switch the chain of thought on or off.

    Qwen3 drops the empty block of thought from earlier answers, but generates every answer behind one. TRL has
    templates for the known families that keep it.
    """
    switch = _switch(tok.chat_template, thinking)
    if thinking and not switch:
        raise UserError(f"{where}: base.thinking is true, but the chat template has no switch for it; set it to false.")
    original, tok.chat_template = tok.chat_template, switch + tok.chat_template
    if chat.extends_prompts(tok, _TURNS):
        return
    from trl.chat_template_utils import get_training_chat_template  # takes seconds

    tok.chat_template = original
    try:
        known = get_training_chat_template(tok) or original
    except ValueError:
        known = original
    tok.chat_template = _switch(known, thinking) + known


def _switch(template: str, thinking: bool) -> str:
    """Return the Jinja statements that set the template's switches; empty if it has none."""
    names = sorted(_get_template_variables(template).intersection(_SWITCHES))
    return "".join(f"{{% set {name} = {str(thinking).lower()} %}}" for name in names)


def thinks(tok: PreTrainedTokenizerBase) -> bool:
    """Return whether answers begin with a chain of thought."""
    return any(f"{{% set {name} = true %}}" in (tok.chat_template or "") for name in _SWITCHES)


def _keeps_system(tok: PreTrainedTokenizerBase) -> bool:
    """Return whether the template renders a system message, and at a place that does not move with later turns."""
    messages = [_SYSTEM, *_TURNS]
    try:
        rendered = chat.render(tok, messages, generation_prompt=False)
        return chat.PLACEHOLDER in rendered and chat.extends_prompts(tok, messages)
    except UserError:
        return False
