-- Does a corrupted value do no harm beyond an error: at build, insert, scan, check?
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_maintenance_workers = 0;
CREATE SCHEMA pq_corrupt;
SET search_path = pq_corrupt, public;
SET enable_seqscan = off;
SET enable_sort = off;

-- bytes taken for a vector as they are, as a damaged page would present them
CREATE CAST (bytea AS vector) WITHOUT FUNCTION;
CREATE CAST (bytea AS halfvec) WITHOUT FUNCTION;
CREATE CAST (bytea AS sparsevec) WITHOUT FUNCTION;

CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;

-- of each type, three dimensions: sound rows, and bytes that stand for no vector
CREATE TABLE bad (type text, what text, bytes bytea);
INSERT INTO bad VALUES
	('vector', 'NaN', '\x030000000000c07f0000803f0000803f'),
	('vector', 'infinity', '\x030000000000807f0000803f0000803f'),
	('vector', 'minus infinity', '\x03000000000080ff0000803f0000803f'),
	('vector', 'too short for its dimensions', '\x030000000000803f'),
	('vector', 'no elements', '\x03000000'),
	('vector', 'four dimensions', '\x040000000000803f0000803f0000803f0000803f'),
	('vector', 'no dimension', '\x00000000'),
	('vector', 'negative dimensions', '\xffff00000000803f0000803f0000803f'),
	('vector', 'no header', '\x03'),
	('vector', 'nothing', '\x'),
	('halfvec', 'NaN', '\x03000000007e003c003c'),
	('halfvec', 'infinity', '\x03000000007c003c003c'),
	('halfvec', 'too short for its dimensions', '\x03000000003c'),
	('halfvec', 'four dimensions', '\x04000000003c003c003c003c'),
	('halfvec', 'negative dimensions', '\xffff0000003c003c003c'),
	('halfvec', 'nothing', '\x'),
	('sparsevec', 'NaN', '\x030000000100000000000000000000000000c07f'),
	('sparsevec', 'infinity', '\x030000000100000000000000000000000000807f'),
	('sparsevec', 'four dimensions', '\x0400000001000000000000000000000000000080'),
	('sparsevec', 'more elements than bytes', '\x03000000030000000000000000000000'),
	('sparsevec', 'a billion elements', '\x0300000000ca9a3b0000000000000000000000803f'),
	('sparsevec', 'fewer than no elements', '\x03000000ffffffff0000000000000000'),
	('sparsevec', 'an index far beyond the dimensions', '\x030000000100000000000000ffffff7f0000803f'),
	('sparsevec', 'a negative index', '\x0300000001000000000000000000008000008040'),
	('sparsevec', 'indices out of order', '\x03000000030000000000000002000000010000000100000000008040000080400000803f'),
	('sparsevec', 'nothing', '\x');

-- a table that takes any bytes, and indexes that believe in three dimensions
CREATE TABLE t (id serial, vector vector, halfvec halfvec, sparsevec sparsevec);
CREATE FUNCTION build(index text, column_class text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
BEGIN
	UPDATE pg_attribute SET atttypmod = 3 WHERE attrelid = 't'::regclass AND attname IN ('vector', 'halfvec', 'sparsevec');
	outcome := attempt(format('CREATE INDEX %s ON t USING pq (%s)', index, column_class));
	UPDATE pg_attribute SET atttypmod = -1 WHERE attrelid = 't'::regclass AND attname IN ('vector', 'halfvec', 'sparsevec');
	RETURN outcome;
END $$;
CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS $$
	TRUNCATE t RESTART IDENTITY;
	INSERT INTO t (vector, halfvec, sparsevec) SELECT v, v::halfvec, v::sparsevec
	FROM (SELECT ARRAY[i, i % 7, i % 13 - 6]::vector AS v FROM generate_series(1, 300) i) x;
$$;

CREATE FUNCTION judge(type text, bytes bytea, OUT build text, OUT insert text, OUT train text, OUT query text) LANGUAGE plpgsql AS $$
DECLARE
	bad text := format('%L::bytea::%s', bytes, type);
BEGIN
	PERFORM fill();
	EXECUTE format('INSERT INTO t (%I) VALUES (%s)', type, bad);
	build := build('t_pq', format('%I %s_l2_ops', type, type));
	IF build <> 'done' THEN
		train := attempt(format('SELECT jflow_train(''bad'', ''SELECT %I FROM pq_corrupt.t'')', type));
		PERFORM fill();
		PERFORM build('t_pq', format('%I %s_l2_ops', type, type));
	END IF;
	insert := attempt(format('INSERT INTO t (%I) VALUES (%s)', type, bad));
	query := attempt(format('SELECT count(*) FROM (SELECT id FROM t ORDER BY %I <-> %s LIMIT 1000) x', type, bad));
	EXECUTE 'DROP INDEX t_pq';
END $$;
SELECT type, what, j.* FROM bad, judge(type, bytes) j \gx

-- a row that was sound when it was indexed
SELECT fill();
SELECT set_config('pq_corrupt.bytes', '', false);
CREATE FUNCTION turned(v vector) RETURNS vector IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN current_setting('pq_corrupt.bytes') = '' THEN v ELSE current_setting('pq_corrupt.bytes')::bytea::public.vector END;
END $$;
CREATE FUNCTION turned(v sparsevec) RETURNS sparsevec IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN current_setting('pq_corrupt.bytes') = '' THEN v ELSE current_setting('pq_corrupt.bytes')::bytea::public.sparsevec END;
END $$;
CREATE INDEX t_turned_vector ON t USING pq ((turned(vector)::vector(3)) vector_l2_ops);
CREATE INDEX t_turned_sparsevec ON t USING pq ((turned(sparsevec)::sparsevec(3)) sparsevec_l2_ops);
CREATE FUNCTION scan(type text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN attempt(format('SELECT count(*) FROM (SELECT id FROM t ORDER BY (turned(%I)::%s(3)) <-> ''%s''::%s LIMIT 1000) x',
		type, type, CASE type WHEN 'vector' THEN '[1.5,2,3]' ELSE '{1:1.5}/3' END, type));
END $$;
SELECT scan('vector'), scan('sparsevec');
CREATE FUNCTION afterwards(type text, bytes bytea, OUT scanned text, OUT checked text, OUT recall text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('pq_corrupt.bytes', bytes::text, true);
	scanned := scan(type);
	checked := attempt(format('SELECT jflow_pq_check(''t_turned_%s'')', type));
	recall := attempt(format('SELECT jflow_pq_recall(''t_turned_%s'')', type));
	PERFORM set_config('pq_corrupt.bytes', '', true);
END $$;
SELECT type, what, a.* FROM bad, afterwards(type, bytes) a WHERE type <> 'halfvec' AND length(bytes) >= 4 \gx
SELECT jflow_pq_check('t_turned_vector'), jflow_pq_check('t_turned_sparsevec'), scan('vector'), scan('sparsevec');
DROP INDEX t_turned_vector, t_turned_sparsevec;

-- noise of every length, every other time with the right dimensions
CREATE FUNCTION noise(i int, type text) RETURNS bytea LANGUAGE sql IMMUTABLE
	RETURN (SELECT CASE WHEN i % 2 = 1 THEN bytes WHEN type = 'sparsevec' THEN set_byte('\x0300000000000000', 4, i % 5) || bytes ELSE '\x03000000' || bytes END
		FROM (SELECT substr(string_agg(decode(md5(i || type || j), 'hex'), '' ORDER BY j), 1, i % 37) AS bytes FROM generate_series(1, 3) j) x);
SELECT build('t_v', 'vector vector_ip_ops'), build('t_h', 'halfvec halfvec_cosine_ops'), build('t_s', 'sparsevec sparsevec_l2_ops');
CREATE TABLE outcomes AS SELECT i, type, attempt(format('INSERT INTO t (%I) VALUES (%L::bytea::%s)', type, noise(i, type), type)) AS outcome
FROM generate_series(1, 600) i, unnest('{vector,halfvec,sparsevec}'::text[]) type;
SELECT type, left(outcome, 5) AS outcome, count(*) FROM outcomes GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM (SELECT id FROM t WHERE id <= 300 ORDER BY vector <#> '[1,2,3]' LIMIT 10000) x;
SELECT jflow_pq_check('t_v') - 300 AS vector, jflow_pq_check('t_h') - 300 AS halfvec, jflow_pq_check('t_s') - 300 AS sparsevec;

DROP SCHEMA pq_corrupt CASCADE;
DROP CAST (bytea AS vector);
DROP CAST (bytea AS halfvec);
DROP CAST (bytea AS sparsevec);
