"""What kubectl makes of the manifests."""

from __future__ import annotations

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parent.parent
MANIFESTS = ROOT / "manifests"
UNPACKED = ROOT / ".cache/kubectl/usr/bin/kubectl"
_LEAST_KUSTOMIZE = 5


@cache
def program() -> str | None:
    """Return a kubectl that knows components and today's patches; the one of tests/get-kubectl comes first."""
    for candidate in (str(UNPACKED), shutil.which("kubectl")):
        if candidate is None or not Path(candidate).exists():
            continue
        said = subprocess.run([candidate, "version", "--client", "-o", "json"], capture_output=True, text=True)
        kustomize = json.loads(said.stdout or "{}").get("kustomizeVersion", "")
        if kustomize.startswith("v") and int(kustomize[1:].partition(".")[0]) >= _LEAST_KUSTOMIZE:
            return candidate
    return None


def render(folder: Path) -> list[Object]:
    """Return the objects of a kustomization, in the order in which they are applied. Skips where nothing can."""
    if program() is None:
        pytest.skip("there is no kubectl with kustomize 5; tests/get-kubectl unpacks one")
    return [*yaml.safe_load_all(_rendered(folder))]


@cache
def _rendered(folder: Path) -> str:
    kubectl = program()
    assert kubectl is not None
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", done.stderr  # it warns there of what is deprecated
    return done.stdout


def pick(objects: list[Object], kind: str, name: str = "") -> Object:
    """Return the only object of a kind, or the one of this name."""
    (found,) = [o for o in objects if o["kind"] == kind and name in ("", o["metadata"]["name"])]
    return found


def named(obj: Object) -> str:
    """Return "Kind namespace/name", for messages and ids."""
    namespace = obj["metadata"].get("namespace", "")
    return f"{obj['kind']} {namespace + '/' if namespace else ''}{obj['metadata']['name']}"
