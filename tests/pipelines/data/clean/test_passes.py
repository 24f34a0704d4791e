"""Normalization, boilerplate, quality heuristics, language, character distribution and PII on short texts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.clean import quality
from pipelines.data.clean.boilerplate import affected, lines, repeated_lines, without
from pipelines.data.clean.c4 import without_lines
from pipelines.data.clean.character_distribution import divergence, letters, reference
from pipelines.data.clean.normalize import Edit, normalize
from pipelines.data.clean.pii import mask as mask_by
from pipelines.text import language
from pipelines.text.stats import Text, repeated_share, top_share
from pipelines.text.words import normalise, unspaced, word_count

LIMITS = {"min_words": 20, "min_mean_word": 3, "max_mean_word": 10, "min_alphabetic": 0.7, "max_top_2gram": 0.2}
KINDS = ("email", "phone", "ip", "card", "iban", "national_id")
PROSE = [
    "The sluice keeper rings the bell twice before the gate is opened, because the rush below it is strong.",
    "In winter three sailings a week are made, and the days are read out in the hall after the autumn meeting.",
    "To alleviate suffering is the ultimate object of scientific medicine, and repair is its oldest servant.",
    "Where wool had been washed in the brook, my grandmother would not let us drink until Michaelmas was past.",
    "Council members sat on hard benches; whoever spoke for longer than a candle burned paid for the next one.",
    "Brown crab under the measure go back to the sea alive, at the place where the pot that held them was shot.",
]
CHINESE = (
    "本岛位于大陆以东十四英里。渡船每周三次往返于港口与大陆之间，冬季风大时停航。镇上的图书馆在山坡上，门前挂着一盏灯。"
)


def test_normalize_fixes_encoding_and_space_and_reports_edits() -> None:
    text, edits = normalize(
        "The cafÃ© is\u200b open.\x07\n\n\n\nTwo   words\xa0here \n    code", wrapped=False, typed=True
    )
    assert text == "The café is open.\n\nTwo words here\n    code"
    assert {edit.reason: edit.count for edit in edits} == {"unicode": 1, "space": 1}


def test_typed_emphasis_is_removed_and_identifiers_are_kept() -> None:
    text, edits = normalize(
        "_Muscle._--The _granulation tissue_ of __init__, snake_case_name and _private", False, True
    )
    assert text == "Muscle.--The granulation tissue of __init__, snake_case_name and _private"
    assert [(edit.reason, edit.count) for edit in edits] == [("emphasis", 1)]


@pytest.mark.parametrize(
    "code", ["return _cache_[a] + b_", "_helper(a, b_)", "self._x_ = 1", "`_name_` is _private", "_f_(x); a.__dict__"]
)
def test_underscores_in_code_are_not_emphasis(code: str) -> None:
    assert normalize(code, wrapped=False, typed=True) == (code, [])


@given(st.lists(st.text("_a(`[ =x\xa0&lt;\t", max_size=12), max_size=6), st.integers(3, 5))
def test_normalize_keeps_fenced_code(lines: list[str], ticks: int) -> None:
    inner = "\n".join(line for line in lines if "```" not in line)
    block = f"{'`' * ticks}python\n{inner}\n{'`' * ticks}"
    text, edits = normalize(f"A _word_  here.\n\n\n{block}\n\n\nAnd _more_.", wrapped=True, typed=True)
    assert text == f"A word here.\n\n{block}\n\nAnd more."
    assert {edit.reason: edit.count for edit in edits} == {"emphasis": 2, "space": 1}


def test_normalize_keeps_chinese_punctuation_curly_quotes_and_joiners() -> None:
    for text in ("他说：“好，走吧！”", "“Hold and Mend”", "می‌خواهم"):
        assert normalize(text, wrapped=False, typed=True) == (text, [])


def left(texts: list[str], most: int, first_shard: int = 2) -> list[str]:
    """Return the remaining text of each document in a corpus of two shards."""
    parts = texts[:first_shard], texts[first_shard:]
    shards = [lines(part) for part in parts]
    repeated = repeated_lines(shards, most)
    kept = affected(shards, repeated)
    return [
        without(text, repeated, marked[number])[0] if number in marked else text
        for part, marked in zip(parts, kept, strict=True)
        for number, text in enumerate(part)
    ]


def test_only_lines_above_the_document_limit_are_repeated() -> None:
    texts = [f"{prose}\nCopyright  the Office" for prose in PROSE[:3]] + [f"History\n{prose}" for prose in PROSE[3:6]]
    texts[3] = f"COPYRIGHT THE OFFICE\n{texts[3]}"
    assert left(texts, most=3) == [*PROSE[:3], *(f"History\n{prose}" for prose in PROSE[3:6])]
    assert left(texts, most=4) == texts


@pytest.mark.parametrize("first_shard", [1, 3, 6])
def test_repeated_sentence_stays_in_the_first_document(first_shard: int) -> None:
    clause = "The tenant returns both keys of the boathouse on the last day of the lease."
    texts = [PROSE[0], *(f"Contents\n{prose}\n{clause}" for prose in PROSE[1:])]
    expected = [PROSE[0], f"{PROSE[1]}\n{clause}", *PROSE[2:]]
    assert left(texts, most=3, first_shard=first_shard) == expected


def test_copied_document_is_not_boilerplate() -> None:
    footer = "Copyright the Office"
    copy = f"{PROSE[0]}\n{PROSE[1]}"
    texts = [f"{copy}\n{footer}"] * 5 + [f"{prose}\n{footer}" for prose in PROSE[2:]]
    assert left(texts, most=3) == [copy] * 5 + PROSE[2:]


@pytest.mark.parametrize(
    "same", ["}\n1871 - 19", "```\nimport os\n```", "| Name | Year |\n| --- | --- |\n| Kaye | 1871 |"]
)
def test_code_tables_and_lines_without_letters_are_never_boilerplate(same: str) -> None:
    texts = [f"{prose}\n{same}" for prose in PROSE]
    assert left(texts, most=3) == texts


def test_one_line_menu_with_bars_is_boilerplate() -> None:
    assert left([f"Home | Search | Help\n{prose}" for prose in PROSE], most=3) == PROSE


def test_prose_of_any_script_passes_the_heuristics() -> None:
    thai = "เกาะนี้อยู่ห่างจากแผ่นดินใหญ่สิบสี่ไมล์และมีประชากรสองพันคนที่อาศัยอยู่ในเมือง"
    korean = "이 섬은 본토에서 십사 마일 떨어져 있으며 인구는 이천 명이다. 배는 겨울에 일주일에 세 번 다닌다. " * 2
    for text in (PROSE[0] + PROSE[1], CHINESE, thai, korean):
        assert quality.judge(text, LIMITS) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Too short to be anything.", "few_words"),
        ("太短了。", "few_words"),
        ("harbour " * 50, "repetition"),
        ("网站" * 60, "repetition"),
        (" ".join(f"{n} {n * n}" for n in range(60)), "few_letters"),
        ("a b c d e f g h i j k l m n o p q r s t u v w x y z " * 2, "word_length"),
    ],
)
def test_text_that_is_not_prose_is_dropped_with_reason(text: str, reason: str) -> None:
    drop = quality.judge(text, LIMITS)
    assert drop is not None and drop.reason == reason


def divergences(texts: list[str]) -> list[float]:
    usual = reference([letters(text) for text in texts])
    return [divergence(letters(text), usual) for text in texts]


def mask(text: str) -> tuple[str, list[Edit]]:
    return mask_by(text, KINDS)


PAGE = "\n\n".join(PROSE)


@pytest.mark.parametrize(
    ("rule", "limit", "broken", "sound"),
    [
        ("max_words", 200, PAGE * 3, PAGE),
        ("max_top_3gram", 0.18, "the old bell " * 12 + PROSE[0], PAGE),
        ("max_top_4gram", 0.16, "钟楼上的旧钟响了两次。" * 9 + CHINESE, CHINESE),
        ("max_repeated_5gram", 0.15, f"{PROSE[0]} {PROSE[1]} {PROSE[0]}", PAGE),
        ("max_repeated_10gram", 0.10, f"{CHINESE}{CHINESE}", CHINESE),
        ("max_repeated_lines", 0.3, "Bell\nGate\nBell\nBell", PAGE),
        ("max_repeated_line_characters", 0.2, f"{PROSE[0]}\nGate\n{PROSE[0]}\nBell", PAGE),
        ("max_repeated_paragraphs", 0.3, "Bell\n\nGate\n\nBell", PAGE),
        ("max_repeated_paragraph_characters", 0.2, f"{CHINESE}\n\n钟\n\n{CHINESE}", f"{CHINESE}\n\n钟\n\n钟"),
        ("max_word", 40, PROSE[0] + " " + "x" * 41, PAGE),
        ("max_hashes", 0.1, "# bell # gate # bell", "# Bells\n" + PAGE),
        ("max_ellipses", 0.1, "bell … gate ... bell", PAGE),
        ("max_bullet_lines", 0.9, "- bell\n- gate\n* sluice", "Rooms\n- bell\n- gate"),
        ("max_ellipsis_lines", 0.3, "The bell rang ...\nThe gate…\nThe sluice.", PAGE),
        ("max_lorem_ipsum", 0, "Lorem ipsum dolor sit amet.", PAGE),
        ("max_curly_brackets", 0, "if (bell) { ring(); }", PAGE),
        ("min_sentences", 3, "The bell rang", PAGE),
        ("min_sentences", 3, "钟响了", "钟响了。门开了。水来了。"),
        ("min_punctuated_lines", 0.12, "Home\nBells\nGates", PAGE),
        ("min_punctuated_lines", 0.12, "首页\n钟\n门", CHINESE),
        ("max_short_lines", 0.67, "Home\nBells\nGates", PAGE),
        ("max_newlines", 0.3, "Home\nBells\nGates\nSluices", PAGE),
    ],
)
def test_each_rule_drops_violations_only(rule: str, limit: float, broken: str, sound: str) -> None:
    drop = quality.judge(broken, {rule: limit})
    assert drop is not None and drop.detail
    assert quality.judge(sound, {rule: limit}) is None
    assert quality.judge(broken, {}) is None


def test_stop_word_rule_applies_to_english_only() -> None:
    catalogue = "Bell bronze 1871 Gate oak 1880 Sluice iron 1901"
    assert quality.judge(catalogue, {"min_stop_words": 2}, "en") is not None
    assert quality.judge(catalogue, {"min_stop_words": 2}, "de") is None


def test_share_of_repeated_ngrams_is_exact() -> None:
    words = Text("a b c d e f a b c d e g a b c d e")
    assert repeated_share(words, 5) == 10 / 17
    assert top_share(words, 5) == 15 / 17
    assert top_share(Text("a b c d"), 2) == repeated_share(Text("a"), 5) == 0.0


def test_enabled_c4_rules_remove_lines() -> None:
    text = f"Please enable JavaScript.\n\n{PROSE[0]}\nRead our privacy policy.\nContents\n\nBell tower and the gate"
    assert without_lines(text, []) == (text, [])
    left, edits = without_lines(text, ["javascript", "policy"])
    assert left == f"{PROSE[0]}\nContents\n\nBell tower and the gate"
    assert [(edit.reason, edit.count) for edit in edits] == [("javascript_line", 1), ("policy_line", 1)]
    assert without_lines(text, ["javascript", "policy", "unpunctuated", "few_words"])[0] == PROSE[0]


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("ip", "93.184.216.34"),
        ("ip", "2001:4860:4860::8888"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0055-5555-5559"),
        ("card", "378282246310005"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("iban", "DE89370400440532013000"),
        ("national_id", "078-05-1120"),
        ("national_id", "AB 12 34 56 C"),
        ("national_id", "11010519491231002X"),
        ("national_id", "12345678Z"),
        ("national_id", "X1234567L"),
    ],
)
def test_cards_ibans_national_ids_and_ips_are_masked(kind: str, number: str) -> None:
    assert mask_by(f"It was {number}, they said.", KINDS)[0] == f"It was [{kind}], they said."
    others = [each for each in KINDS if each not in (kind, "phone")]
    assert mask_by(f"It was {number}, they said.", others)[0] == f"It was {number}, they said."


@pytest.mark.parametrize(
    "text",
    [
        "in release 10.4.2.1 of 2021",
        "see section 1.2.3.4 below",
        "the host 192.168.0.1 of the house",
        "at 12:30:45 the ferry left",
        "the number 4111 1111 1111 1112 is no card",
        "GB82 WEST 1234 5698 7654 33 is no account",
        "part 666-12-3456 of the catalogue",
        "order 12345678A of last year",
        "11010519491331002X",
        "in the years 1871 1872 1873 1874 the wool",
    ],
)
def test_numbers_that_only_resemble_pii_are_kept(text: str) -> None:
    assert mask(text) == (text, [])


def test_noise_and_a_repeated_token_diverge_and_prose_does_not() -> None:
    chance = random.Random(0)
    noise = " ".join("".join(chance.choices("qwertyuiopasdfghjklzxcvbnm", k=6)) for _ in range(60))
    documents = [" ".join(PROSE[at:] + PROSE[:at][:3]) for at in range(6)]
    *prose, first, second = divergences([*documents, noise, "the " * 80])
    assert max(prose) < 0.1
    assert first > 0.4 and second > 0.4


def test_each_script_is_compared_with_its_own_reference() -> None:
    russian = "Остров лежит в море далеко от берега, и зимой паром ходит три раза в неделю."
    *_, chinese, cyrillic, empty = divergences([*PROSE, CHINESE, russian, "1871"])
    assert (chinese, empty) == (0.0, 0.0) and cyrillic < 0.01


def test_languages_are_identified() -> None:
    german = "Der Hafen liegt an der Küste der Insel und wird von einem Wellenbrecher geschützt. Tel. 01632 960101"
    assert [language.identify(text) for text in (PROSE[0], german, CHINESE)] == ["en", "de", "zh"]


@pytest.mark.parametrize(
    "number",
    [
        "01632 960101",
        "01632960101",
        "(01632) 960 101",
        "+44 (0)1632 960101",
        "020-7946 0958",
        "555-210-1234",
        "(555) 010-1234",
        "01 42 68 53 00",
        "06 12 34 56 78",
        "0044 1632 960101",
        "+86 138 0013 8000",
        "13800138000",
    ],
)
def test_phone_numbers_are_masked(number: str) -> None:
    assert mask(f"Ask at {number}.")[0] == "Ask at [phone]."


def test_short_number_is_masked_if_labelled_as_phone() -> None:
    assert mask("Telephone no. 960 101, please.")[0] == "Telephone no. [phone], please."
    assert mask("电话：960101。")[0] == "电话：[phone]。"
    assert mask("01632 960101 1871 boats")[0] == "[phone] 1871 boats"
    assert mask("On 01-06-2024 01632 960101 answered.")[0] == "On 01-06-2024 [phone] answered."


@pytest.mark.parametrize(
    "text",
    [
        "from 1847-1851",
        "1742 1871 1923 1934",
        "on 2019-03-04 or 01/02/2019",
        "12 000 000 people",
        "2,314 people",
        "ISBN 978-0-306-40615-7",
        "shelf 0123 4567",
        "51.5072178, 0.1275862",
        "the telephone came in 1929",
        "at 00:15:30",
        "0.75 of it",
        "Flight 01-02-2021 14:30 from Oslo",
        "From 01-06-2024 14 days",
        "Lot 04-12-2021 10 of 12",
        "Scores 09 12 15 18 21 24",
        "Employee 0012345678",
    ],
)
def test_years_quantities_and_dates_are_not_phone_numbers(text: str) -> None:
    assert mask(text) == (text, [])


def test_email_addresses_are_masked_next_to_any_script() -> None:
    text, edits = mask("Write to a.b+c@site.example. 邮箱x@y.co.uk联系")
    assert text == "Write to [email]. 邮箱[email]联系"
    assert [(edit.reason, edit.count) for edit in edits] == [("email", 2)]


def test_words_of_unspaced_scripts_are_characters() -> None:
    assert normalise("The  Tide-Mill, ＡＢＣ！海港。") == "the tide mill abc 海 港"
    assert word_count("海港 two words") == 3
    assert (unspaced("海港ab"), unspaced("harbour")) == (2, 0)
    assert Text("海港ab").unspaced and not Text("海港abc").unspaced
