/*
 * function.c
 *		Executor functions: from names in the catalog to functions to call.
 *
 * A definition names a function as its author does, by his search_path; what
 * is stored is the name with its schema.  It is looked up again at each post,
 * under the rules of the flow's owner: he must have the right to execute it,
 * and he must trust its owner, for it runs with his rights.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "common/json.h"
#include "compat.h"
#include "flow/flow.h"

static const char *const request_keys[] = {"function", "finish", "idempotent", "writes"};

/* The function of that name with the signature of an executor, or InvalidOid. */
static Oid
lookup_function(List *names, bool missing_ok)
{
	const JflowTypes *types = jflow_types();
	Oid			args[2] = {types->doc_array, JSONBOID};

	return LookupFuncName(names, 2, args, missing_ok);
}

/* Is there a function of that name with the signature of an executor? */
bool
jflow_function_exists(const char *name)
{
	return OidIsValid(lookup_function(stringToQualifiedNameListCompat(name), true));
}

/* No lock keeps a function from being dropped between looking for it and at it. */
static void JFLOW_NORETURN
dropped_meanwhile(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FUNCTION),
			 errmsg("function %s was dropped meanwhile", name)));
}

/*
 * The qualified name of an executor function, found by the current
 * search_path.  Raises undefined_function if there is no such function, and
 * invalid_function_definition if it does not return jflow_doc[].
 */
char *
jflow_function_qualify(const char *name)
{
	List	   *names = stringToQualifiedNameListCompat(name);
	Oid			function = lookup_function(names, true);
	Form_pg_proc proc;
	HeapTuple	tuple;
	char	   *result;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s(jflow_doc[], jsonb) does not exist", name),
				 errdetail("There is no executor class of that name either."),
				 errhint("An executor function takes (docs jflow_doc[], parameters jsonb) and returns jflow_doc[].")));

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		dropped_meanwhile(name);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype != jflow_types()->doc_array)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s(jflow_doc[], jsonb) must return jflow_doc[]", name),
				 errhint("An executor function takes (docs jflow_doc[], parameters jsonb) and returns jflow_doc[].")));
	result = quote_qualified_identifier(get_namespace_name(proc->pronamespace),
										NameStr(proc->proname));
	ReleaseSysCache(tuple);

	return result;
}

/*
 * The function of a stored name, found with the rights of a role: who posts needs
 * no USAGE on the schema of the owner's function.
 */
static Oid
lookup_as(Oid role, const char *name)
{
	List	   *names = stringToQualifiedNameListCompat(name);
	Oid			userid;
	int			sec_context;
	Oid			function;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(role, sec_context | SECURITY_LOCAL_USERID_CHANGE);
	function = lookup_function(names, true);
	SetUserIdAndSecContext(userid, sec_context);
	return function;
}

/*
 * The function to call for a stored name, on behalf of the role that owns the
 * flow.  Raises undefined_function if it was dropped, and
 * insufficient_privilege if the owner may not execute it or cannot trust it.
 */
Oid
jflow_function_resolve(const char *name, Oid owner)
{
	Oid			function = lookup_as(owner, name);
	Form_pg_proc proc;
	HeapTuple	tuple;
	Oid			function_owner;

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s(jflow_doc[], jsonb) does not exist", name),
				 errhint("It may have been dropped or renamed since the executor was added.")));

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		dropped_meanwhile(name);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	function_owner = proc->proowner;
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset ||
		proc->prorettype != jflow_types()->doc_array)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s(jflow_doc[], jsonb) must return jflow_doc[]", name)));
	ReleaseSysCache(tuple);

	if (object_aclcheck(ProcedureRelationId, function, owner, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", name),
				 errdetail("The flow's owner \"%s\" needs the right to execute it.",
						   GetUserNameFromId(owner, false))));
	if (!jflow_role_trusts(owner, function_owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s is not trusted by the flow's owner", name),
				 errdetail("It would run with the rights of \"%s\" but belongs to \"%s\".",
						   GetUserNameFromId(owner, false),
						   GetUserNameFromId(function_owner, false)),
				 errhint("A flow runs functions of its owner, of roles he is a member of, and of superusers.")));

	return function;
}

/*
 * A name in "requests", qualified.  Raises insufficient_privilege where a role is
 * given that may not execute the function.
 */
static char *
qualify_for(const JsonbValue *value, Oid role)
{
	char	   *name = jflow_function_qualify(jflow_json_string(value));

	if (OidIsValid(role) &&
		object_aclcheck(ProcedureRelationId,
						lookup_function(stringToQualifiedNameListCompat(name), false),
						role, ACL_EXECUTE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", name)));
	return name;
}

/* One entry of "requests": qualify the functions it names. */
static void
push_request(JsonbInState *state, const char *endpoint, JsonbValue *value, Oid role)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *key = NULL;
	bool		has_function = false;

	if (value->type == jbvNull)
	{
		pushJsonbValue(state, WJB_VALUE, value);
		return;
	}
	if (value->type == jbvString)
	{
		jflow_json_push_text(state, WJB_VALUE, qualify_for(value, role));
		return;
	}
	if (!jflow_json_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("endpoint \"%s\" must name a function", endpoint),
				 errhint("A value of \"requests\" is a function name, an object with a key \"function\", or null.")));

	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		bool		names_function;

		if (token == WJB_KEY)
		{
			const char *suggestion;

			key = jflow_json_string(&v);
			suggestion = jflow_suggest(key, request_keys, lengthof(request_keys));
			if (suggestion == NULL || strcmp(suggestion, key) != 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("unknown key \"%s\" for endpoint \"%s\"", key, endpoint),
						 suggestion ? errhint("Did you mean \"%s\"?", suggestion) : 0));
			pushJsonbValue(state, WJB_KEY, &v);
			continue;
		}
		if (token != WJB_VALUE)
			continue;
		names_function = strcmp(key, "function") == 0 || strcmp(key, "finish") == 0;
		if (v.type != (names_function ? jbvString : jbvBool))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key \"%s\" of endpoint \"%s\" must be a %s", key, endpoint,
							names_function ? "function name" : "boolean")));
		if (names_function)
		{
			has_function |= strcmp(key, "function") == 0;
			jflow_json_push_text(state, WJB_VALUE, qualify_for(&v, role));
		}
		else
			pushJsonbValue(state, WJB_VALUE, &v);
	}
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
	if (!has_function)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("endpoint \"%s\" must name a function", endpoint)));
}

/*
 * Check a map from endpoints to functions, and return it with the names
 * qualified; a valid role must have the right to execute them.  Raises
 * invalid_parameter_value, or what qualify_for raises.
 */
void
jflow_requests_check(Jsonb *requests, Oid role, Jsonb **qualified)
{
	JsonbInState state = {0};
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *endpoint = NULL;

	if (!JB_ROOT_IS_OBJECT(requests))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("requests must be a JSON object that maps endpoints to functions")));

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&requests->root);
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_END_OBJECT)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
		{
			endpoint = jflow_json_string(&value);
			jflow_check_endpoint(endpoint);
			pushJsonbValue(&state, WJB_KEY, &value);
		}
		else if (token == WJB_VALUE)
			push_request(&state, endpoint, &value, role);
	}
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	*qualified = JsonbValueToJsonb(state.result);
}

/* The entry for a key of a requests map; false if there is none. */
static bool
request_entry(Jsonb *requests, const char *key, JflowFunction *function)
{
	JsonbValue	buffer,
				member;
	JsonbValue *value = jflow_json_get(requests, key, &buffer);
	JsonbContainer *object;

	if (value == NULL)
		return false;

	memset(function, 0, sizeof(*function));
	if (value->type == jbvString)
		function->name = jflow_json_string(value);
	else if (jflow_json_is_object(value))
	{
		object = value->val.binary.data;
		if (getKeyJsonValueFromContainer(object, "function", 8, &member) &&
			member.type == jbvString)
			function->name = jflow_json_string(&member);
		if (getKeyJsonValueFromContainer(object, "finish", 6, &member) &&
			member.type == jbvString)
			function->finish = jflow_json_string(&member);
		if (getKeyJsonValueFromContainer(object, "idempotent", 10, &member) &&
			member.type == jbvBool)
			function->idempotent = member.val.boolean;
		if (getKeyJsonValueFromContainer(object, "writes", 6, &member) &&
			member.type == jbvBool)
		{
			function->writes = member.val.boolean;
			function->reads_only = !member.val.boolean;
		}
	}
	return true;
}

/*
 * The function that an executor runs for an endpoint: its own entry for the
 * endpoint, the class's, its own "*", the class's "*", or the function that
 * "uses" names.  A result without a name passes documents through unchanged.
 * Raises undefined_object where the class is gone.
 */
void
jflow_endpoint_function(const JflowExecutor *executor, const char *endpoint,
						JflowFunction *function)
{
	memset(function, 0, sizeof(*function));
	if (executor->class_owner && executor->class_requests == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("executor class \"%s\" of executor \"%s\" does not exist",
						executor->uses, executor->name)));
	if (request_entry(executor->requests, endpoint, function) ||
		request_entry(executor->class_requests, endpoint, function) ||
		request_entry(executor->requests, "*", function) ||
		request_entry(executor->class_requests, "*", function))
		return;
	if (executor->class_owner == NULL)
		function->name = executor->uses;
}
