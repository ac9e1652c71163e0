"""The commands ``infnet-train data``: look at training data and prepare them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infnet_train.cli.options import JsonOption, Turn
from infnet_train.cli.progress import log_to_stderr

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at training data and prepare them.")


class _EdgeDefinition(StrEnum):
    gradient = "gradient"
    canny = "canny"


@app.command("check")
def check(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Root of COVID-SemiSeg, a folder with images/ and masks/ or Imgs/ and GT/, or one of such.",
        ),
    ],
    hard: Annotated[
        bool, typer.Option("--hard", help="The masks are said to be 0 and 255 only: name those that are not.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read every picture of a data folder and say what is there and what is wrong."""
    import json

    from infnet_train.data.check import check_data
    from infnet_train.data.pictures import DataError

    report = check_data(folder, hard_labels=hard)
    typer.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    if report.problems:
        raise DataError(f"{len(report.problems)} problem(s) in {folder}, listed in the report", code=3139)


@app.command("edges")
def edges(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with images/ and masks/, or Imgs/ and GT/.")
    ],
    definition: Annotated[
        _EdgeDefinition,
        typer.Option(
            help="gradient: two pixels wide, as of the labelled slices; canny: one, as of pseudo-labels."
        ),
    ] = _EdgeDefinition.gradient,
    as_json: JsonOption = False,
) -> None:
    """Write Edge/<name>.png for each mask that has none. Nothing is overwritten."""
    import json

    from infnet_runtime.version import __version__
    from infnet_train.data.edges import write_edges

    done = write_edges(folder, definition.value)
    values = {
        "schema": "infnet.edges/1",
        "infnet": __version__,
        "folder": str(done.folder),
        "definition": done.definition,
        "written": done.written,
        "kept": done.kept,
    }
    text = f"{done.folder}: {done.written} edge maps written ({done.definition}), {done.kept} were there"
    typer.echo(json.dumps(values, indent=2) if as_json else text)


@app.command("prepare")
def prepare(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="Own data: a folder with images/ and masks/ (or Imgs/ and GT/, imagesTr/ and labelsTr/), of "
            "pictures or of NIfTI volumes. Or the public sets: covid-semiseg and, if there, "
            "covid-semiseg-manual, coronacases-slices, radiopaedia-covid-volumes, -volumes-2 and "
            "-second-reader, healthy-ct-volumes and iq-othnccd-normal.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The training folder.", envvar="INFNET_OUT")],
    neighbour_step: Annotated[
        float, typer.Option(help="How far below and above a slice its neighbours are, mm.", min=0.1)
    ] = 5.0,
    volume: Annotated[
        list[Path] | None,
        typer.Option(help="Own data in place of DATA: a NIfTI volume; may be given several times."),
    ] = None,
    mask: Annotated[
        list[Path] | None, typer.Option(help="The mask of each volume, in the same order.")
    ] = None,
    infection: Annotated[
        list[int] | None,
        typer.Option(help="Own data: a label that is infection. Every label where there is only one."),
    ] = None,
    ignore: Annotated[
        list[int] | None, typer.Option(help="Own data: a label that counts neither as infected nor healthy.")
    ] = None,
    ground_glass: Annotated[
        list[int] | None,
        typer.Option(help="Own data: a label that is ground glass; --infection is of unknown class then."),
    ] = None,
    consolidation: Annotated[
        list[int] | None, typer.Option(help="Own data: a label that is consolidation.")
    ] = None,
    turn: Annotated[Turn, typer.Option(help="Own pictures: what turns them upright.")] = Turn.none,
    validation: Annotated[
        float, typer.Option(help="Own data: share of the patients for validation.", min=0, max=0.9)
    ] = 0.0,
    test: Annotated[
        float, typer.Option(help="Own data: share of the patients for a test set.", min=0, max=0.9)
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Make one training folder of own data or of the public sets: upright, and cut at the lungs.

    Of the public sets reserved cases are left out, and all come in one grey scale.
    """
    import json

    from infnet_runtime.version import __version__
    from infnet_train.data.masks import LabelMeaning
    from infnet_train.data.own import Split, own_data, prepare_own
    from infnet_train.data.prepare import are_public, refuse_own_options
    from infnet_train.data.prepare import prepare as run

    log_to_stderr()
    if data is not None and are_public(data):
        refuse_own_options(
            volume=volume,
            mask=mask,
            infection=infection,
            ignore=ignore,
            ground_glass=ground_glass,
            consolidation=consolidation,
            validation=validation,
            test=test,
        )
        slices = run(data, out, neighbour_step_mm=neighbour_step)
    else:
        named = (tuple(labels or ()) for labels in (infection, ignore, ground_glass, consolidation))
        meaning = LabelMeaning(*named)
        own = own_data(data, volume or (), mask or (), meaning, turn.value, neighbour_step)
        slices = prepare_own(own, out, Split(validation, test))
    values = {"schema": "infnet.prepared/1", "infnet": __version__, "out": str(out), "slices": slices}
    text = "\n".join(f"{count:5d} slices  {out / name}" for name, count in slices.items())
    typer.echo(json.dumps(values, indent=2) if as_json else text)


@app.command("pack")
def pack(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The training folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", envvar="INFNET_OUT")],
    config: Annotated[
        Path, typer.Option(help="Recipe whose slices are packed: a TOML file, or one in train/configs.")
    ] = Path("default.toml"),
    quality: Annotated[int, typer.Option(help="Of the slices as JPEG.", min=1, max=100)] = 85,
    as_json: JsonOption = False,
) -> None:
    """Put the slices of a recipe into one small file, which --data takes in place of the folder."""
    import json

    from infnet_runtime.version import __version__
    from infnet_train.recipe import find_recipe, pack_recipe, read_recipe

    packed = pack_recipe(read_recipe(find_recipe(config)), data, out, quality=quality)
    values = {
        "schema": "infnet.packed/1",
        "infnet": __version__,
        "out": str(packed.file),
        "slices": packed.slices,
        "bytes": packed.size,
    }
    text = "\n".join(f"{count:5d} slices  {folder}" for folder, count in packed.slices.items())
    total = f"{packed.file}, {packed.size / 2**20:.1f} MiB"
    typer.echo(json.dumps(values, indent=2) if as_json else f"{text}\n{total}")
