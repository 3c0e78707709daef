"""What is built for users: a wheel and a source archive that hold the package, and a wheel that runs alone."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A build changes sys.argv, so the folder is read first.
BUILD = "import sys, setuptools.build_meta as b; out = sys.argv[1]; b.build_sdist(out); b.build_wheel(out)"


def tracked():
    """The files of the repository: tracked, or new and not ignored."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the archive, built offline from a copy."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name, follow_symlinks=False)
    subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=source, capture_output=True, check=True)
    (wheel,), (archive,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, archive


def ours(names):
    """Files of the package, as they are called below claimlab/."""
    parts = ("bandits", "mdps", "theory", "experiments")
    found = {f"claimlab/{n}" for n in names if n.split("/")[0] in parts}
    found |= {n.removeprefix("src/") for n in names if n.startswith("src/claimlab/") and (ROOT / n).is_file()}
    return {n for n in found if not n.endswith((".md", ".ipynb"))}


def test_the_wheel_holds_the_package_and_nothing_else(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    inside = {n for n in names if not n.split("/")[0].endswith(".dist-info")}
    assert inside == ours(tracked())
    assert {"claimlab/py.typed", "claimlab/experiments/report.html.j2", "claimlab/experiments/catalogue.toml"} <= inside


def test_the_archive_holds_what_a_wheel_is_built_from(built):
    _, archive = built
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "CITATION.cff", "CONTRIBUTING.md"} <= names
    assert {f"src/{name}" for name in ours(tracked())} <= names


def test_metadata(built):
    wheel, _ = built
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
        metadata = BytesParser().parsebytes(archive.read(f"{folder}/METADATA"))
        scripts = archive.read(f"{folder}/entry_points.txt").decode()
        assert f"{folder}/licenses/LICENSE" in archive.namelist()
    assert (metadata["Name"], metadata["Version"]) == ("claimlab", project["version"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert "claimlab = claimlab.experiments.__main__:main" in scripts


def test_the_wheel_runs_without_the_sources(built, tmp_path):
    wheel, _ = built
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:  # a pure wheel is installed by unpacking it
        archive.extractall(target)
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONPATH": str(target)}
    look = "import claimlab.mdps, importlib.metadata as m; print(claimlab.mdps.__file__, m.version('claimlab'))"
    found = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    ).stdout.split()
    assert Path(found[0]).is_relative_to(target)
    words = [sys.executable, "-m", "claimlab.experiments", "list", "a-lol"]
    listed = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, check=True).stdout
    assert "a-lol/importance-identity" in listed
