"""HU in, probability out: the graph around the network does what the Python preprocessing does."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import infnet_runtime
from builders import chest_phantom
from infnet_export.graph.cost import graph_cost
from infnet_export.graph.hu_entry import ENTRY_KEY, HU_INPUT, with_hu_entry
from infnet_export.graph.onnx_file import model_bytes
from infnet_runtime.arrays import FloatArray
from infnet_runtime.backends import open_session
from infnet_runtime.errors import ModelError
from infnet_runtime.io import open_scan
from infnet_runtime.model.manifest import METADATA_KEY, ManifestError, ModelManifest, OutputSpec
from infnet_runtime.scan.ct import CtVolume, Intensity
from infnet_runtime.segment.sampled import phantom_slices
from infnet_runtime.slices.preprocess import from_network, to_network
from tiny_models import KINDS, MANIFEST, SIZE, SPEC, TWO_OUTPUTS, mid_grey_detector, two_outputs

ROUNDING = 2e-6
"""Largest distance in network input and probability; 5e-7 was seen. Both sides multiply by the same FP32
matrices, and sum in another order."""
STEEP = 50  # what the logits of the detector multiply a rounding of its input with


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    return onnx.load(mid_grey_detector(tmp_path_factory.mktemp("m") / "m.onnx", gain=8.0))


def calibrated(model: onnx.ModelProto, temperature: float) -> onnx.ModelProto:
    other = onnx.ModelProto()
    other.CopyFrom(model)
    manifest = replace(MANIFEST, outputs=(OutputSpec(temperature=temperature),))
    helper.set_model_props(other, {METADATA_KEY: manifest.to_json()})
    return other


def run(model: onnx.ModelProto, **inputs: npt.NDArray[np.generic]) -> FloatArray:
    session = onnxruntime.InferenceSession(model_bytes(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, inputs)[0])


def by_python(model: onnx.ModelProto, hu: npt.NDArray[np.int16], temperature: float) -> FloatArray:
    batch = to_network(hu, Intensity.HU, SPEC)
    found = from_network(run(model, slices=batch)[:, 0], *hu.shape[1:], temperature=temperature)
    return np.clip(found, 0, 1)


def any_hu(rows: int, columns: int) -> npt.NDArray[np.int16]:
    """The whole range of the type, with the ends of the window."""
    hu = np.random.default_rng(3).integers(-32768, 32767, (2, rows, columns), np.int16, endpoint=True)
    hu[0] = np.random.default_rng(4).integers(-1100, 300, (rows, columns), np.int16)
    hu.flat[:4] = (-1050, 250, -1051, 251)
    return hu


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (256, 240), (101, 333), (SIZE, 64), (1, 1)])
def test_network_input_is_that_of_the_preprocessing(model: onnx.ModelProto, shape: tuple[int, int]) -> None:
    whole = with_hu_entry(model, *shape)
    inner = next(n for n in whole.graph.node if n.name == "preprocess/Div_2")
    del whole.graph.output[:]
    whole.graph.output.append(onnx.ValueInfoProto(name=inner.output[0]))
    hu = any_hu(*shape)
    found, expected = run(whole, hu=hu), to_network(hu, Intensity.HU, SPEC)
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < ROUNDING / min(SPEC.std)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.5])
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (256, 240), (101, 333)])
def test_probability_is_that_of_the_runtime(
    model: onnx.ModelProto, shape: tuple[int, int], temperature: float
) -> None:
    base = calibrated(model, temperature)
    hu = any_hu(*shape)
    found, expected = run(with_hu_entry(base, *shape), hu=hu), by_python(base, hu, temperature)
    assert found.shape == expected.shape == hu.shape
    assert float(np.abs(found - expected).max()) < ROUNDING * STEEP
    assert float(np.abs(found - expected).mean()) < ROUNDING
    assert 0.05 < float((expected > 0.5).mean()) < 0.95, "a constant answer would prove nothing"
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("gain", [200.0, 1e4])
def test_saturated_probabilities_are_calibrated_alike(tmp_path: Path, gain: float) -> None:
    base = calibrated(onnx.load(mid_grey_detector(tmp_path / "m.onnx", gain=gain)), 3.0)
    hu = phantom_slices(2, SIZE)  # nothing to resize, so that the comparison is of the temperature alone
    found, expected = run(with_hu_entry(base, SIZE, SIZE), hu=hu), by_python(base, hu, 3.0)
    assert float(np.abs(found - expected).max()) < ROUNDING * gain
    assert expected.max() < 0.999, "the temperature has no effect"


def test_no_pixel_changes_its_side_of_one_half(model: onnx.ModelProto) -> None:
    base = calibrated(model, 20.0)
    plain = with_hu_entry(calibrated(model, 1.0), SIZE, SIZE)
    hu = any_hu(SIZE, SIZE)
    np.testing.assert_array_equal(
        run(with_hu_entry(base, SIZE, SIZE), hu=hu) >= 0.5, run(plain, hu=hu) >= 0.5
    )


def test_another_window_is_found(model: onnx.ModelProto) -> None:
    manifest = replace(MANIFEST, preprocess=replace(SPEC, window_hu=(-1049.0, 250.0)))
    other = onnx.ModelProto()
    other.CopyFrom(model)
    helper.set_model_props(other, {METADATA_KEY: manifest.to_json()})
    hu = any_hu(100, 100)
    found, expected = run(with_hu_entry(other, 100, 100), hu=hu), by_python(model, hu, 1.0)
    assert float(np.abs(found - expected).max()) > ROUNDING * STEEP


def test_neighbours_are_refused(model: onnx.ModelProto) -> None:
    neighbours = replace(SPEC, channels="neighbours", neighbour_step_mm=5.0)
    other = onnx.ModelProto()
    other.CopyFrom(model)
    manifest = replace(MANIFEST, preprocess=neighbours, contract_version=2)
    helper.set_model_props(other, {METADATA_KEY: manifest.to_json()})
    with pytest.raises(ManifestError, match=r"\[INF-4022\] the model takes 'neighbours' as channels"):
        with_hu_entry(other, 100, 120)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_all_outputs_come_back_to_the_slice(tmp_path: Path, temperature: float) -> None:
    """The infection to the bit as of a model without classes; the classes still exclude each other."""
    two = onnx.load_from_string(two_outputs(tmp_path / "two.onnx").read_bytes())
    kinds = replace(KINDS, temperature=temperature)
    manifest = replace(TWO_OUTPUTS, outputs=(kinds, OutputSpec()))
    helper.set_model_props(two, {METADATA_KEY: manifest.to_json()})
    hu, shape = phantom_slices(2, 120)[:, :100], (100, 120)
    session = onnxruntime.InferenceSession(model_bytes(with_hu_entry(two, *shape)))
    assert [o.name for o in session.get_outputs()] == ["infection_probability", KINDS.name]
    infection, found = session.run(None, {"hu": hu})
    alone = with_hu_entry(onnx.load(mid_grey_detector(tmp_path / "one.onnx")), *shape)
    np.testing.assert_array_equal(infection, run(alone, hu=hu))
    batch = to_network(hu, Intensity.HU, SPEC)
    (own,) = onnxruntime.InferenceSession(model_bytes(two)).run([KINDS.name], {"slices": batch})
    resized = np.stack([from_network(channel, *shape) for channel in np.moveaxis(own, 1, 0)], axis=1)
    powers = np.maximum(resized, 1e-7) ** (1 / temperature)  # softmax(log(p) / T)
    expected = powers / powers.sum(axis=1, keepdims=True)
    assert found.shape == (2, 3, *shape)
    assert float(np.abs(found - expected).max()) < ROUNDING * STEEP
    assert float(np.ptp(expected[:, 1])) > 0.1, "a constant answer would prove nothing"
    assert float(np.abs(found.sum(axis=1) - 1).max()) < 1e-5


def test_the_file_says_what_it_takes_and_the_runtime_refuses_it(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    before = model_bytes(model)
    whole = with_hu_entry(model, 100, 120)
    assert model_bytes(model) == before
    properties = {p.key: p.value for p in whole.metadata_props}
    assert ModelManifest.from_json(properties[METADATA_KEY], source="test") == MANIFEST
    assert json.loads(properties[ENTRY_KEY]) == {"input": HU_INPUT, "unit": "HU", "rows": 100, "columns": 120}
    path = tmp_path / "hu.onnx"
    path.write_bytes(model_bytes(whole))
    with pytest.raises(
        ModelError, match="takes slices in HU and prepares them itself, for programs"
    ) as caught:
        open_session(path, device="cpu")
    assert caught.value.code == 4048


def test_equal_sides_are_not_resized(model: onnx.ModelProto) -> None:
    def products(rows: int, columns: int) -> int:
        return sum(o == "MatMul" for _, o, _ in graph_cost(with_hu_entry(model, rows, columns)).nodes)

    assert (products(SIZE, SIZE), products(SIZE, 100), products(100, 100)) == (0, 2, 4)


def test_slices_without_pixels_are_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(ValueError, match="slices have 0 x 512 pixels, expected at least one along each axis"):
        with_hu_entry(model, 0, 512)


def test_the_network_itself(fp32_model: onnx.ModelProto) -> None:
    manifest = ModelManifest.from_json(fp32_model.metadata_props[0].value, source="test")
    hu = phantom_slices(1, 150)
    inner = run(fp32_model, slices=to_network(hu, Intensity.HU, manifest.preprocess))
    expected = from_network(inner[:, 0], 150, 150)
    found = run(with_hu_entry(fp32_model, 150, 150), hu=hu)
    assert float(np.abs(found - expected).max()) < 1e-4
    names = [n.name for n in with_hu_entry(fp32_model, 150, 150).graph.node]
    assert len(set(names)) == len(names)


@pytest.mark.data
def test_real_slices(model: onnx.ModelProto, data_root: Path) -> None:
    scans = sorted(data_root.rglob("*ct*.nii.gz"))
    if not scans:
        pytest.skip(f"no scan in HU under {data_root}")
    slices = open_scan(scans[0]).volume.to_lps()
    hu = np.ascontiguousarray(slices[len(slices) // 2][None], np.int16)
    assert hu.min() < -500
    found = run(with_hu_entry(model, *hu.shape[1:]), hu=hu)
    assert float(np.abs(found - by_python(model, hu, 1.0)).max()) < ROUNDING * STEEP


def test_matrices_are_stored_once_and_sum_to_one(model: onnx.ModelProto) -> None:
    weights = {t.name: numpy_helper.to_array(t) for t in with_hu_entry(model, 300, 280).graph.initializer}
    assert weights["preprocess.rows"].shape == (SIZE, 300)
    assert weights["preprocess.columns"].shape == (280, SIZE)
    np.testing.assert_allclose(weights["preprocess.rows"].sum(axis=1), 1, atol=1e-6)


def test_a_host_that_follows_the_page_finds_the_same_millilitres(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    """The steps of docs/hu-graph.md with a box of another size than the graph."""
    phantom = chest_phantom((20, 288, 384), (12.0, 1.1, 1.0), noise_hu=0)
    plain = tmp_path / "m.onnx"
    plain.write_bytes(model_bytes(model))
    with infnet_runtime.load(plain, device="cpu", threads=1) as segmenter:
        expected = segmenter.predict(CtVolume(phantom.hu, phantom.affine, Intensity.HU, "phantom"))
    lungs = expected.lungs > 0  # the phantom is stored as slices, rows and columns

    entry = json.loads(
        next(p.value for p in with_hu_entry(model, SIZE, SIZE).metadata_props if p.key == ENTRY_KEY)
    )
    rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    margin = [int(np.ceil(5.0 / spacing)) for spacing in phantom.spacing_mm[1:]]
    box = tuple(
        slice(max(0, seen[0] - around), min(length, seen[-1] + 1 + around))
        for seen, around, length in zip((rows, columns), margin, phantom.hu.shape[1:], strict=True)
    )
    own = phantom.hu[0][box].shape
    assert own != (entry["rows"], entry["columns"])
    found = np.zeros(lungs.shape, np.bool_)
    for k in np.flatnonzero(lungs.any(axis=(1, 2))):
        small = cv2.resize(
            phantom.hu[k][box].astype(np.float32),
            (entry["columns"], entry["rows"]),
            interpolation=cv2.INTER_AREA,
        )
        probability = run(with_hu_entry(model, SIZE, SIZE), hu=np.rint(small).astype(np.int16)[None])[0]
        found[k][box] = cv2.resize(probability, own[::-1]) >= 0.5
    found &= lungs
    mask = expected.mask > 0
    assert mask.sum() > 1000
    assert 2 * (found & mask).sum() / (found.sum() + mask.sum()) > 0.96
    assert abs(int(found.sum()) - int(mask.sum())) < 0.05 * mask.sum()
