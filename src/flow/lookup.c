/*
 * lookup.c
 *		Which flow is meant: by name, or the only one that a role may use.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "flow/flow.h"
#include "settings.h"

/*
 * The flows that the current user may post to, at an endpoint or (NULL) at any.
 * Those are all that hints and defaults speak of: they must not tell more than
 * the views do.  One that stands in for another is never meant by itself.
 */
static int
usable_flows(const char *endpoint, const char ***names)
{
	char	  **all;
	int			n = jflow_flow_names(&all);
	int			usable = 0;

	*names = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		JflowRights rights;

		CHECK_FOR_INTERRUPTS();
		if (jflow_rights_read(all[i], &rights) && rights.stands_for == NULL &&
			jflow_may_post(&rights, GetUserId(), endpoint))
			(*names)[usable++] = all[i];
	}
	return usable;
}

/* Raise undefined_object for a flow. */
void
jflow_suggest_flow_error(const char *name)
{
	const char **names;
	int			n = usable_flows(NULL, &names);
	const char *suggestion = jflow_suggest(name, names, n);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("flow \"%s\" does not exist", name),
			 suggestion ? errhint("Did you mean \"%s\"?", suggestion)
			 : errhint("Make one with jflow_create.")));
}

/*
 * A flow by name, pinned until the current memory context is reset.  Does not
 * check rights.  Raises undefined_object, or returns NULL if that is wanted.
 */
JflowFlow *
jflow_flow_open(const char *name, bool missing_ok)
{
	JflowFlow  *flow = jflow_flow_get(name);

	if (flow == NULL && !missing_ok)
		jflow_suggest_flow_error(name);
	return flow;
}

/* The only flow that the current user may post to, or an error. */
static const char *
only_usable_flow(const char *endpoint)
{
	const char **names;
	int			usable = usable_flows(endpoint, &names);

	if (usable == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no flow that the current user may use"),
				 errhint("Make one with jflow_create, or ask a flow's owner for jflow_grant.")));
	if (usable > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("the flow must be named, since the current user may use %d of them", usable),
				 errhint("Pass the argument \"flow\" or set jflow.flow.")));
	return names[0];
}

/*
 * The flow of a post to an endpoint: the one named, else that of jflow.flow, else
 * the only one that the current user may use.  Checks the right to post there.
 */
JflowFlow *
jflow_flow_for_post(const char *name, const char *endpoint)
{
	JflowFlow  *flow;

	if (name == NULL && jflow_flow_name && jflow_flow_name[0] != '\0')
		name = jflow_flow_name;
	if (name == NULL)
		name = only_usable_flow(endpoint);

	flow = jflow_flow_open(name, false);
	jflow_check_may_post(flow, endpoint);
	if (jflow_roles_remember(&flow->rights.owner))
		flow = jflow_flow_open(name, false);
	return flow;
}
