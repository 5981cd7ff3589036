# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Describing images with recurrent networks
#
# How can a network write a sentence about an image? It has to read and write *one word after another* and remember what it has already said. That is what recurrent networks do. You will build three of them, each a small step from the one before, and teach them to describe images: a **vanilla RNN** (forward and backward by hand), an **LSTM**, whose memory can last longer, and an LSTM with **attention**, which shows where it looks while it writes.
#
# **You will be able to**
#
# * write the forward and backward pass of a recurrent layer, and verify gradients numerically;
# * explain why gradients vanish over time, measure it, and say which part of the LSTM prevents it;
# * build an image captioner from an encoder, word embeddings, a recurrent decoder and a masked loss;
# * implement scaled dot-product attention and read its weights;
# * find out what a model really uses: mismatched images, a computed floor for the loss, a linear probe, held-out combinations.
#
# **You need:** the chain rule, matrix products, and basic PyTorch (tensors, `nn.Module`, autograd).
#
# **Time:** 8 to 10 hours for you. The computer needs 10 to 15 minutes with the sample data; with the real data (`DL_DATA=real`) plan for a GPU. A good place to stop for a day is before the section on the LSTM: everything up to there needs only the vanilla RNN.
#
# **Papers:** LSTM, [Hochreiter and Schmidhuber 1997](https://doi.org/10.1162/neco.1997.9.8.1735), and its forget gate, [Gers et al. 2000](https://doi.org/10.1162/089976600300015015) · attention, [Bahdanau et al. 2015](https://arxiv.org/abs/1409.0473) · Show and Tell, [Vinyals et al. 2015](https://arxiv.org/abs/1411.4555) · Show, Attend and Tell, [Xu et al. 2015](https://arxiv.org/abs/1502.03044) · scaled dot product, [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762) · the real data, [COCO captions, Chen et al. 2015](https://arxiv.org/abs/1504.00325).
#
# You write your code in `rnn_lstm_captioning.py`, one folder above this notebook. Each exercise below explains an idea, works one example by hand, and then checks your function.

# %% [markdown]
# ## Setup
#
# The two `autoreload` lines make the notebook pick up every change that you save in the module, without a restart.

# %%
# %load_ext autoreload
# %autoreload 2
from dl.notebook import hint, setup

session = setup("rnn_lstm_captioning")
DEVICE, to_float, to_double = session.device, session.to_float, session.to_double

# %%
import os
import time

import torch

import rnn_lstm_captioning as lesson
from dl.checks.published import fill_with_ramp, load_case
from dl.grad import compute_numeric_gradient, rel_error
from dl.utils import reset_seed

lesson.hello_rnn_lstm_captioning()
print("rnn_lstm_captioning.py last edited on", time.ctime(os.path.getmtime(lesson.__file__)))

# %%
from a2_helper import caption_images, caption_loss, decode_captions, encode_images
from a2_helper import load_coco_captions, train_captioner
from dl.figures import captioning as draw
from dl.figures.tables import Table
from dl.models import captioning as measure
from dl.training import captioning_experiments as recorded
from dl.world.captions import RARE_SHARE
from dl.world.export import scenes, sentences
from dl.world.scoring import attention_gain, score_captions

# %% [markdown]
# These are the exercises of this notebook, with their difficulty and the minutes to plan for each, in the order in which they stand in `rnn_lstm_captioning.py`. You will meet the last three, those of `CaptioningRNN`, earlier than the table suggests: you start them with the vanilla RNN and complete them once the LSTM and attention exist.
#
# A check that passes says so; one that fails stops the notebook and says what is wrong. Stuck? Run `hint()` in a new cell: it helps with the last exercise that did not pass, and each call reveals one more hint.
#
# Where a cell says **Predict**, choose an answer or type one *before* you run the next cell, which shows the result beside your guess. So run the cells one by one.

# %%
session.exercises()

# %% [markdown]
# Images are 112 pixels square. The reference setting, for the real data, trains with batches of 256. The small runs that must overfit use an eighth of that, 32.

# %%
IMAGE_SHAPE, BATCH_SIZE, VIS_BATCH_SIZE = (112, 112), 256, 4
OVR_BATCH_SIZE = BATCH_SIZE // 8
SAMPLE_DATA = session.data == "sample"

# %% [markdown]
# ## Images and captions
#
# The data are one dictionary: images as bytes, captions as word indices, and a vocabulary that translates between words and indices. Four tokens are special:
#
# | token | meaning |
# |---|---|
# | `<START>` | opens every caption |
# | `<END>` | closes it |
# | `<UNK>` | stands for a word that is too rare for the vocabulary |
# | `<NULL>` | pads every row to 17 tokens; it must never count in a loss |

# %%
data_dict = load_coco_captions()
num_train, num_val = len(data_dict["train_images"]), len(data_dict["val_images"])
word_to_idx, idx_to_word = data_dict["vocab"]["token_to_idx"], data_dict["vocab"]["idx_to_token"]
special = ("<NULL>", "<START>", "<END>", "<UNK>")
NULL_index, START_index, END_index, UNK_index = (word_to_idx[word] for word in special)

# %%
rows = torch.randint(num_train, (VIS_BATCH_SIZE,))
captions = decode_captions(data_dict["train_captions"][rows], idx_to_word)
figure = draw.show_captioned(data_dict["train_images"][rows], captions)

# %% [markdown]
# *Four training images with their captions.* Notice `<START>` and `<END>`: they are part of what a model reads and predicts. Without `<END>` a model could not say that it has finished.

# %% [markdown]
# ## A vanilla RNN: one step
#
# You read this sentence word by word, and each word changes what you have in mind. A recurrent network does the same with a vector, the *hidden state* $h$. One step mixes the new input $x_t$ with the previous state $h_{t-1}$ and passes the sum through $\tanh$, which keeps it between $-1$ and $1$:
#
# $$h_t = \tanh(x_t W_x + h_{t-1} W_h + b)$$
#
# The same $W_x$, $W_h$ and $b$ are used at every step, so a network of fixed size can read a sequence of any length.

# %%
figure = draw.unrolled_rnn()

# %% [markdown]
# *The network unrolled over four steps: states move to the right, inputs come from below, and each state is also an output.*
#
# **Fill in `rnn_step_forward` in `rnn_lstm_captioning.py`.** Besides the new state it returns a *cache*: whatever the backward step will need.
#
# | tensor | shape | meaning |
# |---|---|---|
# | `x` | (N, D) | N inputs of D features, one example per row |
# | `prev_h`, `next_h` | (N, H) | hidden state before and after the step |
# | `Wx`, `Wh`, `b` | (D, H), (H, H), (H,) | the parameters |
#
# **By hand.** Take one example with two features and two hidden units:
#
# $$x = (1,\ 2),\quad h_{t-1} = (0.5,\ -1),\quad W_x = \begin{pmatrix}0.1 & 0.2\\ 0.3 & -0.1\end{pmatrix},\quad W_h = \begin{pmatrix}0.2 & 0.4\\ -0.1 & 0.3\end{pmatrix},\quad b = (0.1,\ 0.1)$$
#
# * $x W_x = (1\cdot 0.1 + 2\cdot 0.3,\ \ 1\cdot 0.2 - 2\cdot 0.1) = (0.7,\ 0)$
# * $h_{t-1} W_h = (0.5\cdot 0.2 + 1\cdot 0.1,\ \ 0.5\cdot 0.4 - 1\cdot 0.3) = (0.2,\ -0.1)$
# * the sum with $b$ is $(1,\ 0)$, and $h_t = \tanh(1,\ 0) = (0.7616,\ 0)$.
#
# **Common mistakes.** Writing $W_x x$ instead of $x W_x$: examples are rows here. Adding $b$ twice, once per product. Forgetting to put the *result* into the cache: the gradient of $\tanh$ is cheapest from its value.

# %%
double = {"dtype": torch.float64}
x, prev_h = torch.tensor([[1, 2]], **double), torch.tensor([[0.5, -1]], **double)
Wx, Wh = (
    torch.tensor([[0.1, 0.2], [0.3, -0.1]], **double),
    torch.tensor([[0.2, 0.4], [-0.1, 0.3]], **double),
)
b = torch.tensor([0.1, 0.1], **double)
next_h, cache = lesson.rnn_step_forward(x, prev_h, Wx, Wh, b)
print("next_h =", next_h.round(decimals=4))
session.check_error("next_h by hand", next_h, torch.tensor([[0.7616, 0]], **double), 1e-4)

# %%
session.exercise("rnn_step_forward")
case = load_case("captioning", "rnn_step_forward", **to_double)
expected_h, _ = lesson.rnn_step_forward(*case.inputs.values())
session.check_error("next_h", expected_h, case.expected["next_h"], 1e-8)
Table([{"tensor": name, "shape": str(tuple(value.shape))} for name, value in case.inputs.items()])

# %% [markdown]
# ### One step backward
#
# During training the loss tells us how it changes with $h_t$: that is the incoming gradient $dh_t$. The step must pass this on to everything it was computed from. Write $s$ for the gradient at the argument of $\tanh$. Since $\tanh' = 1 - \tanh^2$, and with $\odot$ for the product element by element,
#
# $$s = dh_t \odot (1 - h_t^2)$$
#
# and the rest is the chain rule for a matrix product:
#
# $$dx = s W_x^\top, \quad dh_{t-1} = s W_h^\top, \quad dW_x = x^\top s, \quad dW_h = h_{t-1}^\top s, \quad db = \sum_n s_n$$
#
# **Fill in `rnn_step_backward`.** You need not memorise where the transposes go: every gradient has the shape of the tensor it belongs to. For `Wx` this decides everything. $W_h$ is square, so there the shape does not tell $s W_h$ from $s W_h^\top$: follow the pattern of `dx` and `dWx`.
#
# | gradient | must have the shape | product |
# |---|---|---|
# | `dx` | (N, D) | (N, H) times (H, D) |
# | `dprev_h` | (N, H) | (N, H) times (H, H) |
# | `dWx` | (D, H) | (D, N) times (N, H): the product sums over examples |
# | `dWh` | (H, H) | (H, N) times (N, H) |
# | `db` | (H,) | a sum of (N, H) over examples |
#
# **By hand.** The same step as above, with $dh_t = (1,\ 0.5)$. The slopes are $1 - h_t^2 = (1 - 0.58,\ 1 - 0) = (0.42,\ 1)$, hence $s = (0.42,\ 0.5)$ and
#
# * $dx = (0.42\cdot 0.1 + 0.5\cdot 0.2,\ \ 0.42\cdot 0.3 - 0.5\cdot 0.1) = (0.142,\ 0.076)$
# * $dh_{t-1} = (0.42\cdot 0.2 + 0.5\cdot 0.4,\ \ -0.42\cdot 0.1 + 0.5\cdot 0.3) = (0.284,\ 0.108)$
# * $dW_x = \begin{pmatrix}1\cdot s\\ 2\cdot s\end{pmatrix} = \begin{pmatrix}0.42 & 0.5\\ 0.84 & 1\end{pmatrix}$, $\quad dW_h = \begin{pmatrix}0.5\, s\\ -1\, s\end{pmatrix} = \begin{pmatrix}0.21 & 0.25\\ -0.42 & -0.5\end{pmatrix}$, $\quad db = s$
#
# Look at the first unit: its value 0.76 is close to 1, where $\tanh$ is flat, so less than half of its gradient gets through. Remember this; it is where gradients begin to vanish.
#
# **Common mistakes.** Using $1 - a^2$ with the *argument* $a$ of $\tanh$ instead of its value. A plain product `dx = s @ Wx` (it runs whenever D equals H, and is wrong). Returning `db` with shape (N, H).

# %%
by_hand = {
    "dx": [[0.142, 0.076]],
    "dprev_h": [[0.284, 0.108]],
    "dWx": [[0.42, 0.5], [0.84, 1]],
    "dWh": [[0.21, 0.25], [-0.42, -0.5]],
    "db": [0.42, 0.5],
}
gradients = lesson.rnn_step_backward(torch.tensor([[1, 0.5]], **double), cache)
for (name, value), gradient in zip(by_hand.items(), gradients):
    session.check_error(f"{name} by hand", gradient, torch.tensor(value, **double), 1e-3)

# %% [markdown]
# How do you know that a gradient is right if nobody has worked it out for you? Move one number a little in both directions and see how the output changes. This is slow but simple, which makes it a good referee for the fast and complicated version. `compute_numeric_gradient(f, value, incoming)` moves the numbers of `value` in place, one at a time, and calls `f` each time; so `step` below can ignore its argument and read `inputs`. The third argument is the incoming gradient. (`load_case`, above, reads recorded inputs and results; later, `case.fill(layer)` puts recorded weights into a layer.)

# %%
session.exercise("rnn_step_backward")


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64).to(**to_double)  # the same on every device


reset_seed(0)
N, D, H = 4, 5, 6
inputs = {"x": randn(N, D), "h": randn(N, H), "Wx": randn(D, H), "Wh": randn(H, H), "b": randn(H)}
out, cache = lesson.rnn_step_forward(*inputs.values())
dnext_h = randn(*out.shape)

# %%
names = ["dx", "dprev_h", "dWx", "dWh", "db"]


def step(_):
    return lesson.rnn_step_forward(*inputs.values())[0]


for name, gradient, value in zip(
    names, lesson.rnn_step_backward(dnext_h, cache), inputs.values()
):
    session.check_error(name, gradient, compute_numeric_gradient(step, value, dnext_h), 1e-8)

# %% [markdown]
# ## A vanilla RNN over a whole sequence
#
# Now repeat the step over $T$ inputs, each time from the state that the last one left.
#
# **Fill in `rnn_forward`.** A loop over `rnn_step_forward` is enough.
#
# | tensor | shape |
# |---|---|
# | `x` | (N, T, D): example first, then time |
# | `h0` | (N, H) |
# | `h` (returned) | (N, T, H): the states *after* each step; `h0` is not among them |
#
# **By hand.** With T = 2 the loop is $h_1 = \tanh(x_1 W_x + h_0 W_h + b)$, then $h_2 = \tanh(x_2 W_x + h_1 W_h + b)$. If the first input is the example above, $h_1 = (0.7616, 0)$ is what the second step starts from.
#
# **Common mistakes.** Starting every step from `h0`. Stacking along `dim=0`, which gives (T, N, H). Writing each state into one large tensor and reading the previous state back from it: autograd then raises an error, since that tensor has changed in the meantime. Collect the states in a list and stack them. (A speed-up to know: $x_t W_x$ does not depend on the state, so all $T$ products can be computed at once; only $h_{t-1} W_h$ has to wait its turn.)

# %%
session.exercise("rnn_forward")
case = load_case("captioning", "rnn_forward", **to_double)
h, _ = lesson.rnn_forward(*case.inputs.values())
session.check_error("h", h, case.expected["h"], case.tolerance["h"])

# %% [markdown]
# ### Back-propagation through time
#
# Each hidden state affects the loss twice: through its own output, and as input to the next step. So its gradient is a sum of two. Walk backward from the last step; at each one, add what comes from both.

# %%
figure = draw.unrolled_rnn(gradients=True)

# %% [markdown]
# *The dashed arrows are the two paths of the gradient: down from each output, and from right to left through time.*
#
# **Fill in `rnn_backward`.** It receives `dh` (N, T, H), the *direct* gradients of all steps; what flows through time is yours to add. The weights were used at every step, so their gradients are sums over all steps: `dx` (N, T, D), `dh0` (N, H), `dWx` (D, H), `dWh` (H, H), `db` (H,).
#
# **By hand.** One feature, one unit, two steps, $W_h = 0.5$. Suppose the slopes $1 - h_t^2$ are 0.8 at step 1 and 0.6 at step 2, and both direct gradients are 1.
#
# | step | direct | from the next step | sum | times slope: $s$ |
# |---|---|---|---|---|
# | 2 | 1 | 0 (there is none) | 1 | 0.6 |
# | 1 | 1 | $0.6 \cdot 0.5 = 0.3$ | 1.3 | 1.04 |
# | $h_0$ | | $1.04 \cdot 0.5 = 0.52$ | | |
#
# So $dh_0 = 0.52$ and $db = 0.6 + 1.04 = 1.64$. On the way from step 2 to $h_0$ the gradient was multiplied by $W_h$ and a slope twice. Ten steps would multiply ten times.
#
# **Common mistakes.** Adding the gradient from the next step *after* the multiplication by the slope. Overwriting `dWx` in every step instead of adding. Pairing step $t$ with $h_t$ instead of $h_{t-1}$ in `dWh`.

# %%
session.exercise("rnn_backward")
reset_seed(0)
N, D, T, H = 2, 3, 10, 5
inputs = {
    "x": randn(N, T, D),
    "h0": randn(N, H),
    "Wx": randn(D, H),
    "Wh": randn(H, H),
    "b": randn(H),
}
out, cache = lesson.rnn_forward(*inputs.values())
dout = randn(*out.shape)

# %%
names = ["dx", "dh0", "dWx", "dWh", "db"]


def whole(_):
    return lesson.rnn_forward(*inputs.values())[0]


for name, gradient, value in zip(names, lesson.rnn_backward(dout, cache), inputs.values()):
    session.check_error(name, gradient, compute_numeric_gradient(whole, value, dout), 1e-6)

# %% [markdown]
# PyTorch can do the same for you: autograd records every operation and plays the record backward. Your gradients and autograd's must agree to the last digits, since neither approximates anything.

# %%
tracked = [value.clone().requires_grad_() for value in inputs.values()]
out, cache = lesson.rnn_forward(*tracked)
with torch.no_grad():
    manual = lesson.rnn_backward(dout, cache)
out.backward(dout)
for name, gradient, value in zip(names, manual, tracked):
    session.check_error(f"{name} as autograd", gradient, value.grad, 1e-10)

# %% [markdown]
# From here on autograd does the backward work. The class `RNN` wraps your function as a layer with its own parameters, and must compute exactly the same.

# %%
rnn = lesson.RNN(D, H).to(**to_double)
x, h0 = randn(N, T, D), randn(N, H)
with_module, without = rnn(x, h0), lesson.rnn_forward(x, h0, rnn.Wx, rnn.Wh, rnn.b)[0]
session.check("RNN equals rnn_forward", rel_error(with_module, without) < 1e-12)

# %% [markdown]
# ## The image as numbers
#
# A convolutional network, RegNetX-400MF, turns an image of 112 x 112 pixels into a 4 x 4 grid of cells with 400 features each. It shrinks each side by a factor of 32, rounding up; the report below is for 224 x 224 pixels, hence 7 x 7.
#
# **A caveat about these weights:** with the real data they come from ImageNet. For the sample world this project trained them itself, and with a lot of help: on 256,000 scenes, many times what the captioners get, the network had to name class, colour, texture and size of an object *from the cell in which it lies*, and the pairs of colour and class *from the mean over all cells* (`dl/weights/files/regnet.md`). So the captioners below learn to say what is there; much of the seeing has been done for them.

# %%
encoder = lesson.ImageEncoder(pretrained=True, verbose=True).to(DEVICE)
session.check("the encoder returns 400 channels", encoder.out_channels == 400)

# %% [markdown]
# ## Words as numbers
#
# Word number $i$ becomes row $i$ of a table of learnt vectors. Nothing is computed; it is a lookup.
#
# The table has shape (V, W): V words in the vocabulary, W numbers per word. **Fill in `WordEmbedding.forward`:** indices (N, T) in, vectors (N, T, W) out; rows are counted from 0. **By hand:** with a table of three rows, the caption $(2, 0)$ becomes row 2 followed by row 0. **Common mistakes.** Multiplying the table by one-hot vectors: the result is the same, but V times slower. Forgetting that the indices may lie on another device than the table: move them there first.

# %%
session.exercise("WordEmbedding.forward")
case = load_case("captioning", "word_embedding_forward", **to_double)
embedding = case.fill(lesson.WordEmbedding(5, 3))
vectors = embedding(case.inputs["x"].cpu())
session.check_error("out", vectors, case.expected["out"], case.tolerance["out"])

# %% [markdown]
# ## The loss of a sentence
#
# At every step the network gives a score to each of the $V$ words. The softmax turns scores into probabilities, and the loss is $-\ln p$ of the right word. Two details matter: `<NULL>` is ignored, and the sum is divided by the number of *captions* $N$, not by the number of words. Losses with the natural logarithm are measured in *nats*: a word of probability $p$ costs $-\ln p$ nats. So for captions of 11 words, a loss of 11 means one nat per word.
#
# **Fill in `temporal_softmax_loss`:** scores `x` (N, T, V) and right words `y` (N, T) in, one number out.
#
# **By hand.** One caption of two words and one `<NULL>`. The model gives the right words probabilities $\tfrac12$ and $\tfrac14$. The loss is $\ln 2 + \ln 4 = 0.69 + 1.39 = 2.08$; what it predicts for `<NULL>` does not matter.
#
# **Common mistakes.** `F.cross_entropy` with its default `reduction="mean"`, which divides by the counted words. Leaving out every caption that contains `<NULL>`, instead of only the positions that hold it. Passing `ignore_index=None` on to PyTorch, which raises an error.

# %%
p = session.predict(
    "A model that knows nothing gives all V = 10 words the same score. Loss per counted word?"
)

# %%
session.exercise("temporal_softmax_loss")
for N, T, V, kept in [(1000, 1, 10, 1.0), (1000, 10, 10, 1.0), (5000, 10, 10, 0.1)]:
    scores, targets = 0.001 * torch.randn(N, T, V), torch.randint(1, V, size=(N, T))
    targets[torch.rand(N, T) > kept] = NULL_index
    loss = lesson.temporal_softmax_loss(scores, targets, NULL_index).item()
    per_word = loss * N / (targets != NULL_index).sum().item()
    session.check(
        f"loss {loss:.3f} for T = {T}, {kept:.0%} kept", abs(per_word - 2.302585) < 1e-3
    )
p.reveal(per_word, "Every word has probability 1/10, and -ln(1/10) = ln 10.")

# %% [markdown]
# ## The captioner
#
# Now the parts meet. The mean of the image's features, projected to $H$ numbers, is the initial state $h_0$: that is how the RNN "sees" the image. Then the network reads the caption word by word, and at each step must predict the *next* word. So it reads all words but the last, and its targets are all words but the first.

# %%
figure = draw.captioner()

# %% [markdown]
# *Words go in at the bottom; the predictions at the top are the same sentence, shifted by one.* During training the *true* word is fed in at every step, even if the model would have predicted another one (**teacher forcing**).
#
# **Fill in `__init__` and `forward` of `CaptioningRNN`.** `__init__` makes four layers, for all three kinds of cell at once: `feature_projection`, `word_embedding`, `recurrent` and `output_projection`; the docstring of the class gives their sizes. (The classes `LSTM` and `AttentionLSTM` can be created before you have filled in their methods.) `encode` and `project` are written for you: `self.project(images)` returns what the recurrent layer starts from, so one `forward` can serve all three. Cover the right column of this table and predict it; N = 32 captions of 17 tokens, and with the sample data V is around 50:
#
# | tensor | shape in general | in the small run below |
# |---|---|---|
# | images | (N, 3, 112, 112) | (32, 3, 112, 112) |
# | features | (N, 400, 4, 4) | (32, 400, 4, 4) |
# | `h0`: mean over cells, projected | (N, H) | (32, 512) |
# | words read | (N, T) | (32, 16) |
# | word vectors | (N, T, W) | (32, 16, 256) |
# | hidden states | (N, T, H) | (32, 16, 512) |
# | scores | (N, T, V) | (32, 16, V) |
# | loss | a single number | about 11 words times $\ln V \approx 4$: 44 |
#
# **By hand.** The caption `<START> a red star <END> <NULL>` has 6 tokens. The network reads the first five, `<START> a red star <END>`, and must predict the last five, `a red star <END> <NULL>`. After reading `<START>` the right word is "a"; after "star" it is `<END>`; what it predicts after `<END>` does not count, since the target is `<NULL>`.
#
# **Common mistakes.** Reading and predicting the same slice: the model then learns to copy. Taking V as the largest index + 1 instead of `len(word_to_idx)`. Putting a $\tanh$ or ReLU after the projections. An output layer without bias.
#
# The check below fills every weight of a tiny model with a ramp from $-1.4$ to $1.3$ and compares the loss with a recorded one. `forward` and `sample` are checked for all three cells further below, once the LSTM and attention exist. Until then, ask for a hint by name: `hint("CaptioningRNN.forward")` or `hint("CaptioningRNN.sample")`.

# %%
session.exercise("CaptioningRNN.__init__")
TINY = dict(
    input_dim=400,
    wordvec_dim=30,
    hidden_dim=40,
    image_encoder_pretrained=False,
    ignore_index=NULL_index,
)
tiny_words, tiny_captions = (
    {"<NULL>": 0, "cat": 2, "dog": 3},
    (torch.arange(130) % 3).view(10, 13),
)
reset_seed(0)
tiny = fill_with_ramp(lesson.CaptioningRNN(tiny_words, cell_type="rnn", **TINY))
loss = tiny(torch.randn(10, 3, 112, 112), tiny_captions)
session.check_error("loss of the RNN captioner", loss, torch.tensor(150.6090393066), 1e-6)

# %% [markdown]
# ### Overfit first
#
# Before a long training, see whether the model can learn *anything*. A model that cannot memorise a few captions has a bug. We take 50 rows, in batches of 32. Like the reference setting, this run leaves out the last partial batch (`drop_last`), so the model sees the same **32 captions** in each of its 80 epochs; the other 18 are never shown.
#
# There are two settings, here and for the full training. The **reference setting**, used with the real data, trains encoder and decoder together. For the **sample world** the encoder is already good, so it stays frozen: its features are computed once, and only the decoder learns. That makes the same run several times faster.

# %%
small = torch.linspace(0, num_train - 1, 50).long()
small_x, small_captions = data_dict["train_images"][small], data_dict["train_captions"][small]
SIZES = dict(input_dim=400, wordvec_dim=256, ignore_index=NULL_index)
OVERFIT = dict(num_epochs=80, batch_size=OVR_BATCH_SIZE, device=DEVICE, plot=False)
overfits = {}
if SAMPLE_DATA:
    reader = lesson.CaptioningRNN(word_to_idx, **SIZES).to(DEVICE)
    small_x = encode_images(reader, small_x)  # (50, 400, 4, 4)

# %%
reset_seed(0)
model = lesson.CaptioningRNN(word_to_idx, cell_type="rnn", hidden_dim=512, **SIZES)
_, history = train_captioner(model, small_x, small_captions, learning_rate=1e-3, **OVERFIT)
overfits["RNN, 1e-3"] = history
session.target(
    "the RNN memorises 32 captions", history[-1] < 0.5, f"{history[-1]:.3f}, target 0.5"
)
session.record(rnn_overfit_loss=history[-1])

# %% [markdown]
# ### Train
#
# The **reference setting** samples 10,000 rows with replacement and trains encoder and decoder together: 512 hidden units, 60 epochs, batches of 256. Its targets for the final training loss are 2.0 (RNN), 1.8 (LSTM) and 0.5 (attention); they are checked when you run it.
#
# For the **sample world** only a decoder of 256 hidden units learns, from features that are computed once, for 15 epochs of shuffled batches of 32. RNN and LSTM start at a learning rate of 0.001, attention at 0.0015; each falls by a tenth per epoch. A section further below asks whether these are good choices. This takes seconds per epoch on a CPU.
#
# Beside the training loss we measure the loss on the validation split after every epoch. The printed losses are those of single batches; the curves come at the end, for all three models together.

# %%
if SAMPLE_DATA:
    few = session.shortened(num_train, 500)
    train_x = encode_images(reader, data_dict["train_images"][:few])
    train_y = data_dict["train_captions"][:few]
    val_x = encode_images(reader, data_dict["val_images"])
    held_out_x = encode_images(reader, data_dict["held_out_images"])
else:
    rows = torch.randint(num_train, size=(num_train,))
    train_x, train_y = data_dict["train_images"][rows], data_dict["train_captions"][rows]
    val_x = data_dict["val_images"]

# %%
REAL = dict(num_epochs=60, batch_size=256)
SAMPLE = dict(num_epochs=15, batch_size=32, lr_decay=0.9, drop_last=False)
TRAIN = dict(device=DEVICE, plot=False, **(SAMPLE if SAMPLE_DATA else REAL))
HIDDEN = 256 if SAMPLE_DATA else 512
LEARNING_RATES = dict(rnn=1e-3, lstm=1e-3, attn=1.5e-3)
if not SAMPLE_DATA:
    LEARNING_RATES = dict(rnn=1e-3, lstm=1e-3, attn=1e-3)

# %%
models, histories, scores = {}, {}, {}
val_y, val_losses = data_dict["val_captions"], {"rnn": [], "lstm": [], "attn": []}


def order():
    return torch.Generator().manual_seed(0) if SAMPLE_DATA else None  # None keeps the order


def settings_of(cell):  # with the real data, a stopped training goes on where it was
    own = dict(learning_rate=LEARNING_RATES[cell], shuffle=order(), measured=val_losses[cell])
    return dict(TRAIN, checkpoint=session.checkpoint(cell), **own)


def validate(model):
    return caption_loss(model, val_x, val_y)


def check_reference(cell, limit):  # of the final training loss, with the real data
    if not SAMPLE_DATA:
        session.target(f"{cell}: reference target {limit}", histories[cell][-1] < limit)


# %%
reset_seed(0)
models["rnn"] = lesson.CaptioningRNN(word_to_idx, cell_type="rnn", hidden_dim=HIDDEN, **SIZES)
run = dict(settings_of("rnn"), after_epoch=validate)
_, histories["rnn"] = train_captioner(models["rnn"], train_x, train_y, **run)
check_reference("rnn", 2.0)

# %% [markdown]
# ### What does it say?
#
# **Fill in `sample`,** for the vanilla RNN at least. Now no true words are fed in: the model starts with `<START>`, takes the word with the highest score (*greedy decoding*), feeds it back as the next input, and so on. Use `self.project` for the first state, and in each round `self.word_embedding`, `self.recurrent.step_forward` and `self.output_projection`. The two columns on the right of the table are for later; the grid $A$ is explained in the section on attention.
#
# **By hand.** If the scores after `<START>` are highest for "a", the next input is the vector of "a", and the state is the one that read `<START>`. After three rounds you might have "a red star".
#
# | carried along | RNN | LSTM | attention LSTM |
# |---|---|---|---|
# | hidden state `h` | starts as the projected mean | the same | mean of the grid $A$ |
# | cell state `c` | | zeros | mean of the grid $A$ |
# | word | `<START>`, then the last prediction | the same | the same |
#
# **Common mistakes.** Feeding `<START>` at every step. Starting from $h_0$ again for each word. Keeping `<START>` in the result, or stopping at `<END>`: the result always has `max_length` words.
#
# Four training images first, then four that the model has never seen. A generated caption can be right and still differ from the true one, since many sentences fit an image. So instead of comparing words we look at what a caption *claims*: with the sample world, **false words are red and bold**. (If a class is not in the scene, its colour is marked only if no object has that colour.)

# %%
shown = {split: torch.arange(8, 12) for split in ("train", "val")}
if SAMPLE_DATA:
    truth = {"train": list(scenes("train", num_train)), "val": list(scenes("val", num_val))}
    val_sentences = list(sentences("val", num_val))

# %%
words = models["rnn"].sample(data_dict["val_images"][:2].to(DEVICE))
session.check("sample returns 15 words per image", words.shape == (2, 15))
for split, rows in shown.items():
    images = data_dict[f"{split}_images"][rows]
    said, _ = caption_images(models["rnn"], images)
    wrong = None
    if SAMPLE_DATA:
        wrong = [measure.wrong_words(s, truth[split][n]) for s, n in zip(said, rows)]
    given = decode_captions(data_dict[f"{split}_captions"][rows], idx_to_word)
    figure = draw.show_generated(images, said, given, wrong, f"[{split}] RNN Generated:")

# %% [markdown]
# *Eight images, each with the caption that the RNN generated and one ground-truth caption (GT).* The sentences are well formed. Look at the red words instead: is it the class, the colour, the texture or the background that goes wrong?

# %%
if SAMPLE_DATA:
    said, _ = caption_images(models["rnn"], val_x)
    scores["rnn"] = score_captions(said, truth["val"], val_sentences)
    session.record(**{f"rnn_{name}": value for name, value in scores["rnn"].items()})
    print(
        f"every claim right in {scores['rnn']['content']:.1%} of the captions,",
        f"an exact match with the given caption in {scores['rnn']['exact']:.1%}",
    )

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
# *The cell state runs along the top. The forget gate decides what is kept, the input gate what is written, the output gate what is shown.* With $f = 1$ and $i = 0$ the memory passes unchanged, and so does its gradient.
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
# "Long short-term memory" is a claim, and you have all you need to test it. How much does the last hidden state depend on an input $k$ steps earlier? The norm of the gradient says so. We compare three untrained layers: an RNN, an LSTM as it is initialised here, and an LSTM whose forget gate starts *open*: a bias of 3, so $f \approx \sigma(3) = 0.95$. The third is called "LSTM, open" below.

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
figure = draw.gradient_reach(reach)

# %%
kept = {name: norms[20] for name, norms in reach.items()}
best = max(kept, key=kept.get)
p.reveal(
    best,
    "Along the cell state each step multiplies by f: 0.95^20 = 0.36, but 0.5^20 = 0.000001.",
)
session.target(
    "an open gate keeps 100 times more gradient",
    kept["LSTM, open"] > 100 * kept["RNN"],
    ", ".join(f"{name} {norm:.1g}" for name, norm in kept.items()),
)
session.target(
    "an LSTM with f = 1/2 is no better than an RNN here", kept["LSTM"] < 10 * kept["RNN"]
)

# %% [markdown]
# *Gradient norm against distance, on a logarithmic scale: two straight lines down, which is exponential decay, and one that stays up. All norms are divided by that of the last input.* So the architecture alone does not remember longer. With zero biases $f$ is $\tfrac12$ on average, so about half of the memory is lost at every step. (The measured norms are larger than $f^{20}$, because part of the gradient takes a second path, through the hidden state and the gates.) What the LSTM has is a *way* to remember: one gate that can be opened, by training or by its initial bias ([Gers et al. 2000](https://doi.org/10.1162/089976600300015015), [Jozefowicz et al. 2015](https://proceedings.mlr.press/v37/jozefowicz15.html)).
#
# Read this curve with care: it is about layers *before* training. Training changes the factors, and a vanilla RNN can learn to remember as well. What a vanishing gradient costs is a signal to learn *from*: an input 20 steps back hardly tells its weights what to change. Captions are short, 7 to 14 words here. So if the LSTM describes images better below, a longer memory is at most part of the reason: its recurrent layer also has four times as many weights.

# %% [markdown]
# ### The LSTM captioner
#
# **Extend `sample` to `cell_type="lstm"` now:** `self.recurrent.step_forward` takes and returns a second state `c`, which starts at zero. Encoder, projection, embedding and loss carry over, so `forward` needs no change if it calls `self.recurrent(vectors, self.project(images))`. The cell below checks the loss only; `sample` is first used under "Train and look". **Common mistake:** throwing `c` away after each word; the loss is right then, and the sentences are nonsense.

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
# Think about what a model could do that ignores the image. There are 32 captions in the batch. It can memorise all 32, guess which one is meant, and the rest follows: that costs $\ln 32 = 3.47$ nats. So a loss near 3.5 can be reached without the image.
#
# The way to find out is to give the model mismatched images: if the loss does not rise, it never looked. We do so for a learning rate of 0.001 as well.

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
p.reveal("no", "A model that ignores the image reaches ln 32 = 3.47.")
session.target("at 1e-3 the LSTM uses the image", fine[0] < 1 and fine[1] > fine[0] + 3)
session.target("mismatched images cost more at 1e-3", fine[1] - fine[0] > coarse[1] - coarse[0])
session.record(lstm_true_overfit_loss=history[-1], lstm_wrong_pictures_loss=fine[1])
Table(
    [
        {"learning rate": rate, "right images": a, "mismatched images": b, "difference": b - a}
        for rate, (a, b) in {"1e-2": coarse, "1e-3": fine}.items()
    ],
    digits=2,
)

# %% [markdown]
# Both runs meet the target, which a model that ignores the image would meet as well. So look at the column *difference*: it says how much a model relies on the image. It is several times as large for the second run as for the first: the second has tied every caption to its image. *Notice how a threshold alone can be met for the wrong reason.*

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
# *The same eight images, now described by the LSTM.* Eight images are too few to say which model is better; a later cell counts over the whole validation split. Look at scenes with two objects: when the model errs, is a colour or a class wrong, or are both there and only swapped?

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
# *The weights of an image sum to 1: more weight on one cell means less on the others.* The division by $\sqrt{H}$ keeps the scores from growing with the size of the vectors; without it the softmax would soon pick a single cell and pass on almost no gradient.
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
# **Common mistakes.** Computing attention once, before the loop: then it is no second look. Asking with $h_t$ instead of $h_{t-1}$. Starting the cell state at zero, as in the plain LSTM.

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
# How low can the loss go? Every scene can be described in five phrasings, and which one was used cannot be seen in the image: that costs $\ln 5 = 1.61$ nats. (The order of the objects costs nothing, because it can be seen: a large object is named first; otherwise they are named from left to right or from top to bottom.) In addition, 6 % of the captions of one object carry a rare word (`<UNK>`), and the image does not show which captions do. With $p = 0.06$ the entropy of that choice is $-p \ln p - (1-p) \ln (1-p) = 0.169 + 0.058 = 0.227$ nats, and it is paid in about half of the captions. Together this is the *floor*: a model that understands every image perfectly, but has not memorised the captions, cannot do better on average.

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
# *Top left: the four runs on 32 captions. The others: training loss (mean of 20 batches) and validation loss of each full training run, with the floor as a grey line. The table gives the training loss as a mean over the last 90 batches, about one epoch.* Compare where curves end rather than how they begin, since the learning rates differ. Where the dashed line stays above the solid one, the model has memorised: what it gains on training captions is of no use for new images. What RNN and LSTM pay beyond the floor on *both* splits is content that they get wrong: they are underfitting, not only memorising.
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
# *Three images, one small map per word.* Follow the colour and class words: the bright cells should lie on the object being named, and move to the other one when the sentence does. Where a word is wrong, its map shows which cells the model read when it made the mistake. For "in the snow" the network looks at the background. The "a" before the second object often looks for it already; at the first "a" anything may be bright. (A cell sees a wider area than the tile that is drawn. Tiles in the first row and column are narrower, because the centres of the cells lie at pixels 0, 32, 64 and 96.)
#
# Does attention really look at what it names? Measure it: the attention on the named object, where it is named correctly, over the object's share of the area. 1 would be chance.

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
# With the sample world every claim of a caption can be checked. RNN and LSTM read one vector in which everything in the scene is mixed; attention can read the cells of one object at a time. If the image shows a red star and a blue fish, a caption about "a blue star and a red fish" has all four words right and still pairs them wrongly: it *swaps* them.

# %%
p = session.predict(
    "Two objects, all four words right. How often does the LSTM swap them (blue star, red fish)?",
    ["almost never", "in about a third of the captions", "in half, as if at random"],
)

# %%
if SAMPLE_DATA:
    scores["attn"] = score_captions(said, truth["val"], val_sentences)
    session.record(**{f"attn_{name}": value for name, value in scores["attn"].items()})
    for values in scores.values():  # of the captions with all four words right
        both, swapped = values["two_both"], values["two_misbound"]
        values["swapped"] = swapped / max(both + swapped, 1e-9)
    p.reveal(
        scores["lstm"]["swapped"],
        "The mean mixes the objects: which colour goes with which class is hard to read from it.",
    )

# %%
QUESTIONS = {"one_pair": "one object, colour and class", "one_content": "one object, all claims"}
QUESTIONS |= {"two_first": "two, first pair", "two_both": "two, both pairs"}
QUESTIONS |= {"swapped": "two, swapped", "two_relation": "two, relation"}
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
draw.score_table(by_name, QUESTIONS | OVERALL)

# %% [markdown]
# *One group of bars per question, one bar per model; the table has the same numbers.*
#
# * "One object" and "two": scenes with so many objects. "First pair": the first pair that is named is in the scene. "Both pairs": both are.
# * "Swapped" (lower is better): of the captions with all four words right, those that pair them wrongly. Half would be swapped if colours were assigned at random.
# * "Relation": of the captions that name both pairs and claim a relation, those in which it holds. Each model has fewer than 100 of these, so differences of a few points mean little.
# * "All claims": every single claim of the sentence is true. Scenes with three objects count in the last two rows only.
#
# Swapping is the *binding problem*, the hard part of scenes with several things. With attention the swaps all but disappear.

# %% [markdown]
# ### Was it the learning rate?
#
# A model can look worse than another only because its learning rate was chosen badly. RNN and LSTM share one above, attention has another. So a script, `dl/training/captioning_experiments.py`, repeated the full training runs at other learning rates: the same sample data, the same initial weights, the same order of batches, the same number of epochs. That takes longer than this notebook, so the results are read from a file; the runs above are added to them.

# %%
p = session.predict(
    "At one common learning rate, what is left of attention's lead over the LSTM?",
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
# *Each mark is one training run: its last validation loss on the left, the captions with every claim right on the right. The lowest validation loss of each model is ringed; the dotted line is the learning rate that all three have in common.*

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
p.reveal(left, f"{lead:.2f}; with each model at its own best, {own_lead:.2f}.")
session.target("attention leads at the common learning rate", lead > 0.1, f"{lead:.2f}")
session.target("and with each at its own best", own_lead > 0.1, f"{own_lead:.2f}")
half, whole = trials["rnn"][5e-4][1], shared["rnn"][1]
session.target("all three are best at it", set(best.values()) == {recorded.COMMON})
session.target("the RNN suffers from half of it", half < 0.75 * whole, f"{half:.2f}, {whole:.2f}")

# %% [markdown]
# *The table: every model at its own best learning rate of those tried (the one with the lowest validation loss), and at 0.001.* All three are best at 0.001, so here the two comparisons are one, and attention leads in it. It was trained at 0.0015 above, which gave it no advantage. But look at the RNN: at half its learning rate it gets about a third fewer captions right, and beside well-tuned models it would have looked even worse than it is. So tune all models with the same care before you compare them, the baseline too. (A caution: these are two or three learning rates and one run each, and the learning rates are chosen on the same validation images on which the models are compared.)

# %% [markdown]
# ### Pairs that never occurred in training
#
# Eight pairs of colour and class, such as red stars, were held out: neither captioner nor encoder has seen one. If a model has learnt "red" and "star" as two things, it can put them together.

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
        both, swapped = values["two_both"], values["two_misbound"]
        values["swapped"] = swapped / max(both + swapped, 1e-9)
    p.reveal(
        NAMES_OF[max(kept_out, key=lambda cell: kept_out[cell]["two_both"])],
        "It reads colour and class off one cell.",
    )

# %%
HELD_OUT = {"one_colour": "one object, colour", "one_pair": "one object, colour and class"}
HELD_OUT |= {"two_both": "two, both pairs", "swapped": "two, swapped"}
if SAMPLE_DATA:
    display(draw.score_table({NAMES_OF[cell]: kept_out[cell] for cell in kept_out}, HELD_OUT))

# %% [markdown]
# The three differ more here than anywhere else. Attention can read colour and class off the same cell, one word after the other, and put them together in a new way. Remember what made that easy: the encoder was trained to name the colour and the class of an object, each by itself, from the cell in which the object lies. Whole pairs it had to name only from the mean over all cells, and the held-out pairs were never among them. The RNN and the LSTM have nothing but that mean.

# %% [markdown]
# ## What none of them learns: the relation
#
# Look at the bars for "relation" again. A model that always claims the same relation, without looking, does no worse:

# %%
if SAMPLE_DATA:
    true_relations = [s.relation() for s in truth["val"] if len(s.objects) == 2]
    favourite = max(set(true_relations), key=true_relations.count)
    chance = true_relations.count(favourite) / len(true_relations)
    best_relation = max(values.get("two_relation", 0) for values in scores.values())
    session.say(
        f'Always saying "{favourite}" is right in **{chance:.0%}** of {len(true_relations)} scenes '
        f"with two objects; the best captioner reaches **{best_relation:.0%}**."
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
        "Zero padding marks the borders of the image, and convolutions carry the mark inward.",
    )
    session.target(
        "one cell's features know their position",
        probed.mean() > 0.5,
        f"{probed.mean():.2f}, chance 0.06",
    )
    session.record(position_probe=probed.mean())
    figure = draw.position_map(probed)

# %% [markdown]
# *Accuracy of the probe for each of the 16 cells: best in the corners, worst in the middle, but everywhere far above chance.* So the guess was wrong: position **is** given, by the convolutions' zero padding ([Islam et al. 2020](https://arxiv.org/abs/2001.08248)). What is in the features is not yet used by the captioner. This is worth remembering: a probe shows what *could* be read, not what a model reads.
#
# ### An experiment: easy positions, and more to learn from
#
# Then let us make the position easy to read: add a fixed random vector per row and one per column to the features of every cell, $features_{rc} + u_r + v_c$. No weight is added and no line of the model changes; only the input does. (Transformers do the same with words, as you will see in the next notebook.)
#
# And there may be too little to learn from. Only a fifth of the 3,000 training captions claim a relation. *Mirrored* images are further examples that nobody has to collect; the price is twice the training time. Turn an image left to right, and exchange "left" and "right" in its caption. Everything else in the caption stays true. (Forget the exchange, and you teach the model that left is right.)

# %%
code = measure.grid_code(400, 4, 4)
if SAMPLE_DATA:
    mirrored_images = data_dict["train_images"][:few].flip(-1)
    mirrored_y = measure.mirrored(train_y, word_to_idx)
    sideways = (mirrored_y != train_y).any(dim=1).nonzero()[:2, 0]
    pairs = [(x[n], y[n]) for n in sideways for x, y in (
        (data_dict["train_images"], train_y), (mirrored_images, mirrored_y))]
    titles = [draw.plain(decode_captions(caption, idx_to_word)) for _, caption in pairs]
    figure = draw.show_captioned(torch.stack([image for image, _ in pairs]), titles)

# %% [markdown]
# *Two training images, each with its mirror image and the captions of both.*
#
# A script trained the attention model with either change alone. Here you train it with both. Everything else is as before, so the runs with one change and with none are the comparison (an *ablation*: the same training without the one thing that is tested).

# %%
p = session.predict(
    "With position code and mirrored images, which fraction of the claimed relations is right?",
    ["a third", "half", "three quarters", "nine in ten"],
)

# %%
if SAMPLE_DATA:
    more_x = torch.cat([train_x, encode_images(reader, mirrored_images)]) + code
    reset_seed(0)
    coded = lesson.CaptioningRNN(word_to_idx, cell_type="attn", hidden_dim=HIDDEN, **SIZES)
    run = dict(TRAIN, learning_rate=LEARNING_RATES["attn"], shuffle=order())
    train_captioner(coded, more_x, torch.cat([train_y, mirrored_y]), **run)

# %%
if SAMPLE_DATA:
    said, _ = caption_images(coded, val_x + code)
    with_both = score_captions(said, truth["val"], val_sentences)
    relation, both = with_both.get("two_relation", 0.0), with_both["two_both"]
    p.reveal(f"{relation:.0%}", "Attention now also returns where it looked.")
    alone = {change: run["two_relation"] for change, run in recorded.changed().items()}
    session.target("relations are learnt", relation >= 0.75, f"{relation:.3f}, limit 0.75")
    session.target("more than by the code alone", relation > alone["position code"] + 0.05)
    session.target("mirrored images alone are no help", alone["mirrored images"] < chance)
    session.target("both pairs profit too", both > scores["attn"]["two_both"], f"{both:.3f}")
    session.record(coded_relation=relation, coded_both=both, coded_content=with_both["content"])

# %%
if SAMPLE_DATA:
    new_pairs = score_captions(caption_images(coded, held_out_x + code)[0], held_out)
    neither = dict(scores["attn"], held_out_both=kept_out["attn"]["two_both"])
    compared = {"neither": neither, **recorded.changed()}
    compared["both"] = dict(with_both, held_out_both=new_pairs["two_both"])
    CHANGED = {"two_relation": "two, relation", "two_both": "two, both pairs"}
    CHANGED |= {"held_out_both": "two held-out objects, both pairs"}
    CHANGED |= {"content": OVERALL["content"]}
    display(draw.score_table(compared, CHANGED))

# %% [markdown]
# *The attention model with neither change, with each alone and with both.* Read the first row. Mirrored images alone leave it where guessing is: more examples do not help a model that cannot read what they are about. The position code alone lifts it to about three quarters. And with the code, the mirrored images are worth their price: about nine in ten claimed relations are right. Both pairs (second row) are named more often with each change than with neither, probably because it helps to know where the first object was when you look for the second; with both changes they are not named more often than with the code alone. Pairs that never occurred in training (third row) gain nothing from the code. One run each, so small differences mean nothing.
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
# Write half a page at most for each, in a new text cell below. When you have an answer of your own, compare it: `session.answer("Q1")` in a new cell for question 1, and likewise "Q2", "Q3", "teacher forcing", "early stopping" and "relations".
#
# 1. Why does `rnn_backward` need the states of the forward pass, and what would it cost to compute them again instead of keeping them? *A full answer names: where the states occur in the gradient, memory and time for both ways, one way between them.*
# 2. The LSTM's forget gate can start open. Which part of the code would you change, why does it help, and when could it hurt? *A full answer names: the block of the bias, the factor per step, the measurement above, a drawback.*
# 3. The captioner always takes the most likely word. When does that go wrong, and what else could it do? *A full answer names: an example, two alternatives, their price.*
#
# ## What next
#
# Attention was added to a recurrent network here. The next notebook, `Transformers`, takes the recurrence away and keeps only attention: then all positions are computed at once, and the question "who tells the model where something is?" comes back.
