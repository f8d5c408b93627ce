# Does everything work through pgbouncer in transaction mode, where each
# transaction of a client may come to another backend?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x $_ } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin';
plan skip_all => 'SKIPPED: pgbouncer is not installed (apt-get install pgbouncer)' unless $pgbouncer;

my $node = new_node('main', 'client_connection_check_interval = 100ms');
prepare_database($node);
add_flow($node, 'f', 'shout', 'replicas => 2');
add_flow($node, 'g', 'gate');
start_flow($node, $_) for ('f', 'g');

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $port = PostgreSQL::Test::Cluster::get_free_port();
append_to_file("$dir/users", qq{"$_" ""\n}) for ($ENV{PGUSER} // (getpwuid($>))[0], 'flow_owner');
append_to_file("$dir/ini", join("\n", '[databases]', '* = host=' . $node->host . ' port=' . $node->port,
	'[pgbouncer]', 'listen_addr =', "listen_port = $port", "unix_socket_dir = $dir", 'auth_type = trust', "auth_file = $dir/users",
	'pool_mode = transaction', 'default_pool_size = 2', 'server_reset_query =', "logfile = $dir/log", "pidfile = $dir/pid", '', ''));
my $bouncer = IPC::Run::start([ $pgbouncer, "$dir/ini" ], '<', \undef, '>', "$dir/out", '2>&1');
my $up = 0;
my $connstr = "host=$dir port=$port dbname=postgres";
for my $attempt (1 .. 500)
{
	last if $up = (system("psql -XAtq '$connstr' -c 'SELECT 1' >/dev/null 2>&1") == 0);
}
ok($up, 'pgbouncer runs') or diag(slurp_file("$dir/out"));

# many clients over two backends
my $script = PostgreSQL::Test::Utils::tempdir() . '/post.sql';
append_to_file($script, q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');} . "\n");
command_like([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '50', '-f', $script, $connstr ],
	qr/number of transactions actually processed: 400\/400/, 'eight clients post over two connections');
my $session = sub { my ($sql) = @_; my ($out, $err); IPC::Run::run([ 'psql', '-XAtq', $connstr ], '<', \$sql, '>', \$out, '2>', \$err); return "$out$err" };
is($session->(q{BEGIN; SELECT text FROM jflow_post('/x', ARRAY['a'], 'f'); ROLLBACK; SELECT text FROM jflow_post('/x', ARRAY['b'], 'f');}), "A\nB\n",
	'transactions and single statements');
is($session->(q{SELECT docs, failed FROM jflow_post_query('/x', 'SELECT i AS id FROM generate_series(1, 1000) i', 'f');}), "1000|0\n", 'a streaming post');
like($session->(q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'g', timeout => '1ms');}) . $session->(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');}),
	qr/A\n$/, 'a timeout leaves the connection usable');

# a client that goes away while its request runs
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my ($out, $err) = ('', '');
my $client = IPC::Run::start([ 'psql', '-XAtq', '-c', q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'g')}, $connstr ], '<', \undef, '>', \$out, '2>', \$err);
wait_state($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a request runs');
$client->kill_kill;
wait_state($node, q{SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, 'a client that goes away stops it');
$holder->quit;
is($session->(q{SELECT text FROM jflow_post('/x', ARRAY['a'], 'f');}), "A\n", 'others go on');
$bouncer->signal('INT');
eval { $bouncer->finish };
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
