# %% [markdown]
# # Part IV: the whole model
#
# **Fill in `Transformer.__init__` and `Transformer.forward`.** Name the parts `emb_layer` (one `nn.Embedding`, used for question and answer), `encoder` and `decoder`: decoding and the figures read them. The encoder reads the sum, all at once. The decoder reads the result written so far and predicts the next token. In training the result is known, so all next tokens are predicted in one pass (*teacher forcing*): the decoder reads the target without its last token and has to predict the target without its first.

# %%
figure = show.shift_scheme(["BOS", "POSITIVE", "0", "4", "EOS"])

# %% [markdown]
# *The shift by one: below what the decoder reads, above what it has to predict.* `EOS` is never read and `BOS` is never predicted. `Encoder` and `Decoder`, stacks of your blocks, are given in `transformers.py`; `Decoder` ends with the linear layer to the words, so you add none. The *logits* are the scores of the words, before any softmax.
#
# | N = 16 rows, M = 32, V = 16 words | shape |
# |---|---|
# | question and its positions | (16, 9) and (16, 9, 32) |
# | encoder's output | (16, 9, 32) |
# | what the decoder reads: the target without its last token | (16, 4) |
# | logits | (16, 4, 16), returned as (64, 16) |
#
# *By hand:* for the target 14, 10, 0, 4, 15 the decoder reads 14, 10, 0, 4, and the labels are 10, 0, 4, 15. Row 3 of the logits, counted from 0, has read all four tokens and must predict `EOS`; row 0 has read only `BOS`.
#
# *Common mistakes:* forgetting the mask (training looks wonderful, decoding fails); letting the decoder read the whole target; leaving out its last token, but not its last position; passing layers and dropout to `Decoder` in the wrong order.

# %%
session.exercise("Transformer.__init__", "Transformer.forward")
reset_seed(0)
model = Transformer(4, 32, 64, 0.2, num_enc_layers=4, num_dec_layers=4, vocab_len=16)
logits = model(inp, inp_pos, out, out_pos)
wanted = EXPECTED["transformer_output_shape"]["expected"]["shape"]
session.check("16 rows give 16 x 4 predictions over 16 words", list(logits.shape) == wanted)

# %% [markdown]
# ## Two losses
#
# **Fill in `CrossEntropyLoss` and `LabelSmoothingLoss`.** Let $p_{t,c}$ be the probability that the model gives to word $c$ at token $t$, where $t$ runs over all predicted tokens of all rows and $c$ over the $V$ words of the vocabulary. Cross-entropy looks only at the true word $c_t$:
#
# $$ L = -\sum_t \log p_{t,c_t} $$
#
# Both functions take the logits of $T$ tokens, `(T, V)`, and the true words, `(T,)` or `(N, T / N)`, and return a single number. The loss is summed over the tokens; the curves below show it per token, in nats (the unit that goes with the natural logarithm). Guessing evenly among 16 words costs $\ln 16 = 2.77$ per token. Cross-entropy keeps falling as $p_{t,c_t}$ approaches 1, so it rewards boundless confidence. **Label smoothing** asks for a little doubt: the target is no longer 1 for the true word and 0 for the others, but
#
# $$ L = -\sum_t \sum_c q_{t,c} \log p_{t,c}, \qquad q_{t,c} = \begin{cases} 1 - \varepsilon & c = c_t \\ \varepsilon / (V - 1) & \text{otherwise} \end{cases} \qquad \varepsilon = 0.1 $$
#
# *By hand, V = 16:* the best prediction gives the true word 0.9 and each other word $0.1/15 = 0.0067$. Even that costs $-0.9 \ln 0.9 - 0.1 \ln 0.0067 = 0.095 + 0.501 = 0.596$: this loss cannot reach 0. A prediction of 0.99 costs more: $-0.9 \ln 0.99 - 0.1 \ln(0.01/15) = 0.009 + 0.731 = 0.740$.
#
# *Common mistakes:* the mean instead of the sum; $\varepsilon / V$ shared by all words (this is what `F.cross_entropy(label_smoothing=…)` does, but not this exercise); the log of a softmax instead of `log_softmax`, which gives $-\infty$ for large logits; reading $V$ off the largest label.

# %%
session.exercise("CrossEntropyLoss", "LabelSmoothingLoss")
four = torch.linspace(0, len(train_in) - 1, 4).long().tolist()
four_in, four_out = [train_in[row] for row in four], [train_out[row] for row in four]
small_data = AddSubDataset(four_in, four_out, *coding, 32, position_encoding_simple)
small_loader = DataLoader(small_data, batch_size=4)
for line, result in zip(four_in, four_out):
    print(f"{line:42s} -> {result}")

# %% [markdown]
# ## First: overfit four rows
#
# If a model cannot memorise four rows, look for a bug or a bad learning rate. It is the cheapest test there is, so it comes first: a small model, four rows for training and, on purpose, the same four for validation. We do it from three seeds, to be sure that it was not luck.

# %%
for seed in (2, 1, 0):
    reset_seed(seed)
    model, small_history = Transformer(4, 32, 32, 0.2, 1, 1, len(VOCAB)), []
    a2_helper.train(
        model, small_loader, small_loader, CrossEntropyLoss, num_epochs=200, lr=1e-3,
        warmup_interval=None, device=DEVICE, history=small_history, print_every=0 if seed else 50,
    )
    _, accuracy = a2_helper.val(model, small_loader, CrossEntropyLoss, 4, DEVICE)
    detail = f"token accuracy, teacher-forced {accuracy:.3f}"
    session.target(f"four rows memorised, seed {seed}", accuracy == 1.0, detail)

# %%
KEYS = ("train_loss", "val_loss", "val_accuracy")
columns = {key: [entry[key] for entry in small_history] for key in KEYS}
figure = show.training_curves(columns, "Four rows are memorised")

# %% [markdown]
# *One of the three seeds. Left the loss on the same four rows with dropout (solid) and without (dashed), right the token accuracy, which reaches 1.* The training loss stays above: dropout disturbs the model while it learns.
#
# ### The two losses compared
#
# The same four rows, without dropout, once with each loss:

# %%
losses, given = {}, {}
batch = [tensor.to(DEVICE) for tensor in next(iter(small_loader))]
truth = batch[2][:, 1:].reshape(-1, 1)
for name, loss in (("cross-entropy", CrossEntropyLoss), ("label smoothing", LabelSmoothingLoss)):
    reset_seed(0)
    model, past = Transformer(4, 32, 32, 0.0, 1, 1, len(VOCAB)), []
    chosen = {"lr": 2e-3, "warmup_interval": None, "device": DEVICE, "print_every": 0}
    a2_helper.train(model, small_loader, small_loader, loss, 150, history=past, **chosen)
    losses[name] = [entry["val_loss"] for entry in past]
    given[name] = model(*batch).softmax(-1).gather(1, truth)[:, 0].detach().cpu()

# %%
floor = -0.9 * math.log(0.9) - 0.1 * math.log(0.1 / 15)
figure = show.smoothing_compared(losses, given, floor)
confidence = {name: float(values.mean()) for name, values in given.items()}
smoothed, least = confidence["label smoothing"], min(losses["label smoothing"])
session.check("the smoothed loss stays above its floor", least >= floor - 1e-4, f"{least:.4f}")
session.target("smoothing ends near 0.9", abs(smoothed - 0.9) < 0.02, f"{smoothed:.3f}")
session.target("cross-entropy goes on to 1", confidence["cross-entropy"] > 0.98)
session.record(confidence_smoothed=smoothed, confidence_plain=confidence["cross-entropy"])

# %% [markdown]
# *Left the loss of both training runs, with the floor of the smoothed one (dotted). Right the probability that each of the 16 true tokens gets in the end.* Both models know all four rows. Plain cross-entropy pushes every probability towards 1; with smoothing it stops at 0.9, where it was told to stop. Such a model is less sure of itself, which helps when labels are noisy. Ours are exact: does smoothing still help with the rule? The table in Part V has a row for it. From here on we use plain cross-entropy.
#
# ## Then: all rows, by the reference recipe
#
# The reference setting has 4 heads, width 64, 4 + 4 layers, and trains for 800 epochs: batches of 256 in fixed order, the last partial batch left out, dropout 0.1. Its learning rate is tiny for the first 900 updates and $5 \cdot 10^{-4}$ from then on.
#
# ### Why warm-up?
#
# At the start, three things come together. Weights are random, so gradients point to where *this* random model would improve. Adam divides each gradient by an average of its own past size, and in the first updates this average rests on a handful of batches, while every weight already moves by about the full learning rate. And in a post-norm Transformer the gradients of the layers near the output are large at initialisation ([Xiong et al. 2020](https://arxiv.org/abs/2002.04745)). Large steps in a poor direction can push the softmaxes into all or nothing, from where they hardly come back. So one begins with small steps. The two recipes of this notebook do it in different ways:

# %%
figure = show.schedules({
    "reference recipe: a step": (a2_helper.step_schedule(6e-6, 900, 5e-4), 13_600),
    "rule recipe: a ramp, then a cosine": (a2_helper.cosine_schedule(1.2e-3, 100, 4320), 4320),
})

# %% [markdown]
# *Left 900 updates at almost nothing, then a constant learning rate to the end. Right a short ramp to a higher learning rate, which then falls to 0 along a cosine. (The scales differ.)* A learning rate that falls lets the last details settle: with constant steps, the weights keep jumping around a minimum.
#
# On a CPU core the reference training takes an hour or more. So by default (`DL_DATA=sample`) the next cell trains only the first epochs, with a short warm-up. To run all 800, set the environment variable `DL_DATA=real` before you start Jupyter; the rows are the same in both cases, and a stopped run resumes where it stopped. (`python -m dl train-weights transformer` is the same training and can be stopped and resumed; its weights are shipped.)

# %%
BATCH_SIZE = 256
sets = [(train_in, train_out), (valid_in, valid_out)]
full_train, full_valid = (
    AddSubDataset(*rows, *coding, 64, position_encoding_sinusoid) for rows in sets
)
train_loader = DataLoader(full_train, BATCH_SIZE, drop_last=True)  # fixed order, as in the recipe
valid_loader = DataLoader(full_valid, BATCH_SIZE)  # all 500 rows

# %%
EPOCHS, WARMUP = (800, 900) if session.data == "real" else (20, 34)
reset_seed(0)
model, history = Transformer(4, 64, 256, 0.1, 4, 4, len(VOCAB)), []
a2_helper.train(
    model, train_loader, valid_loader, CrossEntropyLoss, EPOCHS, warmup_lr=6e-6, device=DEVICE,
    warmup_interval=WARMUP, lr=5e-4, history=history, print_every=max(EPOCHS // 5, 1),
    checkpoint=session.checkpoint("reference"),
)
columns = {key: [entry[key] for entry in history] for key in KEYS}
figure = show.training_curves(columns, f"{EPOCHS} epochs from scratch, here and now")

# %% [markdown]
# *Loss (left) and token accuracy (right) of the training that just ran.* Notice that 0.25 means little: every fourth token to predict is `EOS`, which always stands at the end.
#
# What becomes of it after 800 epochs? The shipped weights come from exactly that training, and their file keeps its history.

# %%
shipped = {key: json.loads(value) for key, value in weights.metadata("transformer").items()}
best = max(shipped["curves"]["val_accuracy"])
title = f"The reference recipe to its end: best token accuracy on validation {best:.2f}"
figure = show.training_curves(shipped["curves"], title, target=0.80)
session.check("the recipe reaches its target, 0.80", best >= 0.80, f"best of 800 epochs {best:.3f}")

# %% [markdown]
# *Loss and token accuracy over 800 epochs, with the target of 0.80 as a dotted line.* Notice the bend at epoch 53: until then the learning rate is about 80 times smaller. Apart from a rare spike of the validation loss, the training loss stays *above* it to the end, because dropout is on while training. The section "Which accuracy?" measures both without dropout.
#
# ## Inference: writing a result
#
# Without a known result the decoder has to read its own words: start with `BOS`, take the most likely next token, append it, go on (*greedy decoding*). The encoder runs once, the decoder four times. The causal mask stays on: without it, the earlier tokens would also read the later ones, and their vectors would differ from those in training. From here on we use the shipped weights (with `DL_DATA=real`, the model trained above).

# %%
if session.data == "sample":
    load_shipped(model, weights.load("transformer"))
first_row = next(iter(DataLoader(full_valid, 1)))
inp, inp_pos, out, out_pos = (tensor.to(DEVICE) for tensor in first_row)
written, _ = a2_helper.inference(model, inp, inp_pos, out_pos, out.shape[1])
print(valid_in[0], "->", " ".join(VOCAB[token] for token in written[0]), "· true:", valid_out[0])
shape_and_start = written.shape == (1, 5) and VOCAB[written[0, 0]] == "BOS"
session.check("the answer starts with BOS and has 5 tokens", shape_and_start)

# %% [markdown]
# Compare with the true result. Now ask your own question: edit the line below. Write each number as a sign word and two digits, from 00 to 49; the model has seen no others.

# %%
question = "BOS POSITIVE 32 subtract POSITIVE 15 EOS"
asked_tokens = preprocess_input_sequence(question, convert_str_to_tokens, SPECIAL_TOKENS)
tokens = torch.tensor(asked_tokens, device=DEVICE)
written, _ = a2_helper.inference(model, tokens, inp_pos, out_pos, 5)
answer = [VOCAB[token] for token in written[0]]
true = arithmetic.output_text(arithmetic.parse(question))
print(question, "->", " ".join(answer), "· true:", true)

# %% [markdown]
# ## Which accuracy?
#
# Three numbers are called "accuracy" here, and they are not the same:
#
# * **token accuracy (teacher-forced):** fraction of next tokens that are right when all earlier *true* tokens are given; `EOS` counts, `BOS` does not. The curves above show it.
# * **token accuracy (greedy):** the same per position, when the model reads its own tokens.
# * **exact match (greedy):** fraction of results in which every token is right. This is the only one that a user would care about.

# %%
whole = session.predict("Nine of ten tokens are right. What percentage of results has none wrong?")

# %%
right_tokens = a2_helper.right_tokens(model, full_valid, DEVICE)
right = right_tokens.all(dim=1)
loss, forced = a2_helper.val(model, valid_loader, CrossEntropyLoss, BATCH_SIZE, DEVICE)
on_training, _ = a2_helper.val(model, train_loader, CrossEntropyLoss, BATCH_SIZE, DEVICE)
session.say(f"Loss per token without dropout: training **{on_training:.3f}**, validation "
            f"**{loss:.3f}** nats.")
new = torch.tensor([line not in set(train_in) for line in valid_in])[: len(right)]
greedy = right_tokens.double().mean(dim=0).tolist()
rows = {"token accuracy (teacher-forced), all four": forced}
rows |= {f"token accuracy (greedy), {p}": s for p, s in zip(("sign", "tens", "ones"), greedy[1:])}
rows |= {"exact match (greedy)": right.double().mean().item()}
elsewhere = f"exact match (greedy), the {int(new.sum())} rows not in training"
rows |= {elsewhere: right[new].double().mean().item()}
Table({"500 validation rows": list(rows), "score": list(rows.values())})

# %%
exact = rows["exact match (greedy)"]
whole.reveal(f"{exact:.0%}", "EOS is free, the sign nearly so; one wrong digit spoils a result.")
session.record(
    recipe_token_accuracy=forced, recipe_exact=exact,
    recipe_exact_new=rows[elsewhere],
)
session.check("exact match is lower than token accuracy", exact < forced)
session.target("the ones are the hardest token", min(greedy[1:4]) == greedy[3])

# %% [markdown]
# Both losses are far from 0 and not far from each other, so the model is mostly underfitting; how much it has memorised, Part V shows. Token accuracy flatters. Almost all mistakes are in the ones digit. Sign and tens are nearly always right, so the model knows roughly how *large* a result is. It gets more than half of the ones digits right: far more than the tenth that guessing would get, but far fewer than a model that calculates. Part V looks closer. (Some validation rows also stand in the training split, because the rows were drawn with repetition; the last line leaves them out.)
#
# ## Where does it look?
#
# Every head kept its attention weights of the last pass, so we can ask how it spreads its attention. The **evenness** of a head is 0 when each token reads just one token (perhaps itself), and 1 when it reads all that it may read equally ($(e^H - 1) / (n - 1)$, with $H$ the entropy of a row of weights and $n$ the number of tokens that it may read, averaged over the 500 validation rows; the decoder's `BOS`, which can read only itself, is left out).

# %%
flat = session.predict(
    "Cross-attention fetches the digits of the question. How evenly does it spread its weights?",
    ["near 0: it picks single digits", "about 0.5", "near 1: flat"],
)

# %%
a2_helper.right_tokens(model, full_valid, DEVICE)  # the last pass, over all validation rows
kinds = {
    "encoder": [layer.MultiHeadBlock.heads for layer in model.encoder.layers],
    "masked self-attention": [layer.attention_self.heads for layer in model.decoder.layers],
    "cross-attention": [layer.attention_cross.heads for layer in model.decoder.layers],
}
figure = show.evenness_maps(kinds, "Reference recipe: which heads choose what they read?")
cross = [show.evenness(h.weights_softmax) for heads in kinds["cross-attention"] for h in heads]
largest = max(h.weights_softmax.max().item() for heads in kinds["cross-attention"] for h in heads)
result = f"{min(cross):.2f} to {max(cross):.2f}; largest weight {largest:.2f}, even is {1 / 9:.2f}"
x, positions, *_ = next(iter(valid_loader))
with eval_mode(model), torch.no_grad():
    vectors = model.encoder(model.emb_layer(x.to(DEVICE)) + positions.to(DEVICE))  # (N, 9, 64)
unit = torch.nn.functional.normalize(vectors, dim=-1)
alike = (unit @ unit.mT)[:, ~torch.eye(9, dtype=torch.bool)].mean().item()
why = f"The encoder's nine vectors of a question have a mean cosine of {alike:.3f}."
flat.reveal(result, why)
session.record(cross_attention_evenness=min(cross))
session.target("cross-attention is flat in all heads", session.data == "real" or min(cross) > 0.9)

# %% [markdown]
# *One panel per kind of attention, one row per block, one column per head; yellow is flat.* Read the encoder from top to bottom: block 0 chooses, block 3 no longer does. By then the encoder has mixed the nine tokens until its outputs are nearly one and the same vector (the cosine printed above says so). Nearly equal vectors give nearly equal keys, and so nearly equal scores: cross-attention is nearly flat in all sixteen heads, and it hardly matters which vector the decoder reads. Keep this in mind for the model of Part V.
#
# For your own question, the head of each kind that chooses most:

# %%
a2_helper.inference(model, tokens, inp_pos, out_pos, 5)
asked = [VOCAB[token] for token in tokens]
read = answer[:-1]  # the decoder never reads its last token
steps = [f"{word} → {following}" for word, following in zip(read, answer[1:])]
figure = show.sharpest_maps(
    {
        "encoder": (kinds["encoder"], asked, asked),
        "masked self-attention": (kinds["masked self-attention"], read, steps),
        "cross-attention": (kinds["cross-attention"], asked, steps),
    },
    "The most selective head of each kind", a2_helper.draw,
)
heads = [head for block in kinds["masked self-attention"] for head in block]
ahead = max(head.weights_softmax[0].triu(1).abs().max().item() for head in heads)
session.check("in decoding too, nothing looks ahead", ahead == 0.0)

# %% [markdown]
# *A row is a token that reads, in the decoder with the token that it writes after the arrow; a column is a token that is read. A number in brackets is a position: it tells two equal words apart.* Two warnings. An attention map shows what is *read*, not what is *used*: the values may be tiny, and the residual connection carries information past it. And after the first block a column is a position, not only the token that once stood there, because the encoder has already mixed them.
#
# The weights in use are saved as a file.

# %%
path = session.root / "artifacts" / "transformer.pt"
path.parent.mkdir(exist_ok=True)
torch.save({name: value.cpu() for name, value in model.state_dict().items()}, path)
print("Saved to:", path.relative_to(session.root).as_posix())

# %% [markdown]
# # Part V: from memorising to calculating
#
# There are 99 · 2 · 99 = 19,602 expressions. A model that *calculates* gets all of them right, including those that it has never seen. One that *memorises* gets its training rows right and little else. The validation rows cannot tell the two apart well, because many of them also stand in the training split, as they are or in another form. So from here on we ask *every* expression, sorted into
#
# * **seen:** the 4,500 training rows (with repeats; 4,025 different expressions);
# * **unseen:** every expression that is not a training row;
# * **unrelated:** of these, only the sums that no training row states in another form either: not with its operands exchanged, nor with $a - b$ written as $a + (-b)$.

# %%
parrot = session.predict(
    "The reference model on unseen expressions, compared with its training rows:",
    ["nearly as good", "half as good", "near zero"],
)

# %%
training = [arithmetic.parse(line) for line in train_in]
exam = {"seen": training, "unseen": arithmetic.unseen(training)}
exam["unrelated"] = arithmetic.unrelated(training)
everything = arithmetic.all_expressions()
answers = {"reference": a2_helper.ask(model, everything, position_encoding_sinusoid, DEVICE)}
scores = {name: a2_helper.exact_match(answers["reference"], exam[name]) for name in exam}
session.record(**{f"recipe_{name}": score for name, score in scores.items()})
result = ", ".join(f"{name} {score:.1%}" for name, score in scores.items())
parrot.reveal(result, "It is underfitting; memorising explains at most the gap.")

# %% [markdown]
# The reference model does not simply memorise: it gets more than half of the unseen expressions right. But they are harder for it than its training rows, the unrelated ones most of all. And it is far from calculating. What does it get wrong? Sort all its mistakes on unseen expressions by what the digits have to do on paper (-30 + 12 "subtracts", because one calculates 30 - 12), and by the sign of the result. "Wrong results" is a fraction of the questions; the last three columns say in which fraction of these wrong results the sign, the tens or the ones are wrong (several can be):

# %%
carry = session.predict(
    "Where does it make more mistakes: in additions with a carry, or in those without?",
    ["with a carry", "without", "no difference"],
)

# %%
def kinds_of_mistakes(model_name):
    unseen = [expression for expression in exam["unseen"] if expression in answers[model_name]]
    return arithmetic.mistakes_by_kind(unseen, [answers[model_name][e] for e in unseen])

mistakes = kinds_of_mistakes("reference")
adding = [row for row in mistakes if row["digits"].startswith("adds")]
result = [f"{row['digits']}, {row['result']}: {row['wrong results']:.0%} wrong" for row in adding]
why = "In its additions a carry is no extra difficulty."
carry.reveal("; ".join(result), why)
Table(mistakes, digits=2, best={"wrong results": "max"})

# %%
wholes = {name: {e: all(ok) for e, ok in found.items()} for name, found in answers.items()}
title = "All questions that can be asked: diagonals and blocks of mistakes"
figure = show.answer_map(wholes, title)

by_result = {}
for expression, ok in wholes["reference"].items():
    by_result.setdefault(arithmetic.output_text(expression), []).append(ok)
shares = [sum(oks) / len(oks) for oks in by_result.values()]
hard, easy = sum(share < 0.2 for share in shares), sum(share > 0.8 for share in shares)
session.say(f"Of {len(shares)} possible results, **{easy}** come out right in more than 80 % "
            f"of their questions and **{hard}** in fewer than 20 %.")

# %% [markdown]
# *All 19,602 questions, the first operand to the right and the second upwards; red where the result is not an exact match.* For a person a carry is the hard part; in this model's additions it makes nothing worse. A borrow makes mistakes more frequent where the result is positive, but not where it is negative (compare the lines of the table). The map shows two patterns. Many mistakes lie along diagonals, and along a diagonal the *result* is the same: some results come out right in nearly all of their questions, others in hardly any. And there are blocks of mistakes, many with an edge at a multiple of ten, most clearly in the vertical direction: there the mistakes begin or end where the *tens digit* of the second operand changes. This model knows well how large a result is, and often guesses the last digit.

# %% [markdown]
# ## A recipe for the rule
#
# Is the architecture too weak, or was the model badly trained? We take the same modules, the same 4,500 rows, weights initialised in the same way, half as many layers (235,536 parameters instead of 469,008), and another recipe:
#
# | | reference recipe | rule recipe |
# |---|---|---|
# | positions | graded sinusoid, with the floor | the paper's |
# | order of the rows | fixed, the last partial batch left out | shuffled in every epoch, all rows |
# | batch | 256 rows | 128 rows |
# | dropout | 0.1 | none |
# | learning rate | $6 \cdot 10^{-6}$ for 900 updates, then $5 \cdot 10^{-4}$ to the end | up to $1.2 \cdot 10^{-3}$ in 100 updates, then down to 0 along a cosine |
# | weight decay | none (Adam, $\beta_2 = 0.995$) | 0.3 (AdamW, $\beta_2 = 0.98$) |
# | epochs | 800 | 200; here 120 |
#
# The idea: the rows can be fitted with large weights and one special case per row, or with small weights and a rule that many rows share. Weight decay makes the second cheaper. Each update takes a little of every weight away, and what is not needed again and again fades. Dropout also hinders special cases, but its noise never stops; a learning rate that falls to 0 lets the last digits settle.

# %%
valid = [arithmetic.parse(line) for line in valid_in]
named = {**exam, "validation": valid}
rule_sets = {
    name: a2_helper.expression_dataset(rows, 64, position_encoding_paper)
    for name, rows in named.items()
}
watched = recipes.watched(rule_sets)  # 1,000 seen and 1,000 unseen expressions

# %%
RULE_EPOCHS, SEED = 120, 0
reset_seed(SEED)
rule_model, rule_history = Transformer(4, 64, 256, 0.0, 2, 2, len(VOCAB)).to(DEVICE), []
order = torch.Generator().manual_seed(SEED)
rule_loader = DataLoader(rule_sets["seen"], 128, shuffle=True, generator=order)
optimizer = torch.optim.AdamW(
    rule_model.parameters(), betas=(0.9, 0.98), weight_decay=0.3, fused=True
)
schedule = a2_helper.cosine_schedule(1.2e-3, warmup=100, total=RULE_EPOCHS * len(rule_loader))

# %% [markdown]
# The next cell is a whole training run, from the first update to the last, here and now; it is the longest cell of the notebook. Every tenth epoch, 1,000 training rows and 1,000 unseen expressions are decoded.

# %%
rule = session.predict(
    "4,500 rows are less than a quarter of all expressions. How many unseen ones will be right?",
    ["about 60 %, as before", "about 90 %", "more than 98 %"],
)

# %%
a2_helper.train(
    rule_model, rule_loader, DataLoader(rule_sets["validation"], 500), CrossEntropyLoss,
    RULE_EPOCHS, optimizer=optimizer, schedule=schedule, device=DEVICE,
    history=rule_history, print_every=20,
    on_epoch=a2_helper.watch_exact_match(watched, 10, DEVICE),
)
print(f"{rule_history[-1]['seconds']:.0f} seconds")

# %%
looks = [entry for entry in rule_history if "seen" in entry]
curve = {key: [entry[key] for entry in looks] for key in ("epoch", "seen", "unseen")}
title = "Unseen expressions follow the training rows: a rule is being learnt"
figure = show.rule_curves({"this training": curve}, title)

# %% [markdown]
# *Exact match (greedy), left for training rows, right for unseen expressions.* Both curves rise together, the right one some epochs later. Had the model only memorised, the left one would rise and the right one would stay down.
#
# Now the exact match (greedy) over all expressions of each kind:

# %%
answers["rule"] = a2_helper.ask(rule_model, everything, position_encoding_paper, DEVICE)
for name, rows in named.items():
    session.record(**{f"rule_{name}": a2_helper.exact_match(answers["rule"], rows)})
table = [
    {"kind of expression": name, "expressions": len(rows),
     "reference recipe": a2_helper.exact_match(answers["reference"], rows),
     "rule recipe": session.scores[f"rule_{name}"]}
    for name, rows in named.items()
]
Table(table, digits=4)

# %%
why = "The recipe has found a rule. Which of its ingredients does it? See the table below."
rule.reveal(f"{session.scores['rule_unseen']:.2%}", why)
for name in ("validation", "unseen", "unrelated"):
    passed = session.scores[f"rule_{name}"] >= 0.985
    session.target(f"it knows the rule, {name} rows", passed, "at least 98.5 % right")

# %%
related = set(exam["unseen"]) - set(exam["unrelated"])
wrong = {
    "unseen, but stated by a training row in another form": related,
    "unrelated": exam["unrelated"],
}
wrong = {name: 1 - a2_helper.exact_match(answers["rule"], rows) for name, rows in wrong.items()}
said = "; ".join(f"{name}: **{share:.2%}** wrong" for name, share in wrong.items())
session.say(said)

# %% [markdown]
# Less than a quarter of all expressions was enough to get nearly all others right. Compare the two kinds of unseen expressions: a perfect rule would make no difference between them. On average over three recorded 120-epoch runs (in the table below), the expressions that no training row states in any form are somewhat *harder*; after 200 epochs the difference is gone. The model profits from relatives of a question; in absolute terms it is little. ([Power et al. 2022](https://arxiv.org/abs/2201.02177) saw models of this kind memorise first and find the rule thousands of updates later, which they called *grokking*; here both come together.)
#
# Which mistakes are left?

# %%
mistakes = kinds_of_mistakes("rule")
Table(mistakes, digits=4, best={"wrong results": "max"})

# %%
wholes["rule"] = {expression: all(ok) for expression, ok in answers["rule"].items()}
figure = show.answer_map({"rule": wholes["rule"]}, "The same questions, the rule recipe")

# %% [markdown]
# *The same map for the rule recipe; each red dot is one wrong result.* Compare with the diagonals of the reference recipe's map, and the three columns of the table that say which token is wrong. What do the questions that are left have in common? (To think about: question 6.)
#
# ### Where does this model look?
#
# For each token that it writes, here is what every head of the cross-attention reads in your question. (In a live notebook this is a slider: move it and watch the heads while the result is written.)

# %%
inp_pos = position_encoding_paper(9, 64).to(DEVICE)
out_pos = position_encoding_paper(5, 64).to(DEVICE)
written, _ = a2_helper.inference(rule_model, tokens, inp_pos, out_pos, 5)
answer = [VOCAB[token] for token in written[0]]
cross_heads = [layer.attention_cross.heads for layer in rule_model.decoder.layers]
figure = show.watch_reading(cross_heads, asked, answer, live=not settings.unattended())

# %%
a2_helper.right_tokens(rule_model, rule_sets["validation"], DEVICE)
cross = [show.evenness(head.weights_softmax) for heads in cross_heads for head in heads]
session.say(f"Evenness of its cross-attention: **{min(cross):.2f}** to **{max(cross):.2f}** "
            "(the reference recipe's is flat, 1.00).")
session.target("this model chooses what it reads", min(cross) < 0.8, f"{min(cross):.2f}")

# %% [markdown]
# *One panel per written token (sign, tens, ones, EOS: steps 0 to 3 of the slider, or from left to right without one); one row per head, named block.head; one column per token of the question.* This model chooses. Look at the panel that writes the ones digit (step 2 of the slider): which heads read the two ones digits of the question (positions 3 and 7)? And one step earlier, where the tens are written and the borrow must already be known? There the heads mostly read `BOS`, `subtract` and the two tens. The borrow can still arrive: after the encoder's blocks, these positions may also hold what the ones digits said.
#
# ## Which ingredient does it?
#
# `benchmarks/ablation_arithmetic.py` puts one ingredient at a time back to the reference recipe's and trains anew, with 2 + 2 layers and 120 epochs (the rule recipe itself has a second row with 200; the row "reference recipe, 120 epochs" puts all these ingredients back at once, but keeps AdamW's $\beta_2 = 0.98$). Two rows, half-size initial weights and label smoothing, are extras that neither recipe has. All of it takes an hour or two, so its results are kept in a file.

# %%
results = json.loads((session.root / "benchmarks" / "ablation_arithmetic.json").read_text())
runs = {name: [e for e in results if e["recipe"] == name] for name in recipes.RECIPES}
score = {name: [entry["unseen"] for entry in found] for name, found in runs.items()}
rows = [
    {"recipe": name, "seeds": len(found)}
    | {kind: sum(e[kind] for e in found) / len(found) for kind in ("seen", "unseen", "unrelated")}
    for name, found in runs.items()
]
rows = sorted(rows, key=lambda row: -row["unseen"])
Table(rows, digits=4, best={"seen": "max", "unseen": "max", "unrelated": "max"})

# %%
title = "Within 120 epochs, four changes cost 30 points or more"
figure = show.ablation_bars(score, "rule recipe, 120 epochs", title)
lowest = min(score["rule recipe, 200 epochs"])
session.check("200 epochs: each of three seeds at least 99.5 %", lowest >= 0.995)
costly = ("dropout 0.1", "no weight decay", "batches of 256", "reference learning rate")
highest = max(max(score[name]) for name in costly)
session.check("each of four changes costs 30 points or more", highest < 0.69)

# %% [markdown]
# *One bar per recipe, best first: exact match on unseen expressions, the mean of three seeds for the two rule recipes and one seed for the others; dots are seeds; green is the recipe that the others change.* Four changes cost 30 percentage points or more: dropout, no weight decay, batches of 256, and the reference learning rate. Putting all ingredients back at once costs the most. Half-size initial weights, with the weight decay kept, end lower than all seeds of the rule recipe: smaller initial weights did not help here (one seed).
#
# Mind what such a table says. Most rows have one seed, so small differences mean nothing. All but the first have 120 epochs, and a recipe that is merely slower looks as bad as one that never gets there. Batches of 256 mean half as many updates in as many epochs, and less noise in each; to tell which counts, run them for 240 epochs. And the reference learning rate differs in three ways at once (a lower top, a long start at almost nothing, no fall at the end); the table does not say which of them matters.

# %%
smooth, plain = score["label smoothing"][0], score["rule recipe, 120 epochs"]
session.say(f"Exact match on unseen expressions: label smoothing **{smooth:.2%}**; the same recipe "
            f"with plain cross-entropy **{min(plain):.2%}** to **{max(plain):.2%}**, by seed.")

# %% [markdown]
# This is within the spread of the seeds. Our labels are exact, so a little doubt is not needed; whether it harms at all, one seed cannot show.
#
# ## Your experiment: choose one ingredient
#
# Now you. Choose a line of the table, write down what you expect, and run its first 30 epochs, on the learning-rate schedule of the whole run. The result is drawn beside the training that you ran above. (For the whole run set `FIRST` to 120; it then takes as long as the training above.)

# %%
INGREDIENT, FIRST = "no weight decay", 30
print("Choose from:", " · ".join(recipes.RECIPES))
ingredient = session.predict(
    f"{INGREDIENT}: what happens to the two curves of exact match?",
    ["both lower", "seen as high, unseen lower", "no difference", "both higher"],
)

# %%
own_model, _, report = recipes.train(recipes.RECIPES[INGREDIENT], SEED, FIRST, DEVICE)
own = report["curve"]
base = {key: values[: len(own["epoch"])] for key, values in curve.items()}
figure = show.rule_curves({"rule recipe": base, INGREDIENT: own}, f"{INGREDIENT}: the first epochs")

# %%
ends = [f"{k} {own[k][-1]:.0%} (rule recipe {base[k][-1]:.0%})" for k in ("seen", "unseen")]
why = f"After {own['epoch'][-1]} epochs. Compare the gaps between seen and unseen."
ingredient.reveal(" · ".join(ends), why)
session.record(own_seen=own["seen"][-1], own_unseen=own["unseen"][-1])

# %% [markdown]
# *Solid the rule recipe, dashed your choice.* Here are the recorded runs (seed 0) of four recipes over all 120 epochs. (Even with the same seed they differ somewhat from your runs: rounding differs between machines, and training amplifies it.)

# %%
curves = {entry["recipe"]: entry["curve"] for entry in results if entry["seed"] == 0}
chosen = ["rule recipe, 120 epochs", "no weight decay", "dropout 0.1", "floored positions"]
title = "Same modules, same rows: what is learnt depends on the recipe"
figure = show.rule_curves({name: curves[name] for name in chosen}, title)

# %% [markdown]
# *Learning curves on training rows (left) and unseen expressions (right).* Compare the panels. Without weight decay, the training rows are soon known as well as with it, and the right curve stops far below: much of what it knows of the training rows is memorised. Whether part of the rule or a good guess of the size lies behind the rest, these curves cannot show (a map like those above could). With dropout both curves rise together and slowly: much less memorising than without weight decay, but after 120 epochs the model is still far from calculating. The floored positions nearly keep up: no two of nine positions are exactly alike with the floor, so the rule can be learnt. In the table above they end one to two points lower. That positions six apart are nearly alike may be the reason, but one seed cannot show it.

# %% [markdown]
# ## Save the results

# %%
session.save_results()

# %% [markdown]
# ## What to remember
#
# * Attention is a weighted mean: queries and keys decide the weights, values are what is averaged. Its cost grows with the square of the length, and it knows no order: positions must be added.
# * A decoder that is trained on true earlier tokens needs the causal mask, in training *and* when it writes.
# * Say which accuracy you mean. Token accuracy flatters; exact match on questions that training never asked does not.
# * Sort the mistakes before you explain them: they may follow the results, not the difficulty that you expected.
# * The same modules and the same rows can miss a rule or master it: the recipe decides. Change one thing at a time, and ask what the model never saw.
#
# ## Questions to think about
#
# Take a few minutes for each and write down an answer in the text cell below. Then compare it with a model answer: run `session.answer("Q1")` in a new cell for question 1, and so on up to `"Q6"`.
#
# 1. The encoder has no mask. What would the model lose if it had a causal one? *(Say which token could no longer read what, and whether the decoder could make up for it.)*
# 2. Results are written with the tens before the ones. Why would the reverse order be easier, and what would you have to change? *(Think of how a person adds on paper.)*
# 3. How could you find out *how* the model adds? Which experiment would tell a calculated carry from a guess? *(Name what you change, what you measure, and what would refute you.)*
# 4. With the floor, positions 0 and 6 are nearly alike, and positions 0 and 44 almost exactly. Let each number have $n$ digits. From which $n$ on are there two digits 6 apart, and from which two digits 44 apart? *(Give the angles, and say whether the two can still be told apart.)*
# 5. Why does the model that underfits get more than half of the unseen expressions right, and why is that no proof that it calculates? *(Compare the two maps.)*
# 6. What do the last mistakes of the rule recipe have in common? *(Use the table, the map, or list them: `[e for e, ok in wholes["rule"].items() if not ok]`.)*

# %% [markdown]
# **Your answers** *(for yourself, not graded; double-click this cell and write)*
#
# 1.
# 2.
# 3.
# 4.
# 5.
# 6.

# %% [markdown]
# ## What next
#
# * Three-digit numbers: what does the model do with operands that it has never seen, and why?
# * Pre-norm: change `norm(x + f(x))` to `x + f(norm(x))` in your blocks (in a copy: the checks want post-norm), put one more `LayerNormalization` behind the last block of the encoder and of the decoder, and train without warm-up.
# * The same blocks on images: the CLIP and DINO notebook uses a vision Transformer.

# %% [markdown]
# ## Submission
#
# When all four notebooks have been run and saved, this writes the two files to submit and says what is missing.

# %%
from dl.submit import make_assignment2_submission

make_assignment2_submission("./")
