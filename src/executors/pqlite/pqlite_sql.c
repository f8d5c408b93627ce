/*
 * pqlite_sql.c
 *		Names as SQL, names that we choose, and running a statement.
 *
 * Everything here allocates in the current memory context.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "compat.h"
#include "executors/pqlite/pqlite.h"

#define DEFAULT_WORKSPACE "jflow_data_"
#define SUFFIX_ROOM 5			/* of a leaf: "_1023" */
#define NAME_PART 20			/* bytes of a name in that of a codebook */

/* A type's name as SQL that needs no search_path. */
char *
pqlite_quote_type(Oid type, int32 typmod)
{
	return format_type_extended(type, typmod,
								FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
}

/* A relation's name as SQL that needs no search_path. */
char *
pqlite_relation_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/* Run a statement that may write.  SPI must be connected. */
void
pqlite_run(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "statement failed: %s: %s", SPI_result_code_string(result), sql);
}

/*
 * A name of at most so many bytes.  One that is cut ends with a hash of the whole,
 * which keeps it apart from others that begin like it.
 */
static char *
cut_name(const char *name, int max_len)
{
	int			len = strlen(name);
	char		hash[10];

	if (len <= max_len)
		return pstrdup(name);
	snprintf(hash, sizeof(hash), "_%08x", hash_bytes((const unsigned char *) name, len));
	return psprintf("%.*s%s", pg_mbcliplen(name, len, max_len - strlen(hash)), name, hash);
}

/* The schema of a role's stores where no workspace is given. */
char *
pqlite_default_workspace(Oid role)
{
	return cut_name(psprintf(DEFAULT_WORKSPACE "%s", GetUserNameFromId(role, false)), NAMEDATALEN - 1);
}

/* The name of an executor's own table.  Those of its leaves have a number behind it. */
char *
pqlite_table_name(const char *flow, const char *executor)
{
	return cut_name(psprintf("%s_%s", flow, executor), NAMEDATALEN - 1 - SUFFIX_ROOM);
}

/*
 * The name of a leaf: the table's, which is cut where the number needs the room.
 */
char *
pqlite_leaf_name(const char *table, int shard)
{
	char	   *suffix = psprintf("_%d", shard);
	int			len = pg_mbcliplen(table, strlen(table), NAMEDATALEN - 1 - strlen(suffix));

	return psprintf("%.*s%s", len, table, suffix);
}

/*
 * The codebook that the leaves of an executor's store share, of the flow's owner.
 * The names say whose it is; the hash keeps apart what is cut from them.
 */
char *
pqlite_codebook_name(const char *flow, const char *executor)
{
	uint64		hash = hash_combine64(hash_bytes_extended((const unsigned char *) flow, strlen(flow), 0),
									  hash_bytes_extended((const unsigned char *) executor, strlen(executor), 0));

	return psprintf("%.*s/%.*s/" UINT64_FORMAT,
					pg_mbcliplen(flow, strlen(flow), NAME_PART), flow,
					pg_mbcliplen(executor, strlen(executor), NAME_PART), executor, hash);
}
