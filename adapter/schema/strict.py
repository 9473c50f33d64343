"""The base of every model of the schema: strict, frozen, and never content with the first error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails

from adapter.schema.words import translate, wrong

Path = tuple[str | int, ...]
"""Where something is below a model: field names as users write them, and indices."""

Lax = Field(strict=False)
"""A YAML list for a tuple, a YAML text for an enum; nothing else becomes looser, and items stay strict."""

FILE_ONLY: JsonDict = {"x-spillway-file-only": True}
"""Marks in the JSON schema what only an administrator's file may say, never a custom resource."""

OBJECT_ONLY: JsonDict = {"x-spillway-object-only": True}
"""Marks what only a custom resource may say: what it names is looked up in the resource's own namespace."""

OBJECT_REQUIRED: JsonDict = {**OBJECT_ONLY, "x-spillway-object-required": True}
"""Marks what a custom resource must say and a file cannot."""

_ELSEWHERE = {
    "x-spillway-file-only": "must not be set in an object of the cluster: only a configuration file may",
    "x-spillway-object-only": "must not be set in a file: only an object of the cluster has a namespace to look in",
}


class Origin(Enum):
    """Whose words a value is made of; the context of `model_validate`. Without one it is a file, or Python."""

    FILE = "x-spillway-object-only"
    OBJECT = "x-spillway-file-only"
    """The value of each is the mark of the fields it must not have."""


def cel(*rules: tuple[str, str]) -> JsonDict:
    """Return what a model's JSON schema says in CEL, for a kube-apiserver to check: (rule, message) pairs.

    The rules are a first line that answers at once; `relations` says all of it, and more.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class Strict(BaseModel):
    """No unknown field, no coercion, no change after loading, every error at once."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    stand_ins: ClassVar[Mapping[str, object]] = {}
    """A valid value for each required field, so that a bad one does not keep `relations` from looking at the rest."""

    secret: ClassVar[bool] = False
    """The fields are, or are next to, credentials: no message shows a value."""

    @classmethod
    def names(cls) -> frozenset[str]:
        """Return the fields as users write them."""
        return frozenset(field.alias or name for name, field in cls.model_fields.items())

    def relations(self, unread: frozenset[str]) -> Iterator[tuple[Path, str]]:
        """Yield the place and a message for each relation between fields that does not hold.

        Args:
            unread: The fields, as users write them, that are wrong by themselves. Here they hold a default or a
                stand-in, of which nothing must be said. Names that are no fields at all are among them.
        """
        del unread
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _every_error(cls, data: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        """Add what `relations` finds to what the fields' own checks find, all in our words."""
        origin = info.context if isinstance(info.context, Origin) else Origin.FILE
        errors: list[InitErrorDetails] = list(_misplaced(cls, data, origin))
        unread = frozenset(str(error["loc"][0]) for error in errors)
        if unread:
            # What must not be said is not even read: no check of its own may look at it.
            data = {name: value for name, value in data.items() if name not in unread}
        model: Self | None
        try:
            model = handler(data)
        except ValidationError as exc:
            errors.extend(cls._in_our_words(exc, origin))
            unread |= frozenset(str(error["loc"][0]) for error in errors if error.get("loc"))
            model = cls._rest(data, unread, handler)
        if model is not None:
            errors.extend(_error(path, message, data) for path, message in model.relations(unread))
        if model is None or errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return model

    @classmethod
    def _in_our_words(cls, exc: ValidationError, origin: Origin) -> Iterator[InitErrorDetails]:
        elsewhere = _marked(cls, origin.value)
        known = [field.alias or name for name, field in cls.model_fields.items() if name not in elsewhere]
        for error in exc.errors(include_url=False):
            if error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]:
                continue  # pydantic counts good items only; the bad ones have errors of their own
            yield _error(error["loc"], translate(error, known, secret=cls.secret), error["input"])

    @classmethod
    def _rest(cls, data: Any, unread: frozenset[str], handler: ModelWrapValidatorHandler[Self]) -> Self | None:
        if not isinstance(data, Mapping):
            return None
        rest = {name: value for name, value in data.items() if name not in unread}
        rest.update({name: value for name, value in cls.stand_ins.items() if name not in rest})
        try:
            return handler(rest)
        except ValidationError:
            return None


@lru_cache
def _marked(model: type[Strict], mark: str) -> frozenset[str]:
    """Return the fields that bear a mark, by their names in Python and as users write them."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    names = {name for name, extra in extras.items() if isinstance(extra, dict) and extra.get(mark)}
    return frozenset(names | {model.model_fields[name].alias or name for name in names})


def _misplaced(model: type[Strict], data: object, origin: Origin) -> Iterator[InitErrorDetails]:
    """Yield an error for each field that this origin must not set, and for each that it leaves out and must set."""
    if not isinstance(data, Mapping):
        return
    for name in data:
        if name in _marked(model, origin.value):
            yield _error((name,), _ELSEWHERE[origin.value], data[name])
    if origin is Origin.OBJECT:
        required = _marked(model, "x-spillway-object-required")
        for name, field in model.model_fields.items():
            if name in required and (data.get(field.alias) is None and data.get(name) is None):
                yield _error((field.alias or name,), "is required", data)


def _error(path: Path, message: str, value: object) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(message), loc=path, input=value)
