/**
 * A thread that changes an mm: it counts, works in its own region, changes the playground, forks,
 * merges pages and reclaims memory. See `threads.test.ts` for what must hold meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attach } from 'mmdump';
import { Ballast } from './ballast.mjs';
import { Counters } from './counters.mjs';
import { outcomeOf, SHORT } from './outcome.mjs';
import { Playground } from './playground.mjs';
import { Random } from './random.mjs';
import { Region } from './region.mjs';

const { handle, thread, ordinal, seed, operations, board, words, layout, announceAt } = workerData;
const GRANULE = 2 * 1024 * 1024;
const machine = attach(handle.machine, { thread });
const space = attach(handle, { thread });
const random = new Random(seed);
const counters = new Counters(space, {
  links: layout.chains,
  board,
  mine: layout.chains[ordinal],
});
const region = new Region(space, { ...layout.regions[ordinal], file: layout.file });
const playground = new Playground(space, layout.playground);
const ballast = new Ballast(space, layout.ballasts[ordinal]);
const done = { forks: 0, merged: 0, shortages: 0, operations: 0 };
/** Our fork: its mm, what its region must show, and the count at the time of the fork. */
let child = null;

function leaveChild() {
  if (child === null) return;
  const { space: mm, region: pages, count } = child;
  child = null;
  counters.checkChild(mm, layout.privateLinks, count, reclaim);
  pages.checkAll();
  done.shortages += pages.shortages;
  mm.exit();
}

/** Called when memory is short. It ends the fork, because shared frames cannot be reclaimed. */
function makeRoom() {
  done.shortages++;
  if (child !== null) {
    const { space: mm } = child;
    child = null;
    mm.exit();
  }
  reclaim();
}

function reclaim() {
  machine.reclaim(GRANULE);
}

function fork() {
  leaveChild();
  let mm;
  const outcome = outcomeOf(() => {
    mm = space.fork();
  });
  if (outcome !== 'nothing') {
    if (outcome !== SHORT && outcome !== 'ENOMEM') throw new Error(`fork: ${outcome}`);
    return;
  }
  done.forks++;
  child = { space: mm, region: region.inChild(mm), count: counters.count };
  if (random.below(2) === 0) counters.checkChild(mm, layout.privateLinks, child.count, reclaim);
}

/** Gives advice that changes no content. */
function adviseCounters() {
  const granule = random.below(layout.counterGranules);
  const at = layout.counters + granule * GRANULE;
  const all = [layout.counters, layout.counterGranules * GRANULE];
  const choices = ['pageout', 'pageout', 'cold', 'hugepage', 'nohugepage', 'mergeable'];
  const advice = random.pick([...choices, 'unmergeable']);
  const [start, length] = random.below(3) === 0 ? all : [at, GRANULE];
  const outcome = outcomeOf(() => space.madvise(start, length, advice));
  if (outcome === 'nothing') return;
  if (outcome !== SHORT) throw new Error(`madvise ${advice} of the counters: ${outcome}`);
  makeRoom();
}

const OPERATIONS = [
  [26, () => counters.step(makeRoom)],
  [8, () => counters.checkOther(random, makeRoom)],
  [30, () => region.step(random)],
  [10, () => child?.region.step(random)],
  [16, () => playground.step(random)],
  [8, () => ballast.step(random) || makeRoom()],
  [3, fork],
  [2, leaveChild],
  [4, adviseCounters],
  [1, () => (done.merged += machine.mergePages())],
  [2, () => machine.reclaim((1 + random.below(200)) * 4096)],
  [1, () => region.checkAll()],
];

function run() {
  Atomics.add(board, words.READY, 1);
  Atomics.notify(board, words.READY);
  Atomics.wait(board, words.START, 0);
  ballast.load(random);
  for (; done.operations < operations || Atomics.load(board, words.STOP) === 0; done.operations++) {
    if (done.operations === announceAt) parentPort.postMessage({ kind: 'announced' });
    random.weighted(OPERATIONS)();
    Atomics.add(board, words.OPERATIONS, 1);
    Atomics.notify(board, words.OPERATIONS);
  }
  leaveChild();
  region.checkAll();
  done.shortages += region.shortages;
}

try {
  run();
  machine.detach();
  parentPort.postMessage({ kind: 'done', done });
} catch (error) {
  // An error loses its code on its way between threads, so `kind` tells what happened. A thread of
  // a poisoned machine does not detach: it has nothing to give back.
  const { code, message, stack } = error;
  const what = code === 'MACHINE_POISONED' ? 'poisoned' : 'failed';
  parentPort.postMessage({ kind: what, message: `thread ${ordinal}: ${message}\n${stack}` });
}
