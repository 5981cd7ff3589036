"""The markers around solutions: what they say, what is an error, and the text that students get."""

import ast

import pytest

from dl.student import markers
from dl.student.markers import MarkerError

LESSON = '''
def double(x):
    """Twice x."""
    # EXERCISE double, about 1 line. Hint: what is
    # x + x?
    # BEGIN SOLUTION double
    return twice(x)  # by its own helper
    # END SOLUTION double


# BEGIN SOLUTION-ONLY
def twice(x):
    return 2 * x


# END SOLUTION-ONLY


class Loop:
    def train(self, steps):
        for step in range(steps):
            # EXERCISE Loop.train, 2 lines. Hint: bind "loss".
            # BEGIN SOLUTION Loop.train
            loss = step
            if loss:
                loss -= 1
            # END SOLUTION Loop.train
            print(loss)
'''


def test_solutions_by_name_without_indentation():
    found = markers.solutions(LESSON)
    assert list(found) == ["double", "Loop.train"]
    assert found["Loop.train"] == "loss = step\nif loss:\n    loss -= 1"
    assert markers.blocks(LESSON)[0].hint == "about 1 line. Hint: what is x + x?"


def test_replaced_bodies_keep_the_markers():
    text = markers.replace(LESSON, {"double": "return 7", "Loop.train": "loss = 3"})
    assert markers.solutions(text) == {"double": "return 7", "Loop.train": "loss = 3"}
    assert markers.replace(text, markers.solutions(LESSON)) == LESSON


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n", "the solution of a never ends"),
        ("# EXERCISE a\nx = 1\n# END SOLUTION a\n", "line 3: END without its BEGIN"),
        ("# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n# END SOLUTION b\n", "line 4: END without its BEGIN"),
        ("# BEGIN SOLUTION-ONLY\nx = 1\n", "never ends"),
        (
            "# EXERCISE a\n# EXERCISE b\n# BEGIN SOLUTION a\n# BEGIN SOLUTION b\nx = 1\n# END SOLUTION b\n# END SOLUTION a\n",
            "line 4: a solution begins inside that of a",
        ),
        (
            "# EXERCISE a\n# BEGIN SOLUTION a\n# BEGIN SOLUTION-ONLY\nx = 1\n# END SOLUTION-ONLY\n# END SOLUTION a\n",
            "line 3: a solution begins inside that of a",
        ),
        (
            "# EXERCISE a\n# BEGIN SOLUTION a\n# EXERCISE b\nx = 1\n# END SOLUTION a\n",
            "line 3: EXERCISE b stands inside the solution of a",
        ),
        (
            "# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n# END SOLUTION a\n# BEGIN SOLUTION a\nx = 1\n# END SOLUTION a\n",
            "line 5: SOLUTION a stands there twice",
        ),
        ("# EXERCISE a\n# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n# END SOLUTION a\n", "line 2: EXERCISE a stands there twice"),
        ("# BEGIN SOLUTION a\nx = 1\n# END SOLUTION a\n", "line 1: SOLUTION a has no # EXERCISE a before it"),
        ("# EXERCISE a\nx = 1\n", "EXERCISE a without a solution"),
        ("# EXERCISE a\n# BEGIN SOLUTION a\n\n# END SOLUTION a\n", "line 4: there is nothing in the solution of a"),
        (
            "# EXERCISE a\n    # BEGIN SOLUTION a\nx = 1\n    # END SOLUTION a\n",
            "line 4: the solution of a is not indented as",
        ),
        ("# EXERCISE a\n# BEGIN SOLUTION a\nx = 1\n    # END SOLUTION a\n", "line 4: the solution of a is not indented as"),
        *(
            (f"# EXERCISE a\n{line}\nx = 1\n# END SOLUTION a\n", "line 2: a marker that cannot be read")
            for line in (
                "#BEGIN SOLUTION a",
                "# BEGIN SOLUTION: a",
                "# BEGIN SOLUTION a b",
                "\t# BEGIN SOLUTION a",
                "# BEGIN-SOLUTION a",
                "# BEGIN SOLUTIONS a",
                "x = 1  # BEGIN SOLUTION a",
                "# EXERCISE",
                "#EXERCISE b",
                "# EXERCISE: b",
            )
        ),
        ("# EXERCISE a\n# BEGIN SOLUTION\nx = 1\n# END SOLUTION\n", "line 2: SOLUTION takes the name of its exercise"),
        ("# EXERCISE a\n# BEGIN SOLUTION-ONLY a\nx = 1\n# END SOLUTION-ONLY a\n", "line 2: SOLUTION takes the name"),
    ],
)
def test_markers_that_do_not_fit_are_errors(text, words):
    with pytest.raises(MarkerError, match=words):
        markers.blocks(text)


def test_the_error_names_the_file():
    with pytest.raises(MarkerError, match="lesson.py line 2: "):
        markers.blocks("\n# END SOLUTION a\n", "lesson.py")


def test_the_hand_out_has_stubs_and_no_solution():
    text = markers.hand_out(LESSON, "lesson.py")
    for gone in ("twice", "loss -= 1", "SOLUTION", "by its own helper"):
        assert gone not in text
    assert "\n\n\n\n" not in text
    words = [node.exc.args[0].value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Raise)]
    assert words == [
        "EXERCISE double: to be written in lesson.py, about 1 line.\nHint: what is x + x?\n"
        'Check: session.exercise("double") in the notebook, or python -m dl check double',
        'EXERCISE Loop.train: to be written in lesson.py, 2 lines.\nHint: bind "loss".\n'
        'Check: session.exercise("Loop.train") in the notebook, or python -m dl check Loop.train',
    ]


def test_a_stub_raises_where_the_solution_stood():
    space = {}
    exec(markers.hand_out(LESSON, "lesson.py"), space)
    with pytest.raises(NotImplementedError, match="^EXERCISE double: "):
        space["double"](1)
    with pytest.raises(NotImplementedError, match="^EXERCISE Loop.train: "):
        space["Loop"]().train(1)
    assert space["Loop"]().train(0) is None


def test_long_words_are_wrapped_and_kept():
    hint = "which of these " + "many words " * 40 + "has 'one' and \"two\" and a \\?"
    text = markers.hand_out(LESSON.replace("what is\n    # x + x?", hint), "lesson.py")
    assert max(map(len, text.splitlines())) <= max(markers.WIDTH, len(f"    # EXERCISE double, about 1 line. Hint: {hint}"))
    words = next(node.exc.args[0].value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Raise))
    assert f"Hint: {hint}\n" in words


def test_filled_places_keep_their_lines_and_can_be_filled_again():
    text = markers.fill(markers.hand_out(LESSON, "lesson.py"), markers.solutions(LESSON))
    text = markers.fill(text, {"double": "return x * 2\n"})
    space = {}
    exec(text, space)
    assert space["double"](4) == 8
    assert text.count("# YOUR CODE double\n    return x * 2\n    # END OF YOUR CODE double\n") == 1
    assert "raise NotImplementedError" not in text
    with pytest.raises(KeyError, match="triple"):
        markers.fill(text, {"triple": "return 0"})


def test_code_of_solutions_only():
    assert "\ndef twice(x):\n    return 2 * x\n" in markers.hand_out(LESSON, helpers=True)
