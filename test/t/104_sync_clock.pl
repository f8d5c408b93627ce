# Does a sync go on at once when the server's clock is set back by an hour, or forth?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use Jflow;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'SKIPPED: needs a clock that can be set' unless $ENV{JFLOW_CLOCK};

my $file = PostgreSQL::Test::Utils::tempdir() . '/ahead';
sub set_clock
{
	my ($ahead) = @_;
	open my $handle, -e $file ? '+<' : '>', $file or die "$file: $!";
	binmode $handle;
	syswrite $handle, pack('q', $ahead) or die "$file: $!";
	close $handle;
	return;
}
set_clock(0);

my $node = new_node('main');
{
	local $ENV{LD_PRELOAD} = $ENV{JFLOW_CLOCK};
	local $ENV{JFLOW_CLOCK_FILE} = $file;
	$node->restart;
}
prepare_database($node);
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO flow_owner');
owner_sql($node, q{
	CREATE TABLE outage (what text);
	CREATE TABLE kept (id text PRIMARY KEY, text text);
	CREATE FUNCTION keep(docs jflow_doc[], parameters jsonb) RETURNS jflow_doc[] LANGUAGE plpgsql AS $$ BEGIN
		IF EXISTS (SELECT FROM public.outage WHERE what = 'all') THEN RAISE EXCEPTION 'away' USING ERRCODE = '53000'; END IF;
		IF EXISTS (SELECT FROM public.outage o, unnest(docs) d WHERE d.text = o.what) THEN RAISE EXCEPTION 'bad'; END IF;
		INSERT INTO public.kept SELECT d.id, d.text FROM unnest(docs) d ON CONFLICT (id) DO UPDATE SET text = excluded.text;
		RETURN docs;
	END $$;
	CREATE TABLE item (id int PRIMARY KEY, text text);
	INSERT INTO item SELECT i, 'first' FROM generate_series(1, 10) i;
	SELECT jflow_create('f');
	SELECT jflow_add('f', 'e', uses => 'public.keep', replicas => 0);
	SELECT jflow_sync('s', 'f', 'item', '{"text": "text"}', retries => 100)});
start_flow($node, 'f');

my $arrived = q{SELECT count(*) = 10 FROM kept WHERE text = '%s'};
wait_state($node, sprintf($arrived, 'first'), 'the store is filled');
owner_sql($node, q{UPDATE item SET text = 'changed'});
wait_state($node, sprintf($arrived, 'changed'), 'a change arrives');
my $now = $node->safe_psql('postgres', q{SELECT clock_timestamp()});
set_clock(-3600);
is($node->safe_psql('postgres', qq{SELECT clock_timestamp() < '$now'}), 't', 'the clock has been set back');
owner_sql($node, q{UPDATE item SET text = 'second'});
wait_state($node, sprintf($arrived, 'second'), 'what changes then arrives');
is(owner_sql($node, q{UPDATE item SET text = 'third'; SELECT jflow_sync_run('s', '170 s')}), 't', 'and is waited for');
is($node->safe_psql('postgres', sprintf($arrived, 'third')), 't', 'until it has arrived');

# what waits for an outage to end, and a row that has failed so often that it waits for minutes
owner_sql($node, q{INSERT INTO outage VALUES ('all'); UPDATE item SET text = 'fourth'});
wait_state($node, q{SELECT last_error = 'away' FROM jflow_sync_status}, 'the sync waits');
set_clock(-7200);
owner_sql($node, q{TRUNCATE outage});
wait_state($node, sprintf($arrived, 'fourth'), 'what has waited arrives');
owner_sql($node, q{INSERT INTO outage VALUES ('fifth'); UPDATE item SET text = 'fifth' WHERE id < 5});
wait_state($node, q{SELECT count(*) = 4 FROM jflow_sync_errors}, 'rows fail');
$node->safe_psql('postgres', q{UPDATE jflow.sync_row SET attempts = 50, due = clock_timestamp() + '300 s' WHERE attempts > 0});
owner_sql($node, q{TRUNCATE outage});
set_clock(-10800);
wait_state($node, q{SELECT count(*) = 4 FROM kept WHERE text = 'fifth'}, 'what has failed is tried again');
set_clock(3600);
owner_sql($node, q{UPDATE item SET text = 'sixth'});
wait_state($node, sprintf($arrived, 'sixth'), 'and with a clock that is ahead');
$node->stop;
done_testing();
