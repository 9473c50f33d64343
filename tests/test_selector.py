"""The label-selector grammar: what is read, what it means, and what is said of the rest."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.gotext import parse_int, quote
from scaler.model import labels_of
from scaler.selector import EVERYTHING, Operator, Requirement, Selector, SelectorError, parse

_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"
_UNPARSABLE = "unable to parse requirement: "


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (" \t\r\n", ""),
        ("k=v", "k=v"),
        ("k==v", "k==v"),
        ("k = v", "k=v"),
        ("k!=v", "k!=v"),
        ("k=", "k="),
        ("k=,a", "a,k="),
        ("k", "k"),
        ("!k", "!k"),
        (" ! k , j ", "j,!k"),
        ("k in (b,a,b)", "k in (a,b)"),
        ("k in ()", "k in ()"),
        ("k notin ( )", "k notin ()"),
        ("k in (,)", "k in ()"),
        ("k in (a,,b,)", "k in (,a,b)"),
        ("k in (,a)", "k in (,a)"),
        ("k>5,k<-0", None),
        ("k>5", "k>5"),
        ("k<+7", None),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin", "notin"),
        ("k=in", "k=in"),
        ("x.io/y", "x.io/y"),
        ("queue=a,x.io/y,zone notin (a,b)", "queue=a,x.io/y,zone notin (a,b)"),
        ("k in(a)", "k in (a)"),
        ("b=1,a=2,b=0", "a=2,b=1,b=0"),
        ("k=v\0", "k=v"),
        ("k=v \0rest is not read", "k=v"),
    ],
)
def test_canonical_text(text: str, canonical: str | None) -> None:
    """A selector is written as Kubernetes writes it: requirements by key, values in order, each once."""
    if canonical is None:
        with pytest.raises(SelectorError):
            parse(text)
    else:
        assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c", _UNPARSABLE + "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("==", "found '==', expected: !, identifier, or 'end of string'"),
        ("q=a=b", "found '=', expected: ',' or 'end of string'"),
        ("q=x y", "found 'y', expected: ',' or 'end of string'"),
        ("a,", "found '', expected: identifier after ','"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        ("!", _UNPARSABLE + "found '', expected: identifier"),
        ("!,", _UNPARSABLE + "found ',', expected: identifier"),
        ("a=(", _UNPARSABLE + "found '(', expected: identifier"),
        ("a(", _UNPARSABLE + "found '(', expected: in, notin, =, ==, !=, gt, lt"),
        ("a gt 5", _UNPARSABLE + "found 'gt', expected: in, notin, =, ==, !=, gt, lt"),
        ("q!ueue=a", _UNPARSABLE + "found '!', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in", _UNPARSABLE + "found '' expected: '('"),
        ("a in b", _UNPARSABLE + "found 'b' expected: '('"),
        ("a in (", _UNPARSABLE + "found '', expected: ',', ')' or identifier"),
        ("a in (=", _UNPARSABLE + "found '=', expected: ',', ')' or identifier"),
        ("q in (a", _UNPARSABLE + "found '', expected: ',' or ')'"),
        ("q in (a b)", _UNPARSABLE + "found 'b', expected: ',' or ')'"),
        ("q in (a,", _UNPARSABLE + "found '', expected: ',', or identifier"),
        ("q in (a,=)", _UNPARSABLE + "found '=', expected: ',', or identifier"),
        ("a\0b", _UNPARSABLE + "found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("-k", _UNPARSABLE + f'<nil>: Invalid value: "-k": name part {_RULE}'),
        ("/k", _UNPARSABLE + '<nil>: Invalid value: "/k": prefix part must be non-empty'),
        ("x/", _UNPARSABLE + f'<nil>: Invalid value: "x/": name part must be non-empty; name part {_RULE}'),
        (
            "a/b/c",
            _UNPARSABLE + f'<nil>: Invalid value: "a/b/c": a valid label key {_RULE} with an optional DNS subdomain '
            "prefix and '/' (e.g. 'example.com/MyName')",
        ),
        (
            "X.io/k",
            _UNPARSABLE + '<nil>: Invalid value: "X.io/k": prefix part a lowercase RFC 1123 subdomain must consist of '
            "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character "
            "(e.g. 'example.com', regex used for validation is "
            r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        ("k" * 64, _UNPARSABLE + f'<nil>: Invalid value: "{"k" * 64}": name part must be no more than 63 bytes'),
        ("k=-a", _UNPARSABLE + f'values[0][k]: Invalid value: "-a": {_VALUE_RULE}'),
        ("k=" + "é" * 32, _UNPARSABLE + f'values[0][k]: Invalid value: "{"é" * 32}": '
            f"must be no more than 63 bytes; {_VALUE_RULE}"),
        ("k>x", _UNPARSABLE + f'values[0]: Invalid value: "x": {_INTEGER}'),
        (
            "k>--",
            _UNPARSABLE + f'[values[0]: Invalid value: "--": {_INTEGER}, '
            f'values[0][k]: Invalid value: "--": {_VALUE_RULE}]',
        ),
        ("k=a:b", _UNPARSABLE + f'values[0][k]: Invalid value: "a:b": {_VALUE_RULE}'),
        ("k=\udcff", _UNPARSABLE + f'values[0][k]: Invalid value: "\\xff": {_VALUE_RULE}'),
    ],
)  # fmt: skip
def test_messages(text: str, message: str) -> None:
    """What is no selector is refused in Kubernetes' own words."""
    with pytest.raises(SelectorError) as refused:
        parse(text)
    assert str(refused.value) == message


LABELS = labels_of({"queue": "a", "size": "12", "empty": ""})


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("queue", True),
        ("!queue", False),
        ("other", False),
        ("!other", True),
        ("queue=a", True),
        ("queue==a", True),
        ("queue=b", False),
        ("queue=", False),
        ("empty=", True),
        ("other=", False),
        ("queue!=a", False),
        ("queue!=b", True),
        ("other!=b", True),
        ("queue in (b,a)", True),
        ("queue in ()", False),
        ("queue notin (b,c)", True),
        ("queue notin (a)", False),
        ("other notin (a)", True),
        ("size>11", True),
        ("size>12", False),
        ("size<13", True),
        ("size<12", False),
        ("queue>1", False),
        ("other>1", False),
        ("queue=a,size=12", True),
        ("queue=a,size=13", False),
        ("queue=a,!size", False),
        ("Queue=a", False),
    ],
)
def test_matches(text: str, matches: bool) -> None:
    """All requirements must hold; a missing label is in nothing, and not in everything."""
    assert parse(text).matches(LABELS) is matches


def test_equality_labels() -> None:
    """The labels that a selector dictates are those it allows one value for; of two, the first."""
    selector = parse("queue=a,zone in (b),size>3,x in (a,b),y!=c,w==d,queue=z,!v")
    assert selector.equality_labels() == (("queue", "a"), ("w", "d"), ("zone", "b"))
    assert EVERYTHING.equality_labels() == ()


def test_requirements_are_data() -> None:
    """A reader of the requirements finds key, operator and values."""
    assert parse("z notin (b,a),k=v").requirements == (
        Requirement("k", Operator.EQUALS, ("v",)),
        Requirement("z", Operator.NOT_IN, ("a", "b")),
    )


KEYS = st.sampled_from(["queue", "zone", "in", "notin", "x.io/y", "A_b-c.d", "0"])
VALUES = st.from_regex(r"\A([A-Za-z0-9]([-A-Za-z0-9_.]{0,5}[A-Za-z0-9])?)?\Z")


@st.composite
def requirements(draw: st.DrawFn) -> Requirement:
    operator = draw(st.sampled_from(Operator))
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST):
        values: set[str] = set()
    elif operator in (Operator.GREATER_THAN, Operator.LESS_THAN):
        values = {str(draw(st.integers(0, 2**63 - 1)))}
    elif operator in (Operator.IN, Operator.NOT_IN):
        values = draw(st.sets(VALUES, min_size=1, max_size=4))
    else:
        values = {draw(VALUES)}
    return Requirement(draw(KEYS), operator, tuple(sorted(values)))


@given(st.lists(requirements(), max_size=5))
def test_round_trip(found: list[Requirement]) -> None:
    """The text of a selector is read as the same selector."""
    selector = Selector(tuple(sorted(found, key=lambda r: r.key)))
    assert parse(str(selector)) == selector


@given(st.lists(requirements(), max_size=4), st.dictionaries(KEYS, VALUES, max_size=4))
def test_matches_its_twin(found: list[Requirement], labels: dict[str, str]) -> None:
    """A selector matches exactly what all of its requirements match, one by one."""
    expected = all(requirement.matches(labels.get(requirement.key)) for requirement in found)
    assert Selector(tuple(found)).matches(labels_of(labels)) is expected


@given(st.text(alphabet="ab=!(),<> in\t\0-/é", max_size=20))
def test_any_text(text: str) -> None:
    """Whatever is sent is read or refused; what is read can be read again."""
    try:
        selector = parse(text)
    except SelectorError:
        return
    assert parse(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("+7", 7),
        ("-7", -7),
        ("007", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_parse_int(text: str, number: int) -> None:
    """An int64 is read as Go reads it."""
    assert parse_int(text) == number


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 5000])
def test_parse_int_out_of_range(text: str) -> None:
    """What an int64 cannot hold is out of range."""
    with pytest.raises(ValueError, match="value out of range"):
        parse_int(text)


@pytest.mark.parametrize("text", ["", " 1", "1_000", "٣", "0x1", "+", "1.0"])
def test_parse_int_syntax(text: str) -> None:
    """What Go does not read as an integer is refused, though Python might."""
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_int(text)


def test_quote() -> None:
    """Text is quoted as %q does."""
    assert (
        quote('a"\\\n\a\v\x01\x7f\u0085é\u2028\U000e0001\udc80 ')
        == r'"a\"\\\n\a\v\x01\x7f\u0085é\u2028\U000e0001\x80 "'
    )
