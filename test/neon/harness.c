/*
 * harness.c
 *		Runs the self-tests of kernels and k-means without a server, so that
 *		those of another processor can run in an emulator.
 *
 * What the tested files need of the server is memory and errors.
 */
#include "postgres.h"

#include <stdio.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "pq/pq.h"

/* the server has its own */
#undef printf
#undef vfprintf

volatile sig_atomic_t InterruptPending = false;

extern Datum jflow_pq_kernels(PG_FUNCTION_ARGS);
extern Datum jflow_pq_kmeans(PG_FUNCTION_ARGS);

void
ProcessInterrupts(void)
{
}

void *
palloc(Size size)
{
	void	   *result = malloc(size);

	if (result == NULL)
		abort();
	return result;
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
palloc_extended(Size size, int flags)
{
	return palloc(size);
}

void
pfree(void *pointer)
{
	free(pointer);
}

bool
errstart(int elevel, const char *domain)
{
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return true;
}

int
errcode(int sqlerrcode)
{
	return 0;
}

int
errmsg(const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	fputs("not ok - ", stderr);
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	va_end(args);
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	return errmsg("%s", fmt);
}

/* Every error ends the test. */
void
errfinish(const char *filename, int lineno, const char *funcname)
{
	exit(1);
}

void
ExceptionalCondition(const char *conditionName, const char *errorType, const char *fileName, int lineNumber)
{
	abort();
}

int
main(void)
{
	int			n;
	const PqKernels *const *all = pq_kernels_all(&n);
	LOCAL_FCINFO(fcinfo, 0);

	memset(fcinfo, 0, SizeForFunctionCallInfo(0));
	pq_kernels_init();
	(void) jflow_pq_kernels(fcinfo);
	(void) jflow_pq_kmeans(fcinfo);
	printf("ok - kernels of %s agree with the portable ones\n", all[n - 1]->name);
	return strcmp(all[n - 1]->name, "portable") == 0;
}
