"""What the image installs: each file known by its hash, the whole of what is needed, and nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.dockerfile import step
from tests.kubectl import ROOT

IMAGE, BUILD = ROOT / "requirements/image.txt", ROOT / "requirements/build.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def python() -> str:
    """Return the Python of the image: "3.13"."""
    (found,) = re.findall(r"python:(3\.\d+)-", step("ARG", -1))
    return str(found)


def pinned(text: str) -> dict[str, Version]:
    """Return the versions of a list by name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE)
    return {canonicalize_name(name): Version(version) for name, version in found}


def needed(requirements: list[str], machine: str) -> Iterator[str]:
    """Yield the names of all that these need on the image's Python, as the installed packages tell."""
    markers = {"python_version": python(), "python_full_version": f"{python()}.0", "platform_machine": machine}
    waiting, seen = [Requirement(text) for text in requirements], set()
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        if requirement.marker and not any(requirement.marker.evaluate({**markers, "extra": e}) for e in extras):
            continue
        name = canonicalize_name(requirement.name)
        if name in seen:
            continue
        seen.add(name)
        yield name
        for text in distribution(name).requires or ():
            more = Requirement(text)
            if more.marker is None or any(more.marker.evaluate({**markers, "extra": extra}) for extra in extras):
                more.marker = None
                waiting.append(more)


@pytest.mark.parametrize("path", [IMAGE, BUILD], ids=lambda path: path.stem)
def test_every_line_has_hashes(path: str) -> None:
    """Each release is one version with SHA-256 hashes; no line names anything else: no index, no file, no branch."""
    text = (ROOT / path).read_text()
    assert f"by pip-compile with Python {python()}\n" in text
    entries = re.split(r"\n(?=[A-Za-z])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())
    for entry in entries:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+( \\\n    --hash=sha256:[0-9a-f]{64})+", entry), entry[:80]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_image_holds_what_is_needed_and_nothing_else(machine: str) -> None:
    """Its list is the closure of the project's dependencies on its Python, at the versions a clone installs."""
    image = pinned(IMAGE.read_text())
    assert set(needed(PROJECT["project"]["dependencies"], machine)) == image.keys()
    constraints = pinned((ROOT / "constraints.txt").read_text())
    assert {name: constraints.get(name) for name in image} == image


def test_the_build_is_what_the_project_asks_for() -> None:
    """The list of what builds the wheel satisfies the project's build requirements."""
    build = pinned(BUILD.read_text())
    for text in PROJECT["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(build[canonicalize_name(requirement.name)])


def test_the_image_takes_nothing_else() -> None:
    """Every installation of the Dockerfile is by hash, or takes the wheel just built and reaches no index."""
    installs = [
        part
        for text in (step("RUN", 0, "--require-hashes"), step("RUN", 0, "pip wheel"))
        for part in text.split("&&")
        if " install " in part
    ]
    assert len(installs) == 3
    for part in installs:
        assert "--require-hashes" in part or ("--no-index" in part and "--no-deps" in part), part
