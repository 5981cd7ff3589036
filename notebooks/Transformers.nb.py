# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A Transformer that learns to calculate
#
# Almost every large language model is a Transformer. In this notebook you build one from its parts and watch it learn arithmetic: it reads a sum (an addition or a subtraction; later also called an *expression* or a *question*), `BOS NEGATIVE 30 subtract NEGATIVE 34 EOS`, and writes the result, `BOS POSITIVE 04 EOS`, as if it translated one sentence into another. Nobody tells it what a digit is or what "subtract" means; it only sees examples. Because you know the right answer to every question, you can also find out what few language models let you find out: has it learnt a *rule*, or has it memorised *answers*?
#
# **You will be able to**
#
# 1. explain attention, work it out by hand for three tokens, and write it with and without loops;
# 2. build encoder and decoder from attention, normalisation, feed-forward blocks and masks, and test each part by itself;
# 3. train the model with teacher forcing, decode greedily, and say what each kind of accuracy measures;
# 4. read attention weights without reading too much into them;
# 5. find out by experiment which ingredient of a training recipe makes a model generalise.
#
# **You need** matrix products, softmax, cross-entropy and a little PyTorch. The captioning notebook helps, since we start from its RNN. No GPU is needed.
#
# **Time:** 7 hours for the exercises, 8 to 9 in all with reading. The computer needs 10 to 15 minutes in all; the longest cell, a whole training run in the last part, says how long it took.
#
# **Papers:** attention for translation: [Bahdanau et al. 2015](https://arxiv.org/abs/1409.0473) · the Transformer: [Vaswani et al. 2017](https://arxiv.org/abs/1706.03762) · layer normalisation: [Ba et al. 2016](https://arxiv.org/abs/1607.06450) · pre-norm and warm-up: [Xiong et al. 2020](https://arxiv.org/abs/2002.04745) · label smoothing: [Szegedy et al. 2015](https://arxiv.org/abs/1512.00567) · weight decay done right (AdamW): [Loshchilov and Hutter 2019](https://arxiv.org/abs/1711.05101) · generalising late: [Power et al. 2022](https://arxiv.org/abs/2201.02177).
#
# **How to work.** You fill in functions in `transformers.py`, which lies one folder above this notebook. Each section explains an idea, works one small example, calls your function and checks it at once on fresh random inputs. A check that fails stops the notebook and says what was wrong; correct the function, save the file and run the cell again. Stuck? Run `hint()` in a new cell: it helps with the last exercise that did not pass, and each call reveals one more hint. Where a cell says **Predict**, choose an answer or type one *before* you run the next cell, which shows the result beside your guess; so run the cells one by one.

# %% [markdown]
# ## Setup
#
# Edits of `transformers.py` are picked up at once, without a restart: that is what the two `autoreload` lines do.

# %%
# %load_ext autoreload
# %autoreload 2
from dl.notebook import hint, setup

session = setup("Transformers")
DEVICE, to_float, to_double = session.device, session.to_float, session.to_double

# %%
import json
import math
import os
import time
from functools import partial

import torch
from torch.utils.data import DataLoader

# %%
import a2_helper
import transformers
from dl import settings, weights
from dl.checks.published import expected, fill_with_ramp
from dl.data import arithmetic
from dl.figures import transformers as show
from dl.figures.tables import Table
from dl.models.transformer_roles import load_shipped
from dl.training import recipes
from dl.utils import eval_mode, replayed_dropout, reset_seed
from transformers import *

transformers.hello_transformers()
print("transformers.py last edited on", time.ctime(os.path.getmtime(transformers.__file__)))
EXPECTED = expected("transformers")  # recorded results, which your functions must reproduce
TOLERANCE = 1e-5

# %% [markdown]
# These are the 25 exercises of this notebook in their order, with difficulty (one to three dots) and minutes. `Encoder`, `Decoder`, `xavier_linear` and `position_encoding_paper` are given in `transformers.py`; training loop and decoding are given in `a2_helper.py`. Three words come up often: *recorded results* are outputs of the original assignment's solution, stored in a file, which your functions must reproduce; the *graded* version of a function is the one that reproduces them; the *reference* recipe (or model) is the assignment's own way to train (or what comes out of it).

# %%
session.exercises()

# %% [markdown]
# ## Why attention? From the RNN to the Transformer
#
# An RNN reads a sentence token by token and carries everything that it has read in one hidden state. That has three costs:
#
# * **One vector for everything.** Whatever the decoder will ever need of the sentence has to fit into the last hidden state.
# * **Long paths.** Between the first and the last of $K$ tokens lie $K - 1$ steps, and on each of them signal and gradient are multiplied by a matrix and squashed. In the captioning notebook you saw gradients fade on this path; the LSTM makes it safer, but no shorter.
# * **One step after the other.** Step $t$ has to wait for step $t-1$, so a GPU with thousands of cores has little to do.
#
# The attention captioner removed the first cost: at each step its decoder could *look back* at all 16 cells of the image and take what it needed. The Transformer takes this idea to its end: if every token can look at every other one directly, no recurrence is needed at all.
#
# | layer on $K$ tokens of $M$ features | steps that must wait for each other | longest path between two tokens | multiplications |
# |---|---|---|---|
# | RNN | $K$ | $K - 1$ | about $K M^2$ |
# | self-attention | 1 | 1 | about $K^2 M + K M^2$ |
#
# There are two prices: the work grows with the *square* of the length, and a layer that sees all tokens at once does not know their *order*. Both come up below.

# %%
figure = show.model_scheme()

# %% [markdown]
# *The whole model. Each block is repeated L times. An embedding is a table with one learnt vector for each token of the vocabulary. The encoder (left) reads the sum and returns one vector per token. The decoder (right) reads the part of the result that is already written, fetches what it needs from the encoder through cross-attention, and predicts the next token.* You build it from the bottom up: tokens (Part I), the blocks (Part II), positions and data (Part III), the whole model (Part IV). Part V asks what it has learnt.

# %% [markdown]
# # Part I: from words to numbers
#
# ## The data
#
# The data are 5,000 sums and their results, as text. Operands run from -49 to 49, so that every result fits into two digits; each number has a sign word and exactly two digits; zero is always `POSITIVE 00`. The rows were drawn at random *with* repetition, a fact that becomes important in the last part.

# %%
data = a2_helper.get_toy_data(session.root / "datasets" / "two_digit_op.json")
for line, result in list(zip(data["inp_expression"], data["out_expression"]))[:4]:
    print(f"{line:42s} -> {result}")

# %% [markdown]
# In the first row, -30 - (-34) is 4; in the second, -34 + (-15) is -49.
#
# ## A number for every word
#
# **Fill in `generate_token_dict` in `transformers.py`.** A network computes with numbers, so every word gets one: its position in a list, the *vocabulary*. Ten digits and six words make 16 entries. `BOS` and `EOS` (begin and end of a sequence) tell the model where to start and when it is done.
#
# *By hand:* the vocabulary `["0", "1", "add"]` becomes `{"0": 0, "1": 1, "add": 2}`.
#
# *Common mistakes:* counting from 1; numbering a sorted copy instead of the list as given.

# %%
VOCAB = [*"0123456789", "POSITIVE", "NEGATIVE", "add", "subtract", "BOS", "EOS"]
SPECIAL_TOKENS = VOCAB[10:]
session.exercise("generate_token_dict")
convert_str_to_tokens = generate_token_dict(VOCAB)
session.check('"0" is token 0', convert_str_to_tokens["0"] == 0)
session.check('"EOS" is token 15', convert_str_to_tokens["EOS"] == 15)
session.check("16 words have 16 numbers", len(set(convert_str_to_tokens.values())) == 16)

# %% [markdown]
# ## Tokens
#
# **Fill in `prepocess_input_sequence`** (spelt like this in the assignment; `preprocess_input_sequence` is the same function). Words in capitals and the two operations stay whole; a number is cut into its digits. So 34 becomes "3" and "4": the model meets ten digits again and again instead of a hundred unrelated numbers, and can use what it learns about a 3 in the tens wherever it occurs.
#
# *By hand:* `BOS POSITIVE 07 EOS` has five tokens: 14, 10, 0, 7, 15.
#
# *Common mistakes:* cutting special words into letters as well; dropping the leading zero by going through `int("07")`; returning a list of lists.

# %%
words = "BOS NEGATIVE 3 0 subtract NEGATIVE 3 4 EOS".split()
session.exercise("prepocess_input_sequence")
first = data["inp_expression"][0]
tokens = preprocess_input_sequence(first, convert_str_to_tokens, SPECIAL_TOKENS)
figure = show.token_strip(words, tokens)

# %% [markdown]
# *The nine tokens of the first sum: special words in orange and grey, digits in blue, with their numbers and positions below.* The function cuts numbers of any length; the next check uses four digits.

# %%
for name in [f"tokens_{side}_{n}" for side in ("in", "out") for n in range(1, 5)]:
    line, wanted = EXPECTED[name]["inputs"]["input_str"], EXPECTED[name]["expected"]["out"]
    tokens = preprocess_input_sequence(line, convert_str_to_tokens, SPECIAL_TOKENS)
    session.check(line, tokens == wanted, f"{len(tokens)} tokens")

# %% [markdown]
# # Part II: building blocks
#
# ## Attention: asking the other tokens
#
# Does the ones digit of 42 - 17 need a borrow? That depends on the 2 and on the 7, which stand four positions apart. Attention lets every token fetch what it needs from any other. A token sends out a **query** $q$ ("what am I looking for?"), every token shows a **key** $k$ ("what do I have?"), and each offers a **value** $v$ ("this is what you get"). The dot product of query and key, the *score*, says how well the two match. A softmax turns the scores into **attention weights**, which are positive and sum to one. The output is the weighted mean of the values. Written for all tokens at once, with the queries, keys and values as rows of the matrices $Q$, $K$ and $V$, and $M$ features in each query and key:
#
# $$ y = \operatorname{softmax}\left(\frac{Q K^T}{\sqrt{M}}\right) V $$
#
# It works like a dictionary, but a soft one: instead of the value of the one key that matches, you get a mixture of all values, in which the best matches weigh most. That is what makes it differentiable.

# %%
figure = show.attention_scheme()

# %% [markdown]
# *One query is compared with three keys; the three attention weights decide how much of each value goes into the output.* Notice what does not appear: the positions of the tokens. Attention by itself knows no order.
#
# ### Three tokens by hand
#
# Take $M = 4$ features, so $\sqrt{M} = 2$, and the query $q_1 = (2, 0, 1, 0)$. Values are written with their first two features; the others are 0.
#
# | token | key | score $q_1 \cdot k$ | divided by 2 | exp | attention weight | value |
# |---|---|---|---|---|---|---|
# | 1 | (1, 0, 0, 0) | 2 | 1 | 2.72 | 2.72 / 11.11 = 0.24 | (10, 0) |
# | 2 | (1, 1, 2, 0) | 4 | 2 | 7.39 | 7.39 / 11.11 = 0.67 | (0, 10) |
# | 3 | (0, 1, 0, 1) | 0 | 0 | 1.00 | 1.00 / 11.11 = 0.09 | (5, 5) |
#
# With three digits, the output is $0.245 \cdot (10, 0) + 0.665 \cdot (0, 10) + 0.090 \cdot (5, 5) = (2.90, 7.10)$. The second query, $q_2 = (0, 0, 0, 0)$, asks for nothing: all scores are 0, all weights 1/3, and it gets the plain mean, (5, 5).

# %%
sharper = session.predict(
    "The third query is four times the first. What becomes of the weight 0.67 of the second key?",
    ["it stays 0.67", "about 0.80", "about 0.98", "exactly 1"],
)

# %% [markdown]
# **Fill in `scaled_dot_product_two_loop_single`**: one sequence, query by query and key by key. It is slow, but each line is a step of the table above. The version without loops will be tested against the one with two loops.
#
# In shapes, here and below, $N$ is the number of sequences in a batch, $K$ the number of tokens (only in the formula above is it the matrix of keys), $M$ the number of features.
#
# | | shape |
# |---|---|
# | `query`, `key`, `value` | (K, M) |
# | scores and weights of one query | (K,) |
# | output | (K, M) |
#
# *Common mistakes:* forgetting the division by $\sqrt{M}$, or dividing by $M$; taking the softmax over the queries instead of the keys; dividing by the sum before all keys have been added up.

# %%
session.exercise("scaled_dot_product_two_loop_single")
query = torch.tensor([[2.0, 0, 1, 0], [0, 0, 0, 0], [8, 0, 4, 0]])
key = torch.tensor([[1.0, 0, 0, 0], [1, 1, 2, 0], [0, 1, 0, 1]])
value = torch.tensor([[10.0, 0, 0, 0], [0, 10, 0, 0], [5, 5, 0, 0]])
y = scaled_dot_product_two_loop_single(query, key, value)
by_hand = torch.tensor([[2.9, 7.1], [5.0, 5.0]])
session.check("as by hand", torch.allclose(y[:2, :2], by_hand, atol=0.01))
why = "Divided by 2, its scores are 4, 8 and 0, and exp(8) is far more than exp(4)."
sharper.reveal(f"about {y[2, 1].item() / 10:.2f}", why)

# %% [markdown]
# This is also why the formula divides by $\sqrt{M}$. A dot product of two random vectors is a sum of $M$ terms and grows like $\sqrt{M}$. With large scores the softmax is nearly all or nothing, and where it is flat at 0 or 1, hardly any gradient flows. The division keeps the scores at about the same size for any $M$.
#
# The same function on the recorded inputs:

# %%
query = torch.linspace(-0.4, 0.6, 20).reshape(5, 4)
key = torch.linspace(-0.8, 0.5, 20).reshape(5, 4)
value = torch.linspace(-0.3, 0.8, 20).reshape(5, 4)
y = scaled_dot_product_two_loop_single(query, key, value)
wanted = EXPECTED["sdp_two_loop_single"]["expected"]["y"]
session.check_error("attention, one sequence", y, wanted, TOLERANCE)

# %% [markdown]
# **Fill in `scaled_dot_product_two_loop_batch`**: now for a batch of $N$ sequences, `(N, K, M)`. Each query is compared with all keys at once, so the two loops that are left run over the batch and over the queries. One query `(M,)` against all keys `(K, M)` is a matrix-vector product, `(K,)`.
#
# *By hand:* put the three keys of the example above into a (3, 4) matrix. Its product with the query is (2, 4, 0): all scores of that query at once.
#
# *Common mistakes:* mixing sequences, when query and keys must come from the same row of the batch; one softmax over the scores of all queries instead of one for each query.

# %%
session.exercise("scaled_dot_product_two_loop_batch")
query = torch.linspace(-0.4, 0.6, 40).reshape(2, 5, 4)
key = torch.linspace(-0.8, 0.5, 40).reshape(2, 5, 4)
value = torch.linspace(-0.3, 0.8, 40).reshape(2, 5, 4)
y = scaled_dot_product_two_loop_batch(query, key, value)
wanted = EXPECTED["sdp_two_loop_batch"]["expected"]["y"]
session.check_error("attention, two loops", y, wanted, TOLERANCE)

# %% [markdown]
# **Fill in `scaled_dot_product_no_loop_batch`**: two batched matrix products with a softmax between them. Queries and keys may differ in number, $K_Q$ and $K_K$, and a value may have a width of its own, $M_V$. The function also returns the attention weights, which we will look at later, and it takes a mask of shape (N, K_Q, K_K). Where the mask is True, the query must not read the key: set that score, already divided by $\sqrt{M}$, to $-10^9$ before the softmax, so that its weight becomes 0. With `mask=None` nothing changes. What masks are for comes under "No looking ahead".
#
# | | shape |
# |---|---|
# | `query` | (N, K_Q, M) |
# | `key` | (N, K_K, M) |
# | `value` | (N, K_K, M_V) |
# | weights | (N, K_Q, K_K): a row per query, summing to 1 over the keys |
# | output | (N, K_Q, M_V) |
#
# *By hand:* with $N = 1$, the queries (1, 0) and (0, 1) and the keys (1, 1) and (0, 2), the product of the queries with the transposed keys is $\begin{pmatrix}1 & 0\\ 1 & 2\end{pmatrix}$: a row per query, a column per key. The rows are divided by $\sqrt 2$, and each gets a softmax of its own.
#
# *Common mistakes:* transposing the batch axis as well (`.T` reverses *all* axes); `softmax(dim=1)`, which sums to one over the queries.

# %%
session.exercise("scaled_dot_product_no_loop_batch")
y, attended = scaled_dot_product_no_loop_batch(query, key, value)
wanted = EXPECTED["sdp_no_loop_batch"]["expected"]["y"]
session.check_error("attention, no loop", y, wanted, TOLERANCE)
slow = scaled_dot_product_two_loop_batch(query, key, value)
session.check_error("no loop against two loops", y, slow, 1e-6)
session.check("weights sum to 1", torch.allclose(attended.sum(dim=-1), torch.ones(2, 5)))

# %% [markdown]
# ### What does length cost?
#
# Every token asks every token, itself included, so a sequence of $K$ tokens makes $K^2$ scores. We measure five lengths, each twice the one before.

# %%
cost = session.predict("Twice as many tokens: how many times as long does one call take?")

# %%
LENGTHS, seconds = [128, 256, 512, 1024, 2048][: session.shortened(5, 3)], []
for length in LENGTHS:
    timed = torch.randn(3, 4, length, 256)  # batch of 4, width 256
    seconds.append(a2_helper.time_call(partial(scaled_dot_product_no_loop_batch, *timed)))

# %%
figure, exponent = show.growth(LENGTHS, seconds)
cost.reveal(f"{2**exponent:.1f} times", "K tokens make K times K scores.")
session.target("time grows clearly faster than length", exponent > 1.2, f"exponent {exponent:.2f}")
session.record(attention_time_exponent=exponent)

# %% [markdown]
# *Time of one call against the length, both axes logarithmic: the points lie close to a line, whose slope is the exponent.* The scores alone would give 2. Work that grows more slowly (reading the inputs, starting an operation) can pull the exponent down; attention weights that no longer fit into the processor's cache can push it up. Our sums have 9 tokens: nothing to fear. A book has a hundred thousand.
#
# ## One head
#
# **Fill in `SelfAttention.__init__` and `SelfAttention.forward`.** Where do queries, keys and values come from? Each is a linear layer's view of the token vectors, and the three layers are learnt: they decide what a token asks for, what it shows and what it gives away. When queries, keys and values all come from the same sequence, this is called *self*-attention. `SelfAttention` holds the three layers and keeps the latest attention weights in `weights_softmax`, to look at.
#
# | | shape |
# |---|---|
# | input | (N, K, dim_in) |
# | after `q` and `k` | (N, K, dim_q): equal sizes, or there is no dot product |
# | after `v`, and output | (N, K, dim_v) |
#
# The next checks compare gradients too. They build your module, overwrite its weights with evenly spaced numbers (a *ramp*) and send a recorded gradient back from the output. Make every linear layer with `xavier_linear(fan_in, fan_out)` (number of features in and out; it makes an `nn.Linear` and then samples its weight again, uniformly between $\pm\sqrt{6/(\text{fan in} + \text{fan out})}$).
#
# *By hand:* two tokens with one feature each, 1 and 0, and layers without bias that multiply by 2 (`q`), 1 (`k`) and 10 (`v`). Token 1 has the query 2; the keys are 1 and 0, so its scores are 2 and 0, its weights $e^2/(e^2 + 1) = 0.88$ and 0.12, and with the values 10 and 0 it gets 8.8. Token 2 has the query 0, weighs both tokens alike and gets 5.
#
# *Common mistakes:* not passing `mask` on to `scaled_dot_product_no_loop_batch`; keeping `weights_softmax` without `.detach()`, which keeps the whole graph of the last pass in memory; passing the input `key` through all three layers, instead of `query`, `key` and `value`.

# %%
session.exercise("SelfAttention.__init__", "SelfAttention.forward")
attention, case = fill_with_ramp(SelfAttention(4, 4, 4)), EXPECTED["self_attention"]
query = torch.linspace(-0.4, 0.6, 32).reshape(2, 4, 4).requires_grad_()
key = torch.linspace(-0.8, 0.5, 32).reshape(2, 4, 4)
value = torch.linspace(-0.3, 0.8, 32).reshape(2, 4, 4)
y = attention(query, key, value)
y.backward(torch.tensor(case["dy"]))
session.check_error("SelfAttention", y, case["expected"]["y"], TOLERANCE)
session.check_error("its gradient", query.grad, case["expected"]["grad_query"], TOLERANCE)

# %% [markdown]
# ## Several heads
#
# **Fill in `MultiHeadAttention.__init__` and `MultiHeadAttention.forward`;** keep the heads in `self.heads`, an `nn.ModuleList`, which later cells read. One softmax makes one weighted mean. A token that needs two things at once, its partner digit *and* the sign, would get a blend of both. So $H$ heads attend side by side, each with layers of its own, usually into $M/H$ features; their outputs are concatenated, and one more linear layer projects them back to $M$.

# %%
figure = show.heads_scheme()

# %% [markdown]
# *Four heads between the input and the layer that joins them.* Heads of $M/H$ features are together as wide as one full head: only the last linear layer comes on top.
#
# | with H = 2 heads, M = 4, 8 features per head (as in the check, wider than usual on purpose) | shape |
# |---|---|
# | input | (N, K, 4) |
# | each head | (N, K, 8) |
# | concatenated | (N, K, 16) |
# | output | (N, K, 4) |
#
# *By hand:* two heads of width 1 return 3 and 5 for a token. Concatenated, that is $(3, 5)$; a last layer with the weight rows $(1, 1)$ and $(1, -1)$ makes $(8, -2)$ of it.
#
# *Common mistakes:* forgetting to give every head the mask; taking `dim_out` for the width of all heads together (it is the width of *each*); a plain Python list of heads, whose weights the optimiser does not see (use `nn.ModuleList`); concatenating along the tokens.

# %%
session.exercise("MultiHeadAttention.__init__", "MultiHeadAttention.forward")
attention = fill_with_ramp(MultiHeadAttention(2, 4, 8))
case = EXPECTED["multi_head_attention"]
query = query.detach().clone().requires_grad_()
y = attention(query, key, value)
y.backward(torch.tensor(case["dy"]))
session.check_error("MultiHeadAttention", y, case["expected"]["y"], TOLERANCE)
session.check_error("its gradient", query.grad, case["expected"]["grad_query"], TOLERANCE)

# %% [markdown]
# ## Layer normalisation
#
# **Fill in `LayerNormalization.__init__` and `LayerNormalization.forward`.** Layers upon layers let numbers grow or shrink. Layer normalisation gives every token mean 0 and variance 1 over its own features, and then lets the network choose a scale $\gamma$ and a shift $\beta$, one number per feature each:
#
# $$ y = \gamma \, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta $$
#
# The small $\epsilon = 10^{-10}$ is there for rows of equal numbers, whose variance is 0.
#
# *By hand:* $x = (1, 1, 5, 5)$ has mean 3 and variance $(4 + 4 + 4 + 4)/4 = 4$, so with $\gamma = 1$ and $\beta = 0$ it becomes $(-1, -1, 1, 1)$.

# %%
figure = show.norm_scheme()

# %% [markdown]
# *Which numbers share one mean and one variance.* You know the left one from image networks:
#
# | | batch normalisation | layer normalisation |
# |---|---|---|
# | mean and variance over | all tokens of the batch, for one feature | all features, for one token |
# | does a token depend on the other rows of the batch? | yes | no |
# | training and evaluation | differ: running averages | are the same |
# | a batch of one, sequences of unequal length | trouble | no trouble |
#
# The last two rows are why Transformers use layer normalisation: while decoding, the model meets one sequence that grows token by token.
#
# *Common mistakes:* `torch.var` and `torch.std` divide by $M - 1$; here the variance is divided by $M$ (the example above would give ±0.87). Adding $\epsilon$ to $\sigma$ instead of $\sigma^2$. Forgetting `keepdim=True`. The recorded input has little variance (0.026), so the check notices the size of $\epsilon$: PyTorch's default of $10^{-5}$ would already fail.

# %%
session.exercise("LayerNormalization.__init__", "LayerNormalization.forward")
norm, case = LayerNormalization(4), EXPECTED["layer_normalization"]
by_hand = norm(torch.tensor([[1.0, 1, 5, 5]])).detach()
session.check("as by hand", torch.allclose(by_hand, torch.tensor([[-1.0, -1, 1, 1]]), atol=1e-4))
x = torch.linspace(-0.4, 0.6, 8).reshape(2, 4).requires_grad_()
y = norm(x)
y.backward(torch.tensor(case["dy"]))
session.check_error("LayerNormalization", y, case["expected"]["y"], TOLERANCE)
session.check_error("its gradient", x.grad, case["expected"]["grad_x"], TOLERANCE)

# %% [markdown]
# ## Feed-forward block
#
# **Fill in `FeedForwardBlock.__init__` and `FeedForwardBlock.forward`.** Attention only mixes tokens, and the mixing is linear in the values. Working with what was fetched is the job of a small network that is applied to each token by itself: linear layer, ReLU, linear layer, from $M$ features to `hidden_dim_feedforward` and back. With a hidden size of $4M$, as in the full model of Part IV, it holds two thirds of an encoder block's weights.
#
# *By hand:* with one feature, weights 2 and 3 and no bias, the input 1 becomes $3 \cdot \max(0, 2) = 6$ and the input -1 becomes 0. Without the ReLU the two layers would be one: multiply by 6.
#
# *Common mistakes:* a second ReLU at the end (the output could then only add, never subtract); an output of the hidden size.

# %%
session.exercise("FeedForwardBlock.__init__", "FeedForwardBlock.forward")
feed_forward = fill_with_ramp(FeedForwardBlock(4, 8))
case = EXPECTED["feed_forward"]
x = torch.linspace(-0.4, 0.6, 8).reshape(2, 4).requires_grad_()
y = feed_forward(x)
y.backward(torch.tensor(case["dy"]))
session.check_error("FeedForwardBlock", y, case["expected"]["y"], TOLERANCE)
session.check_error("its gradient", x.grad, case["expected"]["grad_x"], TOLERANCE)

# %% [markdown]
# ## Encoder and decoder blocks
#
# Now the pieces become blocks. The output of each stage is *added* to its own input (a residual connection), so a stage only has to learn what to change, and gradients have a short way back. The sum is normalised, and dropout sets some features to zero while training.

# %%
figure = show.block_scheme()

# %% [markdown]
# *The encoder block (left: self-attention, feed-forward) and the decoder block (right), which has cross-attention in the middle: its queries come from the result written so far, its keys and values from the encoder.* The dashed lines are the residual connections. One block of each is drawn: in a stack, every further block reads the one before it, and all decoder blocks take keys and values from the *last* encoder block.
#
# **Pre-norm and post-norm.** With $f$ for a stage, this model (like the paper's) is *post-norm*; most of today's models are *pre-norm*:
#
# * post-norm: $x \leftarrow \operatorname{norm}(x + f(x))$. Every residual connection passes through a normalisation; training from scratch usually needs a warm-up, small learning rates at first (Part IV says why).
# * pre-norm: $x \leftarrow x + f(\operatorname{norm}(x))$. A straight path of additions leads from the loss to the embedding; deep stacks train more easily.
#
# **Where this model deviates from the paper.** The recorded results fix a few choices. It is good to know them before you compare your code with other people's:
#
# | | Vaswani et al. 2017 | here |
# |---|---|---|
# | dropout in a block | on the stage's output, *before* it is added: $\operatorname{norm}(x + \operatorname{drop}(f(x)))$ | *after* the normalisation: $\operatorname{drop}(\operatorname{norm}(x + f(x)))$; the next residual connection starts from the dropped tensor |
# | embeddings | multiplied by $\sqrt{M}$, then positions are added, then dropout | neither factor nor dropout |
# | positions | many wavelengths | the graded function has a floor and only one wavelength (Part III); the paper's is given too |
# | embedding and output layer | share their weights | do not |
# | $\epsilon$ of the normalisation | not stated | $10^{-10}$ |
#
# **Fill in `EncoderBlock.__init__` and `EncoderBlock.forward`.** Name the attention `MultiHeadBlock` and the dropout `dropout`: the notebook reads both. Each of the $H$ heads gets $M/H$ features. Every shape stays (N, K, M).
#
# *By hand,* without dropout: let a token be $x = (1, 3)$ and its attention result $(2, 4)$. The sum $(3, 7)$ is normalised to $(-1, 1)$. If the feed-forward block makes $(0, 2)$ of *that*, the second sum is $(-1, 1) + (0, 2) = (-1, 3)$, which is normalised to $(-1, 1)$ again.
#
# *Common mistakes:* one `LayerNormalization` for both stages (each has its own scale and shift); starting the second addition from `x` instead of from the first stage's result; normalising before adding.
#
# Dropout samples random masks, and from the same seed, today's PyTorch samples other masks than the version that produced the recorded results. So the recorded masks are played back in place of random ones.

# %%
session.exercise("EncoderBlock.__init__", "EncoderBlock.forward")
x = torch.linspace(-0.4, 0.6, 32).reshape(2, 4, 4)
for name, num_heads in (("encoder_block_1", 2), ("encoder_block_2", 1)):
    block, case = fill_with_ramp(EncoderBlock(num_heads, 4, 8, 0.2)), EXPECTED[name]
    with replayed_dropout(case["dropout_calls"]) as unused:
        out = block(x)
    if not unused:  # your dropout takes one mask per stage; the check knows other ways, too
        claim = f"EncoderBlock, heads: {num_heads}"
        session.check_error(claim, out, case["expected"]["out"], TOLERANCE)

# %% [markdown]
# ### No looking ahead
#
# **Fill in `get_subsequent_mask`.** While training, the decoder reads the *true* result and has to predict each next token. It could simply copy the answer, which stands one position further on. So a *causal mask* forbids every token to read later ones. For three tokens, with True for forbidden:
#
# | reads → | BOS | POSITIVE | 0 |
# |---|---|---|---|
# | **BOS** | False | True | True |
# | **POSITIVE** | False | False | True |
# | **0** | False | False | False |
#
# The mask works on the scores after the division by $\sqrt{M}$: a forbidden one becomes $-10^9$ *before* the softmax, so its weight is 0 and the other weights still sum to one.
#
# *By hand:* let the token `POSITIVE` have the divided scores (0, 0, ln 2 = 0.69). Masked, they are $(0, 0, -10^9)$, and the weights are (1/2, 1/2, 0). If you set the weight to zero *after* the softmax instead, you get (1/4, 1/4, 0): the row no longer sums to one, and worse, the future token still decides how small the other weights are.
#
# The input is (N, K), of which only the sizes and the device count; the result is a boolean (N, K, K) on the same device. (Take care with `F.scaled_dot_product_attention`: in its boolean masks True means "may read".) In real data sequences have different lengths and are padded; then a mask also forbids the padding, as keys. Here all questions have 9 tokens and all results 5, so there is none.
#
# *Common mistakes:* forbidding the diagonal too (then the first token has nothing to read, and its weights are spread evenly over all tokens, the future included); the transposed mask, which forbids the past; a mask on the CPU when the model is on a GPU.

# %%
session.exercise("get_subsequent_mask")
mask = get_subsequent_mask(torch.zeros(1, 3))
scores = torch.tensor([[[0.0, 0.0, math.log(2)]] * 3])  # each of three queries has these scores
query, key = scores * math.sqrt(3), torch.eye(3)[None]  # made so that q·k/√3 gives the scores
y, attended = scaled_dot_product_no_loop_batch(query, key, torch.ones(1, 3, 1), mask)
figure = show.mask_and_weights(mask[0], attended[0], ["BOS", "POSITIVE", "0"])
wanted = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]])
session.check("as by hand", torch.allclose(attended[0], wanted, atol=1e-6))

# %% [markdown]
# *Left the mask: everything above the diagonal is dark, forbidden. Right the weights that come out: each row sums to one over what it may read.* Now the recorded inputs:

# %%
mask = get_subsequent_mask(torch.linspace(-0.4, 0.6, 12).reshape(4, 3))
wanted = EXPECTED["subsequent_mask"]["expected"]["mask"]
session.check("the mask forbids exactly what comes later", mask.tolist() == wanted)
query = torch.linspace(-0.4, 0.6, 36).reshape(4, 3, 3)
key = torch.linspace(-0.1, 0.2, 36).reshape(4, 3, 3)
value = torch.linspace(0.4, 0.8, 36).reshape(4, 3, 3)
y, attended = scaled_dot_product_no_loop_batch(query, key, value, mask)
wanted = EXPECTED["sdp_no_loop_batch_masked"]["expected"]["y"]
session.check_error("masked attention", y, wanted, TOLERANCE)
session.check("forbidden tokens get weight 0", attended[mask].abs().max().item() == 0.0)

# %% [markdown]
# **Fill in `DecoderBlock.__init__` and `DecoderBlock.forward`.** Name the two attentions `attention_self` and `attention_cross` and the dropout `dropout` (later cells read them); each head gets $M/H$ features. Three stages: masked self-attention, cross-attention, feed-forward; each is added, normalised and dropped as in the encoder block. In cross-attention the decoder asks and the encoder answers, so the two lengths may differ:
#
# | | shape |
# |---|---|
# | `dec_inp` (queries) | (N, K_Q, M) |
# | `enc_inp` (keys and values) | (N, K_K, M) |
# | `mask`, for the self-attention only | (N, K_Q, K_Q) |
# | output | (N, K_Q, M) |
#
# *By hand:* two tokens are written, and the encoder has read nine. The self-attention weights are 2 x 2, and the upper right one is 0; the cross-attention weights are 2 x 9, with no zero forced on them; two tokens come out.
#
# *Common mistakes:* masking the cross-attention as well (the whole sum is known, nothing has to be hidden); taking the queries from the encoder; one `MultiHeadAttention` used for both.

# %%
session.exercise("DecoderBlock.__init__", "DecoderBlock.forward")
dec_inp = torch.linspace(-0.4, 0.6, 32).reshape(2, 4, 4)
for name, hidden, length in (("decoder_block_1", 8, 2), ("decoder_block_2", 4, 4)):
    block, case = fill_with_ramp(DecoderBlock(2, 4, hidden, 0.2)), EXPECTED[name]
    enc_inp = torch.linspace(-0.4, 0.6, 8 * length).reshape(2, length, 4)
    with replayed_dropout(case["dropout_calls"]) as unused:
        out = block(dec_inp, enc_inp)
    if not unused:
        claim = f"DecoderBlock, {length} encoder tokens"
        session.check_error(claim, out, case["expected"]["out"], TOLERANCE)

# %% [markdown]
# These two recorded outputs would be the same with a mask, so they cannot show whether yours works. Inputs and weights are ramps, so the features of every token rise evenly, like points on a straight line. Layer normalisation gives every such line mean 0 and variance 1, which makes all tokens equal, whatever the attention weights were. Recorded numbers can miss a lot. So we check the two promises of the decoder by experiment: change a late token, and nothing earlier moves; change the encoder's output, and every output moves.

# %%
reset_seed(0)
block = DecoderBlock(2, 4, 8, 0.0)
dec_inp, enc_inp = torch.randn(1, 4, 4), torch.randn(1, 9, 4)
mask = get_subsequent_mask(dec_inp[..., 0])
later, other = dec_inp.clone(), enc_inp + 1.0
later[:, 3] += 1.0
before, after = block(dec_inp, enc_inp, mask), block(later, enc_inp, mask)
session.check("a later token changes no earlier output", torch.equal(before[:, :3], after[:, :3]))
moved = (block(dec_inp, other, mask) - before).abs().amax(dim=-1)
session.check("every output reads the encoder", moved.min().item() > 1e-4)

# %% [markdown]
# # Part III: positions and data
#
# ## Does order matter to attention?
#
# An encoder block reads nine tokens, without positions. Then we shuffle the tokens and ask again.

# %%
order_matters = session.predict(
    "The same nine tokens in another order. What happens to a token's output?",
    ["nothing, it only moves along", "it changes a little", "it changes completely"],
)

# %%
reset_seed(0)
block, x, order = EncoderBlock(2, 4, 8, 0.0), torch.randn(1, 9, 4), torch.randperm(9)
change = (block(x)[:, order] - block(x[:, order])).abs().max().item()
session.check("without positions, a shuffled sequence gives shuffled outputs", change < 1e-5)
order_matters.reveal(
    "nothing, it only moves along",
    f"A weighted mean does not depend on the order of its terms (largest change {change:.0e}).",
)

# %% [markdown]
# So without positions 12 and 21 are the same to the model, and so are 3 - 4 and 4 - 3. An RNN gets the order for free, because it reads one token after the other. Here it must be *added*: every position gets a vector of its own, which is added to the token's embedding.
#
# **Fill in `position_encoding_simple`.** The simplest idea numbers the positions: row $n$ holds $n/K$ in every feature. *By hand:* $K = 4$, $M = 2$ gives the rows (0, 0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75).
#
# *Common mistakes:* counting from 1, dividing by $K - 1$, or forgetting the leading batch axis: the result is (1, K, M).

# %%
session.exercise("position_encoding_simple")
for K, M in ((4, 4), (5, 3)):
    y, case = position_encoding_simple(K, M), EXPECTED[f"position_simple_{K}_{M}"]
    session.check_error(f"simple positions, {K} x {M}", y, case["expected"]["y"], TOLERANCE)

# %% [markdown]
# **Fill in `position_encoding_sinusoid`.** The paper uses sines and cosines. Columns $2i$ and $2i+1$ of row $p$ are
#
# $$ \sin\frac{p}{10000^{a}}, \quad \cos\frac{p}{10000^{a}} $$
#
# with $a = 2i/M$ in the paper: a clock with many hands, the fast ones on the left.
#
# > **A known deviation.** The *graded* function takes $a = \lfloor 2i/M \rfloor$. The floor was presumably a slip: as $2i$ is always below $M$, it makes $a = 0$ everywhere, and instead of many hands the clock has one, repeated in every pair of columns. The recorded results were made with it, so the exercise asks for it; the paper's version comes right after.
#
# *By hand (graded):* row $p = 1$ with $M = 4$ is (sin 1, cos 1, sin 1, cos 1) = (0.84, 0.54, 0.84, 0.54). *In the paper* it is (sin 1, cos 1, sin 0.01, cos 0.01) = (0.84, 0.54, 0.01, 1.00).
#
# *Common mistakes:* sine and cosine exchanged; taking the number of the column for $i$ (the column is $2i$ or $2i+1$, so $a$ would reach 1 in the right half); an odd $M$, where the last pair has no cosine.

# %%
session.exercise("position_encoding_sinusoid")
for K, M in ((4, 4), (5, 3)):
    y, case = position_encoding_sinusoid(K, M), EXPECTED[f"position_sinusoid_{K}_{M}"]
    session.check_error(f"sinusoid, {K} x {M}", y, case["expected"]["y"], TOLERANCE)

# %% [markdown]
# **Optional: write the paper's encoding yourself.** Put it into `mine` in the next cell, for $K = 9$ positions and $M = 64$ features, shape (9, 64); three lines are enough. The answer stands in `position_encoding_paper` in `transformers.py`: try first, then compare.
#
# *Three steps:* the exponents $2i/M$ for $i = 0, \dots, 31$; the angles, a (9, 32) table; then sine and cosine in alternate columns: sines in columns 0, 2, 4, …, cosines in 1, 3, 5, …

# %%
K, M = 9, 64
mine = None  # your lines go here

if mine is None:
    print("Optional exercise: not tried yet.")
elif torch.allclose(mine, position_encoding_sinusoid(K, M)[0], atol=1e-3):
    print("This still has the floor: which exponent do columns 2 and 3 have?")
else:
    wanted = position_encoding_paper(K, M)[0]
    session.check_error("your positions are the paper's", mine, wanted, 1e-4)

# %%
figure = show.position_maps({
    "simple": position_encoding_simple(9, 64)[0],
    "graded sinusoid (floor)": position_encoding_sinusoid(9, 64)[0],
    "paper's sinusoid": position_encoding_paper(9, 64)[0],
})

# %% [markdown]
# *Above, the three encodings of 9 positions by 64 features. Below, how similar two positions are: brown points in the same direction, violet in the opposite one.* Simple positions differ in length only; position 0 is all zeros and has no direction, hence the white row and column. With the floor, similarity runs around a circle: position 6 looks nearly like position 0, because 6 is almost $2\pi$. The paper's rows are all different and become slowly less similar; but in nine positions only the fast hands on the left move, and most features hardly change. Which one is better for nine tokens? Measure before you believe: Part V does, for the two sinusoids.
#
# ## Data set
#
# **Fill in `AddSubDataset.__getitem__`.** Nine tenths of the rows are for training, one tenth for validation. The data set turns them into tokens and positions once, when it is made; a loader stacks rows into batches. Item `idx` has four parts:
#
# | | shape | dtype |
# |---|---|---|
# | input tokens | (9,) | int64 |
# | positions of the input | (9, M) | float32 |
# | target tokens | (5,) | int64 |
# | positions of the target | (5, M) | float32 |
#
# *By hand:* the first row of the data, printed in Part I, has the input tokens 14, 11, 3, 0, 13, 11, 3, 4, 15 and the target tokens 14, 10, 0, 4, 15.
#
# *Common mistakes:* returning positions of shape (1, 9, M), when the loader adds the batch axis; taking `BOS` off the target, which training does later.

# %%
session.exercise("AddSubDataset.__getitem__")
train_in, valid_in, train_out, valid_out = a2_helper.split_rows(data)
coding = (convert_str_to_tokens, SPECIAL_TOKENS)
train_data = AddSubDataset(train_in, train_out, *coding, 32, position_encoding_simple)
valid_data = AddSubDataset(valid_in, valid_out, *coding, 32, position_encoding_simple)
inp, inp_pos, out, out_pos = next(iter(DataLoader(train_data, batch_size=16)))
print("input", tuple(inp.shape), "with positions", tuple(inp_pos.shape))
print("target", tuple(out.shape), "with positions", tuple(out_pos.shape))
session.check("4,500 rows train, 500 validate", (len(train_data), len(valid_data)) == (4500, 500))
