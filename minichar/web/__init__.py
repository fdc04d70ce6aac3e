"""Text generation over HTTP, with a single server or with multiple servers and workers connected through
Redis.

    page.js ── HTTP, SSE ── app.py ── JobQueue ─┬─ processes.py ─── sockets ─── Worker ── Scheduler
                               (Texts)          └─ redis_queue.py ──── Redis ── Worker ── (one per model)

**Processes.** Text is never generated in the server process, so generation cannot keep a request waiting.
``minichar serve`` starts its own workers; ``minichar worker`` runs others. The messages between them are the
same over both transports (`minichar.web.worker`). The server process runs one event loop: Starlette's
routes on uvicorn, whose connections have additional limits (`minichar.web.connection`). It keeps the texts
that it generates or reads within a memory budget (`minichar.web.texts`).

**Reproducible output.** The model, seed, prompt, settings and branches determine every generated
character. The text does not depend on the machine or on other jobs, because the models use exact arithmetic
(`minichar.engine.exact`). ``minichar sample --exact`` generates the same text. The server therefore needs no
session state. To resume a text, even after a server restart or a worker failure, the client can resend the
same request with the number of characters to skip. If ``length`` has been reached, a larger ``length``
extends the text. The id of a server-sent event is the total number of characters generated so far.

**Batching.** A `Scheduler` runs all jobs for one model as columns of two batches. In one of them, a step
takes at least ``1/pace`` seconds so that a single client cannot monopolise the CPU. A job that is processing
its prompt or regenerating known text runs in the other batch, which has its own time budget.

**Streaming.** A worker publishes the first and last characters of a `Job` immediately, and the others every
`PUBLISH_INTERVAL` seconds, or less often while many jobs are running (`MAX_UPDATES`). A reader specifies how
many characters it already has and waits for more. A job is cancelled after `ABANDONED_AFTER` seconds without
a reader.

**OpenAI's API.** ``completions.py`` only translates requests and responses. Every route that generates
text uses `Delivery`, and therefore has the same queue, limits and metrics.

**Failures.** A worker process that dies is started again. With Redis, the other workers take over the jobs
of a worker without a heartbeat, which its consumer group still lists as pending. In both cases, the new
worker continues the text that has been published, and the client is notified.

**Untrusted input.** Every request is validated against ``openapi.json``. Model names are looked up
among the models loaded at startup, so a request cannot specify a file path.
"""
