# Does a pq index come back from a dump: with its codebook, without it, into
# partitions, under any search_path?
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql(
	'postgres', q{
	CREATE ROLE trainer;
	CREATE SCHEMA ext;
	CREATE EXTENSION vector SCHEMA ext;
	CREATE EXTENSION jflow SCHEMA ext;
	CREATE SCHEMA shop AUTHORIZATION trainer;
	GRANT USAGE ON SCHEMA ext TO trainer;
	SET SESSION AUTHORIZATION trainer;
	SET search_path = shop, ext;
	CREATE FUNCTION v(i int) RETURNS vector LANGUAGE sql IMMUTABLE SET search_path = ext, pg_catalog AS
		'SELECT array_agg(sin(i * j * 0.37 + j) + cos(i * 0.11 * j))::vector FROM generate_series(1, 16) j';
	CREATE TABLE items (id int, kind "char", v vector(16)) PARTITION BY RANGE (id);
	CREATE TABLE items_1 PARTITION OF items FOR VALUES FROM (0) TO (1000);
	CREATE TABLE items_2 PARTITION OF items FOR VALUES FROM (1000) TO (5000);
	INSERT INTO items SELECT i, chr(97 + i % 3)::"char", v(i) FROM generate_series(1, 3000) i;
	SELECT jflow_train('shop "book"', 'SELECT v FROM shop.items', 'cosine', 20);
	CREATE INDEX items_v ON items USING pq (v vector_cosine_ops, kind) WITH (codebook = 'shop "book"', bits = 4);
	CREATE TABLE words (id int, s sparsevec(3000), h halfvec(16));
	INSERT INTO words SELECT i, format('{%s:1,%s:2}/3000', i, i + 1000)::sparsevec, v(i)::halfvec FROM generate_series(1, 500) i;
	CREATE INDEX words_s ON words USING pq (s sparsevec_ip_ops) WITH (lists = 5);
	CREATE INDEX words_h ON words USING pq (h halfvec_l2_ops) WHERE id > 10;
	CREATE INDEX words_e ON words USING pq ((h::vector(16)) vector_l2_ops);
});

my $answers = q{
	SET search_path = shop, ext; SET enable_seqscan = off;
	SELECT id FROM items WHERE kind = 'b' ORDER BY v <=> v(42) LIMIT 10;
	SELECT id FROM words ORDER BY s <#> '{42:1,1042:3}/3000' LIMIT 1;
	SELECT count(*) FROM (SELECT id FROM words WHERE id > 10 ORDER BY h <-> v(5)::halfvec LIMIT 10000) x;
	SELECT id FROM words ORDER BY h::vector(16) <-> v(77) LIMIT 1;
	SELECT indexrelid::regclass, jflow_pq_check(indexrelid) FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam
		WHERE amname = 'pq' AND relkind = 'i' ORDER BY indexrelid::regclass::text;
	SELECT codebook, owner, md5(model) FROM jflow.codebook;
	SELECT codebook, lists FROM jflow_pq_info('items_1_v_kind_idx');
};
my $expected = $node->safe_psql('postgres', $answers);
like($expected, qr/^42\n/m, 'it answers before the dump');
like($expected, qr/shop "book"\|20/, 'and uses the codebook');

$node->command_ok([ 'pg_dump', '-Fp', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom.dump", $node->connstr('postgres') ], 'custom dump');
$node->safe_psql('postgres', 'CREATE DATABASE plain; CREATE DATABASE custom; CREATE DATABASE part');
$node->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $node->connstr('plain') ], 'plain restore');
$node->command_ok([ 'pg_restore', '-e', '-j', '2', '-d', $node->connstr('custom'), "$dir/custom.dump" ], 'parallel restore');
is($node->safe_psql('plain', $answers), $expected, 'same answers after a plain restore');
is($node->safe_psql('custom', $answers), $expected, 'same answers after a parallel restore');

# tables alone: no codebook comes along, so the index says so and trains itself
$node->command_ok([ 'pg_dump', '-Fp', '-n', 'shop', '-f', "$dir/part.sql", $node->connstr('postgres') ], 'dump of a schema');
$node->safe_psql('part', 'CREATE SCHEMA ext; CREATE EXTENSION vector SCHEMA ext; CREATE EXTENSION jflow SCHEMA ext');
my ($out, $err) = run_command([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/part.sql", $node->connstr('part') ]);
like($err, qr/WARNING:  codebook "shop "book"" does not exist/, 'a missing codebook is a warning');
unlike($err, qr/ERROR/, 'and no error');
is($node->safe_psql('part', q{SET search_path = shop, ext; SET enable_seqscan = off;
	SELECT id FROM items WHERE kind = 'a' ORDER BY v <=> v(42) LIMIT 1;
	SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> v(42) LIMIT 100000) x;
	SELECT codebook IS NULL OR codebook = '', lists > 0 FROM jflow_pq_info('items_1_v_kind_idx')}), "42\n3000\nt|t", 'the index trained itself');
$node->stop;
done_testing();
