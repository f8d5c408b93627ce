# Does ALTER EXTENSION UPDATE succeed while replicas run, do they start anew, does
# a post under way go on; and is another version of the extension than the
# library's a clear error?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main');

# where the server looks for the extension: a private directory in make check
my $root = $node->safe_psql('postgres', q{SELECT split_part(setting, ':', 1) FROM pg_settings WHERE name = 'dynamic_library_path'});
my ($libdir, $sharedir) = map { chomp(my $dir = `pg_config --$_`); $dir } ('pkglibdir', 'sharedir');
$root = '' unless $root =~ s/\Q$libdir\E$//;
my $dir = "$root$sharedir/extension";
my ($version) = slurp_file("$dir/jflow.control") =~ /default_version = '(.*?)'/;
plan skip_all => 'the directory of extensions is not ours' unless -w $dir;
my @scripts = map { "$dir/jflow--$_.sql" } ("$version--0.0.1", "0.0.1--$version");
append_to_file($_, "SELECT 1;\n") for @scripts;
END { unlink @scripts if @scripts }

prepare_database($node);
add_flow($node, 'f', 'store_gate', 'replicas => 2');
start_flow($node, 'f');
my $up_and_down = "ALTER EXTENSION jflow UPDATE TO '0.0.1'; ALTER EXTENSION jflow UPDATE";
my %old = map { $_ => 1 } running_pids($node);
my $session = $node->background_psql('postgres', on_error_stop => 0);
is($session->query_safe(q{SELECT count(*) FROM jflow_post('/x', ARRAY['first'], 'f')}), '1', 'a session knows the flow');
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $poster = post_in_background($node, q{SELECT count(*) FROM jflow_post('/x', ARRAY['a', 'b', 'c', 'd'], 'f', request_size => 1)});
wait_state($node, q{SELECT count(*) = 2 FROM jflow_stat_replicas WHERE state = 'busy'}, 'a post runs');

# replicas that work are given a moment, and are then ended
$node->safe_psql('postgres', "BEGIN; $up_and_down; COMMIT");
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas run after an update');
is(scalar(grep { $old{$_} } running_pids($node)), 0, 'in new processes');
wait_state($node, q{SELECT count(*) = 2 FROM jflow_stat_replicas WHERE state = 'busy'}, 'the post goes on in them');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
my ($out, $err) = finish_background($poster);
is("$out$err", '4', 'it ends well');
is(ask($node, q{SELECT count(*) FROM written}), '5', 'each document once');
$node->safe_psql('postgres', "BEGIN; $up_and_down; ROLLBACK");
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'the replicas run after an update that was rolled back');

# the library stays what it is
$node->safe_psql('postgres', q{ALTER EXTENSION jflow UPDATE TO '0.0.1'});
my $skew = qr/library of jflow has version \Q$version\E, but the extension has version 0\.0\.1/;
fails_with($node, q{SELECT * FROM jflow_post('/x', ARRAY['a'], 'f')}, '55000', $skew, 'another version: a post');
fails_with($node, q{SELECT * FROM jflow_status}, '55000', $skew, 'another version: the status');
fails_with($node, q{SELECT jflow_start('f')}, '55000', $skew, 'another version: jflow_start');
$session->query(q{SELECT count(*) FROM jflow_post('/x', ARRAY['a'], 'f')});
like($session->{stderr}, $skew, 'a session that knew the flow hears of it');
$session->{stderr} = '';
wait_state($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'jflow replica'}, 'no replica runs');
like(ask($node, 'SELECT jflow_version()'), qr/\Q$version\E/, 'jflow_version() tells the library\'s');
$node->safe_psql('postgres', q{ALTER EXTENSION jflow UPDATE});
is(ask($node, q{SELECT jflow_wait('f')}), 't', 'after an update the flow runs again by itself');
is($session->query_safe(q{SELECT count(*) FROM jflow_post('/x', ARRAY['last'], 'f')}), '1', 'for the old session, too');
$_->quit for ($session, $holder);
is_at_rest($node, 'at the end');
$node->stop;
done_testing();
