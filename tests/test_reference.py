"""The reference of the configuration is what the schema says, and its examples work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from adapter.schema.examples import EXAMPLES
from adapter.schema.reference import replaced, sections
from adapter.schema.strict import Origin

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
MODELS: dict[str, type[BaseModel]] = {model.__name__: model for _, model in sections()}


def test_the_document_has_the_reference() -> None:
    """docs/configuration.md has what `make reference` writes."""
    assert DOCUMENT.read_text() == replaced(DOCUMENT.read_text())


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name, examples in EXAMPLES.items() for example in examples]
)
def test_each_example_is_valid(name: str, example: str) -> None:
    """An example is accepted where it belongs: in a file, or in an object if it names a Secret."""
    origin = Origin.OBJECT if "ecretRef" in example else Origin.FILE
    MODELS[name].model_validate(yaml.safe_load(example), by_alias=True, by_name=False, context=origin)


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_in_an_example(name: str) -> None:
    """Each part of the schema has examples, and each of its fields is in one of them."""
    shown: set[str] = set()
    for example in EXAMPLES[name]:
        loaded: dict[str, Any] = yaml.safe_load(example)
        shown |= loaded.keys()
    assert shown == {field.alias or field_name for field_name, field in MODELS[name].model_fields.items()}


def test_a_document_without_the_marks() -> None:
    """A document that says not where the reference goes is left alone."""
    with pytest.raises(ValueError, match="has no lines"):
        replaced("# Configuration\n")
