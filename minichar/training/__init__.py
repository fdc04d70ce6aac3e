"""Training: truncated BPTT chunk by chunk, clipping, RMSprop, schedules, scheduled sampling."""
