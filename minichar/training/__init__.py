"""Training: truncated BPTT, gradient clipping, RMSprop, schedules and scheduled sampling."""
