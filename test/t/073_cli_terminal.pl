# Does the client keep to a real terminal: its width, a resize, its locale, NO_COLOR,
# its keys and an interrupt, and does it leave it as it was?
use strict;
use warnings;
use utf8;
use FindBin;
use lib $FindBin::RealBin;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIPPED: what the client draws, since there is no tmux' if system('command -v tmux >/dev/null 2>&1') != 0;

my $node = PostgreSQL::Test::Cluster->new('main');
# the client's texts are UTF-8, whatever the environment says
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'jflow'\njflow.allow_superuser_flows = on\nmax_worker_processes = 20");
$node->start;
prepare_log($node);
$node->safe_psql('postgres', q{
	SET client_min_messages = error;
	CREATE FUNCTION find(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$
	BEGIN
		docs[1].matches := ARRAY[
			ROW('one', 0.125, repeat('many words to wrap about ', 9) || 'the needle ' || repeat('and more ', 50), 'a/path', '{"lang": "en"}'),
			ROW('two', 1.5, E'wide \u6f22\u5b57 e\u0301 \x1b[31mred\x1b[0m \x07\u009b2J', NULL, '{}')]::jflow_match[];
		RETURN docs;
	END $$;
	SELECT jflow_create('find');
	SELECT jflow_add('find', 'finder', uses => 'find', replicas => 0);
	SELECT jflow_create('run');
	SELECT jflow_add('run', 'runner');
	CREATE ROLE guarded LOGIN PASSWORD 'open sesame';
});
$node->safe_psql('postgres', q{SELECT jflow_start('run')});
is($node->safe_psql('postgres', q{SELECT jflow_wait('run')}), 't', 'a replica runs');
my $dir = PostgreSQL::Test::Utils::tempdir;
my %env = client_env($node);
my $holder = $node->background_psql('postgres');
$holder->set_query_timer_restart();
my @tmux = ('tmux', '-f', '/dev/null', '-S', "$dir/tmux");

sub tmux
{
	my (@args) = @_;
	my ($out, $err) = ('', '');
	local $ENV{LC_ALL} = 'C.UTF-8';
	IPC::Run::run([ @tmux, @args ], '<', \undef, '>', \$out, '2>', \$err) or die "tmux @args: $err";
	utf8::decode($out);
	return $out;
}

# What the terminal shows; with "-e" as it is coloured.
sub screen
{
	my (@args) = @_;
	return tmux('capture-pane', '-p', @args) =~ s/\s+\z/\n/r;
}

# Wait until it shows this.
sub shows
{
	my ($pattern, $name, @args) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $text;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		$text = screen(@args);
		last if $text =~ $pattern;
		select undef, undef, undef, 0.1;
	}
	like($text, $pattern, $name);
	return $text;
}

# Type a command on an empty screen.
sub type
{
	my ($command) = @_;
	# not every machine with tmux has the program clear
	tmux('send-keys', q{printf '\033[H\033[2J\033[3J'}, 'Enter');
	shows(qr/^\$ *\n?\z/, 'an empty screen');
	tmux('send-keys', '-l', "$command; echo end=\$?");
	tmux('send-keys', 'Enter');
	return;
}

sub resize
{
	my ($columns) = @_;
	tmux('resize-window', '-x', $columns, '-y', 40);
	return;
}

my $ended = qr/^end=\d/m;
tmux('new-session', '-d', '-x', 200, '-y', 40, 'env', (map { "$_=$env{$_}" } keys %env), 'TERM=screen-256color', 'PS1=$ ', "PATH=$ENV{PATH}", 'sh', '-i');
shows(qr/^\$ ?$/m, 'a shell');

# a bar, resized while it waits, and interrupted
write_file("$dir/wait.jsonl", join '', map { "{\"id\":\"$_\",\"text\":\"" . ($_ == 45 ? 'wait' : 'x') . "\"}\n" } 1 .. 95);
$holder->query_safe('SELECT pg_advisory_lock(42)');
type("jflow post /index -f log --batch-size 10 $dir/wait.jsonl");
shows(qr/^\S Working\.\.\. ━{16}╸─{23}  42% 0:\d\d:\d\d [\d.]+ step\/s \. 4 of about 1\d steps, \d:\d\d:\d\d left$/m, 'a bar of 40 in 200 columns');
resize(40);
shows(qr/^━{4}╸─{5}  42% \d:\d\d:\d\d/m, 'a small one in 40');
resize(200);
shows(qr/Working\.\.\. ━{16}╸─{23}/, 'and back');
tmux('send-keys', 'C-c');
my $text = shows(qr/^\$ *\n\z/m, 'an interrupt ends it');
# which may be before the client has heard of its window's new size
like($text, qr/^ *CANCELED (━{40} )?.*step\/s \. 4 steps( done in \d+ seconds)?\njflow: canceled: 40 documents are stored, the last of them \Q$dir\E\/wait\.jsonl:40$/m, 'and it says what is stored');
tmux('send-keys', 'echo code=$?', 'Enter');
shows(qr/^code=130/m, 'the shell sees that it was interrupted');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
type("jflow post /index -f log $dir/wait.jsonl");
$text = shows($ended, 'the post to its end');
like($text, qr{^ *DONE (━{40} )?0:\d\d:\d\d [\d.]+ step/s \. 1 steps( done in \d+ seconds)?\n95 documents are stored, 0 were bad\nend=0}m, 'as the seed has it, and nothing of the bar is left');
type("LC_ALL=C jflow post /index -f log $dir/wait.jsonl");
like(shows($ended, 'in the locale C'), qr/DONE =+ 0:/, 'a bar of ASCII');
type("TERM=dumb jflow post /index -f log $dir/wait.jsonl");
unlike(shows($ended, 'on a dumb terminal'), qr/━/, 'no bar');

# a search
type('jflow search -f find needle');
$text = shows($ended, 'a search');
like($text, qr/^  │ distance │ id  │ text .*│ uri    │ tags$/m, 'a table');
like($text, qr/wide 漢字 e\x{301} \?\[31mred\?\[0m \?\?2J/, 'what would steer the terminal does not get there');
like($text, qr/^1 │   0\.1250 │ one │ \.\.\. .*the needle and more/m, 'the text is shown around the hit');
like(screen('-e'), qr/\e\[1mneedle\e\[0?m/, 'which is bold');
type('NO_COLOR=1 jflow search -f find needle');
shows($ended, 'a search without colours');
unlike(screen('-e'), qr/\e\[1m/, 'has none');
resize(40);
type('jflow search -f find needle');
$text = shows($ended, 'a search in 40 columns');
like($text, qr/^text +│ \.\.\. /m, 'is a list');
my @lines = split /\n/, tmux('capture-pane', '-p', '-J');
is((grep { length > 40 && !/^\$/ } @lines), 0, 'no line is wider') or diag(join "\n", @lines);
type('LC_ALL=C jflow search -f find needle');
unlike(shows($ended, 'in the locale C'), qr/[^\x00-\x7f]/, 'ASCII alone');

# the live view
resize(200);
type('jflow top -n 1');
shows(qr/^FLOW +EXECUTOR +STATE +RUNS.*^run +runner +started +1\/1.*^ +PID FLOW.*^q quit +s sort \(name\)/ms, 'top');
tmux('send-keys', 's');
shows(qr/s sort \(rate\)/, 's sorts');
tmux('send-keys', 's', 's', 's');
shows(qr/s sort \(name\)/, 'in turn');
tmux('send-keys', 'Down', 'Down');
shows(qr/\e\[7m(\e\[\d+m)*run /, 'down chooses', '-e');
tmux('send-keys', '+');
shows(qr/^run +runner +started +2\/2/m, '+ adds a replica');
is($node->safe_psql('postgres', q{SELECT replicas FROM jflow_executors WHERE flow = 'run'}), 2, 'in the catalog');
tmux('send-keys', '-l', '-');
shows(qr/^run +runner +started +1\/1/m, '- takes one');
tmux('send-keys', '-l', '-');
shows(qr/only between 1 replica and more/, 'but not the last');
tmux('send-keys', 'c');
shows(qr/choose a post first/, 'c wants a post');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $err = '';
my $poster = start_client($node, '/dev/null', \$err, 'post', '/index', '-f', 'log', "$dir/wait.jsonl");
shows(qr/^ +POST +PID FLOW.*^ *\d+ +\d+ log +\/index +0\/1/ms, 'a post is shown');
tmux('send-keys', 'Down');
tmux('send-keys', 'c');
shows(qr/post \d+ is canceled/, 'c cancels it');
$poster->finish;
like($err, qr/ERROR:  57014/, 'which its poster is told');
$holder->query_safe('SELECT pg_advisory_unlock_all()');
resize(40);
shows(qr/^EXECUTOR +RUNS +REQ\/S\n/m, 'fewer columns in 40');
resize(200);
eval { $holder->quit };
$node->restart;
shows(qr/^run +runner +started +1\/1.*^q quit/ms, 'top comes back after the server');
tmux('send-keys', 'q');
shows($ended, 'q quits');
like(screen(), qr/^\$ jflow top/, 'and the screen is as before');
type('jflow top');
shows(qr/^q quit/m, 'top again');
tmux('send-keys', 'C-c');
shows(qr/^end=0/m, 'an interrupt quits, too');
type('true visible');
like(shows($ended, 'another command'), qr/true visible; echo/, 'and what is typed can be seen');

# a signal that ends it gives the terminal back, and NO_COLOR leaves an arrow
my ($shell) = tmux('display-message', '-p', '#{pane_pid}') =~ /(\d+)/;
sub child_of
{
	my ($parent) = @_;
	for (glob '/proc/[0-9]*/stat')
	{
		open my $fh, '<', $_ or next;
		my ($pid, $of) = (<$fh> // '') =~ /^(\d+) \(jflow\) \S (\d+)/;
		return $pid if $of && $of == $parent;
	}
	return;
}
type('NO_COLOR=1 jflow top');
shows(qr/^find +> finder.*^q quit/ms, 'top without colours marks the chosen row by an arrow');
unlike(screen('-e'), qr/\e\[\d*(;\d+)*m/, 'and has none');
kill 'TERM', child_of($shell);
shows(qr/^end=143/m, 'a signal ends it');
like(screen(), qr/^\$ NO_COLOR=1 jflow top/, 'and the screen is as before');
type('true seen');
like(shows($ended, 'another command'), qr/true seen; echo/, 'and what is typed can be seen');

# what would steer a terminal does not get there in messages either
type(q{jflow status -f "$(printf 'n\033[31mix')"});
like(shows($ended, 'a name that is not what it seems'), qr/flow "n\?\[31mix" does not exist/, 'is shown as it is');

# a password
my $hba = $node->data_dir . '/pg_hba.conf';
write_file($hba, "local all guarded scram-sha-256\n" . read_file($hba));
$node->reload;
type('jflow -U guarded status');
shows(qr/^Password for user guarded: *$/m, 'a password is asked for');
tmux('send-keys', '-l', 'open sesame');
tmux('send-keys', 'Enter');
$text = shows($ended, 'and taken');
like($text, qr/^end=0/m, 'it is right');
unlike($text, qr/sesame/, 'but not shown');
type('jflow -U guarded status');
shows(qr/^Password for user guarded: *$/m, 'again');
tmux('send-keys', 'C-c');
shows(qr/user guarded: *\n+\$ *\n\z/, 'an interrupt ends the question');
tmux('send-keys', 'echo code=$?', 'Enter');
shows(qr/^code=130/m, 'as one');
type('jflow -w -U guarded status');
shows(qr/no password supplied.*end=2/s, 'not with -w');

tmux('kill-server');
$node->stop;
done_testing();
