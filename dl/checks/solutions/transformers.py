"""Transformers: right answers by PyTorch's layers and functions, and known mistakes."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from dl.checks.solutions import Solutions

SOLUTIONS = Solutions()
solution, mistake = SOLUTIONS.solution, SOLUTIONS.mistake


# --- generate_token_dict, prepocess_input_sequence ---


@solution("generate_token_dict")
def generate_token_dict(vocab):
    return dict(zip(vocab, range(len(vocab)), strict=True))


@mistake(
    "generate_token_dict",
    "starts-at-one",
    "your numbers begin at 1; this course wants them to begin at 0",
    "How large may the last number be for an embedding with as many rows as there are words?",
)
def _(vocab):
    return dict(zip(vocab, range(1, len(vocab) + 1), strict=True))


@mistake(
    "generate_token_dict",
    "keys-and-values-exchanged",
    "your dict leads from number to word; this course wants word to number",
    "What will the next function look up, a word or a number?",
)
def _(vocab):
    return dict(enumerate(vocab))


@mistake(
    "generate_token_dict",
    "sorted-first",
    "you sort the words first; this course keeps the order of the vocabulary",
    "Which number has the first word of the list?",
)
def _(vocab):
    return {word: i for i, word in enumerate(sorted(vocab))}


@mistake(
    "generate_token_dict",
    "reversed-order",
    "you count from the end; the first word of the list has number 0",
    "From which end do you number?",
)
def _(vocab):
    return {word: len(vocab) - 1 - i for i, word in enumerate(vocab)}


@mistake(
    "generate_token_dict", "numbers-as-text", "your numbers are strings; this course wants int", "Can a tensor hold a string?"
)
def _(vocab):
    return {word: str(i) for i, word in enumerate(vocab)}


@mistake(
    "generate_token_dict",
    "numbers-as-floats",
    "your numbers are floats; this course wants int",
    "What may index an embedding?",
)
def _(vocab):
    return {word: float(i) for i, word in enumerate(vocab)}


@mistake(
    "generate_token_dict",
    "last-word-missing",
    "the last word of the vocabulary has no number",
    "How many entries has the dict, and how many words are there?",
)
def _(vocab):
    return {vocab[i]: i for i in range(len(vocab) - 1)}


@mistake(
    "generate_token_dict",
    "first-word-missing",
    "the first word of the vocabulary has no number",
    "How many entries has the dict, and how many words are there?",
)
def _(vocab):
    return {vocab[i]: i for i in range(1, len(vocab))}


@mistake(
    "generate_token_dict",
    "digits-by-their-value",
    "you give a digit its own value; the number is the word's place in the list",
    "What if the vocabulary does not begin with the digits?",
)
def _(vocab):
    return {word: int(word) if word.isdigit() else i for i, word in enumerate(vocab)}


@mistake(
    "generate_token_dict",
    "words-in-lower-case",
    "you change the words to lower case; they stay as they are",
    'Is "EOS" still found?',
)
def _(vocab):
    return {word.lower(): i for i, word in enumerate(vocab)}


@mistake(
    "generate_token_dict",
    "list-of-pairs",
    "you return a list of pairs; this course wants a dict",
    'What does `tokens["EOS"]` need?',
)
def _(vocab):
    return list(zip(vocab, range(len(vocab)), strict=True))


@solution("prepocess_input_sequence")
def prepocess_input_sequence(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() for part in ((word,) if word in spc_tokens else tuple(word))]


@mistake(
    "prepocess_input_sequence",
    "special-words-cut",
    "you cut every word into characters; a special word is one token",
    "What is spc_tokens for?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() for part in word]


@mistake(
    "prepocess_input_sequence",
    "numbers-not-cut",
    "you look a whole number up; each digit is a token of its own",
    'Is "16" in the vocabulary?',
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[word] for word in input_str.split()]


@mistake(
    "prepocess_input_sequence",
    "digit-by-its-value",
    "you take a digit's own value; its token is what token_dict says",
    "What if the vocabulary does not begin with the digits?",
)
def _(input_str, token_dict, spc_tokens):
    return [
        token_dict[part] if word in spc_tokens else int(part)
        for word in input_str.split()
        for part in ((word,) if word in spc_tokens else word)
    ]


@mistake(
    "prepocess_input_sequence",
    "number-by-its-value",
    "you take a number's own value as one token; each digit is a token",
    'How many tokens has "0333"?',
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[word] if word in spc_tokens else int(word) for word in input_str.split()]


@mistake(
    "prepocess_input_sequence",
    "special-words-lost",
    "only digits become tokens; special words are tokens as well",
    "Where do BOS and EOS go?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() if word not in spc_tokens for part in word]


@mistake(
    "prepocess_input_sequence",
    "numbers-lost",
    "only special words become tokens; digits are tokens as well",
    "Where do the digits go?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[word] for word in input_str.split() if word in spc_tokens]


@mistake(
    "prepocess_input_sequence", "digits-reversed", "the digits of a number come out backwards", "Which digit stands first?"
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() for part in ((word,) if word in spc_tokens else word[::-1])]


@mistake(
    "prepocess_input_sequence",
    "first-digit-only",
    "only the first digit of a number becomes a token",
    "Does your loop end too soon?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[word if word in spc_tokens else word[0]] for word in input_str.split()]


@mistake(
    "prepocess_input_sequence",
    "two-digits-only",
    "only two digits of a number become tokens; numbers may be longer",
    "How many digits have the notebook's first examples?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[part] for word in input_str.split() for part in ((word,) if word in spc_tokens else word[:2])]


@mistake(
    "prepocess_input_sequence",
    "words-not-numbers",
    "you return the words and digits; their tokens are wanted",
    "What is token_dict for?",
)
def _(input_str, token_dict, spc_tokens):
    return [part for word in input_str.split() for part in ((word,) if word in spc_tokens else word)]


@mistake(
    "prepocess_input_sequence",
    "nested-lists",
    "you return a list in the list for every word; one flat list is wanted",
    "What is the difference between append and extend?",
)
def _(input_str, token_dict, spc_tokens):
    return [[token_dict[part] for part in ((word,) if word in spc_tokens else word)] for word in input_str.split()]


@mistake(
    "prepocess_input_sequence",
    "nested-numbers",
    "a number becomes a list in the list; one flat list is wanted",
    "What is the difference between append and extend?",
)
def _(input_str, token_dict, spc_tokens):
    return [token_dict[word] if word in spc_tokens else [token_dict[part] for part in word] for word in input_str.split()]


@mistake(
    "prepocess_input_sequence",
    "returned-too-soon",
    "only the first word becomes a token: you return inside the loop",
    "How far is the return indented?",
)
def _(input_str, token_dict, spc_tokens):
    return prepocess_input_sequence(input_str.split()[0], token_dict, spc_tokens)


@mistake("prepocess_input_sequence", "ends-lost", "the first and the last word are missing", "Are BOS and EOS tokens too?")
def _(input_str, token_dict, spc_tokens):
    return prepocess_input_sequence(" ".join(input_str.split()[1:-1]), token_dict, spc_tokens)


@mistake(
    "prepocess_input_sequence",
    "tensor-returned",
    "you return a tensor; this course wants a list of int",
    "Who makes the tensor later? See AddSubDataset.",
)
def _(input_str, token_dict, spc_tokens):
    return torch.tensor(prepocess_input_sequence(input_str, token_dict, spc_tokens))


@mistake("prepocess_input_sequence", "each-token-once", "a token that comes again is left out", "How many threes has 0333?")
def _(input_str, token_dict, spc_tokens):
    return list(dict.fromkeys(prepocess_input_sequence(input_str, token_dict, spc_tokens)))


@mistake(
    "prepocess_input_sequence",
    "special-words-first",
    "all special words come first; the order of the line is wanted",
    "How many times do you walk along the line?",
)
def _(input_str, token_dict, spc_tokens):
    words = sorted(input_str.split(), key=lambda word: word not in spc_tokens)
    return prepocess_input_sequence(" ".join(words), token_dict, spc_tokens)


# --- Attention: the same mistakes in three functions ---


def _attend(query, key, value, mask=None):
    blocked = None if mask is None else torch.zeros_like(mask, dtype=query.dtype).masked_fill(mask, -1e9)
    alone = None if mask is None else mask.all(-1, keepdim=True)
    scores = torch.einsum("...qm,...km->...qk", query, key) * query.shape[-1] ** -0.5
    if blocked is not None:
        scores = torch.where(alone, torch.zeros_like(scores), scores + blocked)
    weights = F.softmax(scores, -1)
    return torch.einsum("...qk,...kv->...qv", weights, value), weights


@solution("scaled_dot_product_two_loop_single")
@solution("scaled_dot_product_two_loop_batch")
def _two_loop(query, key, value):
    return F.scaled_dot_product_attention(query, key, value)


@solution("scaled_dot_product_no_loop_batch")
def scaled_dot_product_no_loop_batch(query, key, value, mask=None):
    return _attend(query, key, value, mask)


def _raw(query, key):
    return query @ key.mT / math.sqrt(query.shape[-1])


def _masked(scores, mask):
    return scores if mask is None else scores.masked_fill(mask, -1e9)


def _with(scores, value, mask=None, axis=-1):
    weights = _masked(scores, mask).softmax(axis)
    return weights @ value, weights


def _of_all(name, says, hint):
    """Decorator: a mistake that can be made in all three functions; the two with loops return the first result alone."""

    def keep(function):
        for short in ("single", "batch"):
            mistake(f"scaled_dot_product_two_loop_{short}", name, says, hint)(
                lambda query, key, value: function(query, key, value)[0]
            )
        mistake("scaled_dot_product_no_loop_batch", name, says, hint)(function)
        return function

    return keep


@_of_all("no-scale", "the scores are not divided by sqrt(M)", "How does the spread of q.k grow with the number of features?")
def _(query, key, value, mask=None):
    return _with(query @ key.mT, value, mask)


@_of_all(
    "scale-without-root",
    "you divide the scores by M; this course divides by its square root",
    "What is the spread of a sum of M terms?",
)
def _(query, key, value, mask=None):
    return _with(query @ key.mT / query.shape[-1], value, mask)


@_of_all(
    "scale-by-tokens",
    "you divide by the root of the number of tokens; it is the number of features M",
    "Over how many terms does q.k sum?",
)
def _(query, key, value, mask=None):
    return _with(query @ key.mT / math.sqrt(key.shape[-2]), value, mask)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "scale-by-queries",
    "you divide by the root of the number of queries; it is the number of features M",
    "Over how many terms does q.k sum?",
)
def _(query, key, value, mask=None):
    return _with(query @ key.mT / math.sqrt(query.shape[-2]), value, mask)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "scale-by-batch",
    "you divide by the root of the first axis; it is the number of features M",
    "Which place in the shape holds the features?",
)
def _(query, key, value, mask=None):
    return _with(query @ key.mT / math.sqrt(query.shape[0]), value, mask)


@mistake(
    "scaled_dot_product_two_loop_batch",
    "scale-by-batch",
    "you divide by the root of the first axis; it is the number of features M",
    "Which place in the shape holds the features?",
)
def _(query, key, value):
    return _with(query @ key.mT / math.sqrt(query.shape[0]), value)[0]


@mistake(
    "scaled_dot_product_no_loop_batch",
    "scale-by-values",
    "you divide by the root of the value's features; it is those of query and key",
    "Over how many terms does q.k sum?",
)
def _(query, key, value, mask=None):
    return _with(query @ key.mT / math.sqrt(value.shape[-1]), value, mask)


@_of_all("multiplied-by-root", "you multiply the scores by sqrt(M); this course divides", "Should the scores grow or shrink?")
def _(query, key, value, mask=None):
    return _with(query @ key.mT * math.sqrt(query.shape[-1]), value, mask)


@_of_all(
    "scale-after-softmax",
    "you divide by sqrt(M) after the softmax; then the shares do not sum to 1. Divide before it",
    "What does a row of shares sum to?",
)
def _(query, key, value, mask=None):
    weights = _masked(query @ key.mT, mask).softmax(-1) / math.sqrt(query.shape[-1])
    return weights @ value, weights


@_of_all(
    "softmax-over-queries",
    "the softmax runs over the queries; each query's shares of the KEYS must sum to 1",
    "Along which axis do the keys lie?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), value, mask, -2)


@_of_all(
    "softmax-over-all",
    "one softmax over all scores of a sequence; every query has one of its own",
    "What should the shares of one query sum to?",
)
def _(query, key, value, mask=None):
    scores = _masked(_raw(query, key), mask)
    weights = scores.flatten(-2).softmax(-1).view(scores.shape)
    return weights @ value, weights


@_of_all("no-softmax", "the scores themselves weigh the values; the softmax is missing", "Can a share be negative?")
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask)
    return weights @ value, weights


@_of_all("not-normalised", "you take exp() of the scores but do not divide by the sum of the row", "What should a row sum to?")
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask).exp()
    return weights @ value, weights


@_of_all(
    "exp-missing", "you divide the scores by their sum; the softmax divides their exp() by its sum", "Can a share be negative?"
)
def _(query, key, value, mask=None):
    scores = _masked(_raw(query, key), mask)
    weights = scores / scores.sum(-1, keepdim=True)
    return weights @ value, weights


@_of_all("log-softmax", "log_softmax gives logarithms of shares; the shares themselves are wanted", "Can a share be negative?")
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask).log_softmax(-1)
    return weights @ value, weights


@_of_all(
    "sigmoid-for-softmax",
    "a sigmoid looks at each score alone; the softmax compares those of one row",
    "What should a row sum to?",
)
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask).sigmoid()
    return weights @ value, weights


@_of_all(
    "largest-key-only",
    "each query takes the value of its best key alone; the softmax gives every key a share",
    "Has taking the largest a gradient?",
)
def _(query, key, value, mask=None):
    weights = F.one_hot(_masked(_raw(query, key), mask).argmax(-1), key.shape[-2]).to(query)
    return weights @ value, weights


@_of_all("keys-for-values", "the shares weigh the keys; they weigh the values", "Which of the three inputs have you not used?")
def _(query, key, value, mask=None):
    return _with(_raw(query, key), key, mask)


@_of_all(
    "queries-for-values", "the shares weigh the queries; they weigh the values", "Which of the three inputs have you not used?"
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), query, mask)


@_of_all(
    "values-for-keys",
    "queries are compared with the values; they are compared with the keys",
    "Which of the inputs have you not used?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, value), value, mask)


@_of_all(
    "queries-with-themselves",
    "queries are compared with queries; they are compared with the keys",
    "Which of the inputs have you not used?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, query), value, mask)


@_of_all(
    "keys-ask",
    "queries and keys are exchanged: row i must hold the scores of QUERY i",
    "Which of the two picks the row of the result?",
)
def _(query, key, value, mask=None):
    return _with(_raw(key, query), value, mask)


@_of_all(
    "transposed-shares",
    "the shares are transposed before they meet the values: entry (i, j) is query i's share of key j",
    "Over which index does the product with the values sum?",
)
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask).softmax(-1)
    return weights.mT @ value, weights


@_of_all(
    "residual-added",
    "the query is added to the result; here only the mean of the values is wanted",
    "Which block of the Transformer adds its input?",
)
def _(query, key, value, mask=None):
    y, weights = _attend(query, key, value, mask)
    return y + query, weights


@_of_all("even-mean", "every key gets the same share", "Where do the scores enter?")
def _(query, key, value, mask=None):
    weights = torch.full(_raw(query, key).shape, 1 / key.shape[-2]).to(query)
    return weights @ value, weights


@_of_all(
    "causal",
    "keys after the query are left out; here every query sees every key unless the mask forbids it",
    "Who makes the causal mask, and when is it handed over?",
)
def _(query, key, value, mask=None):
    scores = _masked(_raw(query, key), mask)
    return _with(scores, value, torch.ones_like(scores, dtype=torch.bool).triu(1))


@_of_all("distance-for-product", "the score is a distance; this course takes the product q.k", "Read Eq. 1 once more.")
def _(query, key, value, mask=None):
    return _with(-torch.cdist(query, key) / math.sqrt(query.shape[-1]), value, mask)


@_of_all(
    "cosine-for-product",
    "queries and keys are brought to length 1 first; this course takes the product as it is",
    "Read Eq. 1 once more.",
)
def _(query, key, value, mask=None):
    return _with(_raw(F.normalize(query, dim=-1), F.normalize(key, dim=-1)), value, mask)


@mistake(
    "scaled_dot_product_two_loop_batch",
    "first-sequence-for-all",
    "every sequence looks at the keys and values of sequence 0",
    "Which index picks the sequence?",
)
def _(query, key, value):
    return _two_loop(query, key[:1].expand_as(key), value[:1].expand_as(value))


@mistake(
    "scaled_dot_product_two_loop_batch",
    "across-the-batch",
    "queries look at the keys of all sequences; only at their own",
    "What does one sequence know of another one?",
)
def _(query, key, value):
    N, K, M = query.shape
    return _two_loop(query.reshape(1, -1, M), key.reshape(1, -1, M), value.reshape(1, -1, M)).view(N, K, M)


@mistake(
    "scaled_dot_product_two_loop_batch",
    "last-sequence-for-all",
    "every row of the result is that of the last sequence",
    "Where do you begin the list of a sequence's rows?",
)
def _(query, key, value):
    return _two_loop(query, key, value)[-1:].expand_as(value).clone()


@mistake(
    "scaled_dot_product_two_loop_batch",
    "batch-flattened",
    "the result has two axes; it has the batch as well",
    "What shape has the result?",
)
def _(query, key, value):
    return _two_loop(query, key, value).flatten(0, 1)


@mistake("scaled_dot_product_no_loop_batch", "mask-ignored", "the mask is not used", "What does True in the mask mean?")
def _(query, key, value, mask=None):
    return _attend(query, key, value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-inverted",
    "True in the mask means FORBIDDEN; you forbid what is False",
    "Which value does get_subsequent_mask put above the diagonal?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), value, None if mask is None else ~mask)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-after-softmax",
    "you set shares to 0 after the softmax, so the rest does not sum to 1",
    "On which side of the softmax must a key be forbidden?",
)
def _(query, key, value, mask=None):
    weights = _attend(query, key, value)[1]
    weights = weights if mask is None else weights.masked_fill(mask, 0.0)
    return weights @ value, weights


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-not-low-enough",
    "a forbidden key's score is not low enough (exp(0), say, is 1): others may be lower still; it wants about -1e9",
    "Which score makes exp() vanish?",
)
def _(query, key, value, mask=None):
    scores = _raw(query, key)
    return _with(scores if mask is None else scores.masked_fill(mask, 0.0), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-a-little-low",
    "a forbidden key's score is low (-100, say), but other scores may be lower still; it wants about -1e9",
    "Which score makes exp() vanish, whatever the others are?",
)
def _(query, key, value, mask=None):
    scores = _raw(query, key)
    return _with(scores if mask is None else scores.masked_fill(mask, -100.0), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-as-large-score",
    "a forbidden key gets a very large score; it wants a very small one",
    "Which sign has the score of a forbidden key?",
)
def _(query, key, value, mask=None):
    scores = _raw(query, key)
    return _with(scores if mask is None else scores.masked_fill(mask, 1e9), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "no-even-row",
    "a query whose keys are all forbidden gives NaN; it wants an even row",
    "What does the softmax make of a row of minus infinity? Which large finite number does the same otherwise?",
)
def _(query, key, value, mask=None):
    scores = _raw(query, key)
    return _with(scores if mask is None else scores.masked_fill(mask, -torch.inf), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-transposed",
    "the mask is transposed: its rows are queries, its columns keys",
    "Which axis of the mask counts the keys?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), value, None if mask is None else mask.mT)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "first-mask-for-all",
    "every sequence gets the mask of sequence 0; each has its own",
    "What does the mask's first axis count?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), value, None if mask is None else mask[:1])


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-before-scale-only",
    "forbidden scores are only lowered by 1 (the mask is subtracted)",
    "How small must exp() of a forbidden score be?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key) - (0 if mask is None else mask.to(query)), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "mask-multiplied",
    "the mask is multiplied with the scores, so what is allowed gets the score 0",
    "What is True times a score, what False times a score?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key) * (1 if mask is None else mask.to(query)), value)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "weights-not-returned",
    "you return y alone; y and the weights are wanted",
    "What will the notebook draw as a heat map?",
)
def _(query, key, value, mask=None):
    return _attend(query, key, value, mask)[0]


@mistake(
    "scaled_dot_product_no_loop_batch",
    "scores-returned",
    "the second result holds the scores; it holds their softmax",
    "What do the rows of the second result sum to?",
)
def _(query, key, value, mask=None):
    return _attend(query, key, value, mask)[0], _masked(_raw(query, key), mask)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "results-exchanged",
    "y comes first, the weights second",
    "In which order does the docstring name them?",
)
def _(query, key, value, mask=None):
    return _attend(query, key, value, mask)[::-1]


@mistake(
    "scaled_dot_product_no_loop_batch",
    "softmax-over-batch",
    "the softmax runs over the batch; it runs over the keys",
    "Along which axis do the keys lie?",
)
def _(query, key, value, mask=None):
    return _with(_raw(query, key), value, mask, 0)


@mistake(
    "scaled_dot_product_no_loop_batch",
    "overflow",
    "exp() of a large score overflows: take the largest of the row away first, or use a softmax",
    "What is exp(1000)?",
)
def _(query, key, value, mask=None):
    weights = _masked(_raw(query, key), mask).exp()
    weights = weights / weights.sum(-1, keepdim=True)
    if mask is not None:
        weights = torch.where(mask.all(-1, keepdim=True), 1 / key.shape[1], weights)
    return weights @ value, weights


# --- The layers: our own stack under the names of the lesson ---


def _glorot(fan_in, fan_out, spread=None):
    layer = nn.Linear(fan_in, fan_out)
    spread = math.sqrt(6 / (fan_in + fan_out)) if spread is None else spread
    layer.weight.data.uniform_(-spread, spread)
    return layer


class _Head(nn.Module):
    def __init__(self, dim_in, dim_q, dim_v, linear=_glorot):
        super().__init__()
        self.weights_softmax = None
        self.q, self.k, self.v = linear(dim_in, dim_q), linear(dim_in, dim_q), linear(dim_in, dim_v)

    def forward(self, query, key, value, mask=None):
        return _head(self, query, key, value, mask)


class _Heads(nn.Module):
    def __init__(self, num_heads, dim_in, dim_out):
        super().__init__()
        self.heads = nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)])
        self.merge = _glorot(num_heads * dim_out, dim_in)

    def forward(self, query, key, value, mask=None):
        return _heads(self, query, key, value, mask)


class _Norm(nn.Module):
    def __init__(self, emb_dim, epsilon=1e-10):
        super().__init__()
        self.epsilon = epsilon
        self.gamma, self.beta = nn.Parameter(torch.ones(emb_dim)), nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x):
        return _norm(self, x)


class _Feed(nn.Module):
    def __init__(self, inp_dim, hidden):
        super().__init__()
        self.expand, self.contract = _glorot(inp_dim, hidden), _glorot(hidden, inp_dim)

    def forward(self, x):
        return _feed(self, x)


class _Encoder(nn.Module):
    """A stack; each block is a bare module with the parts of an encoder block."""

    def __init__(self, num_heads, emb_dim, feedforward_dim, num_layers, dropout):
        super().__init__()
        self.layers = nn.ModuleList([_EncoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers)])

    def forward(self, x):
        return nn.Sequential(*self.layers)(x)


class _EncoderBlock(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        _encoder_parts(self, *sizes)

    def forward(self, x):
        return _encode(self, x)


class _DecoderBlock(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        _decoder_parts(self, *sizes)

    def forward(self, dec_inp, enc_inp, mask=None):
        return _decode(self, dec_inp, enc_inp, mask)


class _Decoder(nn.Module):
    def __init__(self, num_heads, emb_dim, feedforward_dim, num_layers, dropout, vocab_len):
        super().__init__()
        self.layers = nn.ModuleList([_DecoderBlock(num_heads, emb_dim, feedforward_dim, dropout) for _ in range(num_layers)])
        self.proj_to_vocab = _glorot(emb_dim, vocab_len)

    def forward(self, target_seq, enc_out, mask):
        for layer in self.layers:
            target_seq = layer(target_seq, enc_out, mask)
        return self.proj_to_vocab(target_seq)


def _encoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout, head_size=None, norm=_Norm, feed=_Feed):
    self.MultiHeadBlock = _Heads(num_heads, emb_dim, head_size or emb_dim // num_heads)
    self.norm1, self.norm2 = norm(emb_dim), norm(emb_dim)
    self.feed_forward = feed(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


def _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout, head_size=None, norm=_Norm, feed=_Feed):
    head_size = head_size or emb_dim // num_heads
    self.attention_self, self.attention_cross = _Heads(num_heads, emb_dim, head_size), _Heads(num_heads, emb_dim, head_size)
    self.norm1, self.norm2, self.norm3 = norm(emb_dim), norm(emb_dim), norm(emb_dim)
    self.feed_forward = feed(emb_dim, feedforward_dim)
    self.dropout = nn.Dropout(dropout)


def _head(self, query, key, value, mask=None):
    fits = (query.shape[0], query.shape[1], key.shape[1])
    if mask is not None and mask.shape != fits:  # in the lesson's words, by which the mistake is known
        raise ValueError(
            f"scaled_dot_product_no_loop_batch: the mask has shape {tuple(mask.shape)}; wanted (N, K_Q, K_K) = {fits}. "
            "Make it from the query's tokens with get_subsequent_mask."
        )
    y, weights = _attend(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.data
    return y


def _heads(self, query, key, value, mask=None):
    return self.merge(torch.cat([head(query, key, value, mask) for head in self.heads], 2))


def _norm(self, x):
    return F.layer_norm(x, x.shape[-1:], self.gamma, self.beta, self.epsilon)


def _feed(self, x):
    return nn.Sequential(self.expand, nn.ReLU(), self.contract)(x)


def _encode(self, x):
    x = self.dropout(self.norm1(self.MultiHeadBlock(x, x, x) + x))
    return self.dropout(self.norm2(self.feed_forward(x) + x))


def _decode(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(self.attention_self(dec_inp, dec_inp, dec_inp, mask) + dec_inp))
    x = self.dropout(self.norm2(self.attention_cross(x, enc_inp, enc_inp) + x))
    return self.dropout(self.norm3(self.feed_forward(x) + x))


# --- SelfAttention ---


def _head_maps(self, q, k, v):
    nn.Module.__init__(self)
    self.weights_softmax = None
    self.q, self.k, self.v = q, k, v


@solution("SelfAttention.__init__")
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_in, dim_q), _glorot(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__",
    "values-as-wide-as-queries",
    "the values have dim_q features; they have dim_v",
    "Which argument have you not used?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_in, dim_q), _glorot(dim_in, dim_q))


@mistake(
    "SelfAttention.__init__",
    "keys-as-wide-as-values",
    "the keys have dim_v features; queries and keys have dim_q",
    "Which two are multiplied with each other?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_in, dim_v), _glorot(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__", "sizes-exchanged", "dim_q and dim_v are exchanged", "Which two are multiplied with each other?"
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_v), _glorot(dim_in, dim_v), _glorot(dim_in, dim_q))


@mistake(
    "SelfAttention.__init__",
    "map-turned-round",
    "the maps lead to dim_in; they start from it",
    "What goes into a Linear, what comes out?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_q, dim_in), _glorot(dim_q, dim_in), _glorot(dim_v, dim_in))


@mistake(
    "SelfAttention.__init__",
    "back-to-input-size",
    "all maps lead to dim_in features; dim_q and dim_v say how many they have",
    "Which arguments have you not used?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_in), _glorot(dim_in, dim_in), _glorot(dim_in, dim_in))


@mistake(
    "SelfAttention.__init__",
    "keys-from-queries-size",
    "the map of the keys starts from dim_q features; keys have dim_in",
    "What size have the inputs of all three maps?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_q, dim_q), _glorot(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__", "no-bias", "the maps have no bias; this course's have one", "What is the default of nn.Linear?"
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, *(nn.Linear(dim_in, size, bias=False) for size in (dim_q, dim_q, dim_v)))


@mistake(
    "SelfAttention.__init__",
    "equal-first-weights",
    "queries and keys begin with the same weights; each map draws its own",
    "How many times are weights drawn?",
)
def _(self, dim_in, dim_q, dim_v):
    first = _glorot(dim_in, dim_q)
    _head_maps(self, first, copy.deepcopy(first), _glorot(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__",
    "shared-map",
    "queries and keys share one map; each has its own",
    "How many sets of weights do you make?",
)
def _(self, dim_in, dim_q, dim_v):
    shared = _glorot(dim_in, dim_q)
    _head_maps(self, shared, shared, _glorot(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__",
    "default-spread",
    "the first weights have nn.Linear's own spread; this course draws them with xavier_linear",
    "Which helper stands above the class?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_q), nn.Linear(dim_in, dim_v))


@mistake(
    "SelfAttention.__init__", "zero-weights", "the first weights are all 0", "Which gradient gets through a product with 0?"
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q, 0.0), _glorot(dim_in, dim_q, 0.0), _glorot(dim_in, dim_v, 0.0))


@mistake(
    "SelfAttention.__init__",
    "attribute-cleared",
    "weights_softmax is not None before the first forward",
    "What shall it hold before it is known?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_in, dim_q), _glorot(dim_in, dim_v))
    self.weights_softmax = torch.zeros(1)


@mistake(
    "SelfAttention.__init__",
    "further-map",
    "there is a fourth map with weights; one head has three",
    "Which class merges the heads?",
)
def _(self, dim_in, dim_q, dim_v):
    _head_maps(self, _glorot(dim_in, dim_q), _glorot(dim_in, dim_q), _glorot(dim_in, dim_v))
    self.out = _glorot(dim_v, dim_in)


solution("SelfAttention.forward")(_head)


def _keep(self, result):
    self.weights_softmax = result[1].detach()
    return result[0]


@mistake("SelfAttention.forward", "mask-ignored", "the mask is not handed on", "What does the decoder need it for?")
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(key), self.v(value)))


@mistake(
    "SelfAttention.forward",
    "mask-inverted",
    "True in the mask means FORBIDDEN; hand the mask on as it is",
    "Who reads the mask, and how?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(key), self.v(value), None if mask is None else ~mask))


@mistake(
    "SelfAttention.forward",
    "maps-not-used",
    "query, key and value are compared as they come; they go through q, k and v first",
    "Where are the learnt weights used?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(query, key, value, mask))


@mistake(
    "SelfAttention.forward",
    "query-for-all",
    "all three maps read the query; keys and values are inputs of their own",
    "What is handed over in the decoder's second attention?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(query), self.v(query), None if query.shape != key.shape else mask))


@mistake(
    "SelfAttention.forward",
    "values-from-query",
    "the values are made from the query; they are made from value",
    "What goes through v?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(key), self.v(query), mask))


@mistake(
    "SelfAttention.forward",
    "values-from-key",
    "the values are made from key; they are made from value",
    "What goes through v?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(key), self.v(key), mask))


@mistake(
    "SelfAttention.forward", "keys-from-value", "the keys are made from value; they are made from key", "What goes through k?"
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(value), self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "maps-of-query-and-key-exchanged",
    "the query goes through k and the key through q",
    "What goes through q?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.k(query), self.q(key), self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "keys-and-values-exchanged",
    "key and value are exchanged",
    "In which order does the function take them?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(value), self.v(key), mask))


@mistake("SelfAttention.forward", "values-not-mapped", "the value does not go through v", "How many maps do you use?")
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), self.k(key), value, mask))


@mistake("SelfAttention.forward", "keys-not-mapped", "the key does not go through k", "How many maps do you use?")
def _(self, query, key, value, mask=None):
    return _keep(self, _attend(self.q(query), key, self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "no-scale",
    "the scores are not divided by the root of dim_q",
    "What does scaled_dot_product_no_loop_batch do?",
)
def _(self, query, key, value, mask=None):
    return _keep(self, _with(self.q(query) @ self.k(key).mT, self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "scaled-twice",
    "the queries are divided once more; the function of the last exercise has done it",
    "Who divides by the root?",
)
def _(self, query, key, value, mask=None):
    q = self.q(query)
    return _keep(self, _attend(q / math.sqrt(q.shape[-1]), self.k(key), self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "scale-by-input-size",
    "the scores are divided by the root of dim_in; q.k sums over dim_q terms",
    "How many features have q and k after their maps?",
)
def _(self, query, key, value, mask=None):
    q, k = self.q(query), self.k(key)
    return _keep(self, _with(q @ k.mT / math.sqrt(query.shape[-1]), self.v(value), mask))


@mistake(
    "SelfAttention.forward",
    "pair-returned",
    "you return the pair; forward returns y, and the weights are kept",
    "How many things does the docstring promise?",
)
def _(self, query, key, value, mask=None):
    result = _attend(self.q(query), self.k(key), self.v(value), mask)
    return (_keep(self, result), result[1])


@mistake(
    "SelfAttention.forward", "weights-returned", "you return the weights; forward returns y", "What shape has the result?"
)
def _(self, query, key, value, mask=None):
    y, weights = _attend(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return weights


@mistake("SelfAttention.forward", "weights-not-kept", "weights_softmax is not set", "What will the notebook draw?")
def _(self, query, key, value, mask=None):
    return _attend(self.q(query), self.k(key), self.v(value), mask)[0]


@mistake(
    "SelfAttention.forward",
    "weights-attached",
    "weights_softmax still holds the graph of its making; keep it detached",
    "What stays in memory as long as this tensor lives?",
)
def _(self, query, key, value, mask=None):
    y, self.weights_softmax = _attend(self.q(query), self.k(key), self.v(value), mask)
    return y


@mistake(
    "SelfAttention.forward",
    "output-kept",
    "weights_softmax holds the output; it holds the shares",
    "Which of the two results are the shares?",
)
def _(self, query, key, value, mask=None):
    y, _ = _attend(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = y.detach()
    return y


@mistake(
    "SelfAttention.forward",
    "first-weights-kept",
    "weights_softmax stays that of the first call; the latest is wanted",
    "What happens at the second call?",
)
def _(self, query, key, value, mask=None):
    y, weights = _attend(self.q(query), self.k(key), self.v(value), mask)
    if self.weights_softmax is None:
        self.weights_softmax = weights.detach()
    return y


@mistake(
    "SelfAttention.forward",
    "first-sequence-kept",
    "weights_softmax holds one sequence; it holds the batch",
    "What shape does the docstring promise?",
)
def _(self, query, key, value, mask=None):
    y, weights = _attend(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights[0].detach()
    return y


@mistake(
    "SelfAttention.forward",
    "detached-output",
    "no gradient reaches the shares: y is made from detached weights",
    "What must be cut off, and what not?",
)
def _(self, query, key, value, mask=None):
    _, weights = _attend(self.q(query), self.k(key), self.v(value), mask)
    self.weights_softmax = weights.detach()
    return self.weights_softmax @ self.v(value)


@mistake(
    "SelfAttention.forward",
    "residual-added",
    "an input is added to the result; the block around does that",
    "Which block adds its input?",
)
def _(self, query, key, value, mask=None):
    return query + _keep(self, _attend(self.q(query), self.k(key), self.v(value), mask))


# --- MultiHeadAttention ---


def _several(self, heads, merge):
    nn.Module.__init__(self)
    self.heads, self.merge = heads, merge


@solution("MultiHeadAttention.__init__")
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]), _glorot(num_heads * dim_out, dim_in)
    )


@mistake(
    "MultiHeadAttention.__init__",
    "heads-in-a-list",
    "the heads are in a Python list: no optimiser sees their weights",
    "Which container of nn holds modules?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(self, [_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)], _glorot(num_heads * dim_out, dim_in))


@mistake(
    "MultiHeadAttention.__init__",
    "one-head-for-all",
    "all heads are one and the same module",
    "How many sets of weights do you make?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(self, nn.ModuleList([_Head(dim_in, dim_out, dim_out)] * num_heads), _glorot(num_heads * dim_out, dim_in))


@mistake(
    "MultiHeadAttention.__init__",
    "heads-share-the-size",
    "a head has dim_out / num_heads features; dim_out is the size of EACH head",
    "Who divides, this class or the block that makes it?",
)
def _(self, num_heads, dim_in, dim_out):
    size = dim_out // num_heads
    _several(self, nn.ModuleList([_Head(dim_in, size, size) for _ in range(num_heads)]), _glorot(num_heads * size, dim_in))


@mistake(
    "MultiHeadAttention.__init__",
    "heads-share-the-size-merge-not",
    "a head has dim_out / num_heads features; dim_out is the size of EACH head",
    "Who divides, this class or the block that makes it?",
)
def _(self, num_heads, dim_in, dim_out):
    size = dim_out // num_heads
    _several(self, nn.ModuleList([_Head(dim_in, size, size) for _ in range(num_heads)]), _glorot(dim_out, dim_in))


@mistake(
    "MultiHeadAttention.__init__",
    "merge-too-narrow",
    "the last map takes dim_out features; num_heads * dim_out come",
    "How wide are all heads side by side?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(self, nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]), _glorot(dim_out, dim_in))


@mistake(
    "MultiHeadAttention.__init__",
    "merge-to-head-size",
    "the last map leads to dim_out features; it leads back to dim_in",
    "What is the result added to, later?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]), _glorot(num_heads * dim_out, dim_out)
    )


@mistake(
    "MultiHeadAttention.__init__",
    "merge-turned-round",
    "the last map leads from dim_in; it leads back to it",
    "What goes into it?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]), _glorot(dim_in, num_heads * dim_out)
    )


@mistake("MultiHeadAttention.__init__", "merge-missing", "the last map is missing", "What mixes the heads?")
def _(self, num_heads, dim_in, dim_out):
    _several(self, nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]), None)


@mistake(
    "MultiHeadAttention.__init__",
    "merge-without-bias",
    "the last map has no bias; this course's has one",
    "What is the default of nn.Linear?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self,
        nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]),
        nn.Linear(num_heads * dim_out, dim_in, False),
    )


@mistake(
    "MultiHeadAttention.__init__",
    "values-as-wide-as-input",
    "the heads' values have dim_in features; they have dim_out",
    "In which order does SelfAttention take its sizes?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_out, dim_in) for _ in range(num_heads)]), _glorot(num_heads * dim_in, dim_in)
    )


@mistake(
    "MultiHeadAttention.__init__",
    "values-as-wide-as-input-merge-not",
    "the heads' values have dim_in features; they have dim_out",
    "In which order does SelfAttention take its sizes?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_out, dim_in) for _ in range(num_heads)]), _glorot(num_heads * dim_out, dim_in)
    )


@mistake(
    "MultiHeadAttention.__init__",
    "queries-as-wide-as-input",
    "the heads' queries and keys have dim_in features; they have dim_out",
    "In which order does SelfAttention take its sizes?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, dim_in, dim_out) for _ in range(num_heads)]), _glorot(num_heads * dim_out, dim_in)
    )


@mistake(
    "MultiHeadAttention.__init__", "single-head", "there is one head; there are num_heads", "Which argument have you not used?"
)
def _(self, num_heads, dim_in, dim_out):
    _several(self, nn.ModuleList([_Head(dim_in, dim_out, dim_out)]), _glorot(num_heads * dim_out, dim_in))


@mistake("MultiHeadAttention.__init__", "one-head-missing", "there is one head too few", "How many times does your loop run?")
def _(self, num_heads, dim_in, dim_out):
    _several(
        self,
        nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(1, num_heads)]),
        _glorot(num_heads * dim_out, dim_in),
    )


@mistake(
    "MultiHeadAttention.__init__",
    "one-wide-head",
    "one head has all the features; num_heads heads have dim_out each",
    "What can several heads look at that one cannot?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self, nn.ModuleList([_Head(dim_in, num_heads * dim_out, num_heads * dim_out)]), _glorot(num_heads * dim_out, dim_in)
    )


@mistake(
    "MultiHeadAttention.__init__",
    "default-spread",
    "the last map's first weights have nn.Linear's own spread; xavier_linear draws them otherwise",
    "Which helper makes the Linear maps of this module?",
)
def _(self, num_heads, dim_in, dim_out):
    _several(
        self,
        nn.ModuleList([_Head(dim_in, dim_out, dim_out) for _ in range(num_heads)]),
        nn.Linear(num_heads * dim_out, dim_in),
    )


solution("MultiHeadAttention.forward")(_heads)


def _all_heads(self, query, key, value, mask=None):
    return [head(query, key, value, mask) for head in self.heads]


@mistake("MultiHeadAttention.forward", "mask-ignored", "the heads do not get the mask", "What does the decoder need it for?")
def _(self, query, key, value, mask=None):
    return _heads(self, query, key, value)


@mistake(
    "MultiHeadAttention.forward",
    "mask-for-first-head",
    "only the first head gets the mask; all of them need it",
    "What does a head without mask see?",
)
def _(self, query, key, value, mask=None):
    return self.merge(torch.cat([head(query, key, value, None if i else mask) for i, head in enumerate(self.heads)], -1))


@mistake(
    "MultiHeadAttention.forward",
    "mask-inverted",
    "True in the mask means FORBIDDEN; hand the mask on as it is",
    "Who reads the mask, and how?",
)
def _(self, query, key, value, mask=None):
    return _heads(self, query, key, value, None if mask is None else ~mask)


@mistake(
    "MultiHeadAttention.forward",
    "merge-missing",
    "the heads' outputs are returned side by side; the last map is not used",
    "How many features has the result?",
)
def _(self, query, key, value, mask=None):
    return torch.cat(_all_heads(self, query, key, value, mask), -1)


@mistake(
    "MultiHeadAttention.forward",
    "heads-along-tokens",
    "the heads are joined along tokens or batch; they stand side by side along the features",
    "Which axis grows from dim_out to num_heads * dim_out?",
)
def _(self, query, key, value, mask=None):
    return self.merge(torch.cat(_all_heads(self, query, key, value, mask), 1))


@mistake(
    "MultiHeadAttention.forward",
    "heads-reversed",
    "the last head stands first",
    "In which order does the last map expect the heads?",
)
def _(self, query, key, value, mask=None):
    return self.merge(torch.cat(_all_heads(self, query, key, value, mask)[::-1], -1))


@mistake(
    "MultiHeadAttention.forward",
    "heads-interleaved",
    "feature 0 of all heads comes first, then feature 1 …; a head's features stay together",
    "What shape does stack give, and in which order does reshape read it?",
)
def _(self, query, key, value, mask=None):
    return self.merge(torch.stack(_all_heads(self, query, key, value, mask), -1).flatten(-2))


@mistake(
    "MultiHeadAttention.forward",
    "stacked-and-reshaped",
    "the heads are stacked in front and the numbers read in that order: tokens and heads are mixed up",
    "In which order does reshape read the numbers?",
)
def _(self, query, key, value, mask=None):
    stacked = torch.stack(_all_heads(self, query, key, value, mask))
    return self.merge(stacked.reshape(query.shape[0], query.shape[1], -1))


@mistake(
    "MultiHeadAttention.forward",
    "stacked-and-reshaped-in-batch",
    "the heads are stacked before the tokens and the numbers read in that order: tokens and heads are mixed up",
    "In which order does reshape read the numbers?",
)
def _(self, query, key, value, mask=None):
    stacked = torch.stack(_all_heads(self, query, key, value, mask), 1)
    return self.merge(stacked.reshape(query.shape[0], query.shape[1], -1))


@mistake(
    "MultiHeadAttention.forward",
    "heads-added",
    "the heads' outputs are added or averaged; they stand side by side",
    "What does the last map expect?",
)
def _(self, query, key, value, mask=None):
    return self.merge(sum(_all_heads(self, query, key, value, mask)))


@mistake(
    "MultiHeadAttention.forward", "first-head-for-all", "every place holds the output of head 0", "Which head do you call?"
)
def _(self, query, key, value, mask=None):
    return self.merge(torch.cat([self.heads[0](query, key, value, mask)] * len(self.heads), -1))


@mistake(
    "MultiHeadAttention.forward",
    "query-for-all",
    "the heads get the query three times; key and value are inputs of their own",
    "What is handed over in the decoder's second attention?",
)
def _(self, query, key, value, mask=None):
    return _heads(self, query, query, query, mask if query.shape == key.shape else None)


@mistake("MultiHeadAttention.forward", "key-for-value", "the heads get the key as value", "What is the third argument?")
def _(self, query, key, value, mask=None):
    return _heads(self, query, key, key, mask)


@mistake("MultiHeadAttention.forward", "value-for-key", "the heads get the value as key", "What is the second argument?")
def _(self, query, key, value, mask=None):
    return _heads(self, query, value, value, mask)


@mistake(
    "MultiHeadAttention.forward",
    "keys-and-values-exchanged",
    "key and value are exchanged",
    "In which order does a head take them?",
)
def _(self, query, key, value, mask=None):
    return _heads(self, query, value, key, mask)


@mistake(
    "MultiHeadAttention.forward",
    "heads-in-a-row",
    "each head reads the output of the one before; all read the same inputs",
    "Does a head know of the others?",
)
def _(self, query, key, value, mask=None):
    outputs = []
    for head in self.heads:
        outputs.append(head(query, key, value, mask))
        query = self.merge(torch.cat([outputs[-1]] * len(self.heads), -1))
    return self.merge(torch.cat(outputs, -1))


@mistake(
    "MultiHeadAttention.forward",
    "residual-added",
    "the query is added to the result; the block around does that",
    "Which block adds its input?",
)
def _(self, query, key, value, mask=None):
    return query + _heads(self, query, key, value, mask)


@mistake(
    "MultiHeadAttention.forward",
    "relu-added",
    "a ReLU stands at the end; the last map's output is the result",
    "Read section 3.2.2 once more.",
)
def _(self, query, key, value, mask=None):
    return _heads(self, query, key, value, mask).relu()


# --- LayerNormalization ---


def _scale_and_shift(self, epsilon, gamma, beta):
    nn.Module.__init__(self)
    self.epsilon, self.gamma, self.beta = epsilon, gamma, beta


@solution("LayerNormalization.__init__")
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.full((emb_dim,), 1.0)), nn.Parameter(torch.full((emb_dim,), 0.0)))


@mistake(
    "LayerNormalization.__init__",
    "scale-of-zeros",
    "the scale begins at 0: everything becomes the shift",
    "What is 0 times the normalised row?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.zeros(emb_dim)), nn.Parameter(torch.zeros(emb_dim)))


@mistake(
    "LayerNormalization.__init__",
    "shift-of-ones",
    "the shift begins at 1; it begins at 0, so that it changes nothing",
    "Which number changes nothing when added?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.ones(emb_dim)), nn.Parameter(torch.ones(emb_dim)))


@mistake(
    "LayerNormalization.__init__",
    "scale-and-shift-exchanged",
    "the scale begins at 0 and the shift at 1; it is the other way round",
    "Which number changes nothing when multiplied, which when added?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.zeros(emb_dim)), nn.Parameter(torch.ones(emb_dim)))


@mistake(
    "LayerNormalization.__init__",
    "plain-tensors",
    "scale and shift are plain tensors: no optimiser sees them",
    "What must a tensor be so that a module lists it?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, torch.ones(emb_dim), torch.zeros(emb_dim))


@mistake(
    "LayerNormalization.__init__",
    "one-number-each",
    "scale and shift are one number each; every feature has its own",
    "How many features has a token?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.ones(1)), nn.Parameter(torch.zeros(1)))


@mistake(
    "LayerNormalization.__init__",
    "random-scale",
    "scale and shift begin at random; they begin at 1 and 0",
    "With which numbers do they change nothing?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.randn(emb_dim)), nn.Parameter(torch.randn(emb_dim)))


@mistake(
    "LayerNormalization.__init__", "shift-missing", "there is no shift to learn", "Which two things follow the normalisation?"
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.ones(emb_dim)), 0.0)


@mistake(
    "LayerNormalization.__init__", "scale-missing", "there is no scale to learn", "Which two things follow the normalisation?"
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, 1.0, nn.Parameter(torch.zeros(emb_dim)))


@mistake(
    "LayerNormalization.__init__",
    "nothing-learnt",
    "scale and shift do not learn (requires_grad=False)",
    "What is the default of nn.Parameter?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.ones(emb_dim), False), nn.Parameter(torch.zeros(emb_dim), False))


@mistake(
    "LayerNormalization.__init__",
    "matrices",
    "scale and shift are square; they are one number a feature",
    "Are features mixed here?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.ones(emb_dim, emb_dim)), nn.Parameter(torch.zeros(emb_dim, emb_dim)))


@mistake(
    "LayerNormalization.__init__",
    "empty-parameters",
    "scale and shift hold whatever lies in memory (torch.empty); they begin at 1 and 0",
    "With which numbers do they change nothing?",
)
def _(self, emb_dim, epsilon=1e-10):
    _scale_and_shift(self, epsilon, nn.Parameter(torch.rand(emb_dim)), nn.Parameter(torch.rand(emb_dim)))


solution("LayerNormalization.forward")(_norm)


def _normed(self, x, mean, root):
    return (x - mean) / root * self.gamma + self.beta


def _moments(x, axis=-1, correction=0):
    return x.mean(axis, keepdim=True), x.var(axis, keepdim=True, correction=correction)


@mistake(
    "LayerNormalization.forward",
    "variance-by-m-minus-one",
    "the variance is divided by M - 1; this course divides by M",
    "What is the default of torch.std and torch.var?",
)
def _(self, x):
    mean, variance = _moments(x, correction=1)
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "std-plus-epsilon",
    "epsilon is added to the standard deviation; it is added to the variance, under the root",
    "Inside or outside the root?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, variance.sqrt() + self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "unbiased-std-plus-epsilon",
    "torch.std divides by M - 1, and epsilon belongs to the variance, under the root",
    "What is the default of torch.std, and where does epsilon stand in Eq. 3?",
)
def _(self, x):
    mean, variance = _moments(x, correction=1)
    return _normed(self, x, mean, variance.sqrt() + self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "no-epsilon",
    "epsilon is not used: a row of equal numbers gives NaN",
    "What is the variance of such a row?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, variance.sqrt())


@mistake(
    "LayerNormalization.forward",
    "own-epsilon",
    "epsilon is a number of your own; it is self.epsilon",
    "Where is the argument kept?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, (variance + 1e-10).sqrt())


@mistake(
    "LayerNormalization.forward",
    "torch-epsilon",
    "epsilon is 1e-5, PyTorch's own; it is self.epsilon",
    "What does the docstring say of 1e-5?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, (variance + 1e-5).sqrt())


@mistake(
    "LayerNormalization.forward",
    "no-root",
    "you divide by the variance; divide by its root",
    "What is the variance of your result?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, variance + self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "mean-not-subtracted",
    "the mean is not subtracted",
    "What is the mean of your result before scale and shift?",
)
def _(self, x):
    _, variance = _moments(x)
    return _normed(self, x, 0, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "variance-missing",
    "only the mean is taken away; divide by the root of the variance as well",
    "What is the variance of your result?",
)
def _(self, x):
    return _normed(self, x, x.mean(-1, keepdim=True), 1)


@mistake(
    "LayerNormalization.forward",
    "mean-of-squares",
    "you divide by the root of the mean square of x; the variance is that of x minus its mean",
    "From which tensor is the variance taken?",
)
def _(self, x):
    return _normed(self, x, x.mean(-1, keepdim=True), (x.square().mean(-1, keepdim=True) + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "over-batch",
    "mean and variance are taken over the first axis; every token is normalised alone, over its features",
    "Which axis holds the features?",
)
def _(self, x):
    mean, variance = _moments(x, 0)
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "over-tokens",
    "mean and variance are taken over the second last axis; every token is normalised alone",
    "Which axis holds the features?",
)
def _(self, x):
    mean, variance = _moments(x, -2)
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "over-axis-one",
    "mean and variance are taken over axis 1; the features are the LAST axis, however many there are",
    "Which axis holds the features of a tensor with three axes?",
)
def _(self, x):
    mean, variance = _moments(x, 1)
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "over-everything",
    "one mean and variance for the whole tensor; every token has its own",
    "How many means are there?",
)
def _(self, x):
    return _normed(self, x, x.mean(), (x.var(correction=0) + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "over-tokens-and-features",
    "mean and variance run over all tokens of a sequence; every token has its own",
    "How many means are there?",
)
def _(self, x):
    axes = tuple(range(1, x.dim())) if x.dim() > 1 else (-1,)
    mean, variance = _moments(x, axes)
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "scale-missing",
    "the result is not multiplied by the scale",
    "Which two learnt things come last?",
)
def _(self, x):
    return F.layer_norm(x, x.shape[-1:], None, self.beta, self.epsilon)


@mistake("LayerNormalization.forward", "shift-missing", "the shift is not added", "Which two learnt things come last?")
def _(self, x):
    return F.layer_norm(x, x.shape[-1:], self.gamma, None, self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "nothing-learnt-used",
    "neither scale nor shift is used",
    "Which two learnt things come last?",
)
def _(self, x):
    return F.layer_norm(x, x.shape[-1:], None, None, self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "shift-before-scale",
    "the shift is added before the scale is multiplied; first the scale, then the shift",
    "Is the shift scaled?",
)
def _(self, x):
    return (F.layer_norm(x, x.shape[-1:], None, None, self.epsilon) + self.beta) * self.gamma


@mistake(
    "LayerNormalization.forward", "scale-and-shift-exchanged", "scale and shift are exchanged", "Which of them began as ones?"
)
def _(self, x):
    return F.layer_norm(x, x.shape[-1:], self.beta, self.gamma, self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "statistics-detached",
    "mean and variance are cut off from the graph: their part of the gradient is missing",
    "Do mean and variance depend on x?",
)
def _(self, x):
    mean, variance = _moments(x.detach())
    return _normed(self, x, mean, (variance + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "variance-detached",
    "the variance is cut off from the graph: its part of the gradient is missing",
    "Does the variance depend on x?",
)
def _(self, x):
    mean, variance = _moments(x)
    return _normed(self, x, mean, (variance.detach() + self.epsilon).sqrt())


@mistake(
    "LayerNormalization.forward",
    "mean-deviation",
    "you divide by the mean distance from the mean; divide by the root of the mean square of it",
    "What is the variance?",
)
def _(self, x):
    mean = x.mean(-1, keepdim=True)
    return _normed(self, x, mean, (x - mean).abs().mean(-1, keepdim=True) + self.epsilon)


@mistake(
    "LayerNormalization.forward",
    "sum-of-squares",
    "the squares are summed and not averaged: divide by M",
    "By what is the sum of squares divided?",
)
def _(self, x):
    mean = x.mean(-1, keepdim=True)
    return _normed(self, x, mean, ((x - mean).square().sum(-1, keepdim=True) + self.epsilon).sqrt())


# --- FeedForwardBlock ---


def _two_maps(self, expand, contract):
    nn.Module.__init__(self)
    self.expand, self.contract = expand, contract


@solution("FeedForwardBlock.__init__")
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), _glorot(hidden_dim_feedforward, inp_dim))


@mistake(
    "FeedForwardBlock.__init__",
    "ends-at-hidden-size",
    "the second map leads to the hidden size; it leads back to inp_dim",
    "What is the block's output added to?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), _glorot(hidden_dim_feedforward, hidden_dim_feedforward))


@mistake(
    "FeedForwardBlock.__init__",
    "hidden-size-not-used",
    "both maps lead from inp_dim to inp_dim; in between there are hidden_dim_feedforward features",
    "Which argument have you not used?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, inp_dim), _glorot(inp_dim, inp_dim))


@mistake(
    "FeedForwardBlock.__init__",
    "sizes-exchanged",
    "inp_dim and hidden size are exchanged: the first map takes inp_dim features",
    "What goes into a Linear, what comes out?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(hidden_dim_feedforward, inp_dim), _glorot(inp_dim, hidden_dim_feedforward))


@mistake("FeedForwardBlock.__init__", "one-map", "there is one map; there are two", "What stands on both sides of the ReLU?")
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), None)


@mistake(
    "FeedForwardBlock.__init__",
    "twice-the-same-map",
    "both maps lead from inp_dim to the hidden size; the second leads back",
    "What goes into the second map?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), _glorot(inp_dim, hidden_dim_feedforward))


@mistake("FeedForwardBlock.__init__", "third-map", "there are three maps with weights; there are two", "Read Eq. 2 once more.")
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), _glorot(hidden_dim_feedforward, inp_dim))
    self.middle = _glorot(hidden_dim_feedforward, hidden_dim_feedforward)


@mistake(
    "FeedForwardBlock.__init__",
    "no-bias",
    "the maps have no bias; this course's have one",
    "What is the default of nn.Linear?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, nn.Linear(inp_dim, hidden_dim_feedforward, False), nn.Linear(hidden_dim_feedforward, inp_dim, False))


@mistake(
    "FeedForwardBlock.__init__",
    "no-second-bias",
    "the second map has no bias; this course's has one",
    "What is the default of nn.Linear?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), nn.Linear(hidden_dim_feedforward, inp_dim, False))


@mistake(
    "FeedForwardBlock.__init__",
    "default-spread",
    "the first weights have nn.Linear's own spread; this course draws them with xavier_linear",
    "Which helper makes the Linear maps of this module?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, nn.Linear(inp_dim, hidden_dim_feedforward), nn.Linear(hidden_dim_feedforward, inp_dim))


@mistake(
    "FeedForwardBlock.__init__",
    "default-spread-of-second",
    "the second map's first weights have nn.Linear's own spread; xavier_linear draws them otherwise",
    "Which helper makes the Linear maps of this module?",
)
def _(self, inp_dim, hidden_dim_feedforward):
    _two_maps(self, _glorot(inp_dim, hidden_dim_feedforward), nn.Linear(hidden_dim_feedforward, inp_dim))


solution("FeedForwardBlock.forward")(_feed)


@mistake(
    "FeedForwardBlock.forward",
    "no-relu",
    "the ReLU is missing: two Linear maps in a row are one",
    "What lies between the maps in Eq. 2?",
)
def _(self, x):
    return self.contract(self.expand(x))


@mistake(
    "FeedForwardBlock.forward",
    "relu-at-the-end",
    "the ReLU stands after the second map; it stands between the two",
    "What lies between the maps in Eq. 2?",
)
def _(self, x):
    return self.contract(self.expand(x)).relu()


@mistake(
    "FeedForwardBlock.forward",
    "relu-twice",
    "there is a ReLU after the second map as well",
    "Can your result be negative? Should it?",
)
def _(self, x):
    return self.contract(self.expand(x).relu()).relu()


@mistake(
    "FeedForwardBlock.forward",
    "relu-first",
    "the ReLU stands before the first map; it stands between the two",
    "What lies between the maps in Eq. 2?",
)
def _(self, x):
    return self.contract(self.expand(x.relu()))


@mistake(
    "FeedForwardBlock.forward",
    "relu-on-input-too",
    "there is a ReLU before the first map as well",
    "How many does Eq. 2 have?",
)
def _(self, x):
    return self.contract(self.expand(x.relu()).relu())


@mistake(
    "FeedForwardBlock.forward",
    "residual-added",
    "x is added to the result; the block around does that",
    "Which block adds its input?",
)
def _(self, x):
    return x + _feed(self, x)


@mistake("FeedForwardBlock.forward", "gelu", "GELU stands in the place of ReLU", "Read Eq. 2 once more.")
def _(self, x):
    return self.contract(F.gelu(self.expand(x)))


@mistake("FeedForwardBlock.forward", "tanh", "tanh stands in the place of ReLU", "Read Eq. 2 once more.")
def _(self, x):
    return self.contract(self.expand(x).tanh())


@mistake("FeedForwardBlock.forward", "sigmoid", "a sigmoid stands in the place of ReLU", "Read Eq. 2 once more.")
def _(self, x):
    return self.contract(self.expand(x).sigmoid())


@mistake(
    "FeedForwardBlock.forward", "leaky-relu", "negative numbers are made small; ReLU makes them 0", "What does ReLU do to -1?"
)
def _(self, x):
    return self.contract(F.leaky_relu(self.expand(x)))


@mistake("FeedForwardBlock.forward", "elu", "negative numbers are bent; ReLU makes them 0", "What does ReLU do to -1?")
def _(self, x):
    return self.contract(F.elu(self.expand(x)))


@mistake("FeedForwardBlock.forward", "softmax", "a softmax stands in the place of ReLU", "Read Eq. 2 once more.")
def _(self, x):
    return self.contract(self.expand(x).softmax(-1))


@mistake("FeedForwardBlock.forward", "first-map-only", "the second map is not used", "How many features has the result?")
def _(self, x):
    return self.expand(x).relu()


@mistake(
    "FeedForwardBlock.forward", "maps-exchanged", "the second map is used first", "Which of the two takes inp_dim features?"
)
def _(self, x):
    return self.expand(self.contract(x).relu())


@mistake(
    "FeedForwardBlock.forward",
    "dropout-inside",
    "dropout stands inside; this course drops only after the normalisations",
    "Which class owns the dropout?",
)
def _(self, x):
    return self.contract(F.dropout(self.expand(x).relu(), 0.1, self.training))


@mistake(
    "FeedForwardBlock.forward",
    "bias-missing",
    "a bias is left out",
    "What does calling a Linear do beyond the product with its weight?",
)
def _(self, x):
    return (x @ self.expand.weight.mT).relu() @ self.contract.weight.mT


@mistake(
    "FeedForwardBlock.forward",
    "detached",
    "the hidden features are cut off from the graph",
    "What do detach and .data do to the first map's gradient?",
)
def _(self, x):
    return self.contract(self.expand(x).relu().detach())


# --- EncoderBlock ---


@solution("EncoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _encoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)


@solution("DecoderBlock.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)


def _of_blocks(name, says, hint):
    """Decorator: a mistake in both blocks; the function gets what makes the parts, and returns changes of it."""

    def keep(function):
        for kind, parts in (("EncoderBlock", _encoder_parts), ("DecoderBlock", _decoder_parts)):

            def wrong(self, num_heads, emb_dim, feedforward_dim, dropout, parts=parts):
                nn.Module.__init__(self)
                function(self, parts, num_heads, emb_dim, feedforward_dim, dropout)

            mistake(f"{kind}.__init__", name, says, hint)(wrong)
        return function

    return keep


@_of_blocks("head-as-wide-as-token", "each head has emb_dim features; all heads together have", "By what is emb_dim divided?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, head_size=emb_dim)


@_of_blocks(
    "head-as-wide-as-count",
    "each head has num_heads features; it has emb_dim / num_heads",
    "In which order does MultiHeadAttention take its sizes?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, head_size=num_heads)


@_of_blocks(
    "head-of-feedforward-size",
    "the heads are made with the feed-forward size; theirs is emb_dim / num_heads",
    "In which order does MultiHeadAttention take its sizes?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, head_size=feedforward_dim)


@_of_blocks(
    "heads-and-size-exchanged",
    "there are emb_dim / num_heads heads; there are num_heads",
    "In which order does MultiHeadAttention take its sizes?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, emb_dim // num_heads, emb_dim, feedforward_dim, dropout, head_size=num_heads)


@_of_blocks("one-head", "there is one head; there are num_heads", "Which argument have you not used?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, 1, emb_dim, feedforward_dim, dropout, head_size=emb_dim // num_heads)


@_of_blocks("one-wide-head", "there is one head with all features; there are num_heads", "Which argument have you not used?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, 1, emb_dim, feedforward_dim, dropout)


@_of_blocks(
    "feed-forward-sizes-exchanged",
    "the feed-forward block takes feedforward_dim features in; it takes emb_dim",
    "Which size has a token?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, feed=lambda a, b: _Feed(b, a))


@_of_blocks(
    "feed-forward-as-wide-as-token",
    "the feed-forward block has emb_dim hidden features; it has feedforward_dim",
    "Which argument have you not used?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, emb_dim, dropout)


@_of_blocks("feed-forward-missing", "there is no feed-forward block", "Which two things does a block do?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, feed=lambda a, b: None)


@_of_blocks(
    "feed-forward-of-one-map",
    "the feed-forward block is one Linear map; it has two, with feedforward_dim features in between",
    "Which class have you written for this?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, feed=lambda a, b: _glorot(a, a))


@_of_blocks(
    "norm-missing-or-shared",
    "a normalisation is missing, or two are one and the same module; each has scale and shift of its own",
    "How many sets of weights do you make?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    delattr(self, "norm3" if hasattr(self, "norm3") else "norm2")


@_of_blocks("further-norm", "there is one normalisation too many", "How many additions are there, and what follows each?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.norm4 = _Norm(emb_dim)


@_of_blocks(
    "epsilon-of-torch",
    "the normalisations have an epsilon of 1e-5, as nn.LayerNorm has; this course uses LayerNormalization with its own",
    "Which class have you written for this, and which epsilon does it have by itself?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout, norm=nn.LayerNorm)


@_of_blocks(
    "norm-of-feedforward-size",
    "the last normalisation has feedforward_dim features; its input has emb_dim",
    "Which size has the output of the feed-forward block?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    setattr(self, "norm3" if hasattr(self, "norm3") else "norm2", _Norm(feedforward_dim))


@_of_blocks(
    "dropout-fixed",
    "the dropout's rate is a number of your own (0.1); it is the argument",
    "Which argument have you not used?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, 0.1)


@_of_blocks(
    "dropout-default", "the dropout has PyTorch's own rate of 0.5; it is the argument", "Which argument have you not used?"
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, 0.5)


@_of_blocks(
    "dropout-keeps",
    "the rate is the share that is KEPT; nn.Dropout wants the share that is dropped",
    "What does nn.Dropout(0.1) do?",
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, 1 - dropout)


@_of_blocks("dropout-missing", "there is no nn.Dropout", "What follows each normalisation in train mode?")
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.dropout = nn.Identity()


@_of_blocks(
    "further-feed-forward", "there is a second feed-forward block, which is never used", "How many does the docstring name?"
)
def _(self, parts, num_heads, emb_dim, feedforward_dim, dropout):
    parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.more = _Feed(emb_dim, feedforward_dim)


@mistake(
    "EncoderBlock.__init__",
    "other-name",
    "the attention is not found under MultiHeadBlock, where the notebook looks for it",
    "Which name does the hint give?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _encoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.attention = self.MultiHeadBlock
    del self.MultiHeadBlock


@mistake(
    "EncoderBlock.__init__",
    "single-attention",
    "MultiHeadBlock is a single SelfAttention; it is a MultiHeadAttention",
    "Which class holds the heads?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _encoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.MultiHeadBlock = _Head(emb_dim, emb_dim, emb_dim)


@mistake(
    "DecoderBlock.__init__",
    "shared-attention",
    "both attentions are one and the same module; each has weights of its own",
    "How many sets of weights do you make?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.attention_cross = self.attention_self


@mistake(
    "DecoderBlock.__init__",
    "cross-attention-missing",
    "attention_cross is not there",
    "Which part reads the encoder's output?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    del self.attention_cross


@mistake(
    "DecoderBlock.__init__",
    "single-attention-cross",
    "attention_cross is a single SelfAttention; it is a MultiHeadAttention",
    "Which class holds the heads?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.attention_cross = _Head(emb_dim, emb_dim, emb_dim)


@mistake(
    "DecoderBlock.__init__",
    "cross-attention-wide",
    "the heads of attention_cross have emb_dim features each; all of them together have",
    "By what is emb_dim divided?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout)
    self.attention_cross = _Heads(num_heads, emb_dim, emb_dim)


@mistake(
    "DecoderBlock.__init__",
    "one-norm-for-all",
    "all normalisations are one and the same module; each has scale and shift of its own",
    "How many sets of weights do you make?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout):
    nn.Module.__init__(self)
    norm = _Norm(emb_dim)
    _decoder_parts(self, num_heads, emb_dim, feedforward_dim, dropout, norm=lambda size: norm)


solution("EncoderBlock.forward")(_encode)


@mistake(
    "EncoderBlock.forward",
    "first-residual-missing",
    "x is not added to the result of the attention",
    "What is added before the first normalisation?",
)
def _(self, x):
    a = self.dropout(self.norm1(self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm2(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "second-residual-missing",
    "nothing is added to the result of the feed-forward block",
    "What is added before the second normalisation?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm2(self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "no-residuals",
    "neither attention nor feed-forward block is added to its input",
    "What is added before each normalisation?",
)
def _(self, x):
    a = self.dropout(self.norm1(self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm2(self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "second-residual-from-x",
    "the second half adds x; it adds the first half's result",
    "From which tensor does the second addition start?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm2(x + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "feed-forward-reads-x",
    "the feed-forward block reads x; it reads the first half's result",
    "What goes into the feed-forward block?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm2(a + self.feed_forward(x)))


@mistake(
    "EncoderBlock.forward",
    "norm-first",
    "the normalisations stand before attention and feed-forward block; this course normalises after the addition",
    "Which of both orders has figure 1 of the paper?",
)
def _(self, x):
    n = self.norm1(x)
    a = x + self.dropout(self.MultiHeadBlock(n, n, n))
    return a + self.dropout(self.feed_forward(self.norm2(a)))


@mistake(
    "EncoderBlock.forward",
    "norm-before-addition",
    "the attention alone is normalised; normalise the sum",
    "Add first, or normalise first?",
)
def _(self, x):
    a = self.dropout(x + self.norm1(self.MultiHeadBlock(x, x, x)))
    return self.dropout(a + self.norm2(self.feed_forward(a)))


@mistake("EncoderBlock.forward", "norms-missing", "nothing is normalised", "What follows each addition?")
def _(self, x):
    a = self.dropout(x + self.MultiHeadBlock(x, x, x))
    return self.dropout(a + self.feed_forward(a))


@mistake("EncoderBlock.forward", "first-norm-missing", "the first sum is not normalised", "What follows each addition?")
def _(self, x):
    a = self.dropout(x + self.MultiHeadBlock(x, x, x))
    return self.dropout(self.norm2(a + self.feed_forward(a)))


@mistake("EncoderBlock.forward", "second-norm-missing", "the second sum is not normalised", "What follows each addition?")
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(a + self.feed_forward(a))


@mistake(
    "EncoderBlock.forward",
    "first-norm-twice",
    "the first normalisation is used twice; the second half has its own",
    "Which norm have you not used?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm1(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward", "norms-exchanged", "the second normalisation is used first", "Which one follows the attention?"
)
def _(self, x):
    a = self.dropout(self.norm2(x + self.MultiHeadBlock(x, x, x)))
    return self.dropout(self.norm1(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "dropout-before-addition",
    "dropout stands before the additions, as in the paper; this course drops after the normalisations",
    "What does the docstring say of the place of dropout?",
)
def _(self, x):
    a = self.norm1(x + self.dropout(self.MultiHeadBlock(x, x, x)))
    return self.norm2(a + self.dropout(self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "dropout-before-norm",
    "dropout stands before the normalisations; this course drops after them",
    "What does the docstring say of the place of dropout?",
)
def _(self, x):
    a = self.norm1(self.dropout(x + self.MultiHeadBlock(x, x, x)))
    return self.norm2(self.dropout(a + self.feed_forward(a)))


@mistake("EncoderBlock.forward", "no-dropout", "dropout is not used", "What follows each normalisation?")
def _(self, x):
    a = self.norm1(x + self.MultiHeadBlock(x, x, x))
    return self.norm2(a + self.feed_forward(a))


@mistake(
    "EncoderBlock.forward",
    "second-dropout-missing",
    "dropout is missing after the second normalisation",
    "What follows each normalisation?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return self.norm2(a + self.feed_forward(a))


@mistake(
    "EncoderBlock.forward",
    "first-dropout-missing",
    "dropout is missing after the first normalisation",
    "What follows each normalisation?",
)
def _(self, x):
    a = self.norm1(x + self.MultiHeadBlock(x, x, x))
    return self.dropout(self.norm2(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "undropped-residual",
    "the second addition starts from the tensor before dropout; it starts from the dropped one",
    "From which tensor does the next residual start?",
)
def _(self, x):
    a = self.norm1(x + self.MultiHeadBlock(x, x, x))
    return self.dropout(self.norm2(a + self.feed_forward(self.dropout(a))))


@mistake(
    "EncoderBlock.forward",
    "further-dropout",
    "there is dropout on the input as well",
    "How many dropouts are there, and what do they follow?",
)
def _(self, x):
    return _encode(self, self.dropout(x))


@mistake(
    "EncoderBlock.forward", "dropout-in-eval", "dropout is at work in eval mode too", "How does F.dropout know of the mode?"
)
def _(self, x):
    def drop(a):
        return F.dropout(a, self.dropout.p)

    a = drop(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return drop(self.norm2(a + self.feed_forward(a)))


@mistake("EncoderBlock.forward", "feed-forward-missing", "the feed-forward block is not used", "What does the second half do?")
def _(self, x):
    return self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))


@mistake("EncoderBlock.forward", "attention-missing", "the attention is not used", "What does the first half do?")
def _(self, x):
    a = self.dropout(self.norm1(x))
    return self.dropout(self.norm2(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "feed-forward-first",
    "the feed-forward block comes first; the attention does",
    "Which half comes first?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.feed_forward(x)))
    return self.dropout(self.norm2(a + self.MultiHeadBlock(a, a, a)))


@mistake(
    "EncoderBlock.forward",
    "first-half-returned",
    "the result of the attention is added once more at the end",
    "What follows the second normalisation?",
)
def _(self, x):
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x)))
    return a + self.dropout(self.norm2(a + self.feed_forward(a)))


@mistake(
    "EncoderBlock.forward",
    "causal",
    "later tokens are hidden; in the encoder every token sees all",
    "Which block needs the causal mask?",
)
def _(self, x):
    mask = torch.ones(x.shape[0], x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    a = self.dropout(self.norm1(x + self.MultiHeadBlock(x, x, x, mask)))
    return self.dropout(self.norm2(a + self.feed_forward(a)))


# --- get_subsequent_mask ---


@solution("get_subsequent_mask")
def get_subsequent_mask(seq):
    place = torch.arange(seq.shape[1], device=seq.device)
    return (place > place[:, None]).repeat(seq.shape[0], 1, 1)


def _square(seq):
    return torch.ones(seq.shape[0], seq.shape[1], seq.shape[1], dtype=torch.bool, device=seq.device)


@mistake(
    "get_subsequent_mask",
    "earlier-forbidden",
    "the past is forbidden; the tokens AFTER the query are",
    "On which side of the diagonal do later keys lie?",
)
def _(seq):
    return _square(seq).tril(-1)


@mistake(
    "get_subsequent_mask",
    "allowed-marked",
    "True marks what is allowed; in this course it marks what is forbidden",
    "What does True mean in the attention function?",
)
def _(seq):
    return _square(seq).tril()


@mistake(
    "get_subsequent_mask",
    "self-forbidden",
    "a token may look at itself: the diagonal is allowed",
    "What could the first token look at?",
)
def _(seq):
    return _square(seq).triu()


@mistake(
    "get_subsequent_mask",
    "next-allowed",
    "the next token is allowed as well: the diagonal is one place off",
    "May token 0 look at token 1?",
)
def _(seq):
    return _square(seq).triu(2)


@mistake("get_subsequent_mask", "nothing-forbidden", "nothing is forbidden", "Which places are above the diagonal?")
def _(seq):
    return ~_square(seq)


@mistake(
    "get_subsequent_mask",
    "all-others-forbidden",
    "all tokens but the query itself are forbidden; earlier ones are allowed",
    "Which keys lie before the query?",
)
def _(seq):
    return ~torch.eye(seq.shape[1], dtype=torch.bool, device=seq.device).repeat(seq.shape[0], 1, 1)


@mistake("get_subsequent_mask", "floats", "the mask holds floats; it is bool", "Which dtype does the attention function want?")
def _(seq):
    return get_subsequent_mask(seq).float()


@mistake(
    "get_subsequent_mask", "integers", "the mask holds int64; it is bool", "Which dtype does the attention function want?"
)
def _(seq):
    return get_subsequent_mask(seq).long()


@mistake(
    "get_subsequent_mask",
    "small-integers",
    "the mask holds uint8; it is bool",
    "Which dtype does the attention function want?",
)
def _(seq):
    return get_subsequent_mask(seq).byte()


@mistake("get_subsequent_mask", "int32", "the mask holds int32; it is bool", "Which dtype does the attention function want?")
def _(seq):
    return get_subsequent_mask(seq).int()


@mistake(
    "get_subsequent_mask",
    "dtype-of-seq",
    "the mask has seq's dtype; it is bool",
    "Which dtype does the attention function want?",
)
def _(seq):
    return get_subsequent_mask(seq).to(seq.dtype)


@mistake(
    "get_subsequent_mask",
    "additive",
    "forbidden places hold minus infinity; this course wants True there",
    "Who turns the mask into scores?",
)
def _(seq):
    mask = get_subsequent_mask(seq)
    return torch.zeros(mask.shape, device=seq.device).masked_fill(mask, -torch.inf)


@mistake(
    "get_subsequent_mask",
    "batch-missing",
    "the mask has two axes; every sequence of the batch has one",
    "What shape does the docstring promise?",
)
def _(seq):
    return get_subsequent_mask(seq)[0]


@mistake(
    "get_subsequent_mask",
    "batch-of-one",
    "the mask's batch is 1; every sequence has one",
    "What shape does the docstring promise?",
)
def _(seq):
    return get_subsequent_mask(seq)[:1]


@mistake(
    "get_subsequent_mask",
    "from-batch-size",
    "the square has the size of the batch; it has that of the sequence",
    "Which axis of seq counts the tokens?",
)
def _(seq):
    return get_subsequent_mask(seq.mT)


@mistake(
    "get_subsequent_mask",
    "batch-last",
    "the batch is the last axis; it is the first",
    "What shape does the docstring promise?",
)
def _(seq):
    return get_subsequent_mask(seq).permute(1, 2, 0)


@mistake(
    "get_subsequent_mask",
    "rectangle",
    "the mask is (N, K); every query needs a row of its own",
    "What shape does the docstring promise?",
)
def _(seq):
    return torch.ones(seq.shape, dtype=torch.bool, device=seq.device).triu(1)


# --- DecoderBlock.forward ---

solution("DecoderBlock.forward")(_decode)


def _steps(self, dec_inp, enc_inp, mask, first=None, second=None, third=None):
    """The decoder block with one of its three steps replaced."""
    x = (first or (lambda d: self.dropout(self.norm1(d + self.attention_self(d, d, d, mask)))))(dec_inp)
    x = (second or (lambda a: self.dropout(self.norm2(a + self.attention_cross(a, enc_inp, enc_inp)))))(x)
    return (third or (lambda b: self.dropout(self.norm3(b + self.feed_forward(b)))))(x)


@mistake(
    "DecoderBlock.forward",
    "mask-ignored",
    "the mask is not handed to the self-attention",
    "What could token 0 read without it?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _decode(self, dec_inp, enc_inp)


@mistake(
    "DecoderBlock.forward",
    "mask-in-cross-attention",
    "the mask is handed to both attentions; it is for the self-attention only",
    "Has the question any tokens that must be hidden?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self,
        dec_inp,
        enc_inp,
        mask,
        second=lambda a: self.dropout(self.norm2(a + self.attention_cross(a, enc_inp, enc_inp, mask))),
    )


@mistake(
    "DecoderBlock.forward",
    "mask-in-cross-attention-only",
    "the mask is handed to the wrong attention",
    "Which of the two looks at the answer?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self,
        dec_inp,
        enc_inp,
        None,
        second=lambda a: self.dropout(self.norm2(a + self.attention_cross(a, enc_inp, enc_inp, mask))),
    )


@mistake(
    "DecoderBlock.forward",
    "mask-inverted",
    "True in the mask means FORBIDDEN; hand the mask on as it is",
    "Who reads the mask, and how?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _decode(self, dec_inp, enc_inp, None if mask is None else ~mask)


@mistake(
    "DecoderBlock.forward",
    "own-mask",
    "you make a causal mask yourself; the mask is an argument",
    "What if no mask is handed over?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _decode(self, dec_inp, enc_inp, get_subsequent_mask(dec_inp[..., 0]))


@mistake(
    "DecoderBlock.forward",
    "encoder-asks",
    "in the cross-attention the encoder asks and the decoder is asked; it is the other way round",
    "How many rows has the result?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(a + self.attention_cross(enc_inp, a, a)))
    )


@mistake(
    "DecoderBlock.forward",
    "encoder-not-used",
    "the second attention looks at the decoder's own tokens; it looks at the encoder's output",
    "Where does enc_inp enter?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(a + self.attention_cross(a, a, a))))


@mistake(
    "DecoderBlock.forward",
    "values-from-decoder",
    "the values of the cross-attention are the decoder's tokens; they are the encoder's output",
    "Keys and values come from one sequence: which?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(a + self.attention_cross(a, enc_inp, a)))
    )


@mistake(
    "DecoderBlock.forward",
    "keys-from-decoder",
    "the keys of the cross-attention are the decoder's tokens; they are the encoder's output",
    "Keys and values come from one sequence: which?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(a + self.attention_cross(a, a, enc_inp)))
    )


@mistake(
    "DecoderBlock.forward",
    "cross-asks-with-input",
    "the cross-attention asks with dec_inp; it asks with the first part's result",
    "Which tensor does the second part start from?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self,
        dec_inp,
        enc_inp,
        mask,
        second=lambda a: self.dropout(self.norm2(a + self.attention_cross(dec_inp, enc_inp, enc_inp))),
    )


@mistake("DecoderBlock.forward", "cross-attention-missing", "the cross-attention is left out", "Where does enc_inp enter?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, second=lambda a: a)


@mistake("DecoderBlock.forward", "self-attention-missing", "the self-attention is left out", "Where does the mask enter?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, first=lambda d: d)


@mistake("DecoderBlock.forward", "feed-forward-missing", "the feed-forward block is left out", "What is the third part?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: b)


@mistake(
    "DecoderBlock.forward",
    "attentions-exchanged",
    "attention_cross and attention_self are exchanged",
    "Which of them reads the encoder's output?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_cross(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm2(x + self.attention_self(x, enc_inp, enc_inp)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@mistake(
    "DecoderBlock.forward",
    "self-attention-twice",
    "the second attention uses attention_self's weights",
    "Which module have you not used?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(a + self.attention_self(a, enc_inp, enc_inp)))
    )


@mistake(
    "DecoderBlock.forward",
    "cross-attention-first",
    "the cross-attention comes first; the self-attention does",
    "Which part comes first in figure 1?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm1(dec_inp + self.attention_cross(dec_inp, enc_inp, enc_inp)))
    x = self.dropout(self.norm2(x + self.attention_self(x, x, x, mask)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@mistake(
    "DecoderBlock.forward",
    "first-residual-missing",
    "dec_inp is not added to the result of the self-attention",
    "What is added before each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, first=lambda d: self.dropout(self.norm1(self.attention_self(d, d, d, mask))))


@mistake(
    "DecoderBlock.forward",
    "second-residual-missing",
    "nothing is added to the result of the cross-attention",
    "What is added before each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(self.norm2(self.attention_cross(a, enc_inp, enc_inp)))
    )


@mistake(
    "DecoderBlock.forward",
    "third-residual-missing",
    "nothing is added to the result of the feed-forward block",
    "What is added before each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: self.dropout(self.norm3(self.feed_forward(b))))


@mistake(
    "DecoderBlock.forward",
    "second-residual-from-input",
    "the second part adds dec_inp; it adds the first part's result",
    "Which tensor does the second part start from?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self,
        dec_inp,
        enc_inp,
        mask,
        second=lambda a: self.dropout(self.norm2(dec_inp + self.attention_cross(a, enc_inp, enc_inp))),
    )


@mistake(
    "DecoderBlock.forward",
    "third-residual-from-input",
    "the third part adds dec_inp; it adds the second part's result",
    "Which tensor does the third part start from?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: self.dropout(self.norm3(dec_inp + self.feed_forward(b))))


@mistake(
    "DecoderBlock.forward",
    "third-residual-from-first",
    "the third part adds the first part's result; it adds the second's",
    "Which tensor does the third part start from?",
)
def _(self, dec_inp, enc_inp, mask=None):
    a = self.dropout(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    b = self.dropout(self.norm2(a + self.attention_cross(a, enc_inp, enc_inp)))
    return self.dropout(self.norm3(a + self.feed_forward(b)))


@mistake(
    "DecoderBlock.forward",
    "norm-first",
    "the normalisations stand before attention and feed-forward block; this course normalises after the addition",
    "Which of both orders has figure 1 of the paper?",
)
def _(self, dec_inp, enc_inp, mask=None):
    n = self.norm1(dec_inp)
    x = dec_inp + self.dropout(self.attention_self(n, n, n, mask))
    x = x + self.dropout(self.attention_cross(self.norm2(x), enc_inp, enc_inp))
    return x + self.dropout(self.feed_forward(self.norm3(x)))


@mistake(
    "DecoderBlock.forward",
    "norm-before-addition",
    "attention and feed-forward block are normalised alone; normalise the sum",
    "Add first, or normalise first?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(dec_inp + self.norm1(self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(x + self.norm2(self.attention_cross(x, enc_inp, enc_inp)))
    return self.dropout(x + self.norm3(self.feed_forward(x)))


@mistake("DecoderBlock.forward", "norms-missing", "nothing is normalised", "What follows each addition?")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask))
    x = self.dropout(x + self.attention_cross(x, enc_inp, enc_inp))
    return self.dropout(x + self.feed_forward(x))


@mistake("DecoderBlock.forward", "first-norm-missing", "the first sum is not normalised", "What follows each addition?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, first=lambda d: self.dropout(d + self.attention_self(d, d, d, mask)))


@mistake("DecoderBlock.forward", "second-norm-missing", "the second sum is not normalised", "What follows each addition?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, second=lambda a: self.dropout(a + self.attention_cross(a, enc_inp, enc_inp)))


@mistake("DecoderBlock.forward", "last-norm-missing", "the last sum is not normalised", "What follows each addition?")
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: self.dropout(b + self.feed_forward(b)))


@mistake(
    "DecoderBlock.forward",
    "first-norm-for-all",
    "the first normalisation is used three times; each part has its own",
    "Which norms have you not used?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(
        self,
        dec_inp,
        enc_inp,
        mask,
        second=lambda a: self.dropout(self.norm1(a + self.attention_cross(a, enc_inp, enc_inp))),
        third=lambda b: self.dropout(self.norm1(b + self.feed_forward(b))),
    )


@mistake(
    "DecoderBlock.forward",
    "second-norm-twice",
    "the second normalisation is used twice; the third part has its own",
    "Which norm have you not used?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: self.dropout(self.norm2(b + self.feed_forward(b))))


@mistake(
    "DecoderBlock.forward",
    "norms-out-of-order",
    "the normalisations are used in another order than norm1, norm2, norm3",
    "Which one follows the self-attention?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.dropout(self.norm2(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.dropout(self.norm1(x + self.attention_cross(x, enc_inp, enc_inp)))
    return self.dropout(self.norm3(x + self.feed_forward(x)))


@mistake(
    "DecoderBlock.forward",
    "dropout-before-addition",
    "dropout stands before the additions, as in the paper; this course drops after the normalisations",
    "What does the docstring say of the place of dropout?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.norm1(dec_inp + self.dropout(self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.norm2(x + self.dropout(self.attention_cross(x, enc_inp, enc_inp)))
    return self.norm3(x + self.dropout(self.feed_forward(x)))


@mistake(
    "DecoderBlock.forward",
    "dropout-before-norm",
    "dropout stands before the normalisations; this course drops after them",
    "What does the docstring say of the place of dropout?",
)
def _(self, dec_inp, enc_inp, mask=None):
    x = self.norm1(self.dropout(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = self.norm2(self.dropout(x + self.attention_cross(x, enc_inp, enc_inp)))
    return self.norm3(self.dropout(x + self.feed_forward(x)))


@mistake("DecoderBlock.forward", "no-dropout", "dropout is not used", "What follows each normalisation?")
def _(self, dec_inp, enc_inp, mask=None):
    x = self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask))
    x = self.norm2(x + self.attention_cross(x, enc_inp, enc_inp))
    return self.norm3(x + self.feed_forward(x))


@mistake(
    "DecoderBlock.forward",
    "first-dropout-missing",
    "dropout is missing after the first normalisation",
    "What follows each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, first=lambda d: self.norm1(d + self.attention_self(d, d, d, mask)))


@mistake(
    "DecoderBlock.forward",
    "second-dropout-missing",
    "dropout is missing after the second normalisation",
    "What follows each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, second=lambda a: self.norm2(a + self.attention_cross(a, enc_inp, enc_inp)))


@mistake(
    "DecoderBlock.forward",
    "last-dropout-missing",
    "dropout is missing after the last normalisation",
    "What follows each normalisation?",
)
def _(self, dec_inp, enc_inp, mask=None):
    return _steps(self, dec_inp, enc_inp, mask, third=lambda b: self.norm3(b + self.feed_forward(b)))


@mistake(
    "DecoderBlock.forward", "dropout-in-eval", "dropout is at work in eval mode too", "How does F.dropout know of the mode?"
)
def _(self, dec_inp, enc_inp, mask=None):
    def drop(a):
        return F.dropout(a, self.dropout.p)

    x = drop(self.norm1(dec_inp + self.attention_self(dec_inp, dec_inp, dec_inp, mask)))
    x = drop(self.norm2(x + self.attention_cross(x, enc_inp, enc_inp)))
    return drop(self.norm3(x + self.feed_forward(x)))


# --- Positions ---


@solution("position_encoding_simple")
def position_encoding_simple(K, M):
    return torch.tensor([[[n / K] * M for n in range(K)]])


def _rows(values, M):
    return torch.as_tensor(values, dtype=torch.float32)[None, :, None].repeat(1, 1, M)


@mistake(
    "position_encoding_simple",
    "up-to-one",
    "the last position has the number 1 (division by K - 1); position n has n / K",
    "Is 1 in the range [0, 1)?",
)
def _(K, M):
    return _rows([n / max(K - 1, 1) for n in range(K)], M)


@mistake(
    "position_encoding_simple",
    "counts-from-one",
    "positions count from 1; they count from 0",
    "Which number has the first position?",
)
def _(K, M):
    return _rows([(n + 1) / K for n in range(K)], M)


@mistake(
    "position_encoding_simple", "divided-by-m", "you divide by M; position n has n / K", "Which of the two counts positions?"
)
def _(K, M):
    return _rows([n / M for n in range(K)], M)


@mistake(
    "position_encoding_simple",
    "not-divided",
    "the position itself is used; it is divided by K",
    "What range does the docstring give?",
)
def _(K, M):
    return _rows([float(n) for n in range(K)], M)


@mistake(
    "position_encoding_simple",
    "features-numbered",
    "the features are numbered; the positions are",
    "Along which axis do your numbers grow?",
)
def _(K, M):
    return position_encoding_simple(M, K).mT


@mistake(
    "position_encoding_simple",
    "features-numbered-by-k",
    "the numbers grow along the features; they grow along the positions",
    "Along which axis do your numbers grow?",
)
def _(K, M):
    return (torch.arange(M) / K).repeat(1, K, 1)


@mistake(
    "position_encoding_simple",
    "axes-exchanged",
    "the result is (1, M, K); it is (1, K, M)",
    "Which axis counts the positions?",
)
def _(K, M):
    return position_encoding_simple(K, M).mT


@mistake(
    "position_encoding_simple",
    "batch-axis-missing",
    "the result is (K, M); it has a first axis of size 1",
    "What shape does the docstring promise?",
)
def _(K, M):
    return position_encoding_simple(K, M)[0]


@mistake(
    "position_encoding_simple",
    "column-only",
    "the result has one column; every feature holds the number",
    "What shape does the docstring promise?",
)
def _(K, M):
    return position_encoding_simple(K, 1)


@mistake("position_encoding_simple", "whole-numbers", "the division drops the fraction: all is 0", "What does // do?")
def _(K, M):
    return _rows([0.0] * K, M)


@mistake(
    "position_encoding_simple",
    "numbered-through",
    "the numbers run on from row to row; a row holds one number",
    "How many different numbers are there?",
)
def _(K, M):
    return (torch.arange(K * M) / (K * M)).view(1, K, M)


@mistake(
    "position_encoding_simple", "from-the-end", "the positions count from the end", "Which number has the first position?"
)
def _(K, M):
    return _rows([(K - 1 - n) / K for n in range(K)], M)


@mistake(
    "position_encoding_simple",
    "mixed-up-by-reshape",
    "the K numbers are repeated and then read row by row: a row must hold one number",
    "In which order does reshape read the numbers?",
)
def _(K, M):
    return (torch.arange(K) / K).repeat(M).view(1, K, M)


@solution("position_encoding_sinusoid")
def position_encoding_sinusoid(K, M):
    angle = torch.arange(K, dtype=torch.float64)
    pairs = torch.stack([torch.sin(angle), torch.cos(angle)], dim=1)  # (K, 2)
    return pairs.repeat(1, M // 2 + 1)[None, :, :M].float()


def _waves(K, M, exponent, even=torch.sin, odd=torch.cos, first=0, column=None):
    column = torch.arange(M) if column is None else column
    angle = (torch.arange(K, dtype=torch.float64)[:, None] + first) / 10000.0**exponent
    return torch.where(column % 2 == 0, even(angle), odd(angle)).float()[None].expand(1, K, M)


@mistake(
    "position_encoding_sinusoid",
    "no-floor",
    "the exponent is 2 i / M, as in the paper; the notebook takes its floor",
    "What is the floor of a number below 1?",
)
def _(K, M):
    return _waves(K, M, torch.arange(M, dtype=torch.float64) // 2 * 2 / M)


@mistake(
    "position_encoding_sinusoid",
    "no-floor-column",
    "the exponent is column / M; the notebook takes the floor of 2 i / M",
    "What is the floor of a number below 1?",
)
def _(K, M):
    return _waves(K, M, torch.arange(M, dtype=torch.float64) / M)


@mistake(
    "position_encoding_sinusoid",
    "no-floor-doubled",
    "the exponent is twice column / M; the notebook takes the floor of 2 i / M, 2 i being the column",
    "Which columns are 2 i?",
)
def _(K, M):
    return _waves(K, M, 2 * torch.arange(M, dtype=torch.float64) / M)


@mistake(
    "position_encoding_sinusoid",
    "i-is-column",
    "i counts the columns; 2 i is the column, so 2 i / M stays below 1",
    "Which columns are 2 i?",
)
def _(K, M):
    return _waves(K, M, 2 * torch.arange(M, dtype=torch.float64) // M)


@mistake(
    "position_encoding_sinusoid",
    "sine-and-cosine-exchanged",
    "even columns hold cosines; they hold sines",
    "What is in column 0 of row 0?",
)
def _(K, M):
    return _waves(K, M, 0, torch.cos, torch.sin)


@mistake("position_encoding_sinusoid", "sines-only", "all columns hold sines; odd ones hold cosines", "What is in column 1?")
def _(K, M):
    return _waves(K, M, 0, torch.sin, torch.sin)


@mistake(
    "position_encoding_sinusoid", "cosines-only", "all columns hold cosines; even ones hold sines", "What is in column 0?"
)
def _(K, M):
    return _waves(K, M, 0, torch.cos, torch.cos)


@mistake("position_encoding_sinusoid", "odd-columns-empty", "odd columns stay 0; they hold cosines", "What is in column 1?")
def _(K, M):
    return _waves(K, M, 0, torch.sin, torch.zeros_like)


@mistake("position_encoding_sinusoid", "even-columns-empty", "even columns stay 0; they hold sines", "What is in column 0?")
def _(K, M):
    return _waves(K, M, 0, torch.zeros_like, torch.cos)


@mistake(
    "position_encoding_sinusoid",
    "halves",
    "the left half holds sines and the right half cosines; they take turns",
    "What is in column 1?",
)
def _(K, M):
    return _waves(K, M, 0, column=(torch.arange(M) >= (M + 1) // 2).long())


@mistake(
    "position_encoding_sinusoid",
    "rows-take-turns",
    "sine and cosine take turns from row to row; they do from column to column",
    "Is it the row or the column that is even?",
)
def _(K, M):
    angle = torch.arange(K, dtype=torch.float64)
    return torch.where(angle % 2 == 0, angle.sin(), angle.cos()).float()[None, :, None].repeat(1, 1, M)


@mistake(
    "position_encoding_sinusoid", "counts-from-one", "positions count from 1; they count from 0", "What is the sine in row 0?"
)
def _(K, M):
    return _waves(K, M, 0, first=1)


@mistake(
    "position_encoding_sinusoid",
    "divided-by-k",
    "the position is divided by K first; sine and cosine are taken of the position itself",
    "What is the sine in row 1?",
)
def _(K, M):
    angle = torch.arange(K, dtype=torch.float64)[:, None] / K
    return torch.where(torch.arange(M) % 2 == 0, angle.sin(), angle.cos()).float()[None]


@mistake(
    "position_encoding_sinusoid",
    "of-the-column",
    "sine and cosine are taken of the column; they are of the position",
    "Along which axis does the angle grow?",
)
def _(K, M):
    column = torch.arange(M, dtype=torch.float64)
    return torch.where(column % 2 == 0, column.sin(), column.cos()).float().repeat(1, K, 1)


@mistake(
    "position_encoding_sinusoid", "degrees", "the angle is taken as degrees; it is in radians", "What is the sine in row 1?"
)
def _(K, M):
    angle = torch.deg2rad(torch.arange(K, dtype=torch.float64))[:, None]
    return torch.where(torch.arange(M) % 2 == 0, angle.sin(), angle.cos()).float()[None]


@mistake(
    "position_encoding_sinusoid",
    "axes-exchanged",
    "the result is (1, M, K); it is (1, K, M)",
    "Which axis counts the positions?",
)
def _(K, M):
    return position_encoding_sinusoid(K, M).mT


@mistake(
    "position_encoding_sinusoid",
    "batch-axis-missing",
    "the result is (K, M); it has a first axis of size 1",
    "What shape does the docstring promise?",
)
def _(K, M):
    return position_encoding_sinusoid(K, M)[0]


@mistake(
    "position_encoding_sinusoid",
    "position-added",
    "the sine of the position comes on top of the position itself",
    "What range does the docstring give?",
)
def _(K, M):
    return position_encoding_sinusoid(K, M) + torch.arange(K)[None, :, None]


@mistake(
    "position_encoding_sinusoid",
    "always-divided",
    "the position is divided by 10000; the exponent is 0 here, so by 1",
    "What is 10000 to the power of 0?",
)
def _(K, M):
    return _waves(K, M, 1)


# --- AddSubDataset.__getitem__ ---


@solution("AddSubDataset.__getitem__")
def _(self, idx):
    return tuple(
        part.select(0, idx) if rows else part
        for part, rows in (
            (self.inputs, True),
            (self.input_positions, False),
            (self.targets, True),
            (self.target_positions, False),
        )
    )


@mistake(
    "AddSubDataset.__getitem__",
    "tokens-first",
    "both rows of tokens come first; each is followed by its positions",
    "In which order does the docstring name the four?",
)
def _(self, idx):
    return self.inputs[idx], self.targets[idx], self.input_positions, self.target_positions


@mistake(
    "AddSubDataset.__getitem__",
    "target-first",
    "the target comes first; the input does",
    "In which order does the docstring name the four?",
)
def _(self, idx):
    return self.targets[idx], self.target_positions, self.inputs[idx], self.input_positions


@mistake(
    "AddSubDataset.__getitem__",
    "positions-first",
    "positions come before their tokens",
    "In which order does the docstring name the four?",
)
def _(self, idx):
    return self.input_positions, self.inputs[idx], self.target_positions, self.targets[idx]


@mistake(
    "AddSubDataset.__getitem__",
    "input-positions-twice",
    "the target has the input's positions; it has its own",
    "How many tokens has the target?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx], self.input_positions


@mistake(
    "AddSubDataset.__getitem__",
    "positions-exchanged",
    "the positions of input and target are exchanged",
    "How many tokens has the target?",
)
def _(self, idx):
    return self.inputs[idx], self.target_positions, self.targets[idx], self.input_positions


@mistake(
    "AddSubDataset.__getitem__",
    "inputs-twice",
    "the input stands in the target's place",
    "What shall the model learn to write?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.inputs[idx], self.target_positions


@mistake(
    "AddSubDataset.__getitem__",
    "positions-indexed",
    "idx picks a row of the positions; every row of data has all positions",
    "Which two of the four are the same for every row?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions[idx], self.targets[idx], self.target_positions[idx]


@mistake("AddSubDataset.__getitem__", "first-row-always", "every row is row 0", "Where do you use idx?")
def _(self, idx):
    return self.inputs[0], self.input_positions, self.targets[0], self.target_positions


@mistake("AddSubDataset.__getitem__", "whole-tables", "all rows are returned; one is wanted", "Where do you use idx?")
def _(self, idx):
    return self.inputs, self.input_positions, self.targets, self.target_positions


@mistake("AddSubDataset.__getitem__", "row-before", "the row before is returned", "Do rows count from 0 or from 1?")
def _(self, idx):
    return self.inputs[idx - 1], self.input_positions, self.targets[idx - 1], self.target_positions


@mistake(
    "AddSubDataset.__getitem__",
    "batch-axis-kept",
    "tokens have a first axis of size 1; the loader adds the batch",
    "What is the difference between t[i] and t[i:i + 1]?",
)
def _(self, idx):
    return self.inputs[idx : idx + 1], self.input_positions, self.targets[idx : idx + 1], self.target_positions


@mistake(
    "AddSubDataset.__getitem__",
    "positions-with-batch-axis",
    "positions have a first axis of size 1; the loader adds the batch",
    "What shape does the docstring promise?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions[None], self.targets[idx], self.target_positions[None]


@mistake(
    "AddSubDataset.__getitem__",
    "end-cut-off",
    "the target has lost its last token; the model takes it away itself",
    "Who shifts the answer, the dataset or the model?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx][:-1], self.target_positions[:-1]


@mistake(
    "AddSubDataset.__getitem__",
    "start-cut-off",
    "the target has lost its first token; the training loop takes it away itself",
    "Who shifts the answer, the dataset or the loop?",
)
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx][1:], self.target_positions[1:]


@mistake(
    "AddSubDataset.__getitem__",
    "tokens-as-floats",
    "tokens are floats; they are int64, as an embedding wants",
    "What may index an embedding?",
)
def _(self, idx):
    return self.inputs[idx].float(), self.input_positions, self.targets[idx].float(), self.target_positions


@mistake(
    "AddSubDataset.__getitem__",
    "tokens-as-int32",
    "tokens are int32; they are int64",
    "Which dtype does the docstring promise?",
)
def _(self, idx):
    return self.inputs[idx].int(), self.input_positions, self.targets[idx].int(), self.target_positions


@mistake(
    "AddSubDataset.__getitem__", "lists", "tokens are lists; they are tensors", "What can a loader stack to a batch of tokens?"
)
def _(self, idx):
    return self.inputs[idx].tolist(), self.input_positions, self.targets[idx].tolist(), self.target_positions


@mistake(
    "AddSubDataset.__getitem__", "positions-missing", "only the tokens are returned", "Which four things belong to a row?"
)
def _(self, idx):
    return self.inputs[idx], self.targets[idx]


@mistake("AddSubDataset.__getitem__", "other-target", "input and target come from different rows", "Where do you use idx?")
def _(self, idx):
    return self.inputs[idx], self.input_positions, self.targets[idx - 1], self.target_positions


# --- Transformer ---


def _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len, embedding=None):
    nn.Module.__init__(self)
    self.emb_layer = embedding or nn.Embedding(vocab_len, emb_dim)
    self.encoder = _Encoder(num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout)
    self.decoder = _Decoder(num_heads, emb_dim, feedforward_dim, num_dec_layers, dropout, vocab_len)


@solution("Transformer.__init__")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "layer-counts-exchanged",
    "encoder and decoder have each other's number of layers",
    "Which count belongs to which?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_dec_layers, num_enc_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "encoder-layers-for-both",
    "the decoder has num_enc_layers layers; it has num_dec_layers",
    "Which argument have you not used?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_enc_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "decoder-layers-for-both",
    "the encoder has num_dec_layers layers; it has num_enc_layers",
    "Which argument have you not used?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_dec_layers, num_dec_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "one-layer-each",
    "encoder and decoder have one layer each; the arguments say how many",
    "Which arguments have you not used?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, 1, 1, vocab_len)


@mistake(
    "Transformer.__init__",
    "layers-and-dropout-exchanged",
    "layers and dropout are exchanged: Encoder and Decoder take num_layers before dropout",
    "In which order does `Encoder` take its arguments?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, num_enc_layers, dropout, dropout, vocab_len)


@mistake(
    "Transformer.__init__",
    "second-embedding",
    "question and answer have an embedding each; they share one",
    "How many embeddings does the docstring name?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)
    self.emb_target = nn.Embedding(vocab_len, emb_dim)


@mistake(
    "Transformer.__init__",
    "embedding-turned-round",
    "the embedding has emb_dim rows; it has a row for each of vocab_len tokens",
    "How many tokens are there?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self,
        num_heads,
        emb_dim,
        feedforward_dim,
        dropout,
        num_enc_layers,
        num_dec_layers,
        vocab_len,
        nn.Embedding(emb_dim, vocab_len),
    )


@mistake(
    "Transformer.__init__",
    "embedding-too-long",
    "the embedding has a row too many; tokens count from 0 to vocab_len - 1",
    "How many tokens are there?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self,
        num_heads,
        emb_dim,
        feedforward_dim,
        dropout,
        num_enc_layers,
        num_dec_layers,
        vocab_len,
        nn.Embedding(vocab_len + 1, emb_dim),
    )


@mistake(
    "Transformer.__init__",
    "embedding-of-feedforward-size",
    "the embedding has feedforward_dim features; it has emb_dim",
    "Which size has a token?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self,
        num_heads,
        emb_dim,
        feedforward_dim,
        dropout,
        num_enc_layers,
        num_dec_layers,
        vocab_len,
        nn.Embedding(vocab_len, feedforward_dim),
    )


@mistake(
    "Transformer.__init__",
    "token-zero-not-learnt",
    "token 0 is taken for padding (padding_idx) and never learns; it is the digit 0",
    "Is there any padding in this data?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    embedding = nn.Embedding(vocab_len, emb_dim, padding_idx=0)
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len, embedding)


@mistake(
    "Transformer.__init__",
    "embedding-as-linear",
    "a Linear map stands in the place of the embedding; a token is a row number",
    "What does nn.Embedding do with an int?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self,
        num_heads,
        emb_dim,
        feedforward_dim,
        dropout,
        num_enc_layers,
        num_dec_layers,
        vocab_len,
        nn.Linear(vocab_len, emb_dim),
    )


@mistake(
    "Transformer.__init__",
    "embedding-redrawn",
    "the embedding's first rows have another spread than N(0, 1)",
    "What does the docstring say of the embeddings?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)
    nn.init.xavier_uniform_(self.emb_layer.weight)


@mistake(
    "Transformer.__init__",
    "feedforward-size-not-used",
    "the blocks have emb_dim hidden features; they have feedforward_dim",
    "Which argument have you not used?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self, num_heads, emb_dim, emb_dim, dropout, num_enc_layers, num_dec_layers, vocab_len, nn.Embedding(vocab_len, emb_dim)
    )


@mistake(
    "Transformer.__init__", "one-head", "the blocks have one head; they have num_heads", "Which argument have you not used?"
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, 1, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "dropout-fixed",
    "the rate of dropout is a number of your own (0.1); it is the argument",
    "Which argument have you not used?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, 0.1, num_enc_layers, num_dec_layers, vocab_len)


@mistake(
    "Transformer.__init__", "no-dropout", "the rate of dropout is 0; it is the argument", "Which argument have you not used?"
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, 0.0, num_enc_layers, num_dec_layers, vocab_len)


@mistake(
    "Transformer.__init__",
    "vocabulary-of-emb-dim",
    "the decoder ends in emb_dim features; it ends in the vocabulary",
    "How many logits has a token?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(
        self,
        num_heads,
        emb_dim,
        feedforward_dim,
        dropout,
        num_enc_layers,
        num_dec_layers,
        emb_dim,
        nn.Embedding(vocab_len, emb_dim),
    )


@mistake("Transformer.__init__", "decoder-missing", "there is no decoder", "Which three names does the hint give?")
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)
    del self.decoder


@mistake(
    "Transformer.__init__",
    "further-layer",
    "there is one Linear map more; `Decoder` ends in the vocabulary already",
    "What does `Decoder` return?",
)
def _(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len):
    _model(self, num_heads, emb_dim, feedforward_dim, dropout, num_enc_layers, num_dec_layers, vocab_len)
    self.out = nn.Linear(emb_dim, vocab_len)


def _through(self, ques_b, ques_pos, ans_b, ans_pos, mask=True, scale=1.0, encode=None):
    """Logits (N, O, V) for the answer as it is handed over."""
    encoded = self.encoder(scale * self.emb_layer(ques_b) + ques_pos) if encode is None else encode
    mask = get_subsequent_mask(ans_b) if mask is True else mask
    return self.decoder(scale * self.emb_layer(ans_b) + ans_pos, encoded, mask)


def _flat(logits):
    return logits.reshape(-1, logits.shape[-1])


@solution("Transformer.forward")
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(
        _through(self, ques_b, ques_pos, ans_b.narrow(1, 0, ans_b.shape[1] - 1), ans_pos.narrow(1, 0, ans_b.shape[1] - 1))
    )


@mistake(
    "Transformer.forward",
    "last-token-read",
    "the decoder reads the answer's last token too: there is no token after it to guess",
    "How many rows has the result?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b, ans_pos))


@mistake(
    "Transformer.forward",
    "first-token-dropped",
    "the decoder reads the answer without its FIRST token, so it sees what it shall guess; the last one is dropped",
    "Which token must it guess at position 0?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, 1:], ans_pos[:, 1:]))


@mistake(
    "Transformer.forward",
    "first-token-dropped-old-positions",
    "the decoder reads the answer without its FIRST token; the last one is dropped",
    "Which token must it guess at position 0?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, 1:], ans_pos[:, :-1]))


@mistake(
    "Transformer.forward",
    "positions-shifted",
    "the answer's tokens have the positions after theirs: cut the last position off, not the first",
    "Which position has the first token?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, 1:]))


@mistake(
    "Transformer.forward",
    "positions-not-cut",
    "tokens are cut but their positions are not: lengths do not fit",
    "How many tokens does the decoder read, how many positions?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos))


@mistake(
    "Transformer.forward",
    "first-result-dropped",
    "all tokens are read and the first guess is thrown away; the LAST token is not read",
    "To which token does the first guess belong?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b, ans_pos)[:, 1:])


@mistake(
    "Transformer.forward", "no-mask", "the decoder gets no mask: every token sees those after it", "What could token 0 read?"
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], None))


@mistake(
    "Transformer.forward",
    "mask-of-whole-answer",
    "the mask is made for the whole answer; the decoder reads one token less",
    "What is the mask's shape?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], get_subsequent_mask(ans_b)))


@mistake(
    "Transformer.forward",
    "mask-of-question",
    "the mask is made from the question; it is for the answer's tokens",
    "Which sequence must not look ahead?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], get_subsequent_mask(ques_b)))


@mistake(
    "Transformer.forward",
    "mask-inverted",
    "the mask is inverted: True means forbidden already",
    "What does get_subsequent_mask mark?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = ans_b[:, :-1]
    return _flat(_through(self, ques_b, ques_pos, read, ans_pos[:, :-1], ~get_subsequent_mask(read)))


@mistake(
    "Transformer.forward", "positions-missing", "no positions are added", "How would the model know which digit stands first?"
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, 0, ans_b[:, :-1], 0))


@mistake(
    "Transformer.forward",
    "question-positions-missing",
    "the question's positions are not added",
    "How would the model know which digit stands first?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, 0, ans_b[:, :-1], ans_pos[:, :-1]))


@mistake(
    "Transformer.forward",
    "answer-positions-missing",
    "the answer's positions are not added",
    "How would the model know which digit comes next?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], 0))


@mistake(
    "Transformer.forward",
    "positions-multiplied",
    "positions are multiplied with the embeddings; they are added",
    "What does section 3.5 do?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    encoded = self.encoder(self.emb_layer(ques_b) * ques_pos)
    read = ans_b[:, :-1]
    return _flat(self.decoder(self.emb_layer(read) * ans_pos[:, :-1], encoded, get_subsequent_mask(read)))


@mistake(
    "Transformer.forward",
    "embeddings-scaled",
    "the embeddings are multiplied by sqrt(M), as in the paper; here they are added as they are",
    "What does the docstring say of the embeddings?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], scale=math.sqrt(ques_pos.shape[-1])))


@mistake(
    "Transformer.forward",
    "encoder-skipped",
    "the decoder gets the question's embeddings; it gets the encoder's output",
    "Where do you call the encoder?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], encode=self.emb_layer(ques_b) + ques_pos))


@mistake(
    "Transformer.forward",
    "encoder-reads-answer",
    "the encoder reads the answer; it reads the question",
    "What is known before the answer?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    read = self.emb_layer(ans_b[:, :-1]) + ans_pos[:, :-1]
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1], encode=self.encoder(read)))


@mistake(
    "Transformer.forward",
    "question-and-answer-exchanged",
    "question and answer are exchanged: the encoder reads the question, the decoder the answer",
    "What shall be guessed?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ans_b[:, :-1], ans_pos[:, :-1], ques_b, ques_pos))


@mistake(
    "Transformer.forward",
    "decoder-arguments-exchanged",
    "the decoder gets the encoder's output first; it takes the answer first",
    "In which order does `Decoder.forward` take them?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    encoded = self.encoder(self.emb_layer(ques_b) + ques_pos)
    read = ans_b[:, :-1]
    return _flat(self.decoder(encoded, self.emb_layer(read) + ans_pos[:, :-1], get_subsequent_mask(read)))


@mistake(
    "Transformer.forward",
    "not-flattened",
    "the result is (N, O - 1, V); the rows of all sequences stand below each other",
    "What shape does the docstring promise?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1])


@mistake(
    "Transformer.forward",
    "tokens-before-sequences",
    "all first tokens come first, then all second ones; the rows of one sequence stay together",
    "Which row is token t + 1 of sequence n?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1]).transpose(0, 1))


@mistake(
    "Transformer.forward",
    "flattened-per-sequence",
    "tokens and vocabulary are flattened together; tokens and batch are",
    "What shape does the docstring promise?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1]).flatten(1)


@mistake(
    "Transformer.forward",
    "softmax-at-the-end",
    "the result has been through a softmax; the losses want logits",
    "Who does the softmax?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1])).softmax(-1)


@mistake(
    "Transformer.forward",
    "log-softmax-at-the-end",
    "the result has been through a log-softmax; the losses want logits",
    "Who does the softmax?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1])).log_softmax(-1)


@mistake(
    "Transformer.forward",
    "guesses-returned",
    "the result holds the guessed tokens; logits are wanted",
    "What do the losses need?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    return _flat(_through(self, ques_b, ques_pos, ans_b[:, :-1], ans_pos[:, :-1])).argmax(-1)


@mistake(
    "Transformer.forward",
    "dropout-on-embeddings",
    "embeddings are dropped; this course drops only in the blocks",
    "Where does the docstring of the blocks put dropout?",
)
def _(self, ques_b, ques_pos, ans_b, ans_pos):
    rate = next(part.p for part in self.modules() if isinstance(part, nn.Dropout))
    read = ans_b[:, :-1]
    encoded = self.encoder(F.dropout(self.emb_layer(ques_b) + ques_pos, rate, self.training))
    return _flat(
        self.decoder(
            F.dropout(self.emb_layer(read) + ans_pos[:, :-1], rate, self.training), encoded, get_subsequent_mask(read)
        )
    )


# --- Losses ---


@solution("LabelSmoothingLoss")
def _(pred, ground):
    V = pred.shape[1]
    return F.cross_entropy(pred, ground, reduction="sum", label_smoothing=0.1 * V / (V - 1))


@solution("CrossEntropyLoss")
def _(pred, ground):
    return F.nll_loss(F.log_softmax(pred, 1), ground, reduction="sum")


def _soft(pred, ground, true=0.9, other=None):
    """Wanted probabilities."""
    other = (1 - true) / (pred.shape[1] - 1) if other is None else other
    return torch.full_like(pred, other).scatter(1, ground[:, None], true)


def _of_losses(name, says, hint):
    """Decorator: a mistake in both losses; the function gets pred, ground and the wanted probabilities."""

    def keep(function):
        mistake("LabelSmoothingLoss", name, says, hint)(lambda pred, ground: function(pred, ground, _soft(pred, ground)))
        mistake("CrossEntropyLoss", name, says, hint)(lambda pred, ground: function(pred, ground, _soft(pred, ground, 1.0)))
        return function

    return keep


@_of_losses("mean-over-tokens", "you take the mean over the tokens; the sum is wanted", "Who divides in the training loop?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1)).sum(1).mean()


@_of_losses(
    "mean-over-all",
    "you take the mean over tokens and classes; the sum is wanted",
    "By how much does your result differ, and is that T V?",
)
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1)).mean()


@_of_losses("not-summed", "one loss a token is returned; their sum is wanted", "What shape does the docstring promise?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1)).sum(1)


@_of_losses(
    "sign-missing",
    "the sign is missing: a log-probability is negative, its loss positive",
    "Can your loss be negative? Should it?",
)
def _(pred, ground, wanted):
    return (wanted * pred.log_softmax(1)).sum()


@_of_losses("softmax-twice", "the softmax is done twice", "Does your function take logits or probabilities?")
def _(pred, ground, wanted):
    return -(wanted * pred.softmax(1).log_softmax(1)).sum()


@_of_losses(
    "softmax-missing", "the logits are taken for log-probabilities; the softmax is missing", "What must exp() of a row sum to?"
)
def _(pred, ground, wanted):
    return -(wanted * pred).sum()


@_of_losses("log-missing", "the logarithm is missing: probabilities are added", "What is the loss of an even guess?")
def _(pred, ground, wanted):
    return -(wanted * pred.softmax(1)).sum()


@_of_losses(
    "softmax-over-tokens", "the softmax runs over the tokens; it runs over the classes", "Along which axis do the classes lie?"
)
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(0)).sum()


@_of_losses(
    "softmax-over-all",
    "one softmax over all logits; every token has its own",
    "What do the probabilities of one token sum to?",
)
def _(pred, ground, wanted):
    return -(wanted * pred.flatten().log_softmax(0).view_as(pred)).sum()


@_of_losses("log2", "the logarithm has the base 2; the loss is in nats", "What is the loss of an even guess?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1)).sum() / math.log(2)


@_of_losses("squared-error", "squared differences are summed; cross-entropy is wanted", "Where is the logarithm?")
def _(pred, ground, wanted):
    return (pred.softmax(1) - wanted).square().sum()


@_of_losses(
    "sigmoid-for-softmax",
    "every class is looked at alone (a sigmoid); the softmax compares them",
    "What do the probabilities of one token sum to?",
)
def _(pred, ground, wanted):
    return F.binary_cross_entropy_with_logits(pred, wanted, reduction="sum")


@_of_losses("divided-by-classes", "the sum is divided by the number of classes", "By what does your result differ?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1)).sum() / pred.shape[1]


@_of_losses(
    "overflow",
    "exp() of a large logit overflows, or a probability becomes 0 and has no logarithm: use log_softmax",
    "What is exp(1000)?",
)
def _(pred, ground, wanted):
    return -(wanted * (pred.exp() / pred.exp().sum(1, keepdim=True)).log()).sum()


@mistake(
    "CrossEntropyLoss",
    "log-of-zero",
    "large logits overflow or leave a probability of 0, which has no logarithm: use log_softmax",
    "What is log(0)?",
)
def _(pred, ground):
    return -pred.softmax(1).log().gather(1, ground[:, None]).sum()


@mistake(
    "LabelSmoothingLoss",
    "log-of-zero",
    "a probability so small that it becomes 0 has no logarithm: use log_softmax",
    "What is log(0)?",
)
def _(pred, ground):
    return -(_soft(pred, ground) * pred.softmax(1).log()).sum()


@_of_losses(
    "clamped",
    "a small number is added to the probabilities (or they are clamped): very wrong guesses cost too little",
    "What does log_softmax do better?",
)
def _(pred, ground, wanted):
    return -(wanted * (pred.softmax(1) + 1e-9).log()).sum()


@_of_losses("last-token-missing", "the last token is left out", "How many tokens do you sum?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1))[:-1].sum()


@_of_losses("classes-shifted", "the true class is taken one place off", "Do classes count from 0 or from 1?")
def _(pred, ground, wanted):
    return -(wanted * pred.log_softmax(1).roll(1, 1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "shared-among-all",
    "the 0.1 is shared among all V classes, as F.cross_entropy(label_smoothing=0.1) does; here the V - 1 wrong ones share it",
    "What does the true class get in all?",
)
def _(pred, ground):
    return F.cross_entropy(pred, ground, reduction="sum", label_smoothing=0.1)


@mistake(
    "LabelSmoothingLoss",
    "shared-among-all-mean",
    "the 0.1 is shared among all V classes and the mean is taken; the V - 1 wrong classes share it, and the sum is wanted",
    "What does F.cross_entropy do by default?",
)
def _(pred, ground):
    return F.cross_entropy(pred, ground, label_smoothing=0.1)


@mistake(
    "LabelSmoothingLoss",
    "wrong-classes-by-v",
    "each wrong class gets 0.1 / V; it gets 0.1 / (V - 1)",
    "What do the wanted probabilities sum to?",
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.9, 0.1 / pred.shape[1]) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "wrong-classes-full",
    "each wrong class gets 0.1; all of them together do",
    "What do the wanted probabilities sum to?",
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.9, 0.1) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "true-class-counted-twice",
    "the true class also gets a part of the 0.1; only wrong classes do",
    "What do the wanted probabilities sum to?",
)
def _(pred, ground):
    share = 0.1 / (pred.shape[1] - 1)
    return -(_soft(pred, ground, 0.9 + share, share) * pred.log_softmax(1)).sum()


@mistake("LabelSmoothingLoss", "no-smoothing", "the true class gets all; it gets 0.9", "What do the others get?")
def _(pred, ground):
    return F.cross_entropy(pred, ground, reduction="sum")


@mistake(
    "LabelSmoothingLoss",
    "wrong-classes-nothing",
    "only the true class is counted, with 0.9; the others share 0.1",
    "What do the others get?",
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.9, 0.0) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "shares-exchanged",
    "the true class gets 0.1 and the others 0.9; it is the other way round",
    "Which class should be most likely?",
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.1) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss", "v-fixed", "the number of classes is fixed at 16; read it from pred", "What if V is another number?"
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.9, 0.1 / 15) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "smoothing-of-0.2",
    "the true class gets 0.8; it gets 0.9",
    "Which two numbers does the docstring give?",
)
def _(pred, ground):
    return -(_soft(pred, ground, 0.8) * pred.log_softmax(1)).sum()


@mistake(
    "LabelSmoothingLoss",
    "minus-entropy",
    "the wanted probabilities' own entropy is taken away (a KL divergence); cross-entropy is never 0 here",
    "What is the loss of a perfect guess?",
)
def _(pred, ground):
    return F.kl_div(pred.log_softmax(1), _soft(pred, ground), reduction="sum")


@mistake(
    "LabelSmoothingLoss",
    "kl-mean",
    "a KL divergence, divided by the number of tokens; the summed cross-entropy is wanted",
    "What is the loss of a perfect guess?",
)
def _(pred, ground):
    return F.kl_div(pred.log_softmax(1), _soft(pred, ground), reduction="batchmean")


@mistake(
    "CrossEntropyLoss",
    "smoothed",
    "the targets are softened; here the true class gets all",
    "Which of the two losses is this?",
)
def _(pred, ground):
    return -(_soft(pred, ground) * pred.log_softmax(1)).sum()


@mistake(
    "CrossEntropyLoss",
    "class-zero-ignored",
    "tokens of class 0 are left out; there is no padding here, 0 is a digit",
    "What does ignore_index do?",
)
def _(pred, ground):
    return F.cross_entropy(pred, ground, reduction="sum", ignore_index=0)


@mistake(
    "CrossEntropyLoss",
    "wrong-classes-too",
    "wrong classes are counted as well (log(1 - p)); cross-entropy asks for the true one alone",
    "How many log-probabilities a token are added?",
)
def _(pred, ground):
    p = pred.softmax(1)
    true = _soft(pred, ground, 1.0)
    return -(true * p.log() + (1 - true) * (1 - p).log()).sum()
