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
# **You need:** the chain rule, matrix products, what a convolution with zero padding does, and basic PyTorch (tensors, `nn.Module`, autograd).
#
# **Time:** 8 hours for the exercises, 9 to 10 in all with reading. The computer needs 10 to 15 minutes with the sample data; with the real data (`DL_DATA=real`) plan for a GPU. A good place to stop for a day is before the section on the LSTM: everything up to there needs only the vanilla RNN.
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
from dl.world.scoring import attention_gain, constant_relation, score_captions

# %% [markdown]
# These are the exercises of this notebook, with their difficulty and the minutes to plan for each, in the order in which they stand in `rnn_lstm_captioning.py`. You will meet the last three, those of `CaptioningRNN`, earlier than the table suggests: you start them with the vanilla RNN and complete them once the LSTM and attention exist.
#
# A check that passes says so; one that fails stops the notebook and reports what is wrong. Stuck? Run `hint()` in a new cell: it helps with the last exercise that did not pass, and each call reveals one more hint.
#
# Where a cell says **Predict**, choose an answer or type one *before* you read on: one of the next cells shows the result beside your guess. So run the cells one by one.

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
# In the backward pass we are given how the loss changes with $h_t$, that is $\partial L / \partial h_t$. We call it the incoming gradient and write $dh_t$ for short (and $dx_t$, $dW_x$ and so on for the others). The step must pass it on to everything that $h_t$ was computed from. Write $s$ for the gradient at the argument of $\tanh$. Since $\tanh' = 1 - \tanh^2$, and with $\odot$ for the product element by element,
#
# $$s = dh_t \odot (1 - h_t^2)$$
#
# and the rest is the chain rule for a matrix product:
#
# $$dx = s W_x^\top, \quad dh_{t-1} = s W_h^\top, \quad dW_x = x^\top s, \quad dW_h = h_{t-1}^\top s, \quad db = \sum_n s_n$$
#
# **Fill in `rnn_step_backward`.** You need not memorise where the transposes go: every gradient has the shape of the tensor it belongs to. If $D \neq H$, this decides everything for `Wx`. $W_h$ is square, so there the shape does not tell $s W_h$ from $s W_h^\top$: follow the pattern of `dx` and `dWx`.
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
# How do you know that a gradient is right if nobody has worked it out for you? Move one number a little in both directions and see how the output changes. This is slow but simple, which makes it a good referee for the fast and complicated version. `compute_numeric_gradient(f, value, incoming)` moves the numbers of `value` in place, one at a time, and calls `f` each time; so `step` below can ignore its argument and read `inputs`. The third argument is the incoming gradient. (`load_case`, above, reads inputs and results that were recorded from the original assignment's solution; later, `case.fill(layer)` puts recorded weights into a layer.)

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
# | cache (returned) | what `rnn_backward` needs, for example the list of the caches of all steps |
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
# Each hidden state affects the loss twice: through its own output, and as input to the next step. So its gradient is a sum of two. Walk backward from the last step; at each step, add the two gradients that arrive there.

# %%
figure = draw.unrolled_rnn(gradients=True)

# %% [markdown]
# *The dashed arrows are the two paths of the gradient: down from each output, and from right to left through time.*
#
# **Fill in `rnn_backward`.** It receives `dh` (N, T, H), the *direct* gradients of all steps, and the cache that `rnn_forward` returned; what flows through time is yours to add. The weights were used at every step, so their gradients are sums over all steps: `dx` (N, T, D), `dh0` (N, H), `dWx` (D, H), `dWh` (H, H), `db` (H,).
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
# The table has shape (V, W): V words in the vocabulary, W numbers per word. **Fill in `WordEmbedding.forward`:** indices (N, T) in, vectors (N, T, W) out; rows are counted from 0. **By hand:** with a table of three rows, the caption $(2, 0)$ becomes row 2 followed by row 0. **Common mistakes.** Multiplying the table by one-hot vectors: the result is the same, but takes about V times the work. Forgetting that the indices may lie on another device than the table: move them there first.

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
# **Fill in `temporal_softmax_loss`:** `temporal_softmax_loss(x, y, ignore_index)` takes scores `x` (N, T, V) and right words `y` (N, T) and returns one number; with `ignore_index=None` every word counts.
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
# **Fill in `__init__` and `forward` of `CaptioningRNN`.** `__init__` makes four layers, for all three kinds of cell at once: `feature_projection`, `word_embedding`, `recurrent` and `output_projection`; the docstring of the class gives their sizes. (The classes `LSTM` and `AttentionLSTM` can be created before you have filled in their methods.) `encode` and `project` are written for you: `self.project(images)` returns what the recurrent layer starts from, so one `forward` can serve all three. Cover the right column of this table and predict it; N = 32 captions of 17 tokens, and with the sample data V = 54:
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
# | loss | a single number | about 11 words (`<END>` counted) times $\ln V \approx 4$: 44 |
#
# **By hand.** The caption `<START> a red fish <END> <NULL>` has 6 tokens. The network reads the first five, `<START> a red fish <END>`, and must predict the last five, `a red fish <END> <NULL>`. After reading `<START>` the right word is "a"; after "fish" it is `<END>`; what it predicts after `<END>` does not count, since the target is `<NULL>`.
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
# Before a long training, see whether the model can learn *anything*. If a model cannot memorise a few captions, look for a bug or a bad learning rate. We take 50 rows, in batches of 32. Like the reference setting, this run leaves out the last partial batch (`drop_last`), so the model sees the same **32 captions** in each of its 80 epochs; the other 18 are never shown.
#
# There are two settings, here and for the full training. The **reference setting**, used with the real data, trains encoder and decoder together. For the **sample world** the encoder is already good, so we do not train it: its features are computed once, and only the decoder learns. That makes the same run several times faster.

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
# **By hand.** If the scores after `<START>` are highest for "a", the next input is the vector of "a", and the state is the one that read `<START>`. After three rounds you might have "a red fish".
#
# | carried along | RNN | LSTM | attention LSTM |
# |---|---|---|---|
# | hidden state `h` | starts as the projected mean | the same | mean of the grid $A$ |
# | cell state `c` | | zeros | mean of the grid $A$ |
# | word | `<START>`, then the last prediction | the same | the same |
#
# **Common mistakes.** Feeding `<START>` at every step. Starting from $h_0$ again for each word. Keeping `<START>` in the result, or stopping at `<END>`: the result always has `max_length` words.
#
# Four training images first, then four that the model has never seen. A generated caption can be right and still differ from the true one, since many sentences fit an image. So instead of comparing words we look at what a caption *claims*: with the sample world, **false words are red and bold**. (If a class is not in the scene, its colour is marked only if no object has that colour, its size and texture never. The true relation is taken along the axis on which the two objects lie farther apart: an umbrella a little to the left of a heart and far above it is "above" it. A relation is also false if one of the two objects it names is not in the scene.)

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
# *Eight images, each with the caption that the RNN generated and one ground-truth caption (GT).* The sentences are well formed. Look at the red words instead: is it the class, the colour, the size, the texture, the background or the relation that goes wrong?

# %%
if SAMPLE_DATA:
    said, _ = caption_images(models["rnn"], val_x)
    scores["rnn"] = score_captions(said, truth["val"], val_sentences)
    session.record(**{f"rnn_{name}": value for name, value in scores["rnn"].items()})
    print(
        f"every claim right in {scores['rnn']['content']:.1%} of the captions,",
        f"an exact match with the given caption in {scores['rnn']['exact']:.1%}",
    )
