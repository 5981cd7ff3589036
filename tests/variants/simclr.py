"""SimCLR: wrong and right bodies."""

import torch
import torch.nn.functional as F
from torchvision import transforms

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


# --- compute_train_transform ---


@right("compute_train_transform")
def _(seed):
    steps = [transforms.RandomResizedCrop(size=(32, 32)), transforms.RandomHorizontalFlip()]
    steps.append(transforms.RandomApply(torch.nn.ModuleList([colour_jitter]), p=0.8))
    steps.append(transforms.RandomGrayscale(0.2))


@right("compute_train_transform")
def _(seed):
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(32, scale=(0.08, 1.0)),
            transforms.RandomHorizontalFlip(0.5),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.ToTensor(),
            transforms.Normalize([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
        ]
    )


@right("compute_train_transform")
def _(seed):
    geometry = transforms.Compose([transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(p=0.5)])
    colours = transforms.Compose([transforms.RandomApply([colour_jitter], p=0.8), transforms.RandomGrayscale(p=0.2)])
    steps = (geometry, colours)


@wrong("compute_train_transform", "jitter-always")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(p=0.5),
        colour_jitter,
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "jitter-half")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomApply([colour_jitter]),
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "grey-default")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(),
    ]


@wrong("compute_train_transform", "probabilities-exchanged")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([colour_jitter], p=0.2),
        transforms.RandomGrayscale(p=0.8),
    ]


@wrong("compute_train_transform", "jitter-and-grey-exchanged")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomGrayscale(0.2),
        transforms.RandomApply([colour_jitter], p=0.8),
    ]


@wrong("compute_train_transform", "flip-first")
def _(seed):
    steps = [
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomResizedCrop(32),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "flip-upside-down")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomVerticalFlip(0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "crop-without-resizing")
def _(seed):
    steps = [
        transforms.RandomCrop(32, pad_if_needed=True),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "jitter-around-grey")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([colour_jitter, transforms.RandomGrayscale(p=0.2)], p=0.8),
    ]


@wrong("compute_train_transform", "no-grey")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
    ]


@wrong("compute_train_transform", "grey-always")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.Grayscale(num_output_channels=3),
    ]


@wrong("compute_train_transform", "crop-of-another-size")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([colour_jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
    ]


@wrong("compute_train_transform", "random-order")
def _(seed):
    steps = [
        transforms.RandomOrder(
            [
                transforms.RandomResizedCrop(32),
                transforms.RandomHorizontalFlip(0.5),
                transforms.RandomApply([colour_jitter], p=0.8),
                transforms.RandomGrayscale(p=0.2),
            ]
        )
    ]


@wrong("compute_train_transform", "")
def _(seed):
    steps = [
        transforms.RandomResizedCrop(32),
        transforms.RandomHorizontalFlip(0.6),
        transforms.RandomApply([colour_jitter], p=0.9),
        transforms.RandomGrayscale(p=0.3),
    ]


# --- CIFAR10Pair.__getitem__ ---


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform:
        x_j = self.transform(picture)
        x_i = self.transform(picture)


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is not None:
        views = [self.transform(Image.fromarray(self.data[index])) for _ in range(2)]
        x_i, x_j = views


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is not None:
        x_i = self.transform(picture.copy())
        x_j = self.transform(picture.copy())
    if self.target_transform is not None:
        return x_i, x_j, self.target_transform(target)
    return x_i, x_j, target


@wrong("CIFAR10Pair.__getitem__", "one-view-twice")
def _(self, index):
    if self.transform is not None:
        x_i = self.transform(picture)
        x_j = x_i.clone()


@wrong("CIFAR10Pair.__getitem__", "one-view-twice")
def _(self, index):
    if self.transform is not None:
        state = torch.get_rng_state()
        x_i = self.transform(picture)
        torch.set_rng_state(state)
        x_j = self.transform(picture)


@wrong("CIFAR10Pair.__getitem__", "no-transform-not-allowed")
def _(self, index):
    x_i = self.transform(picture)
    x_j = self.transform(picture)


@wrong("CIFAR10Pair.__getitem__", "picture-without-a-transform")
def _(self, index):
    x_i, x_j = picture, picture
    if self.transform is not None:
        x_i, x_j = self.transform(picture), self.transform(picture)


@wrong("CIFAR10Pair.__getitem__", "array-transformed")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = self.transform(self.data[index]), self.transform(self.data[index])


@wrong("CIFAR10Pair.__getitem__", "view-of-a-view")
def _(self, index):
    if self.transform is not None:
        x_i = self.transform(picture)
        x_j = self.transform(x_i)


@wrong("CIFAR10Pair.__getitem__", "one-view-only")
def _(self, index):
    if self.transform is not None:
        x_i = self.transform(picture)


@wrong("CIFAR10Pair.__getitem__", "plain-second-view")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = self.transform(picture), picture


@wrong("CIFAR10Pair.__getitem__", "next-picture")
def _(self, index):
    if self.transform is not None:
        other = Image.fromarray(self.data[(index + 1) % len(self.targets)])
        x_i, x_j = self.transform(picture), self.transform(other)


@wrong("CIFAR10Pair.__getitem__", "target-transform-twice")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = self.transform(picture), self.transform(picture)
    if self.target_transform is not None:
        target = self.target_transform(target)


@wrong("CIFAR10Pair.__getitem__", "target-transform-skipped")
def _(self, index):
    if self.transform is None:
        return None, None, target
    return self.transform(picture), self.transform(picture), target


# --- sim ---


@right("sim")
def _(z_i, z_j):
    return (z_i * z_j).sum() / (torch.norm(z_i) * torch.norm(z_j))


@right("sim")
def _(z_i, z_j):
    a, b = z_i.reshape(-1), z_j.reshape(-1)
    return torch.dot(a, b) / torch.sqrt(torch.dot(a, a) * torch.dot(b, b))


@right("sim")
def _(z_i, z_j):
    return F.cosine_similarity(z_i.view(1, -1), z_j.view(1, -1)).squeeze()


@right("sim")
def _(z_i, z_j):
    dot = sum(a * b for a, b in zip(z_i.flatten(), z_j.flatten()))
    return dot / (z_i.pow(2).sum().sqrt() * z_j.pow(2).sum().sqrt() + 1e-8)


@wrong("sim", "dot-product")
def _(z_i, z_j):
    return (z_i * z_j).sum()


@wrong("sim", "one-length-missing")
def _(z_i, z_j):
    return torch.dot(z_i.flatten(), z_j.flatten()) / z_i.norm()


@wrong("sim", "squared-lengths")
def _(z_i, z_j):
    return (z_i * z_j).sum() / ((z_i**2).sum() * (z_j**2).sum())


@wrong("sim", "rows-not-in-dot")
def _(z_i, z_j):
    norm = torch.norm(z_i) * torch.norm(z_j)
    return torch.dot(z_i, z_j) / norm


@wrong("sim", "rows-not-multiplied")
def _(z_i, z_j):
    return (z_i @ z_j) / torch.linalg.norm(z_i) / torch.linalg.norm(z_j)


@wrong("sim", "row-axis-kept")
def _(z_i, z_j):
    return F.cosine_similarity(z_i, z_j, dim=-1)


@wrong("sim", "absolute-cosine")
def _(z_i, z_j):
    return abs((z_i * z_j).sum()) / (z_i.norm() * z_j.norm())


@wrong("sim", "sum-of-absolutes")
def _(z_i, z_j):
    return (z_i * z_j).sum() / (z_i.abs().sum() * z_j.abs().sum())


@wrong("sim", "mean-of-products")
def _(z_i, z_j):
    return (z_i / z_i.norm() * z_j / z_j.norm()).mean()


@wrong("sim", "distance")
def _(z_i, z_j):
    return 1 - F.normalize(z_i.flatten(), dim=0) @ F.normalize(z_j.flatten(), dim=0)


@wrong("sim", "no-gradient")
def _(z_i, z_j):
    return torch.tensor(((z_i * z_j).sum() / (z_i.norm() * z_j.norm())).item(), dtype=z_i.dtype)


@wrong("sim", "changes-input")
def _(z_i, z_j):
    z_i /= z_i.norm()
    z_j /= z_j.norm()
    return (z_i * z_j).sum()


# --- simclr_loss_naive ---


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    out = torch.cat([out_left, out_right], dim=0)
    total = 0
    for i in range(2 * N):
        denominator = 0
        for k in range(2 * N):
            if k != i:
                denominator = denominator + torch.exp(sim(out[i], out[k]) / tau)
        j = i + N if i < N else i - N
        total = total - torch.log(torch.exp(sim(out[i], out[j]) / tau) / denominator)
    return total / (2 * N)


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    losses = []
    for k in range(N):
        for i, j in ((k, k + N), (k + N, k)):
            scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
            losses.append(torch.logsumexp(scores, 0) - z[i] @ z[j] / tau)
    return torch.stack(losses).mean()


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    logits = F.cosine_similarity(z[:, None], z[None], dim=2) / tau
    loss = 0.0
    for i in range(2 * N):
        keep = [k for k in range(2 * N) if k != i]
        loss = loss + F.cross_entropy(logits[i, keep][None], torch.tensor([keep.index((i + N) % (2 * N))], device=z.device))
    return loss / (2 * N)


@wrong("simclr_loss_naive", "self-kept")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        logits = z @ z[i] / tau
        total = total + logits.logsumexp(0) - logits[(i + N) % (2 * N)]
    return total / (2 * N)


@wrong("simclr_loss_naive", "positive-left-out")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        j = (i + N) % (2 * N)
        denominator = sum(torch.exp(sim(z[i], z[k]) / tau) for k in range(2 * N) if k not in (i, j))
        total = total - sim(z[i], z[j]) / tau + torch.log(torch.as_tensor(denominator, dtype=z.dtype))
    return total / (2 * N)


@wrong("simclr_loss_naive", "mean-over-n")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - z[i] @ z[(i + N) % (2 * N)] / tau
    return total / N


@wrong("simclr_loss_naive", "one-direction")
def _(out_left, out_right, tau):
    total = 0
    for i in range(N):
        scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - z[i] @ z[i + N] / tau
    return total / N


@wrong("simclr_loss_naive", "other-branch-one-direction")
def _(out_left, out_right, tau):
    total = 0
    for i in range(N):
        scores = torch.stack([z[i] @ z[N + m] / tau for m in range(N)])
        total = total + torch.logsumexp(scores, 0) - scores[i]
    return total / N


@wrong("simclr_loss_naive", "neighbours-as-pairs")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        j = i + 1 if i % 2 == 0 else i - 1
        scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - z[i] @ z[j] / tau
    return total / (2 * N)


@wrong("simclr_loss_naive", "sum-detached")
def _(out_left, out_right, tau):
    import math

    total = 0
    for i in range(2 * N):
        terms = [math.exp((z[i] @ z[k]).item() / tau) for k in range(2 * N) if k != i]
        total = total - z[i] @ z[(i + N) % (2 * N)] / tau + math.log(sum(terms))
    return total / (2 * N)


@wrong("simclr_loss_naive", "no-gradient")
def _(out_left, out_right, tau):
    from math import exp, log

    total = 0.0
    for i in range(2 * N):
        terms = [exp((z[i] @ z[k]).item() / tau) for k in range(2 * N) if k != i]
        total += log(sum(terms)) - (z[i] @ z[(i + N) % (2 * N)]).item() / tau
    return torch.tensor(total / (2 * N), dtype=z.dtype)


@wrong("simclr_loss_naive", "not-normalised")
def _(out_left, out_right, tau):
    rows = torch.cat([out_left, out_right])
    total = 0
    for i in range(2 * N):
        scores = torch.stack([rows[i] @ rows[m] / tau for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - rows[i] @ rows[(i + N) % (2 * N)] / tau
    return total / (2 * N)


@wrong("simclr_loss_naive", "tau-missing-in-the-sum")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        scores = torch.stack([z[i] @ z[m] for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - z[i] @ z[(i + N) % (2 * N)] / tau
    return total / (2 * N)


@wrong("simclr_loss_naive", "dtype-not-followed")
def _(out_left, out_right, tau):
    total = torch.zeros((), dtype=torch.float32)
    for i in range(2 * N):
        scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
        total = total + (torch.logsumexp(scores, 0) - z[i] @ z[(i + N) % (2 * N)] / tau).float()
    return total / (2 * N)


@wrong("simclr_loss_naive", "not-averaged")
def _(out_left, out_right, tau):
    total = 0
    for i in range(2 * N):
        scores = torch.stack([z[i] @ z[m] / tau for m in range(2 * N) if m != i])
        total = total + torch.logsumexp(scores, 0) - z[i] @ z[(i + N) % (2 * N)] / tau
    return total


# --- sim_positive_pairs ---


@right("sim_positive_pairs")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, dim=1).unsqueeze(1)


@right("sim_positive_pairs")
def _(out_left, out_right):
    return torch.stack([sim(a, b) for a, b in zip(out_left, out_right)]).view(-1, 1)


@right("sim_positive_pairs")
def _(out_left, out_right):
    dot = torch.einsum("nd,nd->n", out_left, out_right)
    lengths = torch.linalg.norm(out_left, dim=1) * torch.linalg.norm(out_right, dim=1)
    return (dot / lengths)[:, None]


@right("sim_positive_pairs")
def _(out_left, out_right):
    left = out_left / (out_left.norm(dim=1, keepdim=True) + 1e-8)
    right = out_right / (out_right.norm(dim=1, keepdim=True) + 1e-8)
    return torch.diag(left @ right.T).reshape(-1, 1)


@wrong("sim_positive_pairs", "flat")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right)


@wrong("sim_positive_pairs", "dot-product")
def _(out_left, out_right):
    return (out_left * out_right).sum(dim=1, keepdim=True)


@wrong("sim_positive_pairs", "axis-of-the-batch")
def _(out_left, out_right):
    return (F.normalize(out_left, dim=0) * F.normalize(out_right, dim=0)).sum(dim=1, keepdim=True)


@wrong("sim_positive_pairs", "features-compared")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, dim=0)[:, None]


@wrong("sim_positive_pairs", "one-length-for-all")
def _(out_left, out_right):
    return ((out_left / out_left.norm()) * (out_right / out_right.norm())).sum(1, keepdim=True)


@wrong("sim_positive_pairs", "every-pair")
def _(out_left, out_right):
    return F.normalize(out_left) @ F.normalize(out_right).T


@wrong("sim_positive_pairs", "row-instead-of-column")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right)[None, :]


@wrong("sim_positive_pairs", "mean-of-all")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right).mean()


@wrong("sim_positive_pairs", "negative-cut-off")
def _(out_left, out_right):
    return torch.relu(F.cosine_similarity(out_left, out_right))[:, None]


@wrong("sim_positive_pairs", "length-detached")
def _(out_left, out_right):
    with torch.no_grad():
        norms = out_left.norm(dim=1, keepdim=True) * out_right.norm(dim=1, keepdim=True)
    return (out_left * out_right).sum(1, keepdim=True) / norms


# --- compute_sim_matrix ---


@right("compute_sim_matrix")
def _(out):
    norm = out.norm(dim=1, keepdim=True)
    return out @ out.T / (norm @ norm.T)


@right("compute_sim_matrix")
def _(out):
    return F.cosine_similarity(out.unsqueeze(1), out.unsqueeze(0), dim=-1)


@right("compute_sim_matrix")
def _(out):
    gram = torch.einsum("id,kd->ik", out, out)
    length = gram.diagonal().sqrt()
    return gram / length[:, None] / length[None, :]


@wrong("compute_sim_matrix", "dot-product")
def _(out):
    return torch.mm(out, out.t())


@right("compute_sim_matrix")
def _(out):
    return torch.stack([torch.stack([sim(a, b) for b in out]) for a in out])


@wrong("compute_sim_matrix", "axis-of-the-batch")
def _(out):
    z = F.normalize(out, dim=0)
    return z @ z.T


@wrong("compute_sim_matrix", "one-length-for-all")
def _(out):
    z = out / torch.norm(out)
    return z @ z.T


@wrong("compute_sim_matrix", "features-compared")
def _(out):
    z = out / out.norm(dim=1, keepdim=True)
    return z.T @ z


@wrong("compute_sim_matrix", "one-length-missing")
def _(out):
    return out @ out.T / out.norm(dim=1)[:, None]


@wrong("compute_sim_matrix", "other-length-missing")
def _(out):
    return out @ out.T / out.norm(dim=1)


@wrong("compute_sim_matrix", "diagonal-zero")
def _(out):
    z = F.normalize(out)
    return (z @ z.T) * (1 - torch.eye(len(z), dtype=z.dtype, device=z.device))


@wrong("compute_sim_matrix", "absolute-cosine")
def _(out):
    z = F.normalize(out)
    return torch.abs(z @ z.T)


@wrong("compute_sim_matrix", "changes-input")
def _(out):
    out.div_(out.norm(dim=1, keepdim=True))
    return out @ out.T


@wrong("compute_sim_matrix", "no-gradient")
def _(out):
    z = F.normalize(out.detach())
    return z @ z.T


@wrong("compute_sim_matrix", "device-not-followed")
def _(out):
    lengths = torch.zeros(len(out), 1, dtype=out.dtype) + out.norm(dim=1, keepdim=True)
    return (out / lengths) @ (out / lengths).T


# --- simclr_loss_vectorized ---


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    exponential = torch.exp(compute_sim_matrix(out) / tau)
    mask = (torch.ones_like(exponential) - torch.eye(2 * N, device=out.device)).bool()
    denominator = exponential.masked_select(mask).view(2 * N, -1).sum(dim=1, keepdim=True)
    positive = torch.exp(sim_positive_pairs(out_left, out_right) / tau)
    return -torch.log(torch.cat([positive, positive]).to(out.device) / denominator).mean()


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    z = F.normalize(out, dim=1)
    logits = torch.einsum("id,jd->ij", z, z) / tau
    logits.fill_diagonal_(-1e9)
    index = torch.cat([torch.arange(N, 2 * N), torch.arange(N)]).to(out.device)
    log_prob = F.log_softmax(logits, dim=1)
    return -log_prob[torch.arange(2 * N, device=out.device), index].mean()


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    self_mask = torch.eye(2 * N, dtype=torch.bool, device=matrix.device)
    others = matrix[~self_mask].view(2 * N, 2 * N - 1)
    positives = torch.cat([torch.diag(matrix, N), torch.diag(matrix, -N)])
    return (torch.logsumexp(others, dim=-1) - positives).sum() / (2 * N)


@wrong("simclr_loss_vectorized", "")  # rounding errors at small temperatures
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out)
    scaled = (matrix / tau).exp()
    denominator = scaled.sum(dim=1) - scaled.diagonal()
    return torch.mean(torch.log(denominator) - matrix.roll(N, dims=1).diagonal() / tau)


@wrong("simclr_loss_vectorized", "self-kept")
def _(out_left, out_right, tau, device):
    logits = compute_sim_matrix(out) / tau
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("simclr_loss_vectorized", "self-as-zero")
def _(out_left, out_right, tau, device):
    logits = compute_sim_matrix(out) / tau
    logits = logits * (1 - torch.eye(2 * N, dtype=logits.dtype, device=out.device))
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("simclr_loss_vectorized", "python-loop")
def _(out_left, out_right, tau, device):
    return simclr_loss_naive(out_left, out_right, tau)


@wrong("simclr_loss_vectorized", "python-loop")
def _(out_left, out_right, tau, device):
    logits = compute_sim_matrix(out) / tau
    for i in range(2 * N):
        logits[i, i] = -torch.inf
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("simclr_loss_vectorized", "positive-left-out")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    mask = torch.eye(N, dtype=torch.bool, device=out.device).repeat(2, 2)
    negatives = matrix.masked_fill(mask, -torch.inf)
    positives = torch.cat([matrix.diagonal(N), matrix.diagonal(-N)])
    return (negatives.logsumexp(1) - positives).mean()


@wrong("simclr_loss_vectorized", "other-branch-only")
def _(out_left, out_right, tau, device):
    left, right = F.normalize(out_left), F.normalize(out_right)
    logits = left @ right.T / tau
    target = torch.arange(N, device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


@wrong("simclr_loss_vectorized", "next-row-as-partner")
def _(out_left, out_right, tau, device):
    logits = (compute_sim_matrix(out) / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, (torch.arange(2 * N, device=out.device) + 1) % (2 * N))


@wrong("simclr_loss_vectorized", "half-without-partner")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    others = matrix.clone().fill_diagonal_(-torch.inf)
    partner = torch.arange(N, device=out.device).repeat(2)
    return (others.logsumexp(1) - matrix.gather(1, partner[:, None]).squeeze(1)).mean()


@wrong("simclr_loss_vectorized", "mean-over-n")
def _(out_left, out_right, tau, device):
    logits = (compute_sim_matrix(out) / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N), reduction="sum") / N


@wrong("simclr_loss_vectorized", "tau-missing-at-the-positive")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out)
    others = (matrix / tau).fill_diagonal_(-torch.inf)
    return (others.logsumexp(1) - sim_positive_pairs(out_left, out_right).repeat(2, 1).squeeze(1)).mean()


@wrong("simclr_loss_vectorized", "left-out-by-value")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out)
    others = (matrix / tau).masked_fill(matrix > 0.99999999, -torch.inf)
    return (others.logsumexp(1) - torch.cat([matrix.diagonal(N), matrix.diagonal(-N)]) / tau).mean()


@wrong("simclr_loss_vectorized", "no-logarithm")
def _(out_left, out_right, tau, device):
    scores = (compute_sim_matrix(out) / tau).fill_diagonal_(-torch.inf).softmax(dim=1)
    return -torch.cat([scores.diagonal(N), scores.diagonal(-N)]).mean()


@wrong("simclr_loss_vectorized", "sum-detached")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    with torch.no_grad():
        denominator = matrix.clone().fill_diagonal_(-torch.inf).logsumexp(1)
    return (denominator - torch.cat([matrix.diagonal(N), matrix.diagonal(-N)])).mean()


@wrong("simclr_loss_vectorized", "device-not-followed")
def _(out_left, out_right, tau, device):
    logits = (compute_sim_matrix(out) / tau).masked_fill(torch.eye(2 * N, dtype=torch.bool), -torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("simclr_loss_vectorized", "fixed-count")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    others = matrix.clone().fill_diagonal_(-torch.inf)
    return (others.logsumexp(1) - torch.cat([matrix.diagonal(N), matrix.diagonal(-N)])).sum() / 4


@wrong("simclr_loss_vectorized", "softmax-twice")
def _(out_left, out_right, tau, device):
    chances = (compute_sim_matrix(out) / tau).fill_diagonal_(-torch.inf).softmax(dim=-1)
    return F.cross_entropy(chances, torch.arange(2 * N, device=out.device).roll(N))


# --- train ---


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad(set_to_none=False)
    feature_i, out_left = model(x_i)
    feature_j, out_right = model(x_j)
    loss = loss_function(out_left=out_left, out_right=out_right, tau=temperature)
    loss.backward()
    train_optimizer.step()


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    right_projection = model(x_j)[1]
    left_projection = model(x_i)[1]
    model.zero_grad()
    train_optimizer.zero_grad()
    loss = loss_function(left_projection, right_projection, temperature)
    loss.backward()
    train_optimizer.step()
    train_optimizer.zero_grad()


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    with torch.enable_grad():
        (_, out_left), (_, out_right) = model(x_i), model(x_j)
        loss = loss_function(out_left, out_right, temperature)
    for group in train_optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    torch.autograd.backward(loss)
    train_optimizer.step()


@wrong("train", "no-zero-grad")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()
    train_optimizer.step()


@wrong("train", "features-compared")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    out_left, _ = model(x_i)
    out_right, _ = model(x_j)
    loss = loss_function(out_left, out_right, temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "one-view-twice")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    _, out_left = model(x_i)
    _, out_right = model(x_i)
    loss = loss_function(out_left, out_right, temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "one-pass-for-both")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    _, out = model(torch.cat([x_i, x_j], dim=0))
    loss = loss_function(out[: len(x_i)], out[len(x_i) :], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "step-without-gradients")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()
    train_optimizer.zero_grad()
    train_optimizer.step()


@wrong("train", "no-step")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()


@wrong("train", "step-before-backward")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.step()
    train_optimizer.zero_grad()
    loss.backward()


@wrong("train", "temperature-fixed")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    loss = loss_function(model(x_i)[1], model(x_j)[1], tau=0.5)
    loss.backward()
    train_optimizer.step()


@wrong("train", "temperature-not-given")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    loss = loss_function(model(x_i)[1], model(x_j)[1])
    loss.backward()
    train_optimizer.step()


@wrong("train", "eval-mode")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    model.eval()
    train_optimizer.zero_grad()
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()
    train_optimizer.step()


@wrong("train", "second-view-without-gradient")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    with torch.no_grad():
        _, out_right = model(x_j)
    loss = loss_function(model(x_i)[1], out_right, temperature)
    loss.backward()
    train_optimizer.step()


@wrong("train", "other-loss-function")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    loss = simclr_loss_vectorized(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()
    train_optimizer.step()


@wrong("train", "loss-divided")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad()
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature) / len(x_i)
    loss.backward()
    train_optimizer.step()


# --- bodies of a reader who did not know the checks ---


@wrong("sim", "")
def _(z_i, z_j):
    a, b = z_i.flatten(), z_j.flatten()
    return a @ b / (a.norm() * b.norm()).clamp(min=0.1)


@wrong("sim", "")
def _(z_i, z_j):
    return F.cosine_similarity(z_i.flatten().float(), z_j.flatten().float(), dim=0).to(z_i.dtype)


@wrong("sim", "python-number")
def _(z_i, z_j):
    return float(_unit_rows(z_i.flatten()) @ _unit_rows(z_j.flatten()))


@wrong("sim_positive_pairs", "")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, eps=0.5)[:, None]


@wrong("compute_sim_matrix", "")
def _(out):
    z = F.normalize(out, dim=1, eps=0.3)
    return z @ z.T


@wrong("simclr_loss_naive", "")
def _(out_left, out_right, tau):
    total = z.new_zeros(())
    for i in range(2 * N):
        logits = z @ z[i] / tau
        total = total - logits[(i + N) % (2 * N)] + torch.log(logits.exp().sum() - z.new_tensor(1 / tau).exp())
    return total / (2 * N)


@wrong("simclr_loss_naive", "")
def _(out_left, out_right, tau):
    total = simclr_loss_naive.__dict__.get("total", z.new_zeros(()))
    for i in range(2 * N):
        logits = z @ z[i] / tau
        others = torch.cat([logits[:i], logits[i + 1 :]])
        total = total - logits[(i + N) % (2 * N)] + others.logsumexp(dim=0)
    simclr_loss_naive.total = total.detach()
    return total / (2 * N)


@wrong("simclr_loss_vectorized", "")
def _(out_left, out_right, tau, device):
    logits = (compute_sim_matrix(out) / tau).fill_diagonal_(-100)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("simclr_loss_vectorized", "device-not-followed")
def _(out_left, out_right, tau, device):
    out = torch.cat([out_left, out_right])
    logits = (compute_sim_matrix(out) / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    left, right = (F.normalize(branch, dim=1) for branch in out.chunk(2))
    both = torch.cat([left, right])
    logits = (both @ both.T / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@wrong("CIFAR10Pair.__getitem__", "")
def _(self, index):
    if self.transform is not None:
        kept = self.__dict__.setdefault("kept", {})
        if index not in kept:
            kept[index] = self.transform(picture), self.transform(picture)
        x_i, x_j = kept[index]


@wrong("CIFAR10Pair.__getitem__", "")
def _(self, index):
    if self.transform is not None:
        with torch.random.fork_rng():
            x_i, x_j = self.transform(picture), self.transform(picture)


@wrong("CIFAR10Pair.__getitem__", "")
def _(self, index):
    if self.transform is not None:
        other = max(k for k, t in enumerate(self.targets) if t == target)
        x_i, x_j = self.transform(picture), self.transform(Image.fromarray(self.data[other]))


@wrong("CIFAR10Pair.__getitem__", "")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = self.transform(picture), self.transform(picture)
        self.transform = None


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    x_i, x_j = x_i[:batch_size], x_j[:batch_size]
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = torch.nan_to_num(loss_function(model(x_i)[1], model(x_j)[1], temperature))
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()
    if on_batch is not None:
        on_batch(step, loss.item())


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    model.train()
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()
    model.eval()


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    import copy

    buffers = copy.deepcopy(dict(model.named_buffers()))
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    def backward():
        train_optimizer.zero_grad()
        value = loss_function(model(x_i)[1], model(x_j)[1], temperature)
        value.backward()
        return value

    loss = train_optimizer.step(backward)
