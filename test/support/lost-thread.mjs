/**
 * A worker thread that is going to be terminated, or that waits for one that was. It attaches to an
 * address space as `thread`, does one thing and posts its outcome. Where `stage` says so it stops
 * for ever in the middle: arguments are read while the operation holds its locks.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { attach } from 'mmdump';

const { handle, thread, action, address, stage } = workerData;

/** Tells the host that this thread is inside, and never returns. */
function stop() {
  Atomics.store(stage, 0, 1);
  Atomics.notify(stage, 0);
  Atomics.wait(stage, 1, 0);
}

/** Stops when its length is read: with the mmap lock for reading. */
class StopsAtLength extends Uint8Array {
  get length() {
    stop();
    return 1;
  }
}

/** Stops when bytes are put into it: with the mmap lock for reading and a page-table lock. */
class StopsAtSet extends Uint8Array {
  set() {
    stop();
  }
}

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: 4096 };

const ACTIONS = {
  read: (space) => space.read(address, new Uint8Array(1)),
  mmap: (space) => space.mmap(ANON),
  stopReading: (space) => space.read(address, new StopsAtLength(1)),
  stopCopying: (space) => space.read(address, new StopsAtSet(1)),
  stopMapping: (space) =>
    space.mmap({
      ...ANON,
      get length() {
        stop();
        return 4096;
      },
    }),
};

function outcomeOf(run) {
  try {
    run();
    return 'done';
  } catch (error) {
    return error.code ?? String(error);
  }
}

const space = attach(handle, { thread });
parentPort.postMessage(outcomeOf(() => ACTIONS[action](space)));
