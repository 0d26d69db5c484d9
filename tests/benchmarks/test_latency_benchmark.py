"""Saved networks beside each other: every one float and int8, at the size that was asked for."""

import pytest
from benchmarks import latency

from tfsegkd import models, runtime
from tfsegkd.runtime.network import load_interpreter


def test_all_files_are_timed_in_one_go(tmp_path, monkeypatch, capsys):
    names = []
    for width in (4, 2):
        names.append(str(tmp_path / f"unet_{width}.keras"))
        models.build(f"unet(width={width})", 3, (32, 32, 3)).save(names[-1])
    milliseconds = dict(
        zip([f"{k} {n}" for n in names for k in ("float", "int8")], (8.0, 4.0, 2.0, 3.0), strict=True)
    )

    def timed(files, runs):
        assert runs == 5 and list(files) == list(milliseconds)
        for name, path in files.items():
            interpreter = load_interpreter(path)
            assert tuple(interpreter.get_input_details()[0]["shape"]) == (1, 48, 64, 3)
            types = {tensor["dtype"].__name__ for tensor in interpreter.get_tensor_details()}
            assert ("int8" in types) == name.startswith("int8")
        return {key: runtime.LatencyReport(ms, 0.0, 9.0, 1, 1) for key, ms in milliseconds.items()}

    monkeypatch.setattr(latency.runtime, "latency", timed)
    rows = latency.run(names, (48, 64), 5)
    figures = [
        [row[f"{kind}_{what}"] for what in ("ms", "ratio") for kind in ("float", "int8")] for row in rows
    ]
    assert [row["network"] for row in rows] == names
    assert figures == [[8.0, 4.0, 1.0, 1.0], [2.0, 3.0, 0.25, 0.75]]
    assert "| 0.25 | 3.00 | 0.75 |" in capsys.readouterr().out
    with pytest.raises(ValueError, match="--network=FILE"):
        latency.run([], (48, 64), 5)
