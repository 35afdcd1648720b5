/** A thread that takes the locks of files one after the other until it is told to stop. */
import { workerData } from 'node:worker_threads';
import { attach } from 'mmdump';

const { handle, thread, files, board } = workerData;
const STOP = 0;
const ROUNDS = 1;
const { machine } = attach(handle, { thread }).reference;

while (Atomics.load(board, STOP) === 0) {
  for (const file of files) {
    const lock = machine.files.lock(file);
    lock.lock(thread, true);
    for (let spin = 0; spin < 1000; spin++) Atomics.load(board, STOP);
    lock.unlock(thread);
  }
  Atomics.add(board, ROUNDS, 1);
}
