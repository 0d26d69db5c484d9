"""Which networks a search looks at, and which of them it takes, by costs of our own."""

import functools
import itertools
from pathlib import Path
from typing import ClassVar

import pytest

from tfsegkd import models
from tfsegkd.data.road_scenes import RoadScenes
from tfsegkd.export import lowering
from tfsegkd.graph import cost
from tfsegkd.recipe import candidates as finding
from tfsegkd.recipe import network_costs
from tfsegkd.recipe.budget import Budget
from tfsegkd.recipe.candidates import find, networks, sizes
from tfsegkd.recipe.network_costs import Costs, Network
from tfsegkd.runtime import arm

BASE = (192, 256)
BUILD = functools.lru_cache(network_costs._build)
INFO = RoadScenes("train", height=32, width=32, num_images=1).info


@pytest.fixture(autouse=True)
def built_once(monkeypatch):
    monkeypatch.setattr(network_costs, "_build", BUILD)


def macs(network):
    """A world in which every option and every pixel costs."""
    spec = networks("lite_unet")[network.spec]
    return spec[0] * spec[1] * network.size[0] * network.size[1]


class Counted:
    """Costs of that world, whose estimates are wrong by a factor for each number of stages."""

    wrong: ClassVar = {4: 1.0, 5: 1.0, 7: 1.0}

    def __init__(self, specs, choices, base, info, budget):
        self.counts = []

    def estimate(self, network):
        return {"macs": macs(network) / self.wrong[networks("lite_unet")[network.spec][0]]}

    def count(self, asked):
        self.counts += asked
        return [{"macs": macs(network)} for network in asked]


def found(most, count=4, costs=Counted, largest=(360, 480)):
    return find("lite_unet", BASE, largest, INFO, Budget.parse(f"macs:{most}"), count, costs)


def test_what_a_spec_leaves_open_is_searched():
    assert len(networks("lite_unet")) == 9
    assert networks("lite_unet(stages=4)") == {
        "lite_unet(stages=4, width=24)": (24,),
        "lite_unet(stages=4, width=48)": (48,),
        "lite_unet(stages=4, width=72)": (72,),
    }
    assert networks("lite_unet(stages=4, width=16)") == {"lite_unet(stages=4, width=16)": ()}
    assert networks("erfnet") == {"erfnet": ()}
    assert [*networks("mobile_unet(width_multiplier=0.5)")] == ["mobile_unet(width_multiplier=0.5)"]


def test_every_choice_can_be_built():
    for student in finding.CHOICES:
        for spec in itertools.islice(networks(student), 1):
            open_ = spec if "lite" not in spec else spec.replace(")", ", weights=None)")
            assert models.build(open_, 3, (32, 32, 3)).output_shape == (None, 32, 32, 3)


def test_sizes_are_no_larger_than_the_frames():
    assert sizes(BASE, (224, 320)) == [
        (96, 128), (112, 144), (128, 176), (144, 192), (160, 208), (160, 224), (176, 240), (192, 256),
        (192, 272), (208, 272), (224, 288), (224, 304)
    ]  # fmt: skip
    assert sizes(BASE, (100, 100)) == [(192, 256)]
    assert sizes((32, 48), (500, 500)) == [(32, 48)]  # 48x64 would be distorted


def test_the_edge_holds_what_nothing_within_the_budget_contains():
    most = 6e6
    seen = found(most)
    specs = networks("lite_unet")
    world = {(spec, size): macs(Network(spec, size)) for spec in specs for size in sizes(BASE, (360, 480))}
    within = {key for key, value in world.items() if value <= most}
    assert (len(seen.all), seen.within) == (len(world), len(within))

    def larger(one, other):
        (a, b), (c, d) = one, other
        pairs = [*zip(specs[a], specs[c], strict=True), *zip(b, d, strict=True)]
        return one != other and all(x >= y for x, y in pairs)

    edge = {key for key in within if not any(larger(other, key) for other in within)}
    assert {(one.network, one.size) for one in seen.edge} == edge
    assert len(seen.finalists) == 4 and {(one.network, one.size) for one in seen.finalists} <= edge
    assert all(one.counted and one.costs["macs"] <= most for one in seen.finalists)
    # The smallest and the largest inputs of the edge are among them.
    shapes = [one.size for one in seen.edge]
    assert {shapes[0], shapes[-1]} <= {one.size for one in seen.finalists}


def test_what_costs_more_than_was_estimated_makes_room():
    class Wrong(Counted):
        wrong: ClassVar = {4: 1.0, 5: 1.3, 7: 1.3}

    seen = found(6e6, costs=Wrong)
    assert seen.finalists and all(macs(Network(one.network, one.size)) <= 6e6 for one in seen.finalists)
    assert {networks("lite_unet")[one.network][0] for one in seen.finalists} & {5, 7}


@pytest.mark.parametrize("by", [0.8, 1.25])
def test_wrong_estimates_leave_no_part_of_the_budget_unused(by):
    class Wrong(Counted):
        wrong: ClassVar = {4: by, 5: by, 7: by}

    most = 6e6
    seen = found(most, count=9, costs=Wrong)
    assert seen.finalists and all(one.counted for one in seen.finalists)
    larger = sizes(BASE, (360, 480))
    for one in seen.finalists:
        assert macs(Network(one.network, one.size)) <= most
        after = larger[larger.index(one.size) + 1]
        assert macs(Network(one.network, after)) > most or any(other.size == after for other in seen.edge)


def test_a_network_within_the_budget_is_found_although_no_estimate_is():
    class Wrong(Counted):
        wrong: ClassVar = {4: 0.5, 5: 0.5, 7: 0.5}

    smallest = macs(Network("lite_unet(stages=4, width=24)", (96, 128)))
    (only,) = found(smallest, costs=Wrong).finalists
    assert (only.network, only.size) == ("lite_unet(stages=4, width=24)", (96, 128)) and only.counted


def test_a_budget_below_the_smallest_says_what_that_costs():
    smallest = macs(Network("lite_unet(stages=4, width=24)", (96, 128)))
    with pytest.raises(ValueError, match=r"stages=4, width=24\) at 96x128: 1\.18M of 1M MACs"):
        found(1e6)
    assert smallest == 1_179_648 and found(smallest).within == 1


def test_macs_at_other_sizes_are_those_of_the_network_there():
    costs = Costs(["unet(width=2)"], [(32, 64), (64, 64)], (32, 64), INFO, Budget.parse("macs:1M"))
    for size in ((32, 64), (64, 64)):
        network = Network("unet(width=2)", size)
        macs_there = cost(models.build("unet(width=2)", INFO.num_classes, (*size, 3))).macs
        assert costs.count([network]) == [{"macs": macs_there}]
        assert costs.estimate(network)["macs"] == pytest.approx(macs_there, rel=0.01)


def test_instructions_and_bytes_are_interpolated_between_counted_files(monkeypatch):
    """In a core of two instructions a MAC and a file of a byte a parameter, estimates are exact."""

    def counts(asked, info, arm_too, ops=False):
        rows = []
        for network in asked:
            model = BUILD(network.spec, network.size, info)
            layers = network_costs.layer_costs(model)
            priced = [(f"CONV_2D {name}/BiasAdd;other", 2 * one.macs) for name, one in layers.items()]
            total = 2 * cost(model).macs
            rows.append({"arm": total, "ops": priced, "bytes": cost(model).parameters})
        return rows

    monkeypatch.setattr(network_costs, "_counts", counts)
    monkeypatch.setattr(arm, "check", lambda: None)
    specs, choices = ["unet(width=2)", "unet(width=4)"], [(32, 32), (64, 64)]
    costs = Costs(specs, choices, (32, 32), INFO, Budget.parse("arm:1M,bytes:1M"))
    for spec, size in itertools.product(specs, choices):
        model = BUILD(spec, size, INFO)
        estimate = costs.estimate(Network(spec, size))
        assert estimate == pytest.approx({"arm": 2 * cost(model).macs, "bytes": cost(model).parameters})


def test_counts_are_kept_until_the_export_changes(monkeypatch, tmp_path):
    """Counts are kept in the cache directory; another rewrite, or another line in one, makes new ones."""
    exported = []

    def export_tflite(model, path, metadata):
        exported.append(model.name)
        path.write_bytes(bytes(len(exported)))

    monkeypatch.setenv("TFSEGKD_CACHE", str(tmp_path))
    monkeypatch.setattr(network_costs, "export_tflite", export_tflite)
    monkeypatch.setattr(network_costs, "quantize", lambda model, calibration: model)
    costs = Costs(["unet(width=2)"], [(32, 32)], (32, 32), INFO, Budget.parse("bytes:1M"))

    def count():
        return costs.count([Network("unet(width=2)", (32, 32))])[0]["bytes"]

    assert (count(), count()) == (1, 1)
    with monkeypatch.context() as patch:
        patch.setitem(lowering.CHANGES, "another", lambda editor: False)
        assert (count(), count()) == (2, 2)
    assert count() == 1
    source = tmp_path / "lowering.py"
    source.write_text(Path(lowering.__file__).read_text() + "# another line\n")
    monkeypatch.setattr(lowering, "__file__", str(source))
    assert (count(), count()) == (3, 3)


def test_without_the_emulator_another_budget_is_named(monkeypatch):
    def missing():
        raise FileNotFoundError("qemu-aarch64 is not installed here. On Debian: apt-get install qemu-user.")

    monkeypatch.setattr(arm, "check", missing)
    with pytest.raises(OSError, match=r"qemu-user.*macs:200M"):
        Costs(["unet(width=2)"], [(32, 32)], (32, 32), INFO, Budget.parse("arm:1M"))


def test_a_device_table_is_of_the_largest_network(tmp_path):
    model = BUILD("unet(width=4)", (32, 32), INFO)
    layers = [name for name, one in network_costs.layer_costs(model).items() if one.macs]
    table = tmp_path / "phone.csv"

    def costs(names):
        table.write_text("layer,ms\n" + "".join(f"{name},2\n" for name in names))
        budget = Budget.parse("latency:20", table)
        return Costs(["unet(width=2)", "unet(width=4)"], [(32, 32), (64, 64)], (32, 32), INFO, budget)

    whole = costs(layers).estimate(Network("unet(width=4)", (32, 32)))
    assert whole == {"latency": 2 * len(layers)}
    # Four times the pixels, four times the work.
    assert costs(layers).estimate(Network("unet(width=4)", (64, 64)))["latency"] == pytest.approx(
        8 * len(layers)
    )
    with pytest.raises(ValueError, match=rf"phone\.csv.*unet\(width=4\) at 32x32.*{layers[3]}"):
        costs([name for name in layers if name != layers[3]]).estimate(Network("unet(width=4)", (32, 32)))
    with pytest.raises(ValueError, match=r"'nothing'"):
        costs([*layers, "nothing"]).estimate(Network("unet(width=4)", (32, 32)))
