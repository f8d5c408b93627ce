/*-------------------------------------------------------------------------
 *
 * client.c
 *		Times one prepared statement over a file of vectors, in one session.
 *
 * The parameter goes out and the rows come back in binary, so that what is
 * measured is the server and the protocol; or the file has lines, each of which
 * goes out as it is.  Prints one line of JSON.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <libpq-fe.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_SETTINGS 32

/* A file of rows: an int32 count, then as many values of 4 bytes. */
typedef struct Rows
{
	int			count;
	int			width;
	uint32_t   *data;
} Rows;

typedef struct Totals
{
	double	   *times;			/* microseconds of each query */
	double	   *best;			/* the least of each line of the file */
	double	   *share;			/* found of each line's nearest k */
	long		queries;
	long		found;			/* of the nearest k, how many were returned */
	long		wanted;
	long		returned;
	double		processor;		/* seconds of the backend's */
} Totals;

typedef struct Job
{
	const char *sql;
	int			k;
	int			warmups;
	double		seconds;
	Rows		vectors;
	Rows		truth;
	bool		sparse;
	bool		text;			/* vectors are lines */
	char	  **lines;
	char	   *param;			/* the parameter being sent */
} Job;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "client: %s: %s\n", what, why);
	exit(1);
}

static void *
allocate(size_t size)
{
	void	   *p = malloc(size);

	if (p == NULL)
		die("malloc", "out of memory");
	return p;
}

static Rows
read_rows(const char *path)
{
	Rows		rows;
	FILE	   *f = fopen(path, "rb");
	long		size;

	if (f == NULL)
		die(path, "cannot open");
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	rows.data = allocate(size);
	if (size < 4 || fread(rows.data, 1, size, f) != (size_t) size)
		die(path, "cannot read");
	fclose(f);
	rows.width = (int) rows.data[0];
	if (rows.width <= 0 || size % (4L * (rows.width + 1)) != 0)
		die(path, "is no file of vectors");
	rows.count = size / (4L * (rows.width + 1));
	return rows;
}

/* The file's lines, and how many as the rows' count. */
static char **
read_lines(const char *path, Rows *rows)
{
	FILE	   *f = fopen(path, "r");
	char	  **lines = NULL;
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		length;

	if (f == NULL)
		die(path, "cannot open");
	while ((length = getline(&line, &room, f)) > 0)
	{
		if (line[length - 1] == '\n')
			line[length - 1] = '\0';
		lines = realloc(lines, (rows->count + 1) * sizeof(char *));
		if (lines == NULL)
			die("realloc", "out of memory");
		lines[rows->count++] = line;
		line = NULL;
		room = 0;
	}
	fclose(f);
	if (rows->count == 0)
		die(path, "is empty");
	return lines;
}

static const uint32_t *
row_at(const Rows *rows, int i)
{
	return rows->data + (size_t) i * (rows->width + 1) + 1;
}

static void
execute(PGconn *conn, const char *sql)
{
	PGresult   *res = PQexec(conn, sql);

	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		die(sql, PQresultErrorMessage(res));
	PQclear(res);
}

static void
put32(char **p, uint32_t value)
{
	value = htonl(value);
	memcpy(*p, &value, 4);
	*p += 4;
}

/* pgvector's binary form of a vector or sparsevec; returns its length. */
static int
fill_param(Job *job, const uint32_t *x)
{
	int			dims = job->vectors.width;
	uint32_t	nonzero = 0;
	char	   *p = job->param;

	if (!job->sparse)
	{
		put32(&p, (uint32_t) dims << 16);
		for (int i = 0; i < dims; i++)
			put32(&p, x[i]);
		return p - job->param;
	}
	for (int i = 0; i < dims; i++)
		nonzero += x[i] != 0;
	put32(&p, dims);
	put32(&p, nonzero);
	put32(&p, 0);
	for (int i = 0; i < dims; i++)
		if (x[i] != 0)
			put32(&p, i);
	for (int i = 0; i < dims; i++)
		if (x[i] != 0)
			put32(&p, x[i]);
	return p - job->param;
}

static void
prepare(PGconn *conn, Job *job)
{
	PGresult   *res = PQprepare(conn, "q", job->sql, 0, NULL);
	PGresult   *type;
	char		query[64];

	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		die(job->sql, PQresultErrorMessage(res));
	PQclear(res);
	res = PQdescribePrepared(conn, "q");
	if (PQnparams(res) != 1)
		die(job->sql, "must have one parameter");
	snprintf(query, sizeof(query), "SELECT '%u'::regtype = 'sparsevec'::regtype", PQparamtype(res, 0));
	type = PQexec(conn, query);
	job->sparse = PQntuples(type) == 1 && PQgetvalue(type, 0, 0)[0] == 't';
	PQclear(type);
	PQclear(res);
	job->param = allocate(12 + 8 * (size_t) job->vectors.width);
}

static void
count_found(const Job *job, Totals *totals, PGresult *res, int i)
{
	const uint32_t *truth = row_at(&job->truth, i);
	int			k = job->k < job->truth.width ? job->k : job->truth.width;
	long		found = totals->found;
	long		wanted = totals->wanted;

	totals->returned += PQntuples(res);
	for (int j = 0; j < k; j++)
	{
		if ((int32_t) truth[j] < 0)
			continue;			/* fewer than k rows exist */
		totals->wanted++;
		for (int r = 0; r < PQntuples(res) && r < k; r++)
		{
			uint32_t	id;

			memcpy(&id, PQgetvalue(res, r, 0), 4);
			if (ntohl(id) == truth[j])
			{
				totals->found++;
				break;
			}
		}
	}
	totals->share[i] = totals->wanted > wanted ? (double) (totals->found - found) / (totals->wanted - wanted) : 1;
}

static void
run_one(PGconn *conn, Job *job, Totals *totals, int i)
{
	int			length = job->text ? 0 : fill_param(job, row_at(&job->vectors, i));
	const char *values[1] = {job->text ? job->lines[i] : job->param};
	int			formats[1] = {!job->text};
	struct timespec start;
	struct timespec end;
	PGresult   *res;

	clock_gettime(CLOCK_MONOTONIC, &start);
	res = PQexecPrepared(conn, "q", 1, values, &length, formats, 1);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK)
		die(job->sql, PQresultErrorMessage(res));
	if (job->truth.count > 0)
		count_found(job, totals, res, i);
	PQclear(res);
	totals->times[totals->queries++] =
		(end.tv_sec - start.tv_sec) * 1e6 + (end.tv_nsec - start.tv_nsec) / 1e3;
}

/* Seconds of processor time that our backend has had. */
static double
backend_time(PGconn *conn)
{
	char		path[64];
	FILE	   *f;
	double		ns = 0;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", PQbackendPID(conn));
	f = fopen(path, "r");
	if (f == NULL || fscanf(f, "%lf", &ns) != 1)
		die(path, "cannot read");
	fclose(f);
	return ns / 1e9;
}

/*
 * Put ourselves and our backend on one processor.  They take turns anyway, and
 * to wake an idle virtual processor for each query takes as long as the query.
 */
static void
share_processor(PGconn *conn)
{
	cpu_set_t	set;

	CPU_ZERO(&set);
	CPU_SET(sysconf(_SC_NPROCESSORS_ONLN) - 1, &set);
	if (sched_setaffinity(PQbackendPID(conn), sizeof(set), &set) != 0 ||
		sched_setaffinity(0, sizeof(set), &set) != 0)
		die("sched_setaffinity", "the server must be on this machine, and ours");
}

/* Whole rounds over the file, until the time is up. */
static void
run_rounds(PGconn *conn, Job *job, Totals *totals)
{
	double		spent = 0;
	long		room = 0;

	totals->processor = -backend_time(conn);

	do
	{
		room += job->vectors.count;
		totals->times = realloc(totals->times, room * sizeof(double));
		if (totals->times == NULL)
			die("realloc", "out of memory");
		for (int i = 0; i < job->vectors.count; i++)
		{
			double	   *best = &totals->best[i];

			run_one(conn, job, totals, i);
			spent += totals->times[totals->queries - 1];
			if (*best == 0 || totals->times[totals->queries - 1] < *best)
				*best = totals->times[totals->queries - 1];
		}
	} while (spent < job->seconds * 1e6);
	totals->processor += backend_time(conn);
}

static int
compare_times(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static void
print_totals(Totals *t, int count)
{
	double		sum = 0;

	for (long i = 0; i < t->queries; i++)
		sum += t->times[i];
	qsort(t->times, t->queries, sizeof(double), compare_times);
	qsort(t->best, count, sizeof(double), compare_times);
	qsort(t->share, count, sizeof(double), compare_times);
	printf("{\"queries\": %ld, \"qps\": %.1f, \"mean_us\": %.1f, \"p50_us\": %.1f, \"p95_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"most_us\": %.1f, \"best_us\": %.1f, \"processor_us\": %.1f",
		   t->queries, t->queries * 1e6 / sum, sum / t->queries, t->times[t->queries / 2],
		   t->times[(long) (t->queries * 0.95)], t->times[(long) (t->queries * 0.99)],
		   t->times[(long) (t->queries * 0.999)], t->times[t->queries - 1], t->best[count / 2], t->processor * 1e6 / t->queries);
	if (t->wanted > 0)
		printf(", \"recall\": %.5f, \"worst\": %.3f, \"returned\": %.2f", (double) t->found / t->wanted,
			   t->share[count / 20], (double) t->returned / t->queries);
	printf("}\n");
}

int
main(int argc, char **argv)
{
	Job			job = {.k = 10, .warmups = 200, .seconds = 2};
	Totals		totals = {0};
	char	   *settings[MAX_SETTINGS];
	int			nsettings = 0;
	int			option;
	PGconn	   *conn;

	while ((option = getopt(argc, argv, "k:lw:t:s:")) != -1)
	{
		if (option == 'k')
			job.k = atoi(optarg);
		else if (option == 'l')
			job.text = true;
		else if (option == 'w')
			job.warmups = atoi(optarg);
		else if (option == 't')
			job.seconds = atof(optarg);
		else if (option == 's' && nsettings < MAX_SETTINGS)
			settings[nsettings++] = optarg;
		else
			die("usage", "client [-k K] [-w WARMUPS] [-t SECONDS] [-s SQL]... STATEMENT VECTORS.fvecs [TRUTH.ivecs] | -l STATEMENT LINES");
	}
	if (argc - optind < 2)
		die("usage", "client [-k K] [-w WARMUPS] [-t SECONDS] [-s SQL]... STATEMENT VECTORS.fvecs [TRUTH.ivecs] | -l STATEMENT LINES");
	job.sql = argv[optind];
	if (job.text)
		job.lines = read_lines(argv[optind + 1], &job.vectors);
	else
		job.vectors = read_rows(argv[optind + 1]);
	if (argc - optind > 2)
		job.truth = read_rows(argv[optind + 2]);
	if (job.truth.count > 0 && job.truth.count < job.vectors.count)
		die(argv[optind + 2], "has fewer rows than the queries");

	conn = PQconnectdb("");
	if (PQstatus(conn) != CONNECTION_OK)
		die("connection", PQerrorMessage(conn));
	share_processor(conn);
	for (int i = 0; i < nsettings; i++)
		execute(conn, settings[i]);
	prepare(conn, &job);
	totals.times = allocate((job.warmups + 1) * sizeof(double));
	totals.share = calloc(job.vectors.count, sizeof(double));
	if (totals.share == NULL)
		die("calloc", "out of memory");
	for (int i = 0; i < job.warmups; i++)
		run_one(conn, &job, &totals, i % job.vectors.count);
	totals.best = calloc(job.vectors.count, sizeof(double));
	if (totals.best == NULL)
		die("calloc", "out of memory");
	totals.queries = totals.found = totals.wanted = totals.returned = 0;
	run_rounds(conn, &job, &totals);
	print_totals(&totals, job.vectors.count);
	PQfinish(conn);
	return 0;
}
