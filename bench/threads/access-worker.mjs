// One thread that loads and stores memory in one way, as often as it is told to. Each way has a
// thread of its own, so that V8 compiles each for itself.
import { parentPort, workerData } from 'node:worker_threads';
import { attach, createTlb } from 'mmdump';
import { interpreterOnArray, interpreterOnTlb, interpreterOnWindow } from './rv32i.mjs';
import { onWindow } from './window-loops.mjs';

const { handle, thread, at, bytes, way, gate } = workerData;
const mm = attach(handle, { thread });
const tlb = createTlb(mm);
const words = new Int32Array(way.startsWith('plain') ? bytes / 4 : 1);
const eight = new Uint8Array(8);
const longer = new Uint8Array(64);
const mask = bytes - 64;
/** Each makes `times` accesses, and returns how many it made. */
const WAYS = {
  'mm.read 8': (times) => {
    for (let turn = 0; turn < times; turn++) mm.read(at + ((turn * 8) & mask), eight);
    return times;
  },
  'mm.write 8': (times) => {
    for (let turn = 0; turn < times; turn++) mm.write(at + ((turn * 8) & mask), eight);
    return times;
  },
  'mm.read 64': (times) => {
    for (let turn = 0; turn < times; turn++) mm.read(at + ((turn * 64) & mask), longer);
    return times;
  },
  'TLB load': (times) =>
    mm.inside(() => {
      let sum = 0;
      for (let turn = 0; turn < times; turn++)
        sum = (sum + tlb.load32(at + ((turn * 4) & mask))) | 0;
      return sum === 1 ? times + 1 : times;
    }),
  'plain load': (times) => {
    let sum = 0;
    for (let turn = 0; turn < times; turn++) sum = (sum + words[((turn * 4) & mask) >> 2]) | 0;
    return sum === 1 ? times + 1 : times;
  },
  'TLB store': (times) =>
    mm.inside(() => {
      for (let turn = 0; turn < times; turn++) tlb.store32(at + ((turn * 4) & mask), turn);
      return times;
    }),
  'plain store': (times) => {
    for (let turn = 0; turn < times; turn++) words[((turn * 4) & mask) >> 2] = turn;
    return times;
  },
};
/** What has to be made first, each in its own thread only. */
const MADE = {
  'window load': () => onWindow(mm, { at, mask, access: 'read' }),
  'window store': () => onWindow(mm, { at, mask, access: 'write' }),
  'TLB interpreter': () => interpreterOnTlb(mm, at),
  'window interpreter': () => interpreterOnWindow(mm, at),
  'plain interpreter': () => interpreterOnArray(bytes),
};

const go = WAYS[way] ?? MADE[way]();
for (let turn = 0; turn < 10; turn++) go(200_000); // until V8 has compiled it for good

parentPort.on('message', ({ times, threads }) => {
  Atomics.add(gate, 0, 1);
  while (Atomics.load(gate, 0) < threads);
  const begin = performance.now();
  const done = go(times);
  parentPort.postMessage({ ns: ((performance.now() - begin) * 1e6) / done });
});
