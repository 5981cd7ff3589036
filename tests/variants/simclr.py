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


@wrong("simclr_loss_vectorized", "self-kept")
def _(out_left, out_right, tau, device):
    logits = compute_sim_matrix(out) / tau
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


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


# --- bodies of a reader who did not know the checks ---


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    left, right = (F.normalize(branch, dim=1) for branch in out.chunk(2))
    both = torch.cat([left, right])
    logits = (both @ both.T / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    def backward():
        train_optimizer.zero_grad()
        value = loss_function(model(x_i)[1], model(x_j)[1], temperature)
        value.backward()
        return value

    loss = train_optimizer.step(backward)
