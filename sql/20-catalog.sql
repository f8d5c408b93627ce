-- The catalog.  Schema jflow is created without IF NOT EXISTS: a schema of that
-- name made by somebody else must fail the installation, not join it.
--
-- There are no foreign keys: pg_restore with several jobs loads the tables of an
-- extension in any order, each in a transaction of its own.  The functions that
-- drop a flow or an executor take along what belongs to it, and rows that belong
-- to nothing are never looked at.
--
-- Keys are COLLATE "C", since C code scans their indexes.  Functions and roles
-- are kept as names: numbers would not survive dump and restore.

CREATE SCHEMA jflow;
GRANT USAGE ON SCHEMA jflow TO PUBLIC;

CREATE TABLE jflow.class (
	class pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (pg_catalog.octet_length(class) BETWEEN 1 AND 200),
	owner pg_catalog.text COLLATE pg_catalog."C" NOT NULL DEFAULT '',	-- '': built in
	requests pg_catalog.jsonb NOT NULL
		CHECK (pg_catalog.jsonb_typeof(requests) = 'object'),
	polling pg_catalog.jsonb,
	builtin pg_catalog.bool NOT NULL DEFAULT false,
	PRIMARY KEY (class, owner),
	CHECK (builtin = (owner = ''))
);

CREATE TABLE jflow.flow (
	flow pg_catalog.text COLLATE pg_catalog."C" PRIMARY KEY
		CHECK (pg_catalog.octet_length(flow) BETWEEN 1 AND 63),
	owner pg_catalog.text NOT NULL,
	description pg_catalog.text,
	created pg_catalog.timestamptz NOT NULL DEFAULT pg_catalog.now(),
	stands_for pg_catalog.text COLLATE pg_catalog."C"	-- the flow that it will be exchanged with
);

CREATE TABLE jflow.executor (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL
		CHECK (pg_catalog.octet_length(name) BETWEEN 1 AND 63 AND name <> 'gateway'),
	"position" pg_catalog.int4 NOT NULL CHECK ("position" > 0),
	uses pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	class_owner pg_catalog.text COLLATE pg_catalog."C",	-- whose class; NULL: "uses" is a function
	uses_with pg_catalog.jsonb NOT NULL DEFAULT '{}'
		CHECK (pg_catalog.jsonb_typeof(uses_with) = 'object'),
	requests pg_catalog.jsonb
		CHECK (pg_catalog.jsonb_typeof(requests) = 'object'),
	needs pg_catalog.text[] NOT NULL
		CHECK (pg_catalog.cardinality(needs) > 0
			   AND pg_catalog.array_position(needs, NULL) IS NULL),
	replicas pg_catalog.int4 NOT NULL DEFAULT 1 CHECK (replicas BETWEEN 0 AND 1024),
	shards pg_catalog.int4 NOT NULL DEFAULT 1 CHECK (shards BETWEEN 1 AND 1024),
	polling pg_catalog.jsonb
		CHECK (pg_catalog.jsonb_typeof(polling) IN ('string', 'object')),
	workspace pg_catalog.text
		CHECK (pg_catalog.octet_length(workspace) BETWEEN 1 AND 63),
	"when" pg_catalog.jsonb
		CHECK (pg_catalog.jsonb_typeof("when") = 'object'),
	uses_before pg_catalog.text,
	uses_after pg_catalog.text,
	timeout pg_catalog.interval CHECK (timeout >= '0'),
	retries pg_catalog.int4 CHECK (retries >= 0),
	floating pg_catalog.bool NOT NULL DEFAULT false,
	disable_reduce pg_catalog.bool NOT NULL DEFAULT false,
	batch pg_catalog.jsonb
		CHECK (pg_catalog.jsonb_typeof(batch) = 'object'),
	PRIMARY KEY (flow, name),
	UNIQUE (flow, "position")
);

CREATE TABLE jflow.flow_grant (
	flow pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	grantee pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	endpoint pg_catalog.text COLLATE pg_catalog."C" NOT NULL DEFAULT '*'	-- '*': all
		CHECK (pg_catalog.octet_length(endpoint) BETWEEN 1 AND 63),
	PRIMARY KEY (flow, grantee, endpoint)
);

-- Which role a name in these tables has meant here.  Not dumped: a restored
-- database is another one, where numbers mean nothing.
CREATE TABLE jflow.role (
	name pg_catalog.text COLLATE pg_catalog."C" NOT NULL,
	system_identifier pg_catalog.int8 NOT NULL,
	database pg_catalog.oid NOT NULL,
	role pg_catalog.oid NOT NULL,
	PRIMARY KEY (name, system_identifier, database)
);

INSERT INTO jflow.class (class, requests, builtin) VALUES ('BaseExecutor', '{}', true);

SELECT pg_catalog.pg_extension_config_dump('jflow.class', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('jflow.flow', '');
SELECT pg_catalog.pg_extension_config_dump('jflow.executor', '');
SELECT pg_catalog.pg_extension_config_dump('jflow.flow_grant', '');

-- The owner of the database can dump it.  Whatever else holds definitions grants him the same.
GRANT SELECT ON jflow.class, jflow.flow, jflow.executor, jflow.flow_grant TO pg_database_owner;

-- Backends keep definitions in memory; any change of these tables, also one
-- made by hand or by a restore, tells them to look again.
CREATE FUNCTION jflow.catalog_changed() RETURNS trigger
	AS 'MODULE_PATHNAME', 'jflow_catalog_changed' LANGUAGE C;
REVOKE ALL ON FUNCTION jflow.catalog_changed() FROM PUBLIC;

CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.class
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.class
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.flow
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.flow
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.executor
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.executor
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.flow_grant
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.flow_grant
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_changed AFTER INSERT OR UPDATE OR DELETE ON jflow.role
	FOR EACH ROW EXECUTE FUNCTION jflow.catalog_changed();
CREATE TRIGGER catalog_truncated AFTER TRUNCATE ON jflow.role
	FOR EACH STATEMENT EXECUTE FUNCTION jflow.catalog_changed();
