"""Text generation over HTTP, with a single server or with several servers and workers connected through
Redis.

    page.js ── HTTP, SSE ── app.py ── JobQueue ─┬─ queue.py ─────── Scheduler (one per model)
                                                └─ redis_queue.py ── Redis ── worker.py ── Scheduler

**Reproducible output.** The model, seed, prompt, settings and branches determine every generated
character. The text does not depend on the machine or on other jobs, because the models use exact arithmetic
(`minichar.engine.exact`). ``minichar sample --exact`` generates the same text. The server therefore needs no
session state. To resume a text, even after a server restart or a worker failure, the client can resend the
same request with the number of characters to skip. If ``length`` has been reached, a larger ``length``
extends the text. The id of a server-sent event is the total number of characters generated so far.

**Batching.** A `Scheduler` runs all jobs for one model as columns of one batch. A new job joins the
batch at the next step and leaves the batch when it is finished. The job's prompt is processed before any of
its text is generated. Except while a job is processing its prompt or regenerating text, a step takes at
least ``1/pace`` seconds so that a single client cannot monopolise the CPU.

**Resuming.** Text that a client already has is regenerated without a speed limit, starting from the
last suitable snapshot. Workers share their snapshots through Redis.

**Streaming.** A `Job` generates the text for one request. A reader specifies how many characters it
already has and waits for more. The first and last characters are published immediately, and the
others every `PUBLISH_INTERVAL` seconds, or less often while many jobs are running (`MAX_UPDATES`). A job is
cancelled after `ABANDONED_AFTER` seconds without a reader.

**OpenAI's API.** ``completions.py`` only translates requests and responses. Every route that generates
text uses `Delivery`, and therefore has the same queue, limits and metrics.

**Redis.** Dramatiq provides the queue and the worker heartbeats, and redelivers the jobs of dead
workers. Generated text is stored in Redis streams. A worker that takes over a job continues from the end of
the stored text and notifies the client.

**Untrusted input.** Every request is validated against ``openapi.json``. Model names are looked up
among the models loaded at startup, so a request cannot specify a file path.
"""
