"""Answer type check: "how many" needs a number, "in what year" a year.

Rules for English and Chinese question words; questions of any other form pass.
"""

import re

from pipelines.text.names import UPPER

_NUMBER = re.compile(
    r"\d|\b(?:an?|half|once|twice|every|each|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|dozen|no|none|nothing|zero|free|"
    r"never|rarely|seldom|sometimes|occasionally|often|frequently|regularly|usually|always|continuously|hourly|daily|nightly|"
    r"weekly|monthly|quarterly|yearly|annually|"
    r"as\s(?:much|many|long|far|often)|until|so|little|few|several|many|quarter|third|double)\b|[一二三四五六七八九十百千万两半几]",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\d|\b(?:January|February|March|April|May|June|July|August|September|October|November|December|\w+day|Christmas|Easter|"
    r"Michaelmas|spring|summer|autumn|winter|morning|noon|afternoon|evening|night|midnight|dawn|dusk|year|month|week|day|hour|"
    r"minute|century|time|tide|age|before|after|when|until|while|during|since|if|once|as|at|on|in|by|every|first|last|\w+teen|"
    r"o['’]clock|ago|later|soon|now|whenever|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)s?\b"
    r"|[年月日时点天春夏秋冬早晚前后]",
    re.IGNORECASE,
)
_YEAR = re.compile(r"\b\d{3,4}\b|\b(?:seventeen|eighteen|nineteen|twenty)\b|年", re.IGNORECASE)
_PLACE = re.compile(
    rf"[{UPPER}一-鿿]|^(?:in|on|at|by|near|under|over|above|below|behind|beside|between|before|from|to|into|through|along|across|around|"
    r"inside|outside|off|against|upon|within|among|beneath|opposite|next|up|down|the|a|an|his|her|its|their|here|there|"
    r"upstairs|downstairs|indoors|outdoors|underground|upstream|downstream|uphill|downhill|ashore|aboard|offshore|abroad|"
    r"overseas|home|everywhere|nowhere|nearby)\b"
)
_CLAUSE = re.compile(r"^(?!(?:if|when|where|before|after|until|unless|while|in|on|at)\b)(?:\S+\s+\S+|.*[一-鿿]{3})")

_KINDS = (
    (re.compile(r"\b(?:in|of|from|since|until|by) (?:what|which) year\b|哪一?年", re.IGNORECASE), _YEAR),
    (
        re.compile(
            r"\bhow (?:many|much|long|far|often|old|high|deep|wide|tall|heavy|large|big|fast)\b|多少|几(?!内亚|何|乎)",
            re.IGNORECASE,
        ),
        _NUMBER,
    ),
    (
        re.compile(r"^when\b|\b(?:what|which) (?:date|day|month|time|hour|century)\b|什么时候|何时", re.IGNORECASE),
        _TIME,
    ),
    (re.compile(r"^(?:from |to )?where\b|在哪|哪里|何处", re.IGNORECASE), _PLACE),
    (re.compile(r"^why\b|为什么|为何", re.IGNORECASE), _CLAUSE),
)
_PERSON = re.compile(r"^(?:by |to |from |for |with )?(?:who|whom|whose)\b|谁", re.IGNORECASE)
_NO_PERSON = re.compile(r"^(?:in |on |at |about )?\d[\d,.:/–-]*(?:\s|%|$)|\b(?:because|so that)\b")


def fits(question: str, answer: str) -> bool:
    """Return whether the form of `answer` fits the question word of `question`."""
    if _PERSON.search(question):
        return _NO_PERSON.search(answer) is None
    for asked, answered in _KINDS:
        if asked.search(question):
            return answered.search(answer) is not None
    return True
