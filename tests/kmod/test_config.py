"""modprobe.d: read as Debian's modprobe reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinykmod.kmod.config import Config, parse_softdep, read_config
from tinykmod.kmod.names import normalise_pattern

EVERYTHING = r"""# a comment \
blacklist hidden
options a-b.c x=1\
  y=2 	 z="a	b"
alias  foo-[a-b]*   bar-baz extra
alias lone
alias bad[ x
alias ok bad]
 # not in the first column
blacklist a-b c
blacklist
	blacklist	tabbed
softdep m-x pre: a-b c post: d junk
softdep m-y
softdep m-z foo pre:
softdep q* pre:a post: b
install  p-q   /bin/sh -c "a  b"
remove p-q  x\y\\z
options nothing
include /x
foo bar
blacklist last\
"""


def write(directory: Path, **files: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / f"{name}.conf").write_bytes(text.encode(errors="surrogateescape"))
    return directory


def modprobe_shows(path: Path) -> list[str]:
    """The statements that `modprobe -c` prints of a configuration and of the kernel command line, sorted."""
    shown = subprocess.run(["modprobe", "-C", str(path), "-c"], capture_output=True, check=False).stdout
    config, end, _ = shown.decode(errors="surrogateescape").partition("\n# End of configuration files")
    assert end
    return sorted(" ".join(line.split()) for line in config.split("\n") if line)


def as_shown(config: Config) -> list[str]:
    lines = [
        *(f"blacklist {item.module}" for item in config.blacklist),
        *(f"alias {normalise_pattern(item.pattern)} {item.module}" for item in config.aliases),
        *(f"options {item.module} {item.text}" for item in config.options),
        *(f"install {item.module} {item.command}" for item in config.installs),
        *(f"remove {item.module} {item.command}" for item in config.removes),
    ]
    return sorted(" ".join(line.split()) for line in lines)


def test_every_statement_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, all=EVERYTHING) / "all.conf"
    config = read_config(None, paths=[file])
    assert [tuple(item)[:-1] for item in config.aliases] == [("foo-[a-b]*", "bar_baz")]
    assert [tuple(item)[:-1] for item in config.options] == [("a_b.c", 'x=1  y=2   z="a b"')]
    assert [item.module for item in config.blacklist] == ["a_b", "tabbed", "last"]
    assert [tuple(item)[:-1] for item in config.softdeps] == [
        ("m_x", ("a-b", "c"), ("d", "junk")),
        ("m_z", (), ()),
        ("q*", (), ("b",)),
    ]
    assert [tuple(item)[:-1] for item in config.installs] == [("p_q", '/bin/sh -c "a  b"')]
    assert [tuple(item)[:-1] for item in config.removes] == [("p_q", "xy\\z")]
    assert [item.where.line for item in config.blacklist] == [10, 12, 22]
    assert str(config.options[0].where) == f"{file}:3"


def test_what_means_nothing_is_told_with_its_place(tmp_path: Path) -> None:
    file = write(tmp_path, all=EVERYTHING) / "all.conf"
    told = read_config(None, paths=[file]).warnings
    assert [int(line.removeprefix(f"{file}:").split(":")[0]) for line in told] == [6, 7, 8, 9, 11, 14, 19, 20, 21]
    assert not any("\n" in line for line in told)


def test_an_empty_command_still_takes_the_place_of_loading(tmp_path: Path) -> None:
    config = read_config(None, paths=[write(tmp_path, a="install off  \ninstall on \nalias a  \n")])
    assert [tuple(item)[:-1] for item in config.installs] == [("off", "")]
    assert [line.partition(": ")[2] for line in config.warnings] == [
        "install: says nothing of on",
        "alias: says nothing of a",
    ]


def test_weak_dependencies_are_read(tmp_path: Path) -> None:
    # Since kmod 33; Debian 12's modprobe calls it a bad line.
    config = read_config(None, paths=[write(tmp_path, a="weakdep w-x a-b c\n")])
    assert [tuple(item)[:-1] for item in config.weakdeps] == [("w_x", ("a-b", "c"))]


keywords = st.sampled_from(["alias", "options", "blacklist", "install", "remove", "#", " #", "\\#", "nonsense"])
words = st.sampled_from(["a-b", "c[d-e]-", "f]", "[", "x=1", '"q  r"', "\\", "\\\n", "\\\\", "é", "#"])
blanks = st.sampled_from([" ", "\t", "  ", "\\\n", ""])


@settings(max_examples=150)
@given(lines=st.lists(st.tuples(keywords, blanks, st.lists(st.tuples(words, blanks), max_size=4)), max_size=8))
def test_modprobe_reads_the_same(tmp_path_factory: pytest.TempPathFactory, lines: list) -> None:
    directory = tmp_path_factory.mktemp("modprobe.d")
    from_kernel = modprobe_shows(directory)
    # Closed with a newline: after a last backslash kmod takes the end of the file for a character, 0xff.
    text = "".join(f"{keyword}{blank}{''.join(map(''.join, rest))}\n" for keyword, blank, rest in lines)
    write(directory, a=text, b="options b last=1\n")
    shown = modprobe_shows(directory)
    for line in from_kernel:
        shown.remove(line)
    assert as_shown(read_config(None, paths=[directory])) == shown


def test_directories_mask_each_other_by_file_name(tmp_path: Path) -> None:
    write(tmp_path / "lib/modprobe.d", a="blacklist lib_a", z="blacklist lib_z", masked="blacklist lib_masked")
    write(tmp_path / "usr/lib/modprobe.d", a="blacklist usr_a", empty="blacklist usr_empty")
    write(tmp_path / "usr/local/lib/modprobe.d", m="blacklist local_m")
    write(tmp_path / "run/modprobe.d", a="blacklist run_a", m="blacklist run_m")
    etc = write(tmp_path / "etc/modprobe.d", masked="blacklist etc_masked", empty="")
    (etc / "note.txt").write_text("blacklist text")
    (etc / ".hidden.conf").write_text("blacklist hidden")
    (etc / "directory.conf").mkdir()
    config = read_config(tmp_path)
    assert [item.module for item in config.blacklist] == ["run_a", "run_m", "etc_masked", "lib_z"]
    assert config.warnings == []


def test_a_file_that_is_given_needs_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("blacklist x\n")
    assert [item.module for item in read_config(None, paths=[tmp_path / "plain"]).blacklist] == ["x"]
    assert read_config(None, paths=[tmp_path]).blacklist == []
    assert vars(read_config(None, paths=[tmp_path / "absent"])) == vars(Config())


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "gone.conf").symlink_to("nowhere")
    write(tmp_path, z="blacklist z")
    config = read_config(None, paths=[tmp_path])
    assert config.warnings == [f"{tmp_path}/gone.conf: No such file or directory"]
    assert [item.module for item in config.blacklist] == ["z"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pre: a b post: c", (["a", "b"], ["c"])),
        ("post: c", ([], ["c"])),
        ("  pre: crypto-crc32c\t", (["crypto-crc32c"], [])),
        ("stray pre: a post: b pre: c", (["a", "c"], ["b"])),
        ("pre:a", ([], [])),
        ("", ([], [])),
    ],
)
def test_softdep_words(text: str, expected: tuple[list[str], list[str]]) -> None:
    assert parse_softdep(text) == expected
