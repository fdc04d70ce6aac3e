"""How a network learns: clipping, RMSprop, schedules, scheduled sampling, checkpoints, and the loop."""
