/* SPDX-License-Identifier: Apache-2.0 */
/* The first stage: rows of the embedding, and the angles of each row's position. */
#include "forward_internal.h"

void embedding_run(struct forward *f, struct forward_worker *w) {
    const struct weight *embedding = &model_weights(f->model)->embedding;
    size_t begin, end, half = f->config->rotary_dim / 2, hidden = f->config->hidden, first = 0, item = 0;
    team_share(f->rows, 1, w->thread, f->threads, &begin, &end);
    for (size_t r = begin; r < end; r++) {
        for (; item < f->row[r].item; item++)
            first += f->items[item].count;
        const struct model_context *context = f->items[item].context;
        rope_angles(context->inverse_frequency, context->rope_scale, half, f->row[r].position, f->cosine + r * half,
                    f->sine + r * half);
        if (f->given_hidden)
            continue;
        uint64_t id = (uint64_t)f->items[item].ids[r - first];
        weight_dequantize(embedding, id, id + 1, f->hidden + r * hidden);
    }
}
