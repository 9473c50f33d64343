"""The image: its steps taken in a folder, and the adapter run from it as a cluster does: read-only, as nobody."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.adapter_process import Adapter
from tests.dockerfile import ARCHITECTURES, bake, cpu, missing_flags, step, steps
from tests.kubectl import MANIFESTS, ROOT

pytestmark = pytest.mark.timeout(600)  # compiling the kernels takes half a minute on a quiet machine

USER = 65532
METRIC = """
apiVersion: spillway.dev/v1alpha1
kind: ExternalMetric
metadata: {name: trial, namespace: shop}
spec: {source: {static: {series: [{value: 3}]}}}
"""


def test_what_the_dockerfile_promises() -> None:
    """Two stages of one pinned base, a user that is a number, no pip, the manifests' paths and ports."""
    bases = [s.text.partition(" ")[0] for s in steps() if s.name == "FROM"]
    assert bases == ["${BASE}", "${BASE}"]
    base = step("ARG", -1).removeprefix("BASE=")
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", base)
    assert version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]
    assert "--without-pip" in step("RUN", 0, "--without-pip")
    user, _, group = step("USER").partition(":")
    assert min(int(user), int(group)) >= 10_000
    assert step("ENTRYPOINT") == '["entrypoint"]'
    pod = yaml.safe_load((MANIFESTS / "base/deployment.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {int(port) for port in step("EXPOSE").split()} == {port["containerPort"] for port in container["ports"]}
    environment = dict(part.split("=", 1) for part in shlex.split(step("ENV")))
    assert environment["NUMBA_CACHE_DIR"] in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert f"{user}:{group}" in step("RUN", 1).replace(" -g ", ":").replace("-o ", "")
    assert environment["NUMBA_CACHE_DIR"] in step("RUN", 1)


def test_what_is_copied_is_there() -> None:
    """Every path that is copied from the repository exists, and .dockerignore lets it through."""
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {path for s in steps() if (s.name, s.stage) == ("COPY", 0) for path in s.text.split()[:-1]}
    assert copied == allowed
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert os.access(ROOT / "docker-entrypoint.sh", os.X_OK)


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_cpus_are_known(machine: str) -> None:
    """LLVM knows the CPU and the features that the kernels are compiled for; it only warns of one that it does not."""
    architecture, triple = ARCHITECTURES[machine]
    wanted = cpu(architecture)
    program = (
        "import llvmlite.binding as llvm; llvm.initialize_all_targets(); "
        f"llvm.Target.from_triple({triple!r}).create_target_machine(cpu={wanted['cpu']!r}, "
        f"features={wanted['features']!r})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""


class Tree(NamedTuple):
    """What an image and its volumes are: /opt/spillway, /var/cache/spillway and /tmp."""

    home: Path
    cache: Path
    tmp: Path

    @property
    def environ(self) -> dict[str, str]:
        """The container's environment, and numba telling what it does with its cache."""
        telling = {"NUMBA_DEBUG_CACHE": "1", "PYTHONUNBUFFERED": "1"}
        image = {"NUMBA_CACHE_DIR": str(self.cache), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
        path = f"{self.home}/bin:{os.environ['PATH']}"
        return {**telling, **image, "PATH": path, "HOME": "/nonexistent", "TMPDIR": str(self.tmp)}


@cache
def unprivileged() -> list[str] | None:
    """Return what a command begins with so that file modes count for it: the image's user, or root without its powers.

    None: there is no such way here.
    """
    if os.getuid() != 0:
        return []
    powerless = ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
    # Of another user the way to this interpreter may be closed: it is in /root.
    for user in ([f"--reuid={USER}", f"--regid={USER}", "--clear-groups"], []):
        begin = ["setpriv", *user, *powerless]
        try:
            done = subprocess.run([*begin, "sh", "-c", f"{sys.executable} -c 'import numba'"], capture_output=True)
        except FileNotFoundError:
            return None
        if done.returncode == 0:
            return begin
    return None


@pytest.fixture
def tree() -> Iterator[Tree]:
    """A folder that every user can reach, with volumes that every user can write."""
    top = Path(tempfile.mkdtemp(prefix="spillway-image-"))
    top.chmod(0o755)
    made = Tree(top / "opt/spillway", top / "cache", top / "tmp")
    for folder in (made.cache, made.tmp):
        folder.mkdir()
        folder.chmod(0o777)
    try:
        yield made
    finally:
        for root, names, _ in os.walk(top):
            for name in ("", *names):
                Path(root, name).chmod(0o755)
        shutil.rmtree(top)


def build(tree: Tree) -> str:
    """Take the steps of the Dockerfile: an environment, two packages, the kernels. Returns what the last one says."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tree.home], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tree.home), "platbase": str(tree.home)}))
    for name in ("adapter", "scaler"):
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    # In place of downloading them once more. An editable install of ours is not followed from here.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n" + sysconfig.get_path("platlib"))
    command = tree.home / "bin/spillway"
    command.write_text(f"#!{tree.home}/bin/python\nfrom adapter.__main__ import main\nmain()\n")
    shutil.copy(ROOT / "docker-entrypoint.sh", tree.home / "bin/entrypoint")
    command.chmod(0o755)
    environ = {**tree.environ, "TARGETARCH": ARCHITECTURES[platform.machine()][0]}
    script = bake().replace("/opt/spillway", str(tree.home))
    done = subprocess.run(["sh", "-c", script], env=environ, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in tree.home.rglob("*"):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & 0o555)
    tree.home.chmod(0o555)
    return done.stdout


class Contained(Adapter):
    """The adapter as its image starts it."""

    def __init__(self, tree: Tree, config: Path, begin: list[str]) -> None:
        super().__init__(tree.tmp, config)
        begins = self._command.index("serve")
        self._command = [*begin, str(tree.home / "bin/entrypoint"), *self._command[begins:]]
        self._environ = tree.environ


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_read_only_image_compiles_nothing(tree: Tree) -> None:
    """With nothing writable but the volumes, every kernel comes from the cache of the image."""
    if lacking := missing_flags():
        pytest.skip(f"this CPU has no {lacking[0]}, which the image's kernels use")
    if (begin := unprivileged()) is None:
        pytest.skip("a process of root cannot be kept from writing here: setpriv does not work")
    said = build(tree)
    kernels = re.search(r"kernels=(\d+) cached=0$", said, re.MULTILINE)
    assert kernels, said
    assert said.count("data saved to") >= int(kernels[1])  # so it would be seen
    assert subprocess.run([*begin, "touch", tree.home / "kernels/new"], capture_output=True).returncode != 0
    config = tree.tmp / "metrics.yaml"
    config.write_text(METRIC)
    with Contained(tree, config, begin) as adapter:
        assert adapter.values("trial") == {"": "3"}
        said = adapter.log()
    assert said.count("data loaded from") >= int(kernels[1])
    assert " saved to" not in said
    assert files(tree.cache) == files(tree.home / "kernels")
    assert cached(tree, begin) == f"kernels={kernels[1]} cached={kernels[1]}"


def cached(tree: Tree, begin: list[str]) -> str:
    """Return what a further compilation says of the cache that the adapter has left."""
    wanted = cpu(ARCHITECTURES[platform.machine()][0])
    environ = {**tree.environ, "NUMBA_CPU_NAME": wanted["cpu"], "NUMBA_CPU_FEATURES": wanted["features"]}
    command = [*begin, str(tree.home / "bin/python"), "-m", "adapter.warm"]
    done = subprocess.run(command, env=environ, cwd="/", capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def started(folder: Path, flags: str, volume: Path) -> tuple[Mapping[str, str], str]:
    """Run the entrypoint beside a command that shows its environment; return that, and what the entrypoint says."""
    (folder / "bin").mkdir(parents=True)
    (folder / "kernels/scaler_1").mkdir(parents=True)
    (folder / "kernels/scaler_1/kernel.nbi").write_text("baked")
    (folder / "kernels/scaler_1").chmod(0o555)
    (folder / "cpu.env").write_text(f"cpu='x86-64-v3'\nfeatures='+avx2'\nflags='{flags}'\n")
    command = folder / "bin/spillway"
    command.write_text('#!/bin/sh\nenv\necho "ARGUMENTS=$*"\n')
    command.chmod(0o755)
    shutil.copy(ROOT / "docker-entrypoint.sh", folder / "bin/entrypoint")
    environ = {"PATH": os.environ["PATH"], "NUMBA_CACHE_DIR": str(volume)}
    done = subprocess.run(
        [folder / "bin/entrypoint", "serve", "--config", "a b"], env=environ, capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines()), done.stderr


def test_the_entrypoint_copies_what_fits(tmp_path: Path) -> None:
    """The cache is copied, over what an earlier start left there, and can be written; arguments are passed on."""
    volume = tmp_path / "cache"
    (volume / "scaler_1").mkdir(parents=True)
    (volume / "scaler_1/kernel.nbi").write_text("half of it")
    environ, said = started(tmp_path / "home", "", volume)
    assert (environ["NUMBA_CPU_NAME"], environ["NUMBA_CPU_FEATURES"]) == ("x86-64-v3", "+avx2")
    assert (environ["ARGUMENTS"], said) == ("serve --config a b", "")
    assert (volume / "scaler_1/kernel.nbi").read_text() == "baked"
    assert (volume / "scaler_1").stat().st_mode & stat.S_IWUSR


def test_another_cpu_compiles_for_itself(tmp_path: Path) -> None:
    """On a machine without what the kernels use they are not touched: an illegal instruction would end the process."""
    (tmp_path / "cache").mkdir()
    environ, said = started(tmp_path / "home", "avx2-of-another-world", tmp_path / "cache")
    assert "NUMBA_CPU_NAME" not in environ
    assert "this CPU has no avx2-of-another-world" in said
    assert files(tmp_path / "cache") == {}


def test_without_a_cache_it_starts_all_the_same(tmp_path: Path) -> None:
    """A volume that was forgotten costs time, not the start."""
    environ, said = started(tmp_path / "home", "", tmp_path / "not/there")
    assert environ["NUMBA_CPU_NAME"] == "x86-64-v3"
    assert "cannot be written" in said
