"""Text generation over HTTP: one server alone, or several servers and workers sharing Redis.

    page.js ── HTTP, SSE ── app.py ── JobQueue ─┬─ queue.py ─────── Scheduler (one per model)
                                                └─ redis_queue.py ── Redis ── worker.py ── Scheduler

**The request determines the text.** Model, seed, prime, settings and branches determine every
character, on any machine and whatever else is running, because the models are exact
(`minichar.engine.exact`). The text is the one that ``minichar sample --exact`` generates. No session
state is needed: reconnecting, "continue", a server restart and a worker failure are all handled by
requesting the same text from character n on. For that reason an event's id is the number of
characters up to its end.

**Batching.** A `Scheduler` generates all texts of one model as columns of one batch. A new text joins
at the next step and reads its prime there; a finished text leaves. A step takes at least ``1/pace``
seconds while every text is generating, so a single client cannot take all of the CPU.

**Streaming.** A `Job` is a text being generated. A reader passes the number of characters it already
has and waits for more. New text is published every `PUBLISH_INTERVAL` seconds, and immediately at the
beginning and the end. A job without a reader for `ABANDONED_AFTER` seconds is cancelled.

**Redis.** Dramatiq provides the queue, worker heartbeats and the redelivery of a dead worker's jobs.
The text is stored in a Redis stream. The next worker continues after the text already stored, and the
client receives a notice.

**Untrusted input.** Every request is validated against ``openapi.json``. Models are looked up by name
among those loaded at startup: no file path comes from a request.
"""
