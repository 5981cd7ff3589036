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
# Labels are expensive, pictures are not. Here a network learns from pictures alone: it is shown two changed copies of each picture and must find, among many others, which two belong together. What it learns on the way turns out to be most of what a classifier needs.
#
# 1. **Augmentation:** make two random views of a picture.
# 2. **Encoder and head:** turn a view into a vector.
# 3. **Contrastive loss:** from one pair of vectors to the whole batch, first with a loop, then without.
# 4. **Training and testing:** train one epoch, then ask what the features know: their nearest neighbours, and a layer that learns from a tenth of the labels.
#
# The code that you fill in is in `dl/simclr/`: `data_utils.py`, `contrastive_loss.py` and `utils.py`. A check that passes prints `ok:`, one that fails stops the notebook and says what was wrong. The method is from [Chen et al. 2020](https://arxiv.org/abs/2002.05709).
#
# **Time:** about 1 minute on two idle CPU cores with the sample data; with CIFAR-10 (`DL_DATA=real`) plan for a GPU and about 10 minutes. **You need:** a little PyTorch; logarithms.

# %% [markdown]
# ## Setup
#
# Edits of the modules are picked up at once, without a restart: that is what the two `autoreload` lines do.

# %%
# %load_ext autoreload
# %autoreload 2
from dl.notebook import hint, setup

session = setup("Self_Supervised_Learning")
DEVICE, to_float, to_double = session.device, session.to_float, session.to_double

# %%
import copy
import math
import os
import time

import torch
from torch import optim
from torch.utils.data import DataLoader, Subset, TensorDataset

from dl.checks.published import expected
from dl.figures import simclr as draw
from dl.simclr import contrastive_loss as lesson
from dl.simclr.batch_augment import BatchAugmentation, PairBatches
from dl.simclr.contrastive_loss import rel_error
from dl.simclr.data_utils import compute_test_transform, compute_train_transform, load_cifar10, normalise, picture_tensors
from dl.simclr.model import Classifier, Model, load_pretrained, starting_weights
from dl.simclr.utils import test, train, train_probe

# %% [markdown]
# Two settings depend on the data. CIFAR-10 gets the ResNet-50 of the course. The sample pictures, close-ups of ten kinds of things at the same 32 x 32 pixels, get a small residual network that trains on a CPU. Everything else is shared.

# %%
REAL = session.data == "real"
ENCODER = "resnet50" if REAL else "small"
LOADING = {"num_workers": min(4, os.cpu_count()) if REAL else 0, "pin_memory": DEVICE.type == "cuda"}

# %% [markdown]
# ## What makes a good representation?
#
# A representation is good if pictures of the same kind of thing get similar vectors, whatever the light, the place in the frame or the colours. Nobody tells our network what kind of thing a picture shows. But we do know something without any label: **a picture cropped, mirrored or recoloured still shows the same thing.** So we ask for vectors that agree between two such copies, and differ from those of other pictures.

# %%
figure = draw.method()

# %% [markdown]
# *The drawing reads from left to right: two random changes $t$ and $t'$ make two views of a picture; one encoder $f$ and one small head $g$, used for both, turn them into $z_i$ and $z_j$, which must agree.* After training the head is thrown away and the features $h$ are kept. Keep a question in mind: why not ask $h$ itself to agree?

# %% [markdown]
# ## Two views of a picture
#
# Which changes should not matter? SimCLR's answer for small pictures, in this order:
#
# 1. a random crop, resized to 32 x 32: any part may stand for the whole;
# 2. mirrored, half of the time;
# 3. brightness, contrast, saturation and hue changed, four times out of five: otherwise two views could be matched by their colours alone;
# 4. grey, one time in five.
#
# Fill in `compute_train_transform` and `CIFAR10Pair.__getitem__` in `data_utils.py`. A note on the first: it also seeds the random generators, so that all that is drawn after it repeats from run to run.
#
# Every exercise has a line `session.exercise("…")`, which tries your function on fresh inputs each time it runs and says what is wrong where something is. `hint()` in a cell of its own then gives a hint, and once more the next one.

# %%
session.exercise("compute_train_transform", "CIFAR10Pair.__getitem__")
pair_data = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)
pictures, labels = picture_tensors(pair_data, 1000)
print(f"{len(pair_data):,} training pictures of {', '.join(pair_data.classes)}")
pairs = [pair_data[n] for n in range(8)]
rows = {"one view": [x_i for x_i, _, _ in pairs], "another": [x_j for _, x_j, _ in pairs]}
figure = draw.views(pictures[:8], rows, "Two views of a picture: what do they share?")

# %% [markdown]
# *The figure shows eight pictures and under each two random views of it.* Some pairs are easy to match, others hardly show the same part. Cover the first row and try it yourself: that is the network's task.

# %%
x_i, x_j, target = pair_data[0]
session.check("views are tensors (3, 32, 32)", x_i.shape == x_j.shape == (3, 32, 32))
session.check("the two views differ", not torch.equal(x_i, x_j))
session.check("the label is kept", target == pair_data.targets[0])
again = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)[0]
first = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)[0]
session.check("the seed fixes the views", torch.equal(again[0], first[0]) and torch.equal(again[1], first[1]))

# %% [markdown]
# Chances can be checked too. Over 1,000 pictures, about one view in five should be grey, up to what chance allows.

# %%
views = torch.stack([pair_data[n][0] for n in range(1000)])
colours = draw.unnormalise(views)
grey = ((colours.amax(dim=1) - colours.amin(dim=1)).amax(dim=(1, 2)) < 0.01).float().mean().item()
session.check("about one view in five is grey", 0.15 < grey < 0.26, f"{grey:.1%} of 1,000")

# %% [markdown]
# ### A whole batch at once
#
# One picture after another is slow: most of the time goes into calls, not into pixels, and a GPU would wait. `BatchAugmentation` does the same to a whole batch of tensors, with random numbers of its own for every picture. Its trick: a crop with resizing is two matrix products, one for the rows and one for the columns. The tests compare both routes in distribution.

# %%
augment = BatchAugmentation()
rows = {"one view": augment(pictures[:8]), "another": augment(pictures[:8])}
figure = draw.views(pictures[:8], rows, "Views made for the whole batch at once: can you tell the difference?")

# %%
start = time.perf_counter()
_ = [pair_data[n] for n in range(250)]
one_by_one = 500 / (time.perf_counter() - start)
start = time.perf_counter()
_ = augment(pictures.to(DEVICE)).cpu()
batched = 1000 / (time.perf_counter() - start)
print(f"views a second: {one_by_one:,.0f} one by one, {batched:,.0f} batched ({batched / one_by_one:.1f} times as many)")
session.record(views_a_second_one_by_one=one_by_one, views_a_second_batched=batched)

# %% [markdown]
# ## Encoder and head
#
# `Model` is given. The encoder $f$ is a residual network whose first convolution suits 32 x 32 pictures; $g$ has two layers. Both outputs have unit length, so a dot product is a cosine.
#
# The profiler `thop` counts what one picture costs. It prints *MACs*, one multiplication and one addition each; the course's notebook calls them FLOPs, of which there are about twice as many. It leaves counters behind in the model, so it gets a copy.

# %%
from thop import clever_format, profile

model = Model(feature_dim=128, encoder=ENCODER)
macs, params = profile(copy.deepcopy(model), inputs=(torch.randn(1, 3, 32, 32),), verbose=False)
print("# Model Params: {} MACs: {}".format(*reversed(clever_format([macs, params], "%.2f"))))
with torch.no_grad():
    feature, projection = model(normalise(pictures[:4]))
print("feature", tuple(feature.shape), "projection", tuple(projection.shape))
session.check("both outputs have unit length", all(torch.allclose(z.norm(dim=1), torch.ones(4)) for z in (feature, projection)))

# %% [markdown]
# ## The loss, from one pair to the batch
#
# ### One pair
#
# How alike are two vectors? The cosine looks only at their directions:
#
# $$s(z_i, z_j) = \frac{z_i \cdot z_j}{\lVert z_i \rVert \, \lVert z_j \rVert}$$
#
# Fill in `sim`. The numbers to compare with were computed independently, in double precision.

# %%
session.exercise("sim")
case = expected("simclr")["simclr_n2_d3"]
left, right = (torch.tensor(case["inputs"][name]).to(**to_float) for name in ("left", "right"))
cosines = torch.tensor(case["expected"]["sim_positive_pairs"]["value"])
for k in (0, 1):
    error = rel_error(lesson.sim(left[k], right[k]), cosines[k, 0])
    session.check(f"sim of pair {k} agrees", error < 1e-6, f"error {error:.1e}")

# %% [markdown]
# ### One row against all others
#
# A batch of $N$ pictures gives $2N$ vectors. Row $i$ has one partner, $j$, its *positive*, and must pick it out of all the others, its *negatives*. These are views of other pictures, whatever they show: with ten kinds of things, about one negative in ten is of the same kind. Take the cosines, divide them by the temperature $\tau$, and the loss is that of a classification among $2N - 1$ candidates:
#
# $$\ell(i, j) = -\log \frac{\exp(s(z_i, z_j)/\tau)}{\sum_{k \neq i} \exp(s(z_i, z_k)/\tau)}$$
#
# Only the row itself is left out of the sum. The quotient is the *share* of the partner in the sum; every negative has a share, too, and the gradient of the loss with respect to a negative's cosine is its share divided by $\tau$. Averaged over both directions of all pairs:
#
# $$L = \frac{1}{2N} \sum_{k=1}^{N} \left[ \ell(k, k+N) + \ell(k+N, k) \right]$$

# %%
tau = 0.5
torch.manual_seed(4)
z_left = torch.randn(4, 8)
z_right = z_left + torch.tensor([0.9, 0.3, 1.5, 3.0])[:, None] * torch.randn(4, 8)  # partners, some better, some worse
figure = draw.loss_in_three_steps(z_left, z_right, tau)

# %% [markdown]
# *From left to right: the cosines of row 0 with all eight rows (its partner, row 4, in orange with stripes; itself in grey); the shares that the softmax makes of them; the cosines of all rows, partners framed, the rows themselves crossed out.* Which row will have the largest loss?
#
# Fill in `simclr_loss_naive`, with a loop over the rows. Temperatures far below 0.1 make $\exp(s/\tau)$ overflow, so take `torch.logsumexp`: the logarithm of a sum of exponentials, computed without ever writing down the large numbers.

# %%
session.exercise("simclr_loss_naive")
for tau, value in case["expected"]["loss"]["value_by_tau"].items():
    error = rel_error(lesson.simclr_loss_naive(left, right, float(tau)), value)
    session.check(f"naive loss at temperature {tau} agrees", error < 1e-6, f"error {error:.1e}")

# %% [markdown]
# ### All rows at once
#
# Loops are slow. First the $N$ cosines of the pairs, `sim_positive_pairs`; then all $2N \times 2N$ cosines, `compute_sim_matrix`.

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
# Now `simclr_loss_vectorized`. Two rows of three numbers are easily matched by chance, so it must also agree with the naive loss on a larger batch, in its value and in its gradients, and stay finite at a tiny temperature.

# %%
session.exercise("simclr_loss_vectorized")
for tau, value in case["expected"]["loss"]["value_by_tau"].items():
    error = rel_error(lesson.simclr_loss_vectorized(left, right, float(tau), device=left.device), value)
    session.check(f"vectorised loss at temperature {tau} agrees", error < 1e-6, f"error {error:.1e}")

# %%
inputs = [torch.randn(16, 32, dtype=torch.float64).to(**to_double).requires_grad_() for _ in range(2)]
losses = [loss(*inputs, 0.1) for loss in (lesson.simclr_loss_naive, lesson.simclr_loss_vectorized)]
gradients = [torch.cat(torch.autograd.grad(loss, inputs)) for loss in losses]
session.check_error("value, naive and vectorised", losses[1], losses[0], 1e-12)
session.check_error("gradients, naive and vectorised", gradients[1], gradients[0], 1e-10)
session.check("finite at temperature 0.005", lesson.simclr_loss_vectorized(*inputs, 0.005).isfinite().item())

# %% [markdown]
# What should the number be? With 64 pairs of unrelated vectors, each row guesses among 127 others, which costs about $\ln 127$.

# %%
guessing = lesson.simclr_loss_vectorized(torch.randn(64, 4096), torch.randn(64, 4096), 0.5).item()
session.check("unrelated vectors cost the logarithm of 127", abs(guessing - math.log(127)) < 0.01, f"{guessing:.3f}")

# %% [markdown]
# ## Training
#
# Fill in `train` in `utils.py`: two views, two forward passes, one loss, one step. The loss sees the *projections*.
#
# SimCLR is slow to start with: the course's weights took about 18 hours. So we start from trained weights and train one further epoch, over half of the pictures. (Adam takes the place of the paper's LARS, which is made for batches of thousands.)
#
# **In all honesty:** nearly all of what you will see comes from the weights that are loaded. With the sample data they were made by `python -m dl train-weights simclr` in a few minutes, from 40,000 other pictures, and *not by the recipe above*: with milder crops, stronger colour changes, more grey and a temperature of 0.2. In these drawn pictures background and colour tell two views from all others far too easily, and CIFAR-10's four steps leave too much of both. Which changes are right depends on the pictures; `dl/weights/files/simclr.md` has the numbers.

# %%
feature_dim, temperature, k = 128, 0.5, 200  # the course's; the same with the sample data
batch_size, epochs, rate = 64, 1, 1e-3 if REAL else 1e-4
train_data = load_cifar10(train=True, transform=compute_train_transform(), pairs=True)
train_data = Subset(train_data, range(len(train_data) // 2))  # the first half
memory_data = load_cifar10(train=True, transform=compute_test_transform(), pairs=True)
test_data = load_cifar10(train=False, transform=compute_test_transform(), pairs=True)
train_loader = DataLoader(train_data, batch_size, shuffle=True, drop_last=True, **LOADING)
memory_loader, test_loader = (DataLoader(data, batch_size, **LOADING) for data in (memory_data, test_data))
c = len(memory_data.classes)

# %% [markdown]
# Weights are loaded strictly: every tensor of the network must be there and fit. What may be left over, counters of a profiler in the course's file, is named.

# %%
session.exercise("train")
model = Model(feature_dim, encoder=ENCODER)
leftovers = load_pretrained(model, starting_weights(ENCODER))
print("left aside:", ", ".join(leftovers) or "nothing")
model = model.to(DEVICE)
optimizer = optim.Adam(model.parameters(), lr=rate, weight_decay=1e-6)

# %% [markdown]
# How good are the features meanwhile? Ask the **nearest neighbours**: find for a test picture the $k$ training pictures with the most similar features, and let them vote for their class, each with weight $\exp(s/\tau)$ ([Wu et al. 2018](https://arxiv.org/abs/1805.01978)). Nothing is trained for that, but *every* label of the training pictures is used. First with the weights as loaded, then a few times during the epoch, there with 50 neighbours among 2,000 pictures only.

# %%
before = test(model, memory_loader, test_loader, 0, epochs, c, k=k, temperature=temperature, device=DEVICE)[0]
print(f"neighbours, weights as loaded: top-1 {before:.2f} %")
small_memory, small_test = (DataLoader(Subset(data, range(n)), 250) for data, n in ((memory_data, 2000), (test_data, 500)))


def neighbours_accuracy():
    accuracy = test(model, small_memory, small_test, 1, epochs, c, k=50, device=DEVICE, progress=False)[0]
    model.train()  # back to training, in the middle of an epoch
    return accuracy


live = draw.LiveTraining(len(train_loader), neighbours_accuracy)
loss = train(model, train_loader, optimizer, 1, epochs, batch_size=batch_size, temperature=temperature, device=DEVICE,
             on_batch=live)
print(f"mean loss {loss:.4f}")
loaded = starting_weights(ENCODER)["f.0.weight"].to(DEVICE)
session.check("training has moved the weights", not torch.equal(model.f[0].weight, loaded))

# %% [markdown]
# *The figure shows the mean loss so far on the left (in nats: natural logarithms) and the neighbours' accuracy on the right, step by step.* Neither moves much, since most of the learning lies behind these weights. The loss is well below the $4.84$ of guessing. Near 0 it cannot be: 64 pictures cannot all be opposite to each other. At best partners coincide and any two pictures have the cosine $-1/63$, and that still costs $\ln(1 + 126\, e^{-(1 + 1/63)/\tau}) \approx 2.86$ at $\tau = 0.5$.
#
# Now again with all training pictures as memory and all test pictures. Compare with the line that was printed before training: with the sample data the epoch has gained nothing and lost a little. (Top-5: the right class is among the five with the most votes.)

# %%
top1, top5 = test(model, memory_loader, test_loader, 1, epochs, c, k=k, temperature=temperature, device=DEVICE)
path = session.root / "pretrained_model" / "trained_simclr_model.pth"
path.parent.mkdir(exist_ok=True)
torch.save(model.state_dict(), path)
print(f"neighbours: top-1 {top1:.2f} %, top-5 {top5:.2f} %")
session.target("neighbours name the class of most test pictures", top1 > 60, f"{top1:.1f} %, limit 60 %")
session.record(simclr_loss=loss, knn_top1=top1, knn_top5=top5)

# %% [markdown]
# To train with batched views takes one more line; here is a trial of 16 steps, going on from these weights. It is what `python -m dl.simclr.pretrain` does, on one device or, started by `torchrun`, on many. There, batch norm and the loss must look across the devices; the docstring of `dl/simclr/distributed.py` says how.

# %%
raw = DataLoader(TensorDataset(*picture_tensors(memory_data, 1024)), batch_size, shuffle=True, drop_last=True)
trial = copy.deepcopy(model)
batched_loss = train(trial, PairBatches(raw, augment, DEVICE), optim.Adam(trial.parameters(), lr=rate), 1, 1,
                     temperature=temperature, device=DEVICE)
session.target("batched views give about the same loss", abs(batched_loss - loss) < 0.3, f"{batched_loss:.3f}, {loss:.3f}")

# %% [markdown]
# ## A linear probe, with few labels
#
# Now take a tenth of the training labels, freeze the encoder and train a single linear layer on its features. First with an encoder that has learnt nothing, its weights as they were drawn.
#
# One detail is kept from the course: while the layer trains, the frozen encoder is in training mode too, so its batch norm goes on measuring. Its weights do not move.

# %%
probe_epochs, probe_batch = 10, 128  # the course's; the same with the sample data
labelled = load_cifar10(train=True, transform=compute_train_transform())
labelled = Subset(labelled, range(len(labelled) // 10))  # the first tenth
plain_test = load_cifar10(train=False, transform=compute_test_transform())
probe_loader = DataLoader(labelled, probe_batch, shuffle=True, **LOADING)
plain_test_loader = DataLoader(plain_test, probe_batch, **LOADING)
print(f"{len(labelled):,} labelled pictures, {len(plain_test):,} to test on")

# %%
untrained = Classifier(c, encoder=ENCODER).to(DEVICE)
no_pretrain_results = train_probe(untrained, probe_loader, plain_test_loader, probe_epochs, device=DEVICE)
accuracies = no_pretrain_results["test_acc@1"]
print(f"Best top-1 accuracy without self-supervised learning: {max(accuracies):.2f} % (last epoch {accuracies[-1]:.2f} %)")

# %% [markdown]
# Now the same with the encoder trained by SimCLR. The projection head stays behind, and the loading says so.

# %%
pretrained = Classifier(c, encoder=ENCODER)
leftovers = load_pretrained(pretrained, torch.load(path, map_location="cpu", weights_only=True))
print("left aside:", ", ".join(leftovers))
pretrained = pretrained.to(DEVICE)
pretrain_results = train_probe(pretrained, probe_loader, plain_test_loader, probe_epochs, device=DEVICE)
accuracies = pretrain_results["test_acc@1"]
print(f"Best top-1 accuracy with self-supervised learning: {max(accuracies):.2f} % (last epoch {accuracies[-1]:.2f} %)")

# %%
figure = draw.probe_curves(no_pretrain_results["test_acc@1"], pretrain_results["test_acc@1"])

# %% [markdown]
# *The figure shows the test accuracy of both probes over ten epochs.* The encoders have the same architecture, the probes the same labels and the same settings; what differs is where the encoder's weights come from (and the order of the pictures and the layer's first weights, which are drawn at random). Neither curve is at its end: with the sample data ten epochs are 80 steps. Another probe, a logistic regression on standardised features of pictures without augmentation, gets 30.8 % out of random weights and 97.5 % out of the loaded ones (the weights' card). And do not compare the probe with the neighbours above: they had ten times as many labels.

# %%
best = {name: max(results["test_acc@1"])
        for name, results in (("without", no_pretrain_results), ("with", pretrain_results))}
gain = best["with"] - best["without"]
session.target("the probe with SimCLR reaches 70 %", best["with"] >= 70, f"{best['with']:.1f} %")
session.target("SimCLR gains at least 40 points", gain >= 40, f"{gain:.1f}")
session.record(probe_with_best=best["with"], probe_with_last=pretrain_results["test_acc@1"][-1],
               probe_without_best=best["without"], probe_without_last=no_pretrain_results["test_acc@1"][-1])

# %% [markdown]
# ## What the features look like
#
# t-SNE puts vectors on a map so that near ones stay near. Here are 600 test pictures, by the features of an encoder with random weights and of ours. The map has never seen a label; only the colours show them.

# %%
test_pictures, test_labels = picture_tensors(plain_test, 600)
random_model = Model(feature_dim, encoder=ENCODER).to(DEVICE)
with torch.no_grad():
    random_model.f.load_state_dict(untrained.f.state_dict())  # its batch norm has measured these pictures, as ours has
    features = {name: network.eval()(normalise(test_pictures).to(DEVICE))[0]
                for name, network in (("Random weights", random_model), ("After SimCLR", model))}
figure = draw.feature_maps(features, test_labels, plain_test.classes)

# %% [markdown]
# *Two maps of the same pictures, a colour and a mark for each class.* On the left the classes are mixed. On the right some have drawn apart from all others, and some still touch or overlap. Which ones, and what do these things look like?

# %% [markdown]
# ## Save

# %%
session.save_results()

# %% [markdown]
# ## What to remember
#
# * The augmentations say what must not matter: the projections are pushed to ignore it, the features partly follow. Which changes are right depends on the pictures.
# * The contrastive loss is a cross entropy: find your partner among $2N - 1$ rows. More rows make a harder question.
# * After training the head $g$ is thrown away. The paper finds that $h$, before it, keeps more, and explains it by the loss: what the loss wants forgotten, $g$ can forget alone.
# * A linear probe asks what is in the features, as far as its own training gets: compare it with a probe on random weights, and report the last epoch beside the best.
#
# ## Questions to think about
#
# 1. Suppose colours must matter, as with birds or ripe fruit. Which step would you weaken, and how would you notice that you should?
# 2. Two different pictures of a boat are *negatives* of each other here. How does the loss treat them, and why does it work all the same?
# 3. What does the temperature do to the gradients of near and far negatives? Run the cell of the loss figure again with `tau = 0.1` and with `tau = 5`, and look at the shares in the middle.
# 4. Why must batch norm be shared between devices when SimCLR trains on several?
