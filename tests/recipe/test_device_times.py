"""The user's own times in the table at a run's end."""

from tfsegkd.recipe.report import print_table

ROW = {"name": "int8", "mean_iou": 0.5, "parameters": 10, "macs": 1e6, "file_bytes": 2000, "latency_ms": 3.0}


def test_the_device_s_times_have_a_column_where_there_are_any(capsys):
    print_table([{**ROW, "name": "student", "device_ms": None}, {**ROW, "device_ms": 7.25}])
    head, student, int8 = capsys.readouterr().out.splitlines()
    assert head.endswith("ms, your device") and int8.endswith("7.25") and student.endswith("–")
    print_table([ROW])
    assert "device" not in capsys.readouterr().out
