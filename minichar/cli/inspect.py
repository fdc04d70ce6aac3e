"""``minichar inspect``."""

from typing import Any

import click

from minichar.cli.options import GroupedCommand
from minichar.convert import format_of, load_model
from minichar.errors import MinicharError
from minichar.training.archive import Archive
from minichar.training.naming import find_checkpoint


@click.command("inspect", cls=GroupedCommand)
@click.argument("checkpoint", required=False)
def command(checkpoint: str | None) -> None:
    """Show what a checkpoint holds: configuration, parameters by layer, loss history.

    CHECKPOINT is a file, or a folder, of which the checkpoint of lowest validation loss is
    shown; without it the folder is cv/.
    """
    path = str(find_checkpoint(checkpoint))
    model = load_model(path)
    training: dict[str, Any] = {}
    if format_of(path) in (None, "npz"):  # no other format holds the state of a training
        with Archive(path) as archive:
            training = archive.header.get("training") or {}
    try:
        settings, history = settings_table(model.details), history_table(training)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise MinicharError(
            f"{path} is not a checkpoint minichar can read: its settings or its history are damaged ({error})"
        ) from error
    click.echo(f"checkpoint {path}")
    click.echo(f"model      {model.summary()}")
    unknown = ", and one unknown id" if model.vocabulary.unknown else ""
    click.echo(f"vocabulary {model.vocabulary.characters!r}{unknown}")
    click.echo(f"state of training: {'yes, --resume can go on' if training else 'no, for sampling only'}")
    click.echo("parameters")
    for name, shape in model.parameters.shapes.items():
        view = model.parameters[name]
        sizes = " × ".join(map(str, shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  largest {abs(view).max():.3g}")
    for line in settings + history:
        click.echo(line)


def settings_table(details: dict[str, Any]) -> list[str]:
    """Return a line for each setting, under a heading."""
    return ["settings", *(f"  {name!s:26} {value!r}" for name, value in details.get("settings", {}).items())]


def history_table(training: dict[str, Any]) -> list[str]:
    """Return a line for each measurement, under a heading; nothing where there is none."""
    lines = []
    for row in training.get("history", []):
        val = f"{row['val']['loss']:10.4f}" if row["val"] else " " * 9 + "-"
        lines.append(
            f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val}  {row['learning_rate']:13.3g}  "
            f"{row['true_share']:19.3g}"
        )
    heading = "    epoch   train  validation  learning rate  share of true input"
    return ["history (nats per character)", heading, *lines] if lines else []
