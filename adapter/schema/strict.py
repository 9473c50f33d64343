"""The base of every model of the schema: strict, frozen, and never content with the first error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
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
    def _every_error(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Add what `relations` finds to what the fields' own checks find, all in our words."""
        errors: list[InitErrorDetails] = []
        unread: frozenset[str] = frozenset()
        model: Self | None
        try:
            model = handler(data)
        except ValidationError as exc:
            errors.extend(cls._in_our_words(exc))
            unread = frozenset(str(error["loc"][0]) for error in errors if error.get("loc"))
            model = cls._rest(data, unread, handler)
        if model is not None:
            errors.extend(_error(path, message, data) for path, message in model.relations(unread))
        if model is None or errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return model

    @classmethod
    def _in_our_words(cls, exc: ValidationError) -> Iterator[InitErrorDetails]:
        known = [field.alias or name for name, field in cls.model_fields.items()]
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


def _error(path: Path, message: str, value: object) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(message), loc=path, input=value)
