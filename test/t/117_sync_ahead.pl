# While a round is out, are rows of the next one read, does a worker hold nothing then, and does whatever changes after
# that reach the store, newest last, each row no more often than it has changed?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');
prepare_database($node);
$node->safe_psql('postgres', q{GRANT CREATE ON SCHEMA public TO flow_owner});

# a column whose reading is told to the log, and a store that keeps all that is posted
owner_sql($node, q{
	CREATE TYPE note AS (v text);
	CREATE FUNCTION note_text(n note) RETURNS text LANGUAGE plpgsql AS
		$$ BEGIN
			IF n.v LIKE 'marker%' THEN RAISE LOG 'read: %', n.v; END IF;
			IF n.v = 'told' THEN INSERT INTO public.told VALUES (n.v); END IF;
			RETURN n.v;
		END $$;
	CREATE TABLE told (text text);
	CREATE CAST (note AS text) WITH FUNCTION note_text(note);
	CREATE TABLE posted (n bigserial, flow text, id text, text text);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'gate') THEN PERFORM pg_advisory_xact_lock_shared(47); END IF;
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'bad') THEN RAISE EXCEPTION 'bad'; END IF;
		INSERT INTO public.posted (flow, id, text) SELECT (jflow_context()).flow, d.id, d.text FROM unnest(docs) d;
		RETURN docs;
	END $$;
	CREATE FUNCTION lose(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO public.posted (flow, id, text) SELECT (jflow_context()).flow, d.id, NULL FROM unnest(docs) d;
		RETURN docs;
	END $$;
});

my $open = q{ROLLBACK PREPARED 'gate'};

# A table that is compared in rounds of 630 rows, and its sync, up to when the round is out whose rows have the text
# "gate", and the next one, whose last row is a marker, has been read.
sub fill
{
	my ($name, $rows, $text) = @_;
	my $offset = -s $node->logfile;
	owner_sql($node, qq{BEGIN; SELECT pg_advisory_xact_lock(47); PREPARE TRANSACTION 'gate';
		CREATE TABLE $name (id int PRIMARY KEY, text note);
		INSERT INTO $name SELECT i, ROW($text)::note FROM generate_series(1, $rows) i;
		SELECT jflow_create('$name');
		SELECT jflow_add('$name', 'e', requests => '{"/index": "public.keep", "/delete": "public.lose"}', replicas => 2);
		SELECT jflow_sync('$name', '$name', '$name', '{"text": "text"}', batch => 10)});
	start_flow($node, $name);
	$node->wait_for_log("read: marker $name", $offset);
	wait_state($node, q{SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, "$name: a round is out");
	return;
}

# Has the store what the table has, by the last that was posted of each id?
sub is_in_step
{
	my ($name) = @_;
	wait_state($node, "SELECT state = 'following' AND pending = 0 FROM jflow_sync_status WHERE name = '$name'", "$name: it follows");
	is($node->safe_psql('postgres', qq{
		WITH store AS (SELECT DISTINCT ON (id) id::int, text FROM posted WHERE flow = '$name' ORDER BY id, n DESC)
		SELECT count(*) FROM (SELECT * FROM store WHERE text IS NOT NULL) s FULL JOIN $name t USING (id) WHERE s.text IS DISTINCT FROM (t.text).v}),
		0, "$name: the store is the table");
	return;
}

# ids that were posted other than once
sub often
{
	my ($name) = @_;
	return $node->safe_psql('postgres', qq{SELECT string_agg(id || 'x' || n, ' ' ORDER BY id::int)
		FROM (SELECT id, count(*) AS n FROM posted WHERE flow = '$name' GROUP BY id HAVING count(*) > 1) p});
}

# changes of rows that have been read ahead, of some that are out, and of others
fill('item', 1500, q{CASE WHEN i = 1260 THEN 'marker item' WHEN i > 630 THEN 'first' ELSE 'gate' END});
my $worker = q{FROM pg_stat_activity WHERE backend_type = 'jflow sync'};
wait_state($node, "SELECT wait_event = 'Extension' AND backend_xid IS NULL AND backend_xmin IS NULL $worker",
	'the worker holds neither snapshot nor transaction id');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid = (SELECT pid $worker)"), 0, 'nor a lock of a table');
owner_sql($node, q{
	UPDATE item SET text = ROW('second') WHERE id IN (5, 700, 1400);
	DELETE FROM item WHERE id IN (6, 701, 1401);
	INSERT INTO item VALUES (-1, ROW('new')), (0, ROW('new')), (2000, ROW('new'));
	UPDATE item SET id = id + 10000 WHERE id IN (7, 702, 1402)});
owner_sql($node, $open);
is_in_step('item');
is(often('item'), '5x2 6x2 7x2', 'what changed while it was out was posted again, and nothing else');
is($node->safe_psql('postgres', q{SELECT string_agg(coalesce(text, 'gone'), ' ' ORDER BY id) FROM posted WHERE flow = 'item' AND id IN ('700', '701', '702')}),
	'second gone gone', 'of what had been read ahead only the newest');

# More has changed than a round may have, and a row of that is due besides: one of those that were read ahead is left
# to a later round.
fill('more', 2500, q{CASE WHEN i = 1 THEN 'bad' WHEN i = 1890 THEN 'marker more' WHEN i BETWEEN 631 AND 1260 THEN 'gate' ELSE 'first' END});
wait_state($node, q{SELECT next_try < clock_timestamp() FROM jflow_sync_errors WHERE name = 'more'}, 'a row has failed and is due');
owner_sql($node, q{UPDATE more SET text = ROW('second') WHERE id = 1 OR id BETWEEN 1300 AND 1699});
owner_sql($node, $open);
is_in_step('more');
is(often('more'), '', 'all were posted once');

# all of them go, and others come
fill('gone', 1500, q{CASE WHEN i = 1260 THEN 'marker gone' WHEN i > 630 THEN 'first' ELSE 'gate' END});
owner_sql($node, q{TRUNCATE gone; INSERT INTO gone SELECT i, ROW('second'::text)::note FROM generate_series(1000, 1010) i});
owner_sql($node, $open);
is_in_step('gone');
is(often('gone'), join(' ', map { $_ . 'x2' } 1 .. 630), 'what had been read ahead was not posted');

# somebody has the comparison begin anew, since rows have changed without a word
fill('anew', 1500, q{CASE WHEN i = 1260 THEN 'marker anew' WHEN i > 630 THEN 'first' ELSE 'gate' END});
$node->safe_psql('postgres', q{ALTER TABLE anew DISABLE TRIGGER ALL});
owner_sql($node, q{UPDATE anew SET text = ROW('second') WHERE id IN (5, 700, 1400)});
my $resume = $node->background_psql('postgres');
$resume->query_until(qr/begun/, qq{\\echo begun\nSELECT jflow_sync_resume('anew');\n});
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'object' AND NOT granted}, 'who does that waits for the round');
owner_sql($node, $open);
$resume->quit;
is_in_step('anew');
is(often('anew'), '5x2', 'all but one were posted once');

# Where the worker runs the flow itself nothing is read ahead: what runs may have locked rows elsewhere.  Of the texts of
# the first 630 ids 99 is the last one.
owner_sql($node, q{BEGIN; SELECT pg_advisory_xact_lock(47); PREPARE TRANSACTION 'gate';
	CREATE FUNCTION hold(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM unnest(docs) d WHERE d.text = 'gate') THEN PERFORM pg_advisory_xact_lock_shared(47); END IF;
		RETURN docs;
	END $$;
	CREATE TABLE alone (id int PRIMARY KEY, text note);
	INSERT INTO alone SELECT i, ROW(CASE i WHEN 99 THEN 'gate' WHEN 1260 THEN 'marker alone' ELSE 'first' END)::note FROM generate_series(1, 1500) i;
	SELECT jflow_create('alone');
	SELECT jflow_add('alone', 'e', requests => '{"/index": "public.hold", "/delete": "public.hold"}', replicas => 0);
	SELECT jflow_sync('alone', 'alone', 'alone', '{"text": "text"}', batch => 10)});
start_flow($node, 'alone');
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'alone: the last request of a round runs');
unlike(slurp_file($node->logfile), qr/read: marker alone/, 'and nothing of the next round has been read');
owner_sql($node, $open);
is(owner_sql($node, q{SELECT jflow_sync_run('alone', '170 s')}), 't', 'alone: all arrive');

# rows whose reading writes, which only a claim may
fill('telling', 2500, q{CASE WHEN i = 640 THEN 'marker telling' WHEN i <= 630 THEN 'gate' WHEN i % 100 = 7 THEN 'told' ELSE 'first' END});
owner_sql($node, $open);
is(owner_sql($node, q{SELECT jflow_sync_run('telling', '170 s')}), 't', 'telling: all arrive');
is_in_step('telling');
is(often('telling'), '', 'each once');
$node->stop;
done_testing();
