"""All outputs are settled first: none replaces another one, an input, or a file that is not ours."""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import dicom_world as world
from infnet_runtime.cli import plan as plan_module
from infnet_runtime.cli.plan import Plan, plan_cases
from infnet_runtime.errors import InfnetError, InputError, OutputError

ROOT = Path()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> list[Path]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(os.fsencode(name))
    return [Path(name) for name in names]


def plan(
    *inputs: str,
    out: str | None = None,
    kinds: tuple[str, ...] = ("mask",),
    others: tuple[str, ...] = (),
    series: Sequence[str] = (),
) -> Plan:
    return plan_cases(
        [Path(i) for i in inputs],
        out=Path(out) if out else None,
        kinds=kinds,
        others=[Path(o) for o in others],
        series=series,
    )


def refused(*inputs: str, **options: object) -> InfnetError:
    before = sorted(Path().rglob("*"))
    with pytest.raises(InfnetError) as caught:
        plan(*inputs, **options)  # type: ignore[arg-type]
    assert sorted(Path().rglob("*")) == before  # nothing is made by a call that is refused
    return caught.value


def write_report(
    path: str,
    *outputs: str,
    scan: str = "ct.nii.gz",
    earlier: tuple[str, ...] = (),
    schema: str = "infnet.quantification/2",
) -> None:
    document = {
        "schema": schema,
        "input": {"file": scan, "sha256": "0" * 64, "shape": [4, 3, 2]},
        "outputs": dict(zip("abcdef", outputs, strict=False)),
        "outputs_of_earlier_runs": list(earlier),
    }
    touch(path)
    Path(path).write_text(json.dumps(document))


def test_results_lie_beside_each_scan_or_in_the_folder() -> None:
    touch("p1/ct.nii.gz", "p2/ct.nii.gz", "p2/slice.png")
    found = [case.files for case in plan("p1/ct.nii.gz", "p2/ct.nii.gz", "p2/slice.png").cases]
    assert [str(path) for files in found for path in files.all] == [
        "p1/ct.infection.nii.gz",
        "p1/ct.infnet.json",
        "p2/ct.infection.nii.gz",
        "p2/ct.infnet.json",
        "p2/slice.infection.png",
        "p2/slice.infnet.json",
    ]
    (case,) = plan("p1/ct.nii.gz", out="new/out", kinds=("mask", "lungs", "probability", "montage")).cases
    assert sorted(case.files.listed.values()) == [
        "ct.infection.nii.gz",
        "ct.lungs.nii.gz",
        "ct.montage.png",
        "ct.probability.nii.gz",
    ]
    assert case.files.folder == Path("new/out")
    assert Path("new/out").is_dir()


@pytest.mark.parametrize(
    ("names", "out", "remedy"),
    [
        (("p1/ct.nii.gz", "p2/ct.nii.gz"), "out", "leave out -o, so that results lie beside their scans"),
        (("p1/ct.nii.gz", "p2/ct.nii"), "out", "results in -o then keep its folders"),
        (("ct.nii.gz", "ct.nii"), None, "rename one, or do them in two calls"),
        (("a.png", "a.jpg"), None, "rename one"),
        (("a.png", "a.nii"), None, "rename one"),  # one report for both
        (("p1/a.jpeg", "p2/a.jpg"), "p1", "leave out -o"),
    ],
)
def test_two_scans_with_one_result_are_refused(names: tuple[str, str], out: str | None, remedy: str) -> None:
    touch(*names)
    error = refused(*names, out=out)
    assert error.code == 8013
    assert f"{names[0]} and {names[1]} would both write" in str(error)
    assert remedy in str(error)


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (("a.png", "a.nii.gz", "b.nii"), ["b.nii"]),
        (("a.nii", "a.nii.gz", "a.jpg", "b.nii", "c.nii"), ["b.nii", "c.nii"]),
        (("x/ct.nii", "x/ct.nii.gz", "y/ct.nii"), ["y/ct.nii"]),
        (("a.jpg", "a.jpeg"), []),
    ],
)
@pytest.mark.parametrize("out", [None, "out"])
def test_in_a_folder_they_are_left_out_and_the_others_done(
    names: tuple[str, ...], kept: list[str], out: str | None
) -> None:
    touch(*(f"p/{name}" for name in names))
    cases = plan("p", out=out).cases
    assert len(cases) == len(names)
    assert [str(case.path.relative_to("p")) for case in cases if case.refusal is None] == kept
    refusals = [case.refusal for case in cases if case.refusal]
    assert {refusal.code for refusal in refusals} == {8013}
    assert all("would both write" in str(refusal) for refusal in refusals)


def test_folders_that_are_one_by_a_link_are_one() -> None:
    touch("p/ct.nii", "p/ct.nii.gz")
    Path("link").symlink_to("p")
    assert refused("p/ct.nii", "link/ct.nii.gz").code == 8013


def test_names_that_differ_by_case_or_accents_only(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("a/CT.nii", "b/ct.nii", "a/e\u0301.nii", "b/\u00e9.nii")
    touch(*names)
    if not plan_module.folds_case(Path()):
        assert len(plan(*names, out="out").cases) == 4
    monkeypatch.setattr(plan_module, "folds_case", lambda folder: True)
    for pair in (names[:2], names[2:]):
        error = refused(*pair, out="out2")
        assert error.code == 8013
        assert "CT.infection.nii.gz and out2/ct.inf" in str(error) or "\u00e9.inf" in str(error)


def test_whether_a_disk_folds_case_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("Folder/x")
    assert plan_module.folds_case(Path("Folder/not/there")) == Path("fOLDER").exists()
    assert [path.name for path in Path("Folder").iterdir()] == ["x"]
    monkeypatch.setattr(Path, "exists", lambda path: True)  # as a disk that does
    assert plan_module.folds_case(Path("Folder"))


@pytest.mark.parametrize(
    "other", ["ct.nii", "p/../ct.nii", "soft.nii", "p/soft.nii", "hard.nii", "{here}/ct.nii"]
)
def test_a_scan_given_twice_is_refused(other: str) -> None:
    touch("ct.nii", "p/x")
    Path("soft.nii").symlink_to("ct.nii")
    Path("p/soft.nii").symlink_to("../soft.nii")
    Path("hard.nii").hardlink_to("ct.nii")
    other = other.format(here=Path.cwd())
    error = refused("ct.nii", other)
    assert error.code == 3024
    assert f"ct.nii and {Path(other)} are one file, given twice; give it once" in str(error)


def test_a_folder_and_a_scan_in_it_are_given_twice() -> None:
    touch("p/a.nii")
    assert refused("p", "p/a.nii").code == 3024


@pytest.mark.parametrize("link", ["soft", "hard", "dangling"])
@pytest.mark.parametrize("role", ["scan", "lungs", "model"])
def test_an_input_is_never_replaced(link: str, role: str) -> None:
    (given,) = touch("given.nii")
    touch("ct.nii", "out/x")
    target = Path("out/ct.infection.nii.gz")
    if link == "hard":
        target.hardlink_to(given)
    else:
        target.symlink_to("../given.nii")
    if link == "dangling":
        given.unlink()
    write_report("out/ct.infnet.json", "ct.infection.nii.gz")  # even where it says that it is a result
    inputs, others = (("ct.nii", "given.nii"), ()) if role == "scan" else (("ct.nii",), ("given.nii",))
    if role == "scan" and link == "dangling":
        assert plan("ct.nii").cases  # what is not there is refused as a scan, and cannot be lost
    error = refused(*inputs, out="out", others=others)
    assert error.code == 8014
    assert "the result of ct.nii would replace given.nii, which is an input" in str(error)


def test_an_input_of_the_name_of_a_result() -> None:
    touch("ct.nii", "ct.infection.nii.gz", "ct.infnet.json", "ct.lungs.nii.gz")
    error = refused("ct.nii", "ct.infection.nii.gz")
    assert error.code == 8014
    assert refused("ct.nii", others=("ct.infnet.json",)).code == 8014
    error = refused("ct.nii", others=("./ct.lungs.nii.gz",), kinds=("mask", "lungs"), out=".")
    assert "the result of ct.nii would replace ct.lungs.nii.gz, which is an input" in str(error)


def test_a_file_of_the_user_is_not_replaced() -> None:
    touch("ct.nii", "ct.infection.nii.gz")
    error = refused("ct.nii")
    assert isinstance(error, OutputError)
    assert error.code == 8015
    assert "ct.infection.nii.gz is there already, and no report of infnet beside it lists it" in str(error)
    assert "rename it, or choose another folder with -o" in str(error)
    Path("ct.infection.nii.gz").unlink()
    touch("ct.infnet.json")  # no JSON
    assert refused("ct.nii").code == 8015
    Path("ct.infnet.json").write_text('{"schema": "other/1"}')
    assert refused("ct.nii").code == 8015


def test_one_that_is_named_refuses_the_call_with_a_folder_too() -> None:
    touch("p/ct.nii", "q/ct.nii", "p/other.nii")
    error = refused("p", "q/ct.nii", out="out")
    assert error.code == 8013
    assert "p/ct.nii and q/ct.nii would both write out/ct.infection.nii.gz" in str(error)


def test_losses_in_a_folder_are_those_of_one_scan() -> None:
    touch("p/a.nii", "p/a.infection.nii.gz", "p/b.nii", "p/b.infnet.json", "p/c.nii", "p/d.nii")
    Path("p/d.infection.nii.gz").mkdir()
    refusals = {str(case.path): case.refusal for case in plan("p").cases}
    codes = {name: refusal.code if refusal else None for name, refusal in refusals.items()}
    assert codes == {
        "p/a.infection.nii.gz": None,  # a scan of that name
        "p/a.nii": 8014,
        "p/b.nii": 8015,
        "p/c.nii": None,
        "p/d.nii": 8005,
    }
    assert plan("p", out="out").cases[1].refusal is None


def test_a_report_vouches_for_the_files_it_lists_only() -> None:
    touch("ct.nii", "ct.infection.nii.gz", "ct.lungs.nii.gz", "ct.montage.png")
    for earlier in ("infnet.quantification/1", "infnet.quantification/2"):
        write_report("ct.infnet.json", "ct.infection.nii.gz", schema=earlier)
        assert plan("ct.nii").cases[0].refusal is None
    error = refused("ct.nii", kinds=("mask", "lungs"))
    assert "ct.lungs.nii.gz is there already" in str(error)
    write_report("ct.infnet.json", "ct.infection.nii.gz", earlier=("ct.lungs.nii.gz",))
    assert plan("ct.nii", kinds=("mask", "lungs")).cases


def test_results_of_infnet_are_left_out_of_the_scans() -> None:
    touch("p/ct.nii.gz", "p/ct.infection.nii.gz", "p/ct.montage.png", "p/mine.infection.nii.gz")
    write_report("p/ct.infnet.json", "ct.infection.nii.gz", "ct.montage.png")
    for found in (plan("p"), plan(*map(str, sorted(Path("p").iterdir())))):
        names = [case.path.name for case in found.cases]
        assert names == ["ct.nii.gz", "mine.infection.nii.gz"]
        (note,) = found.notes
        assert "left out p/ct.infection.nii.gz and" in note
        assert "results of infnet, not scans" in note
    error = refused("p/ct.infection.nii.gz")
    assert (error.code, isinstance(error, InputError)) == (3023, True)
    assert "there is no scan to do: left out p/ct.infection.nii.gz: results of infnet" in str(error)


def test_a_folder_keeps_its_folders_in_the_results() -> None:
    touch("all/p1/ct.nii.gz", "all/p2/ct.nii.gz", "all/ct.nii.gz")
    found = plan("all", out="out").cases
    assert [str(case.files.report) for case in found] == [
        "out/ct.infnet.json",
        "out/p1/ct.infnet.json",
        "out/p2/ct.infnet.json",
    ]
    assert [str(case.files.report) for case in plan("all").cases][1] == "all/p1/ct.infnet.json"


def test_a_folder_called_like_a_scan_is_a_folder() -> None:
    touch("scan.nii.gz/scan.nii")
    (case,) = plan("scan.nii.gz", out="out").cases
    assert case.path == Path("scan.nii.gz/scan.nii")


def test_dicom_in_a_folder_is_one_scan_beside_the_others() -> None:
    world.write(Path("all/series"), world.slices())
    touch("all/ct.nii", "all/series/preview.jpg")
    nifti, dicom = plan("all").cases
    uid = str(world.slices()[0].SeriesInstanceUID)
    assert (nifti.path, dicom.path) == (Path("all/ct.nii"), Path("all"))
    assert str(dicom.files.report) == f"{uid}.infnet.json"
    assert plan("all").notes == (
        "left out of all: 2 x file of another kind",
        "left out all/series/preview.jpg: pictures beside DICOM files are no scans",
    )
    assert [str(case.files.report) for case in plan("all", out="out").cases] == [
        "out/ct.infnet.json",
        f"out/{uid}.infnet.json",
    ]


def test_each_study_of_a_folder_is_a_scan_and_what_is_ambiguous_is_left_to_the_user() -> None:
    world.write(Path("all/p1/st/se"), world.slices())
    world.write(Path("all/p2/st/se1"), world.slices(case="b"))
    world.write(Path("all/p2/st/se2"), world.slices(case="b", series="Lung"))
    one, two = plan("all", out="out").cases
    assert (one.path, one.refusal) == (Path("all/p1"), None)
    assert two.refusal is not None
    assert two.refusal.code == 3252
    wanted = [str(world.slices(case="b", series=name)[0].SeriesInstanceUID) for name in ("Thorax", "Lung")]
    found = plan("all", out="out", series=wanted).cases
    assert [case.files.report.name for case in found] == [f"{uid}.infnet.json" for uid in wanted]
    (absent,) = plan("all", series=["1.2.3"]).cases
    assert absent.refusal is not None
    assert absent.refusal.code == 3254


def test_the_files_of_a_series_are_one_scan_and_so_is_an_archive() -> None:
    files = [str(path) for path in world.write(Path("series"), world.slices())]
    (case,) = plan(*files).cases
    assert case.dicom is not None
    assert [str(path) for path in case.dicom.paths] == files
    assert case.files.folder == Path("series")
    with zipfile.ZipFile("scan.zip", "w") as packed:
        for file in files:
            packed.write(file)
    (case,) = plan("scan.zip").cases
    assert (case.path, case.files.folder, case.refusal) == (Path("scan.zip"), Path(), None)


def test_an_empty_folder_has_nothing_to_do() -> None:
    touch("empty/readme.txt", "full/ct.nii")
    found = plan("empty", "full")
    (refusal,) = [case.refusal for case in found.cases if case.refusal]
    assert refusal.code == 3023
    assert "empty holds no scan: no file that ends with .nii.gz, .nii, .png" in str(refusal)
    assert "and no DICOM file" in str(refusal)
    assert not plan("empty").needs_model


def test_a_folder_of_the_name_of_a_result_is_refused_at_once() -> None:
    touch("ct.nii", "ct.infection.nii.gz/x")
    error = refused("ct.nii")
    assert error.code == 8005
    assert "cannot write ct.infection.nii.gz: it is a folder or a device" in str(error)


def test_a_name_too_long_for_its_results_is_refused_before_the_work() -> None:
    names = ("\u00e9" * 119 + ".nii", "b" * 239 + ".nii")
    touch(*names)
    (first, second) = plan(*names).cases
    assert first.refusal is None  # 255 bytes with what is added
    assert second.refusal is not None
    assert second.refusal.code == 8006
    assert "the name is too long; rename the scan" in str(second.refusal)


def test_what_is_no_scan_is_kept_with_its_reason_and_needs_no_model() -> None:
    touch("1.dcm", "2.dcm")
    Path("gone.nii").symlink_to("nowhere")
    found = plan("1.dcm", "2.dcm", "gone.nii", "absent.nii")
    assert [case.refusal.code for case in found.cases if case.refusal] == [3253, 3025, 3001]
    assert not found.needs_model
    touch("ct.nii")
    assert plan("1.dcm", "ct.nii").needs_model


def test_names_that_are_no_text_are_planned() -> None:
    name = os.fsdecode(b"a\xff.nii")
    touch(name)
    (case,) = plan(name, out="out").cases
    assert case.files.listed == {"mask": "a\\xff.infection.nii.gz"}
    assert os.fsencode(case.files.files["mask"]) == b"out/a\xff.infection.nii.gz"
