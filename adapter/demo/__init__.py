"""`spillway demo`: a small shop on this machine, served to an autoscaling loop by the real adapter."""

from __future__ import annotations

from adapter.demo.main import run

__all__ = ["run"]
