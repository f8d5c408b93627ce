/*-------------------------------------------------------------------------
 *
 * select_template.h
 *	  A template of functions that move the first elements of an array to its front.
 *
 * As with lib/sort_template.h of PostgreSQL, the file that includes this says what
 * is made, and all of it is undefined again at the end:
 *
 *	 SELECT_NAME			the function's name
 *	 SELECT_ELEMENT_TYPE	what the array is of
 *	 SELECT_BEFORE(a, b)	is *a strictly before *b?
 *
 * static void SELECT_NAME(SELECT_ELEMENT_TYPE * elements, int count, int n) moves
 * the n + 1 first of count elements to the front, in any order, and the n-th, if
 * there is one, to its place (C. A. R. Hoare, "Algorithm 65: Find", 1961).
 *
 *-------------------------------------------------------------------------
 */

static void
SELECT_NAME(SELECT_ELEMENT_TYPE * elements, int count, int n)
{
	int			left = 0;
	int			right = count - 1;

	while (left < right)
	{
		SELECT_ELEMENT_TYPE pivot = elements[(left + right) / 2];
		int			i = left;
		int			j = right;

		while (i <= j)
		{
			while (SELECT_BEFORE(&elements[i], &pivot))
				i++;
			while (SELECT_BEFORE(&pivot, &elements[j]))
				j--;
			if (i <= j)
			{
				SELECT_ELEMENT_TYPE swap = elements[i];

				elements[i++] = elements[j];
				elements[j--] = swap;
			}
		}
		if (n <= j)
			right = j;
		else if (n >= i)
			left = i;
		else
			break;
	}
}

#undef SELECT_NAME
#undef SELECT_ELEMENT_TYPE
#undef SELECT_BEFORE
