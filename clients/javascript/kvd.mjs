// A client of kvd for Node.  Values go in as strings or Buffers and come as Buffers.  What fails throws a KvdError: its
// code is the daemon's; also `unavailable` (certainly not done), `uncertain` (perhaps done), `conflict` (see revision).
import net from 'node:net';
import nodeTls from 'node:tls';
import { setTimeout as sleep } from 'node:timers/promises';
const [FIRST_PAUSE, LONGEST_PAUSE, MANY] = [0.1, 10, 1000]; // seconds before connecting again; lines that may wait unread
const STATUS_WORDS = ['OK', 'OK64', 'NONE', 'CONFLICT', 'ERR']; // closed for good

export class KvdError extends Error {
  constructor(code, text = '', revision = undefined) {
    super(`${code} ${text}`);
    Object.assign(this, { code, revision, retry: /^retry=(?=[0.]*[1-9])([0-5]?\d(?:\.\d+)?|60)(?: |$)/.exec(text)?.[1] });
  }
}

class Connection {
  constructor({ address, timeout, login, tls }) {
    Object.assign(this, { login, lines: [], pieces: [], wake: () => {} }); // pieces: of a line that has no end yet
    const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(address);
    this.socket = (tls ? nodeTls : net).connect({ host, port, servername: net.isIP(host) ? '' : host, noDelay: true, ...tls });
    this.socket.setTimeout(timeout * 1000, () => this.socket.destroy(new Error('silent')));
    this.socket.on(tls ? 'secureConnect' : 'connect', () => { this.isOpen = !login; });
    this.socket.on('data', (data) => this.take(data));
    const end = (error) => { this.ended ??= error || new Error('the connection ended'); this.wake(); };
    for (const event of ['end', 'error', 'close']) this.socket.on(event, end);
  }
  async send(lines) { // behind the login: until that is answered nothing was asked
    if (this.login) this.socket.write(`AUTH ${this.login.user} ${this.login.password}\n`);
    if (this.login && (await this.line())[0] !== 'OK') throw new Error('lost its place');
    [this.isOpen, this.login] = [this.isOpen || Boolean(this.login), null];
    this.socket.write(`${lines}\n`);
  }
  take(data) {
    for (let end; (end = data.indexOf(10)) >= 0; data = data.subarray(end + 1)) {
      this.lines.push(Buffer.concat([...this.pieces, data.subarray(0, end)]).toString().replace(/\r$/, ''));
      this.pieces = [];
    }
    this.pieces.push(data);
    this.wake(this.lines.length > MANY && this.socket.pause());
  }
  async line() { // the first word, and the rest after one space
    while (this.lines.length === 0) {
      if (this.ended) throw this.ended;
      this.socket.resume();
      await new Promise((wake) => { this.wake = wake; });
    }
    const line = split(this.lines.shift());
    if (line[0] === 'ERR') throw new KvdError(...split(line[1]));
    return line;
  }
}
export class Kvd {
  // timeout: seconds without a byte until it is given up; login: { user, password }; tls: { ca, cert, key } or some of these
  constructor(address = '127.0.0.1:5830', timeout = 30, login = null, tls = null) {
    if (!/:\d+$/.test(address)) throw new KvdError('usage', 'expected HOST:PORT');
    Object.assign(this, { address, timeout, login, tls, turn: Promise.resolve() });
  }
  async get(key) { return valueOf(...await this.ask(`GET ${checked(key)}`, true)); } // null where there is none
  set(key, value) { return this.put(key, value); } // the revision
  async put(key, value, { ttl, if: revision } = {}) { // ttl: seconds; if: 0 for a new key only; the revision
    const options = (ttl ? ` ttl=${ttl}` : '') + (revision === undefined ? '' : ` if=${revision}`);
    const bytes = Buffer.from(value);
    // What is no plain ASCII goes as base64: the daemon sees for itself whether it is text.
    const isPlain = /^[\t -~]*$/.test(bytes.toString('latin1'));
    const sent = isPlain ? `= ${bytes}` : `base64=${bytes.length} = ${bytes.toString('base64')}`;
    return (await this.ask(`PUT ${checked(key)}${options} ${sent}`))[1];
  }
  async del(key, { if: revision } = {}) { // the revision, or null where there was no such key
    const [word, rest] = await this.ask(`DEL ${checked(key)}${revision === undefined ? '' : ` if=${revision}`}`);
    return word === 'NONE' ? null : rest;
  }
  close() { this.connection = void this.connection?.socket.destroy(); }
  // Events, for ever: kind (set del expire, copy pair gone copied, position), key, value, and position, after which to
  // go on.  Begins with a copy for the position `-`.
  async* follow(position, ...patterns) {
    patterns.forEach((pattern) => pattern === '*' || checked(pattern.replace(/\*$/, '')));
    for (let pause = FIRST_PAUSE, retry; ; pause = await rest(pause, retry)) {
      const connection = new Connection(this);
      try {
        const progress = (this.timeout / 3).toFixed(3); // or silence could not be told from quiet
        await connection.send(`PROGRESS ${progress}\nFOLLOW ${position} ${patterns.join(' ')}`);
        for await (const event of watch(connection, position)) {
          [position, pause] = [event.position ?? position, FIRST_PAUSE];
          yield event;
        }
      } catch (error) {
        retry = error.retry;
        if (['compacted', 'store', 'future'].includes(error.code)) position = '-';
        else if (error instanceof KvdError && error.code !== 'unavailable') throw error;
      } finally { connection.socket.destroy(); }
    }
  }
  ask(request, again = false) { return (this.turn = this.turn.catch(() => {}).then(() => this.tell(request, again))); }
  async tell(request, again) { // again: when no reply came; what was not sent yet may always be sent
    const deadline = Date.now() + this.timeout * 1000;
    for (let pause = FIRST_PAUSE; ; pause = await rest(pause)) {
      // What came unasked means that the place is lost, or that the connection has ended.
      if (this.connection?.lines.length || this.connection?.ended) this.close();
      const connection = this.connection ??= new Connection(this);
      try {
        await connection.send(request);
        let [word, text] = ['', ''];
        while (!STATUS_WORDS.includes(word)) [word, text] = await connection.line(); // whatever else comes is skipped
        if (word === 'CONFLICT') throw new KvdError('conflict', '', text);
        return [word, text];
      } catch (error) {
        if (!connection.isOpen || !(error instanceof KvdError)) this.close();
        if (error instanceof KvdError) throw error;
        if (connection.isOpen && !again) throw new KvdError('uncertain', `no reply came: ${error.message}`);
        if (Date.now() > deadline) throw new KvdError('unavailable', `no reply came: ${error.message}`);
      }
    }
  }
}
async function* watch(connection, position) { // what one connection tells, until it throws
  for (let answered = 0, copying; ;) {
    const [word, rest] = await connection.line();
    const [first, second] = split(rest);
    const [third, fourth] = split(second);
    if (STATUS_WORDS.includes(word)) {
      const isRight = answered === 0 || (answered === 1 && (copying || rest === position)); // the first is of PROGRESS
      if (word !== 'OK' || !isRight) throw new Error('lost its place');
      if (++answered === 2) yield { kind: copying ? 'copied' : 'position', position: position = rest };
    } else if (answered === 1 && word === 'COPY') {
      yield { kind: 'copy', reason: copying = rest };
    } else if (answered === 1 && copying && ['PAIR', 'PAIR64', 'GONE'].includes(word)) {
      yield { kind: word === 'GONE' ? 'gone' : 'pair', key: third, value: valueOf(word, fourth) };
    } else if (answered === 2 && ['CHANGE', 'PROGRESS', 'END'].includes(word)) {
      const [[key, value], kind] = [split(fourth), third.replace('64', '').toLowerCase()];
      const change = word === 'CHANGE' ? { kind, key, value: valueOf(third, value) } : { kind: 'position' };
      if (isAfter(first, position)) yield { ...change, position: position = first }; // else it was told before
      if (word === 'END') throw new KvdError('unavailable', fourth);
    }
  }
}
const split = (line) => /^([^ ]*) ?(.*)$/s.exec(line).slice(1); // at the first space
const valueOf = (word, value) => (/^(OK|PAIR|SET)/.test(word) ? Buffer.from(value, /64$/.test(word) ? 'base64' : 'utf8') : null);
function isAfter(next, position) {
  const [[revision, store], [last, same]] = [next.split('@'), position.split('@')];
  if (store !== same) throw new Error('a position of another store came without a copy');
  return Number(revision) > Number(last);
}
function checked(key) {
  if (/^[^\x00-\x20\x7f*]+$/.test(key)) return key;
  throw new KvdError('bad-key', 'a key has no white space, no control character and no *');
}
async function rest(pause, retry = pause * (0.5 + Math.random() / 2)) { // the next pause
  await sleep(retry * 1000);
  return Math.min(pause * 2, LONGEST_PAUSE);
}
