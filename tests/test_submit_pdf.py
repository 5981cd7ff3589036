"""The PDF of the notebooks: traps that stopped or spoilt one, nothing from the network, nothing silently left out."""

import http.server
import io
import json
import random
import re
import threading
import time
from pathlib import Path

import nbformat
import pytest
import submit_tree as tree
from PIL import Image
from submit_tree import base64_of, code, document, markdown, picture, shown

from dl.notebook_files import find_sources, read_source
from dl.submit import pdf
from dl.submit.cells import read_notebook
from dl.submit.equations import Equations, simplified
from dl.submit.examine import Finding, Result
from dl.submit.texts import Characters, as_on_a_terminal, breakable, cut, quoted

ROOT = Path(__file__).resolve().parent.parent
NOBODY = pdf.Cover({"name": "", "id": ""}, {}, {}, [], [])


def notebook(cells: list[dict], name: str = "Traps"):
    return read_notebook(name, json.dumps(document(cells)).encode())


@pytest.fixture
def typeset(tmp_path, monkeypatch):
    """Makes the PDF of some cells; returns it, its notes, and the typst that it was made of."""
    compiled = []
    compile_pages = pdf._Document.compile

    def watched(self, pieces):
        compiled.append("\n\n".join(pieces))
        return compile_pages(self, pieces)

    def make(*cells: dict, cover: pdf.Cover = NOBODY):
        monkeypatch.setattr(pdf._Document, "compile", watched)
        content, notes = pdf.make([notebook(list(cells))], cover, tmp_path)
        assert content.startswith(b"%PDF-")
        return content, notes, compiled[-1]

    return make


def test_a_notebook_with_every_trap_becomes_a_pdf_that_names_what_it_does_not_show(typeset, tmp_path):
    tree.write(tmp_path / "notebooks/figures/local picture.png", picture(600, 100))
    started = time.time()
    content, notes, typst = typeset(*tree.TRAPS)
    assert time.time() - started < 20 and len(content) < 1_000_000
    text = 'Traps, section "{}", {}'.format
    no_font = "characters that no font here has, their names are shown in brackets"
    equations, pictures, scripts = text("Equations", "text cell 5"), "Pictures", "Scripts"
    assert sorted(notes) == sorted(
        [
            rf"{equations}: an equation that cannot be typeset, its source is shown: $\undefined{{x}}$",
            rf"{equations}: an equation that cannot be typeset, its source is shown: $\frac{{a}}{{b$",
            f"{text(pictures, 'text cell 8')}: an image, attachment:gone.png: it is not attached to its cell",
            f"{text(pictures, 'text cell 9')}: an image, https://example.org/remote.png: it is on the network, "
            "which is not used here",
            f"{text(pictures, 'text cell 9')}: an image, http://example.org/b.png: it is on the network, "
            "which is not used here",
            f"{text(pictures, 'text cell 9')}: an image, missing.png: there is no such file",
            f"{text(pictures, 'text cell 9')}: an image, ../../../../etc/secret.png: it lies outside the project",
            f"{text(pictures, 'text cell 11')}: an image, data:image/png;base64,AAAA: it is broken, or of a kind that "
            "cannot be read",
            f"{text(pictures, 'text cell 11')}: an image, x: there is no such file",
            f"{text('HTML', 'text cell 13')}: a part that paper cannot show: <iframe> http://example.org",
            f"{text(scripts, 'text cell 15')}: {no_font}",
            f"{text(scripts, 'code cell 1')}: {no_font}",
            f"{text(scripts, 'text cell 19')}: a text that is nested too deeply, its source is shown",
            f"{text(scripts, 'code cell 5')}: an output without a printable form, text/html, its text is shown",
            f"{text(scripts, 'code cell 6')}: {no_font}",
            f"{text(scripts, 'code cell 8')}: an image: its data are broken",
            f"{text(scripts, 'code cell 8')}: an image: it is no drawing that can be read",
            f"{text(scripts, 'code cell 9')}: a table of 40 columns, its text is shown",
        ]
    )
    assert "xEquation" not in typst and "alert(1)" not in typst
    for tex in ("\\\\begin", "\\\\label", "\\\\argmax", "\\\\tag", "\\\\nonumber"):
        assert tex not in typst, tex
    assert typst.count("#box(image(") == 11  # seven in texts and four in outputs can be shown
    assert "100%|###|" in typst and "10%|#" not in typst  # a progress bar as it stood at its end
    assert "FloatSlider(value=0.5)" in typst and "draw()" not in typst  # the HTML shows nothing without its script
    assert typst.count("width: 156.7pt") == 3  # side by side in a table
    assert "… (99940 more lines)" in typst and "… (2800 more characters)" in typst


def test_nothing_is_fetched_from_the_network(typeset):
    asked = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)

    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        html = (
            f"<iframe src='{at}/f'></iframe><img src='{at}/h'><object data='{at}/o'></object>words"
            f"<link rel='stylesheet' href='{at}/c'><video src='{at}/v' poster='{at}/p'></video>"
        )
        svg = (
            f"<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' width='9' "
            f"height='9'><image xlink:href='{at}/s' width='9' height='9'/></svg>"
        )
        typeset(
            markdown(f"![a]({at}/a) [l]({at}/l)\n\n{html}\n\n![svg](data:image/svg+xml;base64,{base64_of(svg.encode())})"),
            code("x", shown(html=html), shown(svg=svg), count=1),
        )
        server.shutdown()
    assert asked == []


def test_no_file_of_the_machine_gets_in(typeset, tmp_path):
    secret = tmp_path.parent / "secret.svg"
    secret.write_text("<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>")
    _, notes, typst = typeset(
        markdown(f"![a](../../secret.svg) ![b]({secret}) ![c](file://{secret})\n\n<iframe src='{secret}'></iframe>"),
        markdown('a `#read("/etc/hostname")`{=typst} #read("/etc/hostname")\n\n<p typst:text:fill="read()">p</p>'),
    )
    assert len(notes) == 4 and "image(" not in typst  # the frame too is only named
    assert "\\#read" in typst


def test_the_same_notebooks_give_the_same_pdf(tmp_path):
    made = [pdf.make([notebook(tree.cells_of("A"))], NOBODY, tmp_path)[0] for _ in range(2)]
    assert made[0] == made[1]


def test_the_cover_has_names_findings_and_scores_as_they_are(typeset):
    cover = pdf.Cover(
        {"name": 'Zoë *"#$_\\@<a>', "id": "]["},
        {"torch": "2.6"},
        {"Traps": Result({"top1": 0.91}, ["a"], "sample", "cpu")},
        [Finding("Traps", "stopped by $an$ #error", "Part [1]", "code cell 3")],
        ["dino_res.mp4"],
    )
    _, notes, typst = typeset(markdown("# Title"), cover=cover)
    for text in (
        'Zoë *"#$_\\@<a>',
        "][",
        "torch 2.6",
        "top1",
        "0.91",
        "stopped by $an$ #error",
        "Part [1]",
        "code cell 3",
        "dino_res.mp4",
        "Traps · checks passed: 1 · data: sample · device: cpu",
    ):
        assert quoted(text) in typst
    assert notes == [] and "#outline(" in typst


def test_a_cell_that_cannot_be_typeset_is_shown_as_source_and_named(typeset, monkeypatch):
    write = pdf.markdown.write
    monkeypatch.setattr(
        pdf.markdown, "write", lambda parts: ["#undefined-name" if "TRAP" in text else text for text in write(parts)]
    )
    _, notes, typst = typeset(*[markdown(f"# Part {n}") for n in range(20)], markdown("the TRAP"), markdown("after"))
    assert notes == ['Traps, section "Part 19", text cell 21: cannot be typeset, its source is shown']
    assert '#complaint("the TRAP")' in typst and "after" in typst


def test_a_notebook_that_cannot_be_read_or_is_empty_has_its_page(typeset, tmp_path):
    assert '"has no cells"' in typeset()[2]
    notebooks = [read_notebook("A", b"{"), notebook([], "B"), notebook([markdown("")], "C")]
    content, notes = pdf.make(notebooks, NOBODY, tmp_path)
    assert content.startswith(b"%PDF-") and notes == []


def test_failing_pieces_are_found_by_halves(tmp_path, monkeypatch):
    document_ = pdf._Document(tmp_path, tmp_path)
    tries = []
    compile_pages = document_.compile
    monkeypatch.setattr(document_, "compile", lambda pieces: tries.append(len(pieces)) or compile_pages(pieces))
    pieces = ["good"] * 40
    pieces[7] = pieces[31] = "#("
    assert document_.failing(pieces) == [7, 31]
    assert len(tries) < 25
    assert document_.failing([]) == []


def test_pictures_fit_the_page_and_large_ones_become_small(typeset):
    noise = Image.frombytes("RGB", (2000, 1500), random.Random(0).randbytes(2000 * 1500 * 3))
    stream = io.BytesIO()
    noise.save(stream, "PNG")
    content, notes, typst = typeset(
        code("a", shown(png=base64_of(stream.getvalue())), shown(png=base64_of(picture(100, 5000))), count=1),
        markdown(f"<img src='data:image/png;base64,{base64_of(picture(400, 10))}' width='100'>"),
    )
    assert len(stream.getvalue()) > 8_000_000 and len(content) < 2_500_000 and notes == []
    assert re.findall(r"width: [\d.]+pt, alt", typst) == [f"width: {w}pt, alt" for w in ("500.0", "12.8", "75.0")]


def test_the_alt_text_of_a_figure_reaches_the_pdf(typeset):
    figure = shown(png=base64_of(picture(60, 40)))
    figure["metadata"] = {"image/png": {"alt": "a red curve falls"}, "image/jpeg": {"alt": "no"}}
    nothing = shown(png=base64_of(picture(60, 40))) | {"metadata": None}
    content, notes, typst = typeset(code("a", figure, nothing, count=1))
    assert notes == [] and re.findall(r"alt: (\".*?\")\)", typst) == ['"a red curve falls"', '""']
    assert b"/Alt (a red curve falls)" in content


def stored(picture: Image.Image, kind: str = "PNG", **options) -> dict:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return markdown(f"![a](data:image/x;base64,{base64_of(stream.getvalue())})")


@pytest.mark.parametrize("quality", [5, 90], ids=["as it is", "made smaller"])
def test_a_photo_on_its_side_is_turned_and_whole(typeset, quality):
    photo = Image.frombytes("RGB", (1600, 800), random.Random(0).randbytes(1600 * 800 * 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # what is stored wide was taken upright
    _, notes, typst = typeset(stored(photo, "JPEG", exif=exif, quality=quality))
    assert notes == [] and "width: 320.0pt, alt" in typst  # half as wide as the page is high


def test_phone_pictures_that_cannot_be_read_are_named(typeset):
    _, notes, _ = typeset(markdown(f"![a](data:image/heic;base64,{base64_of(b'0000ftypheic' + bytes(90))})"))
    assert len(notes) == 1 and "it is HEIC or AVIF, as phones write it: save it as JPEG or PNG" in notes[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "F"])
def test_pictures_of_every_mode_keep_their_light(tmp_path, mode):
    from dl.submit.images import _smaller

    kind = "TIFF" if mode in ("CMYK", "F") else "PNG"
    light = {"I;16": 65535, "F": 1.0, "CMYK": (0, 0, 0, 0), "LA": (255, 255), "RGBA": (0, 0, 0, 0)}.get(
        mode, 1 if mode == "1" else 255
    )
    picture = Image.new(mode, (4, 4), light)
    if mode == "P":
        picture.putpalette([255] * 768)
    stream = io.BytesIO()
    picture.save(stream, kind)
    shown = Image.open(io.BytesIO(_smaller(Image.open(stream)))).convert("RGB")
    assert shown.getextrema() == ((255, 255),) * 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "BMP", "TIFF"])
def test_pictures_of_other_kinds_are_shown(typeset, kind):
    _, notes, typst = typeset(markdown(f"![a](data:image/x;base64,{base64_of(picture(kind=kind))})"))
    assert notes == [] and "#box(image(" in typst


@pytest.mark.parametrize(
    "data, named",
    [
        ({"application/vnd.plotly.v1+json": {"data": []}}, "application/vnd.plotly.v1+json"),
        ({"text/html": "<div><script>" + "x" * 70_000 + "</script></div>"}, "form, text/html"),
        ({"text/html": "<video controls src='x.mp4'></video>", "text/plain": "<Video object>"}, "<video>"),
        ({"text/html": "<p>a map</p><iframe src='x'></iframe>"}, "<iframe>"),
        (
            {"text/html": "<table>" + "<tr><td>1</td></tr>" * 9000 + "</table>", "text/plain": "1\n1"},
            "text/html, its text is shown",
        ),
        ({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider(value=7)"}, "widget-view"),
        ({"audio/wav": "UklG"}, "audio/wav"),
    ],
    ids=["plotly", "script", "video", "iframe", "long table", "widget", "audio"],
)
def test_outputs_without_a_printable_form_are_named(typeset, data, named):
    _, notes, _ = typeset(code("fig", {"output_type": "display_data", "metadata": {}, "data": data}, count=1))
    assert any("code cell 1" in note and named in note for note in notes)


@pytest.mark.parametrize(
    "text, named",
    [
        ("before <video src='a.mp4' controls></video> after", "a part that paper cannot show: <video> a.mp4"),
        ("before\n\n<video controls>\n<source src='a.mp4'>\n</video>\n\nafter", "a part that paper cannot show: <video>"),
        ("before\n\n<iframe src='data:text/html,<p>x'></iframe> after", "<iframe> data:text/html,<p>x"),
        (
            "before\n<div>\n<audio src='data:audio/wav;base64,AAAA'></audio> after\n</div>",
            "<audio> data:audio/wav;base64,AAAA",
        ),
        ("| before |\n|---|\n| x <video src='a.mp4'></video> after |", "<video> a.mp4"),
        ("before <video src='a.mp4' after", None),
        ("before `<video>` after <!-- <audio> -->", None),
        (
            "before ![film](data:video/mp4;base64,AAAA) after",
            "data:video/mp4;base64,AAAA: it is video, which paper cannot show",
        ),
        ("before ![film](film.mp4) after", "film.mp4: it is video, which paper cannot show"),
        ("before [film](data:video/mp4;base64,AAAA) after", "data that a link holds: data:video/mp4;base64,AAAA"),
    ],
)
def test_video_sound_and_frames_in_an_answer_are_named_and_the_words_beside_them_stay(typeset, text, named):
    _, notes, typst = typeset(markdown(text))
    assert "before" in typst and "after" in typst
    assert [note for note in notes if named is not None and named in note] == notes and len(notes) == (named is not None)
    place = typst.partition("before")[2].partition("after")[0]
    assert named is None or "link" in named or "#source-of(" in place or "image:" in place


def test_a_progress_bar_is_no_loss(typeset):
    data = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "Epochs:  50%|##   | 1/2 [00:01<00:01]"}
    assert typeset(code("train()", {"output_type": "display_data", "metadata": {}, "data": data}, count=1))[1] == []


@pytest.mark.parametrize("name", ["Zoë Ångström", "Иван Петров", "Γιώργος", "José", "محمد", "דוד", "Nguyễn Văn Ánh"])
def test_names_in_these_scripts_are_on_the_cover(typeset, name):
    _, notes, typst = typeset(markdown("hi"), cover=pdf.Cover({"name": name, "id": "1"}, {}, {}, [], []))
    assert notes == [] and name in typst


@pytest.mark.parametrize("name", ["张三", "たろう", "김철수", "राम", "สมชาย"])
def test_a_name_whose_letters_no_font_has_is_said(typeset, monkeypatch, name):
    monkeypatch.setattr(Characters, "_of_this_machine", set())
    _, notes, _ = typeset(markdown("hi"), cover=pdf.Cover({"name": name, "id": "1"}, {}, {}, [], []))
    assert len(notes) == 1 and notes[0].startswith("the name on this cover, which submission.json has in full: characters")


# --- Equations ---


@pytest.mark.parametrize(
    "tex, expected",
    [
        (r"\argmax_x f \argmin", r"\operatorname*{argmax}_x f \operatorname*{argmin}"),
        (r"\argmaximum", r"\argmaximum"),
        (r"\|z\|_2", r"\lVert z \rVert _2"),
        (r"a \| b", r"a \| b"),
        (r"\left\|z\right\|", r"\left\|z\right\|"),
        (r"x = 1 \label{eq:a} \tag*{7} \nonumber\\", r"x = 1   \\"),
        ("a\n\n b", "a\n b"),
        (r"\begin{equation*}x\end{equation*}", "x"),
        (r"\begin{align}a &= b & c &= d\\e &= f\end{align}", r"\begin{align}a &= b \qquad & c &= d\\e &= f\end{align}"),
        (
            r"\begin{align}a &= \begin{matrix}1 & 2 & 3\end{matrix}\end{align}",
            r"\begin{align}a &= \begin{matrix}1 & 2 & 3\end{matrix}\end{align}",
        ),
    ],
)
def test_tex_is_put_into_commands_that_pandoc_converts(tex, expected):
    assert simplified(tex) == expected


@pytest.mark.parametrize(
    "text, found",
    [
        ("$a$ and $ b $", ["a", "b"]),
        ("$$a\n=b$$", ["a\n=b"]),
        ("costs $5 and $6", []),
        (r"\$a\$ and $b$", ["b"]),
        ("`$a$` $b$ ``x ` $c$``", ["b"]),
        ("```\n$a$\n```\n$b$", ["b"]),
        ("~~~\n$a$", []),
        ("- x\n  ```\n  $a$\n  ```", []),
        ("\\begin{align}x\\end{align}", ["\\begin{align}x\\end{align}"]),
        ("\\begin{figure}x\\end{figure}", []),
        ("\\\\(a\\\\) \\\\[b\\\\]", ["a", "b"]),
        ("$a\n\nb$", []),
        ("$$ $$", []),
        ("tick ` $a$", ["a"]),
    ],
)
def test_equations_are_found_outside_code(text, found):
    equations = Equations()
    marked = equations.take_out(text)
    assert [equation.tex for equation in equations.found] == found
    assert equations.put_back(marked) == text


# --- Texts ---


def test_outputs_look_as_on_a_terminal():
    assert as_on_a_terminal("\x1b[1;31mred\x1b[0m \x1b]8;;http://a\x07link\x1b]8;;\x07\n") == "red link"
    assert as_on_a_terminal("10%\r50%\r100%\nab\b\bc\r\n\b") == "100%\nc"


def test_long_outputs_are_cut_and_long_words_can_be_broken():
    assert cut("\n".join("abcdef"), 4).splitlines() == ["a", "b", "c", "d", "… (2 more lines)"]
    assert cut("x" * 2001) == "x" * 2000 + " … (1 more characters)"
    assert breakable("x" * 90).split("\u200b") == ["x" * 40, "x" * 40, "x" * 10]
    assert breakable("short words stay " * 9) == "short words stay " * 9


def test_characters_without_a_font_are_named(monkeypatch):
    monkeypatch.setattr(Characters, "_of_this_machine", set())
    characters = Characters()
    assert characters.printable("naïve → ½ Ж\x00") == "naïve → ½ Ж" and not characters.replaced
    assert characters.printable("a 🚀👩‍🔬 中文字") == "a [rocket][woman]\u200d[microscope] [3 CJK letters]"
    assert characters.replaced
    monkeypatch.setattr(Characters, "_of_this_machine", set(map(ord, "中文字")))
    assert Characters().printable("中文字") == "中文字"


# --- Our notebooks ---


@pytest.mark.parametrize("source", find_sources([]), ids=lambda path: path.name)
def test_our_notebooks_are_shown_completely(source):
    name = source.name.removesuffix(".nb.py")
    built = source.with_name(f"{name}.ipynb")
    content = built.read_bytes() if built.is_file() else nbformat.writes(read_source(source)).encode()
    made, notes = pdf.make([read_notebook(name, content)], NOBODY, ROOT)
    assert notes == [] and len(made) < 5_000_000
