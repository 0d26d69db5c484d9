"""`Recipe`: runs stages in order, saves their networks, and reports their costs and gains."""

import contextlib
import dataclasses
import gc
import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tfsegkd import checks, export, models, reporting, runtime
from tfsegkd._keras import keras
from tfsegkd.atomic import read_json, write_atomically, write_json
from tfsegkd.data import evaluation_batches, resize_image
from tfsegkd.deprecation import renamed_arguments
from tfsegkd.evaluation import Evaluation, Predictor, evaluate, evaluate_members, overlays
from tfsegkd.export import check_web_runtime
from tfsegkd.graph import cost
from tfsegkd.grouping import FORMS, MEASURED
from tfsegkd.metrics import labels_at
from tfsegkd.posix import peak_memory
from tfsegkd.quantization import float_layers, kernel_layers, weight_size
from tfsegkd.recipe.auto import AutoQuantize, read_tried
from tfsegkd.recipe.costs import TIMED_RUNS, latencies
from tfsegkd.recipe.grouping import Group
from tfsegkd.recipe.lock import locked
from tfsegkd.recipe.monitor import write_flags
from tfsegkd.recipe.progress import resumable_randomness
from tfsegkd.recipe.provenance import provenance
from tfsegkd.recipe.pruning import Prune
from tfsegkd.recipe.qkd import QKD
from tfsegkd.recipe.quantizing import Quantize
from tfsegkd.recipe.report import describe_members, print_table
from tfsegkd.recipe.search_result import FOUND, BudgetNotKept, another_is_due, finish, missed
from tfsegkd.recipe.searching import Search
from tfsegkd.recipe.stages import (
    TEACHER_WEIGHTS,
    Distill,
    PretrainedTeacher,
    Run,
    StudentAlone,
    Teacher,
    TrainedStudent,
    missing,
)
from tfsegkd.recipe.state import State, progress_directory
from tfsegkd.recipe.strategy import Workers, open_workers
from tfsegkd.recipe.training import TrainingData, best_validation
from tfsegkd.runtime.in_subprocess import in_subprocess

Stage = (
    Teacher
    | PretrainedTeacher
    | StudentAlone
    | TrainedStudent
    | Distill
    | Search
    | Prune
    | Group
    | Quantize
    | QKD
    | AutoQuantize
)
_OVERLAYS = 6
# The images of the report at the end of a run; `reporting.write_report` can use more.
_EXAMINED, _PICTURES = 48, 12


class Recipe:
    """Stages from images and masks to a verified `.tflite`.

    Args:
        stages: Any of `Teacher` or `PretrainedTeacher`, `StudentAlone`, `Distill`, `Search` or
            `TrainedStudent`, `Prune`, `Group`, `Quantize`, `QKD` or `AutoQuantize`, in this order.
        export: Whether to write and verify the int8 files at the end.
        workers: The workers that train together; this process on one device by default.
        grouped_form: The form of grouped convolutions in these files, see `tfsegkd.export.export_tflite`.
        device_table: The user's latencies of the run's files, for the report.
        web_runtime: The directory of the runtime of `try.html`, see `tfsegkd.export.write_try_page`.
        output_stride: If above 1, a file whose logits are this many times smaller is also written.
        arm: Whether to count the instructions of the int8 file on an emulated Arm core, for the report, which
            takes seconds for a small network and needs qemu-user.

    Example:
        schedule, short = recipe.Schedule(40, 4e-3), recipe.Schedule(6, 1e-4)
        stages = [
            recipe.Teacher("deeplab_v3_plus", schedule),
            recipe.Distill("mobile_unet", schedule, ["pixelwise"]),
            recipe.Quantize(short, ["pixelwise"]),
        ]
        steps = recipe.Recipe(stages)
        # steps.run("saved_models/mine", recipe.TrainingData(train, val, size=(192, 256)))
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        export: bool = True,
        workers: Workers | None = None,
        grouped_form: str = MEASURED,
        device_table: runtime.DeviceTable | None = None,
        web_runtime: str | Path | None = None,
        output_stride: int = 1,
        arm: bool = False,
    ):
        self.stages = list(stages)
        names = [stage.name for stage in self.stages]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Several stages make {twice}. Expected a single one for each network: `Distill`, "
                f"`Search` or `TrainedStudent`, `Quantize` or `QKD` or `AutoQuantize`. Leave one out, or run "
                f"it in another directory."
            )
        if self.search and self.search.max_drop is not None and Teacher.name not in names:
            raise ValueError(
                f"`max_drop` is measured against a teacher, and no stage makes one. Received: "
                f"{self.search.max_drop:g}. Add the stage {Teacher.name}, or leave it out."
            )
        self.export = export
        self.workers = workers or open_workers()
        self.grouped_form = checks.one_of(grouped_form, (MEASURED, *FORMS), "grouped_form")
        self.device_table = device_table
        check_web_runtime(web_runtime)
        self.web_runtime = web_runtime
        self.output_stride = checks.whole(output_stride, 1, "output_stride")
        self.arm = arm
        if arm:
            runtime.arm.check()

    @property
    def search(self) -> Search | None:
        """The stage that looks for a network within a budget, if there is one."""
        return next((stage for stage in self.stages if isinstance(stage, Search)), None)

    def begin(self, directory: Path, data: TrainingData) -> Run:
        """The run in a directory, before its first stage.

        Raises:
            ValueError: if images lack labels that a stage needs, or are not what a search needs.
        """
        if not data.val.labelled:
            raise ValueError(
                f"The networks of a recipe are evaluated on validation images with labels. Received: "
                f"val={data.val.info.name!r}, {len(data.val)} images without. Pass a split with labels."
            )
        for stage in self.stages:
            if isinstance(stage, Prune):
                stage.check_data(data)
        pretrained = next((stage for stage in self.stages if isinstance(stage, PretrainedTeacher)), None)
        artefacts = [stage.artefact for stage in self.stages]
        if self.search and data.crop_size is not None:
            raise ValueError(
                f"A search chooses the size of the input, which crops would not follow. Received: crop_size="
                f"{tuple(data.crop_size)}. Leave it out."
            )
        self._check_complete(directory)
        if self.search is None:
            return Run(directory, data, pretrained, workers=self.workers, artefacts=artefacts)
        held_out = None
        if self.search.max_drop is not None:
            train, held_out = self.search.hold_out(data.train)
            data = dataclasses.replace(data, train=train)
        return Run(
            directory,
            data,
            pretrained,
            workers=self.workers,
            teacher_size=tuple(data.size),
            held_out=held_out,
            artefacts=artefacts,
        )

    def _check_complete(self, directory: Path) -> None:
        """Raises FileNotFoundError if a stage would find no network to read, before anything is trained."""
        made: set[str | None] = set()
        for stage in self.stages:
            # A finished stage may be reused, and its networks deleted.
            done = stage.artefact and (directory / stage.artefact).exists()
            for files in () if done else getattr(stage, "reads", ()):
                if not made & {*files} and not any((directory / file).exists() for file in files):
                    raise missing(files, directory)
            # An external teacher has no file.
            made.add(Teacher.artefact if isinstance(stage, PretrainedTeacher) else stage.artefact)
        if self.export and Quantize.artefact not in made and not (directory / Quantize.artefact).exists():
            raise missing([Quantize.artefact], directory)

    @renamed_arguments(frames="data")
    def run(self, output_dir: str | Path, data: TrainingData, flags: dict | None = None) -> dict:
        """Runs the stages that are not finished, and writes `report.json`.

        After an interruption, call it again: it reuses finished stages and resumes an unfinished one. If
        TensorFlow has not computed anything yet, each stage runs in its own process, which frees its memory.

        Args:
            output_dir: The output directory.
            data: The data of all trainings.
            flags: The flags of the command, for the report.

        Returns:
            The content of `report.json`.

        Raises:
            ValueError: if the directory contains a stage with other settings, or the validation images have
                no labels.
            BlockingIOError: if another run uses the directory.
            ChildProcessError: if the process of a stage was killed.
            BudgetNotKept: if the finished network exceeds the budget of a search, or loses too much accuracy;
                the network is kept.
        """
        directory = Path(output_dir)
        run = self.begin(directory, data)
        with locked(directory) if self.workers.chief else contextlib.nullcontext():
            report = self._run_stages(run, flags)
            while self.search and another_is_due(read_json(directory / FOUND)):
                self._go_on_searching(directory)
                report = self._run_stages(run, flags)
            if self.search and self.workers.chief:
                # Until now another candidate's training might have had to go on.
                shutil.rmtree(progress_directory(directory, self.search.name), ignore_errors=True)
        if fault := missed(report.get("search", {})):
            raise BudgetNotKept(fault)
        return report

    def _run_stages(self, run: Run, flags: dict | None) -> dict:
        rows = []
        for stage in self.stages:
            rows.append(_apart(stage.name, partial(self._stage, stage, run, flags)))
            run = run.at_size(rows[-1].get("input_size", run.data.size))
        rows = self._earlier_rows(run.directory) + rows
        report = {"stages": rows}
        if self.workers.chief:
            peak = peak_memory(with_children=True)
            report = _apart("report", partial(self._report, run, rows, flags or {}, peak=peak))
        self.workers.barrier()
        return report

    def _earlier_rows(self, directory: Path) -> list[dict]:
        """Returns the rows of stages that earlier runs in the directory have made before this run's first."""
        own = {stage.name for stage in self.stages}
        before = itertools.takewhile(lambda item: item[0] not in own, State(directory).rows().items())
        return [row for _, row in before if "file" not in row or (directory / row["file"]).exists()]

    def _go_on_searching(self, directory: Path) -> None:
        """Makes the search and the stages after it run again, for its next candidate."""
        self.workers.barrier()  # all have seen that another one is due
        if self.workers.chief:
            print("The finished file is over the budget; the search goes on without it.", flush=True)
            search, *later = self.stages[self.stages.index(self.search) :]
            State(directory).forget([stage.name for stage in (search, *later)])
            for stage in later:
                shutil.rmtree(directory / stage.name, ignore_errors=True)
        self.workers.barrier()

    def _report(self, run: Run, rows: list[dict], flags: dict, peak: int) -> dict:
        directory, data = run.directory, run.data
        if flags:
            write_flags(directory / "logs", flags)
        report = {"stages": rows}
        if self.export:
            report |= self._export(run, rows)
        self._time(run, rows)
        if any(isinstance(stage, AutoQuantize) for stage in self.stages):
            report["quantization"] = read_tried(directory)
        if self.search:
            report["search"] = finish(self.search.budget, self.search.max_drop, run, rows)
        report |= {"seed": data.seed, "flags": flags, **provenance()}
        report["peak_memory_mb"] = round(max(peak, peak_memory(with_children=True)) / 1024)
        write_json(directory / "report.json", report)
        self._draw(run, rows)
        print_table(rows)
        print(f"peak memory: {report['peak_memory_mb']} MB")
        print(f"Report: {directory / 'report.json'}   pictures: {directory / 'overlays.png'}")
        if self.export:
            self._let_try(run)
        self._show(run)
        return report

    def _stage(self, stage: Stage, run: Run, flags: dict | None) -> dict:
        with self.workers.in_scope(), resumable_randomness():
            return self._made(stage, State(run.directory, flags), run)

    def _made(self, stage: Stage, state: State, run: Run) -> dict:
        settings = {**run.data.settings(), **stage.settings()}
        if stage is run.pretrained:
            return self._pretrained(stage, settings, state, run)
        path = run.directory / stage.artefact
        row = state.result(stage.name, settings)
        if row is not None and path.exists():
            run.check_read(state.read(stage.name), path)
            print(f"{stage.name}: done before, reusing {path}", flush=True)
            return row
        run.read.clear()
        print(f"{stage.name}:", flush=True)
        state.begin(stage.name, settings)
        began = time.monotonic()
        model = stage.make(run)
        run.workers.chief_first(lambda: write_atomically(path, model.save))
        price = cost(model)
        row = {
            **_measured(run, stage.name, model),
            **best_validation(run.directory / stage.name),
            "parameters": price.parameters,
            "macs": price.macs,
            "input_size": list(model.input_shape[1:3]),
            **_stored(model),
            "file": path.name,
            "file_bytes": path.stat().st_size,
            "seconds": round(time.monotonic() - began, 1),
        }
        state.complete(stage.name, settings, row, run.read)
        run.workers.barrier()
        if stage is not self.search:
            shutil.rmtree(progress_directory(run.directory, stage.name), ignore_errors=True)
        keras.backend.clear_session()
        gc.collect()
        return row

    def _pretrained(self, stage: PretrainedTeacher, settings: dict, state: State, run: Run) -> dict:
        """Evaluates an external teacher, which has no file in the run."""
        row = state.result(stage.name, settings)
        if row is not None:
            return row
        print(f"{stage.name}: measuring {', '.join(stage.paths)}", flush=True)
        state.begin(stage.name, settings)
        # Fitted again: an existing file may be of other images.
        (run.directory / TEACHER_WEIGHTS).unlink(missing_ok=True)
        size = tuple(run.data.size)
        teacher = stage.load(run.data.val.info, size, run.teacher_weights())
        names, size = stage.member_names(), stage.size or teacher.size_for(run.data.val, size)
        if names:
            row = _measured_members(run, stage, teacher, names, size)
        else:
            row = _measured(run, stage.name, Predictor(teacher, size))
        state.complete(stage.name, settings, row)
        return row

    def _export(self, run: Run, rows: list[dict]) -> dict:
        print("export:", flush=True)
        quantized, info = run.find(Quantize.artefact), run.data.val.info
        if Quantize.artefact not in run.artefacts:  # it is of an earlier run, maybe of another student
            run.check_read(State(run.directory).read(Quantize.name), quantized)
        model = models.load(quantized)
        files = {
            name: export.export_tflite(
                model,
                run.directory / name,
                metadata=info,
                overwrite=True,
                allow_float=bool(float_layers(model)),
                grouped=self.grouped_form,
                **options,
            )
            for name, options in export.variants(self.output_stride).items()
        }
        int8 = run.directory / "model_int8.tflite"
        exported = files[int8.name]
        if exported.grouped.layers:
            print("  " + str(exported.grouped).replace("\n", "\n  "), flush=True)
        labels = "".join(f"{name}\n" for name in info.class_names)
        write_atomically(run.directory / "labels.txt", lambda path: path.write_text(labels, encoding="utf-8"))
        price = cost(model)
        rows.append(
            {
                **_measured(run, "int8", int8),
                "parameters": price.parameters,
                "macs": price.macs,
                "input_size": list(model.input_shape[1:3]),
                "file": int8.name,
                "file_bytes": exported.file_bytes,
            }
        )
        some = itertools.islice(evaluation_batches(run.data.val, run.data.size, batch_size=8), 4)
        verified = export.verify(int8, model, (images.numpy() for images, _ in some), layers=False)
        return {
            "int8_agreement": verified.int8_agreement,
            "float_ops": list(exported.float_ops),
            "delegate_partitions": exported.delegate_partitions,
            "grouped_layers": [dataclasses.asdict(layer) for layer in exported.grouped.layers],
        }

    def _time(self, run: Run, rows: list[dict]) -> None:
        """Adds the latency of each row, all measured together; float networks as float `.tflite`."""
        print("latency:", flush=True)
        # The fine-tuned network is deployed as the int8 file; an external teacher has no file here.
        files = {
            row["name"]: run.directory / row["file"]
            for row in rows
            if row["name"] != Quantize.name and "file" in row
        }
        timings = latencies(files) if files else {}
        for row in rows:
            timing = timings.get(row["name"])
            row["latency_ms"] = timing and round(timing.median_ms, 3)
            row["latency_runs"], row["num_threads"] = TIMED_RUNS, 1
            if self.device_table and "file" in row:
                row["device_ms"] = self.device_table.milliseconds(run.directory / row["file"])
            if self.arm and row["name"] == "int8":
                row |= _arm_instructions(run.directory / row["file"])

    def _draw(self, run: Run, rows: list[dict]) -> None:
        networks = {row["name"]: run.directory / row["file"] for row in rows if "file" in row}
        networks.pop(Quantize.name, None)
        write_atomically(
            run.directory / "overlays.png", lambda path: overlays(path, run.data.val, networks, _OVERLAYS)
        )

    def _let_try(self, run: Run) -> None:
        """Writes the page that runs the exported network in a browser."""
        network, info = run.directory / "model_float_io.tflite", run.data.val.info
        size = tuple(run.data.size)
        image = resize_image(run.data.val[0][0], size)
        mask = labels_at(Predictor(run.directory / "model_int8.tflite").logits(image[None])[0], size)
        title = f"{info.name}, {run.directory.name}"
        page = export.write_try_page(
            run.directory / export.TRY_PAGE, network, info, image, mask, self.web_runtime, title
        )
        print(f"Try it in a browser: {page.path} ({page.note})")

    def _show(self, run: Run) -> None:
        """Writes the HTML report, if its packages are installed."""
        try:
            reporting.check_installed()
        except ImportError as error:
            print(f"No page: {error}")
            return
        options = {"num_images": _PICTURES, "max_images": _EXAMINED}
        path = run.directory / "report.html"
        reporting.write_report([run.directory], path, run.data.val, **options)
        print(f"Look at {path}")


def _apart(name: str, work: Callable[[], dict]) -> dict:
    try:
        return in_subprocess(work)
    except ChildProcessError as error:
        raise ChildProcessError(
            f"{name}: {error}. Finished work is kept; run the same command again to resume."
        ) from None


def _arm_instructions(path: Path) -> dict:
    """What a file takes on an emulated Arm core. A run is not lost for want of that figure."""
    try:
        counted = runtime.arm.count(path, ops=False)
    except (OSError, ValueError) as error:
        print(f"warning: the Arm instructions of {path.name} were not counted. {error}", flush=True)
        return {}
    return {"arm_instructions": counted.instructions, "arm_core": counted.core}


def _stored(model) -> dict:
    """Returns the average bits per kernel weight of a quantized network."""
    if not kernel_layers(model):
        return {}
    return {"bits_per_weight": round(weight_size(model).bits_per_weight, 3)}


def _measured(run: Run, name: str, network: keras.Model | Predictor | Path) -> dict:
    """Returns the scores of a network for the report; writes its confusion matrix into a file."""
    scores = evaluate(network, run.data.val)
    print(f"  mean IoU {scores.mean_iou:.4f} on {scores.num_images} validation images", flush=True)
    return _row(run, name, scores)


def _measured_members(run: Run, stage: PretrainedTeacher, teacher, names: list[str], size) -> dict:
    """Like `_measured`, for an ensemble, with the scores of each member."""
    mean, each = evaluate_members(teacher, names, run.data.val, size)
    row = _row(run, stage.name, mean)
    row["members"] = [
        {"name": name, "mean_iou": scores.mean_iou, "iou": scores.iou} for name, scores in each.items()
    ]
    for line in describe_members(row):
        print(f"  {line}", flush=True)
    return row


def _row(run: Run, name: str, scores: Evaluation) -> dict:
    write_json(run.directory / "confusion" / f"{name}.json", scores.confusion)
    return {
        "name": name,
        "mean_iou": scores.mean_iou,
        "pixel_accuracy": scores.pixel_accuracy,
        "iou": scores.iou,
    }
