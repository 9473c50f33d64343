"""The command line of `spillway doctor`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """How to reach the cluster, and what the installation is called."""

    kubeconfig: Path | None
    context: str | None
    namespace: str
    service_name: str


def add_doctor(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="examine an installation",
        description="Examine an installation: who serves external metrics, whether it is reachable and trusted, what "
        "its account may do, and HPAs that will not do what they should. Exit code 1 if something is wrong.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="PATH", help="default: KUBECONFIG, ~/.kube/config, or the pod's"
    )
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig (default: its current one)")
    parser.add_argument(
        "--namespace", default="spillway", metavar="NAME", help="of the installation (default spillway)"
    )
    parser.add_argument("--service-name", default="spillway", metavar="NAME", help="of its Service (default spillway)")


def doctor_options(given: argparse.Namespace) -> DoctorOptions:
    """Return what was given."""
    return DoctorOptions(given.kubeconfig, given.context, given.namespace, given.service_name)
