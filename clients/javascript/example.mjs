#!/usr/bin/env node
// Follows a prefix: prints what is there and every change, each once, through restarts of the daemon and its own.
//
// Usage: example.mjs HOST:PORT PREFIX FILE
//
// FILE keeps the position; without it the first thing is a copy.
import { existsSync, readFileSync, renameSync, writeFileSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kvd } from './kvd.mjs';

const [address, prefix, file] = process.argv.slice(2);
if (process.argv.length !== 5) {
  console.error('usage: example.mjs HOST:PORT PREFIX FILE');
  process.exit(2);
}
const position = existsSync(file) ? readFileSync(file, 'utf8').trim() : '-';
if (!position) {
  console.error(`${file}: it holds no position: remove it to begin with a copy`);
  process.exit(1);
}
const copy = new Map();

async function show(line) { // or it throws, at once: console.log would say so later, or never
  for (let bytes = Buffer.from(`${line}\n`); bytes.length > 0;) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      await sleep(20); // until the one who reads has read more
    }
  }
}

for await (const event of new Kvd(address).follow(position, `${prefix}*`)) {
  const { kind, key, value } = event;
  if (kind === 'copy') copy.clear();
  else if (kind === 'pair') copy.set(key, value);
  else if (kind === 'gone') copy.delete(key);
  else if (kind === 'copied') for (const name of [...copy.keys()].sort()) await show(`is ${name} ${copy.get(name)}`);
  else if (kind !== 'position') await show(`${kind} ${key} ${value ?? ''}`);
  if (event.position) {
    // What is printed is done: only then is its position kept, in one step.
    writeFileSync(`${file}.new`, event.position);
    renameSync(`${file}.new`, file);
  }
}
