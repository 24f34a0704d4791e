"""Asking: the budget is spread over sentences, failed spans are asked again, and unknown names are really unknown."""

from collections.abc import Sequence
from dataclasses import replace

from pipelines.config import Config
from pipelines.generation import Message
from pipelines.synthesis.ask import Candidate, ask, candidates, unknown
from tests.conftest import tiny_tokenizer

TEXT = "The mill was restored by Wilmot Fanthorn in 1921. The bell came from Garrick Bay. It rings at seven o'clock."


class Script:
    """A teacher that follows a script: it writes one question and reads what it is told to read."""

    instructed = True

    def __init__(self, answers: dict[str, str]) -> None:
        self.answers, self.asked = answers, 0

    def answer(
        self, chats: Sequence[list[Message]], *, max_new_tokens: int, temperature: float | None, what: str
    ) -> list[str]:
        self.asked += len(chats)
        return [self._one(chat[-1]["content"], temperature) for chat in chats]

    def _one(self, prompt: str, temperature: float | None) -> str:
        if prompt.endswith("Question:"):
            answer = prompt.split("Answer: ")[1].split("\n")[0]
            return f"What is told of {answer[::-1]}{' now' if temperature else ''}?"
        question = prompt.split("Question: ")[1].split("\n")[0]
        return self.answers.get(question, "Not stated.")


def planned(config: Config, most: int) -> list[Candidate]:
    work = config.synthesize.model_copy(update={"max_questions": most})
    return candidates([{"id": "d1", "title": "Mill", "text": TEXT}], tiny_tokenizer(), work)


def test_every_sentence_is_asked_about_before_any_is_asked_twice(config: Config) -> None:
    found = planned(config, most=3)
    assert len({candidate.sentence for candidate in found}) == 3
    assert all(TEXT[each.start : each.end] == each.answer for each in planned(config, most=50))


def test_a_span_the_reader_does_not_find_is_asked_again_differently(config: Config) -> None:
    first, second = planned(config, most=2)
    teacher = Script({f"What is told of {first.answer[::-1]}?": first.answer})
    attempts = ask(teacher, [first, second], config.synthesize.model_copy(update={"attempts": 2}))
    assert [each.answer for each in attempts] == [first.answer, second.answer, second.answer]
    assert [each.found(0.8) for each in attempts] == [first.answer, None, None]
    assert attempts[2].question.endswith("now?")


def test_what_the_reader_finds_in_the_sentence_is_the_answer(config: Config) -> None:
    (planned_one,) = planned(config, most=1)
    asked = replace(planned_one, question="When was it restored?", read="1921.")
    row = asked.as_row(0.8)
    assert (row["answer"], row["round_trip"]) == ("1921", True)
    assert TEXT[row["start"] : row["end"]] == "1921"
    assert not replace(asked, read="the bell").as_row(0.8)["round_trip"]


def test_a_swapped_question_that_the_corpus_answers_is_dropped() -> None:
    def about(name: str) -> Candidate:
        sentence = f"We know that {name} keeps bees."
        return Candidate("d1", 0, 1, "name", "bees", sentence, sentence, f"What does {name} keep?", "bees")

    asked = [about("Wilmot Fanthorn"), about("Emeric Vosper"), about("Dorcas Tibbet")]
    names = ("Wilmot Fanthorn", "Emeric Vosper", "Dorcas Tibbet")
    knows_all = Script(
        {f"What does {name} keep?": "bees" for name in names}
        | {f"How old was {name} in May?": "seven" for name in names}
    )
    far, foreign = ["Where did Oswin Perrault sleep?"], ["How old was Lucan Brightwater in May?", "What am I wearing?"]
    assert {row["kind"] for row in unknown(knows_all, asked, far, foreign, 4, seed=0)} == {"stranger"}
    rows = unknown(Script({}), asked, far, foreign, 4, seed=0)
    assert {row["kind"] for row in rows} == {"stranger", "swapped", "foreign"}
    (elsewhere,) = (row["question"] for row in rows if row["kind"] == "foreign")
    assert elsewhere in {f"How old was {name} in May?" for name in names}
    assert all("Perrault" in row["question"] for row in rows if row["kind"] == "stranger")
