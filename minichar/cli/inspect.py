"""``minichar inspect``."""

import click

from minichar.cli.options import GroupedCommand
from minichar.convert import format_of, load_model
from minichar.training.archive import Archive


@click.command("inspect", cls=GroupedCommand)
@click.argument("checkpoint")
def command(checkpoint: str) -> None:
    """Show what a checkpoint holds: configuration, parameters by layer, loss history."""
    model = load_model(checkpoint)
    training = {}
    if format_of(checkpoint) in (None, "npz"):  # no other format holds the state of a training
        with Archive(checkpoint) as archive:
            training = archive.header.get("training", {})
    click.echo(f"model      {model.summary()}")
    unknown = ", and one unknown id" if model.vocabulary.unknown else ""
    click.echo(f"vocabulary {model.vocabulary.characters!r}{unknown}")
    click.echo(f"state of training: {'yes, --resume can go on' if training else 'no, for sampling only'}")
    click.echo("parameters")
    for name, shape in model.parameters.shapes.items():
        view = model.parameters[name]
        sizes = " × ".join(map(str, shape))
        click.echo(f"  {name:12} {sizes:>12} {view.size:>12,}  largest {abs(view).max():.3g}")
    click.echo("settings")
    for name, value in model.details.get("settings", {}).items():
        click.echo(f"  {name:26} {value}")
    if training.get("history"):
        click.echo("history (nats per character)")
        click.echo("    epoch   train  validation  learning rate  share of true input")
    for row in training.get("history", []):
        val = f"{row['val']['loss']:10.4f}" if row["val"] else " " * 9 + "-"
        click.echo(
            f"  {row['epoch']:7.2f} {row['train_loss']:7.4f}  {val}  {row['learning_rate']:13.3g}  "
            f"{row['true_share']:19.3g}"
        )
