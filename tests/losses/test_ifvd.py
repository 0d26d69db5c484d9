import numpy as np
from loss_battery import check_loss

from tfsegkd.losses import IFVDLoss


def cosine(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def oracle(teacher, student, labels, valid, image):
    labelled = (valid > 0) & (labels >= 0)
    each = []
    for y, x in np.argwhere(labelled):
        members = np.argwhere(labelled & (labels == labels[y, x]))
        similarity = []
        for side in (teacher, student):
            centre = np.mean([side[v, u] for v, u in members], axis=0)
            similarity.append(cosine(side[y, x], centre))
        each.append((similarity[0] - similarity[1]) ** 2)
    return np.mean(each) if each else 0.0


def test_battery():
    check_loss(IFVDLoss(), oracle)
    check_loss(IFVDLoss(), oracle, channels=(6, 3), zero_at_equality=False)
