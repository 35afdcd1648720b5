// The same as tlb-writer.mjs, by hits that it makes itself in a loop that calls nothing: it never
// leaves `inside` by itself. Two words get each number, the one at `at` first.
import { parentPort, workerData } from 'node:worker_threads';
import { attach, createTlbWindow } from 'mmdump';

const { handle, thread, at, second, board, ordinal } = workerData;
const mm = attach(handle, { thread });
const window = createTlbWindow(mm, at);

/** Runs from `step` on until something is no hit. A round has four steps: two stores, two loads. */
function makeLoop({ loads, stores, words, now, since }) {
  return (step) => {
    for (; ; step++) {
      const round = Math.floor(step / 4);
      const address = (step & 1) === 0 ? at : second;
      const isStore = (step & 2) === 0;
      const entry = (isStore ? stores : loads)[address >>> 12];
      if (entry === 0 || now[0] !== since[0]) return step;
      const word = (address + entry) >>> 2;
      if (isStore) words[word] = round;
      else if (words[word] !== round) throw new Error(`stored ${round}, found ${words[word]}`);
      if ((step & 63) !== 3) continue;
      Atomics.store(board, 1 + ordinal, round);
      if (Atomics.load(board, 0) !== 0) return -round;
    }
  };
}

function write() {
  const loop = makeLoop(window);
  for (let step = 4; ; ) {
    window.enter();
    step = loop(step);
    if (step < 0) return `done ${-step}`;
    window.fill((step & 1) === 0 ? at : second, (step & 2) === 0 ? 'write' : 'read');
  }
}

let outcome;
try {
  outcome = mm.inside(write);
} catch (error) {
  outcome = `${error.code}: ${error.message}`;
}
parentPort.postMessage(outcome);
