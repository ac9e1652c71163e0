"""The commands ``infnet-train eval`` and ``infnet-train calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from infnet_train.cli.options import DeviceOption, ModelArgument, TableJsonOption, Turn, TurnOption


def evaluate(
    model: ModelArgument,
    data: Annotated[Path, typer.Argument(help="Folder with images/ and masks/, or Imgs/ and GT/.")],
    turn: TurnOption = Turn.none,
    device: DeviceOption = "auto",
    per_case: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Also the scores of each slice, one row each.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Also the probability of each slice, DIR/NAME.png, 0 to 255."),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Score ground glass and consolidation instead; the folder of class masks in DATA: Classes "
            "in prepared data, GT where the masks are those of the classes.",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="RUN_OR_ONNX",
            help="With --classes, of a network that is given the infection: the model that finds it, or "
            "'truth'.",
        ),
    ] = None,
    as_json: TableJsonOption = False,
) -> None:
    """Score a model on labelled slices, by the protocol of the paper and by the clinical one."""
    import json

    if classes is None:
        if prior is not None:
            raise typer.BadParameter("--prior belongs to --classes FOLDER; give both or none")
        from infnet_train.assess.evaluate import evaluate_file

        result = evaluate_file(model, data, turn=turn.value, device=device, per_case=per_case, maps=maps)
        typer.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else result.to_text())
        return
    if per_case is not None or maps is not None:
        raise typer.BadParameter("--per-case and --maps are of the infection; leave them out with --classes")
    from infnet_train.assess.evaluate_classes import evaluate_classes

    of_classes = evaluate_classes(
        model, data, classes=classes, prior=prior or "", turn=turn.value, device=device
    )
    typer.echo(
        json.dumps(of_classes.to_dict(), indent=2, allow_nan=False) if as_json else of_classes.to_text()
    )


def calibrate(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Argument(
            help="Validation slices, never the test set: a folder with images/ and masks/, or Imgs/ and GT/."
        ),
    ],
    turn: TurnOption = Turn.none,
    device: DeviceOption = "auto",
    inside_lungs: Annotated[
        bool, typer.Option("--inside-lungs", help="Count pixels inside the lungs only; the lungs are found.")
    ] = False,
    as_json: TableJsonOption = False,
) -> None:
    """Fit the temperature that makes a model's probabilities mean what they say.

    The slices must be neither those of the training nor the test set: scores on slices that the temperature
    was fitted on are no test.
    """
    import json

    from infnet_train.assess.calibrate import calibrate_file

    result = calibrate_file(model, data, turn=turn.value, device=device, inside_lungs=inside_lungs)
    typer.echo(json.dumps(result.to_dict(), indent=2, allow_nan=False) if as_json else result.to_text())
