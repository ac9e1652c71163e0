"""The command ``infnet-export`` from checkpoint to file."""

import copy
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from typer.testing import CliRunner

from infnet_export.cli import app
from infnet_export.graph.coarse_logits import with_coarse_logits, without_coarse_logits
from infnet_export.graph.onnx_file import manifest_in, model_bytes
from infnet_export.make import from_network, products
from infnet_export.make import start as start_module
from infnet_export.make.card import ModelCard, read_metrics
from infnet_export.make.from_network import manifest_of, start_from_network
from infnet_export.make.products import make
from infnet_export.make.wanted import Wanted
from infnet_export.network.exportable import read_trained
from infnet_export.precision.half_weights import with_half_weights
from infnet_runtime.backends import open_session
from infnet_runtime.errors import GateError, InfnetError
from infnet_runtime.metrics.parity import FP16_TOLERANCE
from infnet_runtime.model.borrowed import read_whole
from infnet_runtime.model.manifest import METADATA_KEY, OutputSpec
from infnet_runtime.segment.sampled import phantom_input
from infnet_train.weights.trained import TrainedNetwork
from tiny_models import classes_detector, mid_grey_detector
from train_slices import write_slice
from twin import CARD, DAMPING

COMMAND = [sys.executable, "-W", "error::UserWarning", "-m", "infnet_export.cli"]
CARD_OPTIONS = [
    *("--name", CARD.name, "--model-version", CARD.version, "--licence", CARD.licence),
    *("--training-data", CARD.training_data, "--threshold", str(CARD.threshold)),
]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)


LAST_CONVOLUTION = re.compile(r"partial_decoder\.conv5\.|reverse_attention\d\.level\.out\.conv\.")
MADE = ["m.onnx", "m.parity.json", "m.parity.md", "m.parity.png"]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_export_in_another_process_gives_the_same_bytes(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path
) -> None:
    output = tmp_path / "m.onnx"
    done = run(checkpoint, "-o", output, *CARD_OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    told = done.stderr.splitlines()
    assert all(re.match(r" *\d+\.\d s  \S", line) for line in told), "nothing but what is being done"
    assert "comparing m.onnx, ONNX Runtime CPU (2 of " in done.stderr
    assert names(tmp_path) == MADE
    expected, _ = with_half_weights(fp32_model)
    assert output.read_bytes() == model_bytes(with_coarse_logits(expected))

    report = json.loads(done.stdout)
    assert report["files"]["onnx"] == str(output)
    single, file, *_ = report["parity"]["forms"]
    assert (single["name"], file["name"]) == ("PyTorch, FP32", "m.onnx, ONNX Runtime CPU")
    assert file["worst"]["slices"] == 4
    assert 0 < file["worst"]["mean_distance"] <= FP16_TOLERANCE.mean
    assert single["worst"]["mean_distance"] < file["worst"]["mean_distance"]
    assert report["parity"] == json.loads((tmp_path / "m.parity.json").read_text())


def test_a_failed_file_leaves_its_report_alone(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph of other weights stands for an export that went wrong."""
    trained = read_trained(checkpoint)
    with torch.no_grad():
        trained.network.reverse_attention3.out.bn.bias.add_(0.5)
    monkeypatch.setattr(from_network, "onnx_model", lambda *_: fp32_model)
    start, _ = start_from_network(trained, "m", ModelCard())
    (tmp_path / "m.onnx").write_bytes(b"the one from before")
    made = make(start, tmp_path, Wanted())
    with pytest.raises(
        GateError, match=r"onnx: too far from .* No model was written; the report is"
    ) as caught:
        made.check()
    assert (caught.value.code, caught.value.exit_code) == (7003, 7)
    assert names(tmp_path) == MADE
    assert "**failed**" in (tmp_path / "m.parity.md").read_text()
    assert (tmp_path / "m.onnx").read_bytes() == b"the one from before"


def test_paths_on_stdout_and_table_on_stderr(
    checkpoint: Path, fp32_model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(from_network, "onnx_model", lambda *_: fp32_model)
    done = CliRunner().invoke(app, [str(checkpoint), "-o", str(tmp_path), "--weights", "fp32"])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[0] == str(tmp_path / "infnet.onnx")
    assert "| infnet.onnx, ONNX Runtime CPU | 1, 4, 8 |" in done.stderr
    assert cv2.imread(str(tmp_path / "infnet.parity.png")).shape == (378, 1408, 3)


def test_the_temperature_travels_in_the_file(
    checkpoint: Path, trained: TrainedNetwork, fp32_model: onnx.ModelProto, tmp_path: Path
) -> None:
    """And changes nothing else: the graph gives the network's own probability."""
    paths = [tmp_path / "plain.onnx", tmp_path / "calibrated.onnx"]
    paths[0].write_bytes(model_bytes(fp32_model))
    options = ["--weights", "fp32", "--threshold", str(CARD.threshold), "--temperature", "1.7"]
    done = CliRunner().invoke(app, [str(checkpoint), "-o", str(paths[1]), *options])
    assert done.exit_code == 0, done.exception
    with open_session(paths[0], device="cpu") as plain, open_session(paths[1], device="cpu") as calibrated:
        assert plain.manifest.output == OutputSpec(thresholds=(CARD.threshold,))
        assert calibrated.manifest.output == OutputSpec(thresholds=(CARD.threshold,), temperature=1.7)
        batch = phantom_input(trained.preprocess)
        assert np.array_equal(*(session.run(batch)[OutputSpec().name] for session in (plain, calibrated)))


def test_a_network_of_neighbours_may_be_given_slices_alone(checkpoint: Path) -> None:
    plain = read_trained(checkpoint)
    between = replace(
        plain, preprocess=replace(plain.preprocess, channels="neighbours", neighbour_step_mm=5.0)
    )
    assert manifest_of(between, ModelCard()).preprocess.channels == "neighbours"
    alone = manifest_of(between, ModelCard(slices_alone=True))
    assert alone == manifest_of(plain, ModelCard())
    done = CliRunner().invoke(app, ["model.onnx", "--slices-alone"])
    assert done.exit_code == 2
    assert "needs weights" in done.output


def test_measured_numbers_travel_in_the_file(checkpoint: Path, tmp_path: Path) -> None:
    numbers = tmp_path / "numbers.json"
    numbers.write_text('{"phantom, Dice": 0.5}')
    card = ModelCard(metrics=read_metrics(numbers))
    assert manifest_of(read_trained(checkpoint), card).metrics == {"phantom, Dice": 0.5}
    for wrong, message in (
        ("{", "expected JSON"),
        ("[1]", "names and finite"),
        ('{"a": NaN}', "names and finite"),
    ):
        numbers.write_text(wrong)
        done = CliRunner().invoke(
            app, [str(checkpoint), "-o", str(tmp_path / "o"), "--metrics", str(numbers)]
        )
        assert isinstance(done.exception, InfnetError)
        assert (done.exception.code, done.exception.exit_code) == (3123, 3)
        assert message in str(done.exception)


@pytest.fixture(scope="module")
def calm_content(fp32_model: onnx.ModelProto) -> bytes:
    """Random weights whose probabilities stand half precision as those of a trained network do."""
    calm = copy.deepcopy(fp32_model)
    last = [t for t in calm.graph.initializer if LAST_CONVOLUTION.match(t.name)]
    assert len(last) == 8
    for tensor in last:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) * DAMPING, tensor.name)
        )
    return model_bytes(calm)


@pytest.fixture
def onnx_source(calm_content: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "source" / "twin.onnx"
    path.parent.mkdir()
    path.write_bytes(calm_content)
    return path


def without_coarse(path: Path) -> bytes:
    return model_bytes(without_coarse_logits(onnx.load(path)))


def test_an_onnx_file_needs_no_torch_and_keeps_its_bytes(onnx_source: Path, tmp_path: Path) -> None:
    """All kinds of files from one, in a process without PyTorch."""
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    out = tmp_path / "out"
    arguments = [
        *(
            str(onnx_source),
            "-o",
            str(out),
            "--fp16",
            "--batch",
            "1:2:4",
            "--triton",
            str(tmp_path / "triton"),
        ),
        *("--verify", str(tmp_path / "labelled" / "Imgs"), "--json"),
    ]
    code = (
        "import sys; sys.modules['torch'] = None; from infnet_export.cli import main; "
        f"sys.argv = ['infnet-export', *{arguments!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert without_coarse(out / "twin.onnx") == onnx_source.read_bytes()
    report = json.loads(done.stdout)
    assert sorted(report["files"]) == [
        "fp16",
        "onnx",
        "parity_json",
        "parity_picture",
        "parity_table",
        "triton",
    ]
    assert report["ranges"]["slices"] == 14
    assert [form["name"].split(",")[0] for form in report["parity"]["forms"]][:2] == [
        "twin.onnx",
        "twin.fp16.onnx",
    ]
    assert (tmp_path / "triton" / "twin" / "config.pbtxt").is_file()


def test_a_file_that_takes_hu(onnx_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    done = CliRunner().invoke(app, [str(onnx_source), "-o", str(out), "--hu", "70x90"])
    assert done.exit_code == 0, done.exception
    (source,) = onnx.load(out / "twin.hu.onnx").graph.input
    assert [d.dim_value for d in source.type.tensor_type.shape.dim][1:] == [70, 90]
    for size in ("70", "0x3", "axb"):
        assert CliRunner().invoke(app, [str(onnx_source), "-o", str(out), "--hu", size]).exit_code == 2

    # A wrong entry is found out: another window.
    wrong = products.with_hu_entry

    def other_window(model: onnx.ModelProto, rows: int, columns: int) -> onnx.ModelProto:
        made = wrong(model, rows, columns)
        lowest = next(t for t in made.graph.initializer if t.name.endswith("lowest"))
        lowest.raw_data = np.float32(0).tobytes()
        return made

    monkeypatch.setattr(products, "with_hu_entry", other_window)
    refused = CliRunner().invoke(app, [str(onnx_source), "-o", str(tmp_path / "no"), "--hu", "70x90"])
    assert isinstance(refused.exception, GateError)
    assert "hu: too far from" in str(refused.exception)
    assert "twin.hu.onnx from 70 x 90 in HU, against the Python preprocessing differs in" in str(
        refused.exception
    )
    assert names(tmp_path / "no") == ["twin.onnx", "twin.parity.json", "twin.parity.md", "twin.parity.png"]
    assert "| twin.hu.onnx from 70 x 90 in HU," in (tmp_path / "no" / "twin.parity.md").read_text()


def test_the_fp16_file_may_borrow_the_weights_of_the_plain_one(calm_content: bytes, tmp_path: Path) -> None:
    stored_in_half, _ = with_half_weights(onnx.load_model_from_string(calm_content))
    source = tmp_path / "twin.onnx"
    source.write_bytes(model_bytes(stored_in_half))
    out = tmp_path / "out"
    given = [str(source), "-o", str(out), "--fp16", "--batch", "1:1:1", "-q"]
    for options in ([], ["--borrow"]):
        done = CliRunner().invoke(app, [*given, *options])
        assert done.exit_code == 0, done.exception
        if not options:
            whole = (out / "twin.fp16.onnx").read_bytes()
    small = out / "twin.fp16.onnx"
    assert small.stat().st_size < len(whole) / 10
    assert read_whole(small) == whole
    assert without_coarse(out / "twin.onnx") == source.read_bytes()
    refused = CliRunner().invoke(app, [str(source), "-o", str(out), "--borrow"])
    assert refused.exit_code == 2
    assert "--borrow is about the file of --fp16" in refused.output


def test_an_engine_that_cannot_be_built_here_leaves_the_fp16_file(onnx_source: Path, tmp_path: Path) -> None:
    if find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    done = run(onnx_source, "-o", tmp_path / "out", "--trt")
    assert done.returncode == 5
    assert "pip install" in done.stderr
    assert f"infnet-export {tmp_path / 'out' / 'twin.onnx'}" in done.stderr
    assert "--trt" in done.stderr
    assert "twin.fp16.onnx" in names(tmp_path / "out")
    assert not [n for n in names(tmp_path / "out") if ".plan" in n]


def test_int8_from_labelled_slices(tmp_path: Path) -> None:
    for i in range(14):
        write_slice(tmp_path / "labelled", f"s{i}", seed=i)
    mid_grey_detector(tmp_path / "tiny.onnx")
    done = run(
        tmp_path / "tiny.onnx",
        "-o",
        tmp_path / "o",
        "--int8",
        "--calibration",
        tmp_path / "labelled",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["gate"]["passed"] is True
    assert report["int8"]["calibration_slices"] == 9
    assert report["int8"]["held_out_slices"] == 5
    small = onnx.load(tmp_path / "o" / "tiny.int8.onnx")
    assert manifest_in(small, tmp_path).name == "mid-grey-int8"


def test_inspect_names_the_classes_beside_the_infection(tmp_path: Path) -> None:
    model = classes_detector(tmp_path / "classes.onnx")
    done = CliRunner().invoke(app, ["inspect", str(model)])
    assert done.exit_code == 0, done.exception
    assert "labels     1 = infection (SCT 882784691000119100," in done.stdout
    assert (
        "also gives 'class_probability', softmax: 1 = ground glass (DCM 112120, Ground glass opacity), "
        "2 = consolidation (SCT 9656002, Consolidation)" in done.stdout
    )


def test_inspect(onnx_source: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(onnx_source)])
    assert done.exit_code == 0, done.exception
    assert "model      twin 1.2.3" in done.stdout
    assert "labels     1 = infection (SCT 882784691000119100," in done.stdout
    report = json.loads(CliRunner().invoke(app, ["inspect", str(onnx_source), "--json"]).stdout)
    assert report["sha256"] == hashlib.sha256(onnx_source.read_bytes()).hexdigest()
    assert report["operators"]["Conv"] > 100
    assert report["manifest"]["licence"] == "CC0"


@pytest.mark.parametrize("broken", ["text", "cut", "foreign", "outside"])
def test_files_that_are_no_model_of_infnet(onnx_source: Path, tmp_path: Path, broken: str) -> None:
    content = onnx_source.read_bytes()
    path = tmp_path / "broken.onnx"
    if broken == "text":
        path.write_text("not a model")
    elif broken == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        model = onnx.load_model_from_string(content)
        if broken == "foreign":
            del model.metadata_props[:]
        else:
            model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
        path.write_bytes(model.SerializeToString())
    codes = {"text": (4031, 4031), "cut": (4051, 4031), "foreign": (4020, 4020), "outside": (4050, 4031)}
    calls = ([str(path), "-o", str(tmp_path / "out")], ["inspect", str(path)])
    for arguments, code in zip(calls, codes[broken], strict=True):
        done = CliRunner().invoke(app, arguments)
        assert isinstance(done.exception, InfnetError), arguments
        assert done.exception.code == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["none.pth", "-o", "m.onnx"], 4, "[INF-4001] no weight file at none.pth"),
        (["CHECKPOINT", "--batch", "4:2:8", "-o", "m.onnx"], 3, "[INF-3140] batch 4:2:8 does not rise"),
        (["CHECKPOINT", "-o", "m.onnx", "--threshold", "1.5"], 4, "[INF-4023] threshold is 1.5"),
        (["CHECKPOINT", "-o", "m.onnx", "--temperature", "0"], 4, "[INF-4023] temperature is 0.0"),
        (["CHECKPOINT", "-o", "m.onnx", "--temperature", "nan"], 4, "[INF-4023] temperature is nan"),
        (["CHECKPOINT", "-o", "m.onnx", "--verify", "none"], 3, "[INF-3001] there is no file none"),
    ],
)
def test_refusals(
    checkpoint: Path,
    fp32_model: onnx.ModelProto,
    arguments: list[str],
    exit_code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(from_network, "onnx_model", lambda *_: fp32_model)
    done = CliRunner().invoke(app, [str(checkpoint) if a == "CHECKPOINT" else a for a in arguments])
    assert isinstance(done.exception, InfnetError)
    assert done.exception.exit_code == exit_code
    assert str(done.exception).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(onnx_source: Path, tmp_path: Path) -> None:
    """The files before the one that does not fit do not appear either."""
    (tmp_path / "out").mkdir()
    largest = onnx_source.stat().st_size // 2
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest})); "
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from infnet_export.cli import main; "
        "import sys; "
        f"sys.argv = ['infnet-export', {str(onnx_source)!r}, '-o', {str(tmp_path / 'out')!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stderr
    assert "[INF-8003]" in done.stderr
    assert names(tmp_path / "out") == []


def test_a_target_below_a_file_is_told_before_the_work(
    onnx_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_module, "recognised", lambda *_: pytest.fail("work was done"))
    (tmp_path / "file").write_text("here")
    done = CliRunner().invoke(app, [str(onnx_source), "-o", str(tmp_path / "file" / "out")])
    assert isinstance(done.exception, InfnetError)
    assert (done.exception.code, done.exception.exit_code) == (8001, 8)
    assert (tmp_path / "file").read_text() == "here"


@pytest.mark.parametrize("count", [0, 3])
def test_calibration_needs_enough_slices(onnx_source: Path, tmp_path: Path, count: int) -> None:
    for kind in ("Imgs", "GT"):
        (tmp_path / "few" / kind).mkdir(parents=True)
    for i in range(count):
        write_slice(tmp_path / "few", f"s{i}", seed=i)
    arguments = [str(onnx_source), "-o", str(tmp_path / "out"), "--int8"]
    done = CliRunner().invoke(app, [*arguments, "--calibration", str(tmp_path / "few")])
    assert isinstance(done.exception, InfnetError)
    assert done.exception.exit_code == 3
    assert "slices" in str(done.exception)
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InfnetError)
    assert "give a folder with Imgs and GT by --calibration" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_another_contract_version_is_refused(onnx_source: Path, tmp_path: Path) -> None:
    model = onnx.load(onnx_source)
    (entry,) = (p for p in model.metadata_props if p.key == METADATA_KEY)
    entry.value = json.dumps(json.loads(entry.value) | {"contract_version": 99})
    onnx.save(model, tmp_path / "new.onnx")
    done = CliRunner().invoke(app, [str(tmp_path / "new.onnx"), "-o", str(tmp_path / "out")])
    assert isinstance(done.exception, InfnetError)
    assert done.exception.exit_code == 4
    assert "99" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_error_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path / "none.safetensors", "-o", tmp_path / "m.onnx")
    assert done.returncode == 4
    assert done.stderr == f"error[INF-4001] no checkpoint at {tmp_path / 'none.safetensors'}\n"
    assert done.stdout == ""


def test_unknown_precision_is_wrong_usage() -> None:
    done = CliRunner().invoke(app, ["c.safetensors", "-o", "m.onnx", "--weights", "int8"])
    assert done.exit_code == 2
    assert "Invalid value for '--weights'" in done.stderr


def test_help_does_not_load_torch() -> None:
    code = "import sys; import infnet_export.cli; print('torch' in sys.modules, 'onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
