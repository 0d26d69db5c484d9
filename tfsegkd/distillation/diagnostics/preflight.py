"""Preflight: checks before training whether distillation can work."""

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
from tfsegkd.distillation.teachers.load import Loadable
from tfsegkd.distillation.terms import LOGITS, Term
from tfsegkd.graph import check_functional

_LEVELS = ("error", "warning", "note")
_FEW_IMAGES = 2000
# Gradient norms of terms relative to that of the task loss. In docs/results/camvid_unet.md 78 cost eight
# points.
_TOO_HIGH, _TOO_LOW = 30.0, 1e-3
# Mirror agreement on unlabelled images relative to that on labelled ones: in docs/results/nuclei.md 0.68,
# where a teacher knows half as much, and 0.95 for a public teacher on CamVid, which knows nearly as much.
_UNSURE = 0.8


@dataclasses.dataclass(frozen=True)
class PreflightReport:
    """The result of `preflight`; `print` shows it in a few lines.

    Args:
        teacher, student: The names of the networks.
        num_images: The number of images that were used.
        findings: Errors, warnings and notes, errors first.
        random_baseline: The best score that is possible without looking at the images; None where fewer than
            two classes are labelled.
        uniform_cross_entropy: The cross-entropy of equal probabilities for all classes, ln C.
        teacher_score, student_score: None where they could not be measured.
        member_scores: The score of each member of an ensemble, by name; empty for a single teacher, or where
            the outputs of members are not available.
        gradients: The gradient norms of the task loss and of each term; empty without terms, or if there is
            an error.
        mirror_agreements: As given to `preflight`.

    Example:
        report = distillation.preflight(teacher, student, batches, info)
        report.findings
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
    mirror_agreements: tuple[float, float] | None = None

    @property
    def ok(self) -> bool:
        """Whether there is no error. There may be warnings."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def chance(self) -> Score | None:
        """The old name of `random_baseline`."""
        return self.random_baseline

    @property
    def pulls(self) -> tuple[TermGradient, ...]:
        """The old name of `gradients`."""
        return self.gradients

    def raise_for_errors(self) -> None:
        """Raises an error if distillation cannot work.

        Raises:
            ValueError: with the reasons and what to do, if there is an error.
        """
        errors = [f"- {finding}" for finding in self.findings if finding.level == "error"]
        if errors:
            raise ValueError("\n".join(["Distillation cannot work with these networks and data.", *errors]))

    def to_json(self) -> str:
        # A diverged term is NaN, which JSON does not have.
        plain = json.loads(json.dumps(dataclasses.asdict(self)), parse_constant=lambda _: None)
        return json.dumps(plain, indent=2)

    def __str__(self):
        lines = [f"Preflight of {self.teacher!r} → {self.student!r} on {self.num_images} images"]
        members = {f"teacher {name!r} alone": score for name, score in self.member_scores.items()}
        scores = {**members, "teacher": self.teacher_score}
        scores |= {"student": self.student_score, "random baseline": self.random_baseline}
        lines += [f"  {name}: {score}" for name, score in scores.items() if score is not None]
        if self.mirror_agreements:
            labelled, unlabelled = self.mirror_agreements
            lines.append(
                f"  teacher on mirror images: the same classes to {labelled:.1%} of IoU on labelled, "
                f"{unlabelled:.1%} on unlabelled images"
            )
        lines += [f"  {gradient}" for gradient in self.gradients]
        lines += [f"  {finding.level}: {finding}" for finding in self.findings]
        return "\n".join(lines if self.findings else [*lines, "  nothing wrong"])


def preflight(
    teacher: Loadable,
    student: keras.Model,
    batches: Iterable,
    info: DatasetInfo,
    terms: Sequence[Term] | None = None,
    *,
    num_training_images: int | None = None,
    max_batches: int = 8,
    balanced: bool = False,
    mirror_agreements: tuple[float, float] | None = None,
) -> PreflightReport:
    """Checks on a few images whether the student can learn from the teacher.

    Failures of distillation often have a cause that shows before the first step: weights that were not
    loaded, classes in another order, other preprocessing, probabilities instead of logits, void counted as a
    class, or a term whose weight is far too high. The check trains nothing, changes nothing, and gives the
    same result each time.

    Args:
        teacher: Anything that `load_teacher` takes.
        student: A functional Keras network.
        batches: Evaluation batches of the size at which the student is trained; for a recorded teacher, with
            its outputs.
        info: The classes of the labels.
        terms: The terms of the loss, whose gradient norms are measured.
        num_training_images: The number of training images, if known.
        max_batches: The number of `batches` to use.
        balanced: Whether the terms are balanced (see `Balance`), so that no weight can be too high or too
            low.
        mirror_agreements: The teacher's `mirror_agreement` on labelled and on unlabelled images, if the
            student learns from both.

    Returns:
        Findings and measurements; nothing is raised for them.

    Shapes:
        batches: images (N, H, W, 3), 0…255, and masks (N, H, W), integer labels, −1 for unlabelled
            pixels.

    Raises:
        TypeError: if the student is not a functional Keras network, or `teacher` cannot be one.
        ValueError: if there are no batches or they have other shapes, or a term names a layer that does
            not exist.

    Example:
        report = distillation.preflight(teacher, student, batches, info)
        print(report)
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
    findings += _about_unlabelled(teacher_check, mirror_agreements)
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
        mirror_agreements=mirror_agreements,
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
    return Sample(images, masks, np.where(is_class, masks, -1), recorded=batch.recorded or {})


def _teacher_run(teacher: Teacher):
    if teacher.recorded:
        return lambda batch: tf.image.resize(batch.recorded[LOGITS], batch.images.shape[1:3])
    extract = teacher.feature_extractor([LOGITS])
    return lambda batch: extract(tf.constant(batch.images))[LOGITS]


def _member_scores(teacher: Teacher, batches: Sequence[Sample], info: DatasetInfo) -> dict[str, Score]:
    """Returns the score of each member of an ensemble."""
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
        received=f"{mixture.score.mean_iou:.1%}",
        fix="Use that one alone, give it more weight, or fit the weights by class on held-out images.",
    )


def _student_run(student: keras.Model):
    network = feature_extractor(student, [LOGITS], "student")
    return lambda batch: network(tf.constant(batch.images), training=False)[LOGITS]


def _about_batches(batches: Sequence[Sample], info: DatasetInfo) -> Iterator[Finding]:
    darkest, brightest = min(b.images.min() for b in batches), max(b.images.max() for b in batches)
    if darkest < 0 or brightest <= 1:
        yield Finding(
            "warning",
            "The images do not look like pixels.",
            "RGB from 0 to 255",
            received=f"values from {darkest:.3g} to {brightest:.3g}",
            fix="Leave normalization to the networks.",
        )
    masks = np.concatenate([batch.masks.ravel() for batch in batches])
    values, counts = np.unique(masks, return_counts=True)
    invalid = (values != info.ignore_label) & ((values >= info.num_classes) | (values < UNLABELLED))
    if invalid.any():
        share = counts[invalid].sum() / masks.size
        yield Finding(
            "error",
            f"The masks contain labels that are no class, in {share:.1%} of pixels.",
            f"0 to {info.num_classes - 1}, or {info.ignore_label} for void",
            received=str(values[invalid].tolist()),
            fix="Relabel them, or set ignore_label to the label of void pixels.",
        )
    void = sum(bool((batch.masks == info.ignore_label).all()) for batch in batches)
    if void:
        yield Finding(
            "warning",
            f"{void} of {len(batches)} batches contain only void pixels ({info.ignore_label}).",
            fix="Check the masks: such a batch trains nothing.",
        )
    labelled = [name for label, name in enumerate(info.class_names) if label in values]
    if len(labelled) < 2:
        yield Finding(
            "warning",
            "The networks cannot be scored.",
            "at least two classes in these batches",
            received=str(labelled),
            fix="Pass more batches, or batches with labels.",
        )
    elif len(labelled) < info.num_classes:
        absent = [name for name in info.class_names if name not in labelled]
        yield Finding("note", f"These batches contain no pixel of {absent}.")


def _about_size(network: NetworkCheck, size, batches: Sequence[Sample]) -> Iterator[Finding]:
    images = batches[0].images.shape[1:3]
    if size is not None and any(
        expected not in (None, actual) for expected, actual in zip(size, images, strict=True)
    ):
        yield Finding(
            "error",
            f"{network.name} takes images of another size.",
            str(images),
            received=str(tuple(size)),
            fix="Rebuild it with tfsegkd.models.at_size(model, (height, width)).",
        )


def _about_teacher(teacher: Teacher, check: NetworkCheck, batches: Sequence[Sample]) -> Iterator[Finding]:
    if teacher.recorded and not all(LOGITS in batch.recorded for batch in batches):
        yield Finding("note", f"{check.name} cannot be scored: the batches do not contain its logits.")
        return
    wrong_size = [] if teacher.recorded else list(_about_size(check, teacher.size, batches))
    yield from wrong_size or check.inspect(batches)
    if not teacher.recorded:
        yield from check.neighbours(batches[0])
    reason = [] if check.score is None else list(check.mismatch(batches, preprocessing=not teacher.recorded))
    yield from reason or _about_knowledge(check, getattr(teacher, "model", None))


def _about_knowledge(check: NetworkCheck, model) -> Iterator[Finding]:
    untrained, total = untrained_layers(model) if hasattr(model, "layers") else (0, 0)
    state = f"{untrained} of {total} layers look untrained"
    score, random_baseline = check.score, check.random_baseline
    if score is not None and score.is_uninformed(random_baseline):
        yield Finding(
            "error",
            f"{check.name} does no better on data set {check.info.name!r} than a random baseline.",
            f"clearly better than the best score without looking at the images: {random_baseline}",
            received=f"{score}, where equal probabilities would have {math.log(check.info.num_classes):.2f}"
            + (f"; {state}" if untrained else ""),
            fix="Check that all its weights were loaded, and the classes and preprocessing of its training.",
        )
        return
    # A trained network may have a few layers that look untrained, but not half of them.
    if total and untrained >= total / 2:
        yield Finding(
            "warning",
            f"The weights of {check.name[0].lower()}{check.name[1:]} do not seem to have been loaded.",
            "trained layers",
            received=state,
            fix="Load the whole model, or compare the layer names in the file and in the network.",
        )
    if score is not None and check.kind == "logits" and score.cross_entropy >= random_baseline.cross_entropy:
        yield Finding(
            "warning",
            f"{check.name} is overconfident.",
            f"a cross-entropy below {random_baseline.cross_entropy:.2f}, that of the class frequencies",
            received=f"{score.cross_entropy:.2f}",
            fix="Use a higher temperature, such as pixelwise(temperature=4).",
        )


def _about_unlabelled(
    check: NetworkCheck, mirror_agreements: tuple[float, float] | None
) -> Iterator[Finding]:
    if mirror_agreements is None:
        return
    labelled, unlabelled = mirror_agreements
    if unlabelled < _UNSURE * labelled:
        yield Finding(
            "warning",
            f"{check.name} seems not to know the unlabelled images: it gives them other classes when they "
            f"are mirrored.",
            f"about the agreement of labelled images, {labelled:.1%} of IoU",
            received=f"{unlabelled:.1%}",
            fix="Label some of them and evaluate the teacher on them. Where it is worse than the student "
            "alone, leave the unlabelled images out: the student learns its mistakes.",
        )


def _about_student(
    student: keras.Model, check: NetworkCheck, batches: Sequence[Sample], num_training_images: int | None
) -> Iterator[Finding]:
    yield from list(_about_size(check, student.input_shape[1:3], batches)) or check.inspect(batches)
    if models.pretrained_but_random(student):
        yield Finding(
            "warning",
            f"{check.name} has random weights, although ImageNet weights exist for its backbone.",
            "a pretrained student, which gains more than any distillation",
            received="a backbone with untrained BatchNorm layers",
            fix="Build it with weights=imagenet, or load the backbone's weights with "
            "tfsegkd.models.load_torch_weights.",
        )
    untrained, total = untrained_layers(student)
    if num_training_images is not None and num_training_images < _FEW_IMAGES and total and untrained == total:
        yield Finding(
            "note",
            f"{check.name} has random weights and only {num_training_images} training images.",
            fix="Pretrained weights, augmentation and a long schedule gain more than any loss.",
        )


def _about_both(teacher: NetworkCheck, student: NetworkCheck) -> Iterator[Finding]:
    if teacher.score is None or student.score is None or student.score.is_uninformed(student.random_baseline):
        return
    if student.score.mean_iou >= teacher.score.mean_iou:
        yield Finding(
            "warning",
            f"{student.name} is already as good as its teacher.",
            f"a teacher above {student.score.mean_iou:.1%} mean IoU",
            received=f"{teacher.score.mean_iou:.1%}",
            fix="Use a better teacher.",
        )


def _gradients(teacher, student, terms, batch, info) -> list[TermGradient]:
    layers = sorted({term.layers[0] for term in terms})
    images = tf.constant(batch.images)
    outputs = batch.recorded if teacher.recorded else teacher.feature_extractor(layers)(images)
    missing = sorted({*layers} - {*outputs})
    if missing:
        raise ValueError(
            f"The batches do not contain the layers {missing} of the recorded teacher. Received: "
            f"{sorted(outputs)}. Record these layers, too."
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
                received=f"value {term.value:.3g}, gradient norm {term.gradient_norm:.3g}",
                fix="Look for extreme values in the outputs of its layers, or leave the term out.",
            )
        elif term.weight and not term.gradient_norm:
            yield Finding(
                "warning",
                f"Term {term.name!r} has no gradient in the student.",
                "a gradient",
                received="0",
                fix="Check that the layers before it are trainable, and that the teacher is not the student.",
            )
        elif term.weight and 0 < task.gradient_norm < math.inf and not balanced:
            ratio = term.gradient_norm / task.gradient_norm
            if not _TOO_LOW <= ratio <= _TOO_HIGH:
                yield Finding(
                    "warning",
                    f"The weight of term {term.name!r} is too {'high' if ratio > 1 else 'low'}: its "
                    f"gradient norm is {ratio:.3g} times that of the task loss.",
                    "gradient norms of the same order of magnitude",
                    received=f"norms of {term.gradient_norm:.3g} and {task.gradient_norm:.3g}",
                    fix=f"Use weight {term.equal_weight:.3g} instead of {term.weight:g} to make them equal.",
                )
