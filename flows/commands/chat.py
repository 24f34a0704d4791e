"""Ask a model a question, verify its answer, or chat with it. Standalone: gradus ask "…", gradus chat

Reads the registry or artifacts/, and to verify an answer artifacts/split/train.parquet and dvc.lock; writes the input
history to .gradus/chat_history.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flows.serve.locations import SPLIT, ModelLocation, locate, task_adapter
from pipelines import artifacts
from pipelines.config import Config
from pipelines.models.messages import Message
from pipelines.runtime.errors import UserError

if TYPE_CHECKING:
    from flows.serve.answering import Answerer
    from pipelines.inference.chat_model import ChatModel

HISTORY = Path(".gradus/chat_history")
HELP = (
    "/model champion|challenger|NAME|VERSION switches the model, /adapter NAME to a task adapter, /adapter lists them, "
    "/new starts over, /quit ends."
)


def load(which: str, settings: Config) -> tuple[ModelLocation, "ChatModel"]:
    """Load the model that `which` names: a registered alias or version number, or a key of `evaluate.models`.

    An empty name loads the champion or, if there is none, the challenger, with a note in the location.

    Raises:
        UserError: there is no such model.
    """
    gc.disable()  # imports create 400,000 permanent objects; garbage collection over them took 0.9 of 5.3 s
    try:
        with locate(which, settings) as found:
            from pipelines.inference.chat_model import ChatModel  # imports torch while a subprocess queries MLflow

            location = found()
        return location, ChatModel(location.weights, location.tokenizer, settings.compute, location.decoding)
    finally:
        gc.freeze()
        gc.enable()


def load_adapter(name: str, settings: Config) -> tuple[ModelLocation, "ChatModel"]:
    """Load the base model with a task adapter of data/adapters.

    Raises:
        UserError: there is no such adapter, or it was trained on other weights than artifacts/base has.
    """
    location = task_adapter(name, settings)
    from pipelines.inference.chat_model import ChatModel  # imports torch, which takes seconds

    return location, ChatModel(location.weights, location.tokenizer, settings.compute, location.decoding)


def documents() -> Path:
    """Return the file of the documents that models of the working tree are trained on.

    Raises:
        UserError: the task split has not finished.
    """
    return artifacts.read(SPLIT.name) / "train.parquet"


def check(question: str, answer: str, location: ModelLocation, searched: Path, refusal: str) -> list[str]:
    """Return lines that say whether a sentence of the documents `searched` supports `answer`; a refusal is not checked.

    If the version at `location` was trained on other documents, a line says so, and no commit is named. `refusal` is
    the sentence that models are fine-tuned to refuse with.

    Raises:
        UserError: the documents contain no word.
    """
    from pipelines.evaluation import scoring
    from pipelines.evaluation.retrieval.support import Verifier

    if scoring.is_refusal(answer, question, refusal):
        return ["A refusal is not checked."]
    support = Verifier(artifacts.read_table(searched)).support(question, answer)
    others = _has_other_documents(location)
    lines = [f"{location.title} was trained on other documents than those in {SPLIT}/."] if others else []
    if support is None:
        return [*lines, "No sentence of the documents supports this answer."]
    commit = "" if others else _commit(location)
    origin = f"document {support.source}" + (f", commit {commit}" if commit else "")
    return [*lines, f'Supported by: "{" ".join(support.sentence.split())}" ({origin})']


def chat(console: Console, which: str, settings: Config) -> None:
    """Chat with a model until /quit, the end of the input, or Ctrl-C.

    Raises:
        UserError: `which` names no model.
    """
    with suppress(KeyboardInterrupt):
        model = _load_and_announce(console, which, settings)
        console.print(HELP, markup=False, highlight=False)
        history: list[Message] = []
        for line in _lines(console):
            if line == "/quit":
                return
            if line == "/new":
                history = []
            elif line.startswith("/model"):
                with _errors_printed(console):
                    model = _load_and_announce(console, line.removeprefix("/model").strip(), settings)
            elif line.startswith("/adapter"):
                with _errors_printed(console):
                    model = _switch_adapter(console, line.removeprefix("/adapter").strip(), model, settings)
            elif line.startswith("/"):
                console.print(HELP, markup=False, highlight=False)
            else:
                history.append({"role": "user", "content": line})
                answer = model.answer(history)
                history.append({"role": "assistant", "content": answer.text})
                console.print(answer.text, markup=False, highlight=False)
                if answer.note:
                    console.print(answer.note, style="dim", markup=False, highlight=False)


def _load_and_announce(console: Console, which: str, settings: Config) -> "Answerer":
    from flows.serve.answering import Answerer

    location, model = load(which, settings)
    console.print(f"{location.note} {location.title} answers.".strip(), markup=False, highlight=False)
    return Answerer(model, location, settings)


def _switch_adapter(console: Console, name: str, current: "Answerer", settings: Config) -> "Answerer":
    """Switch to a task adapter, with the base model kept in memory between LoRA adapters; without a name, list them."""
    from flows.serve.answering import Answerer
    from pipelines.models.task_adapters import store

    if not name:
        known = ", ".join(store.names())
        console.print(known or "There are no adapters; `gradus keep NAME` keeps a trained one.", highlight=False)
        return current
    location = task_adapter(name, settings)
    current.model.switch(location.weights, settings.evaluate.decoding)
    console.print(f"{location.title} answers.", markup=False, highlight=False)
    return Answerer(current.model, location, settings)


@contextmanager
def _errors_printed(console: Console) -> Iterator[None]:
    """Print a UserError instead of raising it."""
    try:
        yield
    except UserError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)


def _lines(console: Console) -> Iterator[str]:
    """Yield input lines, with readline's editing and history on a terminal, until the end of the input."""
    interactive = sys.stdin.isatty()
    with _readline_history() if interactive else nullcontext():
        while True:
            try:
                line = input("> " if interactive else "").strip()
            except EOFError:
                if interactive:
                    console.print()
                return
            if line:
                yield line


@contextmanager
def _readline_history() -> Iterator[None]:
    import readline

    with suppress(OSError):
        readline.read_history_file(HISTORY)
    try:
        yield
    finally:
        HISTORY.parent.mkdir(exist_ok=True)
        readline.set_history_length(1000)
        readline.write_history_file(HISTORY)


def _has_other_documents(location: ModelLocation) -> bool:
    """Return whether a registered version was trained on other documents than dvc.lock names."""
    if location.tags is None:
        return False
    from flows.dag import dvc_lock  # imports DVC, as tracking_store below imports MLflow: a second or more each

    with dvc_lock.locked_repo():
        outs = dvc_lock.recorded().get(SPLIT.name, {}).get("outs", [])
    return location.tags.get("data") not in [out["md5"] for out in outs if out["path"] == SPLIT.as_posix()]


def _commit(location: ModelLocation) -> str:
    """Return the short hash of the commit that a model was trained from, with + if there were uncommitted changes.

    Empty if it is unknown.
    """
    tags = location.tags
    if tags is None:
        from pipelines.runtime import tracking_store

        stage = location.weights.relative_to(artifacts.ARTIFACTS).as_posix().replace("/", "@")
        run = artifacts.RUNS / f"{stage}.json"
        tags = tracking_store.tags_of(artifacts.read_json(run)["run_id"]) if run.exists() else {}
    commit = tags.get("commit", "none")
    return "" if commit == "none" else commit[:8] + ("+" if tags.get("dirty") == "True" else "")
