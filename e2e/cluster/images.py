"""Images without a registry: a stand-in base, the product's own Dockerfile on top of it, and archives of the results.

Invariant: the Dockerfile is the one that users build; only the image that it calls its base is made here.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster import commands, packages
from e2e.cluster.binaries import cache_folder
from e2e.cluster.errors import CommandError, ProviderError

BASE_PACKAGES = ("python3", "python3-venv", "ca-certificates")
BASE_TIMEOUT_SECONDS = 900
BUILD_TIMEOUT_SECONDS = 1800
COMMAND_TIMEOUT_SECONDS = 300
ARCHIVES_KEPT = 6
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def bases(dockerfile: str) -> list[str]:
    r"""Names of the images that a Dockerfile starts from, each once, its own stages and `scratch` left out.

    >>> bases("ARG BASE=python:3.12\nFROM ${BASE} AS wheel\nFROM wheel\nFROM scratch")
    ['python:3.12']

    Raises:
        ProviderError: a base is an argument without a default.
    """
    defaults: dict[str, str] = {}
    stages = {"scratch"}
    found: dict[str, None] = {}
    for line in dockerfile.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0].upper() == "ARG" and not found:
            name, _, value = words[1].partition("=")
            defaults[name] = value.strip("\"'")
        elif len(words) >= 2 and words[0].upper() == "FROM":
            image = next(word for word in words[1:] if not word.startswith("--"))
            image = re.sub(r"\$\{?(\w+)\}?", lambda match: defaults.get(match[1], ""), image)
            if not image:
                raise ProviderError(f"the Dockerfile's line `{line}` names no base image without a build argument")
            if image not in stages:
                found[image] = None
            if len(words) >= 4 and words[-2].upper() == "AS":
                stages.add(words[-1])
    return list(found)


def full_name(image: str) -> str:
    """The name with its registry and tag, as it is looked up.

    >>> full_name("python:3.12-slim")
    'docker.io/library/python:3.12-slim'
    """
    first = image.split("/", 1)[0]
    if "/" not in image:
        image = f"docker.io/library/{image}"
    elif not ({".", ":"} & set(first) or first == "localhost"):
        image = f"docker.io/{image}"
    return image if ":" in image.rsplit("/", 1)[1] or "@" in image else f"{image}:latest"


@dataclass(frozen=True)
class Image:
    """A built image: its full name with a tag that changes with its content, and the archive to import it from."""

    name: str
    archive: Path


class Builder:
    """buildah with storage of its own in the cache folder. `scratch` is the run's folder for logs and small files."""

    def __init__(self, scratch: Path) -> None:
        self.folder = cache_folder() / "images"
        self.scratch = scratch
        self.log = scratch.parent / "logs" / "images.log"
        self.storage = self.folder / "storage"
        self.archives = self.folder / "archives"
        for folder in (self.scratch, self.storage, self.archives):
            folder.mkdir(parents=True, exist_ok=True)
        self._registries = scratch / "registries.conf"
        self._registries.write_text("unqualified-search-registries = []\n")
        config = scratch / "containers.conf"
        config.write_text(f'[network]\nnetwork_config_dir = "{scratch}/networks"\n')
        self._environment = {"CONTAINERS_CONF": str(config)}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One builder at a time, beginning with the removal of what a killed one left in the storage."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._buildah("rm", "--all")
            yield

    def _command(self, *arguments: str | Path) -> list[str | Path]:
        options = [f"--root={self.storage}", f"--runroot={self.scratch / 'run'}", "--storage-driver=overlay"]
        program = packages.find("buildah") or "buildah"
        # In a mount namespace of its own, so that its mounts end with it, also when it is killed.
        return ["unshare", "--mount", program, *options, f"--registries-conf={self._registries}", *arguments]

    def _buildah(self, *arguments: str | Path) -> str:
        return commands.run(
            self._command(*arguments), timeout_seconds=COMMAND_TIMEOUT_SECONDS, environment=self._environment
        )

    def _has(self, name: str) -> bool:
        try:
            return bool(self._buildah("inspect", "--type=image", name))
        except CommandError:
            return False

    def build(
        self,
        name: str,
        context: Path,
        *,
        dockerfile: Path | None = None,
        target: str = "",
        options: Sequence[str | Path] = (),
    ) -> Image:
        """Build an image and save it as an archive, or take the archive of an earlier build with the same result."""
        id_file = self.scratch / "image-id"
        arguments: list[str | Path] = ["build", "--layers", "--pull-never", "--isolation=chroot", "--timestamp=0"]
        arguments += ["--network=host", f"--iidfile={id_file}", f"--file={dockerfile or context / 'Dockerfile'}"]
        arguments += [f"--target={target}"] if target else []
        commands.run_logged(
            self._command(*arguments, *options, context),
            self.log,
            timeout_seconds=BUILD_TIMEOUT_SECONDS,
            folder=context,
            environment=self._environment,
        )
        identity = id_file.read_text().strip().removeprefix("sha256:")
        tagged = f"{name}:{identity[:12]}" if ":" not in name.rsplit("/", 1)[1] else name
        self._buildah("tag", identity, tagged)
        return Image(tagged, self._save(identity, tagged))

    def _save(self, identity: str, name: str) -> Path:
        archive = self.archives / f"{identity}.tar"
        if not archive.exists():
            part = archive.with_suffix(".part")
            part.unlink(missing_ok=True)
            self._buildah("push", identity, f"docker-archive:{part}:{name}")
            part.rename(archive)
        archive.touch()
        kept = sorted(self.archives.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in kept[ARCHIVES_KEPT:]:
            old.unlink()
            if self._has(old.stem):
                self._buildah("rmi", "--force", old.stem)
        return archive

    def provide_base(self, name: str) -> None:
        """Make the stand-in under `name`, unless the storage has it: Debian of this machine's release, with Python."""
        if self._has(name):
            return
        context = self.scratch / "base"
        context.mkdir(exist_ok=True)
        shutil.copyfile(self._bootstrapped(), context / "base.tar")
        (context / "Dockerfile").write_text('FROM scratch\nADD base.tar /\nCMD ["python3"]\n')
        self._build_only(name, context)
        shutil.rmtree(context)

    def _build_only(self, name: str, context: Path) -> None:
        arguments = ("build", "--pull-never", "--timestamp=0", f"--tag={name}", context)
        commands.run_logged(
            self._command(*arguments), self.log, timeout_seconds=BUILD_TIMEOUT_SECONDS, environment=self._environment
        )

    def _bootstrapped(self) -> Path:
        release, mirror = debian_release(), debian_mirror()
        archive = self.folder / f"base-{release}.tar"
        if archive.exists():
            return archive
        tree = self.scratch / "tree"
        commands.run_logged(
            [
                packages.find("debootstrap") or "debootstrap",
                "--variant=minbase",
                f"--include={','.join(BASE_PACKAGES)}",
                release,
                tree,
                mirror,
            ],
            self.log,
            timeout_seconds=BASE_TIMEOUT_SECONDS,
        )
        _empty(tree)
        part = archive.with_suffix(".part")
        commands.run(["tar", "-C", tree, "--numeric-owner", "-cf", part, "."], timeout_seconds=COMMAND_TIMEOUT_SECONDS)
        part.rename(archive)
        shutil.rmtree(tree)
        return archive


def _empty(tree: Path) -> None:
    """Leave out of the base what says where it came from, and what nobody needs in an image."""
    for folder in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "var/log"):
        shutil.rmtree(tree / folder, ignore_errors=True)
        (tree / folder).mkdir(parents=True)
    (tree / "etc/apt/sources.list").write_text("")
    (tree / "etc/resolv.conf").write_text("")
    (tree / "etc/hostname").write_text("")


def debian_release() -> str:
    """Code name of the Debian that this machine runs, for instance `bookworm`.

    Raises:
        ProviderError: it runs something else.
    """
    values = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    if values.get("ID") != "debian":
        raise ProviderError(f"the stand-in base image is bootstrapped from Debian, and this is {values.get('ID')}")
    return values["VERSION_CODENAME"].strip('"')


def debian_mirror() -> str:
    """Where this machine's own apt gets its packages from."""
    asked = commands.run(["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"])
    release = debian_release()
    sites = [line.split()[0] for line in asked.splitlines() if line.split()[1:] == [release]]
    if not sites:
        raise ProviderError(f"apt's sources here have no suite {release}; add one, debootstrap needs its mirror")
    return sites[0]


def pip_options(scratch: Path) -> list[str]:
    """Build options that let pip in the build find packages as pip does on this machine; none of it stays behind."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    settings = parse_pip_settings(listed)
    if CERTIFICATES.exists():
        settings.setdefault("cert", str(CERTIFICATES))
    config = scratch / "pip.conf"
    config.touch(mode=0o600)
    config.write_text("".join(["[global]\n", *(f"{name} = {value}\n" for name, value in sorted(settings.items()))]))
    folders = [settings[name] for name in ("cert", "find-links") if name in settings]
    mounts = [f"--volume={path}:{path}:ro" for path in folders if path.startswith("/") and Path(path).exists()]
    return [f"--secret=id=pip.conf,src={config}", *mounts]


def parse_pip_settings(listed: str) -> dict[str, str]:
    r"""Settings in the output of `pip config list`; those of the environment win, as they do in pip.

    >>> parse_pip_settings("global.cert='/a'\n:env:.cert='/b'")
    {'cert': '/b'}
    """
    found: dict[str, str] = {}
    for line in sorted(listed.splitlines(), key=lambda line: line.startswith(":env:")):
        setting, _, value = line.partition("=")
        section, _, name = setting.rpartition(".")
        if section in {"global", ":env:", "install"} and name != "config-file":
            found[name] = value.strip().strip("'\"").replace("\\n", " ")
    return found
