"""One HTML page of what was measured: no network, no script, light and dark; the answer before the details."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tinykmod.bench.measured import Measured
from tinykmod.bench.page import bench, boot, report
from tinykmod.bench.page.markup import Html, esc, tag
from tinykmod.bench.pictures import timeline
from tinykmod.bench.pictures.look import DARK_STYLE, Picture, need_matplotlib
from tinykmod.files import replace_all, replacing

#: What a browser is told: nothing may be fetched, and no script runs, whatever a name or a console's line holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write(directory: Path, out: Path, earlier: Sequence[Path] = (), pictures: Path | None = None) -> None:
    """The page of a bench's DIRECTORY to OUT, and each of its pictures as an SVG file into PICTURES.

    EARLIER are directories of benches before it: it is compared with the latest of these, and with them all there is
    a trend. Raises TinykmodError for a directory that is none of a bench, and where matplotlib is missing;
    OSError. What was at OUT is lost only when the page is complete.
    """
    need_matplotlib()
    now, *others = report.read_all([directory, *earlier])
    before = sorted(others, key=lambda bench: bench.begun)
    _write(out, bench.title(now), bench.body(now, before))
    if pictures is not None:
        _keep(pictures, bench.pictures(now, before))


def write_boot(measured: Measured, out: Path, pictures: Path | None = None) -> None:
    """The page of one boot to OUT, and its timeline into PICTURES. Raises as write() does."""
    need_matplotlib()
    _write(out, boot.title(measured), boot.body(measured))
    if pictures is not None and timeline.drawable(measured):
        _keep(pictures, [("timeline", timeline.draw(measured))])


def _keep(directory: Path, drawn: Iterable[tuple[str, Picture]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    for told, picture in drawn:
        name = re.sub(r"[^\w.+]+", "-", told).strip("-")
        while f"{name}.svg" in files:
            name += "-"
        files[f"{name}.svg"] = picture.svg().encode(errors="replace")
    replace_all(directory, files)


def _write(out: Path, title: str, body: Html) -> None:
    style = Html(Path(__file__).with_name("style.css").read_text() + DARK_STYLE)
    page = Html(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{esc(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"{tag('title', title)}{tag('style', style)}</head>\n<body>{tag('main', body)}</body></html>\n"
    )
    with replacing(out) as file:
        file.write(page.encode(errors="replace"))
