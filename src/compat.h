/*
 * compat.h
 *		Every difference between the PostgreSQL versions we build for.
 */
#ifndef JFLOW_COMPAT_H
#define JFLOW_COMPAT_H

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 200000
#error "jflow needs PostgreSQL 15 to 19"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* Version 16 renamed the object ownership check and made it generic. */
#if PG_VERSION_NUM < 160000
#include "utils/acl.h"
#define object_aclcheck(classid, objectid, roleid, mode) \
	jflow_object_aclcheck(classid, objectid, roleid, mode)
static inline AclResult
jflow_object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	return pg_proc_aclcheck(objectid, roleid, mode);
}
#endif

/* Whether a role may connect to a database. */
#if PG_VERSION_NUM >= 160000
#define jflow_database_aclcheck_compat(database, role, mode) \
	object_aclcheck(DatabaseRelationId, database, role, mode)
#else
#define jflow_database_aclcheck_compat(database, role, mode) \
	pg_database_aclcheck(database, role, mode)
#endif

/* Whether a role has rights on a schema. */
#if PG_VERSION_NUM >= 160000
#define jflow_namespace_aclcheck_compat(namespace, role, mode) \
	object_aclcheck(NamespaceRelationId, namespace, role, mode)
#else
#define jflow_namespace_aclcheck_compat(namespace, role, mode) \
	pg_namespace_aclcheck(namespace, role, mode)
#endif

/* Whether a role owns a database. */
#if PG_VERSION_NUM >= 160000
#define jflow_database_ownercheck_compat(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define jflow_database_ownercheck_compat(database, role) \
	pg_database_ownercheck(database, role)
#endif

/* Whether a role owns a relation. */
#if PG_VERSION_NUM >= 160000
#define jflow_class_ownercheck_compat(relation, role) \
	object_ownercheck(RelationRelationId, relation, role)
#else
#define jflow_class_ownercheck_compat(relation, role) \
	pg_class_ownercheck(relation, role)
#endif

/* Version 16 made bad names a soft error if asked. */
#if PG_VERSION_NUM >= 160000
#define stringToQualifiedNameListCompat(string) stringToQualifiedNameList(string, NULL)
#else
#define stringToQualifiedNameListCompat(string) stringToQualifiedNameList(string)
#endif

#if PG_VERSION_NUM >= 160000
#define typeStringToTypeNameCompat(string) typeStringToTypeName(string, NULL)
#else
#define typeStringToTypeNameCompat(string) typeStringToTypeName(string)
#endif

/* Version 18 added an argument that asks for deferrable keys, too. */
#if PG_VERSION_NUM >= 180000
#define RelationGetPrimaryKeyIndexCompat(rel) RelationGetPrimaryKeyIndex(rel, false)
#else
#define RelationGetPrimaryKeyIndexCompat(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* Since version 18 extensions may add to what EXPLAIN says of a node. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain.h"
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#define JFLOW_EXPLAIN_NODES
#endif

/* Version 17 names the kinds of processes anew. */
#if PG_VERSION_NUM >= 170000
#define IsAutoVacuumWorkerProcess() AmAutoVacuumWorkerProcess()
#endif

/* Version 17 numbers processes from 0 in a variable of its own. */
#if PG_VERSION_NUM >= 170000
#define MyProcNumberCompat MyProcNumber
#else
#define MyProcNumberCompat (MyProc->pgprocno)
#endif

/* The number of a process, whatever its name is. */
#if PG_VERSION_NUM < 170000
#ifndef GetNumberFromPGProc
#define GetNumberFromPGProc(proc) ((int) ((proc)->pgprocno))
#endif
#endif

/* Version 17 can ask for a mode or a stronger one. */
#if PG_VERSION_NUM >= 170000
#define LockHeldByMeCompat(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define LockHeldByMeCompat(tag, mode) LockHeldByMe(tag, mode)
#endif

/* Version 18 no longer asks whether a query will be run again. */
#if PG_VERSION_NUM >= 180000
#define ExecutorRunCompat(query, direction, count) ExecutorRun(query, direction, count)
#else
#define ExecutorRunCompat(query, direction, count) ExecutorRun(query, direction, count, false)
#endif

/* Version 18 made base64 work on uint8. */
#if PG_VERSION_NUM >= 180000
#define pg_b64_encode_compat(src, len, dst, dstlen) \
	pg_b64_encode((const uint8 *) (src), len, dst, dstlen)
#define pg_b64_decode_compat(src, len, dst, dstlen) \
	pg_b64_decode(src, len, (uint8 *) (dst), dstlen)
#else
#define pg_b64_encode_compat(src, len, dst, dstlen) pg_b64_encode(src, len, dst, dstlen)
#define pg_b64_decode_compat(src, len, dst, dstlen) pg_b64_decode(src, len, dst, dstlen)
#endif

/* Version 17 lets a worker connect as a role that may not log in. */
#if PG_VERSION_NUM >= 170000
#define BGWORKER_BYPASS_ROLELOGINCHECK_COMPAT BGWORKER_BYPASS_ROLELOGINCHECK
#define JFLOW_NEEDS_LOGIN false
#else
#define BGWORKER_BYPASS_ROLELOGINCHECK_COMPAT 0
#define JFLOW_NEEDS_LOGIN true
#endif

/* Version 18 replaced pg_attribute_noreturn() by pg_noreturn, which comes first. */
#define JFLOW_NORETURN __attribute__((noreturn))

/* Names of files of relations; version 16 renamed them. */
#if PG_VERSION_NUM >= 160000
#define RelFileNodeCompat RelFileLocator
#define rel_file_compat(rel) ((rel)->rd_locator)
#define rel_file_equal_compat(a, b) RelFileLocatorEquals(a, b)
#define rel_has_new_file_compat(rel) ((rel)->rd_newRelfilelocatorSubid != InvalidSubTransactionId)
#else
#define RelFileNodeCompat RelFileNode
#define rel_file_compat(rel) ((rel)->rd_node)
#define rel_file_equal_compat(a, b) RelFileNodeEquals(a, b)
#define rel_has_new_file_compat(rel) ((rel)->rd_newRelfilenodeSubid != InvalidSubTransactionId)
#endif

/* Members of xl_btree_reuse_page; version 16 renamed them. */
#if PG_VERSION_NUM >= 160000
#define reuse_file_compat locator
#define reuse_horizon_compat snapshotConflictHorizon
#else
#define reuse_file_compat node
#define reuse_horizon_compat latestRemovedFullXid
#endif

/*
 * Workers for an index build: from version 17 on the server has chosen, before
 * it does so for btree alone.  The caller includes optimizer/optimizer.h.
 */
#if PG_VERSION_NUM >= 170000
#define parallel_workers_compat(heap, index, info) ((info)->ii_ParallelWorkers)
#else
#define parallel_workers_compat(heap, index, info) \
	((void) (info), plan_create_index_workers(RelationGetRelid(heap), RelationGetRelid(index)))
#endif

/* Version 18 tells the cost-based delay whether it is for ANALYZE. */
#if PG_VERSION_NUM >= 180000
#define vacuum_delay_point_compat() vacuum_delay_point(false)
#else
#define vacuum_delay_point_compat() vacuum_delay_point()
#endif

/* What a signal handler gives to another; version 19 says more of the signal. */
#if PG_VERSION_NUM >= 190000
#define PASS_SIGNAL_ARGS_COMPAT postgres_signal_arg, pg_siginfo
#else
#define PASS_SIGNAL_ARGS_COMPAT postgres_signal_arg
#endif

/* What a planner gets and gives to another; version 19 tells it of EXPLAIN. */
#if PG_VERSION_NUM >= 190000
#define PLANNER_ARGS_COMPAT Query *query, const char *sql, int cursor_options, ParamListInfo params, struct ExplainState *es
#define PASS_PLANNER_ARGS_COMPAT query, sql, cursor_options, params, es
#else
#define PLANNER_ARGS_COMPAT Query *query, const char *sql, int cursor_options, ParamListInfo params
#define PASS_PLANNER_ARGS_COMPAT query, sql, cursor_options, params
#endif

/* Version 19 gives scans flags. */
#if PG_VERSION_NUM >= 190000
#define table_beginscan_compat(rel, snapshot, nkeys, keys) \
	table_beginscan(rel, snapshot, nkeys, keys, SO_NONE)
#define table_beginscan_parallel_compat(rel, scan) table_beginscan_parallel(rel, scan, SO_NONE)
#define table_index_fetch_begin_compat(rel) table_index_fetch_begin(rel, SO_NONE)
#else
#define table_beginscan_compat(rel, snapshot, nkeys, keys) \
	table_beginscan(rel, snapshot, nkeys, keys)
#define table_beginscan_parallel_compat(rel, scan) table_beginscan_parallel(rel, scan)
#define table_index_fetch_begin_compat(rel) table_index_fetch_begin(rel)
#endif

/* Version 18 lets a scan count what it does. */
#if PG_VERSION_NUM >= 190000
#define index_beginscan_compat(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, norderbys, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define index_beginscan_compat(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, NULL, nkeys, norderbys)
#else
#define index_beginscan_compat(heap, index, snapshot, nkeys, norderbys) \
	index_beginscan(heap, index, snapshot, nkeys, norderbys)
#endif

/* Version 16 leaves indexes alone that only sum up, and 19 has flags. */
#if PG_VERSION_NUM >= 190000
#define exec_insert_index_tuples_compat(target, estate, slot) \
	ExecInsertIndexTuples(target, estate, 0, slot, NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define exec_insert_index_tuples_compat(target, estate, slot) \
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL, false)
#else
#define exec_insert_index_tuples_compat(target, estate, slot) \
	ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL)
#endif

/* Version 18 counts index searches for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define COUNT_INDEX_SEARCH_COMPAT(scan) \
	do { if ((scan)->instrument) (scan)->instrument->nsearches++; } while (0)
#else
#define COUNT_INDEX_SEARCH_COMPAT(scan) ((void) 0)
#endif

/* Version 18 counts disabled nodes before it compares costs. */
#if PG_VERSION_NUM >= 180000
#define DISABLE_PATH_COMPAT(path) ((path)->disabled_nodes = 2)
#else
#define DISABLE_PATH_COMPAT(path) ((void) (path))
#endif

/* Version 17 matches every condition that an ordered index scan can test. */
#if PG_VERSION_NUM >= 170000
#define MATCHES_FILTERS_COMPAT true
#else
#define MATCHES_FILTERS_COMPAT false
#endif

/*
 * Version 17 gave aminsertcleanup and parallel builds a flag; version 18 asks
 * whether operators hash and order alike, which only matters to btree's peers.
 */
#if PG_VERSION_NUM >= 170000
#define SET_INDEX_METHOD_COMPAT(am) ((am)->amcanbuildparallel = true)
#else
#define SET_INDEX_METHOD_COMPAT(am) ((void) (am))
#endif

/*
 * Version 19 keeps the routine that a handler returns for as long as the process
 * lives; before, it is copied and freed.
 */
#if PG_VERSION_NUM >= 190000
#define index_am_compat(routine) ((routine)->type = T_IndexAmRoutine, (routine))
#else
#define index_am_compat(routine) ((void) (routine), makeNode(IndexAmRoutine))
#endif

/* Version 19 wants to hear when a descriptor has its last attribute. */
#if PG_VERSION_NUM >= 190000
#define tuple_desc_finalize_compat(desc) TupleDescFinalize(desc)
#else
#define tuple_desc_finalize_compat(desc) ((void) (desc))
#endif

/* Until version 17 a run of the executor knows whether it is the only one. */
#if PG_VERSION_NUM >= 180000
#define EXECUTOR_RUN_ARGS_COMPAT QueryDesc *queryDesc, ScanDirection direction, uint64 count
#define EXECUTOR_RUN_PASS_COMPAT queryDesc, direction, count
#define EXECUTE_ONCE_COMPAT false
#else
#define EXECUTOR_RUN_ARGS_COMPAT QueryDesc *queryDesc, ScanDirection direction, uint64 count, bool execute_once
#define EXECUTOR_RUN_PASS_COMPAT queryDesc, direction, count, execute_once
#define EXECUTE_ONCE_COMPAT execute_once
#endif

/*
 * A numeric as an int4, *error set where it is none.  Version 19 reports it as a
 * soft error.
 */
#if PG_VERSION_NUM >= 190000
#include "nodes/miscnodes.h"
#include "utils/numeric.h"
static inline int32
numeric_int4_compat(Numeric number, bool *error)
{
	ErrorSaveContext context = {T_ErrorSaveContext};
	int32		result = numeric_int4_safe(number, (Node *) &context);

	*error = context.error_occurred;
	return result;
}
#else
#define numeric_int4_compat(number, error) numeric_int4_opt_error(number, error)
#endif

/*
 * Dates and timestamps as others, *overflow 1 or -1 beyond their range.  Version 19
 * reports it as a soft error.
 */
#if PG_VERSION_NUM >= 190000
#include "utils/date.h"
#include "utils/timestamp.h"
static inline Timestamp
date2timestamp_compat(DateADT value, int *overflow)
{
	ErrorSaveContext context = {T_ErrorSaveContext};
	Timestamp	result = date2timestamp_safe(value, (Node *) &context);

	*overflow = !context.error_occurred ? 0 : value > 0 ? 1 : -1;
	return result;
}

static inline TimestampTz
date2timestamptz_compat(DateADT value, int *overflow)
{
	ErrorSaveContext context = {T_ErrorSaveContext};
	TimestampTz result = date2timestamptz_safe(value, (Node *) &context);

	*overflow = !context.error_occurred ? 0 : value > 0 ? 1 : -1;
	return result;
}

static inline TimestampTz
timestamp2timestamptz_compat(Timestamp value, int *overflow)
{
	ErrorSaveContext context = {T_ErrorSaveContext};
	TimestampTz result = timestamp2timestamptz_safe(value, (Node *) &context);

	*overflow = !context.error_occurred ? 0 : value > 0 ? 1 : -1;
	return result;
}
#else
#define date2timestamp_compat(value, overflow) date2timestamp_opt_overflow(value, overflow)
#define date2timestamptz_compat(value, overflow) date2timestamptz_opt_overflow(value, overflow)
#define timestamp2timestamptz_compat(value, overflow) timestamp2timestamptz_opt_overflow(value, overflow)
#endif

/* Version 18 knows names and versions of modules. */
#if PG_VERSION_NUM >= 180000
#define JFLOW_MODULE_MAGIC(module) PG_MODULE_MAGIC_EXT(.name = module, .version = JFLOW_VERSION)
#else
#define JFLOW_MODULE_MAGIC(module) PG_MODULE_MAGIC
#endif

/*
 * Version 19 builds a jsonb in a state that also has the result, once it is
 * complete; before, each call returned what it had, which mattered for the last.
 */
#if PG_VERSION_NUM < 190000
#include "utils/jsonb.h"
typedef struct JsonbInState
{
	JsonbValue *result;			/* the whole value; before the end the last
								 * part */
	JsonbParseState *parseState;
} JsonbInState;

static inline void
jflow_push_jsonb_compat(JsonbInState *state, JsonbIteratorToken token, JsonbValue *value)
{
	state->result = pushJsonbValue(&state->parseState, token, value);
}
#define pushJsonbValue(state, token, value) jflow_push_jsonb_compat(state, token, value)
#endif

/* Whether a role may use a foreign server. */
#if PG_VERSION_NUM >= 160000
#define jflow_server_aclcheck_compat(server, role, mode) \
	object_aclcheck(ForeignServerRelationId, server, role, mode)
#else
#define jflow_server_aclcheck_compat(server, role, mode) \
	pg_foreign_server_aclcheck(server, role, mode)
#endif

/* Version 17 counts event sets to a resource owner, if there is one. */
#if PG_VERSION_NUM >= 170000
#define create_wait_event_set_compat(context, n) CreateWaitEventSet(NULL, n)
#else
#define create_wait_event_set_compat(context, n) CreateWaitEventSet(context, n)
#endif

/*
 * Since version 18 a NOT NULL may not have been checked for the rows that were
 * there, and a column may be computed when it is read: then these are the columns
 * that it is made of, else NULL.
 */
#if PG_VERSION_NUM >= 180000
#include "access/tupdesc.h"
#include "catalog/pg_attribute.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/rel.h"
#define jflow_attr_not_null_compat(desc, attnum) \
	(TupleDescCompactAttr(desc, (attnum) - 1)->attnullability == ATTNULLABLE_VALID)
static inline Bitmapset *
jflow_virtual_column_uses_compat(Relation rel, AttrNumber attnum)
{
	Bitmapset  *used = NULL;

	if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
		pull_varattnos(build_generation_expression(rel, attnum), 1, &used);
	return used;
}
#else
#define jflow_attr_not_null_compat(desc, attnum) (TupleDescAttr(desc, (attnum) - 1)->attnotnull)
#define jflow_virtual_column_uses_compat(rel, attnum) ((Bitmapset *) NULL)
#endif

/*
 * Before version 17 VACUUM may remove rows that an old snapshot sees
 * (old_snapshot_threshold); that a page has changed since tells a scan of it.
 */
#if PG_VERSION_NUM >= 170000
#define test_old_snapshot_compat(snapshot, relation, page) ((void) (snapshot))
#else
#include "storage/bufmgr.h"
#define test_old_snapshot_compat(snapshot, relation, page) \
	TestForOldSnapshot(snapshot, relation, page)
#endif

#endif							/* JFLOW_COMPAT_H */
