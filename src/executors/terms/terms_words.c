/*
 * terms_words.c
 *		Cutting a text into words and terms: by a text search configuration, or
 *		exactly as scikit-learn does.
 *
 * There, a word is a maximal run of at least two word characters of the text in lower
 * case, where word characters and lower case are those of Python's Unicode
 * strings.  Terms are sequences of ngram_min to ngram_max words that are not
 * stop words, joined by a space.
 *
 * Nearly all text is ASCII, so bytes below 0x80 go through one table and the
 * rest through the Unicode tables.  Terms are UTF-8 whatever the database's
 * encoding, so that a model means the same after a restore into another.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "tsearch/ts_utils.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "executors/terms/terms.h"
#include "executors/terms/unicode_tables.h"

#define CAPITAL_SIGMA 0x3A3
#define SMALL_SIGMA 0x3C3
#define FINAL_SIGMA 0x3C2
#define CAPITAL_I_WITH_DOT 0x130
#define COMBINING_DOT 0x307

/* How many words go by between two looks for a cancel. */
#define INTERRUPT_WORDS 65536

static bool
in_ranges(uint32 c, const uint32 (*ranges)[2], int nranges)
{
	int			low = 0,
				high = nranges - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (c < ranges[middle][0])
			high = middle - 1;
		else if (c > ranges[middle][1])
			low = middle + 1;
		else
			return true;
	}
	return false;
}

static bool
is_ascii_letter(uint32 c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool
is_word_char(uint32 c)
{
	if (c < 0x80)
		return is_ascii_letter(c) || (c >= '0' && c <= '9') || c == '_';
	return in_ranges(c, word_ranges, lengthof(word_ranges));
}

static uint32
to_lower(uint32 c)
{
	int			low = 0,
				high = lengthof(lower_pairs) - 1;

	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
	while (low <= high)
	{
		int			middle = (low + high) / 2;

		if (c < lower_pairs[middle][0])
			high = middle - 1;
		else if (c > lower_pairs[middle][0])
			low = middle + 1;
		else
			return lower_pairs[middle][1];
	}
	return c;
}

/*
 * Decode one character.  Bytes that are no UTF-8 (a SQL_ASCII database can hold
 * any) come out as the replacement character, which is no word character.
 */
static uint32
decode(const unsigned char *p, const unsigned char *end, int *len)
{
	int			n = pg_utf_mblen(p);

	if (n > end - p || !pg_utf8_islegal(p, n))
	{
		*len = 1;
		return 0xFFFD;
	}
	*len = n;
	return utf8_to_unicode(p);
}

/* The character that ends before p, for the rule of the final sigma. */
static const unsigned char *
previous_char(const unsigned char *start, const unsigned char *p)
{
	do
	{
		p--;
	} while (p > start && (*p & 0xC0) == 0x80);
	return p;
}

/* How a character counts for the case of a sigma beside it. */
static bool
is_ignorable(uint32 c)
{
	if (c < 0x80)
		return c == '\'' || c == '.' || c == ':' || c == '^' || c == '`';
	return in_ranges(c, ignorable_ranges, lengthof(ignorable_ranges));
}

static bool
is_cased(uint32 c)
{
	return c < 0x80 ? is_ascii_letter(c) : in_ranges(c, cased_ranges, lengthof(cased_ranges));
}

/*
 * A capital sigma becomes a final one behind a cased character and before none,
 * characters without case being looked through (Unicode, SpecialCasing).
 */
static uint32
lower_sigma(const unsigned char *start, const unsigned char *p, const unsigned char *end)
{
	const unsigned char *q = p;
	int			len;
	uint32		c = 0;
	bool		found = false;

	while (q > start && !found)
	{
		q = previous_char(start, q);
		c = decode(q, end, &len);
		found = !is_ignorable(c);
	}
	if (!found || !is_cased(c))
		return SMALL_SIGMA;

	found = false;
	for (q = p + 2; q < end && !found; q += len)
	{
		c = decode(q, end, &len);
		found = !is_ignorable(c);
	}
	return found && is_cased(c) ? SMALL_SIGMA : FINAL_SIGMA;
}

/* Of ASCII: 0 for no word character, else its lower case. */
static unsigned char ascii_lower[128];
static unsigned char ascii_word[128];

/* Make ready for cutting texts, in the current memory context. */
void
term_words_init(TermWords *words, const TermOptions *options)
{
	memset(words, 0, sizeof(*words));
	words->options = options;
	words->max_bytes = 16384;
	words->bytes = palloc(words->max_bytes);
	words->max_words = 2048;
	words->starts = palloc(sizeof(uint64) * words->max_words);
	words->ends = palloc(sizeof(uint64) * words->max_words);
	if (OidIsValid(options->text_search))
		words->scratch = AllocSetContextCreate(CurrentMemoryContext, "jflow lexemes",
											   ALLOCSET_DEFAULT_SIZES);
	if (ascii_word['a'] == 0)
	{
		for (int c = 0; c < 128; c++)
		{
			if (!is_word_char(c))
				continue;
			ascii_word[c] = c;
			ascii_lower[c] = to_lower(c);
		}
	}
}

/* Room for so many bytes of words. */
static void
reserve_bytes(TermWords *words, uint64 size)
{
	MemoryContext context = GetMemoryChunkContext(words->bytes);

	if (words->max_bytes >= size)
		return;
	pfree(words->bytes);
	words->max_bytes = size;
	words->bytes = MemoryContextAllocHuge(context, size);
}

/* Add a word, whose bytes are in place; returns where the next one goes. */
static inline uint64
add_word(TermWords *words, uint64 start, uint64 end)
{
	if (words->nwords == words->max_words)
	{
		words->max_words *= 2;
		words->starts = repalloc_huge(words->starts, sizeof(uint64) * words->max_words);
		words->ends = repalloc_huge(words->ends, sizeof(uint64) * words->max_words);
	}
	words->starts[words->nwords] = start;
	words->ends[words->nwords] = end;
	words->nwords++;
	words->bytes[end] = ' ';
	if (words->nwords % INTERRUPT_WORDS == 0)
		CHECK_FOR_INTERRUPTS();
	return end + 1;
}

/* Take the run of word characters that ended as a word, if it is one. */
static inline uint64
end_word(TermWords *words, uint64 start, uint64 end, int nchars)
{
	const TermOptions *options = words->options;

	if (nchars < 2)
		return start;
	if (options->has_stop_words)
	{
		uint32		len = end - start;

		if (term_table_find(&options->stop_words, words->bytes + start, len,
							term_hash(words->bytes + start, len)) >= 0)
			return start;
	}
	return add_word(words, start, end);
}

static inline char *
put_char(char *to, uint32 c)
{
	unicode_to_utf8(c, (unsigned char *) to);
	return to + pg_utf_mblen((unsigned char *) to);
}

/* Cut a text in UTF-8 into our own words. */
static void
cut_plainly(TermWords *words, const char *text, uint64 len)
{
	const unsigned char *start = (const unsigned char *) text;
	const unsigned char *p = start;
	const unsigned char *end = p + len;
	const bool	lowercase = words->options->lowercase;
	const unsigned char *ascii = lowercase ? ascii_lower : ascii_word;
	uint64		word = 0;		/* where the current run begins */
	char	   *to;
	int			nchars = 0;

	/* Lower case needs at most 3 bytes for 2; a word ends with a space. */
	reserve_bytes(words, len * 2 + 16);
	to = words->bytes;

	while (p < end)
	{
		uint32		c;
		int			clen;

		if (*p < 0x80)
		{
			if ((*to = ascii[*p]) != 0)
			{
				to++;
				nchars++;
			}
			else if (nchars > 0)
			{
				word = end_word(words, word, to - words->bytes, nchars);
				to = words->bytes + word;
				nchars = 0;
			}
			p++;
			continue;
		}

		c = decode(p, end, &clen);
		if (lowercase && c == CAPITAL_I_WITH_DOT)
		{
			/* becomes an i and a combining dot, which ends a word */
			*to++ = 'i';
			nchars++;
			c = COMBINING_DOT;
		}
		else if (lowercase)
			c = c == CAPITAL_SIGMA ? lower_sigma(start, p, end) : to_lower(c);

		if (is_word_char(c))
		{
			to = put_char(to, c);
			nchars++;
		}
		else if (nchars > 0)
		{
			word = end_word(words, word, to - words->bytes, nchars);
			to = words->bytes + word;
			nchars = 0;
		}
		p += clen;
	}
	if (nchars > 0)
		(void) end_word(words, word, to - words->bytes, nchars);
}

/*
 * Cut a text of the database's encoding into the lexemes of a text search
 * configuration: each that a dictionary gives for a word is one.
 */
static void
cut_by_configuration(TermWords *words, char *text, int len)
{
	ParsedText	parsed = {0};
	uint64		size = 16;
	uint64		at = 0;
	MemoryContext old = MemoryContextSwitchTo(words->scratch);

	parsed.lenwords = Max(len / 6, 2);
	parsed.words = palloc_extended(sizeof(ParsedWord) * parsed.lenwords, MCXT_ALLOC_HUGE);
	parsetext(words->options->text_search, &parsed, text, len);
	for (int i = 0; i < parsed.curwords; i++)
	{
		ParsedWord *word = &parsed.words[i];
		Size		utf8_len = word->len;
		const char *utf8 = jflow_to_utf8(word->word, &utf8_len);

		if (utf8 != word->word)
		{
			pfree(word->word);
			word->word = (char *) utf8;
		}
		word->alen = utf8_len;
		size += utf8_len + 1;
	}
	reserve_bytes(words, size);
	for (int i = 0; i < parsed.curwords; i++)
	{
		memcpy(words->bytes + at, parsed.words[i].word, parsed.words[i].alen);
		at = add_word(words, at, at + parsed.words[i].alen);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(words->scratch);
}

/*
 * Cut a text of the database's encoding into words.  The result is in the scratch
 * memory, until the next text.
 */
void
term_words_cut(TermWords *words, Datum datum)
{
	text	   *t = DatumGetTextPP(datum);
	Size		len = VARSIZE_ANY_EXHDR(t);

	words->nwords = 0;
	if (OidIsValid(words->options->text_search))
		cut_by_configuration(words, VARDATA_ANY(t), len);
	else
	{
		const char *utf8 = jflow_to_utf8(VARDATA_ANY(t), &len);

		cut_plainly(words, utf8, len);
		if (utf8 != VARDATA_ANY(t))
			pfree((char *) utf8);
	}
	if ((Pointer) t != DatumGetPointer(datum))
		pfree(t);
}

/* Call a function for each term of the text that was cut last. */
void
term_words_terms(const TermWords *words, TermFunction function, void *arg)
{
	for (int n = words->options->ngram_min; n <= words->options->ngram_max; n++)
	{
		for (uint64 i = 0; i + n <= words->nwords; i++)
		{
			const char *term = words->bytes + words->starts[i];
			uint32		len = words->ends[i + n - 1] - words->starts[i];

			function(arg, term, len, term_hash(term, len));
			if (i % INTERRUPT_WORDS == 0)
				CHECK_FOR_INTERRUPTS();
		}
	}
}

/*
 * A term's hash, the same in all processes and on all machines of one byte order.
 */
uint32
term_hash(const char *term, uint32 len)
{
	return hash_bytes((const unsigned char *) term, len);
}

/* An empty table with room for so many terms, in the current memory context. */
void
term_table_init(TermTable *table, uint32 capacity)
{
	uint32		nbuckets = pg_nextpower2_32(Max(capacity, 64)) * 2;

	memset(table, 0, sizeof(*table));
	table->max_terms = Max(capacity, 64);
	table->offsets = palloc_extended(sizeof(uint64) * (table->max_terms + 1), MCXT_ALLOC_HUGE);
	table->offsets[0] = 0;
	table->hashes = palloc_extended(sizeof(uint32) * table->max_terms, MCXT_ALLOC_HUGE);
	table->max_bytes = (uint64) table->max_terms * 8;
	table->bytes = palloc_extended(table->max_bytes, MCXT_ALLOC_HUGE);
	table->buckets = palloc_extended(sizeof(uint32) * nbuckets, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table->mask = nbuckets - 1;
}

/* The bucket that has the term, or the empty one where it would go. */
static inline uint32
find_bucket(const TermTable *table, const char *term, uint32 len, uint32 hash)
{
	uint32		bucket = hash & table->mask;
	uint32		entry;

	while ((entry = table->buckets[bucket]) != 0)
	{
		if (table->hashes[entry - 1] == hash && term_length(table, entry - 1) == len &&
			memcmp(term_bytes(table, entry - 1), term, len) == 0)
			break;
		bucket = (bucket + 1) & table->mask;
	}
	return bucket;
}

/* The number of a term, or -1. */
int64
term_table_find(const TermTable *table, const char *term, uint32 len, uint32 hash)
{
	return (int64) table->buckets[find_bucket(table, term, len, hash)] - 1;
}

static void
enlarge(TermTable *table)
{
	uint32		nbuckets = (table->mask + 1) * 2;

	table->max_terms *= 2;
	table->offsets = repalloc_huge(table->offsets, sizeof(uint64) * (table->max_terms + 1));
	table->hashes = repalloc_huge(table->hashes, sizeof(uint32) * table->max_terms);
	pfree(table->buckets);
	table->buckets = MemoryContextAllocExtended(GetMemoryChunkContext(table->offsets),
												sizeof(uint32) * nbuckets,
												MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	table->mask = nbuckets - 1;
	for (uint32 i = 0; i < table->nterms; i++)
	{
		uint32		bucket = table->hashes[i] & table->mask;

		while (table->buckets[bucket] != 0)
			bucket = (bucket + 1) & table->mask;
		table->buckets[bucket] = i + 1;
	}
}

/* The number of a term, which is added if it is new. */
uint32
term_table_add(TermTable *table, const char *term, uint32 len, uint32 hash, bool *found)
{
	uint32		bucket = find_bucket(table, term, len, hash);
	uint64		offset;

	*found = table->buckets[bucket] != 0;
	if (*found)
		return table->buckets[bucket] - 1;

	if (table->nterms == table->max_terms)
	{
		if (table->nterms >= PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many distinct terms")));
		enlarge(table);
		bucket = find_bucket(table, term, len, hash);
	}
	offset = table->offsets[table->nterms];
	if (offset + len > table->max_bytes)
	{
		table->max_bytes = Max(table->max_bytes * 2, offset + len);
		table->bytes = repalloc_huge(table->bytes, table->max_bytes);
	}
	memcpy(table->bytes + offset, term, len);
	table->offsets[table->nterms + 1] = offset + len;
	table->hashes[table->nterms] = hash;
	table->buckets[bucket] = ++table->nterms;
	return table->nterms - 1;
}
