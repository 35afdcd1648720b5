// Stores through a TLB without ever leaving `inside` by itself, and loads back what it has stored.
// Two words get each number, the one at `at` first. `board`: [stop, rounds of writer 0, of 1, …].
import { parentPort, workerData } from 'node:worker_threads';
import { attach, createTlb } from 'mmdump';

const { handle, thread, at, second, board, ordinal } = workerData;
const mm = attach(handle, { thread });
const tlb = createTlb(mm);

function write() {
  for (let round = 1; ; round++) {
    tlb.store32(at, round);
    tlb.store32(second, round);
    const found = [tlb.load32(at), tlb.load32(second)];
    if (found[0] !== round || found[1] !== round) return `stored ${round}, found ${found}`;
    if (round % 16 !== 0) continue;
    Atomics.store(board, 1 + ordinal, round);
    if (Atomics.load(board, 0) !== 0) return `done ${round}`;
  }
}

let outcome;
try {
  outcome = mm.inside(write);
} catch (error) {
  outcome = `${error.code}: ${error.message}`;
}
parentPort.postMessage(outcome);
