"""Debian packages that a node needs. Invariant: nothing is installed that is already there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from e2e.cluster import commands
from e2e.cluster.errors import ProviderError

SEARCH_PATH = os.pathsep.join(("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"))
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
}
"""Program to the package that brings it."""
PLUGINS = Path("/usr/lib/cni")
PLUGINS_PACKAGE = "containernetworking-plugins"
ALWAYS = ("go", "ip", "nsenter", "unshare", "umount")
"""Programs that are not installed for you: they are part of the machine, or your choice."""
INSTALL_TIMEOUT_SECONDS = 600


def find(program: str) -> str | None:
    """Path of a program on PATH or where Debian puts programs for root."""
    return shutil.which(program) or shutil.which(program, path=SEARCH_PATH)


def missing_packages() -> list[str]:
    """Packages to install, each once."""
    wanted = {package for program, package in PROGRAMS.items() if find(program) is None}
    if not (PLUGINS / "bridge").exists():
        wanted.add(PLUGINS_PACKAGE)
    return sorted(wanted)


def require_machine() -> None:
    """Raise ProviderError, on one line, when this machine cannot run a cluster at all."""
    if not hasattr(os, "geteuid") or not Path("/proc/self/ns/net").exists():
        raise ProviderError("PROVIDER=bare needs Linux; use PROVIDER=kind elsewhere")
    if os.geteuid() != 0:
        raise ProviderError(
            "PROVIDER=bare needs root (network namespaces, mounts, control groups); use sudo, or PROVIDER=kind"
        )
    lacking = [program for program in ALWAYS if find(program) is None]
    if lacking:
        raise ProviderError(f"PROVIDER=bare needs these programs on PATH: {', '.join(lacking)}")
    packages = missing_packages()
    if packages and find("apt-get") is None:
        raise ProviderError(f"PROVIDER=bare needs these packages, and there is no apt-get here: {', '.join(packages)}")


def install(log: Path) -> list[str]:
    """Install what is missing and return its names.

    Raises:
        CommandError: apt-get failed.
    """
    packages = missing_packages()
    if packages:
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-y", "-qq"]
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        commands.run_logged([*apt, "update"], log, timeout_seconds=INSTALL_TIMEOUT_SECONDS, environment=quiet)
        commands.run_logged(
            [*apt, "install", "--no-install-recommends", *packages],
            log,
            timeout_seconds=INSTALL_TIMEOUT_SECONDS,
            environment=quiet,
        )
    return packages
