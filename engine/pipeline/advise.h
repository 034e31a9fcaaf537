/* SPDX-License-Identifier: Apache-2.0 */
/* Advice on what to do to a model on this machine. */
#ifndef ADVISE_H
#define ADVISE_H

#include <moesaic/advise.h>

/* As moesaic_advise. */
moesaic_status pipeline_advise(moesaic_model *model, const moesaic_advise_options *options,
                               moesaic_advise_result *ret_result, moesaic_error *error);

#endif
