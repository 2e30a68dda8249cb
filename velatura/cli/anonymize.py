"""``velatura anonymize``: run a trained anonymizer over a video file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import numpy as np

# Every network here halves its input at most four times.
MULTIPLE = 16


def anonymize(
    source: Annotated[Path, typer.Argument(help="A video file.")],
    run: Annotated[Path, typer.Option(help="The run folder of a trained anonymizer.")],
    output: Annotated[
        Path | None, typer.Option(help="An .mp4 or .mov file. Default: SOURCE with .anon.mp4.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Frames at once; fewer need less memory.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Write an anonymized copy of SOURCE: same frames, size and timing; no sound.

    All of it is written, or nothing: a frame that fails leaves no file. How much the
    result hides is what the run's report measured, and no more: people who know a person
    may still recognise them.

    Example:

        velatura anonymize clip.mp4 --run runs/penalty
    """
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    from velatura.deploy.file import anonymize_file
    from velatura.experiment import load_anonymizer
    from velatura.video.probe import probe

    probe(source)  # a wrong path is told before a network is loaded
    device = _device(device)
    output = output or source.with_name(f"{source.stem}.anon.mp4")
    frames = _on_frames(load_anonymizer(run, device), device)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(source.name, total=None)
        try:
            outcome = anonymize_file(
                source,
                output,
                frames,
                batch=batch,
                overwrite=overwrite,
                device=device,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt("Interrupted; no output was written.") from None
        except SystemExit:  # SIGTERM
            typer.echo("Terminated; no output was written.", err=True)
            raise
    if json:
        typer.echo(dumps({**asdict(outcome), "run": str(run)}))
    else:
        typer.echo(
            f"{outcome.destination}: {outcome.frames} frames, {outcome.width}x{outcome.height}, "
            f"{outcome.seconds:.1f} s, {outcome.fps:.1f} frames/s on {outcome.device}, by {run}"
        )


def _device(name: str) -> str:
    """The device to use for "auto", "cpu" or "cuda"; BadInput where there is none such."""
    import torch

    from velatura.errors import BadInput

    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"--device is auto, cpu or cuda, not {name!r}.")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("--device cuda: no CUDA device is available here; use auto or cpu.")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name


def _on_frames(model: Any, device: str) -> Callable[[np.ndarray], np.ndarray]:
    """An anonymizer of clips in [0, 1] as a function of bytes, for frames of any size.

    Args:
        model: (1, T, C, H, W) float in [0, 1] to the same; H and W multiples of 16.
        device: where the model's weights are.

    Returns:
        (T, H, W, 3) uint8 to the same. Raises Failure on a value that is not a number.
    """
    import torch
    from torch.nn.functional import pad

    from velatura.errors import Failure

    @torch.inference_mode()
    def run(images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        clip = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255
        # Bottom and right only, repeating the edge: cropping gives every pixel its place.
        clip = pad(clip, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="replicate")
        result = model(clip[None])[0].float()
        if result.shape != clip.shape:
            raise Failure(f"The anonymizer turned {tuple(clip.shape)} into {tuple(result.shape)}.")
        if not torch.isfinite(result).all():
            raise Failure("The anonymizer gave a value that is not a number.")
        result = result[..., :height, :width].clamp(0, 1) * 255
        return result.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    return run
