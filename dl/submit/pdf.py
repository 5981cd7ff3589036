"""The PDF: a cover, then every notebook with code, text and outputs. pandoc reads the texts, typst sets the pages."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typst

from dl.console import BAR
from dl.submit import markdown
from dl.submit.cells import Cell, Notebook, as_dict, joined
from dl.submit.equations import Equations
from dl.submit.examine import Finding, Result
from dl.submit.images import Pictures, decoded
from dl.submit.texts import Characters, as_on_a_terminal, breakable, cut, quoted, text_fonts

TITLE = "Assignment 2: recurrent networks, Transformers, contrastive learning, CLIP and DINO"
MOST_CODE_LINES = 1000  # of one cell
MOST_HTML = 60_000  # characters of one output but for images inside; what is longer is shown as its text
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml")

_IMAGE_DATA = re.compile(r"data:image/[^\"']+")

STYLE = f"""
#set document(title: {quoted(TITLE)}, date: none)
#set page(paper: "a4", margin: (x: 1.5cm, y: 2cm), numbering: "1 / 1")
#set text(font: ("Libertinus Serif", "DejaVu Sans"), size: 10.5pt)
#set par(justify: false)
#set heading(numbering: none)
#set table(stroke: 0.4pt + luma(150), inset: 4pt)
#show heading: set block(above: 1.4em, below: 0.8em)
#show heading.where(level: 1): it => {{ pagebreak(weak: true); it }}
#show figure: set block(breakable: true)
#show math.equation.where(block: true): it => layout(page => {{
  let share = page.width / measure(it).width
  if share < 1 {{ scale(it, share * 100%, reflow: true) }} else {{ it }}
}})
#show link: set text(fill: rgb("#0b5394"))
#show raw: set text(font: ("DejaVu Sans Mono", "DejaVu Sans"))
#show raw.where(block: true): set text(size: 6.5pt)  // 127 columns fit
#show raw.where(block: false): set text(size: 8.5pt)
#let horizontalrule = line(length: 100%, stroke: 0.5pt + luma(160))
#let boxed(body, fill: none, edge: luma(170)) = block(
  width: 100%, breakable: true, fill: fill, stroke: (left: 1.5pt + edge), inset: (left: 6pt, rest: 4pt), body)
#let code(count, source) = boxed(fill: luma(246), edge: rgb("#0072B2"))[
  #place(top + left, dx: -9pt, place(top + right, text(size: 7pt, fill: luma(110), count)))
  #raw(source, block: true, lang: "python")]
#let printed(output) = boxed(raw(output, block: true, lang: "text"))
#let complaint(output) = boxed(fill: rgb("#fdf0ed"), edge: rgb("#D55E00"), raw(output, block: true, lang: "text"))
#let source-of(source) = highlight(fill: rgb("#fff3cd"), raw(source))
#let table-of(columns, body) = {{ set text(size: if columns <= 8 {{ 9pt }} else {{ 72pt / columns }}); body }}
"""


@dataclass
class Cover:
    """What the first page says. identity: name and id. missing: files that are handed in without."""

    identity: dict[str, str]
    versions: dict[str, str]
    results: dict[str, Result]
    findings: list[Finding]
    missing: list[str]


@dataclass
class Part:
    """A piece of the document: `typst`, or a text that becomes it. `source` is shown where it cannot be typeset."""

    where: str
    source: str
    typst: str = ""
    reader: str = ""  # "" if `typst` is there already
    attachments: dict = field(default_factory=dict)


def make(notebooks: list[Notebook], cover: Cover, project: Path) -> tuple[bytes, list[str]]:
    """The PDF, and in words what it does not show as the notebooks do."""
    with tempfile.TemporaryDirectory(prefix="dl-") as folder:
        return _Document(Path(folder), project).make(notebooks, cover)


class _Document:
    def __init__(self, folder: Path, project: Path) -> None:
        fonts = typst.Fonts(font_paths=[str(text_fonts())])
        self.compiler = typst.Compiler(root=str(folder), font_paths=fonts)
        self.pictures = Pictures(folder, project.resolve(), lambda piece: not self.failing([piece]))
        self.characters, self.equations = Characters(), Equations()
        self.notes: list[str] = []

    def make(self, notebooks: list[Notebook], cover: Cover) -> tuple[bytes, list[str]]:
        parts: list[Part] = []
        for notebook in notebooks:
            parts += self.notebook_parts(notebook)
        self.set_texts(parts)
        for index in self.failing([part.typst for part in parts]):
            self.notes.append(f"{parts[index].where}: cannot be typeset, its source is shown")
            parts[index].typst = f"#complaint({self.text(parts[index].source)})"
        for key in ("name", "id"):
            self.text(cover.identity[key], f"the {key} on this cover, which submission.json has in full")
        notes = list(dict.fromkeys(self.notes))
        pages = [self.cover(cover, notes), *(part.typst for part in parts)]
        return self.compile(pages), notes

    def compile(self, pieces: list[str]) -> bytes:
        pdf = self.compiler.compile(input="\n\n".join([STYLE, *pieces]).encode(), format="pdf")
        assert isinstance(pdf, bytes)  # one document
        return pdf

    def failing(self, pieces: list[str]) -> list[int]:
        """Numbers of the pieces that do not compile: all together first, then halves of what fails."""
        try:
            if pieces:
                self.compile(pieces)
            return []
        except typst.TypstError:
            if len(pieces) == 1:
                return [0]
        half = len(pieces) // 2
        return self.failing(pieces[:half]) + [half + index for index in self.failing(pieces[half:])]

    # --- From notebooks to parts ---

    def notebook_parts(self, notebook: Notebook) -> list[Part]:
        title = Part(notebook.name, notebook.name, f"#heading(level: 1, {quoted(notebook.name + '.ipynb')})")
        if notebook.problem or not notebook.cells:
            problem = notebook.problem or "has no cells"
            return [title, Part(notebook.name, problem, f"This notebook #{self.text(problem)};.")]
        parts = [title]
        for cell in notebook.cells:
            where = f'{notebook.name}, section "{cell.section}", {cell.label}'
            if cell.kind == "markdown":
                parts.append(Part(where, cell.source, reader=markdown.READER, attachments=cell.attachments))
            elif cell.source.strip():
                parts += self.code_parts(cell, where)
        return parts

    def code_parts(self, cell: Cell, where: str) -> list[Part]:
        count = f"[{cell.count}]" if cell.count else "[ ]"
        source = self.text(cut(cell.source.expandtabs(4).strip("\n"), MOST_CODE_LINES), where)
        parts = [Part(where, cell.source, f"#code({quoted(count)}, {source})")]
        printed = ""
        for output in cell.outputs:
            kind, name = output.get("output_type"), output.get("name")
            if kind == "stream" and name != "stderr":
                printed += joined(output.get("text"))
                continue
            if printed:
                parts.append(self.output_text("printed", printed, where))
                printed = ""
            if kind == "stream":
                parts.append(self.output_text("complaint", joined(output.get("text")), where))
            elif kind == "error":
                lines = output.get("traceback")
                trace = (
                    "\n".join(map(joined, lines if isinstance(lines, list) else []))
                    or f"{output.get('ename')}: {joined(output.get('evalue'))}"
                )
                parts.append(self.output_text("complaint", trace, where))
            elif isinstance(output.get("data"), dict):
                parts.append(self.shown(output, where))
        if printed:
            parts.append(self.output_text("printed", printed, where))
        return parts

    def shown(self, output: dict, where: str) -> Part:
        """The richest form of a result that can be printed; an image keeps the alt text that its metadata has."""
        data, metadata = output["data"], as_dict(output.get("metadata"))
        plain = joined(data.get("text/plain"))
        for kind in PICTURES:
            if kind not in data:
                continue
            try:
                content = joined(data[kind]).encode() if kind.endswith("xml") else decoded(data[kind])
                return Part(where, plain, self.pictures.show(content, joined(as_dict(metadata.get(kind)).get("alt"))))
            except ValueError as error:
                self.notes.append(f"{where}: an image: {error}")
                return self.output_text("complaint", f"[image] {plain}", where)
        html = markdown.with_names(joined(data.get("text/html")))
        if html and len(_IMAGE_DATA.sub("", html)) <= MOST_HTML and _shows_something(html):
            return Part(where, html, reader="html")
        for kind in ("text/markdown", "text/latex"):
            if kind in data:
                return Part(where, joined(data[kind]), reader=markdown.READER)
        return self.unshown([kind for kind in data if kind != "text/plain"], plain, where)

    def unshown(self, kinds: list[str], plain: str, where: str) -> Part:
        """An output of which paper can show at most the text: named at its place and in the notes."""
        if not kinds or BAR.search(plain):  # a progress bar says the same as text
            return self.output_text("printed", plain, where)
        named = f"an output without a printable form, {', '.join(kinds)}"
        self.notes.append(f"{where}: {named}{', its text is shown' if plain else ''}")
        return self.output_text("complaint", f"[{named}]\n{plain}", where)

    def output_text(self, style: str, text: str, where: str) -> Part:
        text = as_on_a_terminal(text)
        return Part(where, text, f"#{style}({self.text(cut(text), where)})")

    def text(self, text: str, where: str = "") -> str:
        """A string literal of typst that can be printed; says so where characters were replaced."""
        self.characters.replaced = False
        literal = quoted(breakable(self.characters.printable(text)))
        if self.characters.replaced and where:
            self.note_characters(where)
        return literal

    def note_characters(self, where: str) -> None:
        self.notes.append(f"{where}: characters that no font here has, their names are shown in brackets")

    # --- From texts to typst ---

    def set_texts(self, parts: list[Part]) -> None:
        """Fill in the typst of the parts that are Markdown or HTML: four calls of pandoc for all of them."""
        in_markdown = [part for part in parts if part.reader == markdown.READER]
        in_html = [part for part in parts if part.reader == "html"]
        marked = [self.equations.take_out(part.source) for part in in_markdown]
        blocks, html = markdown.html_in(markdown.read(marked, markdown.READER))
        html_blocks = markdown.read([*html, *(part.source for part in in_html)], "html")
        self.equations.convert(markdown.write, self.characters.printable, self.failing)

        cleaner = markdown.Cleaner(self.equations, self.pictures, self.characters, html_blocks[: len(html)])
        texts = [*zip(in_markdown, blocks, strict=True), *zip(in_html, html_blocks[len(html) :], strict=True)]
        cleaned = []
        for part, its_blocks in texts:
            self.characters.replaced = False
            cleaned.append(cleaner.clean(its_blocks, part.attachments))
            self.notes += [f"{part.where}: {note}" for note in cleaner.notes]
            if self.characters.replaced:
                self.note_characters(part.where)
        for (part, _), typeset in zip(texts, markdown.write(cleaned), strict=True):
            part.typst = typeset

    # --- The cover ---

    def cover(self, cover: Cover, notes: list[str]) -> str:
        name, number = (self.text(cover.identity[key] or "(not given)") for key in ("name", "id"))
        versions = " · ".join(f"{package} {version}" for package, version in cover.versions.items())
        found = [(finding.notebook, finding.section, finding.cell, finding.what) for finding in cover.findings]
        return "\n\n".join(
            [
                f"#text(size: 18pt, weight: 700, {quoted(TITLE)})",
                f"#table(columns: 2, stroke: none, [Name], strong({name}), [Id], strong({number}))",
                f"#text(size: 8pt, {self.text(versions)})",
                _title("Findings"),
                self.table(("notebook", "section", "cell", "finding"), found) if found else "None.",
                *self.bullets("Missing files", cover.missing),
                *self.bullets("Not shown here as in the notebook", notes),
                *self.scores(cover.results),
                "#pagebreak(weak: true)",
                "#outline(depth: 3, indent: 1em)",
            ]
        )

    def bullets(self, title: str, lines: list[str]) -> list[str]:
        items = ", ".join(f"text(size: 9pt, {self.text(line)})" for line in lines)
        return [_title(title), f"#list(tight: true, {items})"] if lines else []

    def scores(self, results: dict[str, Result]) -> list[str]:
        shown = [_title("Scores")] if results else []
        for name, result in results.items():
            head = f"{name} · checks passed: {len(result.checks)} · data: {result.data} · device: {result.device}"
            cells = [self.text(text) for key, value in result.scores.items() for text in (key, f"{value:.4g}")]
            columns = "(1fr, auto, 1fr, auto)" if len(cells) > 2 else "2"
            table = f"#text(size: 8pt, table(columns: {columns}, inset: 3pt, {', '.join(cells)}))"
            shown += [f"#block(sticky: true, strong({self.text(head)}))", table if cells else ""]
        return shown

    def table(self, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
        cells = [f"strong({quoted(head)})" for head in heads] + [self.text(cell) for row in rows for cell in row]
        return f"#text(size: 8.5pt, table(columns: (auto, 1fr, auto, 2fr), {', '.join(cells)}))"


def _title(text: str) -> str:
    return f"#heading(level: 2, outlined: false, {quoted(text)})"


def _shows_something(html: str) -> bool:
    """Whether a page without scripts would show anything of it."""
    words = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]+>", "", html)
    return bool(words.strip()) or bool(re.search(r"<(img|svg)\b", html, re.I))
