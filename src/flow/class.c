/*
 * class.c
 *		Executor classes: built in ones, and those that roles define.
 *
 * A class is known by its owner and its name.  Those that are built in belong
 * to nobody (""), and none of a role can have such a name.  What "uses" means
 * is decided once, when an executor is added, and kept with it: later
 * definitions of others cannot change what it is.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "common/args.h"
#include "compat.h"
#include "flow/flow.h"

#define MAX_CLASS_NAME 200		/* bytes; also the CHECK in the catalog */

PG_FUNCTION_INFO_V1(jflow_define);
PG_FUNCTION_INFO_V1(jflow_undefine);

/* Does an endpoint change the documents that it is given, by their ids? */
bool
jflow_class_writes_by_id(const char *endpoint)
{
	return strcmp(endpoint, "/index") == 0 || strcmp(endpoint, "/update") == 0 ||
		strcmp(endpoint, "/delete") == 0;
}

/* The class of an executor that is there, if it is built in. */
static const JflowClass *
class_of(const char *flow_name, const char *executor_name)
{
	JflowFlow  *flow = jflow_flow_open(flow_name, true);
	const JflowExecutor *executor = flow ? jflow_flow_executor(flow, executor_name) : NULL;

	return executor ? executor->class : NULL;
}

/*
 * Begin to move the stored documents of an executor whose number of shards was
 * changed in jflow.executor; with "at_once" it is done on return.
 */
void
jflow_scale_shards(const char *flow, const char *executor, int shards, bool at_once)
{
	const JflowClass *class = class_of(flow, executor);

	if (class && class->scale)
		class->scale(flow, executor, shards, at_once);
}

/* Move at most so many rows.  The current user is the flow's owner. */
JflowMove
jflow_move_rows(const char *flow, const char *executor, int batch, bool busy)
{
	const JflowClass *class = class_of(flow, executor);

	return class && class->move_rows ? class->move_rows(flow, executor, batch, busy) : MOVE_DONE;
}

/* Is there work for a mover?  Reads the catalog by scan, so that anybody may ask. */
bool
jflow_needs_mover(const JflowFlow *flow, const JflowExecutor *executor)
{
	const JflowClass *class = executor->class;

	return class && class->needs_mover && class->needs_mover(flow->name, executor->name);
}

/*
 * The class name in "uses" where a prefix names a hub of executors, or NULL: the
 * first part of jinahub://Name:secret/tag, the second of jinaai://user/Name:tag.
 * The hub, the tag and how the executor would be run mean nothing here.
 */
const char *
jflow_hub_name(const char *uses)
{
	static const struct
	{
		const char *prefix;
		bool		user;		/* a user's name comes first */
	}			hubs[] = {
		{"jinahub", false}, {"jinaai", true}
	};
	static const char *const kinds[] = {"://", "+docker://", "+sandbox://", "+serverless://"};

	for (int hub = 0; hub < lengthof(hubs); hub++)
	{
		for (int kind = 0; kind < lengthof(kinds); kind++)
		{
			char	   *prefix = psprintf("%s%s", hubs[hub].prefix, kinds[kind]);
			char	   *name;

			if (strncmp(uses, prefix, strlen(prefix)) != 0)
				continue;
			name = pstrdup(uses + strlen(prefix));
			if (hubs[hub].user && strchr(name, '/'))
				name = strchr(name, '/') + 1;
			name[strcspn(name, ":/")] = '\0';
			return name;
		}
	}
	return NULL;
}

/* Raise feature_not_supported for a file: the server loads none. */
static void
check_no_file(const char *uses)
{
	static const char *const suffixes[] = {".yml", ".yaml", ".py", ".json"};
	size_t		len = strlen(uses);
	bool		is_file = strchr(uses, '/') && strstr(uses, "://") == NULL && strchr(uses, '"') == NULL;

	for (int i = 0; i < lengthof(suffixes); i++)
	{
		size_t		n = strlen(suffixes[i]);

		/* public.yml may be a function */
		if (len > n && strcmp(uses + len - n, suffixes[i]) == 0)
			is_file |= strchr(uses, '.') != uses + len - n || !jflow_function_exists(uses);
	}
	if (is_file)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("executor cannot be loaded from file \"%s\"", uses),
				 errdetail("An executor uses a class or a SQL function."),
				 errhint("Write what it does as a SQL function, and name that, or a class made with jflow_define.")));
}

/* The class nearest to a misspelt name that a role may use, for a hint, or NULL. */
static const char *
suggest_class(const char *name, Oid role)
{
	JflowCatalogState state;
	JflowParams params = {0};
	MemoryContext outer = CurrentMemoryContext;
	const char **names;
	const char *suggestion;
	char	   *result = NULL;
	int			usable = 0;
	uint64		n;

	jflow_catalog_begin(&state);
	n = jflow_catalog_run("SELECT class, owner FROM jflow.class ORDER BY class, owner", &params);
	names = palloc(sizeof(char *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		char	   *owner = jflow_catalog_value(i, 2);

		if (owner[0] == '\0' || jflow_role_trusts(role, jflow_role_oid(owner)))
			names[usable++] = jflow_catalog_value(i, 1);
	}
	suggestion = jflow_suggest(name, names, usable);
	if (suggestion)
		result = MemoryContextStrdup(outer, suggestion);
	jflow_catalog_end(&state);
	return result;
}

static void JFLOW_NORETURN
no_such_class(const char *name, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("executor class \"%s\" does not exist", name),
			 errhint("%s", hint)));
}

/* The owner of the class that a name means for a role, or NULL. */
static char *
find_class(const char *name, const char *wanted_owner, Oid role)
{
	char	   *own;

	if (strlen(name) > MAX_CLASS_NAME)
		return NULL;
	if (wanted_owner)
	{
		bool		usable = wanted_owner[0] == '\0' ||
			jflow_role_trusts(role, jflow_role_oid(wanted_owner));

		return usable && jflow_class_read(name, wanted_owner, NULL, NULL, NULL) ?
			pstrdup(wanted_owner) : NULL;
	}
	if (jflow_class_read(name, "", NULL, NULL, NULL))
		return pstrdup("");
	own = jflow_role_kept_name(role);
	return own && jflow_class_read(name, own, NULL, NULL, NULL) ? own : NULL;
}

/*
 * What "uses" means for the role that owns a flow, as stored: a class's name and
 * in *class_owner whose it is ("": built in), or a function's name with its
 * schema and NULL.  A name without a schema is, first match: a built-in class,
 * one of the role's own, a function by the current search_path, a class of
 * others that the role trusts.  With "wanted_owner" it is that owner's class.
 * Raises undefined_object, and what jflow_function_qualify raises.
 */
char *
jflow_uses_resolve(const char *uses, const char *wanted_owner, Oid owner, char **class_owner)
{
	const char *hub_name = jflow_hub_name(uses);
	const char *name = hub_name ? hub_name : uses;
	const char *suggestion = NULL;
	char	   *function = NULL;

	*class_owner = find_class(name, wanted_owner, owner);
	if (*class_owner)
		return pstrdup(name);
	if (strcmp(name, "_pass") == 0)
	{
		*class_owner = pstrdup("");
		return pstrdup(JFLOW_BASE_CLASS);	/* as older flows call it */
	}
	check_no_file(uses);
	if (wanted_owner || hub_name || strstr(uses, "://") ||
		(strchr(uses, ' ') && strchr(uses, '"') == NULL))
	{
		*class_owner = wanted_owner ? NULL : jflow_class_of_others(name, owner);
		if (*class_owner == NULL)
			no_such_class(name, "Name it with jflow_define, or use a SQL function.");
		return pstrdup(name);
	}
	if (strpbrk(uses, ".\"") == NULL)
	{
		if (jflow_function_exists(uses))
			return jflow_function_qualify(uses);
		*class_owner = jflow_class_of_others(name, owner);
		if (*class_owner)
			return pstrdup(name);
		suggestion = suggest_class(uses, owner);
	}
	if (suggestion)
		no_such_class(uses, psprintf("Did you mean \"%s\"?", suggestion));
	function = jflow_function_qualify(uses);
	return function;
}

/* Raise what is wrong with the name of a new class. */
static void
check_class_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MAX_CLASS_NAME || strpbrk(name, ".\"/:"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("class name must have 1 to %d bytes and no dot, quote, slash or colon",
						MAX_CLASS_NAME),
				 errdetail("With a dot or a quote it could be meant for a function, and with the others for a hub's name.")));
	if (jflow_class_read(name, "", NULL, NULL, NULL) || jflow_registered_class(name))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("executor class \"%s\" is built in", name),
				 errhint("Choose another name.")));
}

/*
 * jflow_define(class text, requests jsonb) RETURNS void
 */
Datum
jflow_define(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "class");
	Jsonb	   *requests = jflow_arg_jsonb(fcinfo, 1, "requests");
	JflowCatalogState state;
	JflowParams params = {0};

	check_class_name(name);
	jflow_requests_check(requests, GetUserId(), &requests);

	jflow_param_text(&params, name);
	jflow_param_text(&params, jflow_role_name(GetUserId()));
	jflow_param_jsonb(&params, requests);
	jflow_catalog_begin(&state);
	if (jflow_catalog_run("INSERT INTO jflow.class (class, owner, requests) VALUES ($1, $2, $3) "
						  "ON CONFLICT DO NOTHING", &params) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("executor class \"%s\" already exists", name),
				 errhint("Remove it with jflow_undefine first.")));
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

static void JFLOW_NORETURN
class_is_missing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("executor class \"%s\" does not exist", name)));
}

/*
 * The owner of the class that a user may remove: his own, else the only one of
 * roles whose privileges he has.  Raises undefined_object, ambiguous_parameter,
 * or insufficient_privilege for one that is built in.
 */
static char *
class_to_remove(const char *name, Oid userid)
{
	JflowParams params = {0};
	char	   *own = jflow_role_kept_name(userid);
	char	   *found = NULL;
	uint64		n;

	jflow_param_text(&params, name);
	n = jflow_catalog_run("SELECT owner FROM jflow.class WHERE class = $1", &params);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *owner = jflow_catalog_value(i, 1);
		Oid			role = jflow_role_oid(owner);

		if (owner[0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("executor class \"%s\" is built in", name)));
		if (own && strcmp(owner, own) == 0)
			return owner;
		if (!superuser_arg(userid) && !(OidIsValid(role) && has_privs_of_role(userid, role)))
			continue;
		if (found)
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
					 errmsg("executor class \"%s\" is ambiguous", name),
					 errdetail("Roles \"%s\" and \"%s\" have defined one.", found, owner),
					 errhint("Set the role whose class is meant.")));
		found = owner;
	}
	if (found == NULL)
		class_is_missing(name); /* of others' he is told nothing */
	return found;
}

/*
 * jflow_undefine(class text) RETURNS void
 */
Datum
jflow_undefine(PG_FUNCTION_ARGS)
{
	char	   *name = jflow_arg_text(fcinfo, 0, "class");
	JflowCatalogState state;
	JflowParams params = {0};

	jflow_catalog_begin(&state);
	jflow_param_text(&params, name);
	jflow_param_text(&params, class_to_remove(name, state.userid));

	/* who adds an executor of it comes before, and is seen below, or after */
	if (jflow_catalog_run("SELECT FROM jflow.class WHERE class = $1 AND owner = $2 FOR UPDATE", &params) == 0)
		class_is_missing(name);
	if (jflow_catalog_run("SELECT flow, name FROM jflow.executor WHERE uses = $1 AND class_owner = $2 "
						  "ORDER BY flow, name LIMIT 1", &params) > 0)
	{
		char	   *flow = jflow_catalog_value(0, 1);

		/* names of others' flows are none of his business */
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot undefine executor class \"%s\" because executors use it", name),
				 jflow_may_see(flow, state.userid) ?
				 errdetail("One is executor \"%s\" of flow \"%s\".",
						   jflow_catalog_value(0, 2), flow) :
				 errdetail("They are executors of another role's flows.")));
	}
	(void) jflow_catalog_run("DELETE FROM jflow.class WHERE class = $1 AND owner = $2", &params);
	jflow_catalog_end(&state);
	PG_RETURN_VOID();
}

/* Does an executor run nothing but what tells which parameters it reads? */
bool
jflow_executor_is_open(const JflowExecutor *executor)
{
	if (executor->uses_before || executor->uses_after || executor->requests)
		return false;
	if (executor->class)
		return executor->class->parameters != NULL && !executor->class->any_parameters;
	return executor->class_owner && strcmp(executor->class_owner, "") == 0;
}

/* Does a flow have such executors only? */
bool
jflow_flow_is_open(const JflowFlow *flow)
{
	for (int i = 0; i < flow->nexecutors; i++)
		if (!jflow_executor_is_open(&flow->executors[i]))
			return false;
	return true;
}

PG_FUNCTION_INFO_V1(jflow_may_use_class_sql);
/*
 * jflow.may_use_class(owner text) RETURNS bool: may the current user add executors
 * of that role's classes?  Of those that are built in, whose owner is '', everybody
 * may.
 */
Datum
jflow_may_use_class_sql(PG_FUNCTION_ARGS)
{
	char	   *owner = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_BOOL(owner[0] == '\0' || jflow_role_trusts(GetUserId(), jflow_role_oid(owner)));
}
