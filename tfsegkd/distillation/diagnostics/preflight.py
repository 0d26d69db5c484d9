"""Whether distillation can work at all, found out before the first step."""

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import tensorflow as tf

from tfsegkd import models
from tfsegkd._keras import keras
from tfsegkd.data import UNLABELLED, DatasetInfo
from tfsegkd.distillation.batches import read_batch
from tfsegkd.distillation.diagnostics.gradient_norms import TermGradient, measure_gradients
from tfsegkd.distillation.diagnostics.network_check import Finding, NetworkCheck, Sample
from tfsegkd.distillation.diagnostics.scores import Score, untrained_layers
from tfsegkd.distillation.features import feature_extractor
from tfsegkd.distillation.teachers import Ensemble, Teacher, load_teacher
from tfsegkd.distillation.terms import LOGITS, Term
from tfsegkd.graph import check_functional

_LEVELS = ("error", "warning", "note")
_FEW_IMAGES = 2000
# A term's gradient, in gradients of the labels' loss. In docs/results/camvid_unet.md 78 cost eight points.
_TOO_HIGH, _TOO_LOW = 30.0, 1e-3


@dataclasses.dataclass(frozen=True)
class PreflightReport:
    """What `preflight` found and measured; printed, it is a few lines.

    Args:
        teacher, student: Their names.
        num_images: How many images this was found on.
        findings: What was noticed, errors first.
        chance: The best score possible without looking at the images; None where fewer than two classes are
            labelled.
        uniform_cross_entropy: That of giving every class the same probability, ln C.
        teacher_score, student_score: None where they could not be measured.
        member_scores: Of each of several teachers, by name; empty where there is one, or where what each says
            is not known.
        pulls: How strong the task loss and each term are; empty without terms, or if something is wrong.
    """

    teacher: str
    student: str
    num_images: int
    findings: tuple[Finding, ...]
    random_baseline: Score | None
    uniform_cross_entropy: float
    teacher_score: Score | None
    student_score: Score | None
    member_scores: Mapping[str, Score] = dataclasses.field(default_factory=dict)
    gradients: tuple[TermGradient, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error; there may be warnings."""
        return not any(finding.level == "error" for finding in self.findings)

    def raise_for_errors(self) -> None:
        """Refuses to go on where distillation cannot work.

        Raises:
            ValueError: with the reasons and the cures, if there is an error.
        """
        errors = [f"- {finding}" for finding in self.findings if finding.level == "error"]
        if errors:
            raise ValueError("\n".join(["Distillation cannot work like this.", *errors]))

    def to_json(self) -> str:
        # A diverged term is NaN, which JSON cannot say.
        plain = json.loads(json.dumps(dataclasses.asdict(self)), parse_constant=lambda _: None)
        return json.dumps(plain, indent=2)

    def __str__(self):
        lines = [f"Preflight of {self.teacher!r} → {self.student!r} on {self.num_images} images"]
        members = {f"teacher {name!r} alone": score for name, score in self.member_scores.items()}
        scores = {**members, "teacher": self.teacher_score}
        scores |= {"student": self.student_score, "chance": self.random_baseline}
        lines += [f"  {name}: {score}" for name, score in scores.items() if score is not None]
        lines += [f"  {gradient}" for gradient in self.gradients]
        lines += [f"  {finding.level}: {finding}" for finding in self.findings]
        return "\n".join(lines if self.findings else [*lines, "  nothing wrong"])


def preflight(
    teacher,
    student: keras.Model,
    batches: Iterable,
    info: DatasetInfo,
    terms: Sequence[Term] | None = None,
    *,
    num_training_images: int | None = None,
    max_batches: int = 8,
    balanced: bool = False,
) -> PreflightReport:
    """Finds out on a few images whether the teacher has something to teach and the student can learn it.

    Most distillation that fails does so for a reason that shows before the first step: weights that were not
    loaded, classes in another order, other preprocessing, probabilities where logits are due, void counted as
    a class, a loss many times as loud as the labels. Nothing is trained or changed, and a second call finds
    the same.

    Args:
        teacher: Whatever `load_teacher` takes.
        student: A functional Keras network.
        batches: Evaluation batches of the size that the student is trained at; with a recorded teacher, those
            that carry what it shows.
        info: What the labels mean.
        terms: What is to be distilled; with them, the strength of each is measured.
        num_training_images: How many images there are to train on, if known.
        max_batches: How many of `batches` are used.
        balanced: Whether the weights of the terms are shares of the labels' gradient (see `Balance`), so that
            none can be too high or too low by itself.

    Shapes:
        batches: images (N, H, W, 3), 0…255, and masks (N, H, W), integer labels, −1 where nobody has
            labelled.

    Raises:
        TypeError: if the student is not a functional Keras network, or `teacher` cannot be one.
        ValueError: if there are no batches or they have other shapes, or a term names a layer that is not
            there.

    Example:
        report = preflight(teacher, student, evaluation_batches(val, (192, 256), 8), val.info)
        print(report)
        report.raise_for_errors()
    """
    teacher = load_teacher(teacher)
    check_functional(student, "preflight(student=…)")
    batches = [_unpacked(batch, info) for batch in islice(batches, max_batches)]
    if not batches:
        raise ValueError("Preflight needs at least one batch of images and masks. Received: none.")

    findings = list(_about_batches(batches, info))
    teacher_check = NetworkCheck(f"Teacher {teacher.name!r}", _teacher_run(teacher), info)
    student_check = NetworkCheck(f"Student {student.name!r}", _student_run(student), info)
    findings += _about_teacher(teacher, teacher_check, batches)
    findings += _about_student(student, student_check, batches, num_training_images)
    members = _member_scores(teacher, batches, info)
    findings += _about_members(teacher_check, members)
    findings += _about_both(teacher_check, student_check)
    gradients = []
    if terms and not any(finding.level == "error" for finding in findings):
        batch = next((batch for batch in batches if (batch.labels >= 0).any()), batches[0])
        gradients = _gradients(teacher, student, terms, batch, info)
        findings += _about_gradients(gradients, balanced)
    return PreflightReport(
        teacher=teacher.name,
        student=student.name,
        num_images=sum(len(batch.images) for batch in batches),
        findings=tuple(sorted(findings, key=lambda finding: _LEVELS.index(finding.level))),
        random_baseline=teacher_check.random_baseline or student_check.random_baseline,
        uniform_cross_entropy=math.log(info.num_classes),
        teacher_score=teacher_check.score,
        student_score=student_check.score,
        member_scores=members,
        gradients=tuple(gradients),
    )


def _unpacked(data, info: DatasetInfo) -> Sample:
    batch = read_batch(data, info.ignore_label, info.num_classes)
    images, masks, received = (
        np.asarray(batch.images, np.float32),
        np.asarray(batch.masks),
        np.asarray(data[1]),
    )
    if images.ndim != 4 or masks.shape != images.shape[:3] or not np.issubdtype(received.dtype, np.integer):
        raise ValueError(
            f"A batch must be images (N, H, W, 3) and integer masks (N, H, W). Received: images of shape "
            f"{images.shape}, {received.dtype.name} masks of shape {received.shape}. Use evaluation_batches."
        )
    is_class = (masks != info.ignore_label) & (masks >= 0) & (masks < info.num_classes)
    return Sample(images, masks, np.where(is_class, masks, -1), batch.recorded or {})


def _teacher_run(teacher: Teacher):
    if teacher.recorded:
        return lambda batch: tf.image.resize(batch.recorded[LOGITS], batch.images.shape[1:3])
    layers = teacher.feature_extractor([LOGITS])
    return lambda batch: layers(tf.constant(batch.images))[LOGITS]


def _member_scores(teacher: Teacher, batches: Sequence[Sample], info: DatasetInfo) -> dict[str, Score]:
    """How good each of several teachers is alone."""
    if not isinstance(teacher, Ensemble):
        return {}
    scores = {}
    for name in teacher.members:
        member = NetworkCheck(f"Teacher {name!r}", _layer_run(teacher, f"{name}/{LOGITS}"), info)
        if not list(member.inspect(batches)) and member.score is not None:
            scores[name] = member.score
    return scores


def _layer_run(teacher: Teacher, layer: str):
    run = teacher.feature_extractor([layer])
    return lambda batch: run(tf.constant(batch.images))[layer]


def _about_members(mixture: NetworkCheck, members: Mapping[str, Score]) -> Iterator[Finding]:
    best = max(members, key=lambda name: members[name].mean_iou, default=None)
    if best is None or mixture.score is None or mixture.score.mean_iou >= members[best].mean_iou:
        return
    yield Finding(
        "warning",
        f"The mean of {list(members)} is worse than its best member, {best!r}.",
        f"at least {members[best].mean_iou:.1%} mean IoU",
        f"{mixture.score.mean_iou:.1%}",
        "Use that one alone, give it more weight, or fit the weights by class on held-out images.",
    )


def _student_run(student: keras.Model):
    layers = feature_extractor(student, [LOGITS], "student")
    return lambda batch: layers(tf.constant(batch.images), training=False)[LOGITS]


def _about_batches(batches: Sequence[Sample], info: DatasetInfo) -> Iterator[Finding]:
    darkest, brightest = min(b.images.min() for b in batches), max(b.images.max() for b in batches)
    if darkest < 0 or brightest <= 1:
        yield Finding(
            "warning",
            "The images do not look like pixels.",
            "RGB from 0 to 255",
            f"values from {darkest:.3g} to {brightest:.3g}",
            "Leave normalisation to the networks.",
        )
    masks = np.concatenate([batch.masks.ravel() for batch in batches])
    values, counts = np.unique(masks, return_counts=True)
    invalid = (values != info.ignore_label) & ((values >= info.num_classes) | (values < UNLABELLED))
    if invalid.any():
        share = counts[invalid].sum() / masks.size
        yield Finding(
            "error",
            f"The masks hold labels that are no class, in {share:.1%} of pixels.",
            f"0 to {info.num_classes - 1}, or {info.ignore_label} for void",
            str(values[invalid].tolist()),
            "Relabel them, or set ignore_label to the label of void.",
        )
    void = sum(bool((batch.masks == info.ignore_label).all()) for batch in batches)
    if void:
        yield Finding(
            "warning",
            f"{void} of {len(batches)} batches hold nothing but void ({info.ignore_label}).",
            fix="Check the masks: nothing is learnt from such a batch.",
        )
    labelled = [name for label, name in enumerate(info.class_names) if label in values]
    if len(labelled) < 2:
        yield Finding(
            "warning",
            "The networks cannot be judged.",
            "at least two classes in these batches",
            str(labelled),
            "Pass more batches, or batches with labels.",
        )
    elif len(labelled) < info.num_classes:
        absent = [name for name in info.class_names if name not in labelled]
        yield Finding("note", f"These batches show nothing of {absent}.")


def _about_size(network: NetworkCheck, size, batches: Sequence[Sample]) -> Iterator[Finding]:
    images = batches[0].images.shape[1:3]
    if size is not None and any(
        expected not in (None, actual) for expected, actual in zip(size, images, strict=True)
    ):
        yield Finding(
            "error",
            f"{network.name} takes images of another size.",
            str(images),
            str(tuple(size)),
            "Rebuild it with tfsegkd.models.at_size(model, (height, width)).",
        )


def _about_teacher(teacher: Teacher, check: NetworkCheck, batches: Sequence[Sample]) -> Iterator[Finding]:
    if teacher.recorded and not all(LOGITS in batch.recorded for batch in batches):
        yield Finding("note", f"{check.name} cannot be judged: its logits do not come with the batches.")
        return
    wrong_size = [] if teacher.recorded else list(_about_size(check, teacher.size, batches))
    yield from wrong_size or check.inspect(batches)
    if not teacher.recorded:
        yield from check.neighbours(batches[0])
    reason = [] if check.score is None else list(check.mismatch(batches, preprocessing=not teacher.recorded))
    yield from reason or _about_knowledge(check, getattr(teacher, "model", None))


def _about_knowledge(check: NetworkCheck, model) -> Iterator[Finding]:
    untrained, total = untrained_layers(model) if hasattr(model, "layers") else (0, 0)
    state = f"{untrained} of {total} layers are as in a new network"
    score, random_baseline = check.score, check.random_baseline
    if score is not None and score.is_uninformed(random_baseline):
        yield Finding(
            "error",
            f"{check.name} knows nothing of data set {check.info.name!r}.",
            f"to beat a guess that does not look at the images: {random_baseline}",
            f"{score}, where all classes alike would have {math.log(check.info.num_classes):.2f}"
            + (f"; {state}" if untrained else ""),
            "Check that all its weights were loaded, and on which classes and preprocessing it was trained.",
        )
        return
    # A network may have idle layers; half of them is no accident.
    if total and untrained >= total / 2:
        yield Finding(
            "warning",
            f"{check.name} looks as if weights had not been loaded.",
            "layers that have learnt something",
            state,
            "Load the whole model, or compare the layer names of the file and of the network.",
        )
    if score is not None and check.kind == "logits" and score.cross_entropy >= random_baseline.cross_entropy:
        yield Finding(
            "warning",
            f"{check.name} is surer than it has reason to be.",
            f"a cross-entropy below {random_baseline.cross_entropy:.2f}, that of a constant",
            f"{score.cross_entropy:.2f}",
            "Soften it by a higher temperature, such as pixelwise(temperature=4).",
        )


def _about_student(
    student: keras.Model, check: NetworkCheck, batches: Sequence[Sample], num_training_images: int | None
) -> Iterator[Finding]:
    yield from list(_about_size(check, student.input_shape[1:3], batches)) or check.inspect(batches)
    if models.pretrained_but_random(student):
        yield Finding(
            "warning",
            f"{check.name} begins from random weights, although its backbone has ImageNet weights.",
            "a pretrained student, which is worth more than any distillation",
            "a backbone whose BatchNorms have seen nothing",
            "Build it with weights=imagenet, or fill the backbone from a file with "
            "tfsegkd.models.load_torch_weights.",
        )
    untrained, total = untrained_layers(student)
    if num_training_images is not None and num_training_images < _FEW_IMAGES and total and untrained == total:
        yield Finding(
            "note",
            f"{check.name} starts from nothing and has {num_training_images} images to learn from.",
            fix="Pretrained weights, augmentation and a long schedule will do more than any loss.",
        )


def _about_both(teacher: NetworkCheck, student: NetworkCheck) -> Iterator[Finding]:
    if teacher.score is None or student.score is None or student.score.is_uninformed(student.random_baseline):
        return
    if student.score.mean_iou >= teacher.score.mean_iou:
        yield Finding(
            "warning",
            f"{student.name} is as good as its teacher already.",
            f"a teacher above {student.score.mean_iou:.1%} mean IoU",
            f"{teacher.score.mean_iou:.1%}",
            "Use a better teacher.",
        )


def _gradients(teacher, student, terms, batch, info) -> list[TermGradient]:
    layers = sorted({term.layers[0] for term in terms})
    images = tf.constant(batch.images)
    outputs = batch.recorded if teacher.recorded else teacher.feature_extractor(layers)(images)
    missing = sorted({*layers} - {*outputs})
    if missing:
        raise ValueError(
            f"The batches do not carry the layers {missing} of the recorded teacher. Received: "
            f"{sorted(outputs)}. Record them too."
        )
    return measure_gradients(outputs, student, terms, images, tf.constant(batch.masks), info.ignore_label)


def _about_gradients(gradients: Sequence[TermGradient], balanced: bool) -> Iterator[Finding]:
    task, *terms = gradients
    for term in terms:
        if not math.isfinite(term.value) or not math.isfinite(term.gradient_norm):
            yield Finding(
                "error",
                f"Term {term.name!r} is not finite at the start.",
                "a finite value and gradient",
                f"value {term.value:.3g}, gradient norm {term.gradient_norm:.3g}",
                "Look for extreme values at its layers, or leave it out.",
            )
        elif term.weight and not term.gradient_norm:
            yield Finding(
                "warning",
                f"Term {term.name!r} moves no weight of the student.",
                "a gradient",
                "0",
                "Check that layers before its layer are trainable, and that the teacher is not the student.",
            )
        elif term.weight and 0 < task.gradient_norm < math.inf and not balanced:
            ratio = term.gradient_norm / task.gradient_norm
            if not _TOO_LOW <= ratio <= _TOO_HIGH:
                yield Finding(
                    "warning",
                    f"Term {term.name!r} pulls {ratio:.3g} times as hard at the student as the labels do.",
                    "gradients of one order of magnitude, as of losses that are means over pixels",
                    f"norms of {term.gradient_norm:.3g} and {task.gradient_norm:.3g}",
                    f"Weight {term.equal_weight:.3g} instead of {term.weight:g} would make them equal.",
                )
