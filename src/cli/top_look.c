/*
 * top_look.c
 *		What jflow top asks of the server, and what changed since the last look.
 */
#include <stdlib.h>
#include <string.h>

#include "top.h"

static Sort sort_by;

static double
number(PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? 0 : strtod(PQgetvalue(result, row, column), NULL);
}

static char *
text(PGresult *result, int row, int column)
{
	return copy_string(PQgetvalue(result, row, column));
}

static double
rate(double now, double before, double seconds)
{
	return seconds > 0 && now >= before ? (now - before) / seconds : 0;
}

static void
read_executors(Look *look, PGresult *result, const Look *before)
{
	look->nexecutors = PQntuples(result);
	look->executors = allocate(look->nexecutors * sizeof(ExecutorRow));
	for (int row = 0; row < look->nexecutors; row++)
	{
		ExecutorRow *executor = &look->executors[row];

		executor->flow = text (result, row, 0);
		executor->executor = text (result, row, 1);

		executor->started = PQgetvalue(result, row, 2)[0] == 't';
		executor->wanted = (int) number(result, row, 3);
		executor->running = (int) number(result, row, 4);
		executor->queued = (int) number(result, row, 5);
		executor->replicas = (int) number(result, row, 6);
		executor->requests = number(result, row, 7);
		executor->docs = number(result, row, 8);
		executor->errors = number(result, row, 9);
		executor->p95 = text (result, row, 10);
		executor->last_error = text (result, row, 11);

		for (int i = 0; before && i < before->nexecutors; i++)
		{
			const ExecutorRow *old = &before->executors[i];

			if (strcmp(old->flow, executor->flow) != 0 || strcmp(old->executor, executor->executor) != 0)
				continue;
			executor->request_rate = rate(executor->requests, old->requests, look->at - before->at);
			executor->doc_rate = rate(executor->docs, old->docs, look->at - before->at);
		}
	}
}

static void
read_replicas(Look *look, PGresult *result, const Look *before)
{
	look->nreplicas = PQntuples(result);
	look->replicas = allocate(look->nreplicas * sizeof(ReplicaRow));
	for (int row = 0; row < look->nreplicas; row++)
	{
		ReplicaRow *replica = &look->replicas[row];

		replica->pid = (int) number(result, row, 0);
		replica->flow = text (result, row, 1);
		replica->executor = text (result, row, 2);
		replica->number = text (result, row, 3);
		replica->state = text (result, row, 4);
		replica->endpoint = text (result, row, 5);

		replica->requests = number(result, row, 6);
		replica->errors = number(result, row, 7);
		replica->busy_ms = number(result, row, 8);
		replica->last_error = text (result, row, 9);

		for (int i = 0; before && i < before->nreplicas; i++)
		{
			const ReplicaRow *old = &before->replicas[i];

			if (old->pid != replica->pid)
				continue;
			replica->request_rate = rate(replica->requests, old->requests, look->at - before->at);
			replica->busy = rate(replica->busy_ms, old->busy_ms, look->at - before->at) / 10;
			if (replica->busy > 100)
				replica->busy = 100;
		}
	}
}

static void
read_posts(Look *look, PGresult *result)
{
	look->nposts = PQntuples(result);
	look->posts = allocate(look->nposts * sizeof(PostRow));
	for (int row = 0; row < look->nposts; row++)
	{
		PostRow    *post = &look->posts[row];

		post->post = text (result, row, 0);

		post->pid = (int) number(result, row, 1);
		post->flow = text (result, row, 2);
		post->endpoint = text (result, row, 3);
		post->steps = text (result, row, 4);
		post->rate = text (result, row, 5);
		post->elapsed = text (result, row, 6);
	}
}

/* NULL when a query failed; PQerrorMessage says why. */
Look *
take_look(Session *session, const char *flow, const Look *before)
{
	Look	   *look = allocate(sizeof(Look));
	const char *params[1] = {flow};
	const char *schema = session->schema;
	PGresult   *executors;
	PGresult   *replicas = NULL;
	PGresult   *posts = NULL;
	PGresult   *memory = NULL;
	bool		good;

	executors = try_query(session, 1, params,
						  "SELECT s.flow, s.executor, s.started, s.wanted, s.running, s.queued, e.replicas, t.requests, "
						  "t.docs, t.errors, pg_catalog.round(t.p95::pg_catalog.numeric, 1), s.last_error "
						  "FROM %s.jflow_status s JOIN %s.jflow_executors e ON e.flow = s.flow AND e.name = s.executor "
						  "LEFT JOIN (SELECT flow, executor, pg_catalog.sum(count) AS requests, pg_catalog.sum(docs) AS docs, "
						  "pg_catalog.sum(errors) AS errors, pg_catalog.max(p95_ms) AS p95 FROM %s.jflow_stat_endpoints "
						  "GROUP BY flow, executor) t ON t.flow = s.flow AND t.executor = s.executor "
						  "WHERE $1::pg_catalog.text IS NULL OR s.flow = $1 ORDER BY s.flow, e.position",
						  schema, schema, schema);
	good = PQresultStatus(executors) == PGRES_TUPLES_OK;
	if (good)
	{
		replicas = try_query(session, 1, params,
							 "SELECT pid, flow, executor, pg_catalog.format('%%s.%%s', shard, replica), state, endpoint, requests, errors, busy_ms, "
							 "last_error FROM %s.jflow_stat_replicas WHERE $1::pg_catalog.text IS NULL OR flow = $1 "
							 "ORDER BY flow, executor, shard, replica", schema);
		good = PQresultStatus(replicas) == PGRES_TUPLES_OK;
	}
	if (good)
	{
		posts = try_query(session, 1, params,
						  "SELECT post, pid, flow, endpoint, "
						  "CASE WHEN steps_total IS NULL THEN steps_done::pg_catalog.text "
						  "ELSE pg_catalog.format('%%s/%%s', steps_done, steps_total) END, "
						  "pg_catalog.round(docs_per_second::pg_catalog.numeric), "
						  "pg_catalog.date_trunc('second', elapsed) FROM %s.jflow_progress "
						  "WHERE $1::pg_catalog.text IS NULL OR flow = $1 ORDER BY post", schema);
		good = PQresultStatus(posts) == PGRES_TUPLES_OK;
	}
	if (good)
	{
		memory = try_query(session, 0, NULL,
						   "SELECT pg_catalog.format('memory %%s of %%s, requests %%s of %%s', pg_catalog.pg_size_pretty(used), "
						   "pg_catalog.pg_size_pretty(\"limit\"), requests, max_requests) FROM %s.jflow_memory", schema);
		good = PQresultStatus(memory) == PGRES_TUPLES_OK;
	}
	look->at = now_seconds();
	if (good)
	{
		read_executors(look, executors, before);
		read_replicas(look, replicas, before);
		read_posts(look, posts);
		look->memory = PQntuples(memory) > 0 ? text (memory, 0, 0) : copy_string("");
	}
	PQclear(executors);
	PQclear(replicas);
	PQclear(posts);
	PQclear(memory);
	if (!good)
	{
		free(look);
		return NULL;
	}
	return look;
}

static int
descending(double a, double b)
{
	return (a < b) - (a > b);
}

static int
compare_executors(const void *a, const void *b)
{
	const ExecutorRow *x = a;
	const ExecutorRow *y = b;
	int			order = sort_by == SORT_ERRORS ? descending(x->errors, y->errors) :
		sort_by == SORT_BUSY ? descending(x->queued, y->queued) : descending(x->request_rate, y->request_rate);

	if (order == 0)
		order = strcmp(x->flow, y->flow);
	return order != 0 ? order : strcmp(x->executor, y->executor);
}

static int
compare_replicas(const void *a, const void *b)
{
	const ReplicaRow *x = a;
	const ReplicaRow *y = b;
	int			order = sort_by == SORT_ERRORS ? descending(x->errors, y->errors) :
		sort_by == SORT_BUSY ? descending(x->busy, y->busy) : descending(x->request_rate, y->request_rate);

	return order != 0 ? order : descending(y->pid, x->pid);
}

/* Rows come in the order of names; the other orders have the greatest first. */
void
sort_look(Look *look, Sort sort)
{
	sort_by = sort;
	if (sort == SORT_NAME)
		return;
	qsort(look->executors, look->nexecutors, sizeof(ExecutorRow), compare_executors);
	qsort(look->replicas, look->nreplicas, sizeof(ReplicaRow), compare_replicas);
}

/* Give back a look; NULL is none. */
void
free_look(Look *look)
{
	if (!look)
		return;
	for (int i = 0; i < look->nexecutors; i++)
	{
		free(look->executors[i].flow);
		free(look->executors[i].executor);
		free(look->executors[i].p95);
		free(look->executors[i].last_error);
	}
	for (int i = 0; i < look->nreplicas; i++)
	{
		free(look->replicas[i].flow);
		free(look->replicas[i].executor);
		free(look->replicas[i].number);
		free(look->replicas[i].state);
		free(look->replicas[i].endpoint);
		free(look->replicas[i].last_error);
	}
	for (int i = 0; i < look->nposts; i++)
	{
		free(look->posts[i].post);
		free(look->posts[i].flow);
		free(look->posts[i].endpoint);
		free(look->posts[i].steps);
		free(look->posts[i].rate);
		free(look->posts[i].elapsed);
	}
	free(look->executors);
	free(look->replicas);
	free(look->posts);
	free(look->memory);
	free(look);
}
