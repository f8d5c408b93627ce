/*
 * rrf.c
 *		RRFRanker: joins the matches of several branches into one ranking.
 *
 * By ranks: a match's score is the sum, over the branches that have found it, of
 * weight / (k + rank), where ranks count from 1.  By scores ("weighted"): of weight
 * times the nearness of the match, which is 1 for a branch's best, 0 for its last,
 * and in proportion to the distance between.  What a branch has not found adds
 * nothing.  Ties are broken by id, so the order does not depend on who answered
 * first.
 *
 * Source: G. V. Cormack, C. L. A. Clarke, S. Buettcher, "Reciprocal Rank Fusion
 * outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "common/json.h"
#include "common/text.h"
#include "compat.h"
#include "doc/highlight.h"
#include "doc/reduce.h"
#include "executors/rrf/rrf.h"

PG_FUNCTION_INFO_V1(jflow_rrf_rank);

typedef struct Ranker
{
	RrfOptions	options;
	const JflowExecutor *executor;
	double	   *weights;		/* per branch */
	JflowHighlight highlight;
} Ranker;

/* A match that some branch has found. */
typedef struct Candidate
{
	JflowMatch	match;			/* of the first that has found it */
	Datum		key;			/* its id, or its group */
	double		score;			/* greater is better */
	int		   *ranks;			/* per branch, from 1; 0: not found */
} Candidate;

/* All of them, with a hash table from key to number + 1. */
typedef struct Candidates
{
	Candidate  *list;
	int			n;
	int			nbranches;
	int		   *buckets;
	uint32		mask;
	uint64		seed;			/* nobody shall choose ids that collide */
} Candidates;

/* Best first, ties by id. */
static int
candidate_order(const void *a, const void *b)
{
	const Candidate *ca = a;
	const Candidate *cb = b;

	if (ca->score != cb->score)
		return ca->score > cb->score ? -1 : 1;
	return jflow_text_order(ca->match.values[MATCH_ID], cb->match.values[MATCH_ID]);
}

static void
candidates_init(Candidates *candidates, int capacity, int nbranches)
{
	uint32		nbuckets = pg_nextpower2_32(Max(capacity, 8)) * 2;

	candidates->list = palloc_extended(sizeof(Candidate) * Max(capacity, 1), MCXT_ALLOC_HUGE);
	candidates->n = 0;
	candidates->nbranches = nbranches;
	candidates->buckets = palloc_extended(sizeof(int) * nbuckets, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	candidates->mask = nbuckets - 1;
	candidates->seed = pg_prng_uint64(&pg_global_prng_state);
}

/* The candidate that a match is, which is added if it is new. */
static Candidate *
candidate_of(Candidates *candidates, const JflowMatch *match, Datum key)
{
	text	   *t = DatumGetTextPP(key);
	uint32		bucket = hash_bytes_extended((unsigned char *) VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t),
											 candidates->seed) & candidates->mask;
	Candidate  *candidate;

	while (candidates->buckets[bucket] != 0)
	{
		candidate = &candidates->list[candidates->buckets[bucket] - 1];
		if (jflow_text_order(candidate->key, key) == 0)
			return candidate;
		bucket = (bucket + 1) & candidates->mask;
	}
	candidate = &candidates->list[candidates->n++];
	candidates->buckets[bucket] = candidates->n;
	candidate->match = *match;
	candidate->key = key;
	candidate->score = 0;
	candidate->ranks = palloc0(sizeof(int) * candidates->nbranches);
	return candidate;
}

/* The distance of a match; infinity if that is not known. */
static double
distance_of(const JflowMatch *match)
{
	double		distance = match->nulls[MATCH_SCORE] ? INFINITY : DatumGetFloat8(match->values[MATCH_SCORE]);

	return isnan(distance) ? INFINITY : distance;
}

/* The part of the way from the farthest match to the best at which a distance lies. */
static double
nearness(double distance, double best, double last)
{
	if (distance == best)
		return 1;
	if (isinf(best) || isinf(last))
		return isinf(distance) ? 0 : 1;
	return last / (last - best) - distance / (last - best);
}

/* What one branch has found, in its order. */
static void
add_branch(const Ranker *ranker, Candidates *candidates, int branch, const JflowMatch *matches, int n)
{
	const RrfOptions *options = &ranker->options;
	double		best = INFINITY;
	double		last = -INFINITY;
	int			rank = 0;

	/* a function of the flow's owner need not have put them in order */
	for (int i = 0; i < n; i++)
	{
		best = Min(best, distance_of(&matches[i]));
		last = Max(last, distance_of(&matches[i]));
	}
	for (int i = 0; i < n; i++)
	{
		Datum		key = jflow_match_key(&matches[i], options->grouped);
		Candidate  *candidate;

		if (matches[i].nulls[MATCH_ID] || key == (Datum) 0)
			continue;
		candidate = candidate_of(candidates, &matches[i], key);
		if (candidate->ranks[branch] > 0)
			continue;			/* it stands further up */
		candidate->ranks[branch] = ++rank;
		candidate->score += ranker->weights[branch] *
			(options->method == RRF_RANKS ? 1 / (options->k + rank) :
			 nearness(distance_of(&matches[i]), best, last));
		for (int att = 0; att < MATCH_NATTS; att++)
			if (candidate->match.nulls[att] && !matches[i].nulls[att])
			{
				candidate->match.values[att] = matches[i].values[att];
				candidate->match.nulls[att] = false;
			}
	}
}

/* The tags of a match, with its rank in each branch that has found it. */
static Datum
tags_with_ranks(const Ranker *ranker, const Candidates *candidates, const Candidate *candidate)
{
	JsonbInState state = {0};
	Datum		ranks;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_key(&state, "ranks");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < candidates->nbranches; i++)
		if (candidate->ranks[i] > 0)
			jflow_json_push_int(&state, ranker->executor->needs[i], candidate->ranks[i]);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	ranks = JsonbPGetDatum(JsonbValueToJsonb(state.result));
	if (candidate->match.nulls[MATCH_TAGS] ||
		!JB_ROOT_IS_OBJECT(DatumGetJsonbP(candidate->match.values[MATCH_TAGS])))
		return ranks;
	return DirectFunctionCall2(jsonb_concat, candidate->match.values[MATCH_TAGS], ranks);
}

/* One list of matches of those that the branches have for a document. */
static Datum
fuse(void *arg, const JflowDoc *doc, const Datum *lists, int nbranches)
{
	Ranker	   *ranker = arg;
	const RrfOptions *options = &ranker->options;
	JflowMatch **matches = palloc(sizeof(JflowMatch *) * nbranches);
	int		   *counts = palloc0(sizeof(int) * nbranches);
	int			total = 0;
	int			first,
				end;
	Candidates	candidates;
	JflowMatch *fused;

	for (int i = 0; i < nbranches; i++)
	{
		if (lists[i])
			counts[i] = Min(jflow_matches_deform(lists[i], &matches[i]),
							Max(options->window, options->offset + options->limit));
		total += counts[i];
	}
	candidates_init(&candidates, total, nbranches);
	for (int i = 0; i < nbranches; i++)
		add_branch(ranker, &candidates, i, matches[i], counts[i]);
	qsort(candidates.list, candidates.n, sizeof(Candidate), candidate_order);

	first = Min(options->offset, candidates.n);
	end = Min(options->offset + options->limit, candidates.n);
	fused = palloc(sizeof(JflowMatch) * Max(end - first, 1));
	if (ranker->highlight.wanted)
		jflow_highlight_query(&ranker->highlight, doc);
	for (int i = first; i < end; i++)
	{
		JflowMatch *match = &fused[i - first];

		*match = candidates.list[i].match;
		/* not -0 */
		match->values[MATCH_SCORE] = Float8GetDatum(0 - candidates.list[i].score);
		match->values[MATCH_TAGS] = tags_with_ranks(ranker, &candidates, &candidates.list[i]);
		match->nulls[MATCH_SCORE] = match->nulls[MATCH_TAGS] = false;
		if (ranker->highlight.wanted)
			jflow_highlight_match(&ranker->highlight, match);
	}
	return jflow_matches_form(fused, end - first);
}

/*
 * Raise an error unless the documents are those of the executor's branches.  Any
 * function of the flow's owner can call this one, with other documents.
 */
static void
check_parts(const JflowExecutor *executor, Datum docs, const int *counts, int nparts)
{
	int64		total = 0;

	for (int i = 0; i < nparts; i++)
		total += counts[i];
	if (nparts > executor->nneeds || total != jflow_docs_count(docs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the documents are not those that the branches of executor \"%s\" have found",
						executor->name)));
}

/*
 * jflow.rrf_rank(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]: documents
 * of all branches merged, with one ranking of their matches.
 */
Datum
jflow_rrf_rank(PG_FUNCTION_ARGS)
{
	const JflowContext *context = jflow_context_required();
	Datum		docs = PG_GETARG_DATUM(0);
	int			whole[1];
	const int  *counts = context->parts;
	int			nparts = context->nparts;
	Ranker		ranker;

	if (context->executor->class != &rrf_class)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" is not an %s", context->executor->name, RRF_CLASS)));

	/* each would make a page, and their reduce a page of these */
	if (context->shards > 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("executor \"%s\" of flow \"%s\" has %d shards, but a ranking cannot be divided",
						context->executor->name, context->flow->name, context->shards),
				 errhint("Use replicas, or set the number of shards to 1 with jflow_scale.")));
	ranker.executor = context->executor;
	rrf_options_read(context->executor, PG_GETARG_JSONB_P(1), &ranker.options);
	jflow_highlight_read(PG_GETARG_JSONB_P(1), &ranker.highlight);
	if (ranker.highlight.wanted)
		jflow_highlight_config(&ranker.highlight,
							   jflow_text_search_of(context->flow, context->executor));
	if (counts == NULL)
	{
		whole[0] = jflow_docs_count(docs);
		counts = whole;
		nparts = 1;
	}
	check_parts(context->executor, docs, counts, nparts);
	ranker.weights = palloc(sizeof(double) * nparts);
	for (int i = 0; i < nparts; i++)
		ranker.weights[i] = rrf_weight(&ranker.options, context->executor->needs[i]);
	PG_RETURN_DATUM(jflow_reduce_fused(docs, counts, nparts, fuse, &ranker));
}

/*
 * Branches are asked for as many matches as count, and for those from the first on:
 * the page is cut here, and what is on it highlighted.
 */
static Jsonb *
input_parameters(const JflowExecutor *executor, Jsonb *own, Jsonb *given)
{
	RrfOptions	options;
	JsonbInState state = {0};

	rrf_options_read(executor, own, &options);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	jflow_json_push_int(&state, "limit", Min(Max(options.window, options.offset + options.limit), RRF_MAX_MATCHES));
	jflow_json_push_int(&state, "offset", 0);
	jflow_json_push_bool(&state, "highlight", false);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(given),
											  JsonbPGetDatum(JsonbValueToJsonb(state.result))));
}

static const char *const parameters[] = {
	"limit", "offset", "k", "window", "weights", "method", "group_by", "highlight", NULL
};

const JflowClass rrf_class = {
	.name = RRF_CLASS,
	.check = rrf_options_check,
	.defaults = rrf_needs_check,
	.parameters = parameters,
	.input_parameters = input_parameters,
	.default_limit = 10,
	.implies_disable_reduce = true,
	.one_by_one = true,
};
