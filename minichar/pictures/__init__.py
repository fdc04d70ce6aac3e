"""Pictures of a run and of what a network does: loss curves, and a page to look inside."""
