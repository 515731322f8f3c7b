"""What a bug report needs: versions, extras, devices, data and plugins of this installation. No secrets, no host names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

import visenv
from visenv.errors import ExpertError, VisenvError
from visenv.experts import make_experts
from visenv.redaction import redact

from .listing import Catalogue, catalogue

__all__ = ["examine"]

REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)[^;]*(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"])?")
OPENCVS = ("opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")
"""Distributions that put another ``cv2`` in the place of ours."""


def examine(environment: Mapping[str, str] | None = None, *, experts: str | None = None) -> dict[str, Any]:
    """Look at the installation and return what is there, as plain data.

    Args:
        environment: Environment variables, of which only names are reported; those of the process by default.
        experts: Experts to make and to ask whether they can answer; none by default.

    Returns:
        ``versions`` (by distribution), ``extras`` (packages by extra, ``None`` for one that is not installed),
        ``machine``, ``data``, ``plugins`` (names by group), ``broken`` (group, name and reason) and ``problems``, in words; with
        ``experts`` also ``expert_health``, by capability.
    """
    environment = os.environ if environment is None else environment
    found = catalogue()
    required, extras = _requirements()
    versions = {"python": platform.python_version(), "visenv": visenv.__version__} | required
    problems = [f"Package {name} is missing. Reinstall visenv." for name, v in required.items() if v is None]
    problems += [f"Package {name} hides our cv2. Uninstall it." for name in OPENCVS if _version(name)]
    problems += [f"{b['group']} {b['name']} is broken: {b['reason']}" for b in found.broken]
    health, unwell = ({}, []) if experts is None else _ask(experts)
    problems += unwell
    return {
        "versions": versions,
        "extras": extras,
        "machine": _machine(),
        "data": _data(environment),
        "environment": sorted(k for k in environment if k.startswith("VISENV_")),
        "plugins": _plugins(found),
        "broken": found.broken,
        "problems": problems,
    } | ({} if experts is None else {"expert_health": health})


def _ask(experts: str) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return who answers each capability of a spec and how it is, and what is wrong, in words."""
    try:
        made = make_experts(experts)
    except VisenvError as error:
        return {}, [f"The experts {redact(experts)!r} cannot be made: {redact(str(error))}"]
    health: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    identities = made.identities()
    try:
        for capability, said in made.health().items():
            words = redact(str(said))
            health[capability] = {"identity": identities[capability], "health": words}
            if isinstance(said, ExpertError):
                problems.append(f"The expert that can {capability} cannot answer: {words}")
    finally:
        made.close()
    return health, problems


def _requirements() -> tuple[dict[str, str | None], dict[str, dict[str, str | None]]]:
    """Return the installed versions of what visenv needs, and of what each extra adds."""
    required: dict[str, str | None] = {}
    extras: dict[str, dict[str, str | None]] = {}
    for line in importlib.metadata.requires("visenv") or []:
        match = REQUIREMENT.match(line)
        if match is None or match[1] == "visenv":  # an extra made of others
            continue
        name, extra = match.groups()
        (extras.setdefault(extra, {}) if extra else required)[name] = _version(name)
    return required, extras


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "opencv_threads": cv2.getNumThreads(),
        "gpus": _gpus(),
        "torch": _version("torch"),
    }


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _gpus() -> list[str]:
    """Return the NVIDIA GPUs by the driver's own tool: asking torch would load it, and it may not be installed."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    command = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return [f"nvidia-smi failed: {error}"]
    return [line.strip() for line in said.splitlines() if line.strip()]


def _data(environment: Mapping[str, str]) -> dict[str, Any]:
    root = environment.get("VISENV_DATA")
    if root is None:
        return {"VISENV_DATA": "not set"}
    path = Path(root)
    holds = sorted(p.name for p in path.iterdir() if p.is_dir()) if path.is_dir() else None
    return {"VISENV_DATA": "a folder" if holds is not None else "set, but no folder", "folders": holds or []}


def _plugins(found: Catalogue) -> dict[str, list[str]]:
    return {group: getattr(found, group) for group in ("agents", "commands", "experts", "tasks", "toolsets")}
