"""Repair, boilerplate, heuristics, language, outliers and personal data, each on a few sentences."""

import random

import pytest

from pipelines.data import language, quality
from pipelines.data.outliers import divergences
from pipelines.data.personal import mask
from pipelines.data.repair import repair
from pipelines.data.repeated import lines, repeated_lines, without
from pipelines.data.words import normalise, unspaced_share, word_count

LIMITS = (20, (3.0, 10.0), 0.7, 0.2)
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


def test_repair_mends_encoding_and_space_and_says_so() -> None:
    text, edits = repair("The cafÃ© is\u200b open.\x07\n\n\n\nTwo   words\xa0here \n    code", wrapped=False)
    assert text == "The café is open.\n\nTwo words here\n    code"
    assert {edit.reason: edit.count for edit in edits} == {"unicode": 1, "space": 1}


def test_repair_leaves_chinese_punctuation_curly_quotes_and_joiners() -> None:
    for text in ("他说：“好，走吧！”", "“Hold and Mend”", "می‌خواهم"):
        assert repair(text, wrapped=False) == (text, [])


def left(texts: list[str], most: int) -> list[str]:
    """What is left of each text of a corpus of two shards."""
    found = repeated_lines([lines(texts[:2]), lines(texts[2:])], most)
    return [without(text, found)[0] for text in texts]


def test_only_lines_of_more_than_the_given_number_of_documents_are_repeated() -> None:
    texts = [f"{prose}\nCopyright  the Office" for prose in PROSE[:3]] + [f"History\n{prose}" for prose in PROSE[3:6]]
    texts[3] = f"COPYRIGHT THE OFFICE\n{texts[3]}"
    assert left(texts, most=3) == [*PROSE[:3], *(f"History\n{prose}" for prose in PROSE[3:6])]
    assert left(texts, most=4) == texts


def test_copies_of_a_document_do_not_make_boilerplate_of_it() -> None:
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


def test_a_menu_in_one_line_is_boilerplate_for_all_its_bars() -> None:
    assert left([f"Home | Search | Help\n{prose}" for prose in PROSE], most=3) == PROSE


def test_prose_of_any_script_passes_the_heuristics() -> None:
    thai = "เกาะนี้อยู่ห่างจากแผ่นดินใหญ่สิบสี่ไมล์และมีประชากรสองพันคนที่อาศัยอยู่ในเมือง"
    korean = "이 섬은 본토에서 십사 마일 떨어져 있으며 인구는 이천 명이다. 배는 겨울에 일주일에 세 번 다닌다. " * 2
    for text in (PROSE[0] + PROSE[1], CHINESE, thai, korean):
        assert quality.judge(text, *LIMITS) is None


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
def test_what_is_no_prose_is_dropped_with_its_reason(text: str, reason: str) -> None:
    drop = quality.judge(text, *LIMITS)
    assert drop is not None and drop.reason == reason


def test_noise_and_a_repeated_token_diverge_and_prose_does_not() -> None:
    chance = random.Random(0)
    noise = " ".join("".join(chance.choices("qwertyuiopasdfghjklzxcvbnm", k=6)) for _ in range(60))
    documents = [" ".join(PROSE[at:] + PROSE[:at][:3]) for at in range(6)]
    *prose, first, second = divergences([*documents, noise, "the " * 80])
    assert max(prose) < 0.1
    assert first > 0.4 and second > 0.4


def test_another_script_is_compared_with_its_own() -> None:
    russian = "Остров лежит в море далеко от берега, и зимой паром ходит три раза в неделю."
    *_, chinese, cyrillic, empty = divergences([*PROSE, CHINESE, russian, "1871"])
    assert (chinese, empty) == (0.0, 0.0) and cyrillic < 0.01


def test_languages_are_told_apart() -> None:
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
        "+86 138 0013 8000",
        "13800138000",
    ],
)
def test_telephone_numbers_are_masked(number: str) -> None:
    assert mask(f"Ask at {number}.")[0] == "Ask at [phone]."


def test_a_short_number_is_masked_where_it_is_called_a_telephone() -> None:
    assert mask("Telephone no. 960 101, please.")[0] == "Telephone no. [phone], please."
    assert mask("电话：960101。")[0] == "电话：[phone]。"
    assert mask("01632 960101 1871 boats")[0] == "[phone] 1871 boats"


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
    ],
)
def test_years_quantities_and_dates_are_no_telephone_numbers(text: str) -> None:
    assert mask(text) == (text, [])


def test_email_addresses_are_masked_beside_any_script() -> None:
    text, edits = mask("Write to a.b+c@site.example. 邮箱x@y.co.uk联系")
    assert text == "Write to [email]. 邮箱[email]联系"
    assert [(edit.reason, edit.count) for edit in edits] == [("email", 2)]


def test_masking_takes_linear_time() -> None:
    for hostile in ("+" + "1" * 50_000, "+1" + " (1" * 20_000, "a@" + "b." * 20_000, "tel " + "no " * 20_000):
        mask(hostile)


def test_words_of_unspaced_scripts_are_characters() -> None:
    assert normalise("The  Tide-Mill, ＡＢＣ！海港。") == "the tide mill abc 海 港"
    assert word_count("海港 two words") == 3
    assert unspaced_share("海港ab") == 0.5
