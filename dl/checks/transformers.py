"""The cases of the exercises of `transformers.py`: words, attention, positions, data and losses; and `EXERCISES`.

The cases of the modules are in `dl.checks.transformer_blocks`.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from dl.checks.devices import device_case
from dl.checks.exercise import Case, Draw, Exercise, Values, gradients_of, unpack
from dl.checks.published import expected
from dl.checks.transformer_blocks import CASES, SINGLE, TOPIC, case, forbidding, published, recorded, sizes_of

# --- From words to numbers ---

WORDS = ("plus", "minus", "times", "over", "START", "END", "left", "right", "équilibre")


def _vocabulary(draw: Draw, digits: int = 10, words: int = 6) -> list[str]:
    every = [str(digit) for digit in range(digits)] + [WORDS[i] for i in draw.permutation(len(WORDS)).tolist()[:words]]
    return [every[i] for i in draw.permutation(len(every)).tolist()]


def _numbered(lesson, inputs: Values) -> Values:
    tokens = lesson.generate_token_dict(inputs["vocab"])
    if not isinstance(tokens, dict):
        return {"token_dict": tokens}
    chosen = [tokens.get("0"), tokens.get("EOS"), len(tokens)]
    kinds = sorted({type(value).__name__ for value in tokens.values()})
    chosen = [number if isinstance(number, int) else -1 for number in chosen]
    return {"token_dict": dict(tokens), "kinds_of_numbers": ", ".join(kinds), "chosen": chosen}


def _token_dict_case() -> Case:
    check = expected(TOPIC)["token_dict"]
    wanted = {"chosen": torch.tensor([check["expected"][key] for key in ("0", "EOS", "len")])}
    inputs = {"vocab": check["inputs"]["vocab"]}
    return published("the notebook's vocabulary", inputs, _numbered, wanted, about="on the vocabulary of the notebook")


def _vocabulary_inputs(draw: Draw, kind: type = list, **own: int) -> Values:
    return {"vocab": kind(_vocabulary(draw, **own))}


def _line_inputs(draw: Draw, words: int = 0, kind: type = list, alone: str = "") -> Values:
    """A line of words and numbers by turns, or one alone."""
    vocab = _vocabulary(draw)
    special = [word for word in vocab if not word.isdigit()]
    digits = [word for word in vocab if word.isdigit()]

    def number() -> str:
        return "".join(draw.choice(digits) for _ in range(draw.integer(2, 6)))

    words = words or draw.integer(6, 10)
    line = " ".join(draw.choice(special) if place % 2 == 0 else number() for place in range(words))
    given = {"word": draw.choice(special), "number": str(draw.integer(0, 10)) * 3, "digit": str(draw.integer(1, 10))}
    line = given.get(alone, line)
    tokens = {word: number + 3 for number, word in enumerate(vocab)}
    return {"input_str": line, "token_dict": tokens, "spc_tokens": kind(special)}


def _line_tokens(lesson, inputs: Values) -> Values:
    return {"tokens": lesson.prepocess_input_sequence(inputs["input_str"], inputs["token_dict"], inputs["spc_tokens"])}


def _line_case(check_name: str) -> Case:
    check = expected(TOPIC)[check_name]
    given, name = check["inputs"], f"a line of the notebook, {check_name.removeprefix('tokens_')}"
    numbers = {word: number for number, word in enumerate(given["vocab"])}
    inputs = {"input_str": given["input_str"], "token_dict": numbers, "spc_tokens": given["spc_tokens"]}
    wanted = {"tokens": torch.tensor(check["expected"]["out"])}
    return published(name, inputs, _line_tokens, wanted, about=f"on {given['input_str']!r}")


# --- Attention ---


def _triple(draw: Draw, batch: bool = True, equal: bool = False, scale: float = 1.0, **own: int) -> Values:
    """Query, key and value of one shape, (N, K, M) or (K, M); equal: N = K = M."""
    sizes = [draw.integer(3, 6)] * 3 if equal else sizes_of(draw, "N K M", own)
    shape = sizes if batch else sizes[1:]
    return {name: draw.normal(*shape, scale=scale) for name in ("query", "key", "value")}


NO_WAY_BACK = (
    "no gradient comes back through this. Nothing here needs one, but a layer does: no .item(), and nothing in place on what "
    "softmax or exp returned"
)


def _looped_cases(function: str, batch: bool) -> tuple[Case, ...]:
    def run(lesson, inputs: Values) -> Values:
        return {"y": getattr(lesson, function)(inputs["query"], inputs["key"], inputs["value"])}

    def triple(draw: Draw, **own) -> Values:
        return _triple(draw, batch, **own)

    return (
        recorded(function.replace("scaled_dot_product", "sdp"), run),
        case("values on random inputs", triple, run),
        *([case("batch of one", triple, run, N=1)] if batch else []),
        case("one token", triple, run, K=1),
        case("one feature", triple, run, M=1),
        case("as many tokens as features", triple, run, equal=True),
        case("large scores", triple, run, scale=8.0),
        device_case(triple, lambda lesson, inputs: run(lesson, inputs)["y"]),
        case("float32", triple, run, SINGLE, dtype=torch.float32),
        case("gradients", triple, gradients_of(run), note=NO_WAY_BACK),
    )


def _attention_inputs(draw: Draw, masked: bool = True, equal: bool = False, scale: float = 1.0, **own: int) -> Values:
    N, queries, keys, M, MV = [draw.integer(3, 6)] * 5 if equal else sizes_of(draw, "N queries keys M MV", own)
    query, key = (draw.normal(N, length, M, scale=scale) for length in (queries, keys))
    inputs = {"query": query, "key": key, "value": draw.normal(N, keys, MV)}
    return {**inputs, "mask": forbidding(draw, N, queries, keys)} if masked else inputs


def _nothing_left(draw: Draw) -> Values:
    """One query has every key forbidden."""
    inputs = _attention_inputs(draw)
    mask = inputs["mask"].clone()
    mask[:, draw.integer(0, mask.shape[1])] = True
    return {**inputs, "mask": mask}


def _very_low(draw: Draw) -> Values:
    """All scores are below -1e4, so that a forbidden key wins unless its score is lower still."""
    inputs = _attention_inputs(draw)
    query, key = (draw.uniform(*inputs[name].shape, low=120.0, high=180.0) for name in ("query", "key"))
    return {**inputs, "query": query, "key": -key}


def _attention(lesson, inputs: Values) -> Values:
    return unpack(lesson.scaled_dot_product_no_loop_batch(*inputs.values()), "y", "weights")


def _attention_output(lesson, inputs: Values) -> Values:
    return {"y": _attention(lesson, inputs)["y"]}


def _masked_course() -> Case:
    check = expected(TOPIC)["sdp_no_loop_batch_masked"]
    inputs = {"mask": torch.tensor(check["inputs"]["mask"]["bool"])}
    for key in ("value", "key", "query"):
        (low, high), shape = check["inputs"][key]["linspace"], check["inputs"][key]["shape"]
        inputs = {key: torch.linspace(low, high, math.prod(shape), dtype=torch.float64).reshape(shape), **inputs}
    wanted, limits = {"y": torch.tensor(check["expected"]["y"])}, {"y": check["tolerance"]}
    about = "on the tensors of the notebook"
    return published("masked values of the course", inputs, _attention_output, wanted, limits, about)


NOTHING_LEFT = "with every key forbidden the weights are not even (NaN, say); no such query occurs in this course"
BY_HAND = "right; PyTorch's own function does the whole exercise here. Write it by hand once as well, to see how it works."
WHOLE_ATTENTION = {"scaled_dot_product_attention": BY_HAND}


# --- Masks, positions, data, losses ---


def _sequences(draw: Draw, whole: bool = False, **own: int) -> Values:
    shape = sizes_of(draw, "N K", own)
    return {"seq": draw.integers(0, 9, *shape) if whole else draw.normal(*shape)}


def _causal(lesson, inputs: Values) -> Values:
    return {"mask": lesson.get_subsequent_mask(inputs["seq"])}


def _position_sizes(draw: Draw, **own: int) -> Values:
    K, M = sizes_of(draw, "K M", own, 4, 12)
    return {"K": K, "M": M}


def _position_cases(function: str) -> tuple[Case, ...]:
    near, kind = (1e-5, 1e-6), function.removeprefix("position_encoding_")

    def run(lesson, inputs: Values) -> Values:
        return {"y": getattr(lesson, function)(inputs["K"], inputs["M"])}

    def course(K: int, M: int) -> Case:
        check = expected(TOPIC)[f"position_{kind}_{K}_{M}"]
        name, about = f"{K} positions, {M} features", f"of the notebook, K = {K}, M = {M}"
        wanted, limits = {"y": torch.tensor(check["expected"]["y"])}, {"y": max(check["tolerance"], 1e-7)}
        return published(name, {"K": K, "M": M}, run, wanted, limits, about, rtol=1e-5)

    return (
        course(4, 4),
        course(5, 3),
        case("other sizes", _position_sizes, run, near),
        case("more features than positions", lambda draw: {"K": draw.integer(2, 5), "M": draw.integer(8, 13)}, run, near),
        case("many positions", lambda draw: {"K": draw.integer(60, 90), "M": 4}, run, (1e-4, 1e-5)),
        case("49 positions", _position_sizes, run, (1e-4, 1e-5), K=49),  # 49 * (1 / 49) is not 1 in floats
        case("one position", _position_sizes, run, near, K=1),
        case("one feature", _position_sizes, run, near, M=1),
    )


def _rows_inputs(draw: Draw, equal: bool = False, first: bool = False) -> Values:
    """Lines of equal token counts, though of other words."""
    vocab = _vocabulary(draw)
    special = [word for word in vocab if not word.isdigit()]
    asked, answered = draw.sizes(2, 3, 7)

    def line(words: int) -> str:
        return " ".join(draw.choice(special) if place % 2 else f"{draw.integer(10, 100)}" for place in range(words))

    rows = draw.integer(4, 7)
    return {
        "input_seqs": [line(asked) for _ in range(rows)],
        "target_seqs": [line(asked if equal else answered) for _ in range(rows)],
        "token_dict": {word: number for number, word in enumerate(vocab)},
        "special": special,
        "emb_dim": draw.integer(2, 6),
        "idx": 0 if first else draw.integer(1, rows),
    }


def _table(K: int, M: int) -> Tensor:
    """Stands for a position function: other numbers for each length and each size."""
    return (torch.arange(K * M, dtype=torch.float32).sqrt() + K).reshape(1, K, M)


def _row(lesson, inputs: Values, batched: bool = False) -> Values:
    """A row, or a batch of them as a DataLoader stacks it."""
    *arguments, idx = inputs.values()
    rows = lesson.AddSubDataset(*arguments, _table)
    row = next(iter(torch.utils.data.DataLoader(rows, batch_size=3))) if batched else rows[idx]
    return unpack(row, "input", "input_positions", "target", "target_positions")


def _loss_inputs(draw: Draw, equal: bool = False, scale: float = 1.0, sequences: int = 0, **own: int) -> Values:
    """sequences: with ground as (N, T / N), N of them."""
    T, V = [draw.integer(3, 7)] * 2 if equal else sizes_of(draw, "T V", own, 3, 9)
    ground = draw.integers(0, V, T)
    return {"pred": draw.normal(T, V, scale=scale), "ground": ground.reshape(sequences, -1) if sequences else ground}


def _loss_far_off(draw: Draw) -> Values:
    """Large logits, the lowest of each token that of the true class: its probability is too small for a float."""
    inputs = _loss_inputs(draw, scale=1e3)
    return {**inputs, "pred": inputs["pred"].scatter(1, inputs["ground"][:, None], -1e4)}


def _loss_one_large(draw: Draw) -> Values:
    """The first token's logits are in the thousands, the others' are ordinary."""
    inputs = _loss_inputs(draw)
    return {**inputs, "pred": torch.cat([inputs["pred"][:1] * 1e3 + 5e3, inputs["pred"][1:]])}


def _loss_apart(draw: Draw) -> Values:
    """Rows of logits at different heights, and no token of the last class."""
    inputs = _loss_inputs(draw)
    rows = 20 * torch.arange(len(inputs["pred"]), dtype=torch.float64)[:, None]
    return {"pred": inputs["pred"] + rows, "ground": inputs["ground"].clamp(max=inputs["pred"].shape[1] - 2)}


def _loss_cases(function: str) -> tuple[Case, ...]:
    def run(lesson, inputs: Values) -> Values:
        return {"loss": getattr(lesson, function)(inputs["pred"], inputs["ground"])}

    gradient = gradients_of(run)
    return (
        case("an even guess", _loss_inputs, run, scale=0.0),
        case("values on random inputs", _loss_inputs, run),
        case("gradient", _loss_inputs, gradient),
        case("one token", _loss_inputs, run, T=1),
        case("two classes", _loss_inputs, run, V=2),
        case("as many tokens as classes", _loss_inputs, run, equal=True),
        case("the notebook's vocabulary", _loss_inputs, run, T=20, V=16),
        case("ground of a batch", _loss_inputs, gradient, T=10, sequences=2),
        case("large logits", _loss_far_off, run),
        case("one token with large logits", _loss_one_large, run),
        case("no token of the last class", _loss_apart, gradient),
        device_case(_loss_inputs, lambda lesson, inputs: run(lesson, inputs)["loss"]),
        case("float32", _loss_inputs, run, SINGLE, dtype=torch.float32),
    )


# --- The exercises, in course order; each lists whatever its body may reach ---

HEAD = ("scaled_dot_product_no_loop_batch", "SelfAttention.__init__", "SelfAttention.forward")
HEADS = (*HEAD, "MultiHeadAttention.__init__", "MultiHeadAttention.forward")
NORM = ("LayerNormalization.__init__", "LayerNormalization.forward")
FEED = ("FeedForwardBlock.__init__", "FeedForwardBlock.forward")
BLOCK = (*HEADS, *NORM, *FEED)
BLOCKS = tuple(f"{block}.{method}" for block in ("EncoderBlock", "DecoderBlock") for method in ("__init__", "forward"))
MODEL = (*BLOCK, "get_subsequent_mask", *BLOCKS)


def _exercise(name: str, *hints: str, cases: tuple[Case, ...] | None = None, **options) -> Exercise:
    """cases: those of a module's methods are in `transformer_blocks`."""
    return Exercise(name, TOPIC, CASES[name] if cases is None else cases, hints=hints, **options)


EXERCISES = (
    _exercise(
        "generate_token_dict",
        "what is looked up, and what is found: the word or its number?",
        "the first word of the list has number 0, the next one 1, whatever the words are.",
        difficulty=1,
        minutes=5,
        cases=(
            _token_dict_case(),
            case("another vocabulary", _vocabulary_inputs, _numbered),
            case("words without digits", _vocabulary_inputs, _numbered, digits=0),
            case("one word", _vocabulary_inputs, _numbered, digits=0, words=1),
            case("a tuple of words", _vocabulary_inputs, _numbered, kind=tuple),
            case("many words", lambda draw: {"vocab": [f"w{i}" for i in draw.permutation(120).tolist()]}, _numbered),
        ),
    ),
    _exercise(
        "prepocess_input_sequence",
        "into which words do blanks cut the line, and which of them are in spc_tokens?",
        "a number is looked up digit by digit, a special word once and whole; all in one flat list, in their order.",
        difficulty=2,
        minutes=20,
        aliases=("preprocess_input_sequence",),
        cases=(
            *(_line_case(f"tokens_{which}_{number}") for which in ("in", "out") for number in (1, 2, 3, 4)),
            case("other words and another vocabulary", _line_inputs, _line_tokens),
            case("a special word alone", _line_inputs, _line_tokens, alone="word"),
            case("a number alone", _line_inputs, _line_tokens, alone="number"),
            case("a number of one digit", _line_inputs, _line_tokens, alone="digit"),
            case("a long line", _line_inputs, _line_tokens, words=40),
            case("special words as a tuple", _line_inputs, _line_tokens, kind=tuple),
        ),
    ),
    _exercise(
        "scaled_dot_product_two_loop_single",
        "one query meets every key: how many scores does it get, and what must they sum to after the softmax?",
        "each score is divided by the square root of the number of features before the softmax.",
        "each attention weight of a row multiplies one value: which of them belongs to key j?",
        difficulty=2,
        minutes=30,
        cases=_looped_cases("scaled_dot_product_two_loop_single", batch=False),
        whole_calls=WHOLE_ATTENTION,
    ),
    _exercise(
        "scaled_dot_product_two_loop_batch",
        "which part is the same as for one sequence, and which loop is new?",
        "a query looks only at keys and values of its own sequence.",
        "compare your result for sequence 0 with scaled_dot_product_two_loop_single of that sequence.",
        difficulty=1,
        minutes=15,
        cases=_looped_cases("scaled_dot_product_two_loop_batch", batch=True),
        whole_calls=WHOLE_ATTENTION,
    ),
    _exercise(
        "scaled_dot_product_no_loop_batch",
        "which product of a batch of matrices has the shape (N, K_Q, K_K)?",
        "along which axis do the attention weights of one query lie? They sum to 1 there, also under a mask.",
        "True in the mask means forbidden: what must its score be so that the softmax gives it nothing?",
        difficulty=2,
        minutes=20,
        no_loop=True,
        cases=(
            recorded("sdp_no_loop_batch", _attention_output),
            case("values on random inputs", _attention_inputs, _attention, masked=False),
            case("values with a mask", _attention_inputs, _attention),
            _masked_course(),
            case("all sizes equal, with a mask", _attention_inputs, _attention, equal=True),
            case("gradients", _attention_inputs, gradients_of(_attention_output)),
            device_case(_attention_inputs, lambda lesson, inputs: _attention(lesson, inputs)["y"]),
            case("very low scores", _very_low, _attention, 1e-3),
            case("batch of one", _attention_inputs, _attention, N=1),
            case("one query", _attention_inputs, _attention, queries=1),
            case("one key", _attention_inputs, _attention, masked=False, keys=1),
            case("all sizes equal", _attention_inputs, _attention, masked=False, equal=True),
            case("large values", _attention_inputs, _attention, 1e-3, scale=1e2),
            case("float32", _attention_inputs, _attention, SINGLE, dtype=torch.float32),
            case("all keys forbidden", _nothing_left, _attention, SINGLE, NOTHING_LEFT, dtype=torch.float32),
        ),
        whole_calls=WHOLE_ATTENTION,
    ),
    _exercise(
        "SelfAttention.__init__",
        "how many linear layers are there, and what goes into each?",
        "queries and keys are multiplied with each other, values are not: who needs dim_q, who dim_v?",
        "`xavier_linear` makes the layers; its weights begin with another spread than those of nn.Linear.",
        difficulty=1,
        minutes=10,
    ),
    _exercise(
        "SelfAttention.forward",
        "what goes through q, what through k, what through v?",
        "the function of the last exercise does the rest; it needs the mask as well.",
        "it returns two things: the output, and what the notebook's images need; that is kept, cut off from the graph.",
        difficulty=1,
        minutes=10,
        needs=("scaled_dot_product_no_loop_batch", "SelfAttention.__init__"),
    ),
    _exercise(
        "MultiHeadAttention.__init__",
        "how does a module learn of the modules in a list, so that the optimiser sees their weights?",
        "dim_out is the size of each head's output; how wide are num_heads of them side by side?",
        "the last layer leads from there back to dim_in.",
        difficulty=1,
        minutes=10,
        needs=("SelfAttention.__init__",),
    ),
    _exercise(
        "MultiHeadAttention.forward",
        "what does every head get, and what does it give?",
        "the heads' outputs stand side by side: head 0 first, along the features.",
        "the last layer mixes the heads and leads back to dim_in.",
        difficulty=1,
        minutes=15,
        needs=(*HEAD, "MultiHeadAttention.__init__"),
    ),
    _exercise(
        "LayerNormalization.__init__",
        "what does a tensor have to be so that an optimiser finds it?",
        "one number per feature for the scale, one for the shift; at first they change nothing.",
        difficulty=1,
        minutes=5,
        whole_calls={"LayerNorm": "right; PyTorch's own layer holds both parameters here. Two nn.Parameter would do."},
    ),
    _exercise(
        "LayerNormalization.forward",
        "over which axis are mean and variance taken, and which shape must they keep to be subtracted?",
        "what is the variance divided by, M or M - 1? And does epsilon stand inside or outside the square root?",
        "scale and shift come last.",
        difficulty=2,
        minutes=25,
        needs=("LayerNormalization.__init__",),
        whole_calls={
            "layer_norm": "right; PyTorch's own function does it all here. Write mean and variance by hand once as well."
        },
    ),
    _exercise(
        "FeedForwardBlock.__init__",
        "two layers: from which size to which does each lead?",
        "`xavier_linear` makes them; both have a bias.",
        difficulty=1,
        minutes=10,
    ),
    _exercise(
        "FeedForwardBlock.forward",
        "where does the ReLU stand, and how often?",
        "nothing is added to the result here: the block around does that.",
        difficulty=1,
        minutes=5,
        needs=("FeedForwardBlock.__init__",),
    ),
    _exercise(
        "EncoderBlock.__init__",
        "which layers does the block need, and which of them have weights of their own?",
        "all heads together are as wide as the tokens; how wide is one?",
        "the notebook looks for the names MultiHeadBlock and dropout.",
        difficulty=1,
        minutes=15,
        needs=("SelfAttention.__init__", "MultiHeadAttention.__init__", *NORM, *FEED),
    ),
    _exercise(
        "EncoderBlock.forward",
        "two halves alike: attention, then feed-forward block. What is added to the result of each?",
        "the order in each half: add, normalise, drop.",
        "from which tensor does the second half start: x, or what the first half made of it?",
        difficulty=2,
        minutes=20,
        needs=(*BLOCK, "EncoderBlock.__init__"),
    ),
    _exercise(
        "get_subsequent_mask",
        "which keys may query t see: those before t, t itself, those after?",
        "True means forbidden: on which side of the diagonal, and on the diagonal itself?",
        "the same (K, K) square for each of the N sequences, bool, on seq's device.",
        difficulty=2,
        minutes=20,
        cases=(
            recorded("subsequent_mask", _causal),
            case("other sizes", _sequences, _causal),
            case("tokens instead of floats", _sequences, _causal, whole=True),
            case("as many sequences as tokens", _sequences, _causal, N=4, K=4),
            case("one sequence", _sequences, _causal, N=1),
            case("one token", _sequences, _causal, K=1),
            case("a long sequence", _sequences, _causal, N=2, K=29),
            device_case(_sequences, lambda lesson, inputs: _causal(lesson, inputs)["mask"]),
        ),
    ),
    _exercise(
        "DecoderBlock.__init__",
        "an encoder block has two halves; what are the three parts here?",
        "each attention has weights of its own, and so has each normalisation.",
        "the notebook looks for the names attention_self and attention_cross, and for dropout.",
        difficulty=1,
        minutes=15,
        needs=("SelfAttention.__init__", "MultiHeadAttention.__init__", *NORM, *FEED),
    ),
    _exercise(
        "DecoderBlock.forward",
        "three parts, each: add, normalise, drop. Which tensor does each start from?",
        "in the second attention the decoder asks; who is asked?",
        "the mask hides later tokens of the answer; has the question any that must be hidden?",
        difficulty=3,
        minutes=30,
        needs=(*BLOCK, "DecoderBlock.__init__"),
    ),
    _exercise(
        "position_encoding_simple",
        "which number does position n get, and what is it divided by?",
        "all features of a row hold the same number; the first axis has size 1.",
        difficulty=1,
        minutes=15,
        cases=_position_cases("position_encoding_simple"),
    ),
    _exercise(
        "position_encoding_sinusoid",
        "which columns hold sines, which cosines: halves, or in turn?",
        "2 i is the column, an even number below M: what is the floor of 2 i / M?",
        "then the power of 10000 is 1: of which number are sine and cosine taken?",
        difficulty=2,
        minutes=30,
        cases=_position_cases("position_encoding_sinusoid"),
    ),
    _exercise(
        "AddSubDataset.__getitem__",
        "which four things belong to a row, and in which order?",
        "tokens differ from row to row; do positions?",
        difficulty=1,
        minutes=10,
        needs=("prepocess_input_sequence",),
        cases=(
            case("a row", _rows_inputs, _row),
            case("a row of equal lengths", _rows_inputs, _row, equal=True),
            case("the first row", _rows_inputs, _row, first=True),
            case("a batch of rows", _rows_inputs, partial(_row, batched=True)),
        ),
    ),
    _exercise(
        "Transformer.__init__",
        "one embedding serves question and answer: how many rows has it?",
        "`Encoder` and `Decoder` take the number of layers before dropout.",
        "which of the two takes num_enc_layers, and which also needs the vocabulary?",
        difficulty=1,
        minutes=15,
        needs=MODEL,
    ),
    _exercise(
        "Transformer.forward",
        "what does the encoder read, and what is added to the embeddings first?",
        "the decoder guesses the next token: which token of the answer has none after it?",
        "tokens, positions and mask of the answer have one length; the logits of all tokens stand below each other.",
        difficulty=3,
        minutes=35,
        needs=(*MODEL, "Transformer.__init__"),
    ),
    _exercise(
        "LabelSmoothingLoss",
        "which probability should the true class have, and what do all the others share?",
        "how many other classes are there? Read it from pred.",
        "each class counts with its wanted probability times minus its log-probability; all tokens are summed.",
        difficulty=2,
        minutes=25,
        cases=_loss_cases("LabelSmoothingLoss"),
    ),
    _exercise(
        "CrossEntropyLoss",
        "what is the loss of one token for an even guess among V classes?",
        "pred holds logits: does your function still do the softmax, and only once?",
        "the sum over the tokens is wanted; the training loop divides.",
        difficulty=1,
        minutes=10,
        cases=_loss_cases("CrossEntropyLoss"),
    ),
)
