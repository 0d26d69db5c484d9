"""The benchmark of gradual layers at toy size: it times what it says. No time is judged here."""

from benchmarks import grouping

from tfsegkd.grouping import GradualConv2D


def test_every_layer_is_timed(capsys, monkeypatch):
    stepped = []
    step = grouping._step

    def noted(model, batch):
        stepped.append((type(model.layers[1]), batch.shape.as_list()))
        return step(model, batch)

    monkeypatch.setattr(grouping, "_step", noted)
    (row,) = grouping.run([(4, 3, 6, 8)], groups=2, rounds=2)
    assert [kind is GradualConv2D for kind, _ in stepped] == [False, True]
    assert all(shape == [4, 6, 8, 4] for _, shape in stepped)
    assert row["layer"] == "3×3, 4 channels, 6×8" and row["groups"] == 2
    assert min(row["ratio"], row["cpu_ratio"], row["dense_ms"]) > 0 and row["target"] == 1.05
    assert "| 3×3, 4 channels, 6×8 | 2 |" in capsys.readouterr().out


def test_a_step_trains_both_layers_alike():
    dense = grouping._layer(4, 1, 3, 3)
    gradual = grouping.make_gradual(dense, 2)
    batch = grouping.tf.random.stateless_normal((2, 3, 3, 4), seed=(0, 1))
    losses = [[step(), step()] for step in (grouping._step(dense, batch), grouping._step(gradual, batch))]
    assert losses[0][0] != losses[0][1]
    assert abs(losses[0][1] - losses[1][1]) < 1e-5 * abs(losses[0][1])
