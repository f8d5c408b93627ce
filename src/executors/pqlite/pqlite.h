/*
 * pqlite.h
 *		PQLiteIndexer: documents stored in the partitions of a table.
 *
 * Files, each of which calls only those before it:
 * pqlite_options.c reads uses_with and parameters; pqlite_sql.c has names as SQL
 * and those that we choose; pqlite_value.c turns tags into column values;
 * pqlite_shards.c keeps jflow.shard; pqlite_columns.c knows what the columns of a
 * table are for; pqlite_id.c compares ids; pqlite_lock.c orders racing posts;
 * pqlite_layout.c reads what a table looks like; pqlite_place.c says where a table
 * of ours is, and pqlite_create.c makes, adopts and drops it; pqlite_store.c finds
 * the store of an executor and keeps it per backend; pqlite_row.c turns documents
 * into rows and back; pqlite_filter.c turns filters into conditions; pqlite_fields.c
 * tells of fields that no document has;
 * pqlite_statement.c has the parts of statements that write, pqlite_existing.c those
 * for a user's table, and pqlite_foreign.c what those of its rows need that are on
 * other servers; pqlite_index.c makes indexes, and pqlite_reindex.c
 * others in their place; pqlite_write.c, pqlite_search.c
 * and pqlite_read.c have the endpoints; pqlite_reshard.c moves rows when the number
 * of shards changes; pqlite_exchange.c puts another store in place of one;
 * pqlite_class.c tells the runtime of all that.
 *
 * docs/pqlite.md says why racing posts and moving rows are right.
 */
#ifndef JFLOW_PQLITE_H
#define JFLOW_PQLITE_H

#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/numeric.h"

#include "doc/doc.h"
#include "doc/highlight.h"
#include "flow/context.h"
#include "flow/filter.h"

#define PQLITE_CLASS "PQLiteIndexer"
#define PQLITE_DEFAULT_LIMIT 10

/* pqlite_class.c */
extern PGDLLIMPORT const JflowClass pqlite_class;
#define PQLITE_MAX_ID 2000		/* bytes; an index entry of a page holds them */
#define PQLITE_MAX_COLUMNS 31	/* an index has 32 columns, one is the vector */

typedef enum PqliteMetric
{
	PQLITE_COSINE,
	PQLITE_L2,
	PQLITE_IP
} PqliteMetric;

/*
 * What becomes of a document without an embedding, or with a zero vector under
 * the metric cosine.
 */
typedef enum PqliteOnMissing
{
	MISSING_ERROR,
	MISSING_SKIP,				/* it is not stored */
	MISSING_STORE				/* it is, and no search finds it */
} PqliteOnMissing;

/* Which index a store of ours has. */
typedef enum PqliteIndexKind
{
	PQLITE_NO_INDEX,			/* searches look at all rows */
	PQLITE_PQ,
	PQLITE_INVERTED,			/* exact; of sparse vectors under cosine or ip */
	PQLITE_DEFAULT_INDEX		/* as option only: the one that fits the field */
} PqliteIndexKind;

/* Which columns of an existing table are written. */
typedef enum PqliteWrites
{
	WRITES_ALL,					/* those that a document names */
	WRITES_EMBEDDING			/* of these the embedding alone */
} PqliteWrites;

/* What uses_with says; strings are NULL where it says nothing. */
typedef struct PqliteOptions
{
	int			dim;			/* 0: not given */
	PqliteOnMissing on_missing;
	PqliteWrites writes;
	PqliteMetric metric;
	char	   *field;			/* an attribute, or a column of "table" */
	int			ncolumns;
	char	  **column_names;
	char	  **column_types;
	int			limit;
	bool		include_text;
	bool		include_uri;
	bool		include_tags;
	StringInfo	index_options;	/* "name = value, ..." for WITH, or NULL */
	bool		has_codebook;
	PqliteIndexKind index;

	/* an existing table: its name and the columns for attributes */
	char	   *table;
	char	   *id;
	char	   *text;
	char	   *uri;
	char	   *tags;
} PqliteOptions;

/* Parameters of /search and /filter. */
typedef struct PqliteParameters
{
	int			limit;			/* -1: all */
	JflowFilter *filter;
	int			probes;			/* -1: not given */
	double		recall;			/* -1: not given */
	int			queries;		/* to measure the recall by */
	int			writes;			/* a PqliteWrites; -1: not given */
	int			offset;			/* matches, or documents, to leave out */
	double		max_distance;	/* of a match; infinity: not given */
	bool		grouped;		/* of a parent's chunks the best alone */
	JflowHighlight highlight;
} PqliteParameters;

/* pqlite_options.c */
extern PqliteOptions *pqlite_options_read(Jsonb *uses_with);
extern void pqlite_parameters_read(Jsonb *parameters, int default_limit, PqliteParameters *result);
extern const char *const pqlite_on_missing_names[3];
extern const char *pqlite_metric_name(PqliteMetric metric);
extern bool pqlite_options_sparse(const PqliteOptions *options);

/* How values of a type are read from JSON and compared. */
typedef enum PqliteKind
{
	KIND_BOOL,
	KIND_INTEGER,				/* int2, int4, int8, oid */
	KIND_FLOAT,					/* float4, float8 */
	KIND_NUMERIC,
	KIND_TEXT,					/* text, varchar; compared by bytes */
	KIND_CHAR,					/* "char": one byte */
	KIND_PARSED					/* date, time, timestamp(tz), uuid: JSON
								 * strings */
} PqliteKind;

typedef struct PqliteColumn
{
	char	   *name;
	char	   *quoted;
	int			attr;			/* JflowDocAttr, or -1: a key of tags */
	Oid			type;
	int32		typmod;
	PqliteKind	kind;			/* where attr is -1 */
	bool		generated;		/* the server alone gives it values */
	bool		not_null;
	Oid			array_type;		/* of what is sent: type, or the vector type */
	Oid			sent_type;
	int16		sent_len;
	bool		sent_byval;
	char		sent_align;
	uint32		type_hash;		/* by which the type's changes are told */
	uint32		sent_type_hash;
} PqliteColumn;

typedef struct PqliteLeaf
{
	int			shard;
	Oid			relid;
	char	   *name;			/* qualified and quoted */
	bool		wanted;			/* not about to be dropped */
	bool		foreign;		/* it, or a partition of it, is on another
								 * server */
	List	   *parts;			/* OIDs, where it is partitioned itself */
	Oid			index;			/* a usable one, or InvalidOid */
	bool		exact;			/* it is inverted */
	Oid			made;			/* the one that we have made, or InvalidOid */
	SPIPlanPtr	search;			/* without a filter; one of the store's plans */
	int			search_limit;
	bool		search_planned; /* it has been executed */
} PqliteLeaf;

typedef struct PqlitePlan
{
	uint32		hash;
	char	   *sql;
	SPIPlanPtr	plan;
} PqlitePlan;

/* Where an executor's documents are. */
typedef struct PqliteStore
{
	char	   *flow;
	char	   *executor;
	char	   *workspace;
	Oid			owner;			/* the flow's */
	Jsonb	   *uses_with;		/* what it was opened with */
	const PqliteOptions *options;

	bool		own;			/* we made the table */
	bool		partitioned;
	bool		forces_plans;	/* that hold for any parameters */
	Oid			relid;			/* the parent, or the plain table */
	const char *schema;
	const char *table;
	char	   *name;			/* qualified and quoted */
	char	   *what;			/* for messages: 'executor "x" of flow "f"' */
	PqliteLeaf *leaves;			/* by number */
	int			nleaves;
	int			nwanted;
	bool		moving;			/* a leaf is not live */
	int64		trained_pages;	/* when it was indexed; 0: it is not */
	int64		count_in;		/* documents until rows are counted */
	bool		due;			/* a mover is about to make indexes */

	PqliteColumn *columns;
	int			ncolumns;
	int			id;				/* numbers of columns */
	int			vector;
	int			dim;			/* 0: any */
	bool		sparse;			/* documents give sparse_embedding */
	char	   *distance;		/* operator, qualified */
	char	   *same_id;		/* operator, qualified */
	struct TypeCacheEntry *id_type; /* compares and hashes ids; NULL: their
									 * bytes do */
	Oid			id_collation;
	char	   *query_type;		/* type of a query vector, qualified */

	int			shards;			/* of the executor, when it was opened */
	bool		claimed;		/* an existing table: ours to write to */
	struct PqlitePlan *plans;
	int			nplans;
	int			plans_size;
	char	  **known_fields;	/* that a document was seen to have */
	int			nknown_fields;
	MemoryContext context;
	int			refcount;
	bool		forgotten;		/* not in the cache any more */
	bool		valid;
} PqliteStore;

/* pqlite_sql.c */
extern char *pqlite_quote_type(Oid type, int32 typmod);
extern char *pqlite_relation_name(Oid relid);
extern void pqlite_run(const char *sql);
extern char *pqlite_default_workspace(Oid role);
extern char *pqlite_table_name(const char *flow, const char *executor);
extern char *pqlite_leaf_name(const char *table, int shard);
extern char *pqlite_codebook_name(const char *flow, const char *executor);

/* pqlite_store.c */
extern bool pqlite_does_all(const JflowContext *context);
extern PqliteStore *pqlite_store_for_read(const JflowContext *context);
extern PqliteStore *pqlite_store_find(const JflowFlow *flow, const JflowExecutor *executor);
extern PqliteStore *pqlite_store_for_write(const JflowContext *context, const JflowDocs *docs,
										   bool create);
extern SPIPlanPtr pqlite_plan(PqliteStore *store, const char *sql, int nargs, const Oid *types,
							  int cursor_options);
extern bool pqlite_as_caller(const PqliteStore *store);
extern bool pqlite_plan_is_kept(const PqliteStore *store, SPIPlanPtr plan);
extern void pqlite_force_index_scans(void);
extern void pqlite_row_security_off(void);

/* States of a leaf while rows are moved; pqlite_shards.c lists what follows what. */
typedef enum PqliteShardState
{
	SHARD_LIVE,
	SHARD_MOVING,
	SHARD_SETTLING
} PqliteShardState;

/* Rows of jflow.shard. */
typedef struct PqliteShardRow
{
	int			shard;
	const char *schema;
	const char *parent;
	const char *table;
	const char *field;
	const char *metric;
	PqliteShardState state;
	const char *position;		/* NULL: nothing looked at yet */
	int64		moved_xid;		/* 0: nothing */
	int64		trained_pages;	/* 0: never */
	bool		due;			/* its index is to be made */
} PqliteShardRow;

/* pqlite_shards.c */
extern Oid	pqlite_shard_relid; /* of jflow.shard, once looked up */

extern int	pqlite_shards_read(const char *flow, const char *executor, PqliteShardRow **rows);
extern bool pqlite_shards_need_mover(const char *flow, const char *executor);
extern void pqlite_shards_add(const char *flow, const char *executor, const PqliteShardRow *row);
extern void pqlite_shards_remove(const char *flow, const char *executor);
extern void pqlite_shards_move(const char *flow, const char *executor);
extern void pqlite_shards_advance(const char *flow, const char *executor, int shard,
								  const char *position, int64 moved_xid);
extern void pqlite_shards_again(const char *flow, const char *executor, int shard);
extern void pqlite_shards_drop(const char *flow, const char *executor, int shard);
extern void pqlite_shards_settle(const char *flow, const char *executor);
extern void pqlite_shards_trained(const char *flow, const char *executor, int shard, int64 pages);
extern void pqlite_shards_due(const char *flow, const char *executor, int shard);
extern bool pqlite_shards_other_user(const char *schema, const char *table, const char *flow,
									 const char *executor, char **other_flow,
									 char **other_executor);
extern void pqlite_shards_hand_over(const char *flow, const char *executor, int shard,
									const char *to_flow, const char *to_executor,
									const char *schema, const char *parent, const char *table);
extern void pqlite_shards_forget_users(const char *schema, const char *table);

/* pqlite_columns.c */
extern char *pqlite_equality_of(Oid type);
extern const char *pqlite_suggest_column(const PqliteStore *store, const char *name);
extern void pqlite_option_type(const PqliteOptions *options, int column, Oid *type, int32 *typmod);
extern void pqlite_check_filter_type(Oid type);
extern void pqlite_read_columns(PqliteStore *store, TupleDesc desc);
extern const PqliteColumn *pqlite_column_by_name(const PqliteStore *store, const char *name);
extern const PqliteColumn *pqlite_column_by_attr(const PqliteStore *store, int attr);
extern Datum pqlite_array_of(const PqliteColumn *column, Datum *values, bool *nulls, int n);

/* pqlite_layout.c */
extern bool pqlite_read_layout(PqliteStore *store);
extern int	pqlite_own_leaves(Relation rel, int **shards, Oid **relids);
extern void pqlite_check_trusted(const PqliteStore *store, Oid relid);

/* pqlite_place.c */
extern void pqlite_locate(const JflowContext *context, const char **schema, const char **table);
extern void pqlite_check_not_used(const char *schema, const char *table, const char *flow,
								  const char *executor, bool own);
extern void pqlite_check_place(const JflowContext *context);
extern void pqlite_prepare_schema(const char *schema, bool is_default);

/* pqlite_create.c */
extern void pqlite_create(const JflowContext *context, const PqliteOptions *options, bool sparse,
						  int dim);
extern void pqlite_add_leaves(const PqliteStore *store, int shards, bool has_mover);
extern void pqlite_check_as_made(Oid relid, const PqliteOptions *options, const char *field);
extern void pqlite_claim_table(PqliteStore *store);
extern void pqlite_drop_data(const JflowFlow *flow);

/* pqlite_lock.c */
extern void pqlite_check_may_lock(Oid relid);
extern void pqlite_check_may_write(Oid relid);
extern void pqlite_lock_parent(Oid relid);
extern void pqlite_lock_layout(Oid relid, LOCKMODE mode);
extern LOCKMODE pqlite_layout_mode(const PqliteStore *store, const JflowContext *context, int nids);
extern bool pqlite_lock_layout_if_free(Oid relid);
extern void pqlite_lock_store_name(const char *flow, const char *executor);
extern void pqlite_lock_schema_name(const char *schema);
extern void pqlite_lock_ids(const PqliteStore *store, Datum *keys, int nkeys);

/* pqlite_value.c */
extern bool pqlite_kind_of_type(Oid type, PqliteKind *kind);
extern Datum pqlite_value_from_json(const PqliteColumn *column, const JsonbValue *value,
									const char *what);
extern bool pqlite_numeric_to_int8(Numeric number, int64 *result);
extern Datum pqlite_parse(Oid type, int32 typmod, char *string);
extern bool pqlite_zero_vector(bool sparse, Datum value);
extern int	pqlite_vector_dim(bool sparse, Datum value);
extern bool pqlite_has_vector(const PqliteOptions *options, bool sparse, const JflowDoc *doc);

/* pqlite_id.c */
extern Datum pqlite_id_value(const PqliteStore *store, Datum id);
extern Datum pqlite_id_key(const PqliteStore *store, Datum id);
extern int	pqlite_compare_ids(const PqliteStore *store, Datum a, Datum b);
extern uint64 pqlite_hash_id(const PqliteStore *store, Datum key);
extern Datum pqlite_ids_array(const PqliteStore *store, const JflowDoc *const *docs, int ndocs);

/* pqlite_row.c */
typedef struct PqliteRows
{
	Oid		   *types;			/* of parameters: an array per column */
	Datum	   *values;
	int			nargs;
} PqliteRows;

extern char *pqlite_doc_name(const JflowDoc *doc);
extern bool *pqlite_check_docs(const PqliteStore *store, const JflowDocs *docs, bool need_vector);
extern Bitmapset *pqlite_all_columns(const PqliteStore *store);
extern Bitmapset *pqlite_named_columns(const PqliteStore *store, const JflowDoc *doc,
									   PqliteWrites writes);
extern void pqlite_rows_form(const PqliteStore *store, const JflowDoc *const *docs, int ndocs,
							 const Bitmapset *columns, bool with_tags, PqliteRows *rows);
extern void pqlite_append_doc_columns(const PqliteStore *store, StringInfo sql, const char *alias);
extern void pqlite_append_tags(const PqliteStore *store, StringInfo sql, const char *alias);
extern void pqlite_doc_from_row(HeapTuple tuple, TupleDesc desc, JflowDoc *doc);

/* pqlite_statement.c: parts of statements that write rows, and running them */
extern void pqlite_append_unnest(const PqliteStore *store, StringInfo sql, const Bitmapset *columns,
								 bool with_tags);
extern void pqlite_append_sent(const PqliteColumn *column, int number, StringInfo sql);
extern void pqlite_append_names(const PqliteStore *store, StringInfo sql, const Bitmapset *columns);
extern void pqlite_append_sent_columns(const PqliteStore *store, StringInfo sql,
									   const Bitmapset *columns);
extern void pqlite_append_same_id(const PqliteStore *store, StringInfo sql,
								  const Bitmapset *columns);
extern void pqlite_write_rows(PqliteStore *store, const char *sql, const PqliteRows *rows,
							  int expected);

/* pqlite_write.c */

/* A document of a request on its way into a table. */
typedef struct PqliteItem
{
	const JflowDoc *doc;
	Datum		key;			/* of its id */
	int			number;			/* in the request */
	int			round;			/* how many of the same id come before */
	bool		found;
	PqliteLeaf *leaf;
	Bitmapset  *named;			/* columns of an existing table to write */
} PqliteItem;

/* pqlite_foreign.c */
extern void pqlite_check_keys_stay(PqliteStore *store, const Bitmapset *sent, const PqliteRows *rows,
								   PqliteItem *const *items, bool merge);

/* pqlite_existing.c */
extern void pqlite_write_existing(PqliteStore *store, PqliteItem **items, int nitems,
								  bool insert);

/* pqlite_filter.c */
typedef struct PqliteCondition
{
	StringInfoData sql;
	int			nargs;
	int			max_args;
	Oid		   *types;
	Datum	   *values;
} PqliteCondition;

extern void pqlite_condition_init(PqliteCondition *condition);
extern int	pqlite_condition_arg(PqliteCondition *condition, Oid type, Datum value);
extern void pqlite_compile_filter(const PqliteStore *store, const JflowFilter *filter,
								  const char *alias, PqliteCondition *condition);

/* pqlite_fields.c */
extern void pqlite_note_fields(PqliteStore *store, const JflowContext *context,
							   const JflowFilter *filter);
extern void pqlite_note_columns(const PqliteStore *store, const JflowContext *context,
								const JflowDocs *docs);

/* pqlite_explain.c */
extern void pqlite_explain(JflowPlans *plans, const char *sql, int nargs, Oid *types, ParamListInfo params);

/* pqlite_search.c */
extern double pqlite_measure_recall(PqliteStore *store, const JflowContext *context, int leaf,
									const PqliteParameters *parameters);

/* pqlite_index.c */

/*
 * By "_jflow_" with the method's name and perhaps a number at its end an index that
 * we made is known.
 */
#define PQLITE_INDEX_NAME2 "jflow"

extern const char *pqlite_index_method(PqliteIndexKind kind);
extern double pqlite_nothing_common(const PqliteStore *store);
extern void pqlite_index_if_due(PqliteStore *store, const JflowContext *context, int written);
extern void pqlite_index_one(PqliteStore *store, const PqliteShardRow *rows, int nrows);
extern void pqlite_index_all(PqliteStore *store);
extern bool pqlite_has_many_rows(const PqliteStore *store);
extern void pqlite_drop_indexes(PqliteStore *store);

/* pqlite_reshard.c */
extern void pqlite_set_owner_settings(void);
extern JflowMove pqlite_move_rows(const char *flow, const char *executor, int batch, bool busy);
extern void pqlite_scale(const char *flow, const char *executor, int shards, bool at_once);

/* pqlite_exchange.c */
extern void pqlite_check_stand_in(const JflowFlow *flow, const JflowExecutor *executor,
								  const JflowExecutor *stand_in);
extern void pqlite_prepare_exchange(const JflowFlow *flow, const JflowExecutor *executor);
extern void pqlite_exchange(const JflowFlow *flow, const JflowExecutor *executor,
							const JflowFlow *stand_in_flow, const JflowExecutor *stand_in);

/* pqlite_chunks.c */

/* A document whose chunks are written, or deleted. */
typedef struct PqliteParent
{
	Datum		id;				/* text */
	int			keep;			/* chunks with a lower number stay */
	bool	   *found;			/* is set if others were there; may be NULL */
} PqliteParent;

extern PqliteParent *pqlite_parents(const PqliteStore *store, const JflowDocs *docs, int *nparents);
extern PqliteParent *pqlite_deleted_parents(const PqliteStore *store, PqliteItem *items, int nitems,
											int *nparents);
extern void pqlite_delete_chunks(PqliteStore *store, PqliteParent *parents, int nparents);

#endif							/* JFLOW_PQLITE_H */
