"""The captioning part of `a2_helper`: reading, decoding, training, sampling, and what they say to wrong input."""

import pytest
import torch

import a2_helper as A
from rnn_lstm_captioning import CaptioningRNN

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "red", "star"]
VOCABULARY = {word: index for index, word in enumerate(WORDS)}


def coco_data(n=6):
    generator = torch.Generator().manual_seed(0)
    captions = torch.tensor([[1, 4, 5, 6, 2, 0], [1, 4, 6, 2, 0, 0]]).repeat(n // 2, 1)
    data = {"vocab": {"idx_to_token": WORDS, "token_to_idx": VOCABULARY}}
    for split in ("train", "val"):
        data[f"{split}_images"] = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
        data[f"{split}_captions"] = captions.clone()
    return data


@pytest.fixture
def coco_path(tmp_path):
    torch.save(coco_data(), tmp_path / "coco.pt")
    return tmp_path / "coco.pt"


def test_loading_reports_and_returns_the_file(coco_path, capsys):
    data = A.load_coco_captions(coco_path)
    assert torch.equal(data["train_captions"], coco_data()["train_captions"])
    report = capsys.readouterr().out
    assert "train_images: Tensor (6, 3, 32, 32) torch.uint8" in report and "vocabulary: 7 words" in report


def test_loading_a_missing_file_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="load_coco_captions: .*not found.*data fetch coco"):
        A.load_coco_captions(tmp_path / "coco.pt")


def test_loading_cut_and_foreign_files(coco_path, tmp_path):
    cut = tmp_path / "cut.pt"
    cut.write_bytes(coco_path.read_bytes()[:-3000])
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><p>404</p>")
    torch.save([1, 2], tmp_path / "list.pt")
    for path in (cut, tmp_path / "page.pt"):
        with pytest.raises(ValueError, match="is no readable coco.pt.*Fetch it again"):
            A.load_coco_captions(path)
    with pytest.raises(ValueError, match="holds a list, not a dictionary"):
        A.load_coco_captions(tmp_path / "list.pt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: d.pop("val_captions"), "it lacks val_captions"),
        (lambda d: d["vocab"].pop("token_to_idx"), "vocab lacks"),
        (lambda d: d.update(train_images=d["train_images"].float()), "train_images is not a 4-D torch.uint8 tensor"),
        (lambda d: d.update(train_images=d["train_images"][:4]), "train has 4 images but 6 captions"),
        (lambda d: d["val_captions"].__setitem__((0, 0), 7), "val_captions hold indices outside the vocabulary of 7"),
        (lambda d: d["vocab"].update(idx_to_token=WORDS[::-1]), "token_to_idx is not the inverse"),
    ],
)
def test_loading_a_contradictory_file(damage, message, tmp_path):
    data = coco_data()
    data["vocab"] = dict(data["vocab"])
    damage(data)
    torch.save(data, tmp_path / "coco.pt")
    with pytest.raises(ValueError, match=message):
        A.load_coco_captions(tmp_path / "coco.pt")


def test_training_stops_at_nan_says_where_and_keeps_the_last_good_weights(features, tmp_path):
    model, bad = make_model(), features.clone()
    bad[4:] = torch.nan
    with pytest.raises(ValueError, match="train_captioner: the loss is nan at step 1, in epoch 0"):
        train(model, bad, drop_last=False, checkpoint=tmp_path / "c.pt")
    assert all(parameter.isfinite().all() for parameter in model.parameters()) and not (tmp_path / "c.pt").exists()


def make_model(cell_type="lstm"):
    torch.manual_seed(0)
    return CaptioningRNN(VOCABULARY, 400, 8, 16, cell_type, image_encoder_pretrained=False, ignore_index=0)


@pytest.fixture(scope="module")
def features():
    return torch.randn(6, 400, 2, 2, generator=torch.Generator().manual_seed(1))


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupted_call_leaves_the_model_in_its_mode(features, monkeypatch):
    model = make_model().train()
    monkeypatch.setattr(model, "project", interrupted)
    monkeypatch.setattr(model, "encode", interrupted)
    for call in (A.caption_images, A.encode_images):
        with pytest.raises(KeyboardInterrupt):
            call(model, features)
        assert all(module.training for module in model.modules())


def train(model, features, epochs=3, batch_size=4, rate=0.01, **options):
    return A.train_captioner(model, features, coco_data()["train_captions"], epochs, batch_size, rate, plot=False, **options)


def test_training_lowers_the_loss_and_reports_epochs(features, capsys):
    model, history = train(make_model(), features, epochs=40)
    assert model.training and len(history) == 40 and history[-1] < 0.3 * history[0]
    assert "(Epoch 0 / 40) loss: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "steps"), [(4, True, 1), (4, False, 2), (6, True, 1), (32, True, 1), (2, True, 3)]
)
def test_remainder_batches(features, batch_size, drop_last, steps):
    _, history = train(make_model(), features, epochs=2, batch_size=batch_size, drop_last=drop_last)
    assert len(history) == 2 * steps


def test_learning_rate_decays_once_an_epoch(features, monkeypatch):
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    train(make_model(), features, epochs=3, batch_size=3, rate=0.1, lr_decay=0.5)
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])


def test_rows_keep_their_order_unless_shuffled(features, monkeypatch):
    seen = []
    monkeypatch.setattr(CaptioningRNN, "forward", lambda self, x, y: (seen.append(x), self.output_projection.bias.sum())[1])
    train(make_model(), features, epochs=2, batch_size=6)
    assert torch.equal(seen[0], features) and torch.equal(seen[1], features)
    train(make_model(), features, epochs=1, batch_size=6, shuffle=torch.Generator().manual_seed(3))
    assert not torch.equal(seen[2], features)
    assert torch.equal(seen[2].flatten(1).sort(0).values, features.flatten(1).sort(0).values)  # the same rows


def test_a_stopped_training_resumes_to_the_same_weights(features, tmp_path, capsys):
    whole, history = train(make_model(), features, epochs=4, shuffle=torch.Generator().manual_seed(5), lr_decay=0.9)
    options = {"checkpoint": tmp_path / "c.pt", "lr_decay": 0.9}
    options |= {
        "after_epoch": lambda model: model.output_projection.bias.sum().item(),
        "measured": (before := [9.0]),
    }  # of another run
    train(make_model(), features, epochs=2, shuffle=torch.Generator().manual_seed(5), **options)
    assert len(before) == 2 and "goes on" not in capsys.readouterr().out
    options["measured"] = after = []
    resumed, rest = train(make_model("lstm"), features, epochs=4, shuffle=torch.Generator().manual_seed(9), **options)
    assert rest == history and after[:2] == before and len(after) == 4
    assert f"The training goes on from {tmp_path / 'c.pt'}. Delete that file to begin anew" in capsys.readouterr().out
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match="was written with other .*delete the file"):
        train(make_model(), features, epochs=4, rate=0.5, **options)


def test_control_c_keeps_the_model(features, monkeypatch, capsys):
    model, forward, calls = make_model(), CaptioningRNN.forward, []

    def interrupted(self, x, y):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(self, x, y)

    monkeypatch.setattr(CaptioningRNN, "forward", interrupted)
    same, history = train(model, features, epochs=10)
    assert same is model and len(history) == 2 and "Stopped after 2 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": slice(0, 4)}, "4 images but 6 captions"),
        ({"index": 7}, "indices from 0 to 7, the vocabulary has 0 to 6"),
        ({"epochs": 0}, "num_epochs 0"),
        ({"rate": -1.0}, "learning_rate -1.0"),
        ({"empty": True}, "no images at all"),
    ],
)
def test_training_tells_what_is_wrong_with_its_input(features, change, message):
    captions = coco_data()["train_captions"]
    if "index" in change:
        captions[2, 1] = change["index"]
    images = features[change.get("images", slice(None))]
    if "empty" in change:
        images, captions = images[:0], captions[:0]
    with pytest.raises(ValueError, match=f"train_captioner: .*{message}"):
        A.train_captioner(make_model(), images, captions, change.get("epochs", 1), 4, change.get("rate", 0.1), plot=False)


def test_loss_plot_is_a_figure_of_its_own():
    import matplotlib

    matplotlib.use("Agg")
    figure = A.plot_loss_history([3.0, 2.0, 1.0])
    axis = figure.axes[0]
    assert axis.get_xlabel() == "Iteration" and axis.get_title() == "Training loss history"
    assert list(axis.lines[0].get_ydata()) == [3.0, 2.0, 1.0]


def test_encoding_once_equals_encoding_in_the_model():
    model, images = make_model().train(), coco_data()["train_images"]
    features = A.encode_images(model, images, batch_size=4)
    assert model.training and features.shape == (6, 400, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(features, model.eval().encode(images))


@pytest.mark.parametrize("cell_type", ["rnn", "attn"])
def test_captions_of_many_images(cell_type, features):
    model = make_model(cell_type)
    sentences, maps = A.caption_images(model, features, max_length=5, batch_size=4)
    one_by_one = [A.caption_images(model, row.unsqueeze(0), 5)[0][0] for row in features]
    assert sentences == one_by_one and not any(sentence.endswith("<END>") for sentence in sentences)
    assert maps is None if cell_type == "rnn" else maps.shape == (6, 5, 2, 2)
