/* SPDX-License-Identifier: Apache-2.0 */
/* What the read roofs of all ISAs share. */
#ifndef ROOF_INTERNAL_H
#define ROOF_INTERNAL_H

#include "kernels.h"

enum { ROOF_STEP_BYTES = 256 }; /* read in a step, by all streams together */

/* `read` with a constant number of streams: straight code for each. */
#define ROOF_STREAMS(read, data, bytes, streams)                                                                       \
    ((streams) == 1 ? read(data, bytes, 1) : (streams) == 2 ? read(data, bytes, 2) : read(data, bytes, 4))

#endif
