/*
 * http_server.c
 *		Foreign servers of jflow_http: where a model is, and with which key.
 *
 * Who may name a host, and who holds a key, is decided by SQL/MED: USAGE on the
 * wrapper lets a role make servers, USAGE on a server lets a flow's owner use
 * one, and the key is in the user mapping of the owner or of PUBLIC.  It is
 * read at each call, so what is granted, revoked or changed holds at once.
 */
#include "postgres.h"

#include <ctype.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/reloptions.h"
#include "catalog/dependency.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"

#include "compat.h"
#include "executors/http/http.h"

#define DEFAULT_MAX_ANSWER (64 * 1024)	/* kB */
#define MAX_MAX_ANSWER (1024 * 1024 - 1)
#define MAX_KEY 16384			/* bytes */

PG_FUNCTION_INFO_V1(jflow_http_validator);

/* Providers by name, and whether each wants a key unless a server says otherwise. */
static const struct
{
	const char *name;
	bool		wants_key;
}			providers[] = {
	[HTTP_OPENAI] = {"openai", true},
	[HTTP_OLLAMA] = {"ollama", false},
	[HTTP_TEI] = {"tei", false},
	[HTTP_COHERE] = {"cohere", true},
	[HTTP_JFLOW] = {"jflow", false},
	[HTTP_TEMPLATE] = {"template", false},
};

static const char *const server_options[] = {
	"authentication", "ca_file", "key_header", "max_answer", "provider", "proxy", "request",
	"response", "url"
};
static const char *const mapping_options[] = {"api_key", "api_key_file"};

static void JFLOW_NORETURN
wrong_value(const char *name, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("invalid value of option \"%s\"", name),
			 errdetail("%s", detail)));
}

/*
 * Raise what is wrong with an url.  It is looked at here and not by libcurl, which
 * may not be installed, and strictly: what two readers could take for different
 * hosts is none.
 */
static void
check_url(const char *option, const char *url, bool is_proxy)
{
	static const char *const schemes[] = {"https://", "http://", "socks5h://", NULL};
	const char *host = NULL;
	size_t		len;

	for (int i = 0; schemes[i] && host == NULL; i++)
		if (pg_strncasecmp(url, schemes[i], strlen(schemes[i])) == 0 && (is_proxy || i < 2))
			host = url + strlen(schemes[i]);
	if (host == NULL)
		wrong_value(option, is_proxy ? "It must begin with http://, https:// or socks5h://." :
					"It must begin with http:// or https://.");
	for (const char *p = url; *p; p++)
		if ((unsigned char) *p <= ' ' || *p == '\\' || *p == 0x7F)
			wrong_value(option, "It must have no white space, control character or backslash.");
	len = strcspn(host, "/?#");
	if (len == 0 || *host == ':')
		wrong_value(option, "It must name a host.");
	if (memchr(host, '@', len))
		wrong_value(option, "It must have no user and no password: a key is an option of a user mapping.");
	if (strchr(host, '#'))
		wrong_value(option, "It must have no fragment.");
}

/* An HTTP token, as header names are; nothing that libcurl or we send ourselves. */
static void
check_header(const char *option, const char *name)
{
	static const char *const ours[] = {"host", "content-type", "content-length", "accept",
	"transfer-encoding", "expect", "connection"};

	if (*name == '\0' || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != strlen(name))
		wrong_value(option, "It must be the name of a header.");
	for (int i = 0; i < lengthof(ours); i++)
		if (pg_strcasecmp(name, ours[i]) == 0)
			wrong_value(option, "This header has another use.");
}

static HttpProvider
provider_of(const char *name)
{
	for (int i = 0; i < lengthof(providers); i++)
		if (strcmp(providers[i].name, name) == 0)
			return i;
	wrong_value("provider", "It must be openai, ollama, tei, cohere, jflow or template.");
}

static int
max_answer_of(const char *value)
{
	char	   *end;
	long		kb;

	errno = 0;
	kb = strtol(value, &end, 10);
	if (errno || end == value || *end != '\0' || kb < 1 || kb > MAX_MAX_ANSWER)
		wrong_value("max_answer", psprintf("It must be a number of kilobytes from 1 to %d.",
										   MAX_MAX_ANSWER));
	return (int) kb;
}

static bool
authentication_of(const char *value)
{
	if (strcmp(value, "none") != 0 && strcmp(value, "key") != 0)
		wrong_value("authentication", "It must be key or none.");
	return strcmp(value, "key") == 0;
}

static void
check_request(const char *value)
{
	(void) DirectFunctionCall1(jsonb_in, CStringGetDatum(value));
	if (strstr(value, "\"$texts\"") == NULL && strstr(value, "\"$text\"") == NULL)
		wrong_value("request", "It must be JSON with the string \"$texts\" or \"$text\" as a value.");
}

/* The name of a file, which the server reads with its own rights. */
static void
check_file(const char *option, const char *name)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("only a superuser can set option \"%s\"", option),
				 errdetail("It names a file that the server reads with its own rights.")));
	if (!is_absolute_path(name))
		wrong_value(option, "It must be an absolute path.");
}

static void
check_server_option(const char *name, const char *value)
{
	if (strcmp(name, "url") == 0)
		check_url(name, value, false);
	else if (strcmp(name, "proxy") == 0)
		check_url(name, value, true);
	else if (strcmp(name, "provider") == 0)
		(void) provider_of(value);
	else if (strcmp(name, "max_answer") == 0)
		(void) max_answer_of(value);
	else if (strcmp(name, "authentication") == 0)
		(void) authentication_of(value);
	else if (strcmp(name, "key_header") == 0)
		check_header(name, value);
	else if (strcmp(name, "request") == 0)
		check_request(value);
	else if (strcmp(name, "response") == 0 && !http_json_path_check(value))
		wrong_value(name, "It must be a path such as $.data[*].embedding.");
	else if (strcmp(name, "ca_file") == 0)
		check_file(name, value);
}

/* A key goes into a header: one line of what can stand there. */
static bool
is_key(const char *key)
{
	for (const char *p = key; *p; p++)
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F)
			return false;
	return *key != '\0' && strlen(key) <= MAX_KEY;
}

static void
check_mapping_option(const char *name, const char *value)
{
	if (strcmp(name, "api_key") == 0 && !is_key(value))
		wrong_value(name, "It must be printable ASCII characters without a space.");
	if (strcmp(name, "api_key_file") == 0)
		check_file(name, value);
}

static bool
is_one_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void JFLOW_NORETURN
unknown_option(const char *name, const char *const *names, int n)
{
	const char *suggestion = jflow_suggest(name, names, n);

	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\"", name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion) :
			 n == 0 ? errhint("There are no valid options in this context.") : 0));
}

static const char *
option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

/* Raise what is wrong with a server as a whole. */
static void
check_server(List *options)
{
	const char *provider = option(options, "provider");

	if (option(options, "url") == NULL || provider == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"%s\" is missing", provider ? "url" : "provider"),
				 errhint("A server of jflow_http has the options url and provider.")));
	if (provider_of(provider) == HTTP_TEMPLATE &&
		(option(options, "request") == NULL || option(options, "response") == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("provider \"template\" needs the options request and response")));
}

/*
 * jflow.http_validator(options text[], catalog oid) RETURNS void: raises what is
 * wrong with the options of a wrapper, server or user mapping.  Values are not in
 * its errors, since one of them may be a key.
 */
Datum
jflow_http_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	const char *const *names = NULL;
	int			nnames = 0;
	ListCell   *cell;

	if (catalog == ForeignServerRelationId)
	{
		names = server_options;
		nnames = lengthof(server_options);
	}
	else if (catalog == UserMappingRelationId)
	{
		names = mapping_options;
		nnames = lengthof(mapping_options);
	}
	foreach(cell, options)
	{
		DefElem    *def = lfirst(cell);

		if (!is_one_of(def->defname, names, nnames))
			unknown_option(def->defname, names, nnames);
		if (catalog == ForeignServerRelationId)
			check_server_option(def->defname, defGetString(def));
		else
			check_mapping_option(def->defname, defGetString(def));
	}
	if (catalog == ForeignServerRelationId)
		check_server(options);
	if (catalog == UserMappingRelationId && list_length(options) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("options \"api_key\" and \"api_key_file\" exclude each other")));
	PG_RETURN_VOID();
}

/* Options of the mapping of a role, or of PUBLIC; NIL if there is none. */
static List *
mapping_options_of(Oid role, Oid server)
{
	HeapTuple	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(role),
										ObjectIdGetDatum(server));
	List	   *options;
	Datum		value;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid),
								ObjectIdGetDatum(server));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	value = SysCacheGetAttr(USERMAPPINGUSERSERVER, tuple, Anum_pg_user_mapping_umoptions, &isnull);
	options = isnull ? NIL : untransformRelOptions(value);
	ReleaseSysCache(tuple);
	return options;
}

/* The key in a file: its first line. */
static char *
read_key(const char *path, const char *server)
{
	FILE	   *file = AllocateFile(path, PG_BINARY_R);
	char	   *key = palloc(MAX_KEY + 2);
	size_t		len;

	if (file == NULL)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read the key for server \"%s\": %m", server)));
	len = fread(key, 1, MAX_KEY + 1, file);
	FreeFile(file);
	key[len] = '\0';
	key[strcspn(key, "\r\n")] = '\0';
	if (!is_key(key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("the key file for server \"%s\" holds no key", server)));
	return key;
}

static void
find_key(HttpServer *server, List *options, Oid role)
{
	List	   *mapping = mapping_options_of(role, server->id);
	const char *key = option(mapping, "api_key");
	const char *file = option(mapping, "api_key_file");
	const char *authentication = option(options, "authentication");
	bool		wants_key = authentication ? authentication_of(authentication) :
		providers[server->provider].wants_key;

	if (authentication && !wants_key)
		return;
	if (key)
		server->key = pstrdup(key);
	else if (file)
		server->key = read_key(file, server->name);
	else if (wants_key)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("there is no key of role \"%s\" for server \"%s\"",
						GetUserNameFromId(role, false), server->name),
				 errhint("Create a user mapping with the option api_key, or set the server's option authentication to none.")));
}

static char *
copy(const char *string)
{
	return string ? pstrdup(string) : NULL;
}

static char *
copy_utf8(const char *string)
{
	Size		len = string ? strlen(string) : 0;

	return string ? pstrdup(jflow_to_utf8(string, &len)) : NULL;
}

/*
 * A server as a role may use it, in the current memory context, with the key of
 * the role.  Raises undefined_object, wrong_object_type, insufficient_privilege
 * and, where a key is missing, invalid_authorization_specification.
 */
HttpServer *
http_server_read(const char *name, Oid role)
{
	ForeignServer *foreign = GetForeignServerByName(name, true);
	HttpServer *server = palloc0(sizeof(HttpServer));
	const char *max_answer;

	if (foreign == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name)));
	jflow_check_may_use_server(foreign, role);
	if (getExtensionOfObject(ForeignDataWrapperRelationId, foreign->fdwid) != jflow_types()->extension)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not one of foreign data wrapper %s", name, HTTP_WRAPPER)));
	check_server(foreign->options);
	server->id = foreign->serverid;
	server->name = pstrdup(name);
	server->url = copy(option(foreign->options, "url"));
	server->provider = provider_of(option(foreign->options, "provider"));
	server->request = copy_utf8(option(foreign->options, "request"));
	server->response = copy_utf8(option(foreign->options, "response"));
	server->proxy = copy(option(foreign->options, "proxy"));
	server->ca_file = copy(option(foreign->options, "ca_file"));
	server->key_header = copy(option(foreign->options, "key_header"));
	max_answer = option(foreign->options, "max_answer");
	server->max_answer = 1024 * (size_t) (max_answer ? max_answer_of(max_answer) : DEFAULT_MAX_ANSWER);
	find_key(server, foreign->options, role);
	return server;
}
