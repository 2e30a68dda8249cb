"""Where a data set lies: options that several verbs have alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Annotations", "Format", "Images"]

Annotations = Annotated[
    list[Path] | None,
    typer.Option(help="A file of annotations; again for others of the same images."),
]
Images = Annotated[
    Path | None, typer.Option(help="The folder of images, where it is none of the usual.")
]
Format = Annotated[str, typer.Option("--format", help="coco, crowdpose or widerface.")]
