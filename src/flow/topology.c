/*
 * topology.c
 *		The graph of a flow: inputs of each executor, outputs of the flow.
 *
 * An executor can only need what was added before it, so definition order is
 * an execution order and a cycle cannot be written down; what remains to be
 * checked is that every name exists and comes earlier.  The catalog may have
 * been edited by hand or merged by a restore, hence errors and not assertions.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "flow/flow.h"

/* An executor's name and its number, for searching by name. */
typedef struct NamedExecutor
{
	const char *name;
	int			number;
} NamedExecutor;

static int
name_order(const void *a, const void *b)
{
	return strcmp(((const NamedExecutor *) a)->name, ((const NamedExecutor *) b)->name);
}

static int
executor_index(const NamedExecutor *names, int n, const char *name)
{
	NamedExecutor key = {name, 0};
	const NamedExecutor *found = bsearch(&key, names, n, sizeof(NamedExecutor), name_order);

	return found ? found->number : -1;
}

static int
resolve_need(const JflowFlow *flow, const NamedExecutor *names, int position, const char *need)
{
	const char *name = flow->executors[position].name;
	int			input;

	if (strcmp(need, "gateway") == 0)
		return JFLOW_FLOW_INPUT;

	CHECK_FOR_INTERRUPTS();
	input = executor_index(names, flow->nexecutors, need);
	if (input < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor \"%s\" of flow \"%s\" needs \"%s\", which does not exist",
						name, flow->name, need)));
	if (input >= position)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("executor \"%s\" of flow \"%s\" needs \"%s\", which does not come before it",
						name, flow->name, need),
				 errdetail("A flow is a graph without cycles, in the order of definition.")));
	if (flow->executors[input].floating)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("executor \"%s\" of flow \"%s\" needs \"%s\", which is floating",
						name, flow->name, need),
				 errdetail("Nobody waits for the answer of a floating executor.")));
	return input;
}

/*
 * Fill in inputs of the executors and outputs of the flow, allocated in the
 * flow's context.  Executors must be in order of definition.
 */
void
jflow_flow_resolve_topology(JflowFlow *flow)
{
	bool	   *needed = palloc0(sizeof(bool) * Max(flow->nexecutors, 1));
	NamedExecutor *names = palloc(sizeof(NamedExecutor) * Max(flow->nexecutors, 1));

	flow->outputs = MemoryContextAlloc(flow->context,
									   sizeof(int) * Max(flow->nexecutors, 1));
	flow->noutputs = 0;
	for (int i = 0; i < flow->nexecutors; i++)
		names[i] = (NamedExecutor)
	{
		flow->executors[i].name, i
	};
	qsort(names, flow->nexecutors, sizeof(NamedExecutor), name_order);

	for (int i = 0; i < flow->nexecutors; i++)
	{
		JflowExecutor *executor = &flow->executors[i];

		executor->inputs = MemoryContextAlloc(flow->context,
											  sizeof(int) * Max(executor->nneeds, 1));
		for (int j = 0; j < executor->nneeds; j++)
		{
			executor->inputs[j] = resolve_need(flow, names, i, executor->needs[j]);
			/* what floats is not waited for, so the answer is that before it */
			if (executor->inputs[j] >= 0 && !executor->floating)
				needed[executor->inputs[j]] = true;
		}
	}
	for (int i = 0; i < flow->nexecutors; i++)
		if (!needed[i] && !flow->executors[i].floating)
			flow->outputs[flow->noutputs++] = i;
	pfree(names);
	pfree(needed);
}

/*
 * The text search configuration by which texts are cut in front of an executor, by
 * its qualified name; of several that of the nearest.  NULL if there is none.
 */
char *
jflow_text_search_of(const JflowFlow *flow, const JflowExecutor *executor)
{
	bool	   *in_front = palloc0(sizeof(bool) * flow->nexecutors);

	for (int i = 0; i < flow->nexecutors; i++)
		in_front[i] = strcmp(flow->executors[i].name, executor->name) == 0;
	for (int i = flow->nexecutors - 1; i >= 0; i--)
	{
		const JflowExecutor *input = &flow->executors[i];
		char	   *config;

		if (!in_front[i])
			continue;
		config = input->class && input->class->text_search ? input->class->text_search(input) : NULL;
		if (config)
			return config;
		for (int j = 0; j < input->nneeds; j++)
			if (input->inputs[j] != JFLOW_FLOW_INPUT)
				in_front[input->inputs[j]] = true;
	}
	return NULL;
}
