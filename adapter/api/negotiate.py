"""Which form of body a client reads: its Accept header, as go-restful and k8s.io/apiserver understand it.

Two judges look at each request. The router lets nothing pass that names neither `*/*` nor a type we write, by name.
Then the negotiation takes the first clause that fits, by quality, then by how specific it is, then in the client's
order. An error is negotiated again, without the conversions that a list could have.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache

from adapter.api.encode import CONTENT_TYPES, Form
from adapter.errors import NO_DETAILS, ApiError, InternalError, NotAcceptableError

_FORMS = {CONTENT_TYPES[form]: form for form in (Form.JSON, Form.YAML, Form.PROTOBUF)}
_MAX_CLAUSES = 64  # no client sends ten; what comes after is not looked at
_PARTIAL = frozenset({"PartialObjectMetadata", "PartialObjectMetadataList"})


class Refusal(Enum):
    """Why there is no form for a list."""

    ROUTER = auto()  # not even the router lets the request pass: 406
    NEGOTIATION = auto()  # only conversions that there are not, such as Table: 406
    CONVERSION = auto()  # a conversion to PartialObjectMetadata, which fails when it is tried: 500


_TYPES = ", ".join(_FORMS)
_STREAMS = ", ".join(f"{CONTENT_TYPES[form]};stream=watch" for form in (Form.JSON, Form.PROTOBUF))


def refused(refusal: Refusal) -> ApiError:
    """Return the error for a client that reads nothing that we write."""
    match refusal:
        case Refusal.ROUTER:
            message = f"406: Not Acceptable\n\nAvailable representations: {_TYPES}, {_STREAMS}"
            return NotAcceptableError(message, NO_DETAILS)
        case Refusal.NEGOTIATION:
            return NotAcceptableError(f"only the following media types are accepted: {_TYPES}")
        case Refusal.CONVERSION:
            return InternalError("object does not implement the Object interfaces")


@dataclass(frozen=True, slots=True)
class Negotiated:
    """The form of a list, and that of a Status in its place."""

    form: Form | Refusal
    error_form: Form


@dataclass(frozen=True, slots=True)
class _Clause:
    """One clause of an Accept header, for a type that we write."""

    form: Form
    quality: float
    wildcards: int
    params: dict[str, str] = field(default_factory=dict)

    @property
    def conversion(self) -> tuple[str, str, str] | None:
        """Group, version and kind that the object should be converted to."""
        if not self.params.keys() & {"g", "v", "as"}:
            return None
        return self.params.get("g", ""), self.params.get("v", ""), self.params.get("as", "")

    @property
    def usable(self) -> bool:
        """Whether we can write what it asks for: no conversion, and no stream but a watch's."""
        stream = self.params.get("stream", "")
        return self.conversion is None and (not stream or (stream == "watch" and self.form is not Form.YAML))

    @property
    def partial(self) -> bool:
        """Whether it asks for the metadata only."""
        group, version, kind = self.conversion or ("", "", "")
        return group == "meta.k8s.io" and version in ("v1", "v1beta1") and kind in _PARTIAL


@lru_cache(maxsize=512)
def negotiate(accept: str, pretty: bool) -> Negotiated:
    """Return the forms for an Accept header. `pretty`: a person asks, by the query or the User-Agent."""
    clauses = _clauses(accept)
    # Where nothing fits, an error is written raw, and raw is indented.
    error_form = next((_form(clause, pretty=pretty) for clause in clauses if clause.usable), Form.PRETTY)
    if not _router_accepts(accept):
        return Negotiated(Refusal.ROUTER, error_form)
    for clause in clauses:
        if clause.usable:
            return Negotiated(_form(clause, pretty=pretty), error_form)
        if clause.partial:
            return Negotiated(Refusal.CONVERSION, error_form)
    return Negotiated(Refusal.NEGOTIATION, error_form)


@lru_cache(maxsize=128)
def prefers_aggregated_discovery(accept: str) -> bool:
    """Say whether the client prefers APIGroupDiscoveryList v2 to the legacy documents."""
    for clause in _clauses(accept):
        if clause.form is Form.JSON and clause.conversion == ("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList"):
            return True
        if clause.usable:
            return False
    return False


def _form(clause: _Clause, *, pretty: bool) -> Form:
    return Form.PRETTY if clause.form is Form.JSON and (pretty or clause.params.get("pretty") == "1") else clause.form


def _router_accepts(accept: str) -> bool:
    return any(part.partition(";")[0].strip(" ") in ("*/*", *_FORMS) for part in (accept or "*/*").split(","))


def _clauses(accept: str) -> list[_Clause]:
    """Return the clauses for types that we write, the preferred one first."""
    found = [clause for part in (accept or "*/*").split(",", _MAX_CLAUSES)[:_MAX_CLAUSES] for clause in _clause(part)]
    return sorted(found, key=lambda clause: (-clause.quality, clause.wildcards))


def _clause(part: str) -> list[_Clause]:
    media_type, *texts = part.split(";")
    media_type = media_type.strip(" ")
    params = {name.strip(" "): value.strip(" ") for name, equals, value in (t.partition("=") for t in texts) if equals}
    quality = _quality(params.pop("q", "1"))
    if media_type in ("*/*", "*"):
        return [_Clause(form, quality, 2, params) for form in _FORMS.values()]
    if media_type == "application/*":
        return [_Clause(form, quality, 1, params) for form in _FORMS.values()]
    form = _FORMS.get(media_type)
    return [] if form is None else [_Clause(form, quality, 0, params)]


def _quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return 0.0 if math.isnan(quality) else quality
