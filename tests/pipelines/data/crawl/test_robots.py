"""robots.txt parsing: RFC 9309 examples, and random files compared with a reference implementation of the RFC."""

import re
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.data.crawl.robots import MOST_BYTES, Rules

SITE = "https://site.example"


def allowed(text: str | bytes, *paths: str) -> list[bool]:
    rules = Rules(text.encode() if isinstance(text, str) else text)
    return [rules.allow(SITE + path) for path in paths]


@pytest.mark.parametrize(
    ("text", "refused", "fetched"),
    [
        ("\ufeffUser-agent: *\nDisallow: /private/\n", "/private/a", "/a"),
        ("User-agent: *\nDisallow: /*/draft\nDisallow: /*.cgi$\n", "/a/draft", "/a.cgi?b"),
        ("User-agent: *\nAllow: /\nDisallow: /private/\n", "/private/a", "/a"),
        ("User-agent: *\nDisallow: /\nAllow: /open/\n", "/a", "/open/a"),
        ("User-agent: *\nDisallow: /x/\n\nUser-agent: *\nDisallow: /private/\n", "/private/a", "/a"),
        ("User-agent: GRADUS/1.0 (robot)\nDisallow: /a\n\nUser-agent: *\nDisallow: /b\n", "/a", "/b"),
        ("User-agent: Grad\nDisallow: /a\n\nUser-agent: *\nDisallow: /b\n", "/b", "/a"),
        ("User-agent: gradus\nNoindex: /c\nUser-agent: other\nDisallow: /a\n", "/a", "/c"),
        ("User-agent: *\r\nDisallow: /a\rDisallow: /b # all of it\n", "/b", "/c"),
        ("User-agent: *\nDisallow: /b\xfccher\n".encode("latin-1") + b"Disallow: /a", "/a", "/c"),
        ("User-agent: *\nDisallow: /bücher\n", "/b%C3%BCcher/1", "/b%FCcher"),
        ("User-agent: *\nDisallow: /a\nAllow: /a\nDisallow: /b", "/b", "/a"),
    ],
)
def test_rules_follow_the_rfc(text: str | bytes, refused: str, fetched: str) -> None:
    assert allowed(text, refused, fetched) == [False, True]


def test_empty_file_allows_everything_and_size_is_limited() -> None:
    assert allowed("", "/a") == allowed("User-agent: *\nDisallow:", "/a") == allowed(b"\x00\xff<html>", "/a") == [True]
    filler = "# long\n" * (MOST_BYTES // 7)
    assert allowed(f"User-agent: *\nDisallow: /a\n{filler}{filler}Disallow: /b\n", "/a", "/b") == [False, True]


def test_crawl_delay_is_parsed_in_seconds() -> None:
    assert Rules(b"User-agent: *\nCrawl-delay: 2.5\nDisallow: /a").delay() == 2.5
    assert Rules(b"User-agent: *\nCrawl-delay: soon").delay() == Rules(b"").delay() == 0.0


def by_the_rfc(lines: list[str], url: str) -> bool:
    """Evaluate RFC 9309, section 2.2: groups of the token, else of `*`; the longest match wins, Allow on ties."""
    groups: dict[str, list[tuple[str, str]]] = {}
    agents: list[str] = []
    in_rules = False
    for line in lines:
        field, colon, value = line.partition("#")[0].partition(":")
        field, value = field.strip().lower(), value.strip()
        if field == "user-agent" and colon:
            agents = [] if in_rules else agents
            in_rules = False
            token = re.match(r"[A-Za-z_-]*", value)
            agents.append("*" if value == "*" else token[0].lower() if token else "")
            groups.setdefault(agents[-1], [])
        elif field in ("allow", "disallow") and colon:
            in_rules = True
            for agent in agents:
                groups[agent].append((field, value))
    rules = groups.get("gradus", groups.get("*", []))
    path = quote(unquote(urlsplit(url).path), safe="/")
    found = [(len(encoded(value)), field == "allow") for field, value in rules if value and matches(value, path)]
    return max(found, default=(0, True))[1]


def encoded(rule: str) -> str:
    return quote(unquote(rule), safe="/*$")


def matches(rule: str, path: str) -> bool:
    body = encoded(rule).removesuffix("$")
    pattern = ".*".join(map(re.escape, body.split("*"))) + ("$" if rule.endswith("$") else "")
    return re.match(pattern, path) is not None


PATHS = st.lists(st.sampled_from(["a", "b", "/", "é", "%C3%A9", "%61", "."]), max_size=6).map(
    lambda parts: "/" + "".join(parts)
)
RULES = st.builds(
    lambda start, parts, end: start + "".join(parts) + end,
    st.sampled_from(["/", "*", "a"]),
    st.lists(st.sampled_from(["a", "b", "/", "*", "é", "%C3%A9", "%61"]), max_size=4),
    st.sampled_from(["", "", "$", " # a remark"]),
)
AGENTS = st.sampled_from(["*", "Gradus", "gradus/1.0", "GRADUS (robot)", "Grad", "gradus-news", "Other"])
LINES = st.one_of(
    st.builds("{}: {}".format, st.sampled_from(["User-agent", "user-agent ", " USER-AGENT"]), AGENTS),
    st.builds("{}:{}".format, st.sampled_from(["Allow", "disallow", "Disallow ", " DISALLOW"]), RULES),
    st.sampled_from(["Disallow:", "", "# a remark", "Sitemap: https://site.example/s.xml", "Noindex: /a", "nonsense"]),
)


@given(lines=st.lists(LINES, max_size=14), path=PATHS, end=st.sampled_from(["\n", "\r\n", "\r"]), mark=st.booleans())
def test_random_files_match_the_reference_implementation(lines: list[str], path: str, end: str, mark: bool) -> None:
    text = ("\ufeff" if mark else "") + end.join(lines)
    assert allowed(text, path) == [by_the_rfc(lines, SITE + path)]


@given(st.binary(max_size=200), st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20))
def test_arbitrary_bytes_do_not_raise(body: bytes, path: str) -> None:
    rules = Rules(b"User-agent: *\n" + body)
    assert isinstance(rules.allow(f"{SITE}/{path}"), bool) and rules.delay() >= 0
