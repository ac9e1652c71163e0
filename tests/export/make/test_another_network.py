"""A network of another kind with two outputs goes the whole way, and nothing but its exporter knows of it."""

import copy
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from builders import chest_phantom, write_nifti
from infnet_export.graph.onnx_file import manifest_in
from infnet_export.make import comparison, products
from infnet_export.make.card import ModelCard
from infnet_export.make.from_network import WeightStorage, start_from_network
from infnet_export.make.products import Products, make
from infnet_export.make.start import Start, start_from_onnx
from infnet_export.make.wanted import Wanted
from infnet_export.network.exportable import EXPORTERS
from infnet_export.network.exporter import Exporter
from infnet_export.network.inf_net.exporter import INF_NET
from infnet_export.network.torch_reference import network_probabilities
from infnet_export.precision.notes import NOTES_KEY, PrecisionNotes, notes_by_rule, notes_in
from infnet_export.proof.gate import GateReport
from infnet_runtime.cpu import usable_cores
from infnet_runtime.errors import GateError, OutputError
from infnet_runtime.metrics.parity import Tolerance
from infnet_runtime.model.manifest import ClassSpec, OutputSpec, PreprocessSpec
from infnet_train.networks import Network
from infnet_train.weights.trained import TrainedNetwork
from train_slices import write_slice

LESIONS = OutputSpec(
    name="lesions",
    activation="softmax",
    classes=tuple(
        ClassSpec(value=v, name=n, scheme="99TEST", code=n, meaning=n)
        for v, n in ((2, "ground glass"), (3, "consolidation"))
    ),
    thresholds=(),
)
TOLD: list[str] = []
NOTES = PrecisionNotes(fp32=("lesion_head",))


class Two(Network):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        self.infection_head, self.lesion_head = nn.Conv2d(8, 1, 1), nn.Conv2d(8, 3, 1)

    def probabilities(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        features = torch.relu(self.stem(slices))
        lesions = torch.softmax(self.lesion_head(features), dim=1)
        return torch.sigmoid(self.infection_head(features)), lesions


class Inference(nn.Module):
    def __init__(self, network: Two) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).float().eval()

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.probabilities(slices)


def probabilities(network: Network, slices: Tensor) -> tuple[Tensor, ...]:
    assert isinstance(network, Two)
    return network.probabilities(slices)


def inference(network: Network) -> nn.Module:
    assert isinstance(network, Two)
    return Inference(network).eval()


TWO = Exporter(inference=inference, probabilities=probabilities, outputs=(OutputSpec(), LESIONS), notes=NOTES)


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EXPORTERS, "two", lambda _network: TWO)
        yield


@pytest.fixture(scope="module")
def two() -> TrainedNetwork:
    torch.manual_seed(3)
    return TrainedNetwork(Two().eval(), PreprocessSpec(size=32), "two")


@pytest.fixture(scope="module")
def start(two: TrainedNetwork) -> Start:
    return start_from_network(two, "two", ModelCard(threshold=0.3), WeightStorage.FP32)[0]


@pytest.fixture(scope="module")
def made(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Products:
    tmp_path = tmp_path_factory.mktemp("two")
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    wanted = Wanted(fp16=True, int8=True, calibration=tmp_path / "labelled", triton=tmp_path / "triton")
    return make(start, tmp_path / "out", wanted, say=TOLD.append)


def test_all_files_are_made_and_both_outputs_compared(made: Products) -> None:
    assert made.parity
    assert made.float16
    assert made.int8
    assert {form.passed for form in made.parity.forms} == {True, None}
    for kind in ("onnx", "fp16", "int8"):
        model = onnx.load(made.files[kind])
        assert [o.name for o in model.graph.output] == ["infection_probability", "lesions"]
        manifest = manifest_in(model, made.files[kind])
        assert manifest.outputs == (OutputSpec(thresholds=(0.3,)), LESIONS)
        assert manifest.contract_version == 2
    assert "lesion_head/Conv" in made.float16.fp32_nodes
    assert not any(name.startswith("stem") for name in made.float16.fp32_nodes)
    assert {cost.part for cost in made.int8.costs} == {"stem", "logits"}
    config = (made.files["triton"] / "config.pbtxt").read_text()
    assert 'name: "lesions"' in config


def test_it_says_what_it_does(made: Products) -> None:
    assert TOLD[0] == "reading the slices to compare on"
    for beginning in (
        "FP16: ranges of all tensors on 4 slices",
        "INT8: ranges of all tensors on 9 slices",
        "INT8: what each part costs, 1 of at most",
        "comparing masks of 5 slices: held-out training slices",
        "comparing masks and millilitres of phantom, for no volume was given by --verify, (16, 320, 400)",
        "comparing two.fp16.onnx, ONNX Runtime CPU (3 of 5) on 4 slices",
    ):
        assert any(line.startswith(beginning) for line in TOLD), beginning


def test_millilitres_judge_the_8_bit_file_where_no_volume_was_given(made: Products) -> None:
    assert made.gate
    sets = ["held-out training slices", "scans"]
    assert list(made.gate.sets) == [*sets, *(f"{name}, in openvino" for name in sets)]
    assert made.gate.sets["scans"].unit == "ml"
    text = made.files["parity_table"].read_text()
    assert "phantom, for no volume was given by --verify" in text
    assert "Allowed in ml: the infection by at most 1% or 1 ml in each scan" in text


def test_an_8_bit_file_goes_on_without_a_distance_between_backends(made: Products, tmp_path: Path) -> None:
    again = make(start_from_onnx(made.files["int8"], "small"), tmp_path / "out", Wanted())
    assert again.files["onnx"].is_file()
    assert "rounds differently in 8 bit" in again.files["parity_table"].read_text()


def test_volumes_given_judge_the_8_bit_file(start: Start, tmp_path: Path) -> None:
    """Both of them, the small one by millilitres; pictures beside them are for the distances alone."""
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    scans = tmp_path / "scans"
    scans.mkdir()
    for name, infected in (("healthy", False), ("ill", True)):
        phantom = chest_phantom(infected=infected)
        write_nifti(scans / f"{name}.nii.gz", phantom.hu, phantom.affine)
    (scans / "picture.png").write_bytes((tmp_path / "labelled" / "Imgs" / "s0.png").read_bytes())
    wanted = Wanted(int8=True, calibration=tmp_path / "labelled", verify=scans)
    made = make(start, tmp_path / "out", wanted)
    assert made.gate
    assert made.gate.sets["scans"].cases == made.gate.sets["scans, in openvino"].cases == 2
    assert made.parity
    assert made.parity.slices == "17 of scans"
    assert made.parity.forms[0].farthest.startswith(
        ("ill.nii.gz, slice", "healthy.nii.gz, slice", "picture.png")
    )


def test_what_passed_is_kept(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FP16 fails by its range and INT8 by its gate; the plain file, HU and Triton are made all the same."""
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)

    def out_of_range(*_: object, **__: object) -> None:
        raise GateError("tensor 'x' reaches 70000", code=7032)

    def too_far(report: GateReport, *_: object) -> None:
        raise GateError("Dice moves by 0.1", code=7034)

    monkeypatch.setattr(products, "check_ranges", out_of_range)
    monkeypatch.setattr(products, "check_gate", too_far)
    out = tmp_path / "out"
    wanted = Wanted(fp16=True, int8=True, calibration=tmp_path / "labelled", triton=tmp_path / "triton")
    made = make(start, out, wanted)
    assert sorted(made.failed) == ["fp16", "int8"]
    assert sorted(p.name for p in out.iterdir()) == [
        "two.onnx",
        "two.parity.json",
        "two.parity.md",
        "two.parity.png",
    ]
    assert (tmp_path / "triton" / "two" / "1" / "model.onnx").is_file()
    text = (out / "two.parity.md").read_text()
    assert "## Failed, and not written" in text
    assert "- fp16: tensor 'x' reaches 70000" in text
    assert "| two.int8.onnx, ONNX Runtime CPU |" in text
    assert made.to_plain()["failed"]["int8"] == "[INF-7034] Dice moves by 0.1"
    with pytest.raises(GateError) as caught:
        made.check()
    assert (caught.value.code, caught.value.exit_code) == (7005, 7)
    assert str(caught.value) == (
        "[INF-7005] fp16: tensor 'x' reaches 70000; int8: Dice moves by 0.1. Kept: two.onnx, two; the "
        f"report is {out / 'two.parity.md'}"
    )


def test_one_failure_keeps_its_own_number(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "HALF_TOLERANCE", Tolerance(largest=0.0, mean=1.0))
    made = make(start, tmp_path / "out", Wanted(fp16=True))
    with pytest.raises(GateError) as caught:
        made.check()
    assert caught.value.code == 7003
    assert "two.fp16.onnx, ONNX Runtime CPU differs in a probability by" in str(caught.value)
    assert "(at most 0), farthest in phantom" in str(caught.value)
    assert str(caught.value).endswith(f"Kept: two.onnx; the report is {tmp_path / 'out' / 'two.parity.md'}")


def test_places_are_looked_at_before_the_work(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "comparison_slices", lambda *_: pytest.fail("work was begun"))
    (tmp_path / "file").touch()
    (tmp_path / "out" / "two.parity.md").mkdir(parents=True)
    (tmp_path / "triton" / "two").mkdir(parents=True)
    for folder, triton, code in (
        (tmp_path / "file", None, 8001),
        (tmp_path / "file" / "deep" / "er", None, 8001),
        (tmp_path / "out", None, 8005),
        (tmp_path / "new", tmp_path / "triton", 8010),
        (tmp_path / "new", tmp_path / "file" / "triton", 8001),
    ):
        with pytest.raises(OutputError) as caught:
            make(start, folder, Wanted(triton=triton))
        assert caught.value.code == code
    assert not (tmp_path / "new").exists()


def test_threads_hold_while_files_are_made(start: Start, tmp_path: Path) -> None:
    seen = []
    make(start, tmp_path / "out", Wanted(threads=3), say=lambda _: seen.append(usable_cores()))
    assert set(seen) == {3}
    assert usable_cores() != 3 or os.cpu_count() == 3


def test_notes_travel_where_the_graph_does_not_show_them(made: Products, tmp_path: Path) -> None:
    model = onnx.load(made.files["onnx"])
    assert notes_by_rule(model) == PrecisionNotes(divided=("stem",))
    assert notes_in(model) == NOTES
    again = make(start_from_onnx(made.files["onnx"], "two"), tmp_path / "again", Wanted(fp16=True))
    assert again.files["fp16"].read_bytes() == made.files["fp16"].read_bytes()


def test_a_fault_in_the_second_output_is_found(two: TrainedNetwork, start: Start, tmp_path: Path) -> None:
    other = copy.deepcopy(two.network)
    assert isinstance(other, Two)
    assert other.lesion_head.bias is not None
    with torch.no_grad():
        other.lesion_head.bias.add_(torch.tensor([0.0, 0.2, 0.0]))
    made = make(
        replace(start, exact=lambda slices: network_probabilities(other, TWO, slices), others=()),
        tmp_path / "out",
        Wanted(),
    )
    assert [kind for kind in made.files if not kind.startswith("parity")] == []
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "two.parity.json",
        "two.parity.md",
        "two.parity.png",
    ]
    with pytest.raises(
        GateError, match=r"\[INF-7003\] onnx: too far from .* No model was written; the report"
    ):
        made.check()


def test_inf_net_needs_no_notes_in_its_files(fp32_model: onnx.ModelProto) -> None:
    """So that the shipped file, which has none, is read as it was made."""
    assert notes_by_rule(fp32_model) == INF_NET.notes
    assert NOTES_KEY not in {p.key for p in fp32_model.metadata_props}


def test_probabilities_are_named(two: TrainedNetwork) -> None:
    slices = np.zeros((2, 3, 32, 32), np.float32)
    found = network_probabilities(two.network, TWO, slices)
    assert {name: p.shape for name, p in found.items()} == {
        "infection_probability": (2, 1, 32, 32),
        "lesions": (2, 3, 32, 32),
    }
