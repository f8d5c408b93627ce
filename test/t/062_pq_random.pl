# Do scans of a pq index keep order and recall for random data, lives and queries?
#
# A round has a seed, so that what fails can be run again: JFLOW_SEED is the first
# and JFLOW_ROUNDS how many there are (6, for want of time).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $rounds = $ENV{JFLOW_ROUNDS} || 6;
my $first = $ENV{JFLOW_SEED} || 1;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "autovacuum = off\njit = off\nmax_parallel_workers_per_gather = 0");
$node->start;
$node->safe_psql(
	'postgres', q{
	CREATE EXTENSION vector;
	CREATE EXTENSION jflow;
	-- kinds: 0 uniform, 1 clustered, 2 whole numbers, 3 far from the origin, 4 tiny, 5 in copies,
	-- 6 in two places far apart, 7 of scales apart, 8 of scales apart about places far apart
	CREATE FUNCTION point(dims int, kind int) RETURNS vector LANGUAGE sql VOLATILE AS $$
		SELECT array_agg(CASE kind
			WHEN 1 THEN c * sin(j * (1 + floor(20 * r) * 1.7)) + 0.1 * random()
			WHEN 2 THEN floor(random() * 4)
			WHEN 3 THEN 1000 + random()
			WHEN 4 THEN random() * 1e-6
			WHEN 5 THEN floor(30 * r) * sin(j * (1 + floor(30 * r)))
			WHEN 6 THEN floor(2 * r) * 1e4 + random()
			WHEN 7 THEN 100 ^ floor(4 * r - 1) * (random() - 0.5)
			WHEN 8 THEN 1000 * floor(3 * r) + 30 ^ floor(3 * r - 1) * (random() - 0.5)
			ELSE random() - 0.5 END)::vector
		FROM (SELECT random() AS r, 1.0 AS c) x, generate_series(1, dims) j $$;
	-- distances in the order in which they come, and as they should
	CREATE FUNCTION distances(query text, q text, exact bool) RETURNS float8[] LANGUAGE plpgsql AS $$
	DECLARE
		d float8[];
	BEGIN
		PERFORM set_config('enable_seqscan', exact::text, true), set_config('enable_sort', exact::text, true),
			set_config('enable_indexscan', (NOT exact)::text, true);
		EXECUTE 'SELECT array_agg(d) FROM (' || query || ') x' INTO d USING q;
		RETURN coalesce(d, '{}');
	END $$;
	CREATE FUNCTION ordered(d float8[]) RETURNS bool LANGUAGE sql AS
		'SELECT coalesce(bool_and(a >= b), true) FROM (SELECT a, lag(a) OVER (ORDER BY n) AS b FROM unnest(d) WITH ORDINALITY x(a, n)) y WHERE b IS NOT NULL';
});

my @operators = (['<->', 'vector_l2_ops'], ['<=>', 'vector_cosine_ops'], ['<#>', 'vector_ip_ops'], ['<+>', 'vector_l1_ops']);
my @recalls;
for my $seed ($first .. $first + $rounds - 1)
{
	srand($seed);
	my $dims = (2, 8, 24, 48)[ rand 4 ];
	my $type = ('vector', 'halfvec', 'sparsevec')[ $seed % 3 ];
	my $kind = int rand 9;
	my ($operator, $class) = @{ $operators[ rand @operators ] };
	$class =~ s/vector/$type/;
	# what comes when the index has learned may be of another kind
	my $then = rand() < 0.5 ? $kind : int rand 9;
	# there cosines differ by less than what they are rounded by
	for ($kind, $then) { $_ = 0 if ($_ == 3 || $_ == 6 || $_ == 8) && $operator eq '<=>' }
	my @sizes = (0, 300, 2000);
	my $before = $sizes[ rand 3 ];
	my $after = 500 + int rand 2500;
	my $life = join ', ', "seed $seed: $dims dimensions, kind $kind, then $then, $class, $before rows and $after more";
	my $deleted = rand() < 0.5 ? 'f = 3' : '$1 IS NOT NULL AND e ' . $operator . ' $1 < (SELECT e ' . $operator . ' $1 FROM t WHERE id = 7)';
	$deleted =~ s/\$1/(SELECT e FROM t WHERE id = 5)/g;
	my $vacuum = rand() < 0.5 ? 'VACUUM t;' : '';
	$node->safe_psql('postgres',
		"SELECT setseed($seed / 1000000.0);"
		  . "DROP TABLE IF EXISTS t; CREATE TABLE t (id serial, f int, e $type($dims));"
		  . "INSERT INTO t (f, e) SELECT i % 10, point($dims, $kind) FROM generate_series(1, $before) i;"
		  . "CREATE INDEX t_pq ON t USING pq (e $class, f);"
		  . "INSERT INTO t (f, e) SELECT i % 10, point($dims, $then) FROM generate_series(1, $after) i;"
		  . "UPDATE t SET f = f + 1 WHERE id % 50 = 1; DELETE FROM t WHERE $deleted;"
		  . "$vacuum ANALYZE t;");
	my (@found, @bad);
	for my $k (1, 10, 60)
	{
		for my $filter ('true', 'e IS NOT NULL AND f = 4', 'id % 3 = 0')
		{
			my $query = "SELECT e $operator \$1::vector::$type AS d FROM t WHERE $filter ORDER BY e $operator \$1::vector::$type LIMIT $k";
			my $row = $node->safe_psql('postgres', qq{
				SELECT setseed(@{[ ($seed + $k) / 1000000.0 ]});
				CREATE TEMP TABLE r AS SELECT distances(\$\$$query\$\$, q, false) AS a, distances(\$\$$query\$\$, q, true) AS x
				FROM (SELECT CASE WHEN i % 2 = 0 THEN point($dims, CASE WHEN i % 4 = 0 THEN $kind ELSE $then END) ELSE (SELECT e FROM t OFFSET i % (SELECT greatest(count(*), 1) FROM t) LIMIT 1)::vector END::text AS q FROM generate_series(1, 10) i) y;
				SELECT bool_and(ordered(a)), bool_and(cardinality(a) = cardinality(x)),
					-- where nothing is left to find, nothing is missed
					avg(CASE WHEN cardinality(x) = 0 THEN 1
						ELSE (SELECT count(*)::float8 FROM unnest(a) d WHERE d <= x[cardinality(x)] + abs(x[cardinality(x)]) * 1e-6) / cardinality(x) END) FROM r});
			my ($ordered, $complete, $recall) = split /\|/, (split /\n/, $row)[-1];
			push @bad, "$filter, $k: out of order" if $ordered ne 't';
			push @bad, "$filter, $k: too few rows" if $complete ne 't';
			push @found, $recall;
		}
	}
	my $all = "SELECT e $operator \$1::vector::$type AS d FROM t ORDER BY e $operator \$1::vector::$type";
	my $whole = $node->safe_psql('postgres', qq{
		SELECT setseed(0.5);
		CREATE TEMP TABLE r AS SELECT distances(\$\$$all\$\$, q, false) AS a, distances(\$\$$all\$\$, q, true) AS x
			FROM (SELECT point($dims, $kind)::text AS q) y;
		SELECT (a = x) OR NOT EXISTS (SELECT FROM t) OR '$operator' = '<=>' AND a <\@ x FROM r});
	push @bad, 'not every row once, in order' if (split /\n/, $whole)[-1] ne 't';
	is(join('; ', @bad), '', "order and rows, $life");
	my $mean = 0;
	$mean += $_ / @found for @found;
	push @recalls, $mean;
	cmp_ok($mean, '>=', 0.9, "recall, $life");
	$node->safe_psql('postgres', "SELECT jflow_pq_check('t_pq')");
}
my $sum = 0;
$sum += $_ for @recalls;
cmp_ok($sum / @recalls, '>=', 0.945, 'recall of all rounds');
note(join ' ', map { sprintf '%.3f', $_ } @recalls);

# Rows that come in order along a direction, each step unlike all before, and rows that
# are all replaced by others, with VACUUM between.  Workers learn meanwhile.
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION stepped(dims int, life text, step int) RETURNS vector LANGUAGE sql VOLATILE AS $$
		SELECT array_agg(CASE life
			WHEN 'moving' THEN 3 * sin(j * j) + step * cos(j * 1.7)
			ELSE step * sin(j * 1.3 + step * step) + 2 * sin(j * (1 + floor(20 * r)) * (step + 0.7)) END + 0.5 * random())::vector
		FROM (SELECT random() AS r) x, generate_series(1, dims) j $$});
for my $life ('moving', 'replaced')
{
	for my $as (map { my $operator = $_; map { [ $_, @$operator ] } 'vector', 'halfvec' } @operators[ 0, 1 ])
	{
		my ($type, $operator, $class) = @$as;
		$class =~ s/vector/$type/;
		$node->safe_psql('postgres',
			"DROP TABLE t; CREATE TABLE t (step int, e $type(12)); CREATE INDEX t_pq ON t USING pq (e $class)");
		my ($rows, @missed) = (0);
		for my $step (1 .. 5)
		{
			if ($life eq 'replaced')
			{
				$node->safe_psql('postgres', 'DELETE FROM t');
				$node->safe_psql('postgres', 'VACUUM t');
				$rows = 0;
			}
			$node->safe_psql('postgres',
				"SELECT setseed(@{[ ($first + $step) / 1000000.0 ]}); INSERT INTO t SELECT $step, stepped(12, '$life', $step) FROM generate_series(1, 1500)");
			$rows += 1500;
			$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow pq learner'}) or die;
			my $query = "SELECT e $operator \$1::vector::$type AS d FROM t ORDER BY e $operator \$1::vector::$type LIMIT 10";
			my $recall = $node->safe_psql('postgres', qq{
				SELECT setseed(0.5);
				SELECT avg((SELECT count(*) FROM unnest(a) d WHERE d <= x[10] + abs(x[10]) * 1e-6)) / 10
				FROM (SELECT distances(\$\$$query\$\$, q, false) AS a, distances(\$\$$query\$\$, q, true) AS x
					FROM (SELECT stepped(12, '$life', $step - i % 2 * (CASE '$life' WHEN 'moving' THEN i % $step ELSE 0 END))::text AS q FROM generate_series(1, 30) i) y) z});
			$recall = (split /\n/, $recall)[-1];
			push @missed, "$recall at step $step" if $recall < 0.88;
			is($node->safe_psql('postgres', q{SELECT jflow_pq_check('t_pq')}), $rows, "rows, $life, $class, step $step");
		}
		is(join('; ', @missed), '', "recall, $life, $class");
	}
}
done_testing();
