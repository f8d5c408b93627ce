/*
 * pqhandler.c
 *		What the server asks of an index access method: its description and
 *		options.
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "commands/vacuum.h"
#include "fmgr.h"

#include "index/method.h"
#include "pq/pq.h"

static relopt_kind options_kind;

/*
 * Once per process: choose kernels, define the options of an index.
 */
void
pq_am_init(void)
{
	pq_kernels_init();
	options_kind = add_reloption_kind();
	add_int_reloption(options_kind, "lists", "Number of lists, 0 to choose from the data",
					  0, 0, PQ_MAX_LISTS, AccessExclusiveLock);
	add_int_reloption(options_kind, "subvectors", "Number of subvectors that are coded, 0 to choose from the data",
					  0, 0, PQ_MAX_SUBVECTORS, AccessExclusiveLock);
	add_int_reloption(options_kind, "bits", "Bits per code", 4, 4, 4, AccessExclusiveLock);
	add_string_reloption(options_kind, "codebook", "Name of a codebook made by jflow_train()",
						 NULL, NULL, AccessExclusiveLock);
}

static bytea *
pq_options(Datum reloptions, bool validate)
{
	static const relopt_parse_elt table[] = {
		{"lists", RELOPT_TYPE_INT, offsetof(PqOptions, lists)},
		{"subvectors", RELOPT_TYPE_INT, offsetof(PqOptions, subvectors)},
		{"bits", RELOPT_TYPE_INT, offsetof(PqOptions, bits)},
		{"codebook", RELOPT_TYPE_STRING, offsetof(PqOptions, codebook)},
	};

	return (bytea *) build_reloptions(reloptions, validate, options_kind,
									  sizeof(PqOptions), table, lengthof(table));
}

static bool
pq_validate(Oid opclass)
{
	return ix_class_validate(opclass, 1 << PQ_DISTANCE_PROC | 1 << PQ_SPACE_PROC);
}

PG_FUNCTION_INFO_V1(jflow_pq_handler);
/* jflow.pq_handler(internal) -> index_am_handler */
Datum
jflow_pq_handler(PG_FUNCTION_ARGS)
{
	static IndexAmRoutine routine;
	IndexAmRoutine *am = index_am_compat(&routine);

	ix_method_describe(am);
	am->amsupport = PQ_NPROCS;
	am->amusemaintenanceworkmem = false;
	am->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	am->ambuild = pq_build;
	am->ambuildempty = pq_buildempty;
	am->aminsert = pq_insert;
	am->ambulkdelete = pq_bulkdelete;
	am->amvacuumcleanup = pq_vacuumcleanup;
	am->amcostestimate = pq_costestimate;
	am->amoptions = pq_options;
	am->ambuildphasename = pq_build_phase;
	am->amvalidate = pq_validate;
	am->ambeginscan = pq_beginscan;
	am->amrescan = pq_rescan;
	am->amgettuple = pq_gettuple;
	am->amendscan = pq_endscan;
	PG_RETURN_POINTER(am);
}
