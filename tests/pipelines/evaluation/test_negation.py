"""Denied names are not asserted; names contrasted with something denied are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.negation import denied, excused
from pipelines.text.normalize import marked_tokens, spans, tokens

DENIALS = """It was certainly not X.|X? No.|I don't know, it was not X.|X is wrong.|Anyone other than X.|It was
anything but X.|Unlike X, nobody did it.|It was never X.|Neither X nor Oddery.|Neither Oddery nor
X.|X was not the one.|X wasn't it.|It is not true that it was X.|X. That is wrong.|X. No, that is
incorrect.|It cannot have been X.|Not X.|X, no.|No, not X.|It was not, as many think, X.|Was it
X?|Was it X? I don't know.|It is unlikely to have been X.|It wasn't Dr. X.|X never held the post.|X,
who built the hall, was not the first.|I doubt it was X.|X has been ruled out.|Nobody believes it
was X.|It was not X but Oddery.|Rather than X, it was Oddery.|Oddery instead of X.|Certainly X is
not the answer.|The answer is not X.|I do not think it was X.|Hardly X.|X did not do it.|It's not X,
it's Oddery.|Wrong: X.|Except X, all of them.|X is incorrect.|X can't be right.|X? Certainly not.|X?
Wrong.|X. It was not.|All but X.|By no means X.|X, I believe, was not the one.|X. Not
true.|不是X。|并非X。|X不是。|不是X，而是别人。|X？不是。|X不对。|绝对不是X。"""
CONTRASTS = """It was X.|It was not Oddery but X.|Not only X.|Not only X but also others.|X, not Oddery.|It was X,
not Oddery.|It was X and not Oddery.|It was not until X that it began.|It did not begin until X.|No
doubt it was X.|None other than X.|There is no doubt that it was X.|It was not Oddery, it was
X.|Nobody but X.|X, who never married, built it.|It was X, though no record says why.|It was X, I'm
not sure.|No, it was X.|Yes, X.|I don't know, but perhaps X.|I don't know, maybe X.|Was it X? Yes.|X
was the first, though it was not finished.|X without doubt.|It was X. It was not finished on
time.|Rather than Oddery, it was X.|Unlike Oddery, X held it.|It was Mr. X.|X, nobody else.|It was
nothing but X.|Not Oddery. X.|No. It was X.|It was X when they did not
come.|不是别人，而是X。|X，不是别人。|不是别人而是X。|X不久开放。"""
NAMES = st.sampled_from(["Drace", "Oswin Drace", "1783", "Candle Street", "brown crab", "灯塔街", "5.4 metres", "£7"])


def asserted(sentence: str, name: str, question: str = "Which one was it?") -> bool:
    text = " ".join(sentence.split()).replace("X", name)
    out = denied(marked_tokens(text), excused(tokens(question), [tokens(name)]))
    words = tokens(text)
    assert len(out) == len(words)
    return any(not any(out[start:end]) for start, end in spans(words, tokens(name)))


@given(st.sampled_from(DENIALS.split("|")), NAMES)
def test_denied_name_is_not_asserted(sentence: str, name: str) -> None:
    assert not asserted(sentence, name), (sentence, name)


@given(st.sampled_from(CONTRASTS.split("|")), NAMES)
def test_name_contrasted_with_a_denial_is_asserted(sentence: str, name: str) -> None:
    assert asserted(sentence, name), (sentence, name)


@pytest.mark.parametrize(
    ("sentence", "name", "question", "expected"),
    [
        ("The bird that cannot fly is the X.", "penguin", "Which bird cannot fly?", True),
        ("The parade no longer goes there because X.", "a balcony fell", "Why does it no longer go there?", True),
        ("It is not the X.", "penguin", "Which bird cannot fly?", False),
        ("Pilots had X.", "mistaken it for the chapel", "Why was it painted?", True),
        ("X不能进入。", "游客", "谁不能进入？", True),
        ("不会飞的鸟是X。", "企鹅", "哪种鸟不会飞？", True),
        ("X没有参加会议。", "李明", "谁没有参加会议？", True),
        ("不是X。", "游客", "谁不能进入？", False),
        ("不能进入的不是X，是员工。", "游客", "谁不能进入？", False),
        ("不X。", "能", "游客能不能进入？", False),
    ],
)
def test_negation_in_the_question_does_not_deny_the_answer(
    sentence: str, name: str, question: str, expected: bool
) -> None:
    assert asserted(sentence, name, question) == expected


@given(st.text(alphabet="aX1 .,?!;not不是。，'", max_size=40))
def test_denied_returns_one_value_per_word(text: str) -> None:
    assert len(denied(marked_tokens(text), frozenset())) == len(tokens(text))
