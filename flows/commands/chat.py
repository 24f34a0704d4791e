"""Questions to a model, and conversations with it. Alone: gradus ask "…", gradus chat

Reads the registry or artifacts/; writes .gradus/chat_history, the lines typed before.
"""

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipelines import artifacts
from pipelines.config import Config
from pipelines.models.messages import Message
from pipelines.runtime import store_location
from pipelines.runtime.errors import UserError

if TYPE_CHECKING:
    from pipelines.inference.chat_model import ChatModel

HISTORY = Path(".gradus/chat_history")
HELP = "/model champion|challenger|NAME|VERSION asks another model, /new starts over, /quit ends."


@dataclass(frozen=True)
class Place:
    """Where a model lies, its name, and how it is to answer (None: as is stored with it)."""

    title: str
    weights: Path
    tokenizer: Path
    decoding: dict[str, Any] | None = None
    note: str = ""


def load(which: str, settings: Config) -> tuple[Place, "ChatModel"]:
    """Load the model that `which` names: an alias or a number of the registry, or a key of `evaluate.models`.

    When it is empty the champion is loaded, else the challenger, and the place's note says so.

    Raises:
        UserError: there is no such model.
    """
    gc.disable()  # imports make 400,000 objects that stay: to look for garbage among them took 0.9 of 5.3 s
    try:
        with _placed(which, settings) as place:
            from pipelines.inference.chat_model import ChatModel  # torch, while another program asks MLflow

            found = place()
        return found, ChatModel(found.weights, found.tokenizer, settings.compute, found.decoding)
    finally:
        gc.freeze()
        gc.enable()


def chat(console: Console, which: str, settings: Config) -> None:
    """Talk with a model until /quit, the end of the input, or Ctrl-C.

    Raises:
        UserError: there is no model that `which` names.
    """
    with suppress(KeyboardInterrupt):
        model = _greeted(console, which, settings)
        console.print(HELP, markup=False, highlight=False)
        history: list[Message] = []
        for line in _lines(console):
            if line == "/quit":
                return
            if line == "/new":
                history = []
            elif line.startswith("/model"):
                with _told(console):
                    model = _greeted(console, line.removeprefix("/model").strip(), settings)
            elif line.startswith("/"):
                console.print(HELP, markup=False, highlight=False)
            else:
                history.append({"role": "user", "content": line})
                history.append({"role": "assistant", "content": model.answer(history)})
                console.print(history[-1]["content"], markup=False, highlight=False)


def _greeted(console: Console, which: str, settings: Config) -> "ChatModel":
    place, model = load(which, settings)
    console.print(f"{place.note} {place.title} answers.".strip(), markup=False, highlight=False)
    return model


@contextmanager
def _told(console: Console) -> Iterator[None]:
    """Print a sentence for the user, and go on."""
    try:
        yield
    except UserError as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)


def _lines(console: Console) -> Iterator[str]:
    """Yield what is typed, with readline's editing and history at a terminal, until the end of the input."""
    typed = sys.stdin.isatty()
    with _remembered() if typed else nullcontext():
        while True:
            try:
                line = input("> " if typed else "").strip()
            except EOFError:
                if typed:
                    console.print()
                return
            if line:
                yield line


@contextmanager
def _remembered() -> Iterator[None]:
    import readline

    with suppress(OSError):
        readline.read_history_file(HISTORY)
    try:
        yield
    finally:
        HISTORY.parent.mkdir(exist_ok=True)
        readline.set_history_length(1000)
        readline.write_history_file(HISTORY)


@contextmanager
def _placed(which: str, settings: Config) -> Iterator[Callable[[], Place]]:
    """Begin to look where the model lies; yield what waits for the place."""
    if which in settings.evaluate.models:
        directory = artifacts.read(settings.evaluate.models[which])
        yield lambda: Place(which, directory, directory, settings.evaluate.decoding)
        return
    if which and which not in ("champion", "challenger") and not which.isdigit():
        known = ", ".join(settings.evaluate.models)
        raise UserError(f"There is no model {which!r}; there are champion, challenger, version numbers, {known}.")
    if not store_location.exists():
        raise UserError("No model is registered yet; `gradus run` makes one.")
    command = [sys.executable, "-m", "pipelines.models.lookup", which]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        yield lambda: _registered(program, which)


def _registered(program: "subprocess.Popen[str]", which: str) -> Place:
    said, _ = program.communicate()
    if program.returncode:
        raise UserError("MLflow's store could not be asked for the model; see above.")
    found = json.loads(said.splitlines()[-1])
    if "error" in found:
        raise UserError(found["error"])
    number, alias = found["version"], found["alias"]
    title = f"The {alias}, version {number}," if alias else f"Version {number}"
    folder = Path(found["folder"])
    note = "There is no champion yet." if not which and alias == "challenger" else ""
    return Place(title, folder / "model", folder / "components/tokenizer", None, note)
