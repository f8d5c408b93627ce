/*
 * suggest.c
 *		"Did you mean ...": the nearest of a list of names.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "doc/doc.h"

/* Is a word another one with two neighbouring characters exchanged? */
static bool
is_exchanged(const char *word, const char *other, int len)
{
	int			i = 0;

	while (i < len && word[i] == other[i])
		i++;
	return i + 1 < len && word[i] == other[i + 1] && word[i + 1] == other[i] &&
		strcmp(word + i + 2, other + i + 2) == 0;
}

/*
 * The candidate nearest to a misspelt word, or NULL if none is near: at most a
 * third of the word may differ, or two neighbours be exchanged.  Long words are not compared, since the
 * server's edit distance refuses them.
 */
const char *
jflow_suggest(const char *word, const char *const *candidates, int ncandidates)
{
	int			len = strlen(word);
	int			best_distance = len / 3 + 1;
	const char *best = NULL;

	if (len == 0 || len > 100)
		return NULL;

	for (int i = 0; i < ncandidates; i++)
	{
		int			candidate_len = strlen(candidates[i]);
		int			distance;

		CHECK_FOR_INTERRUPTS();
		if (candidate_len > 100)
			continue;
		if (pg_strcasecmp(word, candidates[i]) == 0)
			return candidates[i];
		if (candidate_len == len && is_exchanged(word, candidates[i], len))
			distance = 1;
		else
			distance = varstr_levenshtein_less_equal(word, len,
													 candidates[i], candidate_len,
													 1, 1, 1, best_distance, true);
		if (distance < best_distance)
		{
			best_distance = distance;
			best = candidates[i];
		}
	}
	return best;
}
