"""SimCLR: representations learned by distinguishing the two views of one image from the views of all others.

data_utils.py        augmentation, CIFAR-10 as pairs of views
batch_augment.py     the same augmentation for whole batches of tensors
contrastive_loss.py  the loss, from one pair to the matrix
model.py             encoder and projection head, linear probe
utils.py             training, evaluation by nearest neighbours and by a linear probe
resume.py            training and evaluation that go on after a kill
distributed.py       what makes the step of many devices equal to the step of one
pretrain.py          training on one or many devices, with torchrun
"""
