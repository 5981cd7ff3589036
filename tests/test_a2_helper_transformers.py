"""Checks of the Transformers part of a2_helper.py and of dl/data/arithmetic.py, the generator of its data."""

import json
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

import a2_helper
from dl.data import arithmetic
from dl.utils import reset_seed
from transformers import (
    CrossEntropyLoss,
    LabelSmoothingLoss,
    Transformer,
    get_subsequent_mask,
    position_encoding_simple,
    position_encoding_sinusoid,
)

FILE = Path(a2_helper.__file__).parent / "datasets" / "two_digit_op.json"


@pytest.fixture(scope="module")
def data():
    return a2_helper.get_toy_data(FILE)


# --- dl.data.arithmetic and the file ---


def test_the_tracked_file_is_what_the_generator_writes(tmp_path):
    assert arithmetic.write(tmp_path / "copy.json").read_bytes() == FILE.read_bytes()


def test_file_format(data):
    assert list(data) == ["inp_expression", "out_expression"]
    assert FILE.read_text() == json.dumps(data)  # one line, default separators, no final newline
    assert [len(column) for column in data.values()] == [5000, 5000]
    assert {len(line) for line in data["inp_expression"]} == {35, 40}
    assert {len(line) for line in data["out_expression"]} == {19}
    assert data["inp_expression"][:2] == ["BOS NEGATIVE 30 subtract NEGATIVE 34 EOS", "BOS NEGATIVE 34 add NEGATIVE 15 EOS"]
    assert data["out_expression"][:6] == [
        "BOS POSITIVE 04 EOS",
        "BOS NEGATIVE 49 EOS",
        "BOS NEGATIVE 64 EOS",
        "BOS NEGATIVE 17 EOS",
        "BOS POSITIVE 25 EOS",
        "BOS POSITIVE 38 EOS",
    ]


def test_file_is_right_and_zero_is_positive(data):
    for line, result in zip(*data.values(), strict=True):
        a, op, b = arithmetic.parse(line)
        value = int(result.split()[2]) * (1 if "POSITIVE" in result else -1)
        assert value == (a + b if op == "add" else a - b)
        assert "NEGATIVE 00" not in line + result


def test_draws_are_even_and_with_replacement(data):
    rows = [arithmetic.parse(line) for line in data["inp_expression"]]
    first, second = (Counter(row[place] for row in rows) for place in (0, 2))
    for counts in (first, second):
        assert set(counts) == set(range(-49, 50))
        chi_square = sum((counts[value] - 5000 / 99) ** 2 / (5000 / 99) for value in range(-49, 50))
        assert 60 < chi_square < 145  # 98 degrees of freedom, both ends at about 0.2 %
    assert 2400 < Counter(row[1] for row in rows)["add"] < 2600
    assert 4360 < len(set(rows)) < 4470  # 4413 expected when nothing is removed
    assert Counter(Counter(rows).values())[2] > 450


def test_all_expressions_have_one_spelling_each():
    expressions = arithmetic.all_expressions()
    lines = [arithmetic.input_text(expression) for expression in expressions]
    assert len(set(lines)) == len(expressions) == 19_602
    assert [arithmetic.parse(line) for line in lines] == expressions
    result = re.compile(r"BOS (POSITIVE|NEGATIVE) \d\d EOS")
    assert all(result.fullmatch(arithmetic.output_text(expression)) for expression in expressions)


def test_unseen_and_unrelated_expressions():
    seen = [(3, "subtract", -4), (5, "add", 5)]
    unseen, unrelated = arithmetic.unseen(seen), arithmetic.unrelated(seen)
    assert len(unseen) == 19_600 and not set(seen) & set(unseen)
    assert set(arithmetic.all_expressions()) - set(unrelated) == {
        (3, "subtract", -4),
        (3, "add", 4),
        (4, "add", 3),
        (4, "subtract", -3),
        (5, "add", 5),
        (5, "subtract", -5),
    }


@pytest.mark.parametrize(
    "line",
    ["BOS POSITIVE 002 add POSITIVE 15 EOS", "BOS POSITIVE 2 add POSITIVE 15 EOS", "POSITIVE 02 add POSITIVE 15",
             "BOS POSITIVE 02 times POSITIVE 15 EOS", "BOS  POSITIVE 02 add POSITIVE 15 EOS", ""],
)  # fmt: skip
def test_lines_that_are_no_expressions_are_told(line):
    with pytest.raises(ValueError, match="parse: .* is not an expression; wanted .* Write 7 as 07"):
        arithmetic.parse(line)


# --- Reading and splitting ---


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"inp_expression": ["BOS', "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
        ('["inp_expression"]', "holds list; wanted two lists"),
        ('{"inp_expression": []}', "wanted two lists"),
        ('{"inp_expression": ["a"], "out_expression": []}', "wanted two lists of equal length"),
        ('{"inp_expression": ["BOS POSITIVE 002 add POSITIVE 15 EOS"], "out_expression": ["BOS POSITIVE 17 EOS"]}',
         "1 rows of .* are wrong or not spelt .*row 0: 'BOS POSITIVE 002"),
        ('{"inp_expression": ["BOS POSITIVE 02 add POSITIVE 15 EOS"], "out_expression": ["BOS POSITIVE 18 EOS"]}',
         "row 0: .* = 'BOS POSITIVE 18 EOS'"),
        ('{"inp_expression": [7], "out_expression": ["BOS POSITIVE 18 EOS"]}', "row 0: 7"),
    ],
)  # fmt: skip
def test_foreign_files_are_told(tmp_path, content, message):
    path = tmp_path / "two_digit_op.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"get_toy_data: .*{message}.*Run 'python -m dl.data.arithmetic'"):
        a2_helper.get_toy_data(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_saved_by_an_editor_is_read(tmp_path, encoding):
    rows = {"inp_expression": ["BOS POSITIVE 02 add POSITIVE 15 EOS"], "out_expression": ["BOS POSITIVE 17 EOS"]}
    (tmp_path / "a.json").write_bytes(json.dumps(rows).encode(encoding))
    assert a2_helper.get_toy_data(str(tmp_path / "a.json")) == rows


def test_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="get_toy_data: .*nowhere.json not found.*dl.data.arithmetic"):
        a2_helper.get_toy_data(tmp_path / "nowhere.json")


def test_split_takes_the_published_rows(data):
    train_in, valid_in, train_out, valid_out = a2_helper.split_rows(data)
    assert valid_in[:5] == [data["inp_expression"][row] for row in (398, 3833, 4836, 4572, 636)]
    assert train_out[:5] == [data["out_expression"][row] for row in (3871, 4299, 4719, 3195, 1922)]
    assert [len(part) for part in (train_in, valid_in, train_out, valid_out)] == [4500, 500, 4500, 500]


# --- Training ---


def rows(count: int = 10):
    expressions = arithmetic.all_expressions()[:: 19_602 // count][:count]
    return a2_helper.expression_dataset(expressions, 8, position_encoding_simple)


def tiny_model(dropout: float = 0.1, seed: int = 0) -> Transformer:
    reset_seed(seed)
    return Transformer(2, 8, 16, dropout, 1, 2, 16)


def loaders(dataset=None, batch: int = 4, shuffle: bool = False):
    dataset = dataset or rows()
    generator = torch.Generator().manual_seed(5)
    return DataLoader(dataset, batch, shuffle=shuffle, generator=generator), DataLoader(dataset, batch)


def test_training_stops_at_nan_and_says_where(tmp_path):
    checkpoint = str(tmp_path / "c.pt")
    with pytest.raises(ValueError, match="train: the loss is nan at step [12], in epoch 1"):
        a2_helper.train(tiny_model(), *loaders(), CrossEntropyLoss, 3, lr=1e30, warmup_interval=None, checkpoint=checkpoint)
    assert not Path(checkpoint).exists()


def test_the_checkpoint_of_another_model_is_refused_in_words(tmp_path):
    checkpoint = str(tmp_path / "c.pt")
    a2_helper.train(tiny_model(), *loaders(), CrossEntropyLoss, 1, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="c.pt holds the model of another architecture"):
        a2_helper.train(Transformer(2, 8, 16, 0.0, 1, 1, 16), *loaders(), CrossEntropyLoss, 2, checkpoint=checkpoint)


def test_validation_averages_over_every_token_of_every_batch():
    model, dataset = tiny_model(), rows(10)
    unequal = a2_helper.val(model, DataLoader(dataset, 4), CrossEntropyLoss, 4)  # 4 + 4 + 2 rows
    whole = a2_helper.val(model, DataLoader(dataset, 10), CrossEntropyLoss, 10)
    assert unequal == pytest.approx(whole)
    batch = next(iter(DataLoader(dataset, 10)))
    with torch.no_grad():
        logits, truth = model.eval()(*batch), batch[2][:, 1:].flatten()
    assert whole[0] == pytest.approx(nn.functional.cross_entropy(logits, truth).item())
    assert whole[1] == pytest.approx((logits.argmax(-1) == truth).double().mean().item())
    assert 0 < whole[1] < 1


def test_validation_changes_nothing_and_drops_nothing():
    model, loader = tiny_model(dropout=0.5), loaders()[1]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert a2_helper.val(model, loader, CrossEntropyLoss) == a2_helper.val(model, loader, CrossEntropyLoss)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_returns_the_model_and_a_history_a_token():
    model, history = tiny_model(dropout=0.0), []
    calls = dict(history=history, print_every=0)
    returned = a2_helper.train(model, *loaders(), CrossEntropyLoss, 3, 4, lr=0.0, warmup_interval=None, **calls)
    assert returned is model
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    for entry in history:  # nothing is learnt at rate 0, so training and validation see the same model and rows
        assert entry["train_loss"] == pytest.approx(entry["val_loss"], rel=1e-5)
    assert 1.0 < history[0]["val_loss"] < 5.0


def test_dropout_acts_while_training_and_not_in_validation():
    history = []
    a2_helper.train(
        tiny_model(dropout=0.5),
        *loaders(),
        CrossEntropyLoss,
        2,
        4,
        lr=0.0,
        warmup_interval=None,
        history=history,
        print_every=0,
    )
    first, second = history
    assert first["train_loss"] != second["train_loss"] and first["val_loss"] == second["val_loss"]


def test_rate_steps_at_the_update_whose_index_is_the_warm_up(capsys):
    seen = []

    class Spy(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(self.param_groups[0]["lr"])
            return super().step(closure)

    for interval, wanted in ((4, [1e-3] * 4 + [1e-2] * 2), (0, [1e-2] * 6), (None, [1e-2] * 6)):
        seen.clear()
        model = tiny_model()
        a2_helper.train(
            model,
            *loaders(),
            CrossEntropyLoss,
            2,
            4,
            warmup_lr=1e-3,
            warmup_interval=interval,
            lr=1e-2,
            optimizer=Spy(model.parameters()),
        )
        assert seen == wanted
        printed = capsys.readouterr().out
        assert (f"learning rate 0.001 for the first {interval} updates, then 0.01" in printed) == (interval is not None)
        assert printed.count("epoch") == 2


def test_cosine_schedule():
    rate = a2_helper.cosine_schedule(1.0, warmup=4, total=104)
    assert [rate(update) for update in (0, 1, 3, 4)] == pytest.approx([0.25, 0.5, 1.0, 1.0])
    assert rate(54) == pytest.approx(0.5) and rate(104) == pytest.approx(0.0)


def test_training_shuffles_with_the_loaders_generator_and_repeats_itself():
    def curve(shuffle):
        history = []
        a2_helper.train(tiny_model(), *loaders(shuffle=shuffle), CrossEntropyLoss, 2, 4, history=history, print_every=0)
        return [entry["train_loss"] for entry in history]

    assert curve(True) == curve(True) != curve(False)


def test_a_stopped_training_goes_on_as_if_it_had_not(tmp_path):
    def run(epochs, **extra):
        history, model = [], tiny_model(dropout=0.3)
        a2_helper.train(
            model,
            *loaders(shuffle=True),
            CrossEntropyLoss,
            epochs,
            4,
            warmup_interval=4,
            history=history,
            print_every=0,
            **extra,
        )
        return model.state_dict(), [(entry["epoch"], entry["train_loss"], entry["val_loss"]) for entry in history]

    class Stop(Exception):
        pass

    def stop(model, entry):
        if entry["epoch"] == 3:
            raise Stop  # in the middle: the checkpoint is that of epoch 2

    checkpoint = tmp_path / "build" / "checkpoint.pt"
    with pytest.raises(Stop):
        run(5, checkpoint=checkpoint, on_epoch=stop)
    reset_seed(99)
    resumed, resumed_history = run(5, checkpoint=checkpoint)
    whole, whole_history = run(5)
    assert resumed_history == whole_history and len(whole_history) == 5
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert run(5, checkpoint=checkpoint)[1] == whole_history  # nothing left to do


def test_a_training_shows_a_bar_unless_it_prints_nothing(tmp_path, capsys):
    a2_helper.train(tiny_model(), *loaders(), CrossEntropyLoss, 1, print_every=0)
    assert capsys.readouterr() == ("", "")
    for epochs, first in ((2, "Epochs:   0%"), (3, "Epochs:  67%")):  # the second goes on where the first ended
        a2_helper.train(tiny_model(), *loaders(), CrossEntropyLoss, epochs, checkpoint=tmp_path / "c.pt")
        assert first in capsys.readouterr().err


def test_device_is_passed_on_to_validation(monkeypatch, device):
    devices = []
    monkeypatch.setattr(a2_helper, "val", lambda *arguments: devices.append(arguments[-1]) or (0.0, 0.0))
    a2_helper.train(tiny_model(), *loaders(), CrossEntropyLoss, 1, 4, device=device, print_every=0)
    assert devices == [device]


def test_four_rows_can_be_learnt_by_heart():
    """The notebook's overfit run with its settings, shorter; seeds 0, 1, 2 in full are its own check."""
    reset_seed(0)
    dataset = a2_helper.expression_dataset(arithmetic.FIRST_ROWS[:4], 32, position_encoding_simple)
    model = Transformer(4, 32, 32, 0.2, 1, 1, 16)
    loader = DataLoader(dataset, 4)
    a2_helper.train(model, loader, loader, CrossEntropyLoss, 200, 4, lr=1e-3, warmup_interval=None, print_every=0)
    assert a2_helper.val(model, loader, LabelSmoothingLoss)[1] == 1.0
    assert a2_helper.right_answers(model, dataset).all()


def test_empty_loader_is_told():
    with pytest.raises(ValueError, match="train: the training loader gives no batch; wanted .*drop_last=False"):
        a2_helper.train(tiny_model(), DataLoader(rows(3), 4, drop_last=True), None, CrossEntropyLoss, 1)


# --- Decoding ---


def test_decoding_equals_the_plain_greedy_loop():
    """The oracle calls the whole model on a full-length target, one token further each time, row by row."""
    model, dataset = tiny_model(seed=2), rows(6)
    inputs, input_positions, targets, target_positions = next(iter(DataLoader(dataset, 6)))
    written, same = a2_helper.inference(model, inputs, input_positions, target_positions, 5)
    assert same is model and written.shape == (6, 5) and written.dtype == torch.int64
    model.eval()
    for row in range(6):
        answer = torch.full((1, 5), 14)
        for position in range(1, 5):
            logits = model(inputs[row][None], input_positions[:1], answer, target_positions[:1])
            answer[0, position] = logits[position - 1].argmax()
        assert torch.equal(written[row], answer[0])
    assert len({tuple(row) for row in written.tolist()}) > 1  # the rows really differ


def test_decoding_one_row_as_the_notebook_calls_it():
    model, dataset = tiny_model(seed=2), rows(6)
    inputs, input_positions, targets, target_positions = next(iter(DataLoader(dataset, 6)))
    batch, _ = a2_helper.inference(model, inputs, input_positions, target_positions, targets.shape[1])
    for tokens in (inputs[2], inputs[2:3]):
        one, _ = a2_helper.inference(model, tokens, input_positions[:1], target_positions[:1], 5)
        assert torch.equal(one, batch[2:3])


def test_decoding_uses_the_causal_mask_eval_mode_and_no_graph(monkeypatch):
    model, dataset = tiny_model(dropout=0.5), rows(2)
    masks = []
    decode = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda x, enc, mask: masks.append(mask) or decode(x, enc, mask))
    inputs, input_positions, targets, target_positions = next(iter(DataLoader(dataset, 2)))
    model.train()
    first, _ = a2_helper.inference(model, inputs, input_positions, target_positions, 5)
    second, _ = a2_helper.inference(model, inputs, input_positions, target_positions, 5)
    assert model.training and torch.equal(first, second)
    for mask, length in zip(masks, (1, 2, 3, 4) * 2, strict=True):
        assert torch.equal(mask, get_subsequent_mask(torch.zeros(2, length)))
    weights = model.decoder.layers[-1].attention_cross.heads[0].weights_softmax
    assert weights.shape == (2, 4, 9) and not weights.requires_grad


def test_right_answers_compares_whole_results(monkeypatch):
    dataset = rows(5)
    wrong = dataset.targets.clone()
    wrong[1, 3] += 1  # one wrong digit is a wrong result
    chunks = iter(wrong.split(2))
    monkeypatch.setattr(a2_helper, "inference", lambda *arguments, **named: (next(chunks), None))
    right = a2_helper.right_answers(tiny_model(), Subset(dataset, range(5)), batch_size=2)
    assert right.tolist() == [True, False, True, True, True]
    chunks = iter(wrong.split(2))
    by_place = a2_helper.right_tokens(tiny_model(), Subset(dataset, range(5)), batch_size=2)
    assert by_place.shape == (5, 5) and (~by_place).nonzero().tolist() == [[1, 3]]


def test_exact_match_is_watched_every_few_epochs(monkeypatch):
    monkeypatch.setattr(a2_helper, "right_answers", lambda model, rows, device: torch.tensor([1, 0, 0, 1]).bool())
    watch, entries = a2_helper.watch_exact_match({"unseen": rows(4)}, every=2), [{"epoch": 1}, {"epoch": 2}]
    for entry in entries:
        watch(tiny_model(), entry)
    assert entries == [{"epoch": 1}, {"epoch": 2, "unseen": 0.5}]


@pytest.mark.parametrize("tokens, out_len", [(torch.zeros(10).long(), 5), (torch.zeros(9).long(), 7)])
def test_positions_that_do_not_fit_are_told(tokens, out_len):
    positions = (position_encoding_sinusoid(9, 8), position_encoding_sinusoid(5, 8))
    with pytest.raises(ValueError, match="inference: .* wanted one position .* Write numbers with two digits"):
        a2_helper.inference(tiny_model(), tokens, *positions, out_len)


def test_heat_map_labels_and_range():
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots()
    a2_helper.draw(0.5 * np.eye(2, 3), x=["BOS", "7", "EOS"], y=["BOS", "+"], ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["BOS", "7", "EOS"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["BOS", "+"]
    assert ax.collections[0].get_clim() == (0.0, 1.0) and len(figure.axes) == 1
    plt.close(figure)


def test_shrinking_touches_matrices_and_embedding_only():
    model, before = tiny_model(), tiny_model().state_dict()
    assert a2_helper.shrink_weights(model, matrices=0.5, embedding=0.25) is model
    for name, value in model.state_dict().items():
        factor = 0.25 if name == "emb_layer.weight" else 0.5 if value.ndim > 1 else 1.0
        assert torch.equal(value, before[name] * factor), name


def test_time_of_a_call():
    calls = []

    def call():
        calls.append(1)
        time.sleep(0.05 if len(calls) > 1 else 0.5)  # the first call only warms up

    assert 0.05 <= a2_helper.time_call(call, repeats=2) < 0.4
    assert len(calls) == 3
