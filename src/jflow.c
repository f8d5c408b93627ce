/*
 * jflow.c
 *		Module entry point.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "settings.h"

PG_MODULE_MAGIC;

#if PG_VERSION_NUM < 160000
extern PGDLLEXPORT void _PG_init(void);
#endif

PG_FUNCTION_INFO_V1(jflow_version);

void
_PG_init(void)
{
	jflow_define_settings();
}

/*
 * jflow_version() RETURNS text: version of the loaded library.
 */
Datum
jflow_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text("jflow " JFLOW_VERSION));
}
