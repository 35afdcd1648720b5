/**
 * A thread that changes an address space until it is told to stop. See
 * `test/integration/running.test.ts`.
 *
 *  pairs   each store puts the same number on both sides of a granule's boundary
 *  links   writes the same number into two granules, by two stores, left first
 *  churn   faults, discards, swaps, frees and writes pages of a region, including huge pages
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attach } from 'mmdump';

const { handle, thread, action, at, bytes, isAnonymous, board, ordinal } = workerData;
const STOP = 0;
const PAGE = 4096;
const BORDER = 2 * 1024 * 1024;
const space = attach(handle, { thread });
const number = new Uint8Array(8);
const view = new DataView(number.buffer);
const pair = new Uint8Array(16);
let turn = 0;
let draw = ordinal * 7919 + 1;

/** A number below `limit`: a linear congruential generator is random enough. */
function random(limit) {
  draw = (Math.imul(draw, 1664525) + 1013904223) >>> 0;
  return draw % limit;
}

function putPair() {
  view.setFloat64(0, turn);
  pair.set(number, 0);
  pair.set(number, 8);
  space.write(at + BORDER - 8, pair);
}

function putLinks() {
  view.setFloat64(0, turn);
  space.write(at, number);
  space.write(at + BORDER, number);
}

const ADVICE = ['dontneed', 'pageout', 'cold', 'populate_write', 'populate_read'];
if (isAnonymous) ADVICE.push('free');

function churn() {
  const pages = bytes / PAGE;
  const page = random(pages);
  const count = 1 + random(Math.min(1200, pages - page));
  const what = random(12);
  const start = at + page * PAGE;
  if (what < ADVICE.length) space.madvise(start, count * PAGE, ADVICE[what]);
  else if (what < 8) space.read(start, new Uint8Array(count * 64));
  else space.fill(start, count * PAGE, 1 + (turn % 255));
}

const ACTIONS = { pairs: putPair, links: putLinks, churn };

try {
  while (Atomics.load(board, STOP) === 0) {
    turn++;
    ACTIONS[action]();
    Atomics.add(board, 1 + ordinal, 1);
    Atomics.notify(board, 1 + ordinal);
  }
  parentPort.postMessage('done');
} catch (error) {
  Atomics.store(board, STOP, 1);
  parentPort.postMessage(`${action}: ${error.stack}`);
}
