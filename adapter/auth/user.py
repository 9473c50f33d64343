"""A user, by whichever way they were recognised."""

from __future__ import annotations

from typing import NamedTuple

MASTERS = "system:masters"
_AUTHENTICATED = "system:authenticated"
_UNAUTHENTICATED = "system:unauthenticated"


class User(NamedTuple):
    """Who asks. `extra` is sorted by key; keys are lower case where they came as headers."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()


ANONYMOUS = User("system:anonymous", groups=(_UNAUTHENTICATED,))


def authenticated(user: User) -> User:
    """Return a recognised user as a member of system:authenticated.

    An anonymous user whom a front proxy recognised as such stays what they are.
    Source: k8s.io/apiserver pkg/authentication/group/authenticated_group_adder.go.
    """
    if user.name == ANONYMOUS.name or _AUTHENTICATED in user.groups or _UNAUTHENTICATED in user.groups:
        return user
    return user._replace(groups=(*user.groups, _AUTHENTICATED))
