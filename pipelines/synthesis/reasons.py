"""Rejection reasons of candidates, training rows and preference pairs, in one ordered list for metrics and reports."""

from enum import StrEnum


class Reason(StrEnum):
    """A rejection reason. The members are in the order of the filters, so that a report can show the yield funnel.

    Two sources of reasons are not listed, and precede all of these: calls of a teacher that fail or whose reply cannot
    be parsed (`pipelines/llm`), and rows of a user's file that no format can read (`pipelines/formats`, with the prefix
    `own_`).
    """

    # Validation (pipelines/synthesis)
    WRITER_UNSURE = "writer_unsure"
    NAME_FROM_ELSEWHERE = "name_from_elsewhere"
    NOT_A_QUESTION = "not_a_question"
    TOO_LONG = "too_long"
    EMPTY_ANSWER = "empty_answer"
    WRONG_LANGUAGE = "wrong_language"
    CARRIES_ORDER = "carries_order"
    EVIDENCE_MISSING = "evidence_missing"
    ANSWER_TOO_LONG = "answer_too_long"
    ANSWER_IN_QUESTION = "answer_in_question"
    ANSWER_OF_WRONG_KIND = "answer_of_wrong_kind"
    POINTS_AT_TEXT = "points_at_text"
    REPEATS_ITSELF = "repeats_itself"
    NOT_SELF_CONTAINED = "not_self_contained"
    UNRELATED = "unrelated"
    UNSUPPORTED = "unsupported"
    READER_FINDS_NOTHING = "reader_finds_nothing"
    READER_UNSURE = "reader_unsure"
    READER_DISAGREES = "reader_disagrees"
    INCONSISTENT = "inconsistent"
    JUDGE_SAYS_NEITHER = "judge_says_neither"
    JUDGE_WAVERS = "judge_wavers"
    JUDGE_REJECTS = "judge_rejects"
    # Selection of training rows (pipelines/curation)
    LEAK = "leak"
    NOT_NOVEL = "not_novel"
    SAME_MEANING = "same_meaning"
    TOO_CLOSE = "too_close"
    STATES_ANSWER = "states_answer"
    MEASURED_FAMILY = "measured_family"
    # Preference pairs (pipelines/alignment)
    NOT_A_PAIR = "not_a_pair"
    CHOSEN_BOTH_WAYS = "chosen_both_ways"
    NO_OPINION = "no_opinion"
    TIE = "tie"
    LENGTH = "length"
    MARGIN = "margin"
    UNBALANCED = "unbalanced"


def in_order(reasons: set[str]) -> list[str]:
    """Return reasons in the order of the filters; reasons that `Reason` does not list come first."""
    return [*sorted(reasons - set(Reason)), *(each for each in Reason if each in reasons)]
