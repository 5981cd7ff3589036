"""What the captioning notebook measures: gradients over distance, the probe, false words, losses."""

import math

import pytest
import torch
from torch import nn

from a2_helper import caption_loss, train_captioner
from dl.figures import captioning as draw
from dl.models import captioning as measure
from dl.world.scenes import Scene, SceneObject
from rnn_lstm_captioning import LSTM, CaptioningRNN

WORDS = {word: index for index, word in enumerate(("<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "star"))}


class Leaky(nn.Module):
    """h_t = keep * h_(t-1) + x_t: the gradient over k steps is keep**k."""

    def __init__(self, keep):
        super().__init__()
        self.keep = nn.Parameter(torch.tensor(keep))

    def forward(self, x, h):
        states = []
        for step in x.unbind(1):
            h = self.keep * h + step
            states.append(h)
        return torch.stack(states, 1)


def test_gradient_along_the_cell_state_alone_is_the_product_of_the_forget_gates():
    class Cell(torch.nn.Module):
        def step_forward(self, x, h, c):
            c = 0.5 * c + x + h  # h counts as given
            return c, c

    norms = measure.gradient_by_distance(Cell(), 4, 4, steps=6, along_cell=True)
    assert norms == pytest.approx([0.5**k for k in range(6)])


def test_gradient_by_distance_of_a_leaky_sum_is_a_power():
    norms = measure.gradient_by_distance(Leaky(0.5), 4, 4, steps=6)
    assert norms == pytest.approx([0.5**k for k in range(6)], rel=1e-4)


def test_an_open_forget_gate_keeps_the_gradient_that_a_half_open_one_loses():
    torch.manual_seed(0)
    closed, opened = LSTM(6, 16), LSTM(6, 16)
    with torch.no_grad():
        opened.b[16:32] = 3
    far = {name: measure.gradient_by_distance(layer, 6, 16, 21)[-1] for name, layer in (("c", closed), ("o", opened))}
    assert far["o"] > 100 * far["c"]


def test_marked_numbers_have_one_mark_in_the_first_half():
    x, positive = measure.marked_numbers(200, 10, torch.Generator().manual_seed(0))
    numbers, marks = x.unbind(2)
    assert set(numbers.unique().tolist()) == {-1, 1} and set(marks.unique().tolist()) == {0, 1}
    assert (marks.sum(1) == 1).all() and marks[:, 5:].sum() == 0 and (marks.sum(0)[:5] > 20).all()
    assert torch.equal((numbers * marks).sum(1) > 0, positive) and 0.3 < positive.float().mean() < 0.7


def test_gates_are_those_of_the_step():
    torch.manual_seed(0)
    layer, x = LSTM(2, 3), torch.randn(1, 6, 2)
    kept = measure.gates(layer, x, 3)
    first = (x[:, 0] @ layer.Wx + layer.b).chunk(4, dim=1)
    torch.testing.assert_close(kept["input gate"][0], first[0][0].sigmoid())
    torch.testing.assert_close(kept["forget gate"][0], first[1][0].sigmoid())
    h = c = torch.zeros(1, 3)
    for step in range(6):
        h, c = layer.step_forward(x[:, step], h, c)
    torch.testing.assert_close(kept["cell state"][-1], c[0])


def test_an_open_forget_gate_learns_what_was_marked_and_the_clearest_unit_is_found():
    torch.manual_seed(0)
    layer = LSTM(2, 4)
    with torch.no_grad():
        layer.b[4:8] = 3
    x, _ = measure.marked_numbers(1, 12, torch.Generator().manual_seed(0))
    right, kept = measure.learn_to_remember(layer, 4, x, after=(0, 120))
    assert right > 0.95 and list(kept) == [0, 120]
    clear = {name: torch.full((12, 4), 0.5) for name in kept[0]}
    clear["input gate"][:, 2], clear["forget gate"][:, 2] = x[0, :, 1], 1
    assert measure.clearest_unit(x, clear) == (1, 3)


def test_the_probe_finds_a_position_code_and_nothing_in_noise():
    noise = torch.randn(120, 20, 3, 3, generator=torch.Generator().manual_seed(0))
    blind = measure.probe_positions(noise[:80], noise[80:])
    coded = noise + measure.grid_code(20, 3, 3, scale=2.0)
    seen = measure.probe_positions(coded[:80], coded[80:])
    assert blind.shape == (3, 3) and blind.mean() < 0.25 and seen.mean() > 0.95


def test_the_code_of_a_grid_is_a_sum_of_a_row_and_a_column_and_the_same_every_time():
    code = measure.grid_code(5, 3, 4)
    assert code.shape == (5, 3, 4) and torch.equal(code, measure.grid_code(5, 3, 4))
    difference = code[:, 1] - code[:, 0]
    assert torch.allclose(difference, difference[:, :1].expand(5, 4), atol=1e-6)


def thing(category, colour, x, size="small", texture="plain"):
    return SceneObject(category, colour, texture, size, x, 0.5, 0.3, 0.0, False)


SCENE = Scene((thing("star", "red", 0.2, "large"), thing("fish", "blue", 0.8, texture="striped")), "sea", 0)


@pytest.mark.parametrize(
    ("sentence", "false"),
    [
        ("a large red star left of a small blue striped fish", ""),
        ("a blue star and a red fish", "blue red"),
        ("a red cup and a blue fish", "cup"),
        ("a green cup and a blue fish", "green cup"),
        ("a small red star right of a blue dotted fish", "small right of dotted"),
        ("a red star and a blue fish in the snow", "in the snow"),
        ("a red star is above a blue fish on the sea", "above"),
        ("<UNK> a a", ""),
    ],
)
def test_false_words_are_marked_and_no_others(sentence, false):
    marks = measure.wrong_words(sentence, SCENE)
    assert " ".join(word for word, wrong in zip(sentence.split(), marks, strict=True) if wrong) == false


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(7, 400, 2, 2, generator=generator), torch.tensor([[1, 4, 5, 6, 2, 0]] * 7)


def test_caption_loss_is_the_mean_over_all_captions_and_puts_the_mode_back(data):
    features, captions = data
    torch.manual_seed(0)
    model = CaptioningRNN(WORDS, 400, 8, 8, "lstm", image_encoder_pretrained=False, ignore_index=0).train()
    whole = caption_loss(model, features, captions)
    assert model.training and caption_loss(model, features, captions, batch_size=3) == pytest.approx(whole, rel=1e-5)
    with torch.no_grad():
        assert whole == pytest.approx(model(features, captions).item(), rel=1e-5)
    losses = []
    train_captioner(
        model,
        features,
        captions,
        3,
        4,
        0.01,
        plot=False,
        after_epoch=lambda m: losses.append(caption_loss(m, features, captions)),
    )
    assert len(losses) == 3 and losses[2] < losses[1] < losses[0] < whole


def test_figures_of_the_notebook_say_what_they_show():
    losses = {"RNN": [3.0, 2.0, 1.5, 1.2]}
    floor = math.log(5)
    panels = draw.loss_panels(losses, losses, {"RNN": [3.1, 2.2]}, floor)
    shown = draw.show_generated(
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8), ["a red star"], ["<START> a cup <END>"], [[0, 0, 1]], "RNN:"
    )
    red = [text.get_text() for text in shown.axes[0].texts if text.get_color() == draw.WRONG]
    assert red == ["star"] and "a red star" in shown.alt_text and "<END>" not in shown.alt_text
    assert "2.2" in panels.alt_text and len(panels.axes) == 4
    assert "0.25" in draw.position_map(torch.full((2, 2), 0.5)).alt_text
