# Can others watch a running post, and is it gone from the view when it ends,
# however it ends?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'");
$node->start;
$node->safe_psql(
	'postgres', q{
	SET client_min_messages = error;
	CREATE ROLE stranger;
	CREATE EXTENSION jflow CASCADE;
	CREATE FUNCTION gate(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN
		IF docs[1].id = '4' THEN PERFORM pg_advisory_xact_lock(42); END IF;
		RETURN NULL;
	END $$;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'gate', uses => 'gate', replicas => 0);
});
my $post = q{SELECT docs FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, 6) i', 'f', request_size => 1);};
my $view = q{SELECT flow, endpoint, steps_done, steps_total IS NULL, docs FROM jflow_progress};

# the fourth request waits for the lock that this session holds
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');

sub start_post
{
	my $poster = $node->background_psql('postgres', on_error_stop => 0);
	$poster->query_until(qr/go/, "\\echo go\n$post\n");
	$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM jflow_progress WHERE steps_done = 3')
	  or die 'the post did not get to its fourth request';
	return $poster;
}

my $poster = start_post();
is($node->safe_psql('postgres', $view), 'f|/x|3|t|3', 'another session sees the post');
is($node->safe_psql('postgres', "SET ROLE stranger; $view"), '', 'a role without rights does not');
is($node->safe_psql('template1', q{SELECT 1}), '1', 'other databases have no such view');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM jflow_progress');
$poster->quit;
is($node->safe_psql('postgres', $view), '', 'a post that ended is gone');

# one that is canceled
$holder->query_safe('SELECT pg_advisory_lock(42)');
$poster = start_post();
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM jflow_progress');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM jflow_progress'), 'a canceled post is gone');
$poster->quit;

# one whose session is terminated
$poster = start_post();
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM jflow_progress');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM jflow_progress'), 'a terminated post is gone');
$poster->{run}->finish;
$holder->quit;

# numbers of posts do not come again after a restart
$node->safe_psql('postgres', q{
	CREATE FUNCTION number(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[]
	LANGUAGE plpgsql AS $$ BEGIN docs[1].text := (jflow_context()).post; RETURN docs; END $$;
	SELECT jflow_create('n');
	SELECT jflow_add('n', 'number', uses => 'number', replicas => 0);
});
my $first = $node->safe_psql('postgres', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'n')});
$node->restart;
my $second = $node->safe_psql('postgres', q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'n')});
cmp_ok($second, '>', $first, 'numbers of posts grow over a restart');

# progress lines for the client
my ($ret, $out, $err) = $node->psql('postgres',
	q{SELECT count(*) FROM jflow_post('/x', array_fill('a'::text, '{250}'), 'f', show_progress => true)});
like($err, qr/INFO:  DONE 0:00:0\d [\d.]+ step\/s \. 3 steps done in 0 seconds/, 'the last line counts the steps');

$node->stop;
done_testing();
