/*
 * message.c
 *		Errors and notices on their way from a replica to a gateway.
 *
 * In a replica the protocol messages that ereport makes go into a buffer, with
 * every field; the gateway parses them as a client would.  The buffer is
 * bounded: of a flood of notices the first are kept, and the error always is.
 * The plans of a request's statements go the same way, as a message of our own.
 */
#include "postgres.h"

/*
 * The header of a client's connection wants Kerberos' headers where the server
 * was built with them; we need neither.
 */
#undef ENABLE_GSS
#include "libpq/libpq.h"
#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"

#include "compat.h"
#include "runtime/shared/message.h"
#include "runtime/shared/payload.h"

#define MAX_FIELDS 24			/* of a message, and room to spare */
#define MAX_NOTICES 64
#define MAX_NOTICE_BYTES (64 * 1024)

static StringInfoData buffer;
static int	notices = 0;

static void
ignore(void)
{
}

static int
nothing_to_flush(void)
{
	return 0;
}

static bool
nothing_pending(void)
{
	return false;
}

/*
 * Append a message, its fields clipped so that all of them find room in the
 * memory for requests and answers: an error must get to its gateway.
 */
static void
append_clipped(const char *bytes, size_t len)
{
	const char *end = bytes + len;
	int			limit = (int) Min(jflow_payload_max() / MAX_FIELDS, MaxAllocSize / MAX_FIELDS);

	while (bytes < end && *bytes != '\0')
	{
		int			n = (int) strlen(bytes + 1);

		appendStringInfoChar(&buffer, *bytes);
		appendBinaryStringInfo(&buffer, bytes + 1, pg_mbcliplen(bytes + 1, n, limit));
		appendStringInfoChar(&buffer, '\0');
		bytes += n + 2;
	}
	appendStringInfoChar(&buffer, '\0');
}

/* A message in the buffer is its type, its length, and so many bytes. */
static int
begin_message(char type)
{
	appendStringInfoChar(&buffer, type);
	appendStringInfoSpaces(&buffer, sizeof(uint32));
	return buffer.len;
}

static void
end_message(int start)
{
	uint32		n = (uint32) (buffer.len - start);

	memcpy(buffer.data + start - sizeof(n), &n, sizeof(n));
}

static int
put_message(char type, const char *bytes, size_t len)
{
	int			start;

	if (type != 'E' && type != 'N')
		return 0;
	if (type == 'N' && (++notices > MAX_NOTICES || buffer.len + len > MAX_NOTICE_BYTES))
		return 0;
	start = begin_message(type);
	append_clipped(bytes, len);
	end_message(start);
	return 0;
}

static void
put_message_noblock(char type, const char *bytes, size_t len)
{
	(void) put_message(type, bytes, len);
}

static const PQcommMethods methods = {
	ignore, nothing_to_flush, nothing_to_flush, nothing_pending,
	put_message, put_message_noblock
};

/* From now on, collect what this process would send to its client. */
void
jflow_messages_collect(void)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	initStringInfo(&buffer);
	MemoryContextSwitchTo(old);
	PqCommMethods = &methods;
	whereToSendOutput = DestRemote;
	FrontendProtocol = PG_PROTOCOL_LATEST;

	/* The gateway converts, if its client wants that. */
	SetClientEncoding(GetDatabaseEncoding());
}

/* Forget what was collected. */
void
jflow_messages_reset(void)
{
	resetStringInfo(&buffer);
	notices = 0;
}

/* What was collected; good until the next reset. */
StringInfo
jflow_messages(void)
{
	return &buffer;
}

/* Add plans of statements to what is collected; cut where they are many. */
void
jflow_messages_add_plans(const char *plans)
{
	int			room = (int) Min(jflow_payload_max() / MAX_FIELDS, MAX_NOTICE_BYTES) - buffer.len;
	int			start;

	if (room <= 0)
		return;
	start = begin_message('P');
	appendBinaryStringInfo(&buffer, plans, pg_mbcliplen(plans, (int) strlen(plans), room));
	end_message(start);
}

/*
 * Raise the notices among collected messages here, and append the plans to "plans"
 * if that is not NULL; returns the error, if there is one, allocated in the current
 * memory context.
 */
ErrorData *
jflow_messages_read(const char *bytes, Size len, StringInfo plans)
{
	ErrorData  *error = NULL;
	const char *end = bytes + len;

	while (bytes < end)
	{
		char		type = *bytes++;
		uint32		n;
		StringInfoData message;
		ErrorData  *data;

		memcpy(&n, bytes, sizeof(n));
		bytes += sizeof(n);
		if (type == 'P')
		{
			if (plans)
				appendBinaryStringInfo(plans, bytes, n);
			bytes += n;
			continue;
		}
		data = palloc0(sizeof(ErrorData));
		initStringInfo(&message);
		appendBinaryStringInfo(&message, bytes, n);
		bytes += n;
		pq_parse_errornotice(&message, data);
		data->assoc_context = CurrentMemoryContext;
		if (type == 'E')
		{
			/* the end of a replica is no reason to end the caller */
			data->elevel = Min(data->elevel, ERROR);
			error = data;
		}
		else
			ThrowErrorData(data);
	}
	return error;
}
