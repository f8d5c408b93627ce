/*
 * parameters.h
 *		The parameters of a post, as each executor gets them.
 */
#ifndef JFLOW_PARAMETERS_H
#define JFLOW_PARAMETERS_H

#include "flow/flow.h"

typedef struct JflowPostParameters
{
	const JflowFlow *flow;
	Jsonb	   *given;
	JsonbContainer *overrides;	/* by executor; NULL: none */
	bool	   *by_name;		/* of each executor: is the parameter of its
								 * name overrides for it?  NULL: of none */
	Jsonb	   *common;			/* what is not meant for one alone */
} JflowPostParameters;

extern void jflow_parameters_init(JflowPostParameters *parameters, const JflowFlow *flow,
								  Jsonb *given);
extern Jsonb *jflow_parameters_of(const JflowPostParameters *parameters, int executor);
extern void jflow_parameters_note_unknown(const JflowPostParameters *parameters,
										  const bool *active);

#endif							/* JFLOW_PARAMETERS_H */
