/*
 * remote_said.c
 *		What another server says in words: errors, notices.
 *
 * It may be anything, of any length, and in any encoding.
 */
#include "postgres.h"

#include "libpq-fe.h"
#include "mb/pg_wchar.h"

#include "compat.h"
#include "executors/remote/remote.h"

#define MAX_NOTICES 20
#define MAX_SAID 10000			/* bytes */

/* What a server has said beside its answer; strings are malloc's. */
typedef struct Notice
{
	int			level;
	char	   *message;
	char	   *hint;
} Notice;

static Notice notices[MAX_NOTICES];
static int	nnotices = 0;

/*
 * A copy of what a server says, as it can be shown: not beyond what is text in our
 * encoding, whatever the server calls it.  NULL where there is no memory.
 */
char *
remote_copy_said(const char *said)
{
	int			len = strnlen(said, MAX_SAID);
	char	   *copy = palloc_extended(len + 1, MCXT_ALLOC_NO_OOM);

	if (copy == NULL)
		return NULL;
	len = pg_encoding_verifymbstr(GetDatabaseEncoding(), said, len);
	memcpy(copy, said, len);
	copy[len] = '\0';
	return copy;
}

/* Called inside of libpq, where nothing may be raised. */
void
remote_take_notice(void *arg, const PGresult *result)
{
	const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	Notice	   *notice;

	if (severity == NULL || message == NULL || nnotices == MAX_NOTICES ||
		(strcmp(severity, "WARNING") != 0 && strcmp(severity, "NOTICE") != 0))
		return;
	notice = &notices[nnotices];
	notice->level = severity[0] == 'W' ? WARNING : NOTICE;
	notice->message = strndup(message, MAX_SAID);
	notice->hint = hint ? strndup(hint, MAX_SAID) : NULL;
	if (notice->message)
		nnotices++;
	else
		free(notice->hint);
}

/* Forget what an earlier statement has left, which has failed. */
void
remote_drop_notices(void)
{
	for (int i = 0; i < nnotices; i++)
	{
		free(notices[i].message);
		free(notices[i].hint);
	}
	nnotices = 0;
}

/* Say it here, too. */
void
remote_give_notices(void)
{
	for (int i = 0; i < nnotices; i++)
	{
		char	   *message = remote_copy_said(notices[i].message);
		char	   *hint = notices[i].hint ? remote_copy_said(notices[i].hint) : NULL;

		ereport(notices[i].level,
				(errmsg_internal("%s", message ? message : ""),
				 hint ? errhint("%s", hint) : 0));
	}
	remote_drop_notices();
}
