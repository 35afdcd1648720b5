// Finds what changed between two images of a program, question by question, as one would in a
// notebook. The program here is a simulated one: a counter, a log, a plug-in that is loaded.
//
//   node examples/what-changed/run.mjs              makes two images and compares them
//   node examples/what-changed/run.mjs A.cpt B.cpt  compares two images of your own
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDumper, openImage, PAGE_SIZE } from 'mmdump';
import { makeImages } from './make-images.mjs';

let cells = 0;
const LINES = 8; // of a long list, so many are shown
const folder = await mkdtemp(join(tmpdir(), 'mmdump-what-changed-'));
const dumper = await createDumper();
try {
  const given = process.argv.slice(2);
  const paths = given.length === 2 ? given : await makeImages(folder, dumper);
  const [before, after] = await Promise.all(paths.map((path) => openImage(path)));
  try {
    await ask(before, after, await dumper.diffImages(before, after));
  } finally {
    await before.close();
    await after.close();
  }
} finally {
  await dumper.close();
  await rm(folder, { recursive: true });
}

async function ask(before, after, found) {
  cell('Is anything different?');
  const count = (name) => found.mms.reduce((sum, mm) => sum + mm[name], 0);
  say(found.same ? 'no' : `yes: ${count('changed')} of ${count('pages')} pages have other bytes`);
  say(`${found.bytesRead} bytes were read: blocks with equal digests were not`);

  cell('Which mappings came and went?');
  for (const mm of found.mms) for (const change of mm.mappings) say(mappingText(change));

  cell('Which pages are stored in another way?');
  list(
    found.classChanges,
    ({ right, pages, from, to }) => `${pages} from ${hex(right)}: ${from} -> ${to}`,
  );

  cell('Which bytes are others, and what was there?');
  const changes = [];
  for (const page of found.changedPages) changes.push(...(await changesOf(before, after, page)));
  list(changes, ({ address, old, now }) => `${hex(address)}: ${text(old)} -> ${text(now)}`);

  cell('Which of them look like counters?');
  const counters = changes.map(asCounter).filter((counter) => counter !== undefined);
  list(counters, ({ address, from, to }) => `${hex(address)}: ${from} -> ${to}, ${to - from} more`);
}

/** Neighbouring bytes of a page that are others, each with the bytes on both sides. */
async function changesOf(before, after, { mm, left, right }) {
  const [old, now] = [new Uint8Array(PAGE_SIZE), new Uint8Array(PAGE_SIZE)];
  await before.read(left, old, { mm });
  await after.read(right, now, { mm });
  const changes = [];
  for (let at = 0; at < PAGE_SIZE; at++) {
    if (old[at] === now[at]) continue;
    let end = at + 1;
    for (let next = end; next < PAGE_SIZE && next < end + 4; next++) {
      if (old[next] !== now[next]) end = next + 1; // a few equal bytes belong to the change
    }
    const word = at & ~7;
    const words = [old, now].map((bytes) => new DataView(bytes.buffer).getBigUint64(word, true));
    const address = right + at;
    changes.push({ address, old: old.subarray(at, end), now: now.subarray(at, end), words });
    at = end;
  }
  return changes;
}

/** A word of 64 bits that has become a little larger. */
function asCounter({ address, words: [from, to] }) {
  if (to <= from || to - from > 1_000_000n || from > 2n ** 48n) return undefined;
  return { address: address - (address % 8), from, to };
}

function mappingText({ kind, left, right }) {
  const { start, end, file } = right ?? left;
  return `${kind}: ${hex(start)}-${hex(end)} ${file ?? 'anonymous'}`;
}

/** Text as text, other bytes in hexadecimal. */
function text(bytes) {
  const shown = Buffer.from(bytes.subarray(0, 24));
  const more = bytes.length > shown.length ? '...' : '';
  const isText = shown.length > 2 && shown.every((byte) => byte >= 0x20 && byte < 0x7f);
  return (isText ? JSON.stringify(shown.toString()) : shown.toString('hex')) + more;
}

function hex(address) {
  return `0x${address.toString(16)}`;
}

function list(items, line) {
  for (const item of items.slice(0, LINES)) say(line(item));
  if (items.length > LINES) say(`and ${items.length - LINES} more`);
  if (items.length === 0) say('none');
}

function cell(question) {
  console.log(`${cells++ === 0 ? '' : '\n'}[${cells}] ${question}`);
}

function say(line) {
  console.log(`    ${line}`);
}
