/**
 * A thread that counts in pages of its own, by TLB, by small and by large stores, changes mappings
 * nearby, and takes snapshots now and then. See `snapshots.test.ts` for what must hold meanwhile.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attach, createTlb } from 'mmdump';
import { outcomeOf, PAGE, SHORT } from './outcome.mjs';
import { Random } from './random.mjs';

const { handle, thread, ordinal, seed, board, words, links, churn, announceAt } = workerData;
const machine = attach(handle.machine, { thread });
const space = attach(handle, { thread });
const random = new Random(seed);
const tlb = createTlb(space);
const mine = words.THREADS + ordinal * words.STRIDE;
const page = new Uint8Array(PAGE);
const word = new Int32Array(1);
const wordBytes = new Uint8Array(word.buffer);
/** Memory may be short for a moment, and threads that hold each other up have to try again. */
const PASSING = [SHORT, 'EAGAIN'];
const CHURN_ANSWERS = ['nothing', 'ENOMEM', 'EINVAL', 'EFAULT', 'SIGSEGV', ...PASSING];

function insist(action) {
  for (;;) {
    const outcome = outcomeOf(action);
    if (outcome === 'nothing') return;
    if (!PASSING.includes(outcome)) throw new Error(`outcome ${outcome}`);
    machine.reclaim(16 * PAGE);
  }
}

/** Stores the count in the first word of a page, and checks that it is there. */
const WAYS = {
  tlb: (at, count) => {
    space.inside(() => tlb.store32(at, count));
    return tlb.load32(at);
  },
  small: (at, count) => {
    word[0] = count;
    space.write(at, wordBytes);
    word[0] = 0;
    space.read(at, wordBytes);
    return word[0];
  },
  large: (at, count) => {
    new DataView(page.buffer).setInt32(0, count, true);
    space.write(at, page);
    space.read(at, page);
    return new DataView(page.buffer).getInt32(0, true);
  },
};

/** One round: the next count goes into all links, the first one first. */
function step() {
  const count = Atomics.load(board, mine) + 1;
  Atomics.store(board, mine, count);
  for (const at of links) {
    const way = random.pick(['tlb', 'tlb', 'small', 'large']);
    let found;
    insist(() => {
      found = WAYS[way](at, count);
    });
    if (found !== count) throw new Error(`${way} at ${at}: stored ${count}, found ${found}`);
  }
  Atomics.store(board, mine + 1, count);
}

function churnOnce() {
  const [from, to] = random.range(churn.pages);
  const at = churn.base + from * PAGE;
  const length = (to - from) * PAGE;
  const flags = ['private', 'anonymous', 'fixed'];
  const outcome = outcomeOf(() => {
    switch (random.below(7)) {
      case 0:
        return space.munmap(at, length);
      case 1:
        return space.mprotect(at, length, random.pick(['r', 'rw']));
      case 2:
        return space.madvise(at, length, random.pick(['dontneed', 'pageout', 'mergeable', 'free']));
      case 3:
        return space.mremap(
          at,
          length,
          length,
          ['maymove', 'fixed'],
          churn.base + churn.pages * PAGE,
        );
      case 4:
        return space.mmap({ address: at, length, prot: 'rw', flags });
      default:
        return space.fill(at, length, 1 + random.below(3));
    }
  });
  if (!CHURN_ANSWERS.includes(outcome)) throw new Error(`in the churn: ${outcome}`);
}

function takeSnapshot() {
  let snapshot;
  const outcome = outcomeOf(() => {
    snapshot = machine.snapshot({ spaces: [space] });
  });
  if (snapshot !== undefined) insist(() => snapshot.drop());
  else if (!['ENOMEM', 'TOO_MANY_THREADS', ...PASSING].includes(outcome)) {
    throw new Error(`snapshot: ${outcome}`);
  }
}

/** Stands still while the main thread looks at the memory, or puts it back. */
function pause() {
  Atomics.add(board, words.PAUSED, 1);
  Atomics.notify(board, words.PAUSED);
  while (Atomics.load(board, words.PAUSE) === 1) Atomics.wait(board, words.PAUSE, 1);
  Atomics.sub(board, words.PAUSED, 1);
  Atomics.notify(board, words.PAUSED);
}

const OPERATIONS = [
  [30, step],
  [20, churnOnce],
  [1, takeSnapshot],
];

try {
  for (let operation = 0; Atomics.load(board, words.STOP) === 0; operation++) {
    if (operation === announceAt) parentPort.postMessage({ kind: 'announced' });
    if (Atomics.load(board, words.PAUSE) === 1) pause();
    random.weighted(OPERATIONS)();
  }
  machine.detach();
  parentPort.postMessage({ kind: 'done' });
} catch (error) {
  const { code, message, stack } = error;
  const kind = code === 'MACHINE_POISONED' ? 'poisoned' : 'failed';
  parentPort.postMessage({ kind, message: `thread ${ordinal}: ${message}\n${stack}` });
}
