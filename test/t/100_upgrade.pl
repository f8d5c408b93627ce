# Does a data directory of an older release open, update, and answer the same, with no index made anew?
#
# test/upgrade/ has such directories, by release and version of the server; and one
# is made here as this release makes it, and opened by a library that calls itself
# a later one, so that the next release finds what it needs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use File::Basename;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

$SIG{INT} = $SIG{TERM} = 'DEFAULT';		# as Jflow.pm does
my $files = $ENV{JFLOW_UPGRADE} or plan skip_all => 'SKIPPED: JFLOW_UPGRADE names no folder';
# the superuser has the same name wherever a directory was made
$ENV{PGUSER} = 'postgres';
my %sql = map { $_ => slurp_file("$files/$_.sql") } qw(objects answers catalog);
my $settings = "shared_preload_libraries = 'jflow'\nmax_worker_processes = 24\nautovacuum = off\n";
my $installed = slurp_file($ENV{TEMP_CONFIG});

# What a node answers, as a list of lines.
sub answers { my ($node) = @_; return $node->safe_psql('postgres', $sql{answers}); }

# A directory as this release makes it, in backups of $node; with the answers in it.
sub make_data
{
	my ($node) = @_;
	$node->init(extra => [ '-U', 'postgres', '--encoding=UTF8', '--locale=C', '--wal-segsize=1' ]);
	$node->append_conf('postgresql.conf', "$settings\nmin_wal_size = 2MB\n");
	$node->start;
	$node->safe_psql('postgres', $sql{objects});
	my $version = $node->safe_psql('postgres', q{SELECT extversion FROM pg_extension WHERE extname = 'jflow'});
	append_to_file($node->data_dir . '/answers', answers($node) . "\n");
	# what is of no use here
	$node->safe_psql('postgres', 'DROP SCHEMA information_schema CASCADE');
	$node->safe_psql('postgres', $_) for 'UPDATE pg_database SET datistemplate = false', 'DROP DATABASE template0', 'DROP DATABASE template1', 'CHECKPOINT';
	$node->stop;
	command_ok([ 'pg_resetwal', '-D', $node->data_dir ], 'the log is made short');
	return $version;
}

# A node on a copy of that directory, with what is installed there.
sub open_data
{
	my ($name, $dir, $config) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	mkdir $node->backup_dir;
	PostgreSQL::Test::RecursiveCopy::copypath($dir, $node->backup_dir . '/data');
	# those of releases have no configuration
	my %files = ('postgresql.conf' => "listen_addresses = ''\n$settings$config", 'pg_hba.conf' => "local all all trust\n", 'pg_ident.conf' => '');
	for my $file (sort keys %files)
	{
		unlink $node->backup_dir . "/data/$file";
		append_to_file($node->backup_dir . "/data/$file", $files{$file});
	}
	chmod 0700, $node->backup_dir . '/data';
	$node->init_from_backup($node, 'data');
	$node->start;
	return $node;
}

sub test_data
{
	my ($name, $dir, $config, $old, $new) = @_;
	my $node = open_data($name, $dir, $config);
	my $expected = slurp_file("$dir/answers") =~ s/\n\z//r;
	cmp_ok(scalar(split /\n/, $expected), '>', 150, "$name: there is enough to ask");
	if ($old ne $new)
	{
		my ($code, $out, $err) = $node->psql('postgres', q{SELECT count(*) FROM jflow_search('word3', flow => 'lexical')}, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		like($err, qr/ERROR:  55000: .*HINT:  Run ALTER EXTENSION jflow UPDATE/s, "$name: before the update posts say what to do");
		$node->safe_psql('postgres', 'ALTER EXTENSION jflow UPDATE');
	}
	is($node->safe_psql('postgres', q{SELECT extversion FROM pg_extension WHERE extname = 'jflow'}), $new, "$name: the extension is of version $new");
	is($node->safe_psql('postgres', q{SELECT jflow_wait('lexical', '180 s')}), 't', "$name: a started flow runs");
	$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM jflow_sync_status WHERE state = 'following'}) or die;
	is(answers($node), $expected, "$name: the same answers");
	# a row that cannot be embedded is tried again, and then set aside
	$node->poll_query_until('postgres', q{SELECT due = 'infinity' FROM jflow.sync_row WHERE key = '31' AND attempts > 0}) or die;
	is($node->safe_psql('postgres', q{
		SET client_min_messages = error;
		SET search_path = kept, public;
		SET ROLE keeper;
		INSERT INTO item SELECT * FROM items(1001, 1050);
		DELETE FROM item WHERE id < 30;
		INSERT INTO many SELECT id + 5000, v FROM many_low WHERE id < 500;
		RESET ROLE;
		VACUUM item, many;
		SET ROLE keeper;
		SELECT count(*), sum(CASE WHEN amname = 'pq' THEN jflow_pq_check(c.oid) ELSE jflow_inverted_check(c.oid) END) > 5000
			FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE amname IN ('pq', 'inverted') AND relkind = 'i' AND relnamespace = 'kept'::regnamespace;
		INSERT INTO note VALUES (1000, 'new', 'word1 unheard');
		SELECT jflow_sync_run('note', '180 s'), jflow_sync_run('memo', '180 s');
		SELECT count(*) FROM jflow_data_keeper.notes_store WHERE text LIKE '%unheard%';
		SELECT count(*) FROM jflow_data_keeper.memos_store WHERE text LIKE 'changed%';
		SELECT docs FROM jflow_post_query('/index', $$SELECT id, 'written anew' AS text FROM unnest('{t1,new}'::text[]) id$$, 'ranked');
		SELECT docs FROM jflow_fit('ranked', 'encoder', 'SELECT text FROM text WHERE id < $$t2$$', incremental => true);
		SELECT jflow_scale('dense', 'store', shards => 4);
		SELECT jflow_drop('fused');
	}), "18|t\nt|t\n1\n1\n2\n71\n0\n", "$name: everything goes on");
	my $updated = $node->safe_psql('postgres', $sql{catalog});
	$node->safe_psql('postgres', q{SET client_min_messages = error; DROP EXTENSION jflow CASCADE; CREATE EXTENSION jflow});
	is($updated, $node->safe_psql('postgres', $sql{catalog}), "$name: its catalog is that of a new extension");
	$node->stop;
	return;
}

my $made = PostgreSQL::Test::Cluster->new('made');
my $version = make_data($made);
my ($major) = slurp_file($made->data_dir . '/PG_VERSION') =~ /^(\d+)/;

SKIP:
{
	skip 'SKIPPED: no library of a later version was built', 1 unless $ENV{JFLOW_LATER};
	my $later = $installed =~ s/\Q$ENV{JFLOW_INSTALLED}\E/$ENV{JFLOW_LATER}/gr;
	test_data('later', $made->data_dir, $later, $version, 'later');
}

# Those of releases: "jflow-0.1.0-pg15.tar.gz".
for my $archive (sort glob "$files/jflow-*-pg$major.tar.gz")
{
	my ($old) = basename($archive) =~ /^jflow-(.*)-pg/;
	my $dir = PostgreSQL::Test::Utils::tempdir;
	system_or_bail('tar', '-xzf', $archive, '-C', $dir);
	test_data("from_$old", "$dir/data", $installed, $old, $version);
}

# For test/upgrade/make.
if ($ENV{KEEP_RESULTS})
{
	my $data = $made->data_dir;
	system_or_bail("tar -C '$data' --sort=name --owner=0 --group=0 --transform='s,^\\.,data,' --exclude='./*.conf' --exclude='./postmaster.*' "
		  . "--exclude='./pg_stat/*' -cf - . | gzip -9n >'$ENV{TESTDIR}/jflow-$version-pg$major.tar.gz'");
}
done_testing();
