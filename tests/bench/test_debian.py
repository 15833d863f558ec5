"""The real apt and dpkg, on an archive of our own in a directory: no network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys

import pytest

from tinykmod.bench import debian
from tinykmod.errors import TinykmodError


class Archive:
    """A flat Debian archive and the apt configuration that knows no other."""

    def __init__(self, base):
        self.base = base
        self.pool = base / "archive"
        self.pool.mkdir()
        self.packages = {}
        (base / "sources.list").write_text(f"deb [trusted=yes] copy:{self.pool} ./\n")
        for directory in ("state/lists/partial", "cache/archives/partial", "parts"):
            (base / directory).mkdir(parents=True)
        self.config = base / "apt.conf"
        self.config.write_text(f"""
Dir::Etc::sourcelist "{base}/sources.list";
Dir::Etc::sourceparts "{base}/parts";
Dir::State::lists "{base}/state/lists";
Dir::Cache "{base}/cache";
""")

    def add(self, name, version, depends="", files=(), essential=False):
        """Put package NAME there, with FILES (path -> text), in place of what had that name."""
        tree = self.base / "tree"
        for path, text in dict(files).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x <x@example.org>\n"
        control += f"Depends: {depends}\n" if depends else ""
        control += "Essential: yes\n" if essential else ""
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(f"{control}Description: x\n")
        deb = self.pool / f"{name}_{version}_amd64.deb"
        subprocess.run(["dpkg-deb", "-Znone", "--root-owner-group", "-b", tree, deb], check=True, capture_output=True)
        shutil.rmtree(tree)
        data = deb.read_bytes()
        self.packages[name] = (deb, f"{control}Filename: ./{deb.name}\nSize: {len(data)}\n"
                                    f"SHA256: {hashlib.sha256(data).hexdigest()}\nDescription: x\n")  # fmt: skip
        (self.pool / "Packages").write_text("\n".join(text for _, text in self.packages.values()))

    def add_kernel(self, release, version, lib="lib"):
        """A kernel as Debian packages them, and the meta-package that names it."""
        files = {f"boot/vmlinuz-{release}": "kernel", f"{lib}/modules/{release}/modules.builtin": ""}
        self.add(f"linux-image-{release}", version, files=files)
        self.add("linux-image-amd64", version, depends=f"linux-image-{release} (= {version})")

    def remove(self, name):
        """NAME vanishes from the archive."""
        self.packages.pop(name)[0].unlink()
        (self.pool / "Packages").write_text("\n".join(text for _, text in self.packages.values()))

    def update(self):
        """The system administrator's apt-get update."""
        subprocess.run(["apt-get", "-qq", "update"], check=True, capture_output=True)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    made = Archive(tmp_path)
    monkeypatch.setenv("APT_CONFIG", str(made.config))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return made


def test_kernel_is_found_through_its_meta_package(archive, capfd):
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    archive.update()
    kernel = debian.fetch_kernel()
    assert kernel.release == "6.1.0-9-amd64"
    assert kernel.vmlinuz.read_text() == "kernel"
    assert (kernel.root / "lib/modules/6.1.0-9-amd64/modules.builtin").exists()
    assert kernel.root.is_relative_to(debian.cache_dir())
    assert capfd.readouterr() == ("", "")


def test_modules_below_usr_are_found_as_lib_modules(archive):
    archive.add_kernel("6.12.0-1-amd64", "6.12.3-1", lib="usr/lib")
    archive.update()
    kernel = debian.fetch_kernel()
    assert (kernel.root / "lib/modules/6.12.0-1-amd64/modules.builtin").exists()


def test_empty_package_lists_are_made_up_for(archive):
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    assert debian.fetch_kernel().release == "6.1.0-9-amd64"


def test_stale_package_lists_are_made_up_for(archive):
    archive.add_kernel("6.1.0-8-amd64", "6.1.80-1")
    archive.update()
    archive.remove("linux-image-6.1.0-8-amd64")
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    assert debian.fetch_kernel().release == "6.1.0-9-amd64"


def test_new_kernel_takes_the_place_of_the_cached_one(archive):
    for release, version in (("6.1.0-9-amd64", "6.1.90-1"), ("6.1.0-10-amd64", "6.1.99-1")):
        archive.add_kernel(release, version)
        archive.update()
        assert debian.fetch_kernel().release == release


def test_without_the_archive_the_cached_kernel_serves_with_a_notice(archive, capfd):
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    first = debian.fetch_kernel()
    shutil.rmtree(archive.pool)
    shutil.rmtree(debian.cache_dir() / "apt")
    assert debian.fetch_kernel() == first
    notice = capfd.readouterr().err
    assert notice.count("\n") == 1
    assert "linux-image-6.1.0-9-amd64_6.1.90-1 from the cache" in notice


def test_without_archive_and_cache_one_line_says_what_is_missing(archive):
    shutil.rmtree(archive.pool)
    with pytest.raises(TinykmodError) as caught:
        debian.fetch_kernel()
    assert caught.value.which == "linux-image-amd64"
    assert "\n" not in str(caught.value)


def test_package_that_is_no_meta_package_is_refused(archive):
    archive.add("linux-image-amd64", "1", depends="libc6")
    archive.update()
    with pytest.raises(TinykmodError, match=r"no kernel's meta-package.*libc6"):
        debian.fetch_kernel()


def test_broken_download_leaves_nothing_that_looks_whole(archive):
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    archive.update()
    deb = archive.packages["linux-image-6.1.0-9-amd64"][0]
    deb.write_bytes(deb.read_bytes()[:-1] + b"?")
    with pytest.raises(TinykmodError, match=r"linux-image-6\.1\.0-9-amd64: apt-get: .*[Hh]ash"):
        debian.fetch_kernel()
    assert not list(debian.cache_dir().rglob("*.deb"))
    assert not list(debian.cache_dir().glob("kernels/*/*"))


@pytest.fixture
def system(archive):
    """An archive of an essential package, one that nothing needs, and an init with what it needs."""
    archive.add("shell", "1", files={"bin/sh": "shell", "usr/share/doc/shell/README": "read"}, essential=True)
    archive.add("init", "1:1", depends="libinit", files={"sbin/init": "init"})
    archive.add("libinit", "1", files={"lib/x/libinit.so": "first", "usr/lib/x/more.so": ""})
    archive.add("spare", "1", files={"usr/bin/spare": ""})
    archive.update()
    return archive


def test_root_has_the_essential_packages_those_named_and_what_they_need(system, capfd):
    root = debian.fetch_root(["init"])
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert found == {"usr/bin/sh", "usr/sbin/init", "usr/lib/x/libinit.so", "usr/lib/x/more.so"}
    assert (root / "lib").readlink().name == "lib"
    assert (root / "sbin/init").read_text() == "init"
    assert root.is_relative_to(debian.cache_dir())
    assert debian.fetch_root(["init"]) == root
    assert capfd.readouterr() == ("", "")


def test_root_of_newer_packages_takes_the_place_of_the_cached_one(system):
    first = debian.fetch_root(["init"])
    system.add("libinit", "2", files={"lib/x/libinit.so": "second"})
    system.update()
    assert (debian.fetch_root(["init"]) / "lib/x/libinit.so").read_text() == "second"
    assert not first.exists()


def test_without_the_archive_the_cached_root_serves_with_a_notice(system, capfd):
    first = debian.fetch_root(["init"])
    shutil.rmtree(system.pool)
    for lists in (system.base / "state/lists", debian.cache_dir() / "apt"):
        shutil.rmtree(lists, ignore_errors=True)
    assert debian.fetch_root(["init"]) == first
    notice = capfd.readouterr().err
    assert notice.count("\n") == 1
    assert f"going on with {first} from the cache" in notice


def test_a_package_that_cannot_be_unpacked_leaves_no_root(system):
    deb = system.packages["libinit"][0]
    system.add("libinit", "3", files={"lib/x/libinit.so": "third"})
    whole = deb.with_name("libinit_3_amd64.deb").read_bytes()
    subprocess.run(["ar", "d", deb.with_name("libinit_3_amd64.deb"), "data.tar"], check=True)
    broken = deb.with_name("libinit_3_amd64.deb").read_bytes()
    assert len(broken) < len(whole)
    text = system.packages["libinit"][1].replace(
        hashlib.sha256(whole).hexdigest(), hashlib.sha256(broken).hexdigest()
    )
    system.packages["libinit"] = (deb, text.replace(f"Size: {len(whole)}", f"Size: {len(broken)}"))
    (system.pool / "Packages").write_text("\n".join(text for _, text in system.packages.values()))
    system.update()
    with pytest.raises(TinykmodError, match=r"libinit_3_amd64\.deb"):
        debian.fetch_root(["init"])
    assert not list(debian.cache_dir().glob("roots/*/[!.]*"))


def test_without_apt_one_line_says_so(archive, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TinykmodError, match="apt-cache: not installed"):
        debian.fetch_busybox()


def test_several_processes_at_once_fetch_it_once(archive):
    archive.add_kernel("6.1.0-9-amd64", "6.1.90-1")
    archive.update()
    code = "from tinykmod.bench.debian import fetch_kernel; print(fetch_kernel().root)"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        for _ in range(4)
    ]
    assert len({process.communicate()[0] for process in running}) == 1
    assert [process.returncode for process in running] == [0, 0, 0, 0]


def test_relative_cache_directory_is_ignored(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert debian.cache_dir() == tmp_path / ".cache/tinykmod"
