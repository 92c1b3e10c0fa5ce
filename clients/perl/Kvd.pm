# A client of kvd.  Keys, values and patterns are byte strings: encode text first.  What fails dies with a Kvd::Error,
# a hash: code (the daemon's; also `unavailable`, certainly not done, `uncertain`, perhaps done, and `conflict`), text,
# revision (of a conflict) and retry (seconds, where the daemon told them).
{ package Kvd::Error; use overload '""' => sub { join(' ', grep { length } @{$_[0]}{qw(code text)}) . "\n" }, fallback => 1 }
package Kvd;
use strict; use warnings; use IO::Select; use IO::Socket::IP;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_RCVTIMEO SO_SNDTIMEO TCP_NODELAY);
use MIME::Base64 qw(decode_base64 encode_base64); use Time::HiRes qw(sleep time);

my ($FIRST_PAUSE, $LONGEST_PAUSE) = (0.1, 10);    # seconds before connecting again
my %IS_STATUS = map { $_ => 1 } qw(OK OK64 NONE CONFLICT ERR);    # these words are closed for good

# timeout: seconds without a byte until it is given up; user, password; tls => 1 (KvdTls.pm), and files: ca, cert, key.
sub new {
    my ($class, $address, $timeout, %option) = @_;
    return bless {address => $address || '127.0.0.1:5830', timeout => $timeout || 30, %option}, $class;
}

sub get { my ($self, $key) = @_; return _value($self->_ask('GET ' . _checked($key), 1)) }    # the value, or undef
sub set { my ($self, $key, $value) = @_; return $self->put($key, $value) }    # the revision

sub put {    # options: ttl => SECONDS, if => REVISION (0: a new key only); the revision
    my ($self, $key, $value, %option) = @_;
    my $head = join ' ', 'PUT ' . _checked($key), map { defined $option{$_} ? "$_=$option{$_}" : () } qw(ttl if);
    utf8::downgrade($value);
    # What is no plain ASCII goes as base64: the daemon sees for itself whether it is text.
    my $sent = $value =~ /\A[\t -~]*\z/ ? "= $value" : 'base64=' . length($value) . ' = ' . encode_base64($value, '');
    return ($self->_ask("$head $sent"))[1];
}

sub del {    # options: if => REVISION; the revision, or undef where there was no such key
    my ($self, $key, %option) = @_;
    my ($word, $rest) = $self->_ask('DEL ' . _checked($key) . (defined $option{if} ? " if=$option{if}" : ''));
    return $word eq 'NONE' ? undef : $rest;
}

# Returns a function that gives the next event, for ever: hashes with kind (set del expire, copy pair gone copied,
# position), key, value, and position, after which to go on.  Begins with a copy for the position `-`.
sub follow {
    my ($self, $position, @patterns) = @_;
    my $patterns = join ' ', map { $_ eq '*' ? $_ : _checked(s/\*\z//r) . (/\*\z/ ? '*' : '') } @patterns;
    my %watch = (position => $position, patterns => $patterns, pause => $FIRST_PAUSE);
    return sub {
        while (1) {
            my $event = eval { $self->_next(\%watch) };
            if ($event) { $watch{pause} = $FIRST_PAUSE; return $event }
            my $error = $@ or next;    # a line that tells nothing
            $watch{connection} = undef;
            $error = {code => 'unavailable'} if !ref $error;    # the next connection goes on where this one ended
            if ($error->{code} =~ /\A(?:compacted|store|future)\z/) { $watch{position} = '-' }
            elsif ($error->{code} ne 'unavailable') { die $error }
            $watch{pause} = _rest($watch{pause}, $error->{retry});
        }
    };
}

sub _next {    # the event of the next line, if it has one
    my ($self, $watch) = @_;
    if (!$watch->{connection}) {
        my $progress = sprintf 'PROGRESS %.3f', $self->{timeout} / 3;    # or silence could not be told from quiet
        @$watch{qw(connection answered copying ended)} = ($self->_connect, 0, 0, undef);
        _send($watch->{connection}, "$progress\nFOLLOW $watch->{position} $watch->{patterns}");
    }
    die _error("unavailable $watch->{ended}") if defined $watch->{ended};
    my ($word, $rest) = _line($watch->{connection});
    die _error($rest) if $word eq 'ERR';
    if ($IS_STATUS{$word}) {
        return if $word eq 'OK' && ++$watch->{answered} == 1;    # that of PROGRESS
        my $is_right = $watch->{answered} == 2 && ($watch->{copying} || $rest eq $watch->{position});
        die "lost its place\n" if $word ne 'OK' || !$is_right;
        return {kind => $watch->{copying} ? 'copied' : 'position', position => $watch->{position} = $rest};
    }
    if ($watch->{answered} == 1 && $word eq 'COPY') { $watch->{copying} = 1; return {kind => 'copy'} }
    if ($watch->{answered} == 1 && $watch->{copying} && $word =~ /\A(?:PAIR|PAIR64|GONE)\z/) {
        my (undef, $key, $value) = split / /, $rest, 3;
        return {kind => $word eq 'GONE' ? 'gone' : 'pair', key => $key, value => _value($word, $value)};
    }
    return if $watch->{answered} != 2 || $word !~ /\A(?:CHANGE|PROGRESS|END)\z/;
    my ($position, $op, $key, $value) = split / /, $rest, $word eq 'END' ? 3 : 4;
    $watch->{ended} = $key // '' if $word eq 'END';    # told as an event first, if it moves the position
    return if !_is_after($position, $watch->{position});    # it was told before
    $watch->{position} = $position;
    return {kind => 'position', position => $position} if $word ne 'CHANGE';
    return {kind => lc($op =~ s/64//r), position => $position, key => $key, value => _value($op, $value)};
}

sub _ask {    # again: ask again when no reply came; what was not sent yet may always be sent
    my ($self, $request, $again) = @_;
    my ($pause, $deadline, $sent) = ($FIRST_PAUSE, time + $self->{timeout});
    while (1) {
        my @reply = eval {
            my $old = $self->{connection};    # if anything came unasked, its place is lost, or it has ended
            $self->{connection} = undef if $old && (length $old->{buffer} || IO::Select->new($old->{socket})->can_read(0));
            $sent = 0;
            $self->{connection} //= $self->_connect; $sent = 1;
            _send($self->{connection}, $request);    # its end shows when the reply is read
            my ($word, $rest) = ('');
            ($word, $rest) = _line($self->{connection}) until $IS_STATUS{$word};    # whatever else comes is skipped
            die _error($word eq 'ERR' ? $rest : "conflict $rest", $rest) if $word =~ /\A(?:ERR|CONFLICT)\z/;
            ($word, $rest);
        };
        return @reply if @reply;
        die $@ if ref $@;
        $self->{connection} = undef;
        die _error("uncertain no reply came: $@") if $sent && !$again;
        die _error("unavailable no reply came: $@") if time > $deadline;
        $pause = _rest($pause);
    }
}

sub _connect {
    my ($self) = @_;
    my ($host, $port) = $self->{address} =~ /\A\[?(.*?)\]?:(\d+)\z/ or die _error('usage expected HOST:PORT');
    my $socket = IO::Socket::IP->new(PeerHost => $host, PeerService => $port, Timeout => $self->{timeout}) || die;
    my $time = pack 'l!l!', int $self->{timeout}, 1e6 * ($self->{timeout} - int $self->{timeout});
    $socket->setsockopt(SOL_SOCKET, $_, $time) for SO_RCVTIMEO, SO_SNDTIMEO;
    $socket->setsockopt(IPPROTO_TCP, TCP_NODELAY, 1);
    if ($self->{tls}) { require KvdTls; KvdTls::secure($self, $socket, $host) }
    my $made = {socket => $socket, buffer => '', timeout => $self->{timeout}};
    _send($made, "AUTH $self->{user} $self->{password}") if defined $self->{user};
    my ($word, $rest) = defined $self->{user} ? _line($made) : 'OK';
    return $word eq 'OK' ? $made : die $word eq 'ERR' ? _error($rest) : "lost its place\n";
}
sub _send { my ($made, $lines) = @_; local $SIG{PIPE} = 'IGNORE'; return print {$made->{socket}} "$lines\n" }
sub _line {    # the first word, and the rest after one space
    my ($connection, $end, $seen, $until) = ($_[0], -1, 0, time + $_[0]{timeout});
    while (($end = index $connection->{buffer}, "\n", $seen) < 0) {
        ($seen, $!) = (length $connection->{buffer}, 0);
        my $came = sysread $connection->{socket}, $connection->{buffer}, 65536, $seen;
        die "no line came\n" if !$came && !($!{EINTR} && $until);    # a signal, or being stopped for a while, ends nothing:
        $until = $came ? time + $connection->{timeout} : time < $until && $until;    # it waits on, late once more at the most
    }
    return substr($connection->{buffer}, 0, $end + 1, '') =~ /\A([^ \r\n]*) ?(.*?)\r?\n\z/s;
}

sub _value { return $_[0] =~ /64\z/ ? decode_base64($_[1]) : $_[0] =~ /\A(?:OK|PAIR|SET)\z/ ? $_[1] : undef }
sub _checked { return $_[0] =~ /\A[^\x00-\x20\x7f*]+\z/ ? $_[0] : die _error('bad-key no white space, no *') }
sub _is_after {
    my ($revision, $store, $last, $same) = map { split /@/, $_, 2 } @_;
    return $store eq $same ? $revision > $last : die "a position of another store came without a copy\n";
}
sub _rest {    # sleeps for a pause, or as told, and gives the next pause
    sleep($_[1] // $_[0] * (0.5 + rand 0.5));
    return $_[0] < $LONGEST_PAUSE / 2 ? $_[0] * 2 : $LONGEST_PAUSE;
}
sub _error {
    my ($code, $text, $retry) = $_[0] =~ /\A([^ ]*) ?((?:retry=(?=[0.]*[1-9])([0-5]?[0-9](?:\.[0-9]+)?|60)(?![^ ]))?.*)\z/s;
    return bless {code => $code, text => $text, revision => $_[1], retry => $retry}, 'Kvd::Error';
}
1;
