# Whatever is posted at random by many to flows with batches, does each get his own answers, is everything written once, and with the owner's rights?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_worker_processes = 32', 'max_connections = 60');
prepare_database($node);
$node->safe_psql('postgres', q{CREATE ROLE other_owner LOGIN; GRANT CREATE ON SCHEMA public TO other_owner;
	CREATE ROLE first; CREATE ROLE second;
	CREATE TABLE stored (text text, role text); GRANT INSERT ON stored TO flow_owner, other_owner;
	CREATE TABLE answered (text text, role text, kept bool); GRANT INSERT ON answered TO PUBLIC});
for my $role ('flow_owner', 'other_owner')
{
	# "nest" posts to the flow behind; a text with "bad" fails, by its name
	$node->safe_psql('postgres', qq{SET client_min_messages = error; SET ROLE $role;
		CREATE FUNCTION work_$role(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS \$\$
		DECLARE bad text := (SELECT text FROM unnest(docs) WHERE text LIKE '%bad%' LIMIT 1);
		BEGIN
			IF parameters ? 'keep' THEN INSERT INTO public.stored SELECT d.text, current_user FROM unnest(docs) d; END IF;
			IF bad IS NOT NULL THEN RAISE division_by_zero USING MESSAGE = bad; END IF;
			IF parameters ? 'nest' THEN
				docs := (SELECT array_agg((u.id, u.text, u.blob, u.uri, u.mime_type, u.tags, u.embedding, u.sparse_embedding, u.parent_id,
					u.granularity, u.scores, u.weight, u.matches)::public.jflow_doc ORDER BY n)
					FROM public.jflow_post('/x', docs, 'behind_$role', '{"p": "behind"}') WITH ORDINALITY
					u (id, text, blob, uri, mime_type, tags, embedding, sparse_embedding, parent_id, granularity, scores, weight, matches, n));
			END IF;
			FOR i IN 1..cardinality(docs) LOOP docs[i].text := concat_ws(' ', docs[i].text, parameters->>'p', current_user); END LOOP;
			RETURN docs;
		END \$\$;
		SELECT jflow_create(f) FROM unnest(ARRAY['front_$role', 'behind_$role']) f;
		SELECT jflow_add('front_$role', 'e', uses => 'work_$role', batch => '{"size": 16, "wait": "2ms"}', replicas => 2, retries => 0);
		SELECT jflow_add('behind_$role', 'e', uses => 'work_$role', batch => '{"size": 8}', replicas => 1, retries => 0);
		SELECT jflow_grant('front_$role', 'first'), jflow_grant('front_$role', 'second');
		SELECT jflow_start(f) FROM unnest(ARRAY['front_$role', 'behind_$role']) f});
	is($node->safe_psql('postgres', "SELECT jflow_wait('front_$role') AND jflow_wait('behind_$role')"), 't', "flows of $role run");
}

# A post of a client, and whether its answer is what it must be.
$node->safe_psql('postgres', q{
	CREATE FUNCTION try(client int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		mine text := format('%s-%s', client, md5(random()::text));
		owner text := (ARRAY['flow_owner', 'other_owner'])[1 + (random() < 0.5)::int];
		texts text[] := (SELECT array_agg(mine || '.' || i || CASE WHEN random() < 0.02 THEN ' bad' ELSE '' END)
			FROM generate_series(1, 1 + (random() ^ 4 * 20)::int) i);
		p jsonb := '{}';
		answers text[];
	BEGIN
		IF random() < 0.3 THEN p := jsonb_build_object('p', 'p' || (random() * 2)::int); END IF;
		IF random() < 0.5 THEN p := p || '{"keep": true}'; END IF;
		IF random() < 0.15 THEN p := p || '{"nest": true}'; END IF;
		BEGIN
			SELECT array_agg(text ORDER BY ordinality) INTO answers
			FROM jflow_post('/x', texts, 'front_' || owner, p, request_size => 1 + (random() * 5)::int,
				timeout => CASE WHEN random() < 0.1 THEN interval '4 ms' END) WITH ORDINALITY;
		EXCEPTION
			WHEN division_by_zero THEN
				IF SQLERRM <> ALL (texts) THEN RAISE 'an error of another: %', SQLERRM; END IF;
				RETURN;
			WHEN query_canceled THEN
				RETURN;
		END;
		IF answers IS DISTINCT FROM (SELECT array_agg(concat_ws(' ', t, CASE WHEN p ? 'nest' THEN 'behind ' || owner END, p->>'p', owner) ORDER BY n)
				FROM unnest(texts) WITH ORDINALITY u (t, n)) THEN
			RAISE 'wrong answers to % with %: %', texts, p, answers;
		END IF;
		INSERT INTO answered SELECT t, owner, p ? 'keep' FROM unnest(texts) t;
	END $$});
my $script = PostgreSQL::Test::Utils::tempdir() . '/try.sql';
append_to_file($script, q{\set who random(1, 3)
\if :who = 1
SET ROLE first;
\elif :who = 2
SET ROLE second;
\endif
\set level random(1, 4)
\if :level = 1
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT try(:client_id);
SAVEPOINT a;
SELECT try(:client_id);
ROLLBACK TO a;
COMMIT;
\else
SELECT try(:client_id);
\endif
RESET ROLE;
});
my $seed = $ENV{JFLOW_SOAK_SEED} || 1;
my ($out, $err);
my $good = IPC::Run::run([ 'pgbench', '-n', '-c', '10', '-j', '2', '-t', '150', "--random-seed=$seed", '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$err);
ok($good && $err !~ /ERROR|aborted/, 'each has his own answers, or his own error') or diag($err);

is($node->safe_psql('postgres', 'SELECT count(*) > 100 FROM answered'), 't', 'there were answers');
is($node->safe_psql('postgres', q{SELECT text FROM stored GROUP BY text HAVING count(*) > 1 LIMIT 5}), '', 'nothing was written twice');
is($node->safe_psql('postgres', q{SELECT text, role FROM answered WHERE kept EXCEPT SELECT text, role FROM stored LIMIT 5}), '', 'all that was to be is written, by the owner');
is($node->safe_psql('postgres', q{SELECT count(*) FROM stored s JOIN answered a USING (text) WHERE NOT a.kept OR s.role <> a.role}), '0', 'and nothing else');
is($node->safe_psql('postgres', q{SELECT sum(value) FILTER (WHERE name = 'jflow_batch_requests_total') >
	sum(value) FILTER (WHERE name = 'jflow_batches_total' AND labels->>'outcome' = 'ok') FROM jflow_metrics WHERE labels->>'flow' LIKE 'front%'}),
	't', 'requests were run together');
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
