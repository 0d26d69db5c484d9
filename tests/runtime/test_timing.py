"""The bookkeeping of timings; how long anything takes is not tested."""

import sys
from pathlib import Path

import pytest

from tfsegkd.runtime import latency, latency_worker, workers


def test_networks_are_timed_together(files):
    reports = latency({"first": files["int8"], "second": files["float"]}, runs=7, warmup=1, num_threads=2)
    assert list(reports) == ["first", "second"]
    for report in reports.values():
        assert 0 < report.p10 <= report.median_ms <= report.p90
        assert (report.runs, report.num_threads) == (7, 2)


def test_turns_interleave_and_warmup_is_left_out(monkeypatch):
    turns = []

    class Interpreter:
        def __init__(self, model_path, num_threads):
            self.path = model_path

        def allocate_tensors(self):
            pass

        def get_input_details(self):
            return []

        def invoke(self):
            turns.append(self.path)

    fake = type(sys)("fake_interpreter")
    fake.Interpreter = Interpreter
    monkeypatch.setitem(sys.modules, "fake_interpreter", fake)
    request = {"interpreter": "fake_interpreter", "paths": {"a": "A", "b": "B"}, "num_threads": 1}
    times = latency_worker.measure({**request, "runs": 3, "warmup": 2})
    assert turns == ["A", "B"] * 5
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


ASKING = """
import ctypes

class Interpreter:
    def __init__(self, model_path, num_threads):
        raise ValueError(ctypes.CDLL(None).syscall(158, 0x1023, 18))
"""


def test_no_matrix_unit_is_to_be_had(tmp_path, monkeypatch):
    """The registers of AMX, 18 in Linux' list of such, are asked for as XNNPACK asks."""
    processor = Path("/proc/cpuinfo")
    if not processor.exists() or "amx_tile" not in processor.read_text():
        pytest.skip("this processor has no matrix unit (AMX)")
    (tmp_path / "asking.py").write_text(ASKING)
    monkeypatch.syspath_prepend(tmp_path)
    request = {"interpreter": "asking", "paths": {"a": "A"}, "num_threads": 1, "runs": 1, "warmup": 0}
    with pytest.raises(ValueError, match=r"^-1$"):
        workers.run("latency_worker.py", request)


def test_percentiles_are_those_of_the_runs(files, monkeypatch):
    milliseconds = [float(value) for value in range(1, 12)]
    monkeypatch.setattr(workers, "run", lambda script, request: {"milliseconds": {"a": milliseconds}})
    report = latency({"a": files["int8"]}, runs=11)["a"]
    assert (report.p10, report.median_ms, report.p90) == (2.0, 6.0, 10.0)


@pytest.mark.parametrize("options", [{"runs": 0}, {"warmup": -1}, {"num_threads": 0}, {"runs": 2.5}])
def test_bad_numbers_are_refused(files, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        latency({"a": files["int8"]}, **options)


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="at least one network"):
        latency({})


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.tflite"):
        latency({"a": tmp_path / "none.tflite"})
