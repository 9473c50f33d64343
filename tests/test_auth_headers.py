"""What headers say of who asks."""

from __future__ import annotations

import pytest

from adapter.api.headers import Headers
from adapter.auth.config import HeaderNames
from adapter.auth.headers import bearer_token, user_of
from adapter.auth.user import ANONYMOUS, User, authenticated

NAMES = HeaderNames(
    username=("x-remote-user", "x-other-user"),
    uid=("x-remote-uid",),
    groups=("x-remote-group",),
    extra_prefixes=("x-remote-extra-",),
)


def user(*headers: tuple[str, str], names: HeaderNames = NAMES) -> User | None:
    """Return the user of these headers."""
    return user_of(Headers(headers), names)


def test_a_horizontal_pod_autoscaler() -> None:
    """User, groups in order, identifier and extra come through, and system:authenticated is added once."""
    name = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    found = user(
        ("X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id", "JTI=1"),
        ("X-Remote-Group", "system:serviceaccounts"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Uid", "d7687486"),
        ("X-Remote-User", name),
    )
    extra = (("authentication.kubernetes.io/credential-id", ("JTI=1",)),)
    assert found == User(name, "d7687486", ("system:serviceaccounts", "system:authenticated"), extra)
    assert user(("X-Remote-User", "system:kube-aggregator")) == User(
        "system:kube-aggregator", groups=("system:authenticated",)
    )


def test_names_of_headers() -> None:
    """Headers have no case; of several names for the user the first that is there counts, and its first value."""
    assert user(("x-REMOTE-user", "a"), ("X-Other-User", "b")) == authenticated(User("a"))
    assert user(("X-Other-User", "b")) == authenticated(User("b"))
    assert user(("X-Remote-User", "a"), ("X-Remote-User", "system:admin")) == authenticated(User("a"))
    assert user(("X-Remote-User", "a"), ("x-remote-group", "g"), ("X-REMOTE-GROUP", ""), ("X-Remote-Group", "g")) == (
        User("a", groups=("g", "g", "system:authenticated"))
    )


def test_nobody() -> None:
    """Without a user there is none, whatever else is said."""
    assert user() is None
    assert user(("X-Remote-User", "")) is None
    assert user(("X-Remote-User", ""), ("X-Remote-User", "a")) is None
    assert user(("X-Remote-Group", "system:masters"), ("X-Remote-Uid", "1")) is None
    assert user(("X-Remote-User", "a"), names=HeaderNames()) is None
    assert user(("X_Remote_User", "a")) is None


def test_anonymous_by_way_of_a_front_proxy() -> None:
    """An anonymous user of kube-apiserver does not become an authenticated one here."""
    found = user(("X-Remote-User", "system:anonymous"), ("X-Remote-Group", "system:unauthenticated"))
    assert found == ANONYMOUS
    assert user(("X-Remote-User", "system:anonymous")) == User("system:anonymous")
    assert user(("X-Remote-User", "a"), ("X-Remote-Group", "system:unauthenticated")) == User(
        "a", groups=("system:unauthenticated",)
    )


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("X-Remote-Extra-Scopes", "scopes"),
        ("x-remote-EXTRA-Example.com%2FFoo", "example.com/foo"),
        ("X-Remote-Extra-A%2525", "a%25"),
        ("X-Remote-Extra-A%zz", "a%zz"),
        ("X-Remote-Extra-A%2", "a%2"),
        ("X-Remote-Extra-%C3%A4", "ä"),
        ("X-Remote-Extra-", ""),
    ],
)
def test_keys_of_extra(header: str, key: str) -> None:
    """A key is what follows the prefix, in lower case, then unescaped; one that cannot be is left as it is."""
    found = user(("X-Remote-User", "a"), (header, "v"), (header.lower(), "w"), ("X-Remote-Extr", "x"))
    assert found is not None
    assert found.extra == ((key, ("v", "w")),)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        (" BEARER abc ", "abc"),
        ("Bearer abc def", "abc"),
        ("Bearer", ""),
        ("Bearer  abc", ""),
        ("Basic dXNlcjpwYXNz", ""),
        ("abc", ""),
        ("", ""),
    ],
)
def test_bearer_tokens(authorization: str, token: str) -> None:
    """Only a bearer token counts; anything else is as if it were not there."""
    assert bearer_token(Headers([("Authorization", authorization)])) == token
    assert bearer_token(Headers()) == ""
