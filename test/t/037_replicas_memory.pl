# Is full payload memory something to wait for, too large a request an error
# that names the setting, and memory flat for a post of any size?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'jflow.memory_limit = 16MB', 'jflow.max_requests = 16');
prepare_database($node);
owner_sql($node, q{
	CREATE FUNCTION grow(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		docs[1].text := repeat('x', (parameters->>'size')::int);
		RETURN docs;
	END $$;
	CREATE FUNCTION complain(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		RAISE EXCEPTION USING MESSAGE = repeat('é', 10000000), DETAIL = repeat('d', 10000000), HINT = 'the hint';
	END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'a', uses => 'shout', replicas => 2);
	SELECT jflow_add('f', 'b', requests => '{"/grow": "grow", "/complain": "complain", "*": "noop"}', replicas => 2);
	SELECT jflow_create('g');
	SELECT jflow_add('g', 'gate', uses => 'gate');
	SELECT jflow_create('float');
	SELECT jflow_add('float', 'a', uses => 'noop');
	SELECT jflow_add('float', 'log', uses => 'store', floating => true, needs => ARRAY['a']);
	SELECT jflow_add('float', 'c', uses => 'noop', needs => ARRAY['a'])});
start_flow($node, $_) for ('f', 'g', 'float');

# one request that can never fit, in or out
fails_with($node, q{SELECT length(text) FROM jflow_post('/x', ARRAY[repeat('a', 30000000)], 'f')}, '54000',
	qr/jflow\.memory_limit.*CONTEXT:  executor "a", shard 0, request 1$/ms, 'a request larger than the area');
fails_with($node, q{SELECT length(text) FROM jflow_post('/grow', ARRAY['a'], 'f', parameters => '{"size": 30000000}')}, '54000',
	qr/jflow\.memory_limit.*CONTEXT:  executor "b", shard 0, replica \d, request 1$/ms, 'an answer larger than the area');
my ($ret, $out, $err) = $node->psql('postgres', q{SELECT jflow_post('/complain', ARRAY['a'], 'f')}, on_error_stop => 1);
ok($err =~ /ERROR:  (é){1000,}.?\n.*DETAIL:  d{1000,}\n.*HINT:  the hint\n/s, 'an error larger than the area arrives, clipped');
is_at_rest($node, 'after requests that are too large');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'A', 'others go on');
is(ask($node, q{SELECT sum(length(text)) FROM jflow_post('/x', (SELECT array_agg(repeat('a', 500000)) FROM generate_series(1, 60)),
	'f', request_size => 1)}), '30000000', 'many that fill the area several times wait for room');

# several posts that compete for slots and memory, with answers larger than inputs
my @posters = map { post_in_background($node, q{SELECT sum(length(text)) FROM jflow_post('/grow',
	(SELECT array_agg(i::text) FROM generate_series(1, 40) i), 'f', parameters => '{"size": 400000}', request_size => 1)}) } 1 .. 4;
for my $poster (@posters)
{
	my ($out, $err) = finish_background($poster);
	is("$out$err", '16000000', 'a post that competes for memory');
}
is_at_rest($node, 'after the competition');

# a floating executor gets its documents, even if there is no slot for it at first
my $floats = q{SELECT count(*) FROM jflow_post('/x', array_fill('logged'::text, ARRAY[200]), 'float', request_size => 1)};
@posters = map { post_in_background($node, $floats) } 1 .. 6;
for my $poster (@posters)
{
	my ($out, $err) = finish_background($poster);
	is("$out$err", '200', 'a post that competes for slots');
}
is(ask($node, q{SELECT count(*) FROM written WHERE text = 'logged'}), '1200', 'the floating executor missed none');
is_at_rest($node, 'after floating executors');

# a full queue, and callers who give up
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my @blocked = map { post_in_background($node,
	q{SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, 100) i', 'g', request_size => 1)}) } 1 .. 5;
wait_state($node, q{SELECT count(*) = 5 FROM jflow_progress}, 'five posts queue');
wait_state($node, q{SELECT count(*) >= 5 FROM jflow_requests}, 'and take request slots');
fails_with($node, q{SET statement_timeout = '300ms'; SELECT * FROM jflow_post('/x', ARRAY['a'], 'g')}, '57014',
	qr/statement timeout/, 'a caller who gives up by statement_timeout');
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'g', timeout => '300ms')}, '57014',
	qr/post to flow "g"/, 'and one by its own timeout');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($blocked[0]{pid})");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($blocked[1]{pid})");
wait_state($node, q{SELECT count(*) = 3 FROM jflow_progress}, 'two others are gone');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'A', 'another pool is not held up');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
for my $i (2 .. 4)
{
	my ($out, $err) = finish_background($blocked[$i]);
	is("$out$err", '100', 'a post that waited ends well');
}
eval { $blocked[0]->quit };
eval { $blocked[1]{run}->finish };
$holder->quit;
is_at_rest($node, 'after the full queue');
is(ask($node, q{SELECT peak <= "limit" AND peak > 0 FROM jflow_memory}), 't', 'the peak stayed below the limit');

# a post whose caller is slow to read answers holds no more than its share
my $cursor = $node->background_psql('postgres');
$cursor->query_safe(q{BEGIN; DECLARE c CURSOR FOR SELECT length(text) FROM jflow_post('/x',
	(SELECT array_agg(repeat('a', 100000)) FROM generate_series(1, 200)), 'f', request_size => 1)});
is($cursor->query_safe('FETCH 1 FROM c'), '100000', 'a cursor over a post');
is(ask($node, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f')}), 'A', 'does not hold up others');
$cursor->query_safe('ROLLBACK');
$cursor->quit;
is_at_rest($node, 'after the cursor');
$node->stop;

# With many requests in flight and no help from the check for deadlocks: a
# gateway that sleeps until many answers are there must hear of a full area.
my $wide = new_node('wide', 'jflow.memory_limit = 16MB', 'deadlock_timeout = 1h', 'jflow.timeout = 60s');
prepare_database($wide);
owner_sql($wide, q{
	CREATE FUNCTION grow(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN docs[1].text := repeat('x', 800000); RETURN docs; END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', uses => 'grow');
	-- posts to f, for each request
	CREATE FUNCTION nest(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		docs[1].text := (SELECT length(text) FROM jflow_post('/x', ARRAY['a'], 'f'));
		RETURN docs;
	END $$;
	SELECT jflow_create('outer');
	SELECT jflow_add('outer', 'e', uses => 'grow');
	SELECT jflow_add('outer', 'here', uses => 'nest', replicas => 0)});
start_flow($wide, $_) for ('f', 'outer');
is(ask($wide, q{SELECT sum(length(text)) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 64) i), 'f', request_size => 1)}),
	'51200000', 'answers that fill the area are taken out');
is_at_rest($wide, 'after answers that fill the area');
is(ask($wide, q{SELECT sum(text::int) FROM jflow_post('/x', (SELECT array_agg(i::text) FROM generate_series(1, 64) i), 'outer', request_size => 1)}),
	'51200000', 'posts nested in one whose answers fill the area');
is_at_rest($wide, 'after posts nested in one');
is(ask($wide, q{SELECT docs FROM jflow_post_query('/x',
		$$SELECT i AS id, (SELECT length(text) FROM jflow_post('/x', ARRAY[i::text], 'f'))::text AS text FROM generate_series(1, 64) i$$, 'f', request_size => 1)}),
	'64', 'posts in the query of one whose answers fill the area');
is_at_rest($wide, 'after posts in the query of one');
$wide->stop;
done_testing();
