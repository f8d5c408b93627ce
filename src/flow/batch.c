/*
 * batch.c
 *		"batch" of an executor: requests of several posts may be run as one call.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "common/json.h"
#include "compat.h"
#include "flow/flow.h"

static int
read_size(const JsonbValue *value)
{
	bool		error = value->type != jbvNumeric;
	int			size = error ? 0 : numeric_int4_compat(value->val.numeric, &error);

	if (!error)
		error = !DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(value->val.numeric),
												  DirectFunctionCall1(int4_numeric, Int32GetDatum(size))));
	if (error || size < 1 || size > JFLOW_MAX_BATCH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"size\" of batch must be an integer between 1 and %d", JFLOW_MAX_BATCH),
				 errdetail("It is how many documents one call may have.")));
	return size;
}

/* Microseconds of the text of an interval. */
static int64
read_wait(const JsonbValue *value)
{
	Interval   *interval;
	int64		wait_ms;

	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"wait\" of batch must be a string with a time"),
				 errhint("For example \"3ms\".")));
	interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(jflow_json_string(value)),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	wait_ms = jflow_interval_ms(interval);
	if (wait_ms < 0 || wait_ms > JFLOW_MAX_BATCH_WAIT_MS || interval->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"wait\" of batch must be between 0 and %d ms", JFLOW_MAX_BATCH_WAIT_MS)));
	return wait_ms * 1000 + interval->time % 1000;
}

static void
read_member(void *arg, const char *key, JsonbValue *value)
{
	static const char *const known[] = {"size", "wait"};
	JflowBatch *batch = arg;
	const char *suggestion;

	if (strcmp(key, "size") == 0)
		batch->size = read_size(value);
	else if (strcmp(key, "wait") == 0)
		batch->wait_us = read_wait(value);
	else
	{
		suggestion = jflow_suggest(key, known, lengthof(known));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown key \"%s\" of batch", key),
				 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
	}
}

/*
 * What a "batch" says; NULL says that each request is a call.  Raises what is
 * wrong with it.
 */
void
jflow_batch_read(Jsonb *json, JflowBatch *batch)
{
	memset(batch, 0, sizeof(*batch));
	if (json == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch must be a JSON object"),
				 errhint("For example {\"size\": 64, \"wait\": \"3ms\"}.")));
	jflow_json_each(&json->root, read_member, batch);
	if (batch->size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch has no \"size\""),
				 errhint("Say how many documents one call may have.")));
}

/* Raises invalid_parameter_value for replicas that there cannot be with a batch. */
void
jflow_batch_check_replicas(const JflowExecutor *executor, int replicas)
{
	if (executor->batch && replicas == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("executor \"%s\" has a batch and needs replicas", executor->name),
				 errdetail("Without replicas each post runs in its own session, so there is nothing to join.")));
}

/*
 * Raises what is wrong with an executor's batch.  A built-in class says whether
 * it answers one for one; of a function its owner does.
 */
void
jflow_batch_check(const JflowExecutor *executor)
{
	JflowBatch	batch;

	jflow_batch_read(executor->batch, &batch);
	if (executor->batch == NULL)
		return;
	jflow_batch_check_replicas(executor, executor->replicas);
	if (executor->class && !executor->class->one_for_one)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("executors of class %s cannot have a batch", executor->uses),
				 errdetail("Requests are joined only where each document is answered by itself, in order.")));
	if (executor->disable_reduce)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("batch cannot be used with disable_reduce"),
				 errdetail("The parts of a request belong together.")));
}
