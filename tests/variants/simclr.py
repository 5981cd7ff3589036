"""SimCLR: right bodies in other styles, and wrong ones that are no small edit of the lesson's."""

import torch
import torch.nn.functional as F
from torchvision import transforms

from tests.variants import Variants

VARIANTS = Variants()
wrong, right = VARIANTS.wrong, VARIANTS.right


@right("compute_train_transform")
def _(seed):
    steps = [transforms.RandomResizedCrop(size=(32, 32)), transforms.RandomHorizontalFlip()]
    steps.append(transforms.RandomApply(torch.nn.ModuleList([colour_jitter]), p=0.8))
    steps.append(transforms.RandomGrayscale(0.2))


@right("compute_train_transform")
def _(seed):
    steps = [transforms.RandomResizedCrop(32, scale=(0.08, 1.0)), transforms.RandomHorizontalFlip(0.5)]
    steps += [transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8), transforms.RandomGrayscale(p=0.2)]
    return transforms.Compose([*steps, transforms.ToTensor(), transforms.Normalize(CIFAR10_MEAN, CIFAR10_STD)])


@right("compute_train_transform")
def _(seed):
    geometry = transforms.Compose([transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(p=0.5)])
    colours = transforms.Compose([transforms.RandomApply([colour_jitter], p=0.8), transforms.RandomGrayscale(p=0.2)])
    steps = (geometry, colours)


@right("compute_train_transform")
def _(seed):
    def jitter(picture):
        return colour_jitter(picture) if torch.rand(1) <= 0.8 else picture

    steps = [transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(), jitter, transforms.RandomGrayscale(0.2)]


@right("compute_train_transform")
def _(seed):
    crop, flip = transforms.RandomResizedCrop((32, 32), ratio=(3 / 4, 4 / 3)), transforms.RandomHorizontalFlip(0.5)
    grey = transforms.RandomApply([transforms.Grayscale(3)], p=0.2)
    steps = [crop, flip, transforms.RandomApply([transforms.Lambda(colour_jitter)], p=0.8), grey]


@wrong("compute_train_transform", "jitter-always")
def _(seed):
    steps = [transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(p=0.5)]
    steps += [colour_jitter, transforms.RandomGrayscale(p=0.2)]


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform:
        x_j = self.transform(picture)
        x_i = self.transform(picture)


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = [self.transform(Image.fromarray(self.data[index])) for _ in range(2)]


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is not None:
        x_i, x_j = self.transform(picture.copy()), self.transform(picture.copy())
    if self.target_transform is not None:
        return x_i, x_j, self.target_transform(target)
    return x_i, x_j, target


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    view = self.transform or (lambda picture: None)
    x_i, x_j = map(view, (picture, picture))


@right("CIFAR10Pair.__getitem__")
def _(self, index):
    if self.transform is None:
        return [None, None, target if self.target_transform is None else self.target_transform(target)]
    x_i, x_j = torch.stack([self.transform(picture), self.transform(picture)]).unbind()


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
        other = max(k for k, t in enumerate(self.targets) if t == target)
        x_i, x_j = self.transform(picture), self.transform(Image.fromarray(self.data[other]))


@right("sim")
def _(z_i, z_j):
    return (z_i * z_j).sum() / (torch.norm(z_i) * torch.norm(z_j))


@right("sim")
def _(z_i, z_j):
    a, b = z_i.reshape(-1), z_j.reshape(-1)
    return torch.dot(a, b) / torch.sqrt(torch.dot(a, a) * torch.dot(b, b))


@right("sim")
def _(z_i, z_j):
    return F.cosine_similarity(z_i, z_j, dim=-1)  # note: keeps an axis


@right("sim")
def _(z_i, z_j):
    dot = sum(a * b for a, b in zip(z_i.flatten(), z_j.flatten()))
    return dot / (z_i.pow(2).sum().sqrt() * z_j.pow(2).sum().sqrt() + 1e-8)


@right("sim")
def _(z_i, z_j):
    return torch.einsum("...d,...d->", z_i / z_i.norm().clamp(min=1e-6), z_j / z_j.norm().clamp(min=1e-6)).cpu()


@wrong("sim", "no-gradient")
def _(z_i, z_j):
    return torch.tensor(((z_i * z_j).sum() / (z_i.norm() * z_j.norm())).item(), dtype=z_i.dtype)


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    out, total = torch.cat([out_left, out_right], dim=0), 0
    for i in range(2 * N):
        denominator = sum(torch.exp(sim(out[i], out[k]) / tau) for k in range(2 * N) if k != i)
        j = i + N if i < N else i - N
        total = total - torch.log(torch.exp(sim(out[i], out[j]) / tau) / denominator)
    return total / (2 * N)  # note: below about 0.05


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
    logits, loss = F.cosine_similarity(z[:, None], z[None], dim=2) / tau, 0.0
    for i in range(2 * N):
        keep = [k for k in range(2 * N) if k != i]
        loss = loss + F.cross_entropy(logits[i, keep][None], torch.tensor([keep.index((i + N) % (2 * N))], device=z.device))
    return loss / (2 * N)


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    total = z.new_zeros(())
    for i in range(2 * N):
        logits = z @ z[i] / tau
        total -= logits[(i + N) % (2 * N)] - torch.log(logits.exp().sum() - logits[i].exp())
    return total / (2 * N)  # note: temperatures of 0.01


@right("simclr_loss_naive")
def _(out_left, out_right, tau):
    def loss(i):
        logits = torch.einsum("kd,d->k", z, z[i]).div(tau)
        return torch.cat([logits[:i], logits[i + 1 :]]).logsumexp(0) - logits[i - N]

    return torch.stack([loss(i) for i in range(2 * N)]).mean().cpu()


@wrong("simclr_loss_naive", "")
def _(out_left, out_right, tau):
    total = simclr_loss_naive.__dict__.get("total", z.new_zeros(()))
    for i in range(2 * N):
        logits = z @ z[i] / tau
        total = total - logits[(i + N) % (2 * N)] + torch.cat([logits[:i], logits[i + 1 :]]).logsumexp(dim=0)
    simclr_loss_naive.total = total.detach()
    return total / (2 * N)


@right("sim_positive_pairs")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right, dim=1).unsqueeze(1)


@right("sim_positive_pairs")
def _(out_left, out_right):
    return torch.stack([sim(a, b) for a, b in zip(out_left, out_right)]).view(-1, 1)


@right("sim_positive_pairs")
def _(out_left, out_right):
    lengths = torch.linalg.norm(out_left, dim=1) * torch.linalg.norm(out_right, dim=1)
    return (torch.einsum("nd,nd->n", out_left, out_right) / lengths)[:, None]


@right("sim_positive_pairs")
def _(out_left, out_right):
    left, right = (z / (z.norm(dim=1, keepdim=True) + 1e-8) for z in (out_left, out_right))
    return torch.diag(left @ right.T).reshape(-1, 1)


@right("sim_positive_pairs")
def _(out_left, out_right):
    left, right = F.normalize(out_left), F.normalize(out_right)
    return torch.bmm(left.unsqueeze(1), right.unsqueeze(2)).squeeze(2)


@wrong("sim_positive_pairs", "row-instead-of-column")
def _(out_left, out_right):
    return F.cosine_similarity(out_left, out_right)[None, :]


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


@right("compute_sim_matrix")
def _(out):
    return torch.stack([torch.stack([sim(a, b) for b in out]) for a in out])


@right("compute_sim_matrix")
def _(out):
    z = out.clone()
    z /= out.square().sum(1, keepdim=True).sqrt()
    return (z[:, None] * z[None]).sum(-1)


@wrong("compute_sim_matrix", "device-not-followed")
def _(out):
    lengths = torch.zeros(len(out), 1, dtype=out.dtype) + out.norm(dim=1, keepdim=True)
    return (out / lengths) @ (out / lengths).T


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
    log_prob = F.log_softmax((torch.einsum("id,jd->ij", z, z) / tau).fill_diagonal_(-1e9), dim=1)
    index = torch.cat([torch.arange(N, 2 * N), torch.arange(N)]).to(out.device)
    return -log_prob[torch.arange(2 * N, device=out.device), index].mean()


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out) / tau
    others = matrix[~torch.eye(2 * N, dtype=torch.bool, device=matrix.device)].view(2 * N, 2 * N - 1)
    positives = torch.cat([torch.diag(matrix, N), torch.diag(matrix, -N)])
    return (torch.logsumexp(others, dim=-1) - positives).sum() / (2 * N)


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    matrix = compute_sim_matrix(out)
    scaled = (matrix / tau).exp()
    return torch.mean(
        torch.log(scaled.sum(dim=1) - scaled.diagonal()) - matrix.roll(N, dims=1).diagonal() / tau
    )  # note: temperatures of 0.01


@right("simclr_loss_vectorized")
def _(out_left, out_right, tau, device):
    left, right = (F.normalize(branch, dim=1) for branch in (out_left, out_right))
    logits = (torch.cat([left, right]) @ torch.cat([left, right]).T / tau).fill_diagonal_(-torch.inf)
    return F.cross_entropy(logits, torch.arange(2 * N, device=logits.device).roll(N))  # note: where the inputs are


@wrong("simclr_loss_vectorized", "python-loop")
def _(out_left, out_right, tau, device):
    logits = compute_sim_matrix(out) / tau
    for i in range(2 * N):
        logits[i, i] = -torch.inf
    return F.cross_entropy(logits, torch.arange(2 * N, device=out.device).roll(N))


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    train_optimizer.zero_grad(set_to_none=False)
    (feature_i, out_left), (feature_j, out_right) = model(x_i), model(x_j)
    loss = loss_function(out_left=out_left, out_right=out_right, tau=temperature)
    loss.backward()
    train_optimizer.step()


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    right_projection = model(x_j)[1]
    loss = loss_function(model(x_i)[1], right_projection, temperature)
    model.zero_grad()
    loss.backward()
    train_optimizer.step()
    train_optimizer.zero_grad()


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    loss.backward()
    train_optimizer.step()
    train_optimizer.zero_grad()  # note: left in the model before the epoch


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    with torch.enable_grad():
        loss = loss_function(*(model(view)[-1] for view in (x_i, x_j)), temperature)
    for parameter in (p for group in train_optimizer.param_groups for p in group["params"]):
        parameter.grad = None
    torch.autograd.backward(loss)
    train_optimizer.step()


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    def backward():
        train_optimizer.zero_grad()
        value = loss_function(model(x_i)[1], model(x_j)[1], temperature)
        value.backward()
        return value

    loss = train_optimizer.step(backward)


@right("train")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    kept = []
    hook = model.register_forward_hook(lambda module, inputs, output: kept.append(output[1]))
    model(x_i), model(x_j)
    hook.remove()
    loss = loss_function(*kept, temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()


@wrong("train", "")
def _(model, data_loader, train_optimizer, epoch, epochs, batch_size, temperature, device):
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    loss = loss_function(model(x_i)[1], model(x_j)[1], temperature)
    train_optimizer.zero_grad()
    loss.backward()
    train_optimizer.step()
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
