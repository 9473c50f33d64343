"""The Dockerfile, taken apart."""

from __future__ import annotations

import platform
import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.kubectl import ROOT

ARCHITECTURES = {"x86_64": ("amd64", "x86_64-unknown-linux-gnu"), "aarch64": ("arm64", "aarch64-unknown-linux-gnu")}
"""What Linux calls an architecture → what Docker and LLVM call it."""


class Step(NamedTuple):
    """An instruction of the Dockerfile: its stage counts from 0, its flags are left out of the text."""

    stage: int
    name: str
    text: str


def steps() -> list[Step]:
    """Return the Dockerfile's instructions."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    found, stage = [], -1
    for text in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = text.partition(" ")
        stage += name == "FROM"
        if name:
            found.append(Step(stage, name, re.sub(r"^(--\S+ +)+", "", rest.strip())))
    return found


def step(name: str, stage: int = 1, containing: str = "") -> str:
    (found,) = [s.text for s in steps() if (s.name, s.stage) == (name, stage) and containing in s.text]
    return found


def bake() -> str:
    """Return the step that compiles the kernels."""
    return step("RUN", 0, "adapter.warm")


def cpu(architecture: str) -> dict[str, str]:
    """Return cpu, features and flags of an architecture, as the step sets them."""
    (settings,) = re.findall(rf"{architecture}\) (.*?) ;;", bake())
    return dict(part.split("=", 1) for part in shlex.split(settings))


def missing_flags() -> list[str]:
    """Return what this machine lacks of the CPU that the kernels are compiled for."""
    line = re.search(r"^(flags|Features)\s*:(.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    has = line[2].split() if line else []
    return [flag for flag in cpu(ARCHITECTURES[platform.machine()][0])["flags"].split() if flag not in has]
