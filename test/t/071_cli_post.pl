# Do files of every format become the documents that they say, and is what is bad
# told by file and line, while everything else is stored?
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use JflowCli;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
# the client's texts are UTF-8, whatever the environment says
$node->init(extra => [ '--encoding=UTF8', '--locale=C' ]);
$node->start;
prepare_log($node);
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir or die;

# Post, and return what was stored since, as lines of "id|text|uri|tags".
sub posted
{
	my ($result, @args) = @_;
	$node->safe_psql('postgres', 'TRUNCATE log');
	@$result = client($node, @args);
	return $node->safe_psql('postgres', "SELECT concat_ws('|', id, coalesce(text, '-'), coalesce(uri, '-'), coalesce(tags::text, '-')) FROM log ORDER BY n");
}
my @r;

# JSON Lines
write_file('a.jsonl', qq(\xef\xbb\xbf{"id": "one", "text": "first"}\r\n\n  {"text":"no id","tags":{"k":1}}\n{}\n{"id":null,"text":"null id"}\n{"\\u0069d":"escaped","text":"\\u00e4\\ud83d\\ude00 \xc3\xa4"}\n{"id":7}));
is(posted(\@r, '', 'post', '/index', 'a.jsonl', '--flow', 'log'),
	qq(one|first|-|-\na.jsonl:3|no id|-|{"k": 1}\na.jsonl:4|-|-|-\na.jsonl:5|null id|-|-\nescaped|ä😀 ä|-|-\n7|-|-|-), 'JSON Lines');
result_is(\@r, 0, qr/^$/, qr{^DONE 0:00:\d\d [\d.]+ step/s \. 1 steps done in \d+ seconds\n6 documents are stored, 0 were bad\n$}, 'JSON Lines');
is($node->safe_psql('postgres', 'SELECT DISTINCT endpoint FROM log'), '/index', 'the endpoint');
posted(\@r, '', 'post', '-q', '/index', 'a.jsonl');
result_is(\@r, 0, qr/^$/, qr/^$/, 'quiet');

# keys that are no attributes
write_file('b.jsonl', qq({"id":"1","body":"text","lang":"en","tags":{"k":[1]}}\n{"id":"2","nr":5,"tags":null}\n{"id":"3","body":"t"}\n));
is(posted(\@r, '', 'post', '/index', '--tags', '--map=text=body', 'b.jsonl'),
	qq(1|text|-|{"k": [1], "lang": "en"}\n2|-|-|{"nr": 5}\n3|t|-|-), '--tags and --map');
is(posted(\@r, '', 'post', '/index', 'b.jsonl'), '', 'without them nothing');
result_is(\@r, 3, undef, qr/^jflow: b\.jsonl:1: ERROR:  22023: .*"body"/, 'the server says why');

# what is no document, line by line
my @bad = (
	['[1]', 'it is no JSON object'], ['{"a":1', 'an object does not end'], ['{"a":01}', 'not separated by a comma'],
	['{"a":"\u0000"}', 'cannot be a character'], ['{"a":"\ud800"}', 'high surrogate'], ['{"a":"\udc00"}', 'low surrogate'],
	["{\"a\":\"\xff\"}", 'not UTF-8'], ["{\"a\":\"\xed\xa0\x80\"}", 'not UTF-8'], ["{\"a\":\"\xc0\x80\"}", 'not UTF-8'], ["{\"a\":\"x\0y\"}", 'zero byte'], ["{\"a\":\"x\ty\"}", 'control character'],
	['{"a":tru}', 'neither true'], ['{a:1}', 'a key is no string'], ['{"a" 1}', 'followed by a colon'], ['{"a":1}}', 'something follows'],
	['{"a":"\x"}', 'unknown escape'], ['{"a":1.}', 'a number is not complete'], ['{"a":[1,]}', 'begins none'], ['{"a":}', 'begins none'],
	['{"a":' . '[' x 2000 . ']' x 2000 . '}', 'nested too deeply'], ['nonsense', 'it is no JSON object'], ['"text"', 'it is no JSON object']);
write_file('bad.jsonl', join '', map { "{\"id\":\"good$_\"}\n$bad[$_][0]\n" } 0 .. $#bad);
is(posted(\@r, '', 'post', '/index', '--errors', 'bad.out', 'bad.jsonl'), join("\n", map { "good$_|-|-|-" } 0 .. $#bad), 'good lines between bad ones');
is($r[0], 3, 'the exit code tells that there were bad ones');
for (0 .. $#bad)
{
	my $line = 2 * $_ + 2;
	like($r[2], qr/^jflow: bad\.jsonl:$line: .*\Q$bad[$_][1]\E/m, "bad line $line");
}
like($r[2], qr/^${\scalar @bad} documents are stored, ${\scalar @bad} were bad$/m, 'they are counted');
my @errors = split /\n/, read_file('bad.out');
is(scalar @errors, scalar @bad, 'a line per bad one in the file');
like($errors[0], qr/^\{"file":"bad.jsonl","line":2,"message":"it is no JSON object","input":"\[1\]"\}$/, 'with what it was');
is($node->safe_psql('postgres', q{SELECT count(*) FROM regexp_split_to_table(pg_read_file('} . "$dir/bad.out" . q{'), '\n') l WHERE l <> '' AND l::jsonb ? 'message'}), scalar @bad, 'the file is JSON Lines');
is(posted(\@r, '', 'post', '/index', 'bad.jsonl'), 'good0|-|-|-', 'without --errors: what is in front of the first one');
result_is(\@r, 3, undef, qr/^jflow: bad\.jsonl:2: it is no JSON object\nSTOPPED .*\njflow: stopped: 1 documents are stored, the last of them bad\.jsonl:1\n$/, 'and no more');

# what the server refuses, found in a batch
write_file('server.jsonl', join '', map { "{\"id\":\"$_\",\"text\":\"" . ($_ == 17 || $_ == 903 || $_ == 1400 ? 'bad' : 'ok') . "\"}\n" } 1 .. 1500);
posted(\@r, '', 'post', '/index', 'server.jsonl', '--batch-size', 300, '--request-size', 7);
is($node->safe_psql('postgres', 'SELECT count(*), max(id::int) FROM log'), '16|16', 'everything in front of the document at fault, nothing behind');
result_is(\@r, 3, undef, qr/^jflow: server\.jsonl:17: ERROR:  22012: a bad document\nDETAIL:  the detail\nHINT:  the hint\nCONTEXT:  .*executor "keep"/s, 'the error and its line');
posted(\@r, '', 'post', '/index', 'server.jsonl', '--errors=server.out', '--batch-size=300', '--request-size=7');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id), string_agg(id, ',' ORDER BY n) = string_agg(id, ',' ORDER BY id::int) FROM log l}), '1497|1497|t', 'all others, once, in order');
is(join(',', map { /"line":(\d+),"sqlstate":"22012","message":"a bad document","detail":"the detail","hint":"the hint","doc":\{"id":"\d+","text":"bad"\}\}$/ } split /\n/, read_file('server.out')),
	'17,903,1400', 'the file for errors has them');
write_file('refused.jsonl', join '', map { "{\"id\":\"$_\",\"text\":\"" . ($_ == 5 ? 'refused' : 'ok') . "\"}\n" } 1 .. 20);
is(posted(\@r, '', 'post', '/index', 'refused.jsonl', '--continue-on-error'), '', 'an error that is no document\'s ends the post');
result_is(\@r, 3, undef, qr/^jflow: ERROR:  42501: not you\n/, 'and is told');

# CSV
write_file('c.csv', qq(id,"text",price,"label",empty,flag\n1,"a ""quoted"" one, with comma",5,x,,true\r\n2,"two\nlines",01,"7","",-1.5e3\n"3",plain,,,,\n));
is(posted(\@r, '', 'post', '/index', '--tags', 'c.csv'),
	qq(1|a "quoted" one, with comma|-|{"flag": true, "label": "x", "price": 5}\n2|two\nlines|-|{"flag": -1500, "empty": "", "label": "7", "price": "01"}\n3|plain|-|-), 'CSV with quotes and line ends');
is(posted(\@r, '', 'post', '/index', '--tags', '--strings', 'c.csv'),
	qq(1|a "quoted" one, with comma|-|{"flag": "true", "label": "x", "price": "5"}\n2|two\nlines|-|{"flag": "-1.5e3", "empty": "", "label": "7", "price": "01"}\n3|plain|-|-), 'with --strings');
is(posted(\@r, '', 'post', '/index', 'c.csv'), '', 'columns that are no attributes');
result_is(\@r, 3, undef, qr/^jflow: c\.csv:1: column "price" is no attribute of a document: --tags/, 'are told');
write_file('d.csv', "text,tags\nx,\"{\"\"a\"\":1}\"\ny,nonsense\nz\nw,\n\n\"open,");
is(posted(\@r, '', 'post', '/index', 'd.csv', '--errors', 'd.out'), qq(d.csv:2|x|-|{"a": 1}\nd.csv:5|w|-|-), 'ids are lines, tags are JSON');
like($r[2], qr/^jflow: d\.csv:3: tags are no JSON object\njflow: d\.csv:4: it has 1 cells, the header 2\njflow: d\.csv:7: a quoted cell does not end$/m, 'bad rows are told');
write_file('e.tsv', "id\ttext\n1\ta, b\n");
is(posted(\@r, '', 'post', '/index', 'e.tsv'), '1|a, b|-|-', 'tabs');
is(posted(\@r, "id,body\n1,x\n", 'post', '/index', '--format', 'csv', '--map', 'text=body'), '1|x|-|-', 'CSV from the standard input');
write_file('twice.csv', "id,id\n1,2\n");
posted(\@r, '', 'post', '/index', 'twice.csv');
like($r[2], qr/twice\.csv:1: the header has column "id" twice/, 'a column twice');

# folders: thousands of small files, in the order of their names
mkdir "docs"; mkdir "docs/$_" for 'a', 'a.b', 'b'; mkdir 'docs/.hidden';
write_file(sprintf('docs/%s/%05d.txt', ('a', 'a.b', 'b')[$_ % 3], $_), "text $_\n") for 1 .. 3000;
write_file('docs/.hidden/x', 'hidden'); write_file('docs/a/.x', 'hidden'); write_file('docs/rows.jsonl', qq({"id":"row"}\n));
write_file('docs/empty.txt', ''); symlink '..', 'docs/b/up'; symlink '../a/00003.txt', 'docs/b/link.txt';
posted(\@r, '', 'post', '/index', 'docs');
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT id), count(*) FILTER (WHERE uri = id), bool_and(text ~ '^text \d+\n$') FILTER (WHERE text <> '') FROM log}), '3003|3003|3002|t', 'a document a file, whose path is id and uri');
is($node->safe_psql('postgres', q{SELECT string_agg(id, ' ' ORDER BY n) FROM log WHERE id ~ 'row|empty|link|0000[12].txt$'}), 'docs/a.b/00001.txt docs/b/00002.txt docs/b/link.txt docs/empty.txt row', 'in order, without what is hidden and without circles');
like($r[2], qr/3003 documents are stored/, 'thousands of files');
like($r[2], qr/31 steps done/, 'in requests of the server\'s size');

# files that are no texts, cannot be read or are not there
write_file('binary', "a\0b"); write_file('latin', "Gr\xfc\xdfe");
is(posted(\@r, '', 'post', '/index', '--errors', 'f.out', 'binary', 'latin', 'missing', 'e.tsv'), '1|a, b|-|-', 'others are posted');
like($r[2], qr/^jflow: binary:1: it has a zero byte\njflow: latin:1: it is not UTF-8\njflow: missing: No such file or directory$/m, 'they are told');
is(posted(\@r, '', 'post', '/index', 'missing', 'e.tsv'), '', 'without --errors the post ends there');
is($r[0], 3, 'with an exit code');
is(posted(\@r, '', 'post', '/index', '--encoding', 'LATIN1', 'latin'), 'latin|Grüße|latin|-', 'another encoding');
result_is([ client($node, '', 'post', '/index', '--encoding', 'SJIS', 'latin') ], 1, undef, qr/not supported/, 'one that is not safe');
is(posted(\@r, "one\n\ntwo", 'post', '/index', '--format=lines'), "stdin:1|one|-|-\nstdin:2||-|-\nstdin:3|two|-|-", 'lines of the standard input');
is(posted(\@r, '', 'post', '/index', '--format=jsonl', '/dev/null'), '', 'nothing at all');
is($r[0], 0, 'is no error');

# the answer
result_is([ client($node, qq({"id":"1","text":"x"}\n), 'post', '/x', '--output', '-', '-q') ], 0, qr/^\{.*"id": "1".*"text": "x".*\}\n$/, qr/^$/, 'the answer as JSON Lines');
result_is([ client($node, qq({"id":"1"}\n), 'post', '/x', '-o', '/dev/full', '-q') ], 1, undef, qr/could not write/, 'a full disk is told');

result_is([ client($node, qq({"id":"1"}\n), 'post', '/x', '--errors', '/dev/full', '-q', 'bad.jsonl') ], 1, undef, qr/could not write to the file for errors: No space left/, 'also where errors go');
$node->safe_psql('postgres', 'TRUNCATE log');
result_is([ client($node, '', 'post', '/x', '--resume', 'none/state', 'e.tsv') ], 1, undef, qr{could not write state file "none/state"}, 'a state file that cannot be written is told');
is($node->safe_psql('postgres', 'SELECT count(*) FROM log'), '0', 'before anything is stored');

# two keys or columns that are one attribute
write_file('both.csv', "id,text,body\n1,a,b\n");
write_file('both.jsonl', qq({"id":"1","text":"a","text":"b"}\n{"id":"2","body":"a","te\\u0078t":"b"}\n));
posted(\@r, '', 'post', '/index', '--map', 'text=body', 'both.csv');
result_is(\@r, 3, undef, qr/^jflow: both\.csv:1: columns "text" and "body" of the header are both the text of a document$/m, 'two columns that are one attribute');
is(posted(\@r, '', 'post', '/index', '--map', 'text=body', 'both.jsonl'), '1|b|-|-', 'a key that is there twice, as everywhere');
result_is(\@r, 3, undef, qr/^jflow: both\.jsonl:2: its keys "body" and "te\\u0078t" are both its text$/m, 'two keys that are one attribute');

# streams that are closed: nothing of theirs goes to the server, or to a file
{
	local %ENV = (%ENV, client_env($node));
	write_file('some.jsonl', qq({"id":"1"}\noops\n{"id":"2"}\n));
	$node->safe_psql('postgres', 'TRUNCATE log');
	unlink 'closed.out', 'closed.docs', 'closed.state';
	is(system('jflow post /index some.jsonl -f log --errors closed.out -o closed.docs --resume closed.state <&- >&- 2>&-') >> 8, 3, 'all streams closed');
	is($node->safe_psql('postgres', 'SELECT count(*) FROM log'), '2', 'the documents are stored');
	is(read_file('closed.out'), qq({"file":"some.jsonl","line":2,"message":"it is no JSON object","input":"oops"}\n), 'the file for errors has the error alone');
	like(read_file('closed.docs'), qr/\A(?:\{.*\}\n){2}\z/, 'the output the answers');
	is(system('jflow post /index -f log -q <&- 2>closed.err') >> 8, 1, 'no standard input');
	like(read_file('closed.err'), qr/could not read "stdin"/, 'is told');
	is(system('jflow status >&- 2>closed.err') >> 8, 1, 'no standard output');
	like(read_file('closed.err'), qr/could not write to the standard output/, 'is told');
}

# options that the server gets
result_is([ client($node, qq({"id":"1"}\n), 'post', '/x', '--parameters', '{"a"') ], 3, undef, qr/ERROR:  22P02: invalid input syntax for type json/, 'parameters that are none');
result_is([ client($node, qq({"id":"1"}\n), 'post', '/x', '--target-executor', 'nobody') ], 3, undef, qr/ERROR/, 'a target that is none');

chdir '/';
$node->stop;
done_testing();
