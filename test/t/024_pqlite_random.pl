# Do random operations through replicas do what they do to a plain table, while
# shards are added and taken away and indexes are made?  JFLOW_SEED repeats a run,
# JFLOW_STEPS makes it longer.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use Test::More;

my $seed = $ENV{JFLOW_SEED} || 1 + int(rand(1_000_000_000));
srand($seed);
note("JFLOW_SEED=$seed");

my $node = new_node('main');
prepare_database($node);
owner_sql($node, q{
	SELECT jflow_create('p');
	SELECT jflow_add('p', 'store', uses => 'PQLiteIndexer', replicas => 2, shards => 2, workspace => 'random',
		uses_with => '{"dim": 3, "metric": "l2", "columns": {"n": "int4"}}');
	CREATE TABLE model (id text COLLATE "C" PRIMARY KEY, text text, n int, x int, embedding vector(3))});
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO flow_owner');
start_flow($node, 'p');

# Documents $first to $last of ids, made the same for the flow and for the model.
sub batch { my ($first, $last, $salt) = @_; return qq{SELECT 'd' || i AS id, 't$salt' AS text, (i * 7 + $salt) % 50 AS n, i % 3 AS x,
	ARRAY[(i * $salt) % 11, i % 13, $salt % 5]::vector AS embedding FROM generate_series($first, $last) i}; }
sub pick { return $_[ int(rand(@_)) ]; }
my @filters = (
	[ '{}', 'true' ], [ '{"n": {"$lt": 10}}', 'n < 10' ], [ '{"n": {"$in": [1, 2, 3]}, "x": {"$ne": 1}}', 'n IN (1, 2, 3) AND x <> 1' ],
	[ '{"$or": [{"x": 2}, {"n": {"$gte": 45}}]}', '(x = 2 OR n >= 45)' ], [ '{"$not": {"n": 7}, "text": {"$regex": "1"}}', "n <> 7 AND text ~ '1'" ]);

# A statement for the flow, one for the model; both answer the same.
sub operation
{
	my $first = int(rand(300));
	my $last = $first + int(rand(60));
	my $salt = 1 + int(rand(99));
	my $filter = pick(@filters);
	my $k = int(rand(30));
	my $point = join(',', map { int(rand(12)) + 0.5 } 1 .. 3);
	my $ids = qq{(SELECT array_agg(jflow_doc(id => 'd' || i)) FROM generate_series($first, $last) i)};
	my %operations = (
		index => [ sprintf(q{SELECT docs FROM jflow_post_query('/index', $$SELECT id, text, embedding, jsonb_build_object('n', n, 'x', x) AS tags
				FROM (%s) b$$, 'p', request_size => %d)}, batch($first, $last, $salt), 1 + int(rand(40))),
			sprintf(q{WITH w AS (INSERT INTO model %s ON CONFLICT (id) DO UPDATE SET text = excluded.text, n = excluded.n, x = excluded.x,
				embedding = excluded.embedding RETURNING 1) SELECT count(*) FROM w}, batch($first, $last, $salt)) ],
		update => [ qq{SELECT count(*) FROM jflow_post('/update', (SELECT array_agg(jflow_doc(id => 'd' || i, text => 'u$salt', tags => '{"n": $k}'))
				FROM generate_series($first, $last) i), 'p')},
			qq{WITH w AS (UPDATE model SET text = 'u$salt', n = $k WHERE id IN (SELECT 'd' || i FROM generate_series($first, $last) i) RETURNING 1)
				SELECT count(*) FROM w} ],
		delete => [ qq{SELECT string_agg(id, ',' ORDER BY id COLLATE "C") FROM jflow_post('/delete', $ids, 'p')},
			qq{WITH w AS (DELETE FROM model WHERE id IN (SELECT 'd' || i FROM generate_series($first, $last) i) RETURNING id)
				SELECT string_agg(id, ',' ORDER BY id) FROM w} ],
		fetch => [ qq{SELECT string_agg(concat_ws(':', id, text, tags->>'n', tags->>'x', embedding), ',' ORDER BY id COLLATE "C")
				FROM jflow_post('/fetch', $ids, 'p')},
			qq{SELECT string_agg(concat_ws(':', id, text, n, x, embedding), ',' ORDER BY id) FROM model
				WHERE id IN (SELECT 'd' || i FROM generate_series($first, $last) i)} ],
		filter => [ qq{SELECT string_agg(id, ',') FROM jflow_post('/filter', NULL::jflow_doc[], 'p', jsonb_build_object('filter', '$filter->[0]'::jsonb))},
			qq{SELECT string_agg(id, ',' ORDER BY id) FROM model WHERE $filter->[1]} ],
		search => [ qq{SELECT string_agg(m.id, ',') FROM jflow_post('/search', ARRAY[jflow_doc(embedding => '[$point]')], 'p',
				jsonb_build_object('limit', $k, 'filter', '$filter->[0]'::jsonb)) d, unnest(d.matches) m},
			qq{SELECT string_agg(id, ',') FROM (SELECT id FROM model WHERE $filter->[1] ORDER BY embedding <-> '[$point]', id LIMIT $k) m} ],
		scale => [ sprintf(q{SELECT jflow_scale('p', 'store', shards => %d) > 0}, 1 + int(rand(4))), 'SELECT true' ],
		clear => [ q{SELECT count(*) FROM jflow_post('/clear', NULL::jflow_doc[], 'p')}, q{WITH w AS (DELETE FROM model) SELECT 0} ]);
	my $name = rand() < 0.02 ? 'clear' : pick(qw(index index index update delete fetch filter filter search search search scale));
	return ($name, @{ $operations{$name} });
}

# One session, so that the test spends its time on the operations.
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->set_query_timer_restart;
sub answer { my $out = $session->query($_[0]); return $out . $session->{stderr}; }
$session->query_safe('SET client_min_messages = error');
$session->query_safe('SET ROLE flow_owner');
my $wrong = 0;
my %done;
for my $step (1 .. ($ENV{JFLOW_STEPS} || 1000))
{
	my ($name, $ours, $theirs) = operation();
	my $got = answer($ours);
	my $wanted = answer($theirs);
	answer(q{SELECT jflow_wait('p')}) if $name eq 'scale';
	$done{$name}++;
	next if $got eq $wanted;
	diag("JFLOW_SEED=$seed, step $step:\n$ours\n$got\nbut\n$theirs\n$wanted");
	$wrong++;
	last;
}
is($wrong, 0, 'operations do what they do to a table: ' . join(', ', map { "$done{$_} $_" } sort keys %done));

# many documents, so that movers index; every one is still found by its own vector
$session->query_safe(q{SELECT docs FROM jflow_post_query('/index', $$SELECT 'm' || i AS id, ARRAY[i, i % 7, -50]::vector AS embedding,
	jsonb_build_object('n', 99) AS tags FROM generate_series(1, 7000) i$$, 'p')});
wait_state($node, q{SELECT count(*) = 0 FROM jflow.shard WHERE due OR state <> 'live' OR trained_pages IS NULL}, 'a mover makes the indexes');
cmp_ok( $session->query_safe(q{SELECT count(*) FROM jflow_post('/search', (SELECT array_agg(jflow_doc(id => 'm' || i, embedding => ARRAY[i, i % 7, -50]::vector))
	FROM generate_series(1, 7000, 100) i), 'p', '{"limit": 1, "recall": 1}') d WHERE d.matches[1].id = d.id}),
	'>=', 67, 'each of them but a few is found by its vector');
is( $session->query_safe(q{SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE id LIKE 'm%') FROM random.p_store}),
	$session->query_safe(q{SELECT count(*) + 7000, count(*) + 7000, 7000 FROM model}), 'and each is there once');
$session->quit;
$node->stop;
done_testing();
