/*
 * pqlite_search.c
 *		/search: the nearest stored documents of each document.
 *
 * Each leaf is asked by a statement of its own with a literal LIMIT.  Matches
 * are ordered by (distance, id), so rows at one distance around the limit must
 * be told apart by id: without an index the statement sorts by both; with one,
 * which knows distances only, it fetches all rows at the last distance (WITH
 * TIES), of which the receiver of its rows keeps the first by id.
 *
 * Where only the best chunk of each parent counts, nobody knows how many rows that
 * takes: a leaf is asked for ever more until there are enough parents.
 */
#include "postgres.h"


#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/text.h"
#include "compat.h"
#include "doc/reduce.h"
#include "executors/pqlite/pqlite.h"

#define RECALL_AT 10
#define MORE_ROWS 4				/* times as many, where groups are wanted */
#define MAX_ROWS (PG_INT32_MAX / MORE_ROWS)

PG_FUNCTION_INFO_V1(jflow_pqlite_search);

typedef struct Search
{
	PqliteStore *store;
	const JflowContext *context;
	PqliteParameters parameters;
	PqliteCondition condition;
	SPIPlanPtr *plans;			/* per leaf; NULL: another shard's */
	int			fetched;		/* the nearest so many rows are looked at */
	int			skipped;		/* of which the first so many are left out */
	bool		as_caller;		/* with the rights of who posts */
} Search;

/* Keeps the best of the rows that statements send. */
typedef struct Receiver
{
	DestReceiver pub;
	MemoryContext context;		/* of the matches */
	JflowMatch *matches;
	int			n;
	int			allocated;
	int			limit;
	bool		grouped;
	double		last;			/* the greatest distance of a row so far */
	bool		ended;			/* by a row that is too far */
	double		max_distance;
	double		nothing_common; /* from this distance on nothing is a match */
	bool		in_order;		/* of distance rows come, so the first that is
								 * too far is the last */
} Receiver;

/*
 * Does this call read that leaf?  See docs/pqlite.md.  With the caller's rights a
 * user's table is read as a whole, of which the first leaf stands for all: he may
 * have none on its partitions.
 */
static bool
reads_leaf(const Search *search, const PqliteLeaf *leaf)
{
	const JflowContext *context = search->context;

	if (search->as_caller && !search->store->own)
		return leaf == &search->store->leaves[0] && context->shard == 0;

	if (search->store->moving ||
		jflow_polling_resolve(context->executor, context->endpoint) != POLLING_ALL)
		return search->store->moving || leaf->shard == context->shard;
	return leaf->shard % context->shards == context->shard;
}

/* The column with the parents of chunks.  Raises undefined_column. */
static const PqliteColumn *
group_column(const PqliteStore *store)
{
	const PqliteColumn *column = pqlite_column_by_attr(store, DOC_PARENT_ID);

	if (column == NULL)
		column = pqlite_column_by_name(store, JFLOW_GROUP_TAG);
	if (column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("matches cannot be grouped by " JFLOW_GROUP_TAG),
				 errdetail("Table %s of the %s has no column of that name.", store->name, store->what)));
	return column;
}

/* The parent, to be added to the tags; a document without one is its own. */
static void
append_group(const PqliteStore *store, StringInfo sql)
{
	appendStringInfo(sql, "pg_catalog.jsonb_build_object('" JFLOW_GROUP_TAG "', COALESCE(t.%s::pg_catalog.text, t.%s::pg_catalog.text))",
					 group_column(store)->quoted, store->columns[store->id].quoted);
}

static void
append_select(const Search *search, const PqliteLeaf *leaf, StringInfo sql)
{
	PqliteStore *store = search->store;
	const PqliteOptions *options = store->options;
	const PqliteColumn *id = &store->columns[store->id];
	const PqliteColumn *text = pqlite_column_by_attr(store, DOC_TEXT);
	const PqliteColumn *uri = pqlite_column_by_attr(store, DOC_URI);

	appendStringInfo(sql, "SELECT t.%s%s AS id, t.%s %s $%d::%s AS score, ", id->quoted,
					 id->type == TEXTOID ? "" : "::pg_catalog.text",
					 store->columns[store->vector].quoted, store->distance,
					 search->condition.nargs + 1, store->query_type);
	if ((options->include_text || search->parameters.highlight.wanted) && text)
		appendStringInfo(sql, "t.%s::pg_catalog.text AS text, ", text->quoted);
	else
		appendStringInfoString(sql, "NULL::pg_catalog.text AS text, ");
	if (options->include_uri && uri)
		appendStringInfo(sql, "t.%s::pg_catalog.text AS uri, ", uri->quoted);
	else
		appendStringInfoString(sql, "NULL::pg_catalog.text AS uri, ");
	if (search->parameters.grouped)
		appendStringInfoString(sql, "pg_catalog.jsonb_concat(COALESCE(");
	if (options->include_tags)
		pqlite_append_tags(store, sql, "t");
	else
		appendStringInfoString(sql, "NULL::pg_catalog.jsonb");
	if (search->parameters.grouped)
	{
		appendStringInfoString(sql, ", '{}'::pg_catalog.jsonb), ");
		append_group(store, sql);
		appendStringInfoChar(sql, ')');
	}
	appendStringInfo(sql, " AS tags FROM %s t WHERE %s", search->as_caller ? store->name : leaf->name,
					 search->condition.sql.data);

	/* a policy on the table says nothing of who reads its leaves */
	if (search->as_caller && store->own)
		appendStringInfo(sql, " AND t.shard OPERATOR(pg_catalog.=) %d", leaf->shard);
	appendStringInfo(sql, " ORDER BY t.%s %s $%d::%s", store->columns[store->vector].quoted,
					 store->distance, search->condition.nargs + 1, store->query_type);
}

/*
 * How many rows a page of matches needs.  Of several shards' answers the reduce
 * takes the page: a shard does not know how many of the others come before.
 */
static void
set_page(Search *search)
{
	const JflowContext *context = search->context;
	bool		alone = context->shards == 1 ||
		jflow_polling_resolve(context->executor, context->endpoint) != POLLING_ALL;

	search->fetched = search->parameters.limit > 0 ? search->parameters.limit + search->parameters.offset : 0;
	search->skipped = alone ? search->parameters.offset : 0;
}

/* The statement that asks a leaf for so many rows, and the types of its parameters. */
static char *
leaf_statement(const Search *search, const PqliteLeaf *leaf, int rows, Oid **types)
{
	const PqliteStore *store = search->store;
	const PqliteCondition *condition = &search->condition;
	StringInfoData sql;

	initStringInfo(&sql);
	append_select(search, leaf, &sql);
	if (OidIsValid(leaf->index))
		appendStringInfo(&sql, " FETCH FIRST %d ROWS WITH TIES", rows);
	else if (leaf->foreign)		/* what postgres_fdw lets the server do */
		appendStringInfo(&sql, " LIMIT %d", rows);
	else
		appendStringInfo(&sql, ", t.%s%s LIMIT %d", store->columns[store->id].quoted,
						 store->own ? "" : "::pg_catalog.text COLLATE pg_catalog.\"C\"",
						 rows);
	*types = palloc(sizeof(Oid) * (condition->nargs + 1));
	memcpy(*types, condition->types, sizeof(Oid) * condition->nargs);
	(*types)[condition->nargs] = store->columns[store->vector].sent_type;
	return sql.data;
}

/* The same, planned. */
static SPIPlanPtr
leaf_plan(const Search *search, PqliteLeaf *leaf, int rows)
{
	bool		filtered = search->parameters.filter != NULL;
	bool		remembered = !filtered && !search->as_caller && !search->parameters.grouped &&
		!search->parameters.highlight.wanted;
	SPIPlanPtr	plan;
	Oid		   *types;
	char	   *sql;

	if (remembered && leaf->search && leaf->search_limit == rows)
		return leaf->search;
	sql = leaf_statement(search, leaf, rows, &types);
	plan = pqlite_plan(search->store, sql, search->condition.nargs + 1, types,
					   filtered ? CURSOR_OPT_CUSTOM_PLAN : CURSOR_OPT_GENERIC_PLAN);
	if (remembered)
	{
		leaf->search = plan;
		leaf->search_limit = rows;
		leaf->search_planned = false;
	}
	return plan;
}

/*
 * Has the statement of each leaf been planned, as we like it, and for good?  The
 * planner may be asked again for each query of a plan that was not forced.
 */
static bool
all_planned(const Search *search)
{
	if (!search->store->forces_plans)
		return false;
	for (int i = 0; i < search->store->nleaves; i++)
	{
		const PqliteLeaf *leaf = &search->store->leaves[i];

		if (search->plans[i] &&
			!(search->plans[i] == leaf->search && leaf->search_planned &&
			  SPI_plan_is_valid(leaf->search)))
			return false;
	}
	return true;
}

/*
 * Settings of the index that parameters of the request ask for.  Its recall is
 * calibrated by stored rows as queries.  Queries of a sparse store are mostly
 * texts shorter than those; about twice as many of their matches are missed, so
 * half as many misses are allowed.
 */
static void
apply_settings(const Search *search)
{
	const PqliteParameters *parameters = &search->parameters;
	double		recall = parameters->recall;
	bool		some_pq = false;

	for (int i = 0; i < search->store->nleaves; i++)
		some_pq |= OidIsValid(search->store->leaves[i].index) && !search->store->leaves[i].exact;
	if (!some_pq)
		return;
	if (parameters->probes >= 0 && GetConfigOption("jflow.pq_probes", true, false))
		(void) set_config_option("jflow.pq_probes", psprintf("%d", parameters->probes),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (recall < 0 && search->store->sparse)
	{
		const char *setting = GetConfigOption("jflow.pq_recall", true, false);

		recall = setting ? 1 - (1 - strtod(setting, NULL)) / 2 : -1;
	}
	if (recall >= 0 && GetConfigOption("jflow.pq_recall", true, false))
		(void) set_config_option("jflow.pq_recall", psprintf("%g", recall),
								 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Let statements without a filter use the index of a leaf.  The planner knows
 * what a scan of the index costs, but takes a distance for as cheap as an
 * addition and so the exact search for cheaper.  With a filter it decides: few
 * rows are better looked at one by one.  Plans that are there stay as they are, but
 * to explain them is to plan anew.
 */
static void
prefer_indexes(const Search *search)
{
	/* what is disabled looks so dear that it would be compiled */
	static const char *const settings[] = {"enable_seqscan", "enable_sort", "jit"};
	bool		indexed = false;

	for (int i = 0; i < search->store->nleaves; i++)
		indexed |= OidIsValid(search->store->leaves[i].index);
	if (!indexed || search->parameters.filter || (all_planned(search) && !search->context->plans))
		return;
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
}

static int
match_order(const void *a, const void *b)
{
	const JflowMatch *ma = a;
	const JflowMatch *mb = b;
	double		sa = DatumGetFloat8(ma->values[MATCH_SCORE]);
	double		sb = DatumGetFloat8(mb->values[MATCH_SCORE]);

	if (sa != sb)
		return sa < sb ? -1 : 1;
	return jflow_text_order(ma->values[MATCH_ID], mb->values[MATCH_ID]);
}

static void
drop_match(JflowMatch *match)
{
	for (int att = 0; att < MATCH_NATTS; att++)
		if (att != MATCH_SCORE && !match->nulls[att])
			pfree(DatumGetPointer(match->values[att]));
}

/* A match by its group. */
typedef struct Member
{
	Datum		group;
	int			number;
} Member;

/* Members of one group beside each other, in order of their numbers. */
static int
member_order(const void *a, const void *b)
{
	const Member *ma = a;
	const Member *mb = b;
	int			order = jflow_text_order(ma->group, mb->group);

	return order != 0 ? order : ma->number - mb->number;
}

/*
 * Of each group keep the first match; they are in order, and stay so.  All of them
 * have the tag that names it.
 */
static void
keep_groups(Receiver *receiver)
{
	Member	   *members = palloc_extended(sizeof(Member) * Max(receiver->n, 1), MCXT_ALLOC_HUGE);
	bool	   *again = palloc_extended(Max(receiver->n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	int			kept = 0;

	for (int i = 0; i < receiver->n; i++)
	{
		members[i].group = jflow_match_key(&receiver->matches[i], true);
		members[i].number = i;
	}
	qsort(members, receiver->n, sizeof(Member), member_order);
	for (int i = 1; i < receiver->n; i++)
		if (jflow_text_order(members[i - 1].group, members[i].group) == 0)
			again[members[i].number] = true;
	for (int i = 0; i < receiver->n; i++)
		pfree(DatumGetPointer(members[i].group));
	for (int i = 0; i < receiver->n; i++)
	{
		if (again[i])
			drop_match(&receiver->matches[i]);
		else
			receiver->matches[kept++] = receiver->matches[i];
	}
	receiver->n = kept;
	pfree(members);
	pfree(again);
}

/* Keep the first matches, in order. */
static void
cut(Receiver *receiver)
{
	qsort(receiver->matches, receiver->n, sizeof(JflowMatch), match_order);
	if (receiver->grouped)
		keep_groups(receiver);
	for (int i = receiver->limit; i < receiver->n; i++)
		drop_match(&receiver->matches[i]);
	receiver->n = Min(receiver->n, receiver->limit);
}

/*
 * A row of a statement; false ends it.  Ties can be many: room is made by dropping
 * the last.
 */
static bool
receive(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	JflowMatch *match;
	MemoryContext old;
	double		score;

	slot_getallattrs(slot);

	/* a zero vector or a missing one of a user's table is near nothing */
	if (slot->tts_isnull[MATCH_ID] || slot->tts_isnull[MATCH_SCORE])
		return true;
	score = DatumGetFloat8(slot->tts_values[MATCH_SCORE]);
	if (isnan(score) || score > receiver->max_distance || score >= receiver->nothing_common)
	{
		receiver->ended = true;
		return !receiver->in_order;
	}
	receiver->last = Max(receiver->last, score);
	old = MemoryContextSwitchTo(receiver->context);
	if (receiver->n == receiver->allocated && receiver->n >= 2 * receiver->limit)
		cut(receiver);
	if (receiver->n == receiver->allocated)
	{
		receiver->allocated = Max(2 * receiver->allocated, 32);
		receiver->matches = receiver->matches ?
			repalloc_huge(receiver->matches, sizeof(JflowMatch) * receiver->allocated) :
			palloc(sizeof(JflowMatch) * receiver->allocated);
	}
	match = &receiver->matches[receiver->n++];
	for (int att = 0; att < MATCH_NATTS; att++)
	{
		match->nulls[att] = slot->tts_isnull[att];
		if (!match->nulls[att])
			match->values[att] = att == MATCH_SCORE ? slot->tts_values[att] :
				datumCopy(slot->tts_values[att], false, -1);
	}
	MemoryContextSwitchTo(old);
	return true;
}

static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receiver_done(DestReceiver *self)
{
}

static void
receiver_init(Receiver *receiver, const Search *search)
{
	memset(receiver, 0, sizeof(*receiver));
	receiver->pub.receiveSlot = receive;
	receiver->pub.rStartup = receiver_startup;
	receiver->pub.rShutdown = receiver->pub.rDestroy = receiver_done;
	receiver->pub.mydest = DestNone;
	receiver->context = CurrentMemoryContext;
	receiver->limit = search->fetched;
	receiver->grouped = search->parameters.grouped;
	receiver->max_distance = search->parameters.max_distance;
	receiver->nothing_common = pqlite_nothing_common(search->store);
}

/* Run the statement of a leaf. */
static void
ask_leaf(Receiver *receiver, PqliteLeaf *leaf, SPIPlanPtr plan, const SPIExecuteOptions *options)
{
	int			result;

	receiver->in_order = !leaf->foreign && (!OidIsValid(leaf->index) || leaf->exact);
	receiver->last = -get_float8_infinity();
	receiver->ended = false;
	result = SPI_execute_plan_extended(plan, options);
	if (result < 0)
		elog(ERROR, "search failed: %s", SPI_result_code_string(result));
	if (plan == leaf->search)
		leaf->search_planned = true;
}

/*
 * Could more than so many rows of the leaf that was asked last have a better match
 * than those that there are?  Those that it has sent come again then, and are of
 * groups that are known.
 */
static bool
wants_more(Receiver *receiver, int rows)
{
	if (receiver->ended || SPI_processed < rows)
		return false;
	cut(receiver);
	return receiver->n < receiver->limit ||
		DatumGetFloat8(receiver->matches[receiver->n - 1].values[MATCH_SCORE]) > receiver->last;
}


/* What the statement of a leaf is run with. */
static ParamListInfo
statement_params(const Search *search, Datum vector)
{
	const PqliteStore *store = search->store;
	const PqliteCondition *condition = &search->condition;
	ParamListInfo params = makeParamList(condition->nargs + 1);

	for (int i = 0; i <= condition->nargs; i++)
	{
		ParamExternData *param = &params->params[i];

		param->value = i < condition->nargs ? condition->values[i] : vector;
		param->isnull = false;
		param->pflags = PARAM_FLAG_CONST;
		param->ptype = i < condition->nargs ? condition->types[i] :
			store->columns[store->vector].sent_type;
	}
	return params;
}

/*
 * Tell how the statements for a query are planned.  The vector stays a parameter
 * there, since as a constant it would be most of the text.
 */
static void
explain_search(const Search *search, Datum vector)
{
	ParamListInfo params = statement_params(search, vector);

	params->params[search->condition.nargs].pflags = 0;
	for (int i = 0; i < search->store->nleaves; i++)
	{
		Oid		   *types;
		const char *sql;

		if (search->plans[i] == NULL)
			continue;
		sql = leaf_statement(search, &search->store->leaves[i], search->fetched, &types);
		pqlite_explain(search->context->plans, sql, search->condition.nargs + 1, types, params);
	}
}

/* The matches of one query vector, in the current memory context. */
static int
search_one(Search *search, Datum vector, JflowMatch **matches)
{
	PqliteStore *store = search->store;
	SPIExecuteOptions options = {0};
	Receiver	receiver;

	receiver_init(&receiver, search);
	options.params = statement_params(search, vector);
	options.read_only = true;
	options.dest = &receiver.pub;
	for (int i = 0; i < store->nleaves; i++)
	{
		int			rows = search->fetched;

		if (search->plans[i] == NULL)
			continue;
		ask_leaf(&receiver, &store->leaves[i], search->plans[i], &options);
		while (search->parameters.grouped && wants_more(&receiver, rows) && rows <= MAX_ROWS)
		{
			CHECK_FOR_INTERRUPTS();
			rows *= MORE_ROWS;
			ask_leaf(&receiver, &store->leaves[i], leaf_plan(search, &store->leaves[i], rows), &options);
		}
	}
	cut(&receiver);
	*matches = receiver.matches + Min(search->skipped, receiver.n);
	return receiver.n - Min(search->skipped, receiver.n);
}

/*
 * The vector to search with, or NULL for one that is near nothing.  Raises an
 * error if the document has none that fits, unless such documents may be stored.
 */
static Datum
query_vector(const PqliteStore *store, const JflowDoc *doc)
{
	int			attr = store->columns[store->vector].attr;
	const char *name = jflow_doc_attr_name(attr);
	int			dim;

	if (doc->nulls[attr] && store->options->on_missing != MISSING_ERROR)
		return (Datum) 0;
	if (doc->nulls[attr])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the document to search with has no %s", name),
				 errdetail("The %s stores %s of %d dimensions.", store->what, name, store->dim),
				 errhint("Let an executor before this one make it, or give it with the document.")));
	dim = pqlite_vector_dim(store->sparse, doc->values[attr]);
	if (store->dim && dim != store->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("%s of the document to search with has %d dimensions, not %d", name, dim,
						store->dim),
				 errdetail("The %s stores embeddings of %d dimensions.", store->what, store->dim)));
	return pqlite_has_vector(store->options, store->sparse, doc) ? doc->values[attr] : (Datum) 0;
}

/* Mark the words of a document to search with in its matches. */
static void
highlight(Search *search, const JflowDoc *doc, JflowMatch *matches, int n)
{
	JflowHighlight *how = &search->parameters.highlight;

	jflow_highlight_query(how, doc);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		jflow_highlight_match(how, &matches[i]);
		matches[i].nulls[MATCH_TEXT] |= !search->store->options->include_text;
	}
}

/* Fill in the matches of all documents. */
static void
search_docs(Search *search, JflowDocs *docs, MemoryContext outer)
{
	for (int i = 0; i < docs->ndocs; i++)
	{
		JflowDoc   *doc = &docs->docs[i];
		JflowMatch *matches = NULL;
		Datum		vector = query_vector(search->store, doc);
		bool		asks = vector && search->parameters.limit > 0;
		int			n = asks ? search_one(search, vector, &matches) : 0;
		MemoryContext old;

		if (asks && search->context->plans && search->context->plans->text.len == 0)
			explain_search(search, vector);
		if (search->parameters.highlight.wanted)
			highlight(search, doc, matches, n);
		old = MemoryContextSwitchTo(outer);
		doc->values[DOC_MATCHES] = jflow_matches_form(matches, n);
		doc->nulls[DOC_MATCHES] = false;
		MemoryContextSwitchTo(old);
	}
}

/* A search of one leaf alone, for so many matches, without a filter. */
static void
begin_leaf_search(Search *search, PqliteStore *store, const JflowContext *context, int leaf,
				  const PqliteParameters *parameters, int limit)
{
	search->store = store;
	search->context = context;
	search->parameters = *parameters;
	search->parameters.filter = NULL;
	search->parameters.grouped = search->parameters.highlight.wanted = false;
	search->as_caller = false;
	search->parameters.limit = limit;
	search->parameters.offset = 0;
	search->parameters.max_distance = get_float8_infinity();
	set_page(search);
	pqlite_condition_init(&search->condition);
	pqlite_compile_filter(store, NULL, "t", &search->condition);
	apply_settings(search);
	search->plans = palloc0(sizeof(SPIPlanPtr) * store->nleaves);
	search->plans[leaf] = leaf_plan(search, &store->leaves[leaf], search->fetched);
	prefer_indexes(search);
}

/* The distance of the last of the nearest rows of a leaf, which has so many. */
static double
exact_distance(PqliteStore *store, const PqliteLeaf *leaf, Datum query, int limit, uint64 *n)
{
	const PqliteColumn *vector = &store->columns[store->vector];
	Oid			types[1] = {vector->sent_type};
	Datum		values[1] = {query};
	bool		isnull;
	Datum		last;
	const char *distance = psprintf("(t.%s %s $1::%s)", vector->quoted, store->distance,
									store->query_type);
	static const char *const settings[] = {"enable_seqscan", "enable_sort"};
	int			guc_level = NewGUCNestLevel();

	/* no index knows the sum, and none helps to read all rows */
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "on", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute_plan(pqlite_plan(store,
									 psprintf("SELECT d FROM (SELECT %s AS d FROM %s t) x "
											  "WHERE d OPERATOR(pg_catalog.<) '%s'::pg_catalog.float8 "
											  "ORDER BY d OPERATOR(pg_catalog.+) 0.0::pg_catalog.float8 LIMIT %d",
											  distance, leaf->name, float8out_internal(pqlite_nothing_common(store)), limit),
									 1, types, CURSOR_OPT_GENERIC_PLAN), values, NULL, true, 0) < 0)
		elog(ERROR, "could not search table %s", leaf->name);
	*n = SPI_processed;
	AtEOXact_GUC(false, guc_level);
	if (*n == 0)
		return 0;
	last = SPI_getbinval(SPI_tuptable->vals[*n - 1], SPI_tuptable->tupdesc, 1, &isnull);
	SPI_freetuptable(SPI_tuptable);
	return DatumGetFloat8(last);
}

/*
 * The recall of searches of a leaf for ten matches, by rows of its own as queries:
 * by the statements and settings that a search has.  SPI must be connected; settings
 * last until the current GUC nest level ends.
 */
double
pqlite_measure_recall(PqliteStore *store, const JflowContext *context, int leaf,
					  const PqliteParameters *parameters)
{
	const PqliteColumn *vector = &store->columns[store->vector];
	Search		search;
	SPITupleTable *queries;
	uint64		nqueries;
	int64		found = 0,
				total = 0;
	MemoryContext temporary = AllocSetContextCreate(CurrentMemoryContext, "jflow recall",
													ALLOCSET_DEFAULT_SIZES),
				old;

	begin_leaf_search(&search, store, context, leaf, parameters, RECALL_AT);
	if (SPI_execute(psprintf("SELECT t.%s::%s FROM %s t WHERE t.%s IS NOT NULL ORDER BY pg_catalog.random() LIMIT %d",
							 vector->quoted, pqlite_quote_type(vector->sent_type, -1),
							 store->leaves[leaf].name, vector->quoted, parameters->queries), true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read table %s", store->leaves[leaf].name);
	queries = SPI_tuptable;
	nqueries = SPI_processed;
	old = MemoryContextSwitchTo(temporary);
	for (uint64 i = 0; i < nqueries; i++)
	{
		bool		isnull;
		Datum		query = SPI_getbinval(queries->vals[i], queries->tupdesc, 1, &isnull);
		JflowMatch *matches;
		uint64		nexact;
		double		last = exact_distance(store, &store->leaves[leaf], query, RECALL_AT, &nexact);
		int			n = search_one(&search, query, &matches);

		CHECK_FOR_INTERRUPTS();
		total += nexact;
		for (int j = 0; j < n; j++)
			found += DatumGetFloat8(matches[j].values[MATCH_SCORE]) <= last;
		MemoryContextReset(temporary);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(temporary);
	return total > 0 ? Min((double) found / total, 1.0) : 1.0;
}

/*
 * /search: fills in "matches" of each document.  Parameters: limit, offset, filter,
 * max_distance, group_by, highlight, probes, recall.
 */
Datum
jflow_pqlite_search(PG_FUNCTION_ARGS)
{
	Search		search;
	JflowDocs  *docs = jflow_docs_deform(PG_GETARG_DATUM(0), "documents");
	MemoryContext outer = CurrentMemoryContext;

	search.context = jflow_context_required();
	search.store = pqlite_store_for_read(search.context);
	if (search.store == NULL)
	{
		PqliteOptions *options = pqlite_options_read(search.context->executor->uses_with);

		/* nothing is stored yet; what is wrong is wrong all the same */
		pqlite_parameters_read(PG_GETARG_JSONB_P(1), options->limit, &search.parameters);
		for (int i = 0; i < docs->ndocs; i++)
		{
			docs->docs[i].values[DOC_MATCHES] = jflow_matches_form(NULL, 0);
			docs->docs[i].nulls[DOC_MATCHES] = false;
		}
		PG_RETURN_DATUM(jflow_docs_form(docs));
	}
	pqlite_parameters_read(PG_GETARG_JSONB_P(1), search.store->options->limit, &search.parameters);
	set_page(&search);
	if (search.parameters.highlight.wanted)
		jflow_highlight_config(&search.parameters.highlight,
							   jflow_text_search_of(search.context->flow, search.context->executor));
	search.as_caller = pqlite_as_caller(search.store);
	pqlite_condition_init(&search.condition);
	pqlite_compile_filter(search.store, search.parameters.filter, "t", &search.condition);
	apply_settings(&search);

	SPI_connect();
	pqlite_note_fields(search.store, search.context, search.parameters.filter);
	search.plans = palloc0(sizeof(SPIPlanPtr) * Max(search.store->nleaves, 1));
	for (int i = 0; i < search.store->nleaves; i++)
		if (reads_leaf(&search, &search.store->leaves[i]))
			search.plans[i] = leaf_plan(&search, &search.store->leaves[i], search.fetched);
	prefer_indexes(&search);
	search_docs(&search, docs, outer);
	SPI_finish();
	PopActiveSnapshot();
	PG_RETURN_DATUM(jflow_docs_form(docs));
}
