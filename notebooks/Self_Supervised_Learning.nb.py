# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Learning to see without labels: SimCLR
#
# Images are easy to collect; labels are not, because a person has to write each one. This notebook trains a network on images alone. The network sees two altered copies of every image and has to find, among many other copies, which two belong together. If the alterations are well chosen, it has to notice what an image shows, and what it learns on the way turns out to be most of what a classifier needs.
#
# **You will be able to**
#
# 1. write the random augmentations of SimCLR, and say what each one makes the network ignore;
# 2. derive the contrastive loss from a softmax over similarities, and compute it by hand, in a loop and without a loop;
# 3. train an encoder from scratch with that loss, and tell from a curve whether it is learning;
# 4. measure what features know without fine-tuning them: with nearest neighbours and with a linear probe;
# 5. judge such measurements: against an untrained encoder, against supervised training, and with an ingredient removed.
#
# **You need** a little PyTorch (tensors, modules, a training step), the softmax and its cross-entropy, logarithms, and what a residual network and batch norm are.
#
# **Time:** 3 hours for the exercises, about 4 in all with reading. The computer needs some minutes with the sample images; with CIFAR-10 (`DL_DATA=real`) plan for a GPU.
#
# **Papers:** SimCLR is by [Chen et al. 2020](https://arxiv.org/abs/2002.05709). The nearest-neighbour evaluation is from [Wu et al. 2018](https://arxiv.org/abs/1805.01978). Two relatives worth knowing are [MoCo, He et al. 2019](https://arxiv.org/abs/1911.05722), which keeps a queue of vectors of other images to compare with, and [BYOL, Grill et al. 2020](https://arxiv.org/abs/2006.07733), which compares with no other images at all.
#
# The table below the setup lists the exercises in order, with their difficulty (one to three dots) and the minutes to plan for each. Your code goes into `dl/simclr/`: `data_utils.py`, `contrastive_loss.py` and `utils.py`.

# %% [markdown]
# ## Setup
#
# The two `autoreload` lines pick up every change that you save in a module, so you need not restart the kernel.

# %%
# %load_ext autoreload
# %autoreload 2
from dl.notebook import hint, setup

session = setup("Self_Supervised_Learning")
DEVICE, to_float, to_double = session.device, session.to_float, session.to_double

# %%
import copy
import json
import math
import os
import time

import torch
from torch import optim
from torch.utils.data import DataLoader, RandomSampler, Subset, TensorDataset

from dl import settings, weights
from dl.checks.published import expected
from dl.figures import simclr as draw
from dl.figures.tables import Table

# %%
from dl.simclr import contrastive_loss as lesson
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.contrastive_loss import rel_error
from dl.simclr.data_utils import compute_test_transform, compute_train_transform
from dl.simclr.data_utils import keep_to_own_objects, load_cifar10, normalise, picture_tensors
from dl.simclr.model import Classifier, Model, load_pretrained, starting_weights
from dl.simclr.resume import evaluate, train_epochs
from dl.simclr.utils import test, train, train_probe
from dl.training import simclr_experiments as recorded

session.exercises()

# %% [markdown]
# The network depends on the data. CIFAR-10 gets a ResNet-50. The sample images, close-ups of ten kinds of things (the classes) at the same 32 x 32 pixels, get a small residual network that a CPU can train (the short training from scratch uses the small one for both). The exercises and the loss are the same; the size of the altered copies (the *views*), the strength of the augmentation and the length of training differ, and the text says so where they do.

# %%
REAL = session.data == "real"
ENCODER = "resnet50" if REAL else "small"
WORKERS = min(4, os.cpu_count()) if REAL else 0
LOADING = {
    "num_workers": WORKERS, "worker_init_fn": keep_to_own_objects,
    "pin_memory": DEVICE.type == "cuda",
}
PLACE = {"device": DEVICE, "memory_format": torch.channels_last}  # the faster memory order here

# %% [markdown]
# ## What makes a good representation?
#
# A representation is good if images of the same kind of thing get similar vectors, whatever the light, the position in the frame or the colours. Nobody tells our network what kind of thing an image shows. But we know something without any label: **an image that is cropped, mirrored or recoloured still shows the same thing.** So we ask for vectors that agree between two such copies and differ from the vectors of other images.

# %%
figure = draw.method()

# %% [markdown]
# *Read from left to right. Two random augmentations $t$ and $t'$ make two views of one image. One encoder $f$ and one small head $g$, with the same weights for both views, turn them into the projections $z_i$ and $z_j$, which must agree. The views, $\tilde x_i$ and $\tilde x_j$ in the drawing, are `x_i` and `x_j` in the code.* After training, the head is thrown away and the features $h$ are kept. Keep a question in mind: why keep $h$ and not $z$, which is what the loss compares? At the end we measure what each of them knows about the class.

# %% [markdown]
# ## Two views of an image
#
# Which changes should not matter? This is SimCLR's answer for small images, in this order:
#
# | step | probability | what the network can then no longer rely on |
# |---|---|---|
# | random crop, resized to 32 x 32 | 1 | position and size; any part may stand for the whole |
# | mirror | 0.5 | left and right |
# | change brightness, contrast, saturation, hue | 0.8 | exact colours, by which two views would be easy to match |
# | convert to grey | 0.2 | colour at all |
#
# **Your task.** Fill in `compute_train_transform` and `CIFAR10Pair.__getitem__` in `data_utils.py`. In the first, put the four random steps, in this order, into a list called `steps`. You need `RandomResizedCrop`, `RandomHorizontalFlip`, `RandomApply` (it applies a list of transforms with a given probability) and `RandomGrayscale` from [`torchvision.transforms`](https://pytorch.org/vision/stable/transforms.html). The crop keeps torchvision's default range (8 to 100 % of the area). `colour_jitter` is given with its strengths, and so are the seeds and the conversion to a normalised tensor at the end. In the second, set `x_i` and `x_j`: two separate calls of `self.transform` on the image; if `self.transform` is `None`, both stay `None`.
#
# | name | shape |
# |---|---|
# | image | PIL, 32 x 32, RGB |
# | `x_i`, `x_j` | `(3, 32, 32)` float each |
# | `target` | an integer, 0 to 9 |
#
# **By hand.** How often does a view keep its colours? The jitter is skipped with probability $0.2$ and the grey step with probability $0.8$, so $0.2 \cdot 0.8 = 0.16$ of all views. Both views of a pair keep them in $0.16^2 \approx 0.026$ of all pairs, so exactly equal colours are a rare clue. Roughly similar colours remain one: how strong the changes must be depends on the images, as you will see. And for a pair: if `transform` were a function that counts its calls, the first item would have `x_i` = 1 and `x_j` = 2.
#
# **Common mistakes.** Computing one random view and returning it twice, which makes the two views of every pair identical. Applying the jitter always: `ColorJitter` has no probability of its own. Changing the order of the steps, which changes the stream of random numbers.
#
# The first function also seeds the random generators (given), so everything that is sampled after it repeats from run to run.
#
# Each `session.exercise("…")` tests your function on fresh random inputs and says what is wrong. Stuck? Run `hint()` in a new cell. Each call reveals one more hint. Where a cell asks for a prediction, choose or type your guess before you run the next cell; a wrong guess costs nothing. A *target* is a check of how good a result is.

# %%
session.exercise("compute_train_transform", "CIFAR10Pair.__getitem__")
pair_data = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)
images, labels = picture_tensors(pair_data, 2000)
print(f"{len(pair_data):,} training images of {', '.join(pair_data.classes)}")
pairs = [pair_data[n] for n in range(8)]
rows = {"one view": [x_i for x_i, _, _ in pairs], "another": [x_j for _, x_j, _ in pairs]}
figure = draw.views(images[:8], rows, "Two views of an image: what do they share?")

# %% [markdown]
# *Eight images and, below each, two random views of it.* Some pairs are easy to match; others hardly show the same part. Cover the top row. Would you have found, among the eight views in the bottom row, the partner of each view in the middle row? That is the network's task.

# %%
x_i, x_j, target = pair_data[0]
session.check("views are tensors (3, 32, 32)", x_i.shape == x_j.shape == (3, 32, 32))
session.check("the two views differ", not torch.equal(x_i, x_j))
session.check("the label is kept", target == pair_data.targets[0])
again, first = (load_cifar10(train=True, transform=compute_train_transform(), pairs=True)[0]
                for _ in range(2))
session.check("the seed fixes the views", all(map(torch.equal, again[:2], first[:2])))

# %% [markdown]
# Probabilities can be checked, too. One view in five should be grey. What about pairs?

# %%
grey_pairs = session.predict("What fraction of the pairs (0 to 1) has at least one grey view?")

# %%
count = session.shortened(1000, 300)
views = torch.stack([torch.stack(pair_data[n][:2]) for n in range(count)])  # (count, 2, 3, 32, 32)
colours = draw.unnormalise(views)
spread = (colours.amax(dim=2) - colours.amin(dim=2)).amax(dim=(2, 3))  # (count, 2)
grey = spread < 0.01
session.target("about one view in five is grey", 0.15 < grey.float().mean() < 0.26)
either = grey.any(dim=1).float().mean().item()
session.target("at least one view is grey in about 36 % of pairs", 0.27 < either < 0.46)
grey_pairs.reveal(either, "1 - 0.8 * 0.8 = 0.36: in these pairs, colours are no clue.")

# %% [markdown]
# ### A whole batch at once
#
# Augmenting one image after another is slow: every image needs a dozen function calls of its own. `BatchAugmentation` (given) applies the same steps to a whole batch of tensors, with separate random numbers for every image. A crop with resizing becomes two matrix products, one for the rows and one for the columns.

# %%
augment = BatchAugmentation()
start = time.perf_counter()
_ = [pair_data[n] for n in range(250)]
one_by_one = 500 / (time.perf_counter() - start)
start = time.perf_counter()
_ = augment(images[:1000].to(DEVICE)).cpu()
batched = 1000 / (time.perf_counter() - start)
session.say(f"Views per second: **{one_by_one:,.0f}** one by one, **{batched:,.0f}** batched.")
session.record(views_per_second_one_by_one=one_by_one, views_per_second_batched=batched)

# %% [markdown]
# ## Encoder and head
#
# `Model` is given. The encoder $f$ is a residual network whose first convolution suits 32 x 32 images; the head $g$ has two linear layers with batch norm and a ReLU between them. In this code both outputs are scaled to unit length, so that a dot product of two of them is a cosine.
#
# The profiler `thop` counts what one image costs. It reports *MACs*, one multiplication plus one addition each; one MAC is about two FLOPs. It leaves counters behind in the model, so we give it a copy.

# %%
from thop import clever_format, profile

model = Model(feature_dim=128, encoder=ENCODER)
dummy = torch.randn(1, 3, 32, 32)
macs, params = profile(copy.deepcopy(model), inputs=(dummy,), verbose=False)
print("# Model Params: {} MACs: {}".format(*reversed(clever_format([macs, params], "%.2f"))))
with torch.no_grad():
    feature, projection = model(normalise(images[:4]))
print("feature", tuple(feature.shape), "projection", tuple(projection.shape))
lengths = torch.cat([feature.norm(dim=1), projection.norm(dim=1)])
session.check("both outputs have unit length", torch.allclose(lengths, torch.ones(8)))

# %% [markdown]
# ## The loss, from one pair to the batch
#
# ### One pair
#
# How similar are two vectors? The cosine compares only their directions:
#
# $$s(z_i, z_j) = \frac{z_i \cdot z_j}{\lVert z_i \rVert \, \lVert z_j \rVert}$$
#
# **By hand.** For $z_i = (3, 4)$ and $z_j = (12, 5)$ the dot product is $36 + 20 = 56$ and the lengths are $5$ and $13$, so $s = 56/65 \approx 0.862$.
#
# **Your task.** Fill in `sim` in `contrastive_loss.py`. It takes two vectors, `(D,)` or `(1, D)`, and returns a single number, a tensor of shape `()`.
#
# **Common mistakes.** Dividing by the squared lengths, or by only one of them: then multiplying a vector by 2 changes the result, and it should not. Returning a vector with one entry for inputs of shape `(1, D)`.

# %%
session.exercise("sim")
by_hand = lesson.sim(torch.tensor([3.0, 4.0]), torch.tensor([12.0, 5.0])).item()
session.check("the example by hand gives 56/65", abs(by_hand - 56 / 65) < 1e-6, f"{by_hand:.3f}")
case = expected("simclr")["simclr_n2_d3"]  # computed independently, in double precision
left, right = (torch.tensor(case["inputs"][side]).to(**to_float) for side in ("left", "right"))
cosines = torch.tensor(case["expected"]["sim_positive_pairs"]["value"])
for k in (0, 1):
    error = rel_error(lesson.sim(left[k], right[k]), cosines[k, 0])
    session.check(f"sim of pair {k} agrees", error < 1e-6, f"error {error:.1e}")

# %% [markdown]
# ### One row against all others
#
# A batch of $N$ images gives $2N$ vectors. Stack them: rows $0$ to $N-1$ are the first views, rows $N$ to $2N-1$ the second views in the same order, so rows $k$ and $k+N$ are a pair. Row $i$ has one *positive*, $j$, the other view of its own image. All other rows are its *negatives*: views of other images, whatever they show. (With ten classes, about one negative in ten shows the same class.) Row $i$ must pick its positive out of all of them. That is a classification among $2N - 1$ candidates, so we take the cosines as logits, divide them by a temperature $\tau$, and use the cross-entropy:
#
# $$\ell(i, j) = -\log p(j \mid i), \qquad p(k \mid i) = \frac{\exp(s(z_i, z_k)/\tau)}{\sum_{m \neq i} \exp(s(z_i, z_m)/\tau)}$$
#
# Only the row itself is left out of the sum; the positive stays in it. The loss of the batch, which the paper calls NT-Xent, is the mean over all $2N$ rows, both directions of every pair:
#
# $$L = \frac{1}{2N} \sum_{k=0}^{N-1} \left[ \ell(k, k+N) + \ell(k+N, k) \right]$$
#
# **By hand.** Take $N = 2$ and $\tau = 0.5$. Row 0 has cosine $0.8$ with its positive, and $0.5$ and $-0.2$ with the two negatives.
#
# | row | cosine $s$ | $s/\tau$ | $e^{s/\tau}$ | probability |
# |---|---|---|---|---|
# | positive | 0.8 | 1.6 | 4.95 | 0.594 |
# | negative | 0.5 | 1.0 | 2.72 | 0.326 |
# | negative | -0.2 | -0.4 | 0.67 | 0.080 |
#
# The loss of this row is $-\ln 0.594 \approx 0.52$ *nats*, the unit of natural logarithms ($\log$ means $\ln$ throughout). The next cell computes it again.

# %%
table = (torch.tensor([0.8, 0.5, -0.2]) / 0.5).softmax(dim=0)
by_hand = torch.tensor([0.594, 0.326, 0.080])
session.check("the probabilities by hand", torch.allclose(table, by_hand, atol=0.0005))
session.check("the loss by hand", abs(-table[0].log().item() - 0.52) < 0.005)

# %%
torch.manual_seed(4)
z_left = torch.randn(4, 8)
noise = torch.tensor([0.9, 0.3, 1.5, 3.0])[:, None]  # some positives are close, some not
z_right = z_left + noise * torch.randn(4, 8)
figure = draw.loss_in_three_steps(z_left, z_right, 0.5)

# %% [markdown]
# *From left to right: the cosines of row 0 with all eight rows (its positive, row 4, in orange with stripes; itself in grey); the probabilities that the softmax makes of them; the cosines of all rows, with positives framed and the rows themselves crossed out.* In the third panel, ignore the diagonal and look for a row in which another square is a darker red than the framed one.

# %%
worst = session.predict("Which of the eight rows has the largest loss?", [str(k) for k in range(8)])

# %%
chosen = torch.from_numpy(draw.probabilities(draw.similarities(z_left, z_right), 0.5))
row_losses = -chosen[torch.arange(8), torch.arange(8).roll(4)].log()
row = row_losses.argmax().item()
session.check("row 3 has the largest loss", row == 3, f"{row_losses[row]:.2f}")
closer = (chosen[3] > chosen[3, 7]).sum().item()
worst.reveal(row, f"Its loss is {row_losses[3]:.2f}; "
             f"{closer} negatives are more similar to it than its positive, row 7.")

# %% [markdown]
# **Your task.** Fill in `simclr_loss_naive`, with a loop over the rows.
#
# | name | shape |
# |---|---|
# | `out_left`, `out_right` | `(N, D)` each; row $k$ of one and row $k$ of the other are a pair |
# | `tau` | a float, the temperature |
# | result | `()` |
#
# **Common mistakes.** Dividing by $N$ instead of $2N$. Leaving the positive out of the denominator. Computing the exponentials themselves: $e^{1/\tau}$ exceeds the largest float32 number for $\tau$ below about $0.0113$, and the loss can become infinite or `nan`. Use `torch.logsumexp`, which computes the logarithm of a sum of exponentials without ever writing down the large numbers.

# %%
session.exercise("simclr_loss_naive")
for text, value in case["expected"]["loss"]["value_by_tau"].items():
    error = rel_error(lesson.simclr_loss_naive(left, right, float(text)), value)
    session.check(f"naive loss at temperature {text} agrees", error < 1e-6, f"error {error:.1e}")
overflows = torch.tensor([1 / 0.0113, 1 / 0.0112]).exp().isinf()  # float32
session.check("exp(1 / 0.0113) is finite, exp(1 / 0.0112) not", overflows.tolist() == [False, True])

# %% [markdown]
# ### All rows at once
#
# Loops are slow. A product of matrices computes all cosines in one go.
#
# **Your task.** First `sim_positive_pairs`, the $N$ cosines of the pairs; then `compute_sim_matrix`, all of them.
#
# | function | input | result |
# |---|---|---|
# | `sim_positive_pairs` | `(N, D)` twice | `(N, 1)` |
# | `compute_sim_matrix` | `(2N, D)` | `(2N, 2N)`, symmetric, ones on the diagonal |
#
# **By hand.** For the rows $(3, 4)$ and $(12, 5)$, normalise first: $(0.6, 0.8)$ and $(\tfrac{12}{13}, \tfrac{5}{13})$. Their products are $1$ on the diagonal and $56/65$ off it.
#
# **Common mistakes.** Normalising along the wrong axis. Returning `(N,)` instead of `(N, 1)`, which broadcasts silently later on.

# %%
session.exercise("sim_positive_pairs", "compute_sim_matrix")
pair_cosines = lesson.sim_positive_pairs(left, right)
session.check("pairs have shape (N, 1)", pair_cosines.shape == cosines.shape)
session.check("sim_positive_pairs agrees", rel_error(pair_cosines, cosines) < 1e-6)
matrix = lesson.compute_sim_matrix(torch.cat([left, right]))
wanted = torch.tensor(case["expected"]["compute_sim_matrix"]["value"])
session.check("the matrix has shape (2N, 2N)", matrix.shape == wanted.shape)
session.check("compute_sim_matrix agrees", torch.isclose(matrix.cpu(), wanted).all().item())

# %% [markdown]
# **Your task.** Now `simclr_loss_vectorized`: the same loss without a loop, with the same shapes. Its further argument `device` says where new tensors go. In the matrix of logits, which entry of row $i$ is the right answer, and what logit gives a candidate probability 0?
#
# **By hand.** With $N = 2$ the rows are stacked as $[\text{left}_0, \text{left}_1, \text{right}_0, \text{right}_1]$, so the positives of rows $0, 1, 2, 3$ are rows $2, 3, 0, 1$.
#
# **Common mistakes.** Pairing neighbouring rows, $(0, 1)$ and $(2, 3)$. Setting the diagonal to 0 instead of $-\infty$: a logit of 0 still counts as $e^0 = 1$. Detaching one branch, which leaves the value right and the gradient wrong.

# %%
session.exercise("simclr_loss_vectorized")
for text, value in case["expected"]["loss"]["value_by_tau"].items():
    loss = lesson.simclr_loss_vectorized(left, right, float(text), device=left.device)
    error = rel_error(loss, value)
    session.check(f"vectorised loss at temperature {text} agrees", error < 1e-6, f"{error:.1e}")

# %% [markdown]
# Two pairs of vectors with three entries each are a small test. So the vectorised loss must also agree with the naive loss on a larger batch, in its value and in its gradients, and, in float32, both must stay finite at a tiny temperature.

# %%
inputs = [torch.randn(16, 32, dtype=torch.float64).to(**to_double).requires_grad_() for _ in "ij"]
losses = [loss(*inputs, 0.1) for loss in (lesson.simclr_loss_naive, lesson.simclr_loss_vectorized)]
gradients = [torch.cat(torch.autograd.grad(loss, inputs)) for loss in losses]
session.check_error("the vectorised value", losses[1], losses[0], 1e-12)
session.check_error("the gradient of the vectorised loss", gradients[1], gradients[0], 1e-10)
single = [z.detach().float() for z in inputs]  # float32: exp(1 / 0.005) would be infinite
tiny = [loss(*single, 0.005) for loss in (lesson.simclr_loss_naive, lesson.simclr_loss_vectorized)]
session.check("finite at temperature 0.005", all(loss.isfinite() for loss in tiny))

# %% [markdown]
# What should the number be? Before you train anything, know what guessing costs: it is the line that training has to beat.

# %%
chance = session.predict(
    "64 pairs of unrelated vectors (all cosines near 0): about how large is the loss?")

# %%
guessing = lesson.simclr_loss_vectorized(torch.randn(64, 4096), torch.randn(64, 4096), 0.5).item()
session.check("unrelated vectors cost ln 127", abs(guessing - math.log(127)) < 0.01)
chance.reveal(guessing, "Each row guesses among 2N - 1 = 127 others, which costs ln 127 nats.")

# %% [markdown]
# ### What the temperature does
#
# The gradient of $\ell(i, j)$ with respect to the cosine of a negative $k$ is $p(k \mid i) / \tau$. So the probabilities say which negatives get pushed away, and how the push is divided among them. The gradient with respect to the cosine of the positive is $-(1 - p(j \mid i))/\tau$: it is pulled closer, as strongly as all negatives together are pushed away.

# %%
pushed = session.predict(
    "At which temperature does one negative get the largest share of the push?",
    ["0.1", "0.5", "5"])

# %%
cosines_of_0 = draw.similarities(z_left, z_right)
share = {}
for temperature in (0.1, 0.5, 5):
    chosen_of_0 = torch.from_numpy(draw.probabilities(cosines_of_0, temperature)[0])
    negatives = chosen_of_0[[1, 2, 3, 5, 6, 7]]
    share[f"{temperature:g}"] = (negatives.max() / negatives.sum()).item()
top = max(share, key=share.get)
session.check("the smaller the temperature, the more one negative gets", top == "0.1")
says = "; ".join(f"{s:.0%} at {t}" for t, s in share.items())
pushed.reveal(top, f"The most similar negative gets this share of the push: {says}.")

# %%
figure = draw.temperatures(z_left, z_right)
if not settings.unattended():
    draw.temperature_slider(z_left, z_right)

# %% [markdown]
# *The softmax of row 0 at three temperatures; orange with stripes is the positive.* At a low temperature almost everything goes to the one or two most similar rows: the loss concentrates on *hard negatives*, those most similar to the row. At a high one all rows count nearly the same, however different they are. When you run the notebook yourself, a slider below the cell lets you move between these.

# %% [markdown]
# ## Training from scratch
#
# **Your task.** Fill in `train` in `utils.py`. The loop over batches is given. In every step, call `model` once on `x_i` and once on `x_j`, compute the loss from the two projections with `loss_function(left, right, temperature)`, and update with `train_optimizer`.
#
# | name | shape |
# |---|---|
# | `x_i`, `x_j` | `(B, 3, height, width)`, with `B` images in the batch |
# | output of the model | a tuple: features `(B, H)`, projections `(B, D)`; here `H` = 256 (2048 for ResNet-50), `D` = 128 |
# | loss | `()` |
#
# **By hand.** 10,000 images in batches of 128 make 78 steps. The last partial batch, of 16 images, is left out (`drop_last=True`): with fewer candidates its loss would be lower for no good reason.
#
# **Common mistakes.** Comparing the features instead of the projections. Forgetting `zero_grad`, so that gradients of all earlier steps add up. (The authors' own code joins both views to one batch and calls the network once. That is right, too, but batch norm then computes its statistics over both views together, so the numbers differ. The exercise expects two calls.)
#
# Now we train: random weights, no labels. A full training with a ResNet-50 takes many hours on a GPU; here you run one short epoch with the small encoder and a temperature of 0.2, about a minute on a CPU. To make that minute count, the views of the sample images have 16 x 16 pixels (a quarter of the work), and their colour changes are stronger than CIFAR-10's, because in these drawn images the colours of object and background would give the match away too easily. The crops are milder: they keep at least 30 % of the area instead of 8 %. Which changes are right depends on the images.

# %%
session.exercise("train")
drawn = BatchAugmentation(size=16, scale=(0.3, 1.0), strength=(0.8, 0.8, 0.8, 0.4), grey=0.3)
scratch_batch, scratch_images = 128, 10_000
raw = TensorDataset(*picture_tensors(pair_data))
sampler = RandomSampler(raw, num_samples=scratch_images)
loader = DataLoader(raw, scratch_batch, sampler=sampler, drop_last=True)
scratch_pairs = PairBatches(loader, BatchAugmentation() if REAL else drawn, DEVICE)
torch.manual_seed(0)
scratch = Model(feature_dim=128, encoder="small").to(**PLACE)

# %% [markdown]
# To see whether the features get better, we ask their **nearest neighbours** (kNN): for a test image, find the $k$ training images with the most similar features, and let them vote for their class, each with weight $\exp(s/0.1)$, where $s$ is the cosine of the two features; the 0.1 has nothing to do with the temperature of the loss. Nothing is trained for that. The labels are used to *measure*, never to learn. Here we use 2,000 training images, 1,000 test images and $k = 50$, all scaled to the size of the views; with ten classes, chance is 10 %.

# %%
memory_data = load_cifar10(train=True, transform=compute_test_transform(), pairs=True)
test_data = load_cifar10(train=False, transform=compute_test_transform(), pairs=True)
c = len(memory_data.classes)
known, asked = session.shortened(2000, 400), session.shortened(1000, 200)
samples = picture_tensors(memory_data, known), picture_tensors(test_data, asked)


def knn_accuracy(network, side):
    loaders = [DataLoader(TensorDataset(normalise(recorded.scaled(x, side)), y), 250)
               for x, y in samples]
    return test(network, *loaders, 1, 1, c, 0.1, k=50, device=DEVICE, progress=False)[0]


# %%
better = session.predict(
    "kNN accuracy after one minute of training without labels, compared with random weights?",
    ["lower", "the same", "a few points higher", "ten or more points higher"],
)

# %%
steps, side = session.shortened(len(loader), 8), 32 if REAL else 16
live = draw.LiveTraining(steps, scratch_batch, lambda: knn_accuracy(scratch, side))
scratch_loss = train(
    scratch, scratch_pairs, optim.Adam(scratch.parameters(), lr=3e-3), 1, 1,
    temperature=0.2, device=DEVICE, on_batch=live,
)

# %% [markdown]
# *Left: the loss of each batch. It starts at about the dotted line of guessing (or above it, when the untrained network finds other images more similar than the other view) and falls below (the axis does not begin at 0). Right: the kNN accuracy before training, on the way and at the end.* No label was used, and yet the vote of the neighbours is right more often than before training.

# %%
start_knn, end_knn = live.accuracies[0], list(live.accuracies.values())[-1]
guess_loss = math.log(2 * scratch_batch - 1)
change = f"{start_knn:.1f} % before, {end_knn:.1f} % after"
better.reveal(change, "One reading: to match views, it helps to notice the object.")
session.target("the last losses are below guessing", live.losses[-1] < guess_loss - 0.2)
session.target("kNN accuracy rises by 4 points or more", end_knn >= start_knn + 4)
session.record(scratch_loss=scratch_loss, scratch_knn_before=start_knn, scratch_knn_after=end_knn)
session.say(f"Guessing costs **{guess_loss:.2f}** nats. The first batch cost "
            f"**{live.losses[0]:.2f}**, the last one **{live.losses[-1]:.2f}**; "
            f"kNN accuracy went from **{start_knn:.1f} %** to **{end_knn:.1f} %**.")

# %% [markdown]
# Why does the loss not go to 0? The images of a batch cannot all be opposite to each other. At best both views of an image coincide and any two images have the cosine $-1/(N-1)$ (this needs at least $N-1$ dimensions, 127 for $N = 128$; we have 128); that still costs $\ln\left(1 + (2N-2)\, e^{-(1 + 1/(N-1))/\tau}\right)$ nats. The lower the temperature, the lower this floor. The last row of the table is your run: its floor is far below your last loss. A short training and views that are hard to match would explain much of what lies between the two.

# %%
def floor(N, tau):
    return math.log(1 + (2 * N - 2) * math.exp(-(1 + 1 / (N - 1)) / tau))


Table([{"N": N, "temperature": tau, "guessing": math.log(2 * N - 1), "floor": floor(N, tau)}
       for N, tau in ((64, 0.5), (128, 0.5), (128, 0.2))])

# %% [markdown]
# ## Weights that were trained for longer
#
# One minute is a beginning. From here on we use weights from a longer training, on more images.
#
# **A caveat about these weights:** with the sample data they were made by `python -m dl train-weights simclr` in about a quarter of an hour on one processor core, from 40,000 other images of the sample world, with the same crops and colour changes as your run and a temperature of 0.2; `dl/weights/files/simclr.md` has the details. They are complete, so we evaluate them as they are. With CIFAR-10 (`DL_DATA=real`) the starting weights took about 18 hours, and the notebook trains them for one further epoch over half of the images. That takes hours on a CPU, so the training, the evaluation and the probes below are kept in `build/train/`: a run that was stopped goes on from there. Two notes on the code below: the comment "reference setting" marks the numbers that go with the real data, and Adam takes the place of the paper's LARS, an optimiser made for batches of thousands.
#
# Weights are loaded strictly: every tensor of the network must be there and fit. The cell prints how many extra tensors (thop's counters) the file holds.

# %%
feature_dim, temperature, k = 128, 0.5, 200  # the reference setting
batch_size, epochs, learning_rate = 64, 1 if REAL else 0, 1e-3
model = Model(feature_dim, encoder=ENCODER)
extra = load_pretrained(model, starting_weights(ENCODER))
print(f"{len(extra)} extra tensors in the file")
model = model.to(**PLACE)
optimizer = optim.Adam(model.parameters(), lr=learning_rate, weight_decay=1e-6)

# %%
train_data = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)
train_data = Subset(train_data, range(len(train_data) // 2))  # the first half
train_loader = DataLoader(train_data, batch_size, shuffle=True, drop_last=True, **LOADING)
memory_loader = DataLoader(memory_data, batch_size, **LOADING)
test_loader = DataLoader(test_data, batch_size, **LOADING)
options = {"temperature": temperature, "device": DEVICE}

# %%
losses = train_epochs(  # calls `train`: never with the sample data, whose weights are complete
    model, train_loader, optimizer, epochs, session.checkpoint("training"),
    batch_size=batch_size, **options,
)
if losses:
    session.record(simclr_loss=losses[-1])
top1, top5 = evaluate(  # calls `test`
    model, memory_loader, test_loader, epochs, epochs, c, session.checkpoint("features"),
    k=k, **options,
)

# %%
path = session.root / "pretrained_model" / "trained_simclr_model.pth"
path.parent.mkdir(exist_ok=True)
torch.save(model.state_dict(), path)
session.say(f"kNN with all training images: top-1 **{top1:.2f} %**, top-5 **{top5:.2f} %** "
            "(top-5: the right class is among the five with the most votes).")
session.target("neighbours name the class of most test images", top1 > 60, f"{top1:.1f} %")
session.record(knn_top1=top1, knn_top5=top5)

# %% [markdown]
# What lies between the minute above and these *shipped* weights (those that come with the course)? Several things differ. The length of the training can be tried alone: a script, `dl/training/simclr_experiments.py`, trained the same encoder for two epochs, on the same 10,000 images with the same augmentation, and recorded its kNN accuracy after every epoch. Its curve is measured in the same way as yours: with 2,000 training images, 1,000 test images, $k = 50$ and weights $\exp(s/0.1)$. The number above uses all images, $k = 200$ and $\exp(s/0.5)$, the reference setting, so it differs a little.

# %%
experiments = recorded.read()
shipped_knn = knn_accuracy(model, 32)
longer = experiments["views"]["all augmentations"]
runs = {"recorded run": {"images": [n / 1000 for n in longer["images"]], "knn": longer["knn_16"]}}
if not REAL:  # the recorded runs saw the sample images
    seen = [step * scratch_batch / 1000 for step in live.accuracies]
    runs["your run above"] = {"images": seen, "knn": list(live.accuracies.values())}
    history = json.loads(weights.metadata("simclr")["history"])
    seen = [n / 1000 for n in history["images"]]
    runs["shipped weights"] = {"images": seen, "knn": history["knn"]}
figure = draw.learning_curves(runs, shipped_knn)

# %% [markdown]
# *kNN accuracy against the number of images seen, counting an image again in every epoch (the axis is logarithmic from 5 on).* The recorded run is a separate one, twice as long as yours; both use the same settings, so where both have points, the difference comes from the random numbers alone: it shows how far two runs from the same initial weights can differ. The third curve is the training of the shipped weights, kept in their file epoch by epoch. Between its first two marks nothing was measured; the dotted line only joins them, so do not compare it there with the others. From the second mark on it rises steeply, and then flattens. It differs from your run in more than length: four times as many different images, larger batches, another learning-rate schedule, and views and test images of full size. The plot cannot say how much each of these contributes.

# %%
beyond = REAL or shipped_knn > longer["knn_16"][-1]  # the recorded run saw the sample images
session.target("the shipped weights go beyond the recorded run", beyond)
session.say(f"The recorded run ends at **{longer['knn_16'][-1]:.1f} %** after "
            f"{longer['images'][-1]:,} images; the shipped weights reach **{shipped_knn:.1f} %**.")

# %% [markdown]
# ## Which augmentation matters?
#
# Next, we compare four runs of the same script after one epoch, the first of which is the recorded run above. (Every accuracy is given twice: with labelled and test images of 16 pixels, the size of the training views, and with the same images at their full 32.) They began with the same random weights and differ only in the augmentation: with everything; without colour changes (no jitter, no grey); without cropping; and with neither, where only mirroring is left. Besides kNN, the script fitted a logistic regression (one linear layer and a softmax) to the frozen features of 2,000 labelled images; this is called a *linear probe*, and there is more on it below. All runs are short and each has one seed, so read large differences and ignore small ones.

# %%
harmful = session.predict(
    "Which gives the worst features, by the linear probe at 32 pixels?", list(recorded.VIEWS))

# %%
ablation = [
    {"augmentation": name, "loss": experiments["views"][name]["loss"][0],
     **recorded.after(experiments["views"][name], epoch=1)}
    for name in recorded.VIEWS
]
random_row = {"augmentation": "(random weights)", "loss": math.nan,
              **recorded.after(longer, epoch=0)}
percent = [column for column in random_row if column.endswith("px")]
Table([*ablation, random_row], digits={"loss": 2} | dict.fromkeys(percent, 1),
      best=dict.fromkeys(percent, "max"))

# %%
sizes = {"test images of 16 px": "probe, 16 px", "test images of 32 px": "probe, 32 px"}
by_name = {row["augmentation"]: {size: row[column] for size, column in sizes.items()}
           for row in [*ablation, random_row]}
title = "Colour changes help at both sizes; the effect of cropping varies"
figure = draw.score_bars(by_name, title, "linear probe, accuracy (%)")
full = {row["augmentation"]: row["probe, 32 px"] for row in ablation}
lowest = min(full, key=full.get)
harmful.reveal(lowest, f"{full[lowest]:.1f} % against {full['all augmentations']:.1f} %")

# %%
everything, colourless, cropless, neither = ablation
session.check("without colour changes the loss is lower",
              colourless["loss"] < everything["loss"] - 1)
probes, neighbours = ("probe, 16 px", "probe, 32 px"), ("kNN, 16 px", "kNN, 32 px")
session.check("without colour changes the probe is worse, at both sizes",
              all(colourless[size] < everything[size] - 5 for size in probes)
              and all(neither[size] < cropless[size] - 3 for size in probes))
session.check("without colour changes, but with cropping, kNN is near random weights",
              all(abs(colourless[size] - random_row[size]) < 5 for size in neighbours))
session.check("with colour changes, cropping costs much at 16 pixels; at 32 it changes little",
              cropless["probe, 16 px"] > everything["probe, 16 px"] + 10
              and abs(cropless["probe, 32 px"] - everything["probe, 32 px"]) < 3)
session.check("without colour changes, cropping makes the probe worse at both sizes",
              all(neither[size] > colourless[size] + 5 for size in probes))

# %% [markdown]
# *Accuracy of the linear probe after the four short runs and with random weights, for both sizes of the test images; the dotted line is chance.*
#
# Compare with the losses in the table. (The loss is the mean over the epoch.) Without colour changes the puzzle is *easier*: the loss is far lower with and without cropping, and yet the linear probe is worse, at both sizes. An explanation that fits: the network can match views by their colours and has less reason to look at shapes. But a low loss does not mean bad features either: "neither" has the lowest loss of all and is not the worst. **A low contrastive loss alone is no sign of good features.** The network may match the views by any clue that tells one image from another, and the augmentations decide which clues are left. (By kNN, the run "no colour changes" is even a little below random weights, while its probe is above them: kNN weighs all directions of the features as they are, and the probe may pick out those that help.)
#
# Cropping is the surprise. On photographs, the paper finds, cropping together with colour changes beats every other pair of augmentations. Here the answer depends on the size of the test images. Look at the runs with colour changes: at 16 pixels the features are much better *without* cropping, and at 32 pixels the probe is about the same with and without it (two points between single runs say nothing). One reason fits both results: without cropping, a network has met every object at one size only, and objects of twice that size are new to it. (The probe of "neither" hardly falls from 16 to 32 pixels; perhaps it relies on colours, which do not depend on the size.) Where colours are kept, cropping makes the probe worse at both sizes, and for that there are other possible reasons: a crop cuts into the only shape there is, and a harder puzzle may need more than one epoch. The runs cannot tell these reasons apart. Had we looked at one size only, we would have told a simpler story. Which augmentations are right depends on the images, and has to be measured.

# %% [markdown]
# ## A linear probe, with few labels
#
# Now take a tenth of the training labels, freeze the encoder, and train one linear layer on its features. First with an encoder that has learnt nothing: its weights are random. Only the weights of the last layer are trained, in both cases. (Batch norm still updates its running mean and variance, as in the reference setting.)

# %%
probe_epochs, probe_batch = 10, 128  # the reference setting; the same with the sample data
labelled = load_cifar10(train=True, transform=compute_train_transform())
labelled = Subset(labelled, range(len(labelled) // 10))  # the first tenth
plain_test = load_cifar10(train=False, transform=compute_test_transform())
probe_loader = DataLoader(labelled, probe_batch, shuffle=True, **LOADING)
plain_test_loader = DataLoader(plain_test, probe_batch, **LOADING)
print(f"{len(labelled):,} labelled images, {len(plain_test):,} to test on")

# %%
untrained = Classifier(c, encoder=ENCODER).to(**PLACE)
no_pretrain_results = train_probe(
    untrained, probe_loader, plain_test_loader, probe_epochs, device=DEVICE,
    checkpoint=session.checkpoint("probe-random"),
)
without = no_pretrain_results["test_acc@1"]
print(f"Best top-1 accuracy without self-supervised learning: {max(without):.2f} % "
      f"(last epoch {without[-1]:.2f} %)")

# %% [markdown]
# Now the same with the encoder trained by SimCLR. Of the saved weights, only the projection head stays behind.

# %%
pretrained = Classifier(c, encoder=ENCODER)
extra = load_pretrained(pretrained, torch.load(path, map_location="cpu", weights_only=True))
session.check("only the head stays behind", all(name.startswith("g.") for name in extra))
pretrained = pretrained.to(**PLACE)
pretrain_results = train_probe(
    pretrained, probe_loader, plain_test_loader, probe_epochs, device=DEVICE,
    checkpoint=session.checkpoint("probe-simclr"),
)
with_simclr = pretrain_results["test_acc@1"]
print(f"Best top-1 accuracy with self-supervised learning: {max(with_simclr):.2f} % "
      f"(last epoch {with_simclr[-1]:.2f} %)")

# %%
figure = draw.probe_curves(without, with_simclr)

# %% [markdown]
# *Test accuracy of both probes over ten epochs.* The encoders have the same architecture, the probes the same labels and the same settings. What differs is where the encoder's weights come from. Longer training might well raise both: with the sample data, ten epochs are only 80 steps of Adam, on augmented images. The logistic regressions above and below are different probes: they are fitted to the end, on standardised features of images without augmentation. Those below reach about the same accuracy with a twentieth of the labels (50), and more with a fifth of them (200); those above, with twice the labels, bring even random weights to about a third: how a probe is trained changes the height of both curves. Compare probes only within one section. "Best" picks an epoch by its test accuracy, which flatters a little; that is why the last epoch is reported beside it.

# %%
gain = max(with_simclr) - max(without)
reached = max(with_simclr)
session.target("the probe with SimCLR reaches 70 %", reached >= 70, f"{reached:.1f} %")
session.target("SimCLR gains at least 40 points", gain >= 40, f"{gain:.1f}")
session.record(probe_with_best=max(with_simclr), probe_with_last=with_simclr[-1],
               probe_without_best=max(without), probe_without_last=without[-1])

# %% [markdown]
# ## How many labels is SimCLR worth?
#
# Random weights are an easy opponent. A stronger one is *supervised learning*: the same encoder with a linear layer on top, trained from scratch on the same few labels. All weights are trained, with the augmentation of your run, for 1,200 steps of 64 views; by then the training loss is small. The script did this with 5, 20 and 100 labelled images per class. On SimCLR's features we fit a logistic regression to the same images.

# %%
advantage = session.predict(
    "5 labels per class: SimCLR's accuracy minus the supervised one, in points?")

# %%
images, labels = picture_tensors(memory_data)
test_images, test_labels = picture_tensors(test_data, recorded.ASKED)
asked, asked_z = recorded.features(model, test_images)
supervised = recorded.read()["supervised"]
by_labels = {"SimCLR's features": [], "supervised, from scratch": []}
for n in recorded.PER_CLASS:
    rows = torch.cat([(labels == number).nonzero()[:n, 0] for number in range(c)])
    known, _ = recorded.features(model, images[rows])
    accuracy = recorded.probe_accuracy(known, labels[rows], asked, test_labels)
    by_labels["SimCLR's features"].append(accuracy)
    by_labels["supervised, from scratch"].append(supervised[str(n)]["accuracy"])

# %%
figure = draw.label_curve(recorded.PER_CLASS, by_labels)
few = [values[0] for values in by_labels.values()]
advantage.reveal(few[0] - few[1], f"{few[0]:.1f} % against {few[1]:.1f} %")
session.target("SimCLR wins with 5 labels per class", REAL or few[0] > few[1] + 5)

# %%
losses = [supervised[str(n)]["train_loss"] for n in recorded.PER_CLASS]
columns = {**by_labels, "supervised: training loss": losses}
Table({"labels per class": list(recorded.PER_CLASS), **columns},
      digits={**dict.fromkeys(by_labels, 1), "supervised: training loss": 2})

# %% [markdown]
# *Test accuracy against labels per class, on a logarithmic axis; the table has the same numbers.* Pretraining is worth most with the fewest labels; with more of them, supervised learning catches up. Read the plot at one height to answer the question of the heading: how many labels per class does supervised learning need for what SimCLR's features reach with 5? (The answer lies between two marks, where nothing was measured.) The comparison is fair about labels but not about everything else. SimCLR's encoder has also seen many thousands of images without labels, and at full size, while the supervised runs train on views of 16 x 16 pixels. In favour of the supervised runs, each of their accuracies is the better of two, with test images of 16 and of 32 pixels. And each supervised run has one seed, so differences of a few points may be chance. (With `DL_DATA=real` the supervised curve is still that of the sample images; do not compare the two then.)

# %% [markdown]
# ## Before or after the head?
#
# Back to the question from the start: the loss compares the projections $z = g(h)$, and yet we keep $h$. What does each of them know about the class? The same logistic regression on both, from 1,000 labelled images:

# %%
choices = ["features h", "projections z", "about the same"]
keeps_more = session.predict("Which gives the better probe?", choices)

# %%
h, z = recorded.features(model, images[:1000])
on_h = recorded.probe_accuracy(h, labels[:1000], asked, test_labels)
on_z = recorded.probe_accuracy(z, labels[:1000], asked_z, test_labels)
print(f"probe on h {on_h:.1f} %, on z {on_z:.1f} %")
names = {1: "features h", 0: "about the same", -1: "projections z"}
winner = names[(on_h > on_z + 1) - (on_z > on_h + 1)]
keeps_more.reveal(winner, f"{on_h:.1f} % on h, {on_z:.1f} % on z")
behind = on_z - on_h
session.target("h is at most half a point behind z", behind <= 0.5, f"{behind:.1f}")

# %% [markdown]
# The loss asks $z$ to ignore whatever the augmentations change, for example colour. If $g$ does the ignoring, $h$ may keep it. That is the explanation of the SimCLR paper (its section 4.2), which finds a difference of more than ten points on ImageNet. On the sample images there is next to no difference. Two reasons fit: the ten classes differ in shape, which both must keep; and with almost all images right there is little room for a difference. A sharper test asks both for something that the augmentations change. **To think about:** take the mean red, green and blue of every image as the target, fit a linear regression once to $h$ and once to $z$, and compare the errors on test images. (`h` and `z` belong to `images[:1000]`, `asked` and `asked_z` to `test_images`.) What do you expect, and what do you find? (`session.answer("Colour in h and z")`)

# %% [markdown]
# ## What the features look like
#
# t-SNE places vectors on a map so that near ones stay near. The sizes of groups and the distances between them mean little, and one class may appear as several groups. Here are 600 test images, by the features of an encoder with random weights and of ours. The map has never seen a label; only the colours show them.

# %%
random_model = Model(feature_dim, encoder=ENCODER).to(**PLACE)
random_model.f.load_state_dict(untrained.f.state_dict())
networks = {"Random weights": random_model, "After SimCLR": model}
few = session.shortened(600, 200)
features = {name: recorded.features(net, test_images[:few])[0] for name, net in networks.items()}
figure = draw.feature_maps(features, test_labels[:few], plain_test.classes)

# %% [markdown]
# *Two maps of the same images, a colour and a marker for each class.* On the left the classes are mixed. On the right some have separated from all others, some touch or overlap, and some lie in several clumps. Which ones, and what do these things look like? The measurement is the accuracy of kNN above, not the map.

# %% [markdown]
# ## Save

# %%
session.save_results()

# %% [markdown]
# ## What to remember
#
# * The augmentations say what must not matter, and so decide what the features are about. Without colour changes, colour can become a cheap clue. Which augmentations are right depends on the images.
# * The contrastive loss is a cross-entropy: find your positive among $2N - 1$ candidates. Guessing costs $\ln(2N-1)$. More candidates make a harder question, and a low temperature concentrates on the hardest negatives.
# * A falling loss shows that the views are being matched. Whether the features are good, only a measurement on the classes tells: kNN, a linear probe.
# * Compare every such measurement: with random weights, with supervised training on the same labels, with an ingredient removed.
# * The loss acts on $z$; what you keep is $h$, before the head.
#
# ## Questions to think about
#
# Write your answers in the text cell below, then compare: run `session.answer("Colours that matter")` in a new cell, and so on with the titles in bold.
#
# 1. **Colours that matter.** Suppose colours matter, as with birds or ripe fruit. Which step would you weaken, and how would you notice that you should? (Name the step, the reason, and a measurement.)
# 2. **Negatives of the same class.** Two different images of a boat are negatives of each other. How does the loss treat them, and why does it work all the same? (Say which way they are pushed, how strongly, and name two reasons.)
# 3. **Temperature.** What does the temperature do to the gradients of similar and of dissimilar negatives? What goes wrong at either extreme? (Give the gradient, or say it in words, and one failure at each end.)
# 4. **Batch norm across devices.** When SimCLR trains on several devices, batch norm must use statistics over all of them. Which shortcut would the network find otherwise? (Both views of an image lie on the same device. What else would they share that their negatives on other devices do not?)
# 5. **A loss that is too low.** In the table of augmentations, the run without colour changes has a lower loss and worse features. Explain it to somebody who believes that a lower loss is always better. (Name a likely shortcut, and say between which runs losses can be compared.)

# %% [markdown]
# **Your answers** *(for yourself, not graded; double-click this cell and write)*
#
# 1.
# 2.
# 3.
# 4.
# 5.

# %% [markdown]
# ## What next
#
# Change one setting of `drawn` (say `scale=(1, 1)`, no cropping) and train from scratch again. Run `python -m dl.simclr.pretrain --epochs 5`, which trains with batched views in CIFAR-10's settings (crops from 8 %, temperature 0.5), on one device or, started by `torchrun`, on many. Or go on to `CLIP_DINO.ipynb`: there the two views become an image and its caption, and later the negatives disappear altogether.
