"""YAML files as validated models: every error at once, each with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from adapter.config.document import Node, line_of, plain, read_documents
from adapter.config.files import read_files
from adapter.config.load import path_text
from adapter.schema.strict import Strict
from adapter.simulate.errors import InputError

M = TypeVar("M", bound=Strict)


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        InputError: It cannot be read, or is no text.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a directory, not a file")
    (file,) = read_files([path])
    if file.problem:
        raise InputError(f"{path}: {file.problem}")
    try:
        return file.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid UTF-8") from None


def read_yaml(path: Path) -> list[Node]:
    """Return the documents of a file, at least one.

    Raises:
        InputError: There is none, or they are not the YAML that readers agree on.
    """
    documents, problems = read_documents(read_text(path))
    if problems:
        raise InputError([f"{path}:{line}: {message}" for line, message in problems])
    if not documents:
        raise InputError(f"{path}: holds nothing")
    return documents


def read_model(path: Path, model: type[M]) -> M:
    """Return the one document of a file.

    Raises:
        InputError: There is another number of them, or it is not valid.
    """
    documents = read_yaml(path)
    if len(documents) > 1:
        raise InputError(f"{path}:{documents[1].line}: must hold one document, got {len(documents)}")
    return validated(path, documents[0], model)


def validated(path: Path, document: Node, model: type[M]) -> M:
    """Return a document as a model.

    Raises:
        InputError: It is not valid.
    """
    try:
        return model.model_validate(plain(document), by_alias=True, by_name=False)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
        found = sorted(
            (line_of(document, error["loc"]), ": ".join(filter(None, (path_text(error["loc"]), error["msg"]))))
            for error in errors
        )
        raise InputError([f"{path}:{line}: {text}" for line, text in found]) from None
