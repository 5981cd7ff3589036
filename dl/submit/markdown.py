"""Markdown and HTML to typst, through pandoc's syntax tree: nothing is fetched, nothing stays that would stop typst."""

from __future__ import annotations

import html
import json
import re
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pypandoc

from dl.submit.equations import MARKED, Equations
from dl.submit.images import PAGE_WIDTH, Pictures
from dl.submit.texts import LONGEST_WORD, Characters, breakable, quoted

READER = "gfm-tex_math_dollars-tex_math_gfm-yaml_metadata_block-gfm_auto_identifiers-autolink_bare_uris"
PATIENCE = 60  # seconds for one call of pandoc
END = "xEndOfThePartx"  # a paragraph between parts
MOST_COLUMNS = 30
DEEPEST = 100  # lists and dictionaries of the syntax tree inside each other
TEXT_COLUMNS = 90  # characters across a page
CELL_EDGE = 10  # points that the edges of a table's cell take
SCREEN_ONLY = ("video", "audio", "iframe", "canvas", "object", "embed")  # tags of what needs a screen
LEFT_OUT = "left-out-of-the-pdf"  # class of the code that stands for such a tag

_SCREEN_TAG = re.compile(rf"""<(?:{"|".join(SCREEN_ONLY)})\b(?:[^>"']|"[^"]*"|'[^']*')*>""", re.I)
_HAS_HASH = ("Emph", "Strong", "Strikeout", "Underline", "Superscript", "Subscript", "SmallCaps", "Link", "Note")


def read(texts: list[str], reader: str) -> list[list[dict]]:
    """The blocks of each text; each is read on its own, whatever it leaves open; one nested too deep stays text."""
    if not texts:
        return []
    with tempfile.TemporaryDirectory(prefix="dl-") as folder:
        names = []
        for number, text in enumerate(texts):
            (Path(folder) / f"{number}").write_text(text + "\n", encoding="utf-8")
            names += [f"{number}", "end"]
        (Path(folder) / "end").write_text(f"<p>{END}</p>" if reader == "html" else END)
        tree = _pandoc(["--file-scope", "-f", reader, "-t", "json", *names], folder=folder)
    try:
        blocks = json.loads(tree)["blocks"]
    except RecursionError:
        if len(texts) == 1:
            return [[{"t": "TooDeep", "c": texts[0]}]]
        half = len(texts) // 2
        return read(texts[:half], reader) + read(texts[half:], reader)
    parts: list[list[dict]] = [[]]
    for block in blocks:
        if block == {"t": "Para", "c": [{"t": "Str", "c": END}]}:
            parts.append([])
        else:
            parts[-1].append(block)
    return [
        part if _depth(part) <= DEEPEST else [{"t": "TooDeep", "c": text}]
        for text, part in zip(texts, parts[:-1], strict=True)
    ]


def write(parts: list[list[dict]]) -> list[str]:
    """The typst of each list of blocks."""
    blocks = []
    for part in parts:
        blocks += [*part, _raw_block(f"//{END}")]
    document = {"pandoc-api-version": [1, 23, 1], "meta": {}, "blocks": blocks}
    text = _pandoc(["-f", "json", "-t", "typst", "--wrap=none"], json.dumps(document))
    return re.split(rf"^//{END}\n?", text, flags=re.M)[:-1]


def html_in(parts: list[list[dict]]) -> tuple[list[list[dict]], list[str]]:
    """Parts in which runs of HTML blocks are numbered, and those runs: what pandoc's Markdown reader leaves unread."""
    runs: list[str] = []

    def numbered(node):
        if isinstance(node, dict):
            return {key: numbered(value) for key, value in node.items()}
        if not isinstance(node, list):
            return node
        found = []
        for child in node:
            if isinstance(child, dict) and child.get("t") == "RawBlock" and child["c"][0] == "html":
                if found and isinstance(found[-1], dict) and found[-1].get("t") == "HtmlRun":
                    runs[found[-1]["c"]] += child["c"][1]
                    continue
                runs.append(child["c"][1])
                found.append({"t": "HtmlRun", "c": len(runs) - 1})
            else:
                found.append(numbered(child))
        return found

    return numbered(parts), list(map(with_names, runs))


def with_names(source: str) -> str:
    """HTML in which code such as `<video> film.mp4` names each part that needs a screen; pandoc would drop it unsaid."""
    return _SCREEN_TAG.sub(lambda tag: f'<code class="{LEFT_OUT}">{html.escape(_Tag(tag[0]).named)}</code>', source)


class Cleaner:
    """Walks the syntax tree of one cell: equations and images put in, what would stop typst taken out."""

    def __init__(self, equations: Equations, pictures: Pictures, characters: Characters, html: list[list[dict]]) -> None:
        self.equations, self.pictures, self.characters, self.html = equations, pictures, characters, html
        self.attachments: dict = {}
        self.columns = 1  # of the table that is being cleaned
        self.notes: list[str] = []

    def clean(self, blocks: list[dict], attachments: dict) -> list[dict]:
        """Blocks that pandoc writes as typst which compiles; `notes` holds what they do not show."""
        self.attachments, self.notes = attachments, []
        return self._all(blocks)

    def _all(self, nodes: list) -> list:
        cleaned: list = []
        for node in nodes:
            made = self._node(node)
            if node_is(node, "Str") and node["c"].startswith(".") and cleaned and node_is(cleaned[-1], *_HAS_HASH):
                cleaned.append({"t": "RawInline", "c": ["typst", ";"]})  # or ".py" would be taken for a field of it
            cleaned += made if isinstance(node, dict) else [made]
        return cleaned

    def _node(self, node):
        """What stands for a node: a list for an element, the same kind of thing for anything else."""
        if isinstance(node, list):
            return self._all(node)
        if not isinstance(node, dict):
            return node
        kind, content = node.get("t"), node.get("c")
        handle = getattr(self, f"_{kind.lower()}", None) if kind else None
        if handle:
            return handle(content)
        return [{**node, "c": self._all(_without_attributes(content))} if isinstance(content, list) else node]

    def _str(self, text: str) -> list[dict]:
        made, longest = [], LONGEST_WORD if self.columns == 1 else max(3, TEXT_COLUMNS // self.columns)
        for index, piece in enumerate(MARKED.split(text)):
            if index % 2:
                made.append(self._equation(int(piece)))
            elif piece:
                made.append({"t": "Str", "c": breakable(self.characters.printable(piece), longest)})
        return made

    def _equation(self, number: int) -> dict:
        equation = self.equations.found[number]
        typst = self.equations.typst[equation]
        if typst is None:
            self.notes.append(f"an equation that cannot be typeset, its source is shown: {equation.written}")
            typst = f"#source-of({quoted(self.characters.printable(equation.written))})"
        return _raw(typst)

    def _math(self, content: list) -> list[dict]:  # only from MathML in HTML
        return [{"t": "Code", "c": [["", [], []], content[1]]}]

    def _code(self, content: list) -> list[dict]:
        text = self.characters.printable(self.equations.put_back(content[1]))
        if LEFT_OUT in content[0][1]:
            return self._left_out(text)
        return [_raw(f"#raw({quoted(breakable(text))})")]

    def _codeblock(self, content: list) -> list[dict]:
        text = breakable(self.characters.printable(self.equations.put_back(content[1]).rstrip("\n")))
        language = next((name for name in content[0][1] if re.fullmatch(r"\w+", name)), "text")
        return [_raw_block(f"#raw({quoted(text)}, block: true, lang: {quoted(language)})")]

    def _header(self, content: list) -> list[dict]:
        level, _, inlines = content
        return [{"t": "Header", "c": [min(level + 1, 6), ["", [], []], self._all(inlines)]}]

    def _link(self, content: list) -> list[dict]:
        _, inlines, (target, _) = content
        inlines, target = self._all(inlines), self.equations.put_back(target)
        if target.startswith("data:"):
            self.notes.append(f"data that a link holds: {_short(target)}")
        if not inlines or re.match(r"#|attachment:|data:|\s*$", target):  # leads nowhere in a PDF
            return inlines
        return [{"t": "Link", "c": [["", [], []], inlines, [target, ""]]}]

    def _image(self, content: list) -> list[dict]:
        (_, _, attributes), inlines, (target, _) = content
        return [self._picture(self.equations.put_back(target), _plain(inlines), dict(attributes).get("width", ""))]

    def _rawinline(self, content: list) -> list[dict]:
        tag = _Tag(content[1])
        if tag.name == "img" and tag.attributes.get("src"):
            target = self.equations.put_back(tag.attributes["src"])
            return [self._picture(target, tag.attributes.get("alt") or "", tag.attributes.get("width") or "")]
        if tag.name in SCREEN_ONLY:
            return self._left_out(self.characters.printable(self.equations.put_back(tag.named)))
        return [{"t": "LineBreak"}] if tag.name == "br" else []

    def _left_out(self, named: str) -> list[dict]:
        self.notes.append(f"a part that paper cannot show: {named}")
        return [_raw(f"#source-of({quoted(breakable(f'[{named}]'))})")]

    def _picture(self, target: str, alt: str, width: str) -> dict:
        alt = self.characters.printable(self.equations.put_back(alt))
        try:
            room = PAGE_WIDTH if self.columns == 1 else PAGE_WIDTH / self.columns - CELL_EDGE
            return _raw(self.pictures.show(self.pictures.find(target, self.attachments), alt, width, room))
        except (ValueError, OSError) as error:
            short = _short(target)
            self.notes.append(f"an image, {short}: {error}")
            return _raw(f"#source-of({quoted(self.characters.printable(f'[image: {alt or short}]'))})")

    def _htmlrun(self, number: int) -> list[dict]:
        return self._all(self.html[number])

    def _rawblock(self, content: list) -> list[dict]:
        return []

    def _toodeep(self, text: str) -> list[dict]:
        self.notes.append("a text that is nested too deeply, its source is shown")
        return self._codeblock([["", [], []], text])

    def _div(self, content: list) -> list[dict]:
        return self._all(content[1])

    def _span(self, content: list) -> list[dict]:
        return self._all(content[1])

    def _table(self, content: list) -> list[dict]:
        columns = len(content[2])
        if columns > MOST_COLUMNS:
            self.notes.append(f"a table of {columns} columns, its text is shown")
            rows = [" | ".join(_plain(cell) for cell in row) for row in _rows(content)]
            text = breakable(self.characters.printable(self.equations.put_back("\n".join(rows))))
            return [_raw_block(f"#raw({quoted(text)}, block: true)")]
        content = _without_attributes(content)
        content[2] = [[alignment, {"t": "ColWidthDefault"}] for alignment, _ in content[2]]
        outer, self.columns = self.columns, self.columns * columns
        table = {"t": "Table", "c": self._all(content)}
        self.columns = outer
        return [_raw_block(f"#table-of({columns})["), table, _raw_block("]")]


def node_is(node, *kinds: str) -> bool:
    return isinstance(node, dict) and node.get("t") in kinds


class _Tag(HTMLParser):
    """Name and attributes of the first start tag in a piece of HTML; name "" if there is none."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.name = ""
        self.attributes: dict = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if not self.name:
            self.name, self.attributes = tag, dict(attributes)

    @property
    def named(self) -> str:
        """The tag and what it would show, such as `<video> film.mp4`."""
        return f"<{self.name}> {_short(self.attributes.get('src') or self.attributes.get('data') or '')}".rstrip()


def _short(target: str) -> str:
    return target if len(target) < 80 else f"{target[:80]}…"


def _without_attributes(content):
    """Content of a node without ids, classes and styles: some would become typst code, an id used twice an error."""
    if not isinstance(content, list):
        return content
    if len(content) == 3 and isinstance(content[0], str) and all(isinstance(part, list) for part in content[1:]):
        return ["", [], []]
    return [_without_attributes(part) for part in content]


def _rows(table: list) -> list[list]:
    """Cells of all rows of a table's head, bodies and foot."""
    _, _, _, head, bodies, foot = table
    rows = [*head[1], *(row for body in bodies for group in body[2:4] for row in group), *foot[1]]
    return [row[1] for row in rows]


def _depth(node) -> int:
    """How many lists and dictionaries lie inside each other."""
    depth, layer = 0, [node]
    while layer:
        depth += 1
        inside = [child for node in layer for child in (node.values() if isinstance(node, dict) else node)]
        layer = [child for child in inside if isinstance(child, (dict, list))]
    return depth


def _plain(node) -> str:
    """The words in a part of the tree."""
    if node_is(node, "Str"):
        return node["c"]
    if node_is(node, "Space", "SoftBreak", "LineBreak"):
        return " "
    if node_is(node, "Code"):
        return node["c"][1]
    children = node.get("c") if isinstance(node, dict) else node
    return "".join(map(_plain, children)) if isinstance(children, list) else ""


def _raw(typst: str) -> dict:
    """Inline typst; a `;` ends code, or what follows could be taken for a part of it."""
    return {"t": "RawInline", "c": ["typst", f"{typst};" if typst.startswith("#") else typst]}


def _raw_block(typst: str) -> dict:
    return {"t": "RawBlock", "c": ["typst", typst]}


def _pandoc(arguments: list[str], text: str = "", folder: str | None = None) -> str:
    """Run pandoc in its sandbox: it reads the files named and its input, nothing else, and never the network."""
    command = [pypandoc.get_pandoc_path(), "--sandbox", "--quiet", *arguments]
    done = subprocess.run(command, input=text.encode(), capture_output=True, cwd=folder, timeout=PATIENCE)
    if done.returncode:
        raise RuntimeError(f"pandoc stopped: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()
