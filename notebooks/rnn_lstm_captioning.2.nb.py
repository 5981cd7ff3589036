# %% [markdown]
# Exact match is a poor measure: even a perfect model would have to guess which of several phrasings was used. From now on we count claims.
#
# **To think about ("teacher forcing").** In training the model always reads true words, in `sample` its own. What happens after its first mistake? (When you have an answer, compare it: `session.answer("teacher forcing")` in a new cell. Each question below has its name in brackets; ask for its answer in the same way.)
#
# ## LSTM: a memory that can be kept
#
# In a vanilla RNN everything in memory passes through $W_h$ and $\tanh$ at each step, and so does the gradient on its way back: you saw the factors in the hand-worked example. The LSTM gives the memory a lane of its own, the *cell state* $c_t$, on which nothing happens unless a *gate* says so. A gate is a number between 0 and 1, one per unit, computed from input and state with the sigmoid $\sigma(a) = 1/(1 + e^{-a})$. The *candidate* $g$ is what could be written:
#
# $$a = x_t W_x + h_{t-1} W_h + b, \quad a = [a_i, a_f, a_o, a_g]$$
#
# $$i = \sigma(a_i), \quad f = \sigma(a_f), \quad o = \sigma(a_o), \quad g = \tanh(a_g)$$
#
# $$c_t = f \odot c_{t-1} + i \odot g, \qquad h_t = o \odot \tanh(c_t)$$

# %%
figure = draw.lstm_cell()

# %% [markdown]
# *The cell state runs along the top. The forget gate decides what is kept, the input gate what is written, the output gate what is shown.* With $f = 1$ and $i = 0$ the memory passes unchanged, and so does the gradient along this path.
#
# **Fill in `LSTM.step_forward`.** It is an RNN step with four times as many outputs, cut into four blocks.
#
# | tensor | shape |
# |---|---|
# | `x` | (N, D) |
# | `prev_h`, `prev_c`, `next_h`, `next_c` | (N, H) |
# | `Wx`, `Wh`, `b` | (D, 4H), (H, 4H), (4H,) |
# | `a`, and each of its blocks | (N, 4H), (N, H) |
#
# **By hand.** One unit, with $a = [0,\ 2,\ 0,\ 1]$ and $c_{t-1} = 1$: $i = \sigma(0) = 0.5$, $f = \sigma(2) = 0.881$, $o = 0.5$, $g = \tanh(1) = 0.762$. Then $c_t = 0.881\cdot 1 + 0.5\cdot 0.762 = 1.262$ and $h_t = 0.5 \tanh(1.262) = 0.426$.
#
# **Common mistakes.** The order of the blocks: it is **i, f, o, g** here, while PyTorch's own layer has i, f, g, o. A sigmoid on the candidate $g$. Computing $h_t$ from $c_{t-1}$ instead of $c_t$. Returning only `next_h`: the next step needs both.

# %%
tiny = lesson.LSTM(1, 1).to(torch.float64)
with torch.no_grad():
    tiny.Wx.zero_(), tiny.Wh.zero_(), tiny.b.copy_(torch.tensor([0.0, 2.0, 0.0, 1.0]))
    one, zero = torch.ones(1, 1, **double), torch.zeros(1, 1, **double)
    h, c = tiny.step_forward(x=zero, prev_h=zero, prev_c=one)
session.check_error("next_c by hand", c, torch.tensor([[1.262]], **double), 1e-3)
session.check_error("next_h by hand", h, torch.tensor([[0.426]], **double), 1e-3)

# %%
session.exercise("LSTM.step_forward")
case = load_case("captioning", "lstm_step_forward", **to_double)
next_h, next_c = case.fill(lesson.LSTM(4, 5)).step_forward(*case.inputs.values())
session.check_error("next_h", next_h, case.expected["next_h"], case.tolerance["next_h"])
session.check_error("next_c", next_c, case.expected["next_c"], case.tolerance["next_c"])

# %% [markdown]
# ### LSTM over a whole sequence
#
# What carries over from `rnn_forward`: the loop over time, the stack of hidden states (N, T, H). What is new: *two* states are handed from step to step. **Fill in `LSTM.forward`.** The hidden state starts at `h0`, the cell state at zero; cell states are not returned.
#
# **By hand.** If the two steps have the gates $f = 0.5$ and $i = 1$ and the candidates $g = 0.4$, then $0.2$, the cell state runs $0 \to 0.5\cdot 0 + 0.4 = 0.4 \to 0.5\cdot 0.4 + 0.2 = 0.4$. The first write survives at half its size.
#
# **Common mistakes.** Setting `c` back to zero inside the loop. Starting `c` at `h0`. Stacking cell states instead of hidden states.

# %%
session.exercise("LSTM.forward")
case = load_case("captioning", "lstm_forward", **to_double)
hn = case.fill(lesson.LSTM(5, 4))(*case.inputs.values())
session.check_error("hn", hn, case.expected["hn"], case.tolerance["hn"])

# %% [markdown]
# ### Does it remember longer? Measure it
#
# "Long short-term memory" is a claim, and you have all you need to test it. How much does the last hidden state depend on an input $k$ steps earlier? We measure it by the norm of the last hidden state's gradient with respect to that input. We compare three untrained layers: an RNN, an LSTM as it is initialised here, and an LSTM whose forget gate starts *open*: a bias of 3, so $f \approx \sigma(3) = 0.95$. The third is called "LSTM, open" below.

# %%
p = session.predict(
    "After 20 steps, which untrained layer has kept clearly the largest gradient?",
    ["RNN", "LSTM", "LSTM, open", "all about the same"],
)

# %%
reset_seed(0)
KINDS = {"RNN": lesson.RNN, "LSTM": lesson.LSTM, "LSTM, open": lesson.LSTM}
layers = {name: kind(16, 64) for name, kind in KINDS.items()}
with torch.no_grad():
    layers["LSTM, open"].b[64:128] = 3  # the second of the blocks i, f, o, g
reach = {name: measure.gradient_by_distance(layer, 16, 64) for name, layer in layers.items()}
lanes = {
    f"{name}: cell state alone": measure.gradient_by_distance(layers[name], 16, 64, along_cell=True)
    for name in ("LSTM", "LSTM, open")}
figure = draw.gradient_reach(reach | lanes)

# %%
kept = {name: norms[20] for name, norms in reach.items()}
best = max(kept, key=kept.get)
p.reveal(
    best,
    f"It keeps {kept[best]:.2g} after 20 steps; "
    f"the part along the cell state alone is {lanes['LSTM, open: cell state alone'][20]:.2g}.",
)
session.target(
    "an open gate keeps 100 times more gradient",
    kept["LSTM, open"] > 100 * kept["RNN"],
    ", ".join(f"{name} {norm:.2g}" for name, norm in kept.items()),
)
session.target(
    "an LSTM with f = 1/2 is no better than an RNN here", kept["LSTM"] < 10 * kept["RNN"]
)

# %% [markdown]
# *Gradient norm against distance, on a logarithmic scale. Each curve is divided by its own value at distance 0. RNN and LSTM fall along straight lines, which is exponential decay; one curve stays up. The two dotted curves are the part of an LSTM's gradient that never leaves the cell state.* So the architecture alone does not remember longer. With zero biases $f$ is $\tfrac12$ on average, and along the cell state alone a little less than half is lost per step on average, because the units with a larger $f$ keep more and come to dominate. (Far back so little is left that the curve is jagged.) The LSTM's whole curve falls more slowly, by about a third per step, since the hidden state is a second path. That is about as fast as the RNN's.
#
# With the open gate, the cell state alone loses 6 to 7 % per step on average, after larger drops in the first two. This is slow decay: after 20 steps more than a thousand times as much is left as in the RNN. The full curve stays higher and even rises a little at the end: $f$ is never above 1, but with the other paths added, the factor per step can be. What it has beyond the cell state involves the hidden state and the gates, and we have not taken that apart. What the LSTM has is a *way* to remember: one gate that can be opened, by training or by its initial bias ([Gers et al. 2000](https://doi.org/10.1162/089976600300015015), [Jozefowicz et al. 2015](https://proceedings.mlr.press/v37/jozefowicz15.html)).
#
# Read this curve with care: it is about layers *before* training. Training changes the factors, and a vanilla RNN can learn to remember as well. What a vanishing gradient costs is a signal to learn *from*: an input 20 steps back hardly tells its weights what to change. Captions are short, 7 to 14 words here. So if the LSTM describes images better below, a longer memory is at most part of the reason: its recurrent layer also has four times as many weights.

# %% [markdown]
# ### Watch the gates
#
# What an open gate is good for shows in training. Here is a task that needs memory and nothing else: at each of 20 steps the layer sees +1 or -1, and one number in the first half carries a mark. At the end a linear layer on $h_{20}$ has to say which number that was. We train LSTMs with only four units on it, in pairs: one starts with zero biases, the other is a copy whose forget gate starts open. Each pair has its own initial weights and sequences; within a pair everything else is the same. The table gives the fraction of new sequences that are answered correctly after 300 updates; guessing gives 0.5.

# %%
p = session.predict(
    "300 updates each. In how many of the pairs does only the LSTM that starts open learn it?",
    ["in none", "in some", "in all"],
)

# %%
reset_seed(0)
sequence, _ = measure.marked_numbers(1, 20, torch.Generator().manual_seed(5))
pairs, clearest = [], ((-1.0, 0), {})
for seed in range(session.shortened(6, 1)):
    closed = lesson.LSTM(2, 4)
    opened = lesson.LSTM(2, 4)
    opened.load_state_dict(closed.state_dict())
    with torch.no_grad():
        opened.b[4:8] = 3
    right, _ = measure.learn_to_remember(closed, 4, sequence, seed=seed)
    open_right, stages = measure.learn_to_remember(opened, 4, sequence, seed=seed)
    pairs.append({"pair": seed + 1, "zero biases": right, "open": open_right})
    clear = measure.clearest_unit(sequence, stages[300])
    clearest = max(clearest, (clear, stages), key=lambda found: found[0])
Table(pairs, digits=2)

# %%
only_open = sum(pair["zero biases"] < 0.9 < pair["open"] for pair in pairs)
few_or_all = {0: "in none", len(pairs): "in all"}.get(only_open, "in some")
p.reveal(few_or_all, f"In {only_open} of {len(pairs)}.")
session.target("open gates learn to remember", all(pair["open"] > 0.95 for pair in pairs))
session.record(remembered_only_when_open=only_open)
(_, unit), stages = clearest
figure = draw.watch_gates(sequence, stages)
session.say(f"Look at unit **{unit}** in the last column.")

# %% [markdown]
# *One LSTM that starts open, before, during and after training: a row for each unit, a column for each step; bright gates are open.* Look at the unit named above, in the last column. Its input gate opens wide at the marked number and hardly otherwise, so that number is written far more strongly than any other. Its forget gate stays open, so most of it is kept. The cell state shows the result: near zero up to the mark, and of one sign after it, though it still drifts noticeably: the input gate is not quite closed, and later numbers leak in. Nobody told the layer what a mark is. Not every unit is so clear (we chose the clearest unit of all runs), and the linear layer reads all four.
#
# With zero biases the forget gate starts half open, and in most pairs that LSTM was still guessing after 300 updates. The curves above suggest why: where hardly any gradient reaches back to the mark, there is hardly anything to learn from. It is not impossible, and more updates might help. Biases at or near zero are common in libraries; other implementations start the forget gate's bias at 1, so that $f \approx \sigma(1) = 0.73$ and less is lost at every step.

# %% [markdown]
# ### The LSTM captioner
#
# **Extend `sample` to `cell_type="lstm"` now:** `self.recurrent.step_forward` takes and returns a second state `c`, which starts at zero. Encoder, projection, embedding and loss carry over, so `forward` needs no change if it calls `self.recurrent(vectors, self.project(images))`. The cell below checks the loss only; `sample` is first used under "Train and look". **Common mistakes.** Throwing `c` away after each word: the loss is right then, and the sentences are nonsense. Making new weights for the LSTM in `sample`, when it has to use those that were trained.

# %%
ramp_images = torch.linspace(-3, 3, 10 * 3 * 112 * 112).reshape(10, 3, 112, 112).to(DEVICE)
tiny = fill_with_ramp(lesson.CaptioningRNN(tiny_words, cell_type="lstm", **TINY)).to(DEVICE)
loss = tiny(ramp_images, tiny_captions)
session.check_error("loss of the LSTM captioner", loss, torch.tensor(146.3161468505), 1e-6)

# %% [markdown]
# ### Overfit, and a trap
#
# The reference setting runs this one at a learning rate of 0.01, with a target of 4 for the final loss.

# %%
reset_seed(0)
model = lesson.CaptioningRNN(word_to_idx, cell_type="lstm", hidden_dim=512, **SIZES)
_, history = train_captioner(model, small_x, small_captions, learning_rate=1e-2, **OVERFIT)
overfits["LSTM, 1e-2"] = history
session.target(
    "the LSTM reaches the reference target", history[-1] < 4, f"{history[-1]:.3f}, target 4"
)
session.record(lstm_overfit_loss=history[-1])

# %%
p = session.predict("Does a loss below 4 show that this model uses the image?", ["yes", "no"])

# %% [markdown]
# Think about what a model could do that ignores the image. There are 32 captions in the batch.
#
# The way to find out is to give the model mismatched images: if the loss does not rise, it does not use the image. We do so for a learning rate of 0.001 as well.

# %%
some_images, some_captions = (
    small_x[:OVR_BATCH_SIZE].to(DEVICE),
    small_captions[:OVR_BATCH_SIZE],
)
shifted = some_images.roll(1, dims=0)  # every caption meets another caption's image
with torch.no_grad():
    coarse = model(some_images, some_captions).item(), model(shifted, some_captions).item()

# %%
reset_seed(0)
model = lesson.CaptioningRNN(word_to_idx, cell_type="lstm", hidden_dim=512, **SIZES)
_, history = train_captioner(model, small_x, small_captions, learning_rate=1e-3, **OVERFIT)
overfits["LSTM, 1e-3"] = history
with torch.no_grad():
    fine = model(some_images, some_captions).item(), model(shifted, some_captions).item()

# %%
p.reveal("no", "A model that ignores the image can reach ln 32 = 3.47.")
session.target("at 1e-3 the LSTM uses the image", fine[0] < 1 and fine[1] > fine[0] + 3)
session.target("mismatched images cost more at 1e-3", fine[1] - fine[0] > coarse[1] - coarse[0])
session.record(lstm_true_overfit_loss=history[-1], lstm_mismatched_images_loss=fine[1])
Table(
    [
        {"learning rate": rate, "right images": a, "mismatched images": b, "difference": b - a}
        for rate, (a, b) in {"1e-2": coarse, "1e-3": fine}.items()
    ],
    digits=2,
)

# %% [markdown]
# Both runs meet the target, which a model that ignores the image would meet as well: it can memorise all 32 captions, guess which one is meant, and the rest follows. That costs $\ln 32 = 3.47$ nats. So look at the column *difference*: it says how much a model relies on the image. The first run ends below $\ln 32$ and pays for mismatched images, so by now it uses the image a little. Its curve (first panel of the figure under "All losses together") stays near $\ln 32$ for many epochs: there it met the target with a loss that needs no image at all. For the second run the difference is many times as large: it has tied the captions to their images. *Notice how a threshold alone can be met for the wrong reason.*

# %% [markdown]
# ### Train and look

# %%
reset_seed(0)
models["lstm"] = lesson.CaptioningRNN(word_to_idx, cell_type="lstm", hidden_dim=HIDDEN, **SIZES)
run = dict(settings_of("lstm"), after_epoch=validate)
_, histories["lstm"] = train_captioner(models["lstm"], train_x, train_y, **run)
check_reference("lstm", 1.8)

# %%
for split, rows in shown.items():
    images = data_dict[f"{split}_images"][rows]
    said, _ = caption_images(models["lstm"], images)
    wrong = None
    if SAMPLE_DATA:
        wrong = [measure.wrong_words(s, truth[split][n]) for s, n in zip(said, rows)]
    given = decode_captions(data_dict[f"{split}_captions"][rows], idx_to_word)
    figure = draw.show_generated(images, said, given, wrong, f"[{split}] LSTM Generated:")

# %% [markdown]
# *The same eight images, now described by the LSTM.* Eight images are too few to say which model is better; a later cell counts over the whole validation split. Look at scenes with two objects: when the model errs, is a colour or a class wrong, or are all four words right and only paired wrongly?

# %%
if SAMPLE_DATA:
    said, _ = caption_images(models["lstm"], val_x)
    scores["lstm"] = score_captions(said, truth["val"], val_sentences)
    session.record(**{f"lstm_{name}": value for name, value in scores["lstm"].items()})
    print(f"every claim right in {scores['lstm']['content']:.1%} of the captions")

# %% [markdown]
# ## Attention: look again at every word
#
# So far the image was squeezed into one vector before the first word: the mean over the grid, in which all cells are mixed. Attention keeps the grid and lets the network look again at every step. The 400 features of every cell are projected to $H$ numbers, which gives the grid $A$; in the formula it is written as a matrix with $H$ rows and 16 columns. The state $h_{t-1}$ is the *query*: its dot product with a cell says how much that cell matters now. The softmax turns the 16 scores into weights, and the result is the weighted mean of the cells:
#
# $$M = \frac{h_{t-1} A}{\sqrt{H}} \in \mathbb{R}^{16}, \qquad w = \mathrm{softmax}(M), \qquad attn = A w \in \mathbb{R}^{H}$$

# %%
figure = draw.attention_step()

# %% [markdown]
# *The weights of an image sum to 1: more weight on one cell means less on the others.* The division by $\sqrt{H}$ keeps the scores from growing with the number of features $H$; without it the softmax would soon pick a single cell and pass on almost no gradient.
#
# **Fill in `dot_product_attention`.**
#
# | tensor | shape |
# |---|---|
# | `prev_h` | (N, H) |
# | `A`, and flattened | (N, H, 4, 4), (N, H, 16) |
# | scores and weights, flattened | (N, 1, 16) |
# | `attn` | (N, H) |
# | `attn_weights` | (N, 4, 4) |
#
# **By hand.** H = 4, so $\sqrt{H} = 2$, and a grid of only two cells: $h = (2, 0, 0, 0)$, $A_1 = (1.0986,\ 0,\ 4,\ 0)$, $A_2 = (0,\ 0,\ 0,\ 4)$. The scores are $2\cdot 1.0986/2 = 1.0986 = \ln 3$ and $0$. The softmax makes $\tfrac{3}{3+1} = 0.75$ and $0.25$ of them, and $attn = 0.75 A_1 + 0.25 A_2 = (0.824,\ 0,\ 3,\ 1)$.
#
# **Common mistakes.** A softmax over the wrong axis (over H, or over the batch). Dividing by $H$ instead of $\sqrt{H}$, or by $\sqrt{16}$. `squeeze()` without an axis, which also removes the batch axis when N = 1. A `reshape` that mixes features and cells: (N, 16, H) needs a transpose.

# %%
query = torch.tensor([[2, 0, 0, 0]], **double)
two_cells = torch.tensor([[1.0986, 0], [0, 0], [4, 0], [0, 4]], **double).view(1, 4, 1, 2)
attn, weights = lesson.dot_product_attention(query, two_cells)
session.check_error("weights by hand", weights, torch.tensor([[[0.75, 0.25]]], **double), 1e-4)
session.check_error("attn by hand", attn, torch.tensor([[0.824, 0, 3, 1]], **double), 1e-3)

# %%
session.exercise("dot_product_attention")
case = load_case("captioning", "dot_product_attention", **to_double)
attn, weights = lesson.dot_product_attention(*case.inputs.values())
session.check_error("attn", attn, case.expected["attn"], 1e-7)
session.check_error("attn_weights", weights, case.expected["attn_weights"], 1e-7)
sums = weights.sum(dim=(1, 2))
session.check(
    "the weights of each image sum to 1", rel_error(sums, torch.ones_like(sums)) < 1e-12
)

# %% [markdown]
# ### The attention LSTM
#
# The result of attention enters the step as a third input: $a = x_t W_x + h_{t-1} W_h + attn\, W_{attn} + b$. The rest is the LSTM that you have.
#
# **Fill in `AttentionLSTM.step_forward` and `AttentionLSTM.forward`.** New shapes: `attn` (N, H), `Wattn` (H, 4H), `A` (N, H, 4, 4). Both states start as the mean of $A$ over its cells.
#
# **By hand.** One unit, as before $a = [0, 2, 0, 1]$ without attention. With $attn = 2$ and $W_{attn} = [1, 0, 0, 0]$ the input gate's argument rises from 0 to 2, so $i$ from 0.5 to 0.881: what is seen can decide what is written.
#
# **Common mistakes.** Computing attention once, before the loop: then it is no second look. Using $h_t$ as the query instead of $h_{t-1}$. Starting the cell state at zero, as in the plain LSTM.

# %%
session.exercise("AttentionLSTM.step_forward")
case = load_case("captioning", "attention_lstm_step_forward", **to_double)
next_h, next_c = case.fill(lesson.AttentionLSTM(4, 5)).step_forward(*case.inputs.values())
session.check_error("next_h", next_h, case.expected["next_h"], 1e-8)
session.check_error("next_c", next_c, case.expected["next_c"], 1e-8)

# %%
session.exercise("AttentionLSTM.forward")
case = load_case("captioning", "attention_lstm_forward", **to_double)
hn = case.fill(lesson.AttentionLSTM(5, 4))(*case.inputs.values())
session.check_error("h", hn, case.expected["hn"], 1e-8)

# %% [markdown]
# Now every part of the captioner exists: complete `forward` and `sample` of `CaptioningRNN` for `"attn"` too. There, `sample` returns the captions *and* the weights with which each word was chosen, (N, max_length, 4, 4).

# %%
session.exercise("CaptioningRNN.forward", "CaptioningRNN.sample")
reset_seed(0)
tiny = fill_with_ramp(lesson.CaptioningRNN(tiny_words, cell_type="attn", **TINY)).to(DEVICE)
loss = tiny(ramp_images, tiny_captions)
session.check_error("loss of the attention captioner", loss, torch.tensor(8.0156393051), 1e-6)

# %% [markdown]
# ### Overfit
#
# Ask the same two things as for the LSTM: does the loss fall, and does the model use the image? The reference target for the loss is 9 here. That is far above $\ln 32 = 3.47$, so it proves nothing about the image; the mismatched images do.

# %%
reset_seed(0)
model = lesson.CaptioningRNN(word_to_idx, cell_type="attn", hidden_dim=512, **SIZES)
_, history = train_captioner(model, small_x, small_captions, learning_rate=1e-3, **OVERFIT)
overfits["attention, 1e-3"] = history
with torch.no_grad():
    right, mismatched = (model(x, some_captions).item() for x in (some_images, shifted))
session.target(
    "attention reaches the reference target", history[-1] < 9, f"{history[-1]:.3f}, target 9"
)
session.target(
    "the attention LSTM uses the image", mismatched > right + 3, f"{right:.2f}, {mismatched:.2f}"
)
session.record(attn_overfit_loss=history[-1])

# %% [markdown]
# ### Train

# %%
reset_seed(0)
models["attn"] = lesson.CaptioningRNN(word_to_idx, cell_type="attn", hidden_dim=HIDDEN, **SIZES)
run = dict(settings_of("attn"), after_epoch=validate)
_, histories["attn"] = train_captioner(models["attn"], train_x, train_y, **run)
check_reference("attn", 0.5)

# %% [markdown]
# ## All losses together
#
# How low can the loss go? Every scene can be described in five phrasings, all equally frequent, and which one was used cannot be seen in the image: that costs $\ln 5 = 1.61$ nats. (The order of the objects costs nothing, because it can be seen: a large object is named first; otherwise they are named from left to right, or from top to bottom where they lie farther apart vertically.) In addition, 6 % of the captions of one object carry a rare word (`<UNK>`), and the image does not show which captions do. With $p = 0.06$ the entropy of that choice is $-p \ln p - (1-p) \ln (1-p) = 0.169 + 0.058 = 0.227$ nats, and it is paid in about half of the captions. Together this is the *floor*: a model that understands every image perfectly, but has not memorised the captions, cannot do better on average.

# %%
floor, p_rare = None, torch.tensor(RARE_SHARE)
if SAMPLE_DATA:
    one_object = sum(len(scene.objects) == 1 for scene in truth["val"]) / num_val
    rare = -(p_rare * p_rare.log() + (1 - p_rare) * (1 - p_rare).log()).item()
    floor = torch.tensor(5.0).log().item() + one_object * rare
    session.check(
        "the floor is 1.72 nats",
        abs(floor - 1.72) < 0.015,
        f"ln 5 + {one_object:.2f} x {rare:.3f}",
    )

# %%
p = session.predict(
    "The attention LSTM's training loss ends below this floor. What will its validation loss do?",
    ["end below the floor too", "end above it"],
)

# %%
NAMES_OF = {"rnn": "RNN", "lstm": "LSTM", "attn": "attention LSTM"}
figure = draw.loss_panels(
    overfits,
    {NAMES_OF[cell]: h for cell, h in histories.items()},
    {NAMES_OF[cell]: values for cell, values in val_losses.items()},
    floor,
)

# %%
final = {cell: sum(history[-90:]) / len(history[-90:]) for cell, history in histories.items()}
if SAMPLE_DATA:
    p.reveal(
        "end above it",
        "Below the floor only memorised captions help, and only on the training split.",
    )
    session.target("attention memorises: training below the floor", final["attn"] < floor)
    session.target(
        "no validation loss is below the floor", min(v[-1] for v in val_losses.values()) > floor
    )
columns = {"training loss": final, "validation loss": {c: v[-1] for c, v in val_losses.items()}}
Table([{"model": NAMES_OF[c], **{k: v[c] for k, v in columns.items()}} for c in final], digits=2)

# %% [markdown]
# *Top left: the four runs on 32 captions. The others: training loss (mean of 20 batches) and validation loss of each full training run, with the floor as a grey line. The table gives the training loss as a mean over the last 90 batches, about one epoch.* Compare where curves end rather than how they begin, since the learning rates differ. The *gap* between the dashed and the solid line is what only the training captions gain, by memorising. Where the dashed line no longer falls (attention, in the second half), all further gain is of that kind. What RNN and LSTM pay beyond the floor on *both* splits must be mostly content that they get wrong (the counts below fit this): they are underfitting, not only memorising.
#
# **To think about ("early stopping").** At which epoch would you stop each training run, and which of the two curves tells you?

# %% [markdown]
# ## Where it looks
#
# Each small image belongs to one word of the sentence. Bright cells are those with large attention weights when that word was chosen. Each map is scaled to its own maximum, so compare cells within a map, not brightness between maps. If you run this live, move the slider and watch the sentence being written.

# %%
if SAMPLE_DATA:
    by_count = {k: [n for n, s in enumerate(truth["val"]) if len(s.objects) == k] for k in (1, 2)}
    sheets = [("train", 8), ("val", by_count[1][0]), ("val", by_count[2][0])]
else:
    sheets = [("train", 8), ("val", 0), ("val", 1)]

# %%
for split, row in sheets:
    image = data_dict[f"{split}_images"][row]
    (sentence,), (grid,) = caption_images(models["attn"], image[None])
    given = draw.plain(decode_captions(data_dict[f"{split}_captions"][row], idx_to_word))
    title = f"{split}\nAttention LSTM Generated: {sentence}\nGT: {given}"
    figure = draw.watch_decoding(image, grid, sentence.split(), title)

# %% [markdown]
# *Three images, one small map per word.* Follow the colour and class words: the bright cells should lie on the object being named, and move to the other one when the sentence does. (Words for size and texture need not follow.) If a word is wrong (none is, in these three), its map shows which cells the model read when it made the mistake. For "in the snow" the network looks at the background. At the "a" before the second object, attention is often on that object already; at the first "a" anything may be bright. (A cell sees a wider area than the tile that is drawn. Tiles in the first row are less tall and those in the first column narrower, because the centres of the cells lie at pixels 0, 32, 64 and 96.)
#
# Does attention really look at what it names? Measure it: for every object that is named correctly, take the attention on it while its colour and class words are written, and divide that by the object's share of the image's area. 1 would be chance.

# %%
if SAMPLE_DATA:
    said, maps = caption_images(models["attn"], val_x)
    gains = {count: attention_gain(said, maps, truth["val"], count) for count in (1, 2)}
    for count, gain in gains.items():
        claim = f"attention on the named object, {count} in the scene"
        session.target(claim, gain >= 2, f"{gain:.2f} times its area, target 2")
        session.record(**{f"attention_gain_{count}": gain})

# %% [markdown]
# ## How good are they?
#
# With the sample world every claim of a caption can be checked. RNN and LSTM read one vector in which everything in the scene is mixed; attention can read the cells of one object at a time. If the image shows a red fish and a blue car, a caption about "a blue fish and a red car" has all four words right and still pairs them wrongly: it *swaps* them.

# %%
p = session.predict(
    "Two objects, all four words right. How often does the LSTM swap them (blue fish, red car)?",
    ["almost never", "in about a third of the captions", "in half, as if at random"],
)

# %%
if SAMPLE_DATA:
    attn_said = said
    scores["attn"] = score_captions(said, truth["val"], val_sentences)
    session.record(**{f"attn_{name}": value for name, value in scores["attn"].items()})
    for values in scores.values():  # of the captions with all four words right
        values["swapped"] = 1 - values.get("two_bound", 1.0)
    p.reveal(
        scores["lstm"]["swapped"],
        "The encoder was trained so that the mean shows the pairs; still these are misread.",
    )

# %%
QUESTIONS = {"one_pair": "one object, colour and class", "one_content": "one object, all claims"}
QUESTIONS |= {"two_first": "two, first pair", "two_both": "two, both pairs"}
QUESTIONS |= {"two_relation": "two, relation", "swapped": "two, swapped\n(lower is better)"}
LIMITS = {"one_pair": 0.95, "one_content": 0.90, "two_first": 0.75, "two_both": 0.65}
by_name = {NAMES_OF[cell]: values for cell, values in scores.items()}
if SAMPLE_DATA:
    figure = draw.score_bars(by_name, QUESTIONS, "What do the captions get right?")

# %%
if SAMPLE_DATA:
    best = max(scores, key=lambda cell: scores[cell]["content"])
    for name, limit in LIMITS.items():
        claim = f"{NAMES_OF[best]}: {QUESTIONS[name]}"
        session.target(
            claim, scores[best][name] >= limit, f"{scores[best][name]:.3f}, target {limit}"
        )
    attn, lstm = scores["attn"], scores["lstm"]
    session.target("attention is not worse than the LSTM", attn["content"] >= lstm["content"])
    session.target("attention all but ends the swaps", attn["swapped"] < 0.05 < lstm["swapped"])

# %%
OVERALL = {"content": "all scenes, all claims", "exact": "all scenes, exact match"}
COUNTED = {"swapped": "two, swapped", "two_named": "captions counted for “swapped”"}
COUNTED |= {"two_claimed": "captions counted for “relation”"}
COUNTED |= {"two_scenes": "scenes with two objects"}
draw.score_table(by_name, QUESTIONS | COUNTED | OVERALL)

# %% [markdown]
# *One group of bars per question, one bar per model; the table has the same numbers.*
#
# * "One object" and "two": scenes with that many objects. "First pair": the first pair that is named is in the scene. "Both pairs": both are.
# * "Swapped" (lower is better): of the captions that name the two colours and the two classes of a scene, those that pair them wrongly. Half would be swapped if colours were assigned at random. Scenes in which both things have one colour, or are of one class, do not count.
# * "Relation": of the captions that name both pairs and claim a relation, those in which it holds. Each model has fewer than 100 of these (see the table), so differences of a few points mean little.
# * "All claims": every single claim of the sentence is true. Scenes with three objects count in the last two rows only.
#
# Swapping is the *binding problem*, the hard part of scenes with several things. With attention the swaps all but disappear.

# %% [markdown]
# ### Was it the learning rate?
#
# A model can look worse than another only because its learning rate was chosen badly. RNN and LSTM share one above, attention has another. So a script, `dl/training/captioning_experiments.py`, repeated the full training runs at other learning rates: the same sample data, the same initial weights, the same order of batches, the same number of epochs. That takes longer than this notebook, so the results are read from a file; the runs above are added to them.

# %%
p = session.predict(
    "At one common learning rate, how much of attention's lead over the LSTM is left?",
    ["nothing", "about half of it", "about all of it"],
)

# %%
trials = {cell: recorded.trials(cell) for cell in NAMES_OF}  # learning rate -> (loss, all right)
if SAMPLE_DATA:
    for cell, values in scores.items():
        trials[cell][LEARNING_RATES[cell]] = val_losses[cell][-1], values["content"]
by_model = {NAMES_OF[cell]: points for cell, points in trials.items()}
figure = draw.learning_rate_curves(by_model, recorded.COMMON)

# %% [markdown]
# *Each mark is one training run: its last validation loss on the left, the captions with every claim right on the right. The run with the lowest validation loss of each model is ringed in both panels (another run may have more right captions). The dotted line marks 0.001, the common learning rate at which we compare the models.*

# %%
best = {cell: min(points, key=points.get) for cell, points in trials.items()}  # lowest loss
shared = {cell: trials[cell][recorded.COMMON] for cell in NAMES_OF}
rows = []
for cell, rate in best.items():
    row = {"model": NAMES_OF[cell], "own best": f"{rate:g}"}
    row |= dict(zip(("loss", "all claims right"), trials[cell][rate]))
    rows.append(row | dict(zip(("loss at 0.001", "all claims right at 0.001"), shared[cell])))
Table(rows, digits={"loss": 2, "loss at 0.001": 2})

# %%
own_lead = trials["attn"][best["attn"]][1] - trials["lstm"][best["lstm"]][1]
lead = shared["attn"][1] - shared["lstm"][1]
left = ["nothing", "about half of it", "about all of it"][(lead > 0.05) + (lead > 0.75 * own_lead)]
lost_or_kept = f"In captions with every claim right: {lead:.2f} ahead at 0.001"
p.reveal(left, f"{lost_or_kept}, {own_lead:.2f} with each model at its own best.")
session.target("attention leads at the common learning rate", lead > 0.1, f"{lead:.2f}")
session.target("and with each at its own best", own_lead > 0.1, f"{own_lead:.2f}")
half, whole = trials["rnn"][5e-4][1], shared["rnn"][1]
session.target("all three are best at it", set(best.values()) == {recorded.COMMON})
session.target("the RNN suffers from half of it", half < 0.75 * whole, f"{half:.2f}, {whole:.2f}")

# %% [markdown]
# *The table: every model at its own best learning rate of those tried (the one with the lowest validation loss), and at 0.001.* By validation loss all three are lowest at 0.001, so here the two comparisons are one, and attention leads in it. For the LSTM and for attention, 0.0015 is practically as good: the difference is small beside what a second run of the same setting may change. So it was no advantage that the attention LSTM was trained at 0.0015 above. But look at the RNN: at half its learning rate it gets more than a quarter fewer captions right, and beside well-tuned models it would have looked even worse than it is. So tune all models with the same care before you compare them, the baseline too. (A caution: these are three learning rates and one run each, and the learning rates are chosen on the same validation images on which the models are compared.)

# %% [markdown]
# ### Pairs that never occurred in training
#
# Eight pairs of colour and class, such as red stars, were held out: neither captioner nor encoder has seen one. If a model has learnt "red" from other red things and "star" from stars of other colours, it can put them together.

# %%
p = session.predict(
    "Which model names two held-out objects right most often?",
    ["RNN", "LSTM", "attention LSTM"],
)

# %%
if SAMPLE_DATA:
    held_out = list(scenes("held_out", len(held_out_x)))
    kept_out = {
        cell: score_captions(caption_images(m, held_out_x)[0], held_out)
        for cell, m in models.items()
    }
    for cell, values in kept_out.items():
        session.record(**{f"held_out_{cell}_{name}": value for name, value in values.items()})
        values["swapped"] = 1 - values.get("two_bound", 1.0)
    p.reveal(
        NAMES_OF[max(kept_out, key=lambda cell: kept_out[cell]["two_both"])],
        "One reason that fits: it can read colour and class off one cell.",
    )

# %%
HELD_OUT = {"one_colour": "one object, colour", "one_pair": "one object, colour and class"}
HELD_OUT |= {"two_both": "two, both pairs"} | COUNTED
HELD_OUT.pop("two_claimed")  # no relation is asked for here
if SAMPLE_DATA:
    display(draw.score_table({NAMES_OF[cell]: kept_out[cell] for cell in kept_out}, HELD_OUT))

# %% [markdown]
# The three differ more here than anywhere else. Attention can read colour and class off the same cell, one word after the other, and put them together in a new way. Remember what may have made that easy: the encoder was trained to name the colour and the class of an object, each by itself, from the cell in which the object lies. Whole pairs it had to name only from the mean over all cells, and the held-out pairs were never among them. The RNN and the LSTM have nothing but that mean. When the LSTM names all four words, it swaps most of them; that fits: after a swap, the pairs are mostly ones that occur in training. (The RNN names all four words of very few scenes, so its number means little.)

# %% [markdown]
# ## What none of them learns: the relation
#
# Look at the bars for "relation" again. Compare them with a captioner that never checks the relation: it names the two things as the attention model does, and always claims the same one.

# %%
if SAMPLE_DATA:
    favourite, chance = constant_relation(attn_said, truth["val"])
    best_relation = max(values.get("two_relation", 0) for values in scores.values())
    session.say(
        "Of its captions that name both pairs and claim a relation, "
        f'always saying "{favourite}" would get **{chance:.0%}** right; '
        f"the best captioner gets **{best_relation:.0%}**."
    )

# %% [markdown]
# Why? An obvious guess: the model cannot know left from right, since nobody told it where a cell lies; the softmax weighs contents, and the weighted mean does not say which cells it came from. That guess can be tested. If one cell's features say nothing about its position, a linear classifier that sees *only these 400 numbers* cannot name the position better than chance, 1 in 16.

# %%
p = session.predict(
    "A linear classifier guesses a cell's position from its 400 features. Accuracy? (chance: 6 %)"
)

# %%
if SAMPLE_DATA:
    probed = measure.probe_positions(train_x[:1000], val_x)
    p.reveal(
        f"{probed.mean():.0%}",
        "A likely reason: zero padding marks the borders of an image, "
        "and convolutions can carry the mark inward.",
    )
    session.target(
        "one cell's features know their position",
        probed.mean() > 0.5,
        f"{probed.mean():.2f}, chance 0.06",
    )
    session.record(position_probe=probed.mean())
    figure = draw.position_map(probed)

# %% [markdown]
# *Accuracy of the probe for each of the 16 cells: best in the corners, worst in the middle, but everywhere far above chance.* So the guess was wrong: position **is** given, very likely by the convolutions' zero padding ([Islam et al. 2020](https://arxiv.org/abs/2001.08248)); the probe shows *that* it is there, not *why*. The captioner does not yet use it for the relation. This is worth remembering: a probe shows what *could* be read, not what a model reads.
#
# ### An experiment: easy positions, and more practice
#
# Then let us make the position easy to read: add a fixed random vector per row and one per column to the features of every cell, $features_{rc} + u_r + v_c$. No weight is added and no line of the model changes; only the input does. (Transformers do the same with words, as you will see in the next notebook.)
#
# And there may be too little practice. Only a fifth of the 3,000 training captions claim a relation. So in this run, every epoch shows every image twice; the price is twice the training time.
#
# A script trained the attention model with either change alone. Here you train it with both. Everything else is as before, so the runs with one change and with none are the comparison (an *ablation*: the same training without the one thing that is tested).

# %%
p = session.predict(
    "With position code and every image twice, which fraction of the claimed relations is right?",
    ["a third", "half", "two thirds", "four fifths"],
)

# %%
code = measure.grid_code(400, 4, 4)
if SAMPLE_DATA:
    reset_seed(0)
    coded = lesson.CaptioningRNN(word_to_idx, cell_type="attn", hidden_dim=HIDDEN, **SIZES)
    run = dict(TRAIN, learning_rate=LEARNING_RATES["attn"], shuffle=order())
    train_captioner(coded, torch.cat([train_x + code] * 2), torch.cat([train_y] * 2), **run)

# %%
if SAMPLE_DATA:
    said, _ = caption_images(coded, val_x + code)
    with_both = score_captions(said, truth["val"], val_sentences)
    relation, both = with_both.get("two_relation", 0.0), with_both["two_both"]
    p.reveal(f"{relation:.0%}", "One reading: now what attention returns says where it looked.")
    alone = {change: run["two_relation"] for change, run in recorded.changed().items()}
    session.target("relations are learnt", relation >= 0.75, f"{relation:.3f}, limit 0.75")
    session.target("the code alone does most of it", alone["position code"] > 0.65)
    practice = alone["every image twice"]
    session.target("practice alone does not help the relation", practice < chance + 0.1)
    session.target("both pairs are no worse", both > scores["attn"]["two_both"], f"{both:.3f}")
    session.target("both pairs in 9 of 10 scenes", both >= 0.90, f"{both:.3f}, limit 0.90")
    session.record(coded_relation=relation, coded_both=both, coded_content=with_both["content"])

# %%
if SAMPLE_DATA:
    new_pairs = score_captions(caption_images(coded, held_out_x + code)[0], held_out)
    compared = {"neither": dict(scores["attn"], held_out_both=kept_out["attn"]["two_both"])}
    others = recorded.changed()
    compared |= {change: others[change] for change in ("position code", "every image twice")}
    compared["both"] = dict(with_both, held_out_both=new_pairs["two_both"])
    compared["code, and mirrored images"] = others["position code and mirrored images"]
    CHANGED = {"two_relation": "two, relation", "two_both": "two, both pairs"}
    CHANGED |= {"held_out_both": "two held-out objects, both pairs"}
    CHANGED |= {"content": OVERALL["content"]}
    display(draw.score_table(compared, CHANGED))

# %% [markdown]
# *The attention model with neither change, with each alone, with both, and with mirrored images in place of the second showing.* Read the first row. More practice alone leaves the relation where guessing is: it did not make this model use the position that its features contain. The position code alone lifts it to about three quarters, and with both about four fifths of the claimed relations are right.
#
# The last column shows how easily such a table misleads. Mirrored images are further examples that nobody has to collect: turn an image left to right, and exchange "left" and "right" in its caption. (They are not quite of the same kind: of two objects that are named from left to right, a mirrored caption names the right one first, against the order described further up.) Beside the code alone they seem to help a lot. But they also double the number of updates, and beside a run with as many updates only a few points are left, on about a hundred captions: too little to tell from chance. So compare a change with a run that lacks this change and is *the same in everything else*. The last row rises mostly with the relations. In the two rows between, the runs differ by at most 8 and 14 scenes (the tables further up count how many there are), and one run each cannot say which differences are real.
#
# **To think about ("relations").** Would the same code help the plain LSTM? And what would you try next, to get from here to nearly all relations right?

# %% [markdown]
# ## Save

# %%
path = session.root / "submissions" / "rnn_lstm_attention_submission.pt"
path.parent.mkdir(exist_ok=True)
torch.save({f"{cell}_losses": history for cell, history in histories.items()}, path)
print("Saved to:", path.relative_to(session.root).as_posix())
session.save_results()

# %% [markdown]
# ## What to remember
#
# * A recurrent layer is one step, repeated. Its gradient walks the same steps backward, and at each step two paths add up.
# * Gradients are multiplied by a factor at every step; below 1 they vanish, above 1 they explode. The LSTM offers a path on which the factor is the forget gate, and it remembers long if that gate is open.
# * Attention is a weighted mean whose weights the network computes itself, and you can look at them.
# * A small loss proves little. Use mismatched images, compute the floor, watch the validation loss, check the claims, hold something out, probe.
#
# ## Questions
#
# Write half a page at most for each, in the text cell below. When you have an answer of your own, compare it: `session.answer("Q1")` in a new cell for question 1, and likewise "Q2", "Q3", "teacher forcing", "early stopping" and "relations".
#
# 1. Why does `rnn_backward` need the states of the forward pass, and what would it cost to compute them again instead of keeping them? *A full answer names: where the states occur in the gradient, memory and time for both ways, one way between them.*
# 2. The LSTM's forget gate can start open. Which part of the code would you change, why does it help, and when could it hurt? *A full answer names: the block of the bias, the factor per step, the measurement above, a drawback.*
# 3. The captioner always takes the most likely word. When does that go wrong, and what else could it do? (Think of sampling the word, or of keeping several unfinished captions.) *A full answer names: an example, two alternatives, their price.*

# %% [markdown]
# **Your answers** *(for yourself, not graded; double-click this cell and write)*
#
# 1.
# 2.
# 3.

# %% [markdown]
# ## What next
#
# Attention was added to a recurrent network here. The next notebook, `Transformers`, takes the recurrence away and keeps only attention: then all positions are computed at once, and the question "who tells the model where something is?" comes back.
