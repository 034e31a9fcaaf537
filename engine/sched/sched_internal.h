/* SPDX-License-Identifier: Apache-2.0 */
/* Requests as the stepping thread sees them. */
#ifndef SCHED_INTERNAL_H
#define SCHED_INTERNAL_H

#include "sample.h"
#include "scheduler.h"

struct request;
/* Called by the stepping thread after a step that evaluated the text to its end (generate) or any part (evaluate).
 * Returns true when the request is finished, with request->status set. */
typedef bool request_advance(struct request *request, struct forward *forward, const struct forward_item *item);

struct request {
    struct sched_text *text;
    request_advance *advance;
    size_t prompt_end;             /* tokens from this position on were generated */
    bool alone;                    /* wants every row's logits and taps: shares its steps with nobody */
    const struct forward_tap *tap; /* for `alone` */
    bool done;                     /* guarded by the scheduler's lock, as is `next` */
    moesaic_status status;
    moesaic_error error;
    struct request *next;
};

/* Queues the request and waits until it is done. Returns request->status. */
moesaic_status sched_submit(struct sched *sched, struct request *request);
const struct model *sched_model(const struct sched *sched);
size_t sched_step_rows(const struct sched *sched); /* rows of a step whose every logit is wanted */

#endif
