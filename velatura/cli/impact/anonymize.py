"""``velatura impact anonymize``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from velatura.cli.impact._options import Annotations, Format, Images
from velatura.errors import BadInput

if TYPE_CHECKING:
    from velatura.impact.anonymize import Setup


def anonymize(
    data: Annotated[
        Path, typer.Option(help="The folder of a data set.", show_default=False)
    ] = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A new folder for the copy.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="blur, pixelate, maskout, removal, gan, diffusion, frame, external or none: see "
            "--list."
        ),
    ] = "blur",
    region: Annotated[str, typer.Option(help="body, face or frame.")] = "body",
    level: Annotated[
        str, typer.Option(help="low, medium or high: strength, relative to the region.")
    ] = "",
    ann: Annotations = None,
    images: Images = None,
    form: Format = "coco",
    source: Annotated[
        str,
        typer.Option(help="Of regions: annotations, keypoints, detector or boxes."),
    ] = "",
    boxes: Annotated[Path | None, typer.Option(help="A file of boxes to hide.")] = None,
    external: Annotated[
        Path | None, typer.Option(help="external: the folder of images of another tool.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="frame: a packaged model, a mode or an .onnx file; gan: what train-gan wrote; "
            "diffusion: a folder."
        ),
    ] = "",
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other setting, such as regions.dilate=0.1."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of whatever is drawn by lot.")] = 0,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes; 0: one per core, for diffusion one.")
    ] = 0,
    limit: Annotated[int, typer.Option(min=0, help="Only so many images; 0 is all.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read every image, count, and write no copy.")
    ] = False,
    write_boxes: Annotated[
        Path | None, typer.Option(help="With --dry-run: a file of the boxes, to be edited.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="A PNG of before and after. It shows the people.")
    ] = None,
    listing: Annotated[
        bool, typer.Option("--list", help="Print the methods and their settings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Make a copy of a data set of images in which people are hidden.

    Annotations stay byte for byte, every image is encoded alike, and manifest.jsonl and
    summary.json say what was done to whom. The same command goes on where it was stopped.

    Exit codes: 0 every image is there; 1 one or more could not be made; 2 something to mend in the
    command or its files; 130 interrupted.

    Examples:

        velatura impact anonymize --data coco --method blur --level high --out coco-blur
        velatura impact anonymize --data coco --region face --method pixelate --out coco-faces
        velatura impact anonymize --data coco --region face --source detector --dry-run \
            --write-boxes faces.json
        velatura impact anonymize --data coco --region face --boxes faces.json --out coco-mine
    """
    if listing:
        _list()
        return
    if data == Path():
        raise BadInput("Say which data set: --data DIR.")
    if out is None and not dry_run:
        raise BadInput("Say where the copy goes: --out DIR; or count only: --dry-run.")
    if write_boxes is not None and not dry_run:
        raise BadInput("--write-boxes goes with --dry-run.")
    if sheet is not None and dry_run:
        raise BadInput("--sheet shows copies, and --dry-run makes none; leave one out.")
    from velatura.cli.impact._progress import shown
    from velatura.config import apply_sets
    from velatura.impact import _formats
    from velatura.impact import anonymize as work
    from velatura.impact._sheet import contact_sheet
    from velatura.video import destination

    for path, ending in ((sheet, ".png"), (write_boxes, ".json")):
        if path is not None:
            destination.check(path, None, False, [ending])
    values = _values(method, region, level, source, boxes, external, model, seed)
    how = work.setup(apply_sets(values, sets or []))
    found = _formats.read(form, data, ann or (), images, how.cfg.regions.categories)
    try:
        with shown("images", as_json) as progress:
            if out is None or dry_run:
                summary, regions = work.look(
                    how, found, workers=workers, limit=limit, progress=progress
                )
            else:
                summary = work.anonymize(
                    how, found, out, workers=workers, limit=limit, progress=progress
                )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "Interrupted; what was done is kept, run the same command to go on."
        ) from None
    if write_boxes is not None:
        _write_boxes(regions, write_boxes)
    if sheet is not None and out is not None:
        contact_sheet(found, out, sheet)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        _print(summary, how)
        if sheet is not None:
            typer.echo(f"{sheet}: shows the people beside their copies; keep it as the originals.")
    if summary["images"]["failed"]:
        raise typer.Exit(1)


def _values(
    method: str,
    region: str,
    level: str,
    source: str,
    boxes: Path | None,
    external: Path | None,
    model: str,
    seed: int,
) -> dict[str, Any]:
    """What the options say, as a file of settings would."""
    if external is not None and method != "external":
        raise BadInput("--external goes with --method external.")
    if model and method not in ("frame", "gan", "diffusion"):
        raise BadInput("--model goes with --method frame, gan or diffusion.")
    values: dict[str, Any] = {"method": {"name": method}, "regions": {"kind": region}, "seed": seed}
    if level:
        values["method"]["level"] = level
    if external is not None:
        values["method"]["folder"] = str(external)
    if model:
        values["method"]["model"] = model
    if boxes is not None:
        values["regions"] |= {"source": source or "boxes", "boxes": str(boxes)}
    elif source:
        values["regions"]["source"] = source
    return values


def _list() -> None:
    """Every method, the first sentence of what it does, and its settings."""
    from velatura import plugins
    from velatura.config import fields
    from velatura.impact._whole import WAYS
    from velatura.impact.anonymize import methods

    for name in methods():
        if name in WAYS:
            made, kind = WAYS[name]
            said = made.__doc__ or ""
        else:
            said = plugins.load("regions", name).__doc__ or ""
            kind = plugins.config_class("regions", name)
        first = said.splitlines()[0].split(": ", 1)[-1]
        typer.echo(f"{name:<10}{first[:1].upper()}{first[1:]}")
        if keys := fields(kind):
            typer.echo(f"{'':<10}settings: {', '.join(f'method.{key}' for key in keys)}")


def _write_boxes(regions: dict[str, list[list[int]]], path: Path) -> None:
    from velatura.deploy.regions import PICTURES

    text = json.dumps({"schema": PICTURES, "pictures": regions}, indent=1)
    try:
        path.write_text(text + "\n")
    except OSError as error:
        raise BadInput(f"Cannot write {path}: {error.strerror}.") from error
    typer.echo(f"{path}: edit it, and hide what it says with --boxes {path}.", err=True)


def _print(summary: dict[str, Any], how: Setup) -> None:
    """The counts on half a page."""
    images, instances, regions = (summary[key] for key in ("images", "instances", "regions"))
    share = "" if instances["share"] is None else f", {100 * instances['share']:.1f} %"
    typer.echo(
        f"images: {images['total']}; with somebody hidden {images['anonymized']}, untouched "
        f"{images['untouched']}, failed {images['failed']}"
    )
    if images["left"]:
        typer.echo(f"  not done yet: {images['left']}; the same command without --limit goes on")
    if images["not_annotated"]:
        typer.echo(
            f"  in the folder, but in no file of annotations: {images['not_annotated']}; not copied"
        )
    if images["failed"] and share:
        share += " of those in the copy"
    typer.echo(f"instances: {instances['total']}; hidden {instances['anonymized']}{share}")
    for reason, count in instances["skipped"].items():
        typer.echo(f"  not hidden: {count}: {reason}")
    if regions["whole_person_for_face"]:
        typer.echo(
            f"  hidden whole, since nobody labelled their keypoints: "
            f"{regions['whole_person_for_face']}"
        )
    if regions["of_nobody"]:
        typer.echo(f"  hidden beside them, of nobody who is annotated: {regions['of_nobody']}")
    for failed in summary["failed"]:
        typer.echo(f"FAILED: {failed['image']}: {failed['error']}", err=True)
    if images["failed"] > len(summary["failed"]):
        typer.echo(f"... and {images['failed'] - len(summary['failed'])} more", err=True)
