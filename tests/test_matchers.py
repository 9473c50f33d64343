"""What is a list of Prometheus matchers, and which labels pass it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.schema.matchers import MatcherError, matches, parse_matchers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \n", []),
        ("{}", []),
        ('code="200"', [("code", "=", "200")]),
        ('{code!="200"}', [("code", "!=", "200")]),
        (' { code =~ "2..|3.." , job !~ "a" , } ', [("code", "=~", "2..|3.."), ("job", "!~", "a")]),
        ("a='it\"s'", [("a", "=", 'it"s')]),
        (r"a='it\'s'", [("a", "=", "it's")]),
        (r"a=`\d+`", [("a", "=", r"\d+")]),
        ("a=`x\ny`", [("a", "=", "x\ny")]),
        (r'a="\a\b\f\n\r\t\v\\\""', [("a", "=", '\a\b\f\n\r\t\v\\"')]),
        (r'a="\x41\101é\U0001F600"', [("a", "=", "AAé😀")]),
        (r'a="\xc3\xa9"', [("a", "=", "é")]),
        ('a="x",a!="y"', [("a", "=", "x"), ("a", "!=", "y")]),
        ('a="{},=~"', [("a", "=", "{},=~")]),
        ('{"label.with.dots"="x",`b c`!="y"}', [("label.with.dots", "=", "x"), ("b c", "!=", "y")]),
    ],
)
def test_matchers(text: str, expected: list[tuple[str, str, str]]) -> None:
    """Matchers are read with or without braces, with Prometheus' three quotes and its escapes."""
    assert [(matcher.name, matcher.operator, matcher.value) for matcher in parse_matchers(text)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("code", "character 5: expected =, !=, =~ or !~ after code"),
        ('code"200"', "character 5: expected =, !=, =~ or !~ after code"),
        ("code=200", "character 6: expected a value in quotes"),
        ('code=="200"', "character 6: expected a value in quotes"),
        ("code=", "character 6: expected a value in quotes"),
        ('code="200', "character 6: value is not closed"),
        ('code="2\n00"', "character 6: value is not closed"),
        ('code="200" job="web"', "character 12: expected ',' after the matcher"),
        ('{code="200" job="web"}', "character 13: expected ',' or '}' after the matcher"),
        ('{code="200"', "character 12: expected '}' at the end"),
        ('{code="200",', "character 13: expected '}' at the end"),
        ('{code="200"}[5m]', "character 13: unexpected text after '}'"),
        ('code="200"}', "character 11: expected ',' after the matcher"),
        ("{,}", "character 2: expected a label name"),
        ('a="b",,c="d"', "character 7: expected a label name"),
        ('up{code="200"}', "character 3: expected =, !=, =~ or !~ after up"),
        ('2xx="1"', "character 1: expected a label name"),
        ('é="1"', "character 1: expected a label name"),
        ('""="200"', "character 1: expected a label name"),
        ('"up"', "character 5: expected =, !=, =~ or !~ after up"),
        ('"__name__"="up"', "character 1: __name__ cannot be matched: the metric is named by the field metric"),
        ('__name__="up"', "character 1: __name__ cannot be matched: the metric is named by the field metric"),
        (r'a="\d"', r"character 4: unknown escape; a backslash is written \\, or use backticks"),
        (r'a="\'"', r"character 4: unknown escape; a backslash is written \\, or use backticks"),
        ('a="\\', r"character 4: unknown escape; a backslash is written \\, or use backticks"),
        (r'a="\x4"', "character 4: expected 2 digits in escape"),
        (r'a="\u00g0"', "character 4: expected 4 digits in escape"),
        (r'a="\477"', r"character 4: octal escape above \377"),
        (r'a="\ud800"', "character 4: escape is not a Unicode character"),
        (r'a="\xff"', "character 3: value is not Unicode text after its escapes"),
        ('a="\ud800"', "character 3: value is not Unicode text after its escapes"),
        ('a=~"("', "character 4: regular expression: missing ): ("),
        ('a=~"((x{1000}){1000}){1000}"', "character 4: regular expression: invalid repetition size: {1000}"),
        (r'a=~"(x)\\1"', r"character 4: regular expression: invalid escape sequence: \1"),
        (r'a!~"(?=x)"', "character 4: regular expression: invalid perl operator: (?="),
    ],
)
def test_not_matchers(text: str, message: str) -> None:
    """A text that is not a list of matchers is refused with the character it fails at."""
    with pytest.raises(MatcherError) as caught:
        parse_matchers(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ('code="200"', True),
        ('code="20"', False),
        ('code!="200"', False),
        ('code=~"2.."', True),
        ('code=~"2."', False),
        ('code=~"0"', False),
        ('code=~"4..|2.."', True),
        ('code!~"5.."', True),
        ('code!~"2.*"', False),
        ('absent=""', True),
        ('absent!=""', False),
        ('absent=~".*"', True),
        ('absent=~".+"', False),
        ('absent!~".+"', True),
        ('code="200",job="db"', False),
        ('text=~"a.b"', True),
        ('text=~"(?i)A\\nB"', True),
        ('city=~"Z.rich"', True),
        ('code=~""', False),
    ],
)
def test_matches(text: str, passes: bool) -> None:
    """Expressions match whole values, "." also a line feed, and an absent label is empty."""
    labels = (("city", "Zürich"), ("code", "200"), ("job", "web"), ("text", "a\nb"))
    assert matches(parse_matchers(text), labels) is passes
    assert matches(parse_matchers("{" + text + "}"), dict(labels)) is passes


def test_no_backtracking() -> None:
    """An expression that takes Python's re years is answered at once."""
    matchers = parse_matchers('a=~"(x+x+)+y"')
    assert not matches(matchers, (("a", "x" * 5_000),))


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    """Any text either is a list of matchers or fails at a character of it or just behind."""
    position = 1
    try:
        parse_matchers(text)
    except MatcherError as error:
        position = error.position
    assert 1 <= position <= len(text) + 1


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_any_value(value: str) -> None:
    """Any value can be written, and then matches itself and nothing else."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    (matcher,) = parse_matchers(f'a="{escaped}"')
    assert matcher.accepts(value)
    assert not matcher.accepts(value + "x")
