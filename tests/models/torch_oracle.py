"""torchvision's layers and its segmentation networks in plain NumPy, on one image (H, W, C)."""

import numpy as np


def conv2d(x, kernel, stride=1, dilation=1, bias=None):
    """Kernel (out, in, kh, kw); zeros all around keep the size at stride 1."""
    reach = dilation * (kernel.shape[2] - 1) // 2
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    height, width = (-(-side // stride) for side in x.shape[:2])
    out = np.zeros((height, width, kernel.shape[0]))
    for row in range(kernel.shape[2]):
        for column in range(kernel.shape[3]):
            seen = padded[row * dilation :, column * dilation :][: x.shape[0] : stride, : x.shape[1] : stride]
            out += seen @ kernel[:, :, row, column].T
    return out if bias is None else out + bias


def norm(x, gamma, beta, mean, variance):
    return (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta


def relu(x):
    return np.maximum(x, 0)


def max_pool(x):
    """3×3 with stride 2 and one pixel of padding."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    seen = [padded[i : i + x.shape[0] : 2, j : j + x.shape[1] : 2] for i in range(3) for j in range(3)]
    return np.max(seen, axis=0)


def enlarge(x, factor):
    """Bilinear, without aligned corners."""
    for axis in (0, 1):
        length = x.shape[axis]
        at = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0, length - 1)
        low = np.floor(at).astype(int)
        share = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        above = np.minimum(low + 1, length - 1)
        x = np.take(x, low, axis) * (1 - share) + np.take(x, above, axis) * share
    return x


class Network:
    """A forward pass of `deeplabv3_resnet50` or `fcn_resnet50` from its state dict, at output stride 8."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __call__(self, pixels):
        """Logits of one image of raw pixels."""
        x = (pixels / 255.0 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        x = self._backbone(x)
        x = self._deeplab(x) if "classifier.0.project.0.weight" in self.tensors else self._fcn(x)
        return enlarge(x, 8)

    def _conv(self, x, conv, bn, stride=1, dilation=1):
        x = conv2d(x, self.tensors[f"{conv}.weight"], stride, dilation)
        parts = ("weight", "bias", "running_mean", "running_var")
        return norm(x, *(self.tensors[f"{bn}.{part}"] for part in parts))

    def _backbone(self, x):
        x = max_pool(relu(self._conv(x, "backbone.conv1", "backbone.bn1", 2)))
        stages = ((3, 1, 1, 1), (4, 2, 1, 1), (6, 1, 1, 2), (3, 1, 2, 4))
        for stage, (count, stride, first, rest) in enumerate(stages, start=1):
            for number in range(count):
                name = f"backbone.layer{stage}.{number}"
                here, dilation = (stride, first) if number == 0 else (1, rest)
                y = relu(self._conv(x, f"{name}.conv1", f"{name}.bn1"))
                y = relu(self._conv(y, f"{name}.conv2", f"{name}.bn2", here, dilation))
                y = self._conv(y, f"{name}.conv3", f"{name}.bn3")
                if number == 0:
                    x = self._conv(x, f"{name}.downsample.0", f"{name}.downsample.1", here)
                x = relu(x + y)
        return x

    def _deeplab(self, x):
        name = "classifier.0.convs"
        branches = [self._conv(x, f"{name}.0.0", f"{name}.0.1")]
        for number, rate in enumerate((12, 24, 36), start=1):
            branches.append(self._conv(x, f"{name}.{number}.0", f"{name}.{number}.1", dilation=rate))
        mean = self._conv(x.mean((0, 1), keepdims=True), f"{name}.4.1", f"{name}.4.2")
        branches.append(np.broadcast_to(mean, branches[0].shape))
        x = relu(np.concatenate(branches, -1))
        x = relu(self._conv(x, "classifier.0.project.0", "classifier.0.project.1"))
        x = relu(self._conv(x, "classifier.1", "classifier.2"))
        return conv2d(x, self.tensors["classifier.4.weight"], bias=self.tensors["classifier.4.bias"])

    def _fcn(self, x):
        x = relu(self._conv(x, "classifier.0", "classifier.1"))
        return conv2d(x, self.tensors["classifier.4.weight"], bias=self.tensors["classifier.4.bias"])


def state_dict(network, num_classes, width=8, filters=8, seed=0):
    """Random tensors under torchvision's names, with `width` channels in place of 64.

    Args:
        network: 'deeplabv3_resnet50', 'fcn_resnet50' or 'resnet50', which is a classifier.
        filters: Channels of DeepLab's head.
    """
    rng = np.random.default_rng(seed)
    tensors = {}

    def conv(name, after, before, kernel, bias=False):
        scale = np.sqrt(2 / (before * kernel**2))
        tensors[f"{name}.weight"] = scale * rng.normal(size=(after, before, kernel, kernel))
        if bias:
            tensors[f"{name}.bias"] = rng.normal(size=after)

    def bn(name, channels):
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            tensors[f"{name}.{part}"] = low + rng.uniform(size=channels)
        tensors[f"{name}.num_batches_tracked"] = np.int64(7)

    prefix = "" if network == "resnet50" else "backbone."
    conv(f"{prefix}conv1", width, 3, 7)
    bn(f"{prefix}bn1", width)
    before = width
    for stage, count in enumerate((3, 4, 6, 3)):
        inner = width * 2**stage
        for number in range(count):
            name = f"{prefix}layer{stage + 1}.{number}"
            for part, (after, source, kernel) in enumerate(
                ((inner, before, 1), (inner, inner, 3), (4 * inner, inner, 1)), start=1
            ):
                conv(f"{name}.conv{part}", after, source, kernel)
                bn(f"{name}.bn{part}", after)
            if number == 0:
                conv(f"{name}.downsample.0", 4 * inner, before, 1)
                bn(f"{name}.downsample.1", 4 * inner)
            before = 4 * inner
    if network == "resnet50":
        tensors["fc.weight"], tensors["fc.bias"] = rng.normal(size=(10, before)), rng.normal(size=10)
    elif network == "fcn_resnet50":
        conv("classifier.0", before // 4, before, 3)
        bn("classifier.1", before // 4)
        conv("classifier.4", num_classes, before // 4, 1, bias=True)
    else:
        for number, kernel in enumerate((1, 3, 3, 3)):
            conv(f"classifier.0.convs.{number}.0", filters, before, kernel)
            bn(f"classifier.0.convs.{number}.1", filters)
        conv("classifier.0.convs.4.1", filters, before, 1)
        bn("classifier.0.convs.4.2", filters)
        conv("classifier.0.project.0", filters, 5 * filters, 1)
        bn("classifier.0.project.1", filters)
        conv("classifier.1", filters, filters, 3)
        bn("classifier.2", filters)
        conv("classifier.4", num_classes, filters, 1, bias=True)
    if network != "resnet50":
        conv("aux_classifier.0", before // 8, before // 2, 3)
        bn("aux_classifier.1", before // 8)
        conv("aux_classifier.4", num_classes, before // 8, 1, bias=True)
    return {
        name: np.asarray(array, np.int64 if name.endswith("tracked") else np.float32)
        for name, array in tensors.items()
    }
