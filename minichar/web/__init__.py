"""Models in the browser: one machine by itself, or many over Redis.

    page.js ── HTTP ──  app.py ──  Desk  ─┬─ desk.py     ── Scheduler (one a model, a thread of the server)
                        SSE               └─ shared.py ── Redis ── worker.py ── Scheduler

**A text is a function of its request.** Model, seed, prime, settings and branches decide every
character, whoever computes it and whoever else is served, since the models are exact
(`minichar.engine.exact`): it is what ``minichar sample --exact`` writes. So nothing needs
to be remembered of a visitor, and four things become one: a dropped connection, "continue", a
server that was restarted and a worker that died all ask for the same text *from* character n on.
That is why an event's id is the number of characters up to its end.

**Many at once.** A `Scheduler` advances all texts of one model as columns of one batch. A text that
comes joins at the next step and reads its prime there; one that is done leaves. A step takes at
least ``1/pace`` seconds while all texts are writing, so that one visitor cannot have more of the machine
than he can read.

**Readers.** A `Writing` holds a text in the making; whoever reads it says how far he has come and waits
for more. New text is published every `PUBLISH` seconds, not at every character, and at once where it
begins and ends. A text that nobody has read for `ABANDONED` seconds is given up.

**Over Redis** Dramatiq has the queue, the workers' heartbeats, and gives what a dead worker
had to another. The text goes into a Redis stream. The next worker takes what stands there as
given and writes on; the page is told.

**What is not trusted**: anything in a request. It is checked against ``openapi.json``, whose limits
are the limits. A model is looked up by its name among those loaded: no path comes from a request.
"""
