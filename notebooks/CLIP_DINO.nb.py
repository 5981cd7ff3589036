# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Looking with words, and without: CLIP and DINO
#
# Two large models have learnt to see in two different ways. **CLIP** was shown pictures with their captions and can compare any picture with any text. **DINO** was shown pictures alone, no captions and no labels, and knows which parts of a picture belong together. Here you use both without training them any further:
#
# 1. **CLIP:** captions against pictures, a classifier made of words, a search engine in ten lines.
# 2. **DINO:** where it looks, and what its patches have in common.
# 3. **A video:** show a tiny classifier the objects in *one* frame and let it find them in all the others.
#
# The code that you fill in is in `dl/clip_dino.py`. A check that passes prints `ok:`, one that fails stops the notebook and says what was wrong. The methods are from [Radford et al. 2021](https://arxiv.org/abs/2103.00020) and [Caron et al. 2021](https://arxiv.org/abs/2104.14294). Five questions ask for an answer of yours in the cell below them.
#
# **Time:** about 2 minutes on two idle CPU cores with the sample data; with the real data (`DL_DATA=real`) plan for a GPU and about 10 minutes, after fetching them. **You need:** dot products, a little PyTorch, what attention weights are (`Transformers.ipynb`) and the loss of SimCLR (`Self_Supervised_Learning.ipynb`).

# %% [markdown]
# ## Setup
#
# Edits of the modules are picked up at once, without a restart: that is what the two `autoreload` lines do.

# %%
# %load_ext autoreload
# %autoreload 2
from dl.notebook import hint, setup

session = setup("CLIP_DINO")
DEVICE, to_float, to_double = session.device, session.to_float, session.to_double

# %%
import json

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from dl import clip_dino as lesson
from dl.models import scores
from dl.checks.published import EXPECTED
from dl.coco_utils import decode_captions, load_coco_data
from dl.data.examples import coco_examples
from dl.figures import clip_dino as draw
from dl.grad import rel_error
from dl.image_utils import image_from_url
from dl.models.small_clip import load_clip, quiet_clip_import
from dl.models.vit import load_dino, untrained_like
from dl.world.export import HARD_VIDEOS, SPLIT_KEYS, sample_path, scenes, sentences
from dl.world.render import render
from dl.world.scenes import CLASSES, COLOURS, TEXTURES, generator, sample_scene

# %% [markdown]
# Two sorts of data again. With `DL_DATA=real`: photographs of COCO, the published CLIP ViT-B/32 and DINO ViT-S/8, videos of DAVIS. With the sample data: drawn scenes and videos, and two small models that were trained on such scenes (never on those shown here). Their cards, `dl/weights/files/clip.md` and `dino.md`, say how, and we come to it.

# %%
REAL = session.data == "real"
SIZE = 480 if REAL else 160  # pixels a side of what DINO sees; published: 480
expected = json.loads((EXPECTED / "clip_dino.json").read_text())

# %% [markdown]
# # Part I: CLIP
#
# ## One space for pictures and words
#
# CLIP has two encoders, one for pictures and one for texts. Both end in a vector of the same length. In training, a batch holds $N$ pictures and their $N$ captions; all $N \times N$ pairs are compared, and the $N$ true ones must come out on top, in every row and in every column:
#
# $$L = \frac{1}{2N} \sum_{n=1}^{N} \left[ -\log \frac{e^{s_{nn}/\tau}}{\sum_m e^{s_{nm}/\tau}} - \log \frac{e^{s_{nn}/\tau}}{\sum_m e^{s_{mn}/\tau}} \right], \qquad s_{nm} = \frac{I_n \cdot T_m}{\lVert I_n \rVert \, \lVert T_m \rVert}$$
#
# Here $I_n$ and $T_n$ are the vectors of picture $n$ and of its caption, and $\tau$ is a temperature, which CLIP learns along with all the rest. The loss is a close relative of SimCLR's, with a caption in the place of the second view. One thing differs: SimCLR compares a view with all others, while here pictures are compared with texts only, and texts with pictures only. Afterwards no training is needed to classify: write down the names of the classes and see which one lies nearest to the picture.

# %%
figure = draw.clip_method(["a yellow star in the snow", "a small blue boat", "a green tree at night"], ["a star", "a fish", "a boat"])

# %% [markdown]
# *Left: in training, texts and pictures of a batch are encoded; the table holds all their products, and those on its diagonal are to become large, all others small. Right: class texts take the place of the captions; the picture gets the name with the largest product.*
#
# ### Question 1
#
# CLIP was trained with batches of 32,768 pairs. Why does the size of the batch matter so much for this loss? And suppose that your GPU has room for 128 pairs and no more. Adding up the gradients of many small batches does not help by itself, since each pair would still be compared with 127 others only. What could you change, in the loss, in where the other pairs come from, or in what you start from, to get good picture features all the same?

# %% [markdown] tags=["answer"]
# **Your answer:** *(question 1)*

# %% [markdown]
# ## Ten pictures and their captions
#
# The captions come as rows of word indices with a vocabulary, the pictures as addresses. The file also holds features of another network; we have no use for them.

# %%
data = load_coco_data(pca_features=True, features=not REAL)  # the real ones have 250 MB
for key, value in data.items():
    print(f"{key:16s} {type(value).__name__:8s}", (value.shape, value.dtype) if isinstance(value, np.ndarray) else len(value))

# %% [markdown]
# Ten captions are decoded, and the words for begin, end and unknown erased. The pictures belong to the captions through `val_image_idxs`.

# %%
if REAL:  # photographs at Flickr; where one has vanished, a drawing takes its place, and that is said
    examples = coco_examples(data)
    images, captions = [example.image for example in examples], [example.caption for example in examples]
    judged = [place for place in range(10) if examples[place].is_photograph]
else:
    chosen, judged = [3, 11, 16, 23, 29, 56, 103, 105, 226, 244], list(range(10))
    captions = decode_captions(data["val_captions"][chosen], data["idx_to_word"])
    for word in ("<START>", "<END>", "<UNK>"):
        captions = [caption.replace(word, "").strip() for caption in captions]
    images = [image_from_url(data["val_urls"][index]) for index in data["val_image_idxs"][chosen]]

# %%
figure = draw.titled_pictures(images, captions, "Ten pictures and their captions")

# %% [markdown]
# *Ten pictures, each under its caption.* A blank too many in a caption is a word that the vocabulary lacks.
#
# ## Encoding
#
# `load_clip` gives the model and its preprocessing, as `clip.load` does. The preprocessing takes a PIL picture, brings its shorter side to the model's size, cuts out the middle and normalises. `clip.tokenize` turns each text into 77 numbers, padded with zeros.

# %%
with quiet_clip_import():  # the package warns of one that it uses
    import clip
clip_model, clip_preprocess = load_clip(DEVICE)
count = {"pictures": 0, "texts": 0}
for name, parameter in clip_model.named_parameters():
    count["pictures" if "visual" in name else "texts"] += parameter.numel()
print("parameters:", ", ".join(f"{number:,} for {what}" for what, number in count.items()))

# %%
tokens = clip.tokenize(captions).to(DEVICE)
with torch.no_grad():
    text_features = clip_model.encode_text(tokens).float()
image_features = lesson.encode_images(clip_model, clip_preprocess, images, DEVICE).float()
print("tokens", list(tokens.shape), "texts", list(text_features.shape), "pictures", list(image_features.shape))
session.check("texts and pictures share one space", text_features.shape == image_features.shape == (10, text_features.shape[1]))

# %% [markdown]
# Half precision is what CLIP computes in on a GPU, hence the `.float()`. And note that the features do not have unit length: that is left to whoever compares them.

# %%
for name, features in (("texts", text_features), ("pictures", image_features)):
    print(f"lengths of the {name}:", " ".join(f"{length:.1f}" for length in features.norm(dim=1).tolist()))

# %% [markdown]
# ## All cosines at once
#
# Fill in `get_similarity_no_loop`: the cosine of each of $N$ texts with each of $M$ pictures, as one $N \times M$ matrix, without a loop.
#
# Every exercise has a line `session.exercise("…")`, which tries your function on fresh inputs each time it runs and says what is wrong where something is. `hint()` in a cell of its own then gives a hint, and once more the next one.

# %%
session.exercise("get_similarity_no_loop")

# %% [markdown]
# Then it is compared with a published table. The smallest number in it, 0.001, makes the relative error a strict judge.

# %%
check = expected["similarity_check"]
torch.manual_seed(231)
text, image = torch.randn(6, 10), torch.randn(5, 10)  # the text first: the order of the draws matters
kept = text.clone(), image.clone()
similarity = lesson.get_similarity_no_loop(text.to(DEVICE), image.to(DEVICE)).cpu()
print("relative error:", rel_error(similarity, torch.tensor(check["expected_out_float32"])))
session.check_error("the similarity table", similarity, check["expected_out_float32"], 1e-5)
session.check("the inputs are left alone", torch.equal(text, kept[0]) and torch.equal(image, kept[1]))

# %% [markdown]
# Now the ten captions and pictures. What do you expect of the diagonal?

# %%
similarity = lesson.get_similarity_no_loop(text_features, image_features).cpu().numpy()
low, high = (0.1, 0.3) if REAL else (np.quantile(similarity, 0.2), similarity.diagonal().min())
figure = draw.similarity_matrix(similarity, captions, images, "Cosine similarity of text and image features: does every caption find its picture?", low, high)

# %% [markdown]
# *A row for each caption, a column for each picture, the cosine in each cell; bright cells are high.* Read a row: the brightest cell is the picture that CLIP would choose for the caption. Then look at the second best of each row: what do the two pictures share, the thing, its colour, or the place?

# %%
session.check("every caption finds its picture", (similarity.argmax(axis=1) == np.arange(10))[judged].all())
session.check("every picture finds its caption", (similarity.argmax(axis=0) == np.arange(10))[judged].all())
others = similarity[~np.eye(10, dtype=bool)]
session.record(diagonal=similarity.diagonal().mean(), off_diagonal=others.mean(), off_diagonal_largest=others.max())
print(f"mean cosine {similarity.diagonal().mean():.2f} on the diagonal, {others.mean():.2f} off it")

# %% [markdown]
# Ten may be luck. The sample world can draw as many scenes as we like and knows what is in them, so it can examine CLIP: 500 scenes with one to three objects, and for each caption the question which picture is its own, among ten and among a hundred. The share that is answered rightly is called *recall@1*: the right picture is the first of the list.

# %%
EXAM = session.shortened(500, 120)
exam = list(scenes("val", EXAM))
exam_pictures = [render(scene, 112)[0] for scene in exam]
exam_images = lesson.encode_images(clip_model, clip_preprocess, exam_pictures, DEVICE).float().cpu()
with torch.no_grad():
    exam_texts = clip_model.encode_text(clip.tokenize(list(sentences("val", EXAM))).to(DEVICE)).float().cpu()
recall = {among: scores.recall_at_1(exam_texts, exam_images, among, 100, np.random.default_rng(0)) for among in (10, 100)}
print(", ".join(f"recall@1 among {among}: {share:.3f}" for among, share in recall.items()))
session.record(recall_among_10=recall[10], recall_among_100=recall[100])
if not REAL:
    session.check("own picture found among 10, 100 draws", recall[10] >= 0.95, f"{recall[10]:.3f}, limit 0.95")
    session.check("own picture found among 100", recall[100] >= 0.80, f"{recall[100]:.3f}, limit 0.80")

# %% [markdown]
# ## Zero-shot: a classifier made of words
#
# Fill in `clip_zero_shot_classifier`: encode the class texts, encode the pictures, and give each picture the text with the highest cosine. The texts are used just as they are given.

# %%
session.exercise("clip_zero_shot_classifier")
classes = ["a star", "a fish", "a tree", "a car", "a cup"]
right = ["a fish", "a car", "a tree", "a cup", "a star", "a car", "a fish", "a star", "a tree", "a cup"]
if REAL:
    classes, right = expected["clip"]["classes"], [example.answer for example in examples]
predictions = lesson.clip_zero_shot_classifier(clip_model, clip_preprocess, images, classes, DEVICE)
print(predictions)
session.check("all ten pictures are named rightly", all(predictions[place] == right[place] for place in judged))

# %%
figure = draw.titled_pictures(images, predictions, f"Which of {len(classes)} texts fits best?")

# %% [markdown]
# *The ten pictures, each under the class text that fits it best.* Nobody trained a classifier of these classes.
#
# **In all honesty:** the published model got there from captions alone, 400 million of them. The small model of the sample mode had help. From captions it learns colour and place long before it learns to tell a star from a boat, because those suffice to tell most pairs apart. So its training also compared every picture with short texts that name one property, "a star", "something red", "something striped", "something in the snow"; `dl/weights/files/clip.md` says it all.
#
# ### What does it really know?
#
# Again 500 scenes, now of one object each. Three questions to the same picture: which colour, among eight, which thing, among ten, and which texture, among three? And a second exam, harder in a particular way: some pairs, *red star* and *blue house* for instance, were **kept out of the training**. The model has seen many red things and many stars, and never a red star.

# %%
questions = {"colour": [f"something {colour}" for colour in COLOURS],
             "category": [f"an {thing}" if thing[0] in "aeiou" else f"a {thing}" for thing in CLASSES],
             "texture": [f"something {texture}" for texture in TEXTURES]}
shown, answers = {}, {}  # of each exam: the objects, and for each property the texts that were chosen
for exam_name, split in {"usual pairs": "val", "kept-out pairs": "held_out"}.items():
    single = [sample_scene(generator(SPLIT_KEYS[split], 1000 + n), count=1, held_out=split == "held_out") for n in range(EXAM)]
    pictures = [render(scene, 112)[0] for scene in single]
    shown[exam_name] = [scene.objects[0] for scene in single]
    answers[exam_name] = {
        asked: lesson.clip_zero_shot_classifier(clip_model, clip_preprocess, pictures, texts, DEVICE)
        for asked, texts in questions.items()}

def is_right(exam_name, asked):
    """For each picture of an exam, whether the text that was chosen ends with the property of its object."""
    pairs = zip(answers[exam_name][asked], shown[exam_name])
    return np.array([text.endswith(" " + getattr(thing, asked)) for text, thing in pairs])

shares = {exam_name: [is_right(exam_name, asked).mean() for asked in questions] for exam_name in shown}
names = ["colour, among 8", "class, among 10", "texture, among 3"]
figure = draw.scores_beside(names, shares, "What does zero-shot get right?", [1 / len(texts) for texts in questions.values()])

# %%
usual, kept_out = shares.values()
for name, values in shares.items():
    print(f"{name}: colour {values[0]:.3f}, class {values[1]:.3f}, texture {values[2]:.3f}")
session.record(zero_shot_colour=usual[0], zero_shot_class=usual[1], zero_shot_texture=usual[2],
               kept_out_colour=kept_out[0], kept_out_class=kept_out[1], kept_out_texture=kept_out[2])
if not REAL:
    session.check("colour of 500 scenes", usual[0] >= 0.93, f"{usual[0]:.3f}, limit 0.93")
    session.check("class of 500 scenes", usual[1] >= 0.80, f"{usual[1]:.3f}, limit 0.80")

# %% [markdown]
# *The figure shows the shares that are right: usual pairs without hatching, kept-out pairs hatched; the dotted lines are what guessing gets.* Two things stick out: the class of kept-out pairs, and texture everywhere. Look closer at both.

# %%
things = is_right("kept-out pairs", "category")
for pair in sorted({(thing.colour, thing.category) for thing in shown["kept-out pairs"]}):
    of_pair = np.array([(thing.colour, thing.category) == pair for thing in shown["kept-out pairs"]])
    print(f"{' '.join(pair):12s} class right {things[of_pair].sum():2d} of {of_pair.sum()}")
with torch.no_grad():
    words = clip_model.encode_text(clip.tokenize(questions["texture"]).to(DEVICE))
between = lesson.get_similarity_no_loop(words, words)
print(f"\ncosines between the three texts on texture: at least {between.min():.4f}")

# %% [markdown]
# With the sample model, **0.63 is a mean that hides everything**. A red star, a thing that it has never seen, it calls a star nearly always, and a blue house a house. A purple tree it never calls a tree. So it can put together what it has learnt apart, but you cannot rely on it, and which pair will fail nobody told you beforehand. (One guess, not tested here: to the network, a colour that a thing never had is evidence for the others.)
#
# **Texture was asked for in training**, just like colour, and was not learnt. The last line shows how the model lives with it: the three texts have the same vector, so that all three fit every picture equally well. That is the cheapest answer as long as the pictures' vectors do not tell textures apart either. Gaps like these show only if one looks for them. (The published model was trained on neither exam; to it the two are the same.)
#
# ## Retrieval: a search engine
#
# The other way round: one text, many pictures. A search engine encodes its pictures **once**, when they come in, and every query costs one pass through the text encoder. Fill in `CLIPImageRetriever`: what belongs into `__init__`, what into `retrieve`?

# %%
session.exercise("CLIPImageRetriever.__init__", "CLIPImageRetriever.retrieve")
retriever = lesson.CLIPImageRetriever(clip_model, clip_preprocess, images, DEVICE)
queries = {"something red": {6, 8}, "something in the snow": {7, 9}}
if REAL:
    queries = {"sports": {0, 6}, "black and white": {1, 8}}
found = {query: retriever.retrieve(query) for query in queries}
for query, wanted in queries.items():
    if wanted <= set(judged):
        session.check(f'"{query}" finds its two pictures', set(found[query]) == wanted, f"best first: {found[query]}")
session.check("asked for more than there are, it gives all", sorted(retriever.retrieve(next(iter(queries)), k=99)) == list(range(10)))

# %%
order = [index for indices in found.values() for index in indices]
titles = [f"{query}: {place}" for query in found for place in ("first", "second")]
figure = draw.titled_pictures([images[index] for index in order], titles, "Two queries, two pictures each", columns=4)

# %% [markdown]
# *The two best pictures for each of two queries.* Try your own, in words that the model knows. Here is a larger shelf, 500 pictures, and a query with two properties.

# %%
shelf = lesson.CLIPImageRetriever(clip_model, clip_preprocess, exam_pictures, DEVICE)
query = "a photo of a blue boat"
best = shelf.retrieve(query, k=5)
def has_blue_boat(index):
    return any((thing.colour, thing.category) == ("blue", "boat") for thing in exam[index].objects)

ranking = shelf.retrieve(query, k=len(exam_pictures))
print("blue boats are at the places", [place for place, index in enumerate(ranking, start=1) if has_blue_boat(index)])
titles = [f"{place}: " + ("has one" if has_blue_boat(index) else "has none") for place, index in enumerate(best, start=1)]
figure = draw.titled_pictures([exam_pictures[index] for index in best], titles, f'500 pictures, "{query}": which are the best?')

# %% [markdown]
# *The five best of 500 pictures for a query with a colour and a thing, each with its place and a word on whether a blue boat is really in it.* With the sample model, the misses have half of what was asked for: a boat that is not blue, something blue that is no boat. They stand before several real blue boats (the printed places). The whole query is one vector and so is the whole picture; their cosine says how much fits, not *what* does. Could such a cosine tell "a blue boat and a red fish" from "a red boat and a blue fish"?
#
# ### Question 2
#
# CLIP ties two kinds of data together. Suppose that you have more kinds: sound, depth, the movements of a robot. How would you carry the idea over to three or more, and which pairs of data would you need for it? Not all combinations need to exist.

# %% [markdown] tags=["answer"]
# **Your answer:** *(question 2)*

# %% [markdown]
# # Part II: DINO
#
# ## Learning from a copy of oneself
#
# DINO has no captions and, unlike SimCLR, no negatives. A **student** sees crops of a picture, small ones among them; a **teacher** sees the large crops. Each answers with a distribution over $K$ made-up categories, and the student must give, for its crop, the teacher's answer for another one:
#
# $$L = -\sum_k p_{t,k} \ln p_{s,k}, \qquad p_s = \operatorname{softmax}\left(\frac{g_s}{\tau_s}\right), \qquad p_t = \operatorname{softmax}\left(\frac{g_t - C}{\tau_t}\right)$$
#
# Here $g_s$ and $g_t$ are the $K$ scores that student and teacher give to two different crops, and the loss is summed over all such pairs; $\tau_s = 0.1$ and $\tau_t = 0.04$ are temperatures; $C$ is the mean of the teacher's recent scores. Who teaches the teacher? Nobody: its weights are a slow average of the student's, $\theta_t \leftarrow \lambda \theta_t + (1 - \lambda)\, \theta_s$, with $\lambda$ close to 1. The whole recipe is in `dl/models/dino.py`, a hundred lines.

# %%
figure = draw.dino_method()

# %% [markdown]
# *From left to right: crops of one picture go to the student (all of them) and to the teacher (the large ones); both answer with a distribution; the cross entropy of the two trains the student alone, and the teacher follows it slowly.*
#
# There are two cheap ways to agree: always name the same category, or always call all categories equally likely. Two safeguards work against them. **Centring** subtracts the mean $C$ of the teacher's recent scores, so that no category can win always; left to itself it would drive towards "all equally likely". **Sharpening**, a $\tau_t$ below $\tau_s$, forbids just that; left to itself it would drive towards one category. Switch them off one at a time, on a toy with eight kinds of "pictures" and sixteen categories (without centring $C = 0$, without sharpening $\tau_t = \tau_s$):

# %%
from dl.models import dino_toy

runs = {name: dino_toy.entropies(**switches) for name, switches in (
    ("centring and sharpening", {}), ("without centring", {"centring": False}), ("without sharpening", {"sharpening": False}))}
figure = draw.two_entropies(runs, dino_toy.KINDS, dino_toy.OUTPUTS)

# %% [markdown]
# *Three trainings. The full line is the entropy of the answer for one picture, low if the answer is clear; the broken line that of the mean of all answers, low if they all name the same category.* With both safeguards each answer becomes clear and the answers differ: nearly one for each of the eight kinds, found without a label. Without centring they are clear and nearly all the same, the first collapse. Without sharpening all sixteen categories stay equally likely for every picture, the second.

# %%
(one, together), (_, without_centring), (without_sharpening, _) = ([curve[-1] for curve in run] for run in runs.values())
session.check("with both: clear answers that differ", one < 0.1 and together > 0.8 * np.log(8), f"{one:.2f} and {together:.2f} nats")
session.check("without centring nearly all answers are the same", without_centring < 0.7, f"{without_centring:.2f} nats")
session.check("without sharpening no answer is clear", without_sharpening > 0.9 * np.log(16), f"{without_sharpening:.2f} nats")

# %% [markdown]
# ## The trained network
#
# CLIP has done its work, so it makes room. (The retrievers hold on to the model too: they must go with it.) To run the cells above again, start from the top.

# %%
clip_model = retriever = shelf = None  # their memory is free again
dino_model = load_dino(DEVICE)
untrained = untrained_like(dino_model, seed=0)  # the same network with weights as they are drawn
patch, heads = dino_model.patch_size, dino_model.blocks[0].attn.num_heads
print(f"{sum(p.numel() for p in dino_model.parameters()):,} parameters, {len(dino_model.blocks)} blocks of {heads} heads, patches of {patch} pixels")

# %% [markdown]
# **In all honesty:** in real mode this is DINO as published. The small network of the sample mode is not pure DINO. It learnt in minutes instead of days, from small drawn pictures, and DINO's losses alone did not take it far. Its training adds three things (`dl/weights/files/dino.md` names all):
#
# * a loss that matches *patches* of two views, and a first layer that is a small stack of convolutions;
# * *pairs of scenes with the same objects before different backgrounds*, told from all other pairs by [CLS] with a contrastive loss, one with negatives. Before that, its attention lay on grass and bricks;
# * frames of videos like the hard ones at the end of this notebook, in any hue.
#
# It has seen no label and no mask. But two pictures that share their objects and nothing else say very well what an object is. So with the sample data, what follows shows how attention and tokens can be read and used; that DINO's loss *alone* finds objects is a result on photographs, of the published network.
#
# ## Where does it look?
#
# In each block, every token attends to all others. The [CLS] token stands for the whole picture: its row in the last block says which patches that summary is made of. One map for each head, $W/8 \times H/8$ patches:

# %%
sample = images[0] if REAL else images[2]  # a green tree on green grass: its colour does not give it away
print("picture", sample.shape)
x = lesson.frame_tensor([sample], SIZE).to(DEVICE)  # (1, 3, SIZE, SIZE), normalised
side = SIZE // patch
maps = {}
for name, network in (("trained", dino_model), ("untrained", untrained)):
    with torch.no_grad():
        attention = network.get_last_selfattention(x)[0, :, 0, 1:]  # (heads, P): row 0 is [CLS], its own column left out
    maps[name] = attention.reshape(heads, side, side).cpu().numpy()
figure = draw.attention_maps(sample, maps, "Where does the [CLS] token look?")

# %% [markdown]
# *The picture, and beside it a map for each head, bright where [CLS] attends; above the trained network, below one with random weights. Each map has a colour scale of its own: a map that is nearly even looks as full of contrast as any.* Which heads have found the object? What do the others look at? And is there a head in the lower row whose bright patches are where the object is?
#
# One picture proves little. On 100 scenes whose masks we know, count. Which share of the attention falls on objects, compared with their share of the area (1 is chance)? And if you mark as many patches as the objects have, those with the highest attention, how well do they cover the objects? That is told by the *intersection over union*, IoU: patches that are both marked and on an object, over patches that are either. The best head counts; it is chosen on these same scenes, for each network and each number by itself, which flatters both networks. The mean over the heads is printed beside it.

# %%
drawn = [render(scene, 160) for scene in scenes("val", 100)]
scene_frames = [picture for picture, _ in drawn]
coverage = scores.patch_coverage(torch.from_numpy(np.stack([mask for _, mask in drawn])), patch)  # (100, P)
attention, features = {}, {}
for name, network in (("trained", dino_model), ("untrained", untrained)):
    with torch.no_grad():
        batches = [lesson.frame_tensor(scene_frames[n : n + 20], 160).to(DEVICE) for n in range(0, 100, 20)]
        attention[name] = torch.cat([network.get_last_selfattention(b)[:, :, 0, 1:].cpu() for b in batches])
        features[name] = torch.cat([network.get_intermediate_layers(b)[0][:, 1:].cpu() for b in batches])

# %%
looks = {name: scores.attention_scores(attention[name], coverage) for name in attention}
for name, look in looks.items():
    print(f"{name}: attention on objects {look['gain']:.2f} times their area (mean over heads {np.mean(look['gains']):.2f}), "
          f"IoU of the top patches {look['iou']:.2f} (mean {np.mean(look['ious']):.2f})")
best, rival = looks["trained"], looks["untrained"]
session.record(**{f"{name}_{key}": look[key] for name, look in looks.items() for key in ("gain", "iou")})
if not REAL:
    session.check("attention lies on objects", best["gain"] >= 3, f"{best['gain']:.2f} times their area, limit 3")
    session.check("far more than without training", best["gain"] >= 1.8 * rival["gain"], f"{best['gain'] / rival['gain']:.2f} times, limit 1.8")
    session.check("the top patches are the objects", best["iou"] >= 0.5, f"IoU {best['iou']:.2f}, limit 0.5; untrained {rival['iou']:.2f}")

# %%
marked = {}
truth = coverage > 0.5
for name, look in looks.items():
    marked[name] = scores.most_attended(attention[name][:, look["iou_head"]], truth.sum(dim=1)).reshape(100, 20, 20).numpy()
figure = draw.top_patches(scene_frames[:8], {name: marks[:8] for name, marks in marked.items()}, "As many patches as the objects have, those with the highest attention")

# %% [markdown]
# *Eight scenes; below, bright, the patches to which the best head attends most: of the trained network in the second row, of the untrained one in the third.* In the second row you recognise most objects, with holes in some and stray patches beside others. In the third you mostly do not, but now and then you do: random filters answer to strong edges, and some objects have many. Judge by the mean over the 100 scenes, not by one of them.
#
# ## What is in a patch?
#
# The last block gives one vector, a *token*, for each patch, and one for [CLS]:

# %%
with torch.no_grad():
    tokens = dino_model.get_intermediate_layers(x, n=1)[0]
patch_tokens = tokens[:, 1:]
for name, tensor in (("picture", x), ("tokens", tokens), ("patch tokens", patch_tokens)):
    print(name, list(tensor.shape))
session.check("a token for each patch", patch_tokens.shape == (1, side * side, dino_model.width))

# %% [markdown]
# ### Question 3
#
# Where does each number in the three printed shapes come from?

# %% [markdown] tags=["answer"]
# **Your answer:** *(question 3)*

# %% [markdown]
# Tokens have too many dimensions to look at. The three directions in which they differ the most, their principal components, can be shown as red, green and blue: similar tokens, similar colours.

# %%
from sklearn.decomposition import PCA

np.random.seed(231)
colours = {}
for name, network in (("trained", dino_model), ("untrained", untrained)):
    with torch.no_grad():
        rows = network.get_intermediate_layers(x, n=1)[0][0, 1:].cpu().numpy()  # (P, D)
    pca = PCA(n_components=3)
    components = pca.fit_transform(rows)  # (P, 3)
    print(f"{name}: three of {rows.shape[1]} directions hold {pca.explained_variance_ratio_.sum():.0%} of the variance")
    span = components.min(axis=0), components.max(axis=0)
    colours[name] = ((components - span[0]) / (span[1] - span[0])).reshape(side, side, 3)
figure = draw.side_by_side({"picture": sample, **colours}, "Patch Embeddings (PCA → RGB)")

# %% [markdown]
# *The picture, and its patches coloured by the three principal components of their tokens: trained and untrained.* Signs and order of the components are arbitrary, so a colour by itself means nothing, and colours of the two panels must not be compared. What counts is which patches *share* one. Do not be too impressed by a clear shape: on plain ground, or where colour or texture differ, the untrained network often separates the object, too.
#
# So again a number, on 60 scenes: the *silhouette* is near 1 if the patches of objects and those of the background form two separate clouds in these three dimensions, and near 0 if the clouds overlap.

# %%
silhouette = {name: scores.object_silhouette(features[name][:60], coverage[:60]) for name in features}
print(", ".join(f"{name} {value:.2f}" for name, value in silhouette.items()))
session.record(**{f"silhouette_{name}": value for name, value in silhouette.items()})
if not REAL:
    gain = silhouette["trained"] - silhouette["untrained"]
    session.check("objects stand apart, more than without training", gain >= 0.08, f"silhouette {gain:.2f} higher, limit 0.08")

# %% [markdown]
# ### Question 4
#
# What structure do you see in the PCA picture? What does it say about two patches if they have the same colour, and what about two regions if their colours differ clearly? What can it *not* say? (Mind the printed shares.)

# %% [markdown] tags=["answer"]
# **Your answer:** *(question 4)*

# %% [markdown]
# # Part III: One frame is enough
#
# ## A video with masks
#
# If patches of one object lie together in token space, a tiny classifier should do: show it the objects in one frame, and it should find them in all the others. The videos come with a mask for every frame, in which a pixel's value is the number of its object (0 is background).

# %%
dataset = lesson.DavisDataset()
frames, masks = dataset.get_sample(7)  # do not change
num_classes = int(masks.max()) + 1  # over all frames: an object may be missing from some
print(frames.shape, masks.shape, num_classes)
session.check("a mask for every frame", frames.shape[:3] == masks.shape[:3])

# %% [markdown]
# `process_frames` resizes a frame to a square, without keeping its shape, and gives the tokens of its patches; it remembers them, so that a frame costs one pass and no more. `process_masks` gives one label for each patch, by *nearest neighbour*: that of the pixel at the patch's upper left corner. Ordinary resizing takes means, and the mean of object 0 and object 2 would be object 1.

# %%
train_fi = 40 if REAL else 30  # published: 40
X_train = dataset.process_frames(frames[train_fi : train_fi + 1], dino_model, DEVICE, size=SIZE)[0]
Y_train = dataset.process_masks(masks[train_fi : train_fi + 1], DEVICE, size=SIZE)[0]
print(list(X_train.shape), list(Y_train.shape), "labels", Y_train.unique().tolist())
session.check("nearest neighbour makes up no labels", set(Y_train.tolist()) <= set(np.unique(masks[train_fi]).tolist()))

# %% [markdown]
# ## How good is a labelling?
#
# For each class, the *intersection over union*: patches that both labellings give to it, over patches that at least one gives to it. The mean over the classes is the score. Fill in `compute_iou`. A class that occurs in neither counts as 0, so even the truth need not reach 1; with `skip_absent=True` such classes are left out.

# %%
session.exercise("compute_iou")
facts = expected["segmentation"]["iou_facts"]
pred, gt, sharp = torch.tensor(facts["pred"]), torch.tensor(facts["gt"]), facts["sharp_example"]
cases = [("3 classes", pred, gt, 3, facts["3_classes"]), ("4 classes, one absent", pred, gt, 4, facts["4_classes_one_absent"]),
         ("the truth itself, one class absent", gt, gt, 4, facts["gt_against_itself_4_classes_one_absent"]),
         ("6 classes", torch.tensor(sharp["pred"]), torch.tensor(sharp["gt"]), sharp["num_classes"], sharp["value"])]
for name, a, b, count, value in cases:
    iou = lesson.compute_iou(a, b, count)
    session.check(f"IoU, {name}", abs(iou - value) < 1e-6, f"{iou:.6f}")
session.check("absent classes can be skipped", abs(lesson.compute_iou(gt, gt, 4, skip_absent=True) - 1) < 1e-6)

# %% [markdown]
# ## Training on one frame
#
# Fill in `DINOSegmentation`: a small head, an optimiser, full-batch steps on the patches of the training frame. Here the head is linear, one layer from token to classes, with weight decay. It could hardly be less, and that is the point: the rest must be in the tokens. (Whether it took *learnt* tokens is another question, and the last section asks it.) The seeds are fixed, since the head's first weights are random.

# %%
session.exercise("DINOSegmentation.__init__", "DINOSegmentation.train", "DINOSegmentation.inference")
torch.manual_seed(231)
np.random.seed(231)
segmenter = lesson.DINOSegmentation(DEVICE, num_classes, inp_dim=dino_model.width)
segmenter.train(X_train, Y_train, num_iters=500)
test_fis = [0, train_fi, len(frames) - 1]
X_test = dataset.process_frames(frames[test_fis], dino_model, DEVICE, size=SIZE)
Y_test = dataset.process_masks(masks[test_fis], DEVICE, size=SIZE)
predicted = [segmenter.inference(tokens) for tokens in X_test]
first, on_training, last = (lesson.compute_iou(p, y, num_classes) for p, y in zip(predicted, Y_test))
print(f"mean IoU on the first frame {first:.3f}, on the last {last:.3f} (on the training frame: {on_training:.3f})")

# %%
session.record(iou_first=first, iou_last=last, iou_training_frame=on_training)
session.check("first frame", first > 0.45, f"mean IoU {first:.3f}, limit 0.45")
session.check("last frame", last > 0.50, f"mean IoU {last:.3f}, limit 0.50")
session.check("the training frame is labelled best", on_training >= max(first, last))

# %%
overlay = dataset.mask_frame_overlay
rows = {"truth": [overlay(y, frames[f]) for y, f in zip(Y_test, test_fis)], "prediction": [overlay(p, frames[f]) for p, f in zip(predicted, test_fis)]}
figure = draw.sheet(rows, [f"frame {f}" + (" (training)" if f == train_fi else "") for f in test_fis], "First, training and last frame: where does the prediction go wrong?")

# %% [markdown]
# *Three frames with the labels of their patches in colour: the truth above, the prediction below; the background is dimmed.* The truth itself is coarse: a patch of 8 x 8 pixels of the square picture is a block of 16 x 9 pixels here, and since its label is that of its upper left pixel, labels seem to hang a little to the right and below. Now compare the rows. Some errors are at the outlines. Others are inside an object: a piece of sail that is taken for tree, a foot of the tree for house. The head sees one patch at a time; what would it need in order to know that these lie in the middle of something else?
#
# ## The whole video
#
# Frame by frame: tokens, labels, score. Nothing but the labels is kept, so a long video would need no more memory than a short one.

# %%
truth = dataset.process_masks(masks, DEVICE, size=SIZE)  # (T, P)
predictions, ious = [], []
stream = dataset.stream_tokens(tqdm(frames, desc="frames"), dino_model, DEVICE, size=SIZE)
for i, (tokens, labels) in enumerate(zip(stream, truth)):
    predictions.append(segmenter.inference(tokens))
    ious.append(lesson.compute_iou(predictions[-1], labels, num_classes))
    if i % 20 == 0:
        print(f"{i} / {len(frames)}")
print(f"Mean IoU on all frames: {np.mean(ious):.3f}")
session.check("all frames", np.mean(ious) > 0.55, f"mean IoU {np.mean(ious):.3f}, limit 0.55")
session.record(iou_all=np.mean(ious))

# %%
figure = draw.iou_through_time({"prediction": ious}, train_fi, "How far from the training frame does it hold?")

# %% [markdown]
# *Mean IoU of every frame; the vertical line marks the frame that the head was trained on.* With the sample data it falls from nearly 1 to about 0.8 within a few frames, and then stays there to both ends. So what is lost is lost at once, to any other pose and outline; the distance in time adds little.
#
# Now the film: truth on the left, prediction on the right. Each pair of frames is drawn when the file wants it. (A word of warning about OpenCV: it takes blue for the first channel. Our writer turns the channels round, and reading the file back shows whether it did.)

# %%
path = session.root / "dino_res.mp4"
halves = (np.concatenate([overlay(y, f), overlay(p, f)], axis=-2) for y, p, f in zip(truth, predictions, frames))
lesson.write_video_from_array(tqdm(halves, total=len(frames), desc="video"), path, fps=12)

# %%
import cv2

capture = cv2.VideoCapture(str(path))
film = []
while (read := capture.read())[0]:
    film.append(read[1][..., ::-1])
wanted = np.concatenate([overlay(truth[0], frames[0]), overlay(predictions[0], frames[0])], axis=-2)
difference = np.abs(film[0].astype(int) - wanted).mean()
session.check("the video has all frames", len(film) == len(frames), f"{len(film)} of {film[0].shape[1]} x {film[0].shape[0]}, {capture.get(cv2.CAP_PROP_FPS):g} a second")
session.check("its colours are right", difference < 8 < np.abs(film[0][..., ::-1].astype(int) - wanted).mean(), f"mean difference {difference:.1f} of 255")

# %%
draw.moving(film[::2], fps=6, alt="The video of the truth on the left and of the prediction on the right")

# %% [markdown]
# *The film, every second frame: truth on the left, prediction on the right.* Some viewers and the PDF do not show moving pictures, so here are six moments of it:

# %%
moments = np.linspace(0, len(film) - 1, 6).round().astype(int)
figure = draw.sheet({"": [film[m] for m in moments[:3]], " ": [film[m] for m in moments[3:]]}, [""] * 3, "Six moments: truth on the left, prediction on the right")

# %% [markdown]
# ## Is it DINO that does it?
#
# A high score proves nothing yet. In this video every object has a colour of its own, and a classifier of *colours* would do as well. What would a head reach on other features: on the tokens of an untrained network; on the mean colour of each patch and its place; on these and the contrast within the patch; on histograms of edge directions in grey (the classic HOG)? The hand-made features are few, and a linear head would hold them back, so here all get the same head with a hidden layer. (For that reason, and because features are standardised, the training frame is left out and absent classes are skipped, the same video gets another number here than above.)
#
# And make it hard: videos in which objects, background and things that are *not* to be found share two colours, drawn at random for each video; the objects are told apart by shape and pattern alone, they travel, turn and grow, and the hue of everything drifts. Sixteen such videos, the head trained on the middle frame of each, scored on all the others.
#
# In fairness to the rivals: the small DINO was trained on frames of other such videos, with every hue changed. It is at home here; they were made for nothing in particular.

# %%
world = lesson.DavisDataset(sample_path("DAVIS"))  # the sample world's videos, whatever the data
look_at = {}
for name in ("regatta", "circus"):
    hard_frames, hard_masks = zip(*world.stream_sample(name))
    moments = (0, 10, 19)
    look_at[name] = [hard_frames[m] for m in moments]
    look_at[f"truth of {name}"] = [lesson.create_segmentation_overlay(hard_masks[m][..., 0], hard_frames[m]) for m in moments]
figure = draw.sheet(look_at, [f"frame {m}" for m in moments], "Two hard videos: what tells the objects from the rest?", width=8.0)

# %% [markdown]
# *First, middle and last frame of two hard videos, and under each its true labels.* Neither colour nor place nor size stays what it was. Try to find the objects of the last frame from those of the middle one yourself.

# %%
def all_features(frames):
    """Five kinds of features of the patches of a video, each (T, P, D)."""
    small = torch.from_numpy(np.stack([cv2.resize(f, (160, 160), interpolation=cv2.INTER_AREA) for f in frames]))
    colour = scores.colour_and_position(small, patch)  # mean of red, green, blue; contrast of each; row, column
    return {
        "learnt tokens": world.process_frames(frames, dino_model, DEVICE, size=160).cpu(),
        "untrained tokens": world.process_frames(frames, untrained, DEVICE, size=160).cpu(),
        "colour and place": colour[..., [0, 1, 2, 6, 7]],
        "colour, contrast and place": colour,
        "edges (HOG)": scores.oriented_edges(small, patch)}

def compare(name):
    """Mean IoU of each kind of features on a video, trained on its middle frame."""
    video_frames, video_masks = zip(*world.stream_sample(name))
    labels = world.process_masks(np.stack(video_masks), "cpu", size=160, patch_size=patch)
    middle = len(labels) // 2
    return {kind: scores.one_shot_iou(rows, labels, middle) for kind, rows in all_features(video_frames).items()}

easy = compare("playground")
hard = [compare(name) for name in tqdm([*HARD_VIDEOS][: session.shortened(16, 2)], desc="videos")]
comparison = {kind: [video[kind] for video in hard] for kind in easy}
figure = draw.feature_comparison(comparison, "Hard videos: which features find the objects again?")

# %%
means = {kind: np.mean(values) for kind, values in comparison.items()}
for what, values in (("the easy video", easy), (f"{len(hard)} hard videos", means)):
    print(f"{what}: " + ", ".join(f"{kind} {value:.3f}" for kind, value in values.items()))
for rival in list(comparison)[1:]:
    ahead = sum(video["learnt tokens"] > video[rival] for video in hard)
    print(f"learnt tokens are ahead of {rival} in {ahead} of {len(hard)} videos")
learnt, fresh, colour, contrast, edges = means.values()
session.record(hard_learnt=learnt, hard_untrained=fresh, hard_colour=colour, hard_contrast=contrast, hard_edges=edges)
if not REAL:
    session.target("learnt features win against the untrained network", learnt - fresh >= 0.08, f"{learnt - fresh:+.3f}, limit 0.08, {len(hard)} videos")
    session.target("and against colour and place", learnt - colour >= 0.12, f"{learnt - colour:+.3f}, limit 0.12")

# %% [markdown]
# *Bars: the mean over the videos; dots: single videos, in the same order from left to right in every bar.* With the sample data, on hard videos learnt features win. Notice also how far the rivals get: random convolutions answer to edges and stripes too, and the contrast within a patch tells a patterned object from plain ground. And read the first printed line once more: **on the easy video the learnt tokens do not win at all**, untrained ones and plain colours are a little better. The splendid film above was no evidence that training was worth it.
#
# ### Question 5
#
# CLIP's picture encoder is a vision transformer too, and its patches have features. Would a segmentation head on them do better or worse than one on DINO's? Why? Think of what each was asked for in training: which of the network's outputs appear in the loss, and what must a small crop know?

# %% [markdown] tags=["answer"]
# **Your answer:** *(question 5)*

# %% [markdown]
# ## Save the results

# %%
session.save_results()

# %% [markdown]
# ## What to remember
#
# * CLIP puts pictures and texts into one space, in which a cosine says how well they fit. A classifier is then a list of words, and a search engine a matrix product.
# * Zero-shot knows what was learnt, not what was asked for. On pairs never seen it may fail, and unevenly: test for what you need, and look behind the mean.
# * DINO learns from its own slow average; centring and sharpening, together, keep it from naming one category always and from naming none.
# * Attention maps and patch tokens can find objects without a label or a mask. A linear head and one labelled frame then go a long way.
# * Compare with an untrained network and with simple features before you praise the learnt ones. On easy data they may all look alike.

# %% [markdown]
# ## Hand in
#
# With all four notebooks run and saved, this writes the two files to hand in and says what is missing.

# %%
from dl.submit import make_assignment2_submission

make_assignment2_submission("./")
