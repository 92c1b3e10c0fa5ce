// The adapter with which ../conformance certifies kvd.mjs.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Kvd, KvdError } from './kvd.mjs';

const say = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);
const base64 = (value) => (value ? value.toString('base64') : null);
const filesOf = ({ ca, cert, key }) => ({ ca: readFileSync(ca), cert: cert && readFileSync(cert), key: key && readFileSync(key) });
let kv;

async function follow({ position, patterns }) {
  say({ ok: '' });
  try {
    for await (const { kind, value, ...members } of kv.follow(position, ...patterns.split(' '))) {
      say({ event: kind, ...members, ...(value ? { value64: base64(value) } : {}) });
    }
  } catch (error) {
    say({ event: 'error', error: error.code });
  }
}

async function answer(request) {
  const { op, key, value, value64 } = request;
  const bytes = value64 === undefined ? value : Buffer.from(value64, 'base64');
  if (op === 'connect') kv = new Kvd(request.address, Number(request.timeout), request.user && request,
    request.ca && filesOf(request));
  if (op === 'get') return { ok64: base64(await kv.get(key)) };
  if (op === 'set') return { ok: await kv.set(key, bytes) };
  if (op === 'put') return { ok: await kv.put(key, bytes, request) };
  if (op === 'del') return { ok: await kv.del(key, request) };
  return { ok: '' };
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.op === 'follow') {
    await follow(request);
    continue;
  }
  try {
    say(await answer(request));
  } catch (error) {
    if (!(error instanceof KvdError)) throw error;
    say(error.code === 'conflict' ? { conflict: error.revision } : { error: error.code, retry: error.retry });
  }
}
kv?.close();
